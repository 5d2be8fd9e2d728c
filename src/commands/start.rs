//! `start`: preflight, then drive the rollout to its end.

use clap::Args;

use super::detach::Detach;
use super::drive::Drive;
use super::rollout_args::RolloutArgs;
use crate::context::Context;
use crate::discovery::{ReadyRollout, prepare};
use crate::driver::Finish;
use crate::driver::{Begun, begin};
use crate::driver::{DriveInput, drive, emit, left, lock, names_of_routes, unless_interrupted};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::plan::Level;
use crate::rollout::{Action, StopAt};
use crate::rollout::{EventKind, LastRollout, Outcome, Phase, Rollout};
use crate::verdict::sequential::History;

/// What `start` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Start {
    /// What to roll out, and how.
    #[command(flatten)]
    pub rollout: RolloutArgs,
    /// Move to the first step and end, for pipelines that drive the steps themselves with `promote`.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to stay.
    #[command(flatten)]
    pub drive: Drive,
    /// Whether a Job in the cluster drives.
    #[command(flatten)]
    pub detach: Detach,
}

/// Starts a rollout and drives it.
///
/// RBAC: `get`, `list`, `watch` and `patch` on `virtualservices`; `list` on `destinationrules`,
/// `pods` and `horizontalpodautoscalers`; `get` on `services`; `get`, `create` and `update` on
/// `leases`; `get` on `services/proxy` in Prometheus' namespace unless it has a URL.
///
/// # Errors
/// Whatever keeps it from starting; traffic is untouched then.
pub async fn start(
    context: &mut Context<'_>,
    args: &Start,
) -> Result<(VirtualService, Finish), CommandError> {
    let (prepared, guard) = unless_interrupted(context, async |context| {
        let prepared = prepare(context, args.rollout.resolve(context)?).await?;
        prepared.check()?;
        announce(context, &prepared);
        let guard = lock(context, &prepared.vs, &prepared.rollout.run).await?;
        Ok((prepared, guard))
    })
    .await?;
    let ReadyRollout {
        vs,
        companions,
        rollout,
        first,
        subsets,
        youngest,
        before,
        canary_pods,
        targets: Some(targets),
        ..
    } = prepared
    else {
        return Err(CommandError::Conflict(format!(
            "the versions of {} cannot be told apart",
            prepared.vs.full_name()
        )));
    };
    let metrics = context.metrics(&rollout.plan.prometheus)?;
    let now = context.clock.now();
    let next = rollout.at_step(first, Phase::Progressing, now);
    let begun = begin(context, vs, companions, &rollout, next.clone()).await;
    let Begun {
        vs: begun,
        companions,
        whole,
    } = match begun {
        Ok(begun) => begun,
        Err(error) => {
            guard.release().await;
            return Err(error);
        }
    };
    let outcome = match LastRollout::read(&begun) {
        Some(ending) if ending.run == next.run => Some(ending.outcome),
        _ => None,
    };
    // What is not whole yet needs somebody who sees to it that it is.
    if args.no_wait && whole {
        guard.release().await;
        let outcome = outcome.unwrap_or(Outcome::StepPassed);
        return Ok((begun, left(next, outcome, context.clock.now())));
    }
    let departure = DriveInput {
        rollout: Rollout::read(&begun)?.unwrap_or(next),
        first: outcome.map_or(Action::Wait, Action::Leave),
        vs: begun.clone(),
        companions,
        stop_at: StopAt {
            one_step: false,
            leave_at_gate: args.drive.leave_at_gate,
        },
        subsets,
        canary_pods,
        targets,
        since: now,
        youngest,
        history: before.map_or_else(History::unknown, |before| before.history),
    };
    let finish = drive(context, guard, metrics.as_ref(), departure).await;
    Ok((begun, finish))
}

pub(super) fn announce(context: &mut Context<'_>, prepared: &ReadyRollout) {
    let (vs, rollout) = (&prepared.vs, &prepared.rollout);
    let event = EventKind::Planned {
        stable: rollout.stable.to_string(),
        canary: rollout.canary.to_string(),
        routes: names_of_routes(rollout, vs, &prepared.companions),
        left_behind: prepared.left_behind.clone(),
        steps: rollout.plan.rungs(),
        skipped: prepared.skipped.clone(),
        prometheus: rollout.plan.prometheus.clone(),
        expected: prepared
            .forecast
            .as_ref()
            .and_then(|forecast| forecast.total),
        requests_per_second: prepared
            .forecast
            .as_ref()
            .map(|forecast| forecast.requests_per_second),
        resumed_from: None,
    };
    emit(context, vs, &rollout.run, event);
    for finding in prepared
        .findings
        .iter()
        .filter(|finding| finding.level == Level::Warn)
    {
        let text = match (&finding.why, &finding.fix) {
            (None, _) => finding.what.clone(),
            (Some(why), None) => format!("{}: {why}", finding.what),
            (Some(why), Some(fix)) => format!("{}: {why} (try: {fix})", finding.what),
        };
        emit(context, vs, &rollout.run, EventKind::Warning { text });
    }
}
