//! Changing the state of a rollout under way by one guarded PATCH an object, whoever drives it.

use super::sync_companions::SyncError;
use super::sync_companions::sync_companions;
use crate::discovery::under_way;
use crate::driver::{Written, companions, write};
use crate::istio::VirtualService;
use crate::rollout::{Cause, Rollout};
use crate::rollout::{Intent, WriteError, blocker};

use super::undo_start::undo_start;
use crate::context::Context;
use crate::error::CommandError;

/// How often the object may change under our hands before we give up.
const ATTEMPTS: usize = 5;

/// What became of a change.
pub struct Changed {
    /// The object with the state.
    pub vs: VirtualService,
    /// What moves with it, in order.
    pub companions: Vec<VirtualService>,
    /// What was written, if there was anything to do.
    pub intent: Option<Intent>,
}

/// Reads the object, decides on what it shows, writes, and starts over if it changed meanwhile. Then
/// brings along what moves with it.
///
/// `decide` may answer `None` where there is nothing to do.
pub async fn change(
    context: &mut Context<'_>,
    name: &str,
    mut decide: impl FnMut(&VirtualService, Rollout) -> Result<Option<Intent>, CommandError>,
) -> Result<Changed, CommandError> {
    let (cluster, namespace) = (context.cluster.clone(), context.namespace.clone());
    let mut vs = cluster.virtual_service(&namespace, name).await?;
    let mut failure = None;
    for _ in 0..ATTEMPTS {
        let rollout = under_way(&vs)?;
        let mut others = companions(&cluster, &rollout).await?;
        let Some(intent) = decide(&vs, rollout)? else {
            return Ok(Changed {
                vs,
                companions: others,
                intent: None,
            });
        };
        may_move(&intent, &vs, &others)?;
        match write(&cluster, &vs, &intent.before_companions(&cluster)).await {
            Ok(Written::Done(now)) => {
                vs = now;
                let followed = sync_companions(&cluster, &mut vs, &intent, &mut others).await;
                match followed {
                    Ok(_) | Err(SyncError::MovedOn) => {}
                    Err(error) => {
                        return Err(not_followed(context, vs, others, &intent, error).await);
                    }
                }
                return Ok(Changed {
                    vs,
                    companions: others,
                    intent: Some(intent),
                });
            }
            Ok(Written::Changed(now)) => vs = now,
            Ok(Written::Failed(error)) if error.may_pass() => {
                failure = Some(error);
                tokio::time::sleep(std::time::Duration::from_millis(250)).await;
                vs = cluster.virtual_service(&namespace, name).await?;
            }
            Ok(Written::Failed(error)) => return Err(error.into()),
            Err(WriteError::State(error)) => return Err(error.into()),
            Err(error @ (WriteError::MissingRoutes(_) | WriteError::TooLarge(_))) => {
                return Err(CommandError::Conflict(format!(
                    "virtualservice {}: {error}",
                    vs.full_name()
                )));
            }
        }
    }
    Err(match failure {
        Some(error) => error.into(),
        None => CommandError::Conflict(format!(
            "virtualservice {} keeps changing while it is patched (try: again in a moment)",
            vs.full_name()
        )),
    })
}

/// Whether all that would have to move along can.
fn may_move(
    intent: &Intent,
    vs: &VirtualService,
    others: &[VirtualService],
) -> Result<(), CommandError> {
    let mut pairs = intent.rollout().also.iter().zip(others);
    let hindered = pairs.find_map(|(companion, other)| {
        let why = blocker(intent, vs, companion, other)?;
        Some((other.full_name(), why))
    });
    match hindered {
        None => Ok(()),
        Some((object, why)) => Err(CommandError::Conflict(format!(
            "virtualservice {object}, which moves with {}, cannot be moved: {why} (try: kubectl canary abort {} -n {})",
            vs.full_name(),
            vs.name(),
            vs.namespace()
        ))),
    }
}

/// The lead has moved, and one of the others has not.
async fn not_followed(
    context: &mut Context<'_>,
    vs: VirtualService,
    others: Vec<VirtualService>,
    intent: &Intent,
    source: SyncError,
) -> CommandError {
    let (name, namespace, lead) = (
        vs.name().to_owned(),
        vs.namespace().to_owned(),
        vs.full_name(),
    );
    if let SyncError::Unreachable { .. } = source {
        return CommandError::Conflict(format!(
            "{source}; {lead} has moved without it (try: kubectl canary resume {name} -n {namespace}, which brings it along, or abort)"
        ));
    }
    match undo_start(context, vs, others, intent.rollout(), Cause::Refused).await {
        Ok(()) => CommandError::TakenBack {
            lead,
            source: Box::new(source),
        },
        Err(error) => error,
    }
}
