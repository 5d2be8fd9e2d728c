//! Changing the state of a rollout under way by one guarded PATCH an object, whoever drives it.

use crate::engine::{
    FollowError, Intent, WriteError, Written, companions, follow, hindrance, write,
};
use crate::record::{Cause, ObjectName, Rollout};
use crate::traffic::VirtualService;

use super::take_back::take_back;
use super::{CommandError, Environment};

/// How often the object may change under our hands before we give up.
const ATTEMPTS: usize = 5;

/// The rollout under way on an object, if it is that object's own.
pub(super) fn under_way(vs: &VirtualService) -> Result<Rollout, CommandError> {
    let rollout = Rollout::read(vs)?.ok_or_else(|| CommandError::NoRollout {
        name: vs.name().to_owned(),
        namespace: vs.namespace().to_owned(),
    })?;
    match rollout.lead {
        Some(_) => Err(is_under_way(vs, &rollout)),
        None => Ok(rollout),
    }
}

/// There is a rollout where none should be.
pub(super) fn is_under_way(vs: &VirtualService, rollout: &Rollout) -> CommandError {
    match &rollout.lead {
        Some(lead) => moves_with(vs, lead.clone(), rollout),
        None => CommandError::UnderWay {
            name: vs.name().to_owned(),
            namespace: vs.namespace().to_owned(),
            weight: rollout.weight().to_string(),
            holder: rollout.holder.clone(),
        },
    }
}

/// The object moves with another, so there is nothing to do on it alone.
pub(super) fn moves_with(vs: &VirtualService, lead: ObjectName, rollout: &Rollout) -> CommandError {
    CommandError::MovesWith {
        object: vs.full_name(),
        lead,
        weight: rollout.weight().to_string(),
        holder: rollout.holder.clone(),
    }
}

/// The canary has no traffic for the moment, so there is nothing to hold or to raise.
pub(super) fn is_tripped(vs: &VirtualService) -> CommandError {
    CommandError::Conflict(format!(
        "virtualservice {} has taken all traffic from the canary to confirm a regression (try: again in a moment, or kubectl canary abort {} -n {})",
        vs.full_name(),
        vs.name(),
        vs.namespace()
    ))
}

/// What became of a change.
pub(super) struct Changed {
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
pub(super) async fn change(
    environment: &mut Environment<'_>,
    name: &str,
    mut decide: impl FnMut(&VirtualService, Rollout) -> Result<Option<Intent>, CommandError>,
) -> Result<Changed, CommandError> {
    let (cluster, namespace) = (environment.cluster.clone(), environment.namespace.clone());
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
                let followed = follow(&cluster, &mut vs, &intent, &mut others).await;
                match followed {
                    Ok(_) | Err(FollowError::MovedOn) => {}
                    Err(error) => {
                        return Err(not_followed(environment, vs, others, &intent, error).await);
                    }
                }
                return Ok(Changed {
                    vs,
                    companions: others,
                    intent: Some(intent),
                });
            }
            Ok(Written::NotAsBelieved(now)) => vs = now,
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
        let why = hindrance(intent, vs, companion, other)?;
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
    environment: &mut Environment<'_>,
    vs: VirtualService,
    others: Vec<VirtualService>,
    intent: &Intent,
    source: FollowError,
) -> CommandError {
    let (name, namespace, lead) = (
        vs.name().to_owned(),
        vs.namespace().to_owned(),
        vs.full_name(),
    );
    if let FollowError::Unreachable { .. } = source {
        return CommandError::Conflict(format!(
            "{source}; {lead} has moved without it (try: kubectl canary resume {name} -n {namespace}, which brings it along, or abort)"
        ));
    }
    match take_back(environment, vs, others, intent.rollout(), Cause::Refused).await {
        Ok(()) => CommandError::TakenBack {
            lead,
            source: Box::new(source),
        },
        Err(error) => error,
    }
}
