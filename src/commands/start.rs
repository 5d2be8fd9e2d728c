//! `start`: preflight, then drive the rollout to its end.

use clap::Args;

use super::drive::{Departure, Drive, drive, emit, left, lock};
use super::prepare::{Prepared, RolloutArgs, prepare};
use super::{CommandError, Environment};
use crate::engine::{Action, Finish, Horizon, Intent, Signals, Written, write};
use crate::plan::Level;
use crate::record::{EventKind, Outcome, Phase, Rollout};
use crate::traffic::VirtualService;
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
}

/// Starts a rollout and drives it.
///
/// RBAC: `get`, `watch` and `patch` on `virtualservices`; `list` on `destinationrules` and `pods`;
/// `get` on `services`; `get`, `create` and `update` on `leases`; `get` on `services/proxy` in
/// Prometheus' namespace unless it has a URL.
///
/// # Errors
/// Whatever keeps it from starting; traffic is untouched then.
pub async fn start(
    environment: &mut Environment<'_>,
    args: &Start,
) -> Result<(VirtualService, Finish), CommandError> {
    let mut signals = std::mem::replace(&mut environment.signals, Signals::none());
    let prepared = tokio::select! {
        biased;
        signal = signals.next() => return Err(CommandError::Interrupted(signal)),
        prepared = prepare(environment, &args.rollout) => prepared?,
    };
    environment.signals = signals;
    prepared.check()?;
    announce(environment, &prepared);
    let Prepared {
        vs,
        rollout,
        first,
        subsets,
        targets,
        youngest,
        before,
        ..
    } = prepared;
    let Some(targets) = targets else {
        return Err(CommandError::Conflict(format!(
            "the versions of {} cannot be told apart",
            vs.full_name()
        )));
    };
    let metrics = environment.metrics(&rollout.plan.prometheus)?;
    let keeper = lock(environment, &vs, &rollout.run).await?;
    let now = environment.clock.now();
    let next = rollout.at_step(first, Phase::Progressing, now);
    if args.no_wait {
        let finish = take_first_step(environment, &vs, next).await;
        keeper.release().await;
        return finish.map(|finish| (vs, finish));
    }
    let departure = Departure {
        first: first_action(&rollout, next),
        vs: vs.clone(),
        rollout,
        horizon: Horizon {
            one_step: false,
            leave_at_gate: args.drive.leave_at_gate,
        },
        subsets,
        targets,
        since: now,
        youngest,
        history: before.map_or_else(History::unknown, |before| before.history),
    };
    let finish = drive(environment, keeper, metrics.as_ref(), departure).await;
    Ok((vs, finish))
}

/// A rollout whose only step is 100 % without a bake is over as soon as it is written.
fn first_action(rollout: &Rollout, next: Rollout) -> Action {
    let plan = &rollout.plan;
    let ends_here = plan.is_last(next.step) && plan.dwell_of(next.step).unsigned().is_zero();
    if ends_here {
        Action::Complete(Box::new(next))
    } else {
        Action::Write(Box::new(next))
    }
}

fn announce(environment: &mut Environment<'_>, prepared: &Prepared) {
    let (vs, rollout) = (&prepared.vs, &prepared.rollout);
    let routes = rollout
        .routes
        .iter()
        .filter_map(|split| split.find(vs))
        .map(ToString::to_string);
    let event = EventKind::Planned {
        stable: rollout.stable.to_string(),
        canary: rollout.canary.to_string(),
        routes: routes.collect(),
        left_behind: prepared.left_behind.clone(),
        steps: rollout
            .plan
            .steps
            .as_slice()
            .iter()
            .map(|step| step.weight)
            .collect(),
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
    emit(environment, vs, &rollout.run, event);
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
        emit(environment, vs, &rollout.run, EventKind::Warning { text });
    }
}

async fn take_first_step(
    environment: &mut Environment<'_>,
    vs: &VirtualService,
    next: Rollout,
) -> Result<Finish, CommandError> {
    let intent = Intent::State(Box::new(next.clone()));
    let routes = intent.changes(vs).unwrap_or_default();
    let began = tokio::time::Instant::now();
    match write(&environment.cluster, vs, &intent).await {
        Ok(Written::Done(_)) => {}
        Ok(Written::NotAsBelieved(_)) => {
            let object = vs.full_name();
            return Err(CommandError::Conflict(format!(
                "virtualservice {object} changed while the rollout started (try: again)"
            )));
        }
        Ok(Written::Failed(error)) => return Err(error.into()),
        Err(error) => {
            return Err(CommandError::Conflict(format!(
                "virtualservice {}: {error}",
                vs.full_name()
            )));
        }
    }
    let event = EventKind::StepStarted {
        step: next.step + 1,
        steps: next.plan.len(),
        weight: next.weight(),
        routes,
        took_millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let run = next.run.clone();
    emit(environment, vs, &run, event);
    Ok(left(next, Outcome::StepPassed, environment.clock.now()))
}
