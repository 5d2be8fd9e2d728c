//! Undoing a promotion: the one road back, from what the end of the rollout keeps on the object.

use super::finish::Finish;
use super::lock::lock;
use super::rollback::{Initiator, RollbackError, RollbackRequest};
use super::rollback_group::{GroupNotRestored, roll_back_group};
use super::undo_start::{patch_command, rollback_failed};
use crate::cluster::LeaseGuard;
use crate::context::Context;
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::plan::HumanDuration;
use crate::rollout::{Cause, Group, Outcome, PromotionState, Reason, Rollout, promotion_on};
use crate::signals::Signals;

/// Restores the weights that `group` had before the promotion that `rollout` tells of. The companions are
/// read already.
///
/// The lease keeps drivers out meanwhile; where one is held, its holder is about to start a rollout.
///
/// # Errors
/// If an object is not as the promotion left it; traffic is untouched then. Later
/// [`CommandError::RollbackFailed`].
pub async fn undo_promotion(
    context: &mut Context<'_>,
    group: Group,
    rollout: &Rollout,
    timeout: HumanDuration,
) -> Result<(VirtualService, Finish), CommandError> {
    check(&group, rollout)?;
    let guard = match context.cluster.stores() {
        true => {
            let locked = context
                .unless_interrupted(async |context| lock(context, &group.lead, &rollout.run).await);
            locked.await?
        }
        false => LeaseGuard::without_lease(&context.holder()),
    };
    let done = undo(context, &group, rollout, timeout).await;
    guard.release().await;
    done
}

async fn undo(
    context: &mut Context<'_>,
    group: &Group,
    rollout: &Rollout,
    timeout: HumanDuration,
) -> Result<(VirtualService, Finish), CommandError> {
    let (cluster, clock) = (context.cluster.clone(), context.clock.clone());
    context.actor.known().await;
    let actor = context.actor.by();
    let request = RollbackRequest {
        cluster: &cluster,
        clock: &clock,
        cause: Cause::Undo,
        by: &actor,
        initiator: Initiator::Undo,
        timeout: timeout.unsigned(),
    };
    let mut signals = std::mem::replace(&mut context.signals, Signals::none());
    let mut tell = |event| context.emit(&group.lead, &rollout.run, event);
    let restored = {
        let back = roll_back_group(&request, group, rollout, None, &mut tell);
        tokio::select! {
            biased;
            restored = back => Some(restored),
            _ = signals.next() => None,
        }
    };
    context.signals = signals;
    let restored = match restored {
        Some(Ok(restored)) => restored,
        Some(Err(error)) => return Err(not_undone(&group.lead, error)),
        None => {
            let (name, namespace) = (group.lead.name(), group.lead.namespace());
            return Err(CommandError::Unconfirmed {
                object: group.lead.full_name(),
                what: "a signal came while the promotion was undone".into(),
                next: format!("kubectl canary undo {name} -n {namespace}"),
            });
        }
    };
    let by = actor.clone();
    let finish = Finish {
        rollback: Some(restored.took),
        reasons: vec![Reason::Requested { by }],
        ..Finish::without_driving(
            rollout.clone(),
            Outcome::RolledBack(Cause::Undo),
            context.clock.now(),
        )
    };
    context.emit(&restored.vs, &rollout.run, finish.event(None));
    Ok((restored.vs, finish))
}

/// Whether every object is as the promotion left it.
fn check(group: &Group, rollout: &Rollout) -> Result<(), CommandError> {
    let lead = std::iter::once((None, &group.lead, rollout.clone()));
    let companions = group.members(rollout).map(|(companion, vs)| {
        let own = rollout.of_companion(&group.lead, companion);
        (Some(&companion.uid), vs, own)
    });
    for (uid, vs, own) in lead.chain(companions) {
        let why = match promotion_on(&own, vs) {
            _ if uid.is_some_and(|uid| uid != vs.uid()) => {
                "it was deleted and recreated since".to_owned()
            }
            PromotionState::Stands | PromotionState::Undone => continue,
            PromotionState::UnderWay(holder) => {
                return Err(CommandError::Conflict(format!(
                    "a rollout is in progress on virtualservice {}, held by {holder} (try: {})",
                    vs.full_name(),
                    Rollout::abort_command(vs)
                )));
            }
            PromotionState::Changed(why) => why,
        };
        let desired = own.original_on(vs).ok();
        let by_hand = desired.and_then(|desired| patch_command(vs, &desired, &[]));
        let by_hand = by_hand.unwrap_or_else(|| {
            format!(
                "kubectl edit virtualservice {} -n {}",
                vs.name(),
                vs.namespace()
            )
        });
        return Err(CommandError::Conflict(format!(
            "virtualservice {} is not as the promotion of {} left it: {why} (try: {by_hand})",
            vs.full_name(),
            rollout.canary,
        )));
    }
    Ok(())
}

/// The error for an undo that could not be made: where it stopped before its only object, traffic is
/// untouched.
fn not_undone(lead: &VirtualService, error: GroupNotRestored) -> CommandError {
    if let [alone] = error.0.as_slice()
        && alone.rollout.companions.is_empty()
        && alone.is_lead
        && let RollbackError::TakenOver(_) | RollbackError::PromotionChanged(_) = &alone.error
    {
        return CommandError::Conflict(format!(
            "virtualservice {} changed while its promotion was undone: {} (try: kubectl canary status {} -n {})",
            lead.full_name(),
            alone.error,
            lead.name(),
            lead.namespace()
        ));
    }
    rollback_failed(lead, error)
}
