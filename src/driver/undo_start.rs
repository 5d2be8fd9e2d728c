//! Rolling back what has moved, when another object of the group cannot be patched.

use json_patch::PatchOperation;

use super::rollback::{Initiator, RollbackError, RollbackRequest};
use super::rollback_group::{GroupNotRestored, NotRestored, roll_back_group};
use crate::context::Context;
use crate::error::CommandError;
use crate::istio::{AnnotationEdit, DesiredRoutes, VirtualService, shift};
use crate::plan::shell_word;
use crate::rollout::{Cause, Group, Rollout};
use crate::signals::Signals;

/// Restores the original weights of all objects.
///
/// # Errors
/// [`CommandError::RollbackFailed`] if that did not work, or was interrupted by a signal.
pub async fn undo_start(
    context: &mut Context<'_>,
    group: Group,
    rollout: &Rollout,
    cause: Cause,
) -> Result<(), CommandError> {
    let (cluster, clock) = (context.cluster.clone(), context.clock.clone());
    let request = RollbackRequest {
        cluster: &cluster,
        clock: &clock,
        cause,
        by: &rollout.holder,
        initiator: Initiator::Driver { overwrite: false },
        timeout: rollout.plan.rollback_timeout.unsigned(),
    };
    let mut signals = std::mem::replace(&mut context.signals, Signals::none());
    let mut tell = |event| context.emit(&group.lead, &rollout.run, event);
    let restored = {
        let back = roll_back_group(&request, &group, rollout, None, &mut tell);
        tokio::select! {
            biased;
            restored = back => Some(restored),
            _ = signals.next() => None,
        }
    };
    context.signals = signals;
    match restored {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(rollback_failed(&group.lead, error)),
        None => Err(CommandError::RollbackFailed {
            object: group.lead.full_name(),
            why: "interrupted by a signal".into(),
            manual: Rollout::abort_command(&group.lead),
        }),
    }
}

/// The error for traffic that needs manual attention, with what to type for each object that is left.
pub fn rollback_failed(vs: &VirtualService, error: GroupNotRestored) -> CommandError {
    let manual: Vec<_> = error.0.iter().map(by_hand).collect();
    let objects: Vec<_> = error.0.iter().map(|left| left.object.clone()).collect();
    CommandError::RollbackFailed {
        object: match objects.is_empty() {
            true => vs.full_name(),
            false => objects.join(", "),
        },
        why: error.into_error().to_string(),
        manual: manual.join("; "),
    }
}

/// What does the same without this program: a JSON Patch for kubectl, with all that the rollout added
/// to the routes, but without the tests that guard ours.
fn by_hand(left: &NotRestored) -> String {
    let (namespace, name) = left.object.split_once('/').unwrap_or_default();
    let abort = format!("kubectl canary abort {name} -n {namespace}");
    let edit = || format!("kubectl edit virtualservice {name} -n {namespace}");
    let Some(vs) = &left.vs else {
        return edit();
    };
    let patch = match left.rollout.original_on(vs) {
        Ok(desired) => patch_command(vs, &desired, &[]),
        // The rules that were added go first, and with them the places that a patch would name.
        Err(_) if left.rollout.plan.adds_rules() => None,
        Err(_) => patch_command(vs, &left.rollout.original_of_unaccounted(vs), &[]),
    };
    let by_hand = patch.unwrap_or_else(edit);
    match left.error {
        RollbackError::Impossible(_) => {
            format!("{by_hand}, then {abort}; or {abort} --forget, which leaves it as it is")
        }
        _ => by_hand,
    }
}

/// The kubectl command that makes the routes and annotations of `vs` what is wanted, if anything is to be
/// changed.
pub(super) fn patch_command(
    vs: &VirtualService,
    desired: &DesiredRoutes,
    annotations: &[(&'static str, AnnotationEdit)],
) -> Option<String> {
    let patch = shift(vs, desired, annotations).ok()?;
    let changes: Vec<_> = patch
        .0
        .into_iter()
        .filter(|operation| !matches!(operation, PatchOperation::Test(_)))
        .collect();
    let json = serde_json::to_string(&changes).ok()?;
    let (name, namespace) = (vs.name(), vs.namespace());
    (!changes.is_empty()).then(|| {
        format!(
            "kubectl patch virtualservice {name} -n {namespace} --type=json -p {}",
            shell_word(&json)
        )
    })
}
