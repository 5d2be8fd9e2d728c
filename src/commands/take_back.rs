//! Taking back what has moved, when something that has to move along cannot.

use super::drive::emit;
use super::{CommandError, Environment};
use crate::engine::{Authority, Left, Road, Unrestored, roll_back_together};
use crate::record::{Cause, EventKind, Rollout, Tally};
use crate::traffic::{VirtualService, shift};
use json_patch::PatchOperation;

/// Restores the original weights of `vs` and of what moves with it.
///
/// # Errors
/// [`CommandError::RollbackFailed`] if that did not work, or was interrupted by a signal.
pub(super) async fn take_back(
    environment: &mut Environment<'_>,
    vs: VirtualService,
    companions: Vec<VirtualService>,
    rollout: &Rollout,
    cause: Cause,
) -> Result<(), CommandError> {
    let weight = rollout.weight();
    emit(
        environment,
        &vs,
        &rollout.run,
        EventKind::RollingBack { cause, weight },
    );
    let (cluster, clock) = (environment.cluster.clone(), environment.clock.clone());
    let road = Road {
        cluster: &cluster,
        clock: &clock,
        cause,
        by: &rollout.holder,
        authority: Authority::Driver { overwrite: false },
        patience: rollout.plan.rollback_timeout.unsigned(),
        keeps_state: false,
    };
    let companions = companions.into_iter().map(Some).collect();
    let mut signals = std::mem::replace(&mut environment.signals, crate::engine::Signals::none());
    let mut tell = |event| emit(environment, &vs, &rollout.run, event);
    let restored = {
        let back = roll_back_together(&road, vs.clone(), companions, rollout, &mut tell);
        tokio::select! {
            biased;
            restored = back => Some(restored),
            _ = signals.next() => None,
        }
    };
    environment.signals = signals;
    match restored {
        Some(Ok(restored)) => {
            let event = EventKind::RolledBack {
                cause,
                routes: restored.changes,
                took_millis: u64::try_from(restored.took.as_millis()).unwrap_or(u64::MAX),
                total: Tally::default(),
            };
            emit(environment, &vs, &rollout.run, event);
            Ok(())
        }
        Some(Err(error)) => Err(rollback_failed(&vs, error)),
        None => Err(CommandError::Conflict(format!(
            "interrupted while the traffic of virtualservice {} was taken back (try: {})",
            vs.full_name(),
            Rollout::abort_command(&vs)
        ))),
    }
}

/// The error for traffic that needs a human, with what to type for each object that is left.
pub(super) fn rollback_failed(vs: &VirtualService, error: Unrestored) -> CommandError {
    let manual: Vec<_> = error.0.iter().map(by_hand).collect();
    let objects: Vec<_> = error.0.iter().map(|left| left.object.clone()).collect();
    CommandError::RollbackFailed {
        object: match objects.is_empty() {
            true => vs.full_name(),
            false => objects.join(", "),
        },
        source: Box::new(error.into_error()),
        manual: manual.join("; "),
    }
}

/// What does the same without this program: a JSON Patch for kubectl, with all that the rollout added
/// to the routes, but without the tests that guard ours.
fn by_hand(left: &Left) -> String {
    let (namespace, name) = left.object.split_once('/').unwrap_or_default();
    let patch = left.vs.as_ref().and_then(|vs| {
        let shape = left.rollout.original_on(vs).ok()?;
        shift(vs, &shape, &[]).ok()
    });
    let changes: Vec<_> = patch
        .into_iter()
        .flat_map(|patch| patch.0)
        .filter(|operation| !matches!(operation, PatchOperation::Test(_)))
        .collect();
    match serde_json::to_string(&changes) {
        Ok(changes_as_json) if !changes.is_empty() => format!(
            "kubectl patch virtualservice {name} -n {namespace} --type=json -p '{changes_as_json}'"
        ),
        _ => format!("kubectl edit virtualservice {name} -n {namespace}"),
    }
}
