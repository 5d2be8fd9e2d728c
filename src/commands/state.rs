//! Changing the state of a rollout under way by one guarded PATCH, whoever drives it.

use crate::cluster::Cluster;
use crate::engine::{Intent, WriteError, Written, write};
use crate::record::Rollout;
use crate::traffic::VirtualService;

use super::CommandError;

/// How often the object may change under our hands before we give up.
const ATTEMPTS: usize = 5;

/// The rollout under way on an object.
pub(super) fn under_way(vs: &VirtualService) -> Result<Rollout, CommandError> {
    Rollout::read(vs)?.ok_or_else(|| CommandError::NoRollout {
        object: vs.full_name(),
        name: vs.name().to_owned(),
        namespace: vs.namespace().to_owned(),
    })
}

/// There is a rollout where none should be.
pub(super) fn is_under_way(vs: &VirtualService, rollout: &Rollout) -> CommandError {
    CommandError::UnderWay {
        object: vs.full_name(),
        name: vs.name().to_owned(),
        namespace: vs.namespace().to_owned(),
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

/// Reads the object, decides on what it shows, writes, and starts over if it changed meanwhile.
///
/// `decide` may answer `None` where there is nothing to do.
pub(super) async fn change(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    mut decide: impl FnMut(&VirtualService, Rollout) -> Result<Option<Intent>, CommandError>,
) -> Result<(VirtualService, Option<Intent>), CommandError> {
    let mut vs = cluster.virtual_service(namespace, name).await?;
    let mut failure = None;
    for _ in 0..ATTEMPTS {
        let rollout = under_way(&vs)?;
        let Some(intent) = decide(&vs, rollout)? else {
            return Ok((vs, None));
        };
        match write(cluster, &vs, &intent).await {
            Ok(Written::Done(now)) => return Ok((now, Some(intent))),
            Ok(Written::NotAsBelieved(now)) => vs = now,
            Ok(Written::Failed(error)) if error.may_pass() => {
                failure = Some(error);
                tokio::time::sleep(std::time::Duration::from_millis(250)).await;
                vs = cluster.virtual_service(namespace, name).await?;
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
