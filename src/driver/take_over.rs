//! Going on with a rollout whose driver died, or that never had one.

use super::announce::announce_takeover;
use super::change_state::{Changed, change};
use super::drive::{DriveInput, drive};
use super::finish::Finish;
use super::standby::stand_by;
use crate::cluster::LeaseGuard;
use crate::context::Context;
use crate::discovery::{VersionFacts, live_metrics, under_way};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::metrics::MetricSource;
use crate::rollout::{Action, EventKind, Intent, Observed, Outcome, Rollout, StopAt, compare};

/// Moves the rollout to what `decide` makes of it, under this process's name, and drives on from there, as
/// far as `stop_at` says of what it was before. No other driver may be alive.
///
/// # Errors
/// Whatever keeps it from going on; traffic is untouched then.
pub async fn take_over(
    context: &mut Context<'_>,
    name: &str,
    stop_at: impl FnOnce(&Rollout) -> StopAt,
    mut decide: impl FnMut(&VirtualService, Rollout) -> Result<Intent, CommandError>,
) -> Result<(VirtualService, Finish), CommandError> {
    // Watching the canary while the lease is waited for takes a large future, which no caller has to hold.
    let survey = context.unless_interrupted(async |context| Box::pin(survey(context, name)).await);
    let (metrics, versions, guard) = survey.await?;
    let (now, holder) = (context.clock.now(), context.holder());
    let (mut before, mut drifted) = (None, None);
    let changed = context.unless_interrupted(async |context| {
        change(context, name, |vs, rollout| {
            before = Some(rollout.clone());
            drifted = match compare(&rollout, vs) {
                Observed::Drifted { manager, drift } => Some((manager, drift)),
                _ => None,
            };
            let mut intent = decide(vs, rollout)?;
            if let Intent::State(next) = &mut intent {
                next.holder.clone_from(&holder);
                // The step's deadline starts anew: the time without a driver is not the canary's fault.
                next.since = now;
                if drifted.is_some() {
                    // What was seen at other weights is no evidence for these.
                    next.begin_again(now);
                }
            }
            Ok(Some(intent))
        })
        .await
    });
    let (group, intent, before) = match changed.await {
        Ok(Changed {
            group,
            intent: Some(intent),
        }) => (group, intent, before),
        Ok(Changed { group, .. }) => {
            guard.release().await;
            let rollout = under_way(&group.lead)?;
            let finish = Finish::without_driving(rollout, Outcome::Held, now);
            return Ok((group.lead, finish));
        }
        Err(error) => {
            guard.release().await;
            return Err(error);
        }
    };
    let (rollout, first) = match intent {
        Intent::State(rollout) | Intent::RestoreRest(rollout, _) => (*rollout, Action::Wait),
        Intent::Complete(rollout, last)
        | Intent::Restore(rollout, last)
        | Intent::RestoreAndForget(rollout, last) => (*rollout, Action::Leave(last.outcome)),
    };
    let stop_at = stop_at(before.as_ref().unwrap_or(&rollout));
    let vs = group.lead.clone();
    if let Some((manager, drift)) = drifted {
        let text =
            format!("{manager} had changed the routes: {drift}; the step's weights are set again");
        context.emit(&vs, &rollout.run, EventKind::Warning { text });
    }
    let rollout = match before {
        Some(before) => {
            announce_takeover(context, &group, &before, &rollout, &versions);
            rollout.in_force_at(&before, context.clock.now())
        }
        None => rollout,
    };
    let input = DriveInput {
        group,
        rollout,
        first,
        stop_at,
        metrics,
        versions,
    };
    let finish = Box::pin(drive(context, guard, input)).await;
    Ok((vs, finish))
}

/// Reads what has to be known before a rollout is taken over, and takes its lease.
async fn survey(
    context: &mut Context<'_>,
    name: &str,
) -> Result<(Box<dyn MetricSource>, VersionFacts, LeaseGuard), CommandError> {
    let asked = context.cluster.virtual_service(&context.namespace, name);
    let vs = asked.await?;
    let rollout = under_way(&vs)?;
    // An address that cannot be used is better known before the lease is waited for.
    context.metrics_of(&rollout)?;
    let (versions, guard) = stand_by(context, &vs, &rollout).await?;
    match live_metrics(context, &rollout, &versions) {
        Ok(metrics) => Ok((metrics, versions, guard)),
        Err(error) => {
            guard.release().await;
            Err(error)
        }
    }
}
