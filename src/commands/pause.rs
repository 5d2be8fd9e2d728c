//! `pause`: stay at this weight until `resume` or `promote`.

use super::drive::{emit, left};
use super::environment::object_name;
use super::state::{change, under_way};
use super::{CommandError, Environment};
use crate::engine::{Finish, Intent};
use crate::record::{EventKind, Outcome, Phase};
use crate::traffic::VirtualService;

/// Pauses a rollout: one guarded PATCH, with or without a driver alive. Pausing twice is no error.
///
/// RBAC: `get` and `patch` on `virtualservices`.
///
/// # Errors
/// If there is no rollout under way, or the API server does not take it.
pub async fn pause(
    environment: &mut Environment<'_>,
    name: &str,
) -> Result<(VirtualService, Finish), CommandError> {
    let name = object_name(name)?;
    let namespace = environment.namespace.clone();
    let (now, by) = (environment.clock.now(), environment.actor.clone());
    let (vs, _) = change(&environment.cluster, &namespace, name, |vs, rollout| match rollout.phase {
        Phase::Paused => Ok(None),
        Phase::Tripped => Err(CommandError::Conflict(format!(
            "virtualservice {} has taken all traffic from the canary to confirm a regression (try: kubectl canary abort {})",
            vs.full_name(),
            vs.name()
        ))),
        Phase::Progressing | Phase::Waiting => {
            let mut next = rollout.in_phase(Phase::Paused, now);
            next.by = Some(by.clone());
            Ok(Some(Intent::State(Box::new(next))))
        }
    })
    .await?;
    let rollout = under_way(&vs)?;
    emit(environment, &vs, &rollout.run, EventKind::Paused { by });
    Ok((vs, left(rollout, Outcome::Held, now)))
}
