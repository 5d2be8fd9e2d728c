//! `start`: preflight, then drive the rollout to its end.

use clap::Args;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::drive::Drive;
use super::rollout_args::RolloutArgs;
use super::run_id::run_id;
use crate::context::Context;
use crate::discovery::{ReadyRollout, live_metrics, prepare};
use crate::driver::{Begun, DriveInput, Finish, announce_start, begin, collector, drive, lock};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::metrics::MetricSource;
use crate::plan::{Finding, HumanDuration};
use crate::rollout::{Action, EventKind, LastRollout, Outcome, Phase, Rollout, StopAt};

/// What `start` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Start {
    /// The rollout.
    #[command(flatten)]
    pub rollout: RolloutArgs,
    /// The run's id, by which `abort --run` finds it again: a DNS label that no earlier run had
    /// [default: a random one].
    #[arg(long, value_name = "ID", value_parser = run_id)]
    pub run_id: Option<String>,
    /// Set the first step and exit, for pipelines that advance the steps with `promote`.
    #[arg(long, conflicts_with = "leave_at_gate")]
    pub no_wait: bool,
    /// When to exit.
    #[command(flatten)]
    pub drive: Drive,
    /// The Job in the cluster.
    #[command(flatten)]
    pub detach: Detach,
}

impl Start {
    /// Gives the run the id that was chosen.
    pub(super) fn name_run(&self, context: &mut Context<'_>) {
        if let Some(run) = &self.run_id {
            context.run.clone_from(run);
        }
    }
}

/// Who drives, if not this process.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "In the cluster")]
pub struct Detach {
    /// Let a Job in the cluster drive the rollout, and end as soon as it has begun.
    #[arg(long, conflicts_with_all = ["no_wait", "leave_at_gate"])]
    pub detach: bool,
    /// Image of the Job, with kubectl-canary on its PATH [default: the one of this version, if the release
    /// has one].
    #[arg(
        long,
        value_name = "IMAGE",
        env = "KUBECTL_CANARY_IMAGE",
        requires = "detach"
    )]
    pub image: Option<String>,
    /// Service account of the Job, with the rights that `kubectl canary rbac` prints
    /// [default: kubectl-canary].
    #[arg(long, value_name = "NAME", requires = "detach")]
    pub service_account: Option<String>,
    /// Secret with which the Job logs in at Prometheus: its key config.yaml is what --prometheus-config reads,
    /// and names other keys of it as files.
    #[arg(long, value_name = "NAME", requires = "detach")]
    pub prometheus_secret: Option<String>,
    /// How long the Job may take to begin; it does not begin later [default: 2m].
    #[arg(long, value_name = "DURATION", requires = "detach")]
    pub begin_within: Option<HumanDuration>,
    /// Set by the Job: until when it may begin the run that its pods drive, one after the other.
    #[arg(long, value_name = "TIME", hide = true, requires = "run_id")]
    pub begin_by: Option<Timestamp>,
}

/// Starts a rollout and drives it. A canary that has all the traffic already is no error.
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
    args.name_run(context);
    let ready = context.unless_interrupted(async |context| {
        let ready = prepare(context, args.rollout.resolve(context)?).await?;
        ready.check()?;
        if ready.already_promoted {
            return Ok((ready, None));
        }
        // It is the user's own, whether a flag or a file says it.
        let address = ready.rollout.plan.prometheus.clone();
        context.prometheus.set_address(Some(address));
        announce_start(context, &ready);
        run_hook(context, &ready).await?;
        let metrics = first_samples(context, &ready).await?;
        let guard = lock(context, &ready.group.lead, &ready.rollout.run).await?;
        Ok((ready, Some((guard, metrics))))
    });
    let (ready, guard) = ready.await?;
    let Some((guard, sampled)) = guard else {
        return Ok(already_promoted(context, ready));
    };
    let ReadyRollout {
        group,
        rollout,
        first,
        versions,
        ..
    } = ready;
    let Some(versions) = versions else {
        return Err(CommandError::Conflict(format!(
            "the versions of {} cannot be distinguished",
            group.lead.full_name()
        )));
    };
    let metrics = match sampled {
        Some(sampled) => sampled,
        None => context.metrics(&rollout.plan.prometheus)?,
    };
    let next = rollout.at_step(first, Phase::Progressing, context.clock.now());
    let Begun { group, whole } = match begin(context, group, &rollout, &next).await {
        Ok(begun) => begun,
        Err(error) => {
            guard.release().await;
            return Err(error);
        }
    };
    let vs = group.lead.clone();
    let last = LastRollout::of_run(&vs, &next.run);
    let outcome = last.map(|last| last.outcome);
    // A group that has not moved as a whole needs a driver that completes the step.
    if args.no_wait && whole {
        guard.release().await;
        let outcome = outcome.unwrap_or(Outcome::StepSet);
        let finish = Finish::without_driving(next, outcome, context.clock.now());
        if outcome.ends_rollout() {
            let run = finish.rollout.run.clone();
            context.emit(&vs, &run, finish.event(None));
        }
        return Ok((vs, finish));
    }
    let input = DriveInput {
        rollout: Rollout::read(&vs)?
            .unwrap_or(next)
            .in_force_at(&rollout, context.clock.now()),
        first: outcome.map_or(Action::Wait, Action::Leave),
        group,
        stop_at: StopAt {
            after_step: None,
            leave_at_gate: args.drive.leave_at_gate,
        },
        metrics,
        versions,
    };
    let finish = drive(context, guard, input).await;
    Ok((vs, finish))
}

/// Runs the user's command before the first step, if there is one: what fails here has moved nothing.
async fn run_hook(context: &mut Context<'_>, ready: &ReadyRollout) -> Result<(), CommandError> {
    let Some(hook) = context.before_step.clone() else {
        return Ok(());
    };
    let (lead, rollout) = (&ready.group.lead, &ready.rollout);
    let next = rollout.at_step(ready.first, Phase::Progressing, context.clock.now());
    let (step, exposure) = (next.step + 1, next.exposure());
    context.emit(lead, &next.run, EventKind::HookStarted { step, exposure });
    let began = Instant::now();
    if let Err(failure) = hook.run(lead, &next).await {
        return Err(CommandError::Preflight(vec![Finding::refuse(
            format!("the command before {exposure} {}", failure.why),
            "the rollout did not start",
            "the same command again when --before-step succeeds".to_owned(),
        )]));
    }
    let took_millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let event = EventKind::HookPassed {
        step,
        exposure,
        took_millis,
    };
    context.emit(lead, &next.run, event);
    Ok(())
}

/// The counters of the pods as they stand before the first weight, where the rollout reads them. Twice, so
/// that the time between two samples is known: else the first seconds of the canary would show a second later.
async fn first_samples(
    context: &Context<'_>,
    ready: &ReadyRollout,
) -> Result<Option<Box<dyn MetricSource>>, CommandError> {
    let (rollout, Some(versions)) = (&ready.rollout, &ready.versions) else {
        return Ok(None);
    };
    if !rollout.plan.samples_pods() {
        return Ok(None);
    }
    let metrics = live_metrics(context, rollout, versions)?;
    let collector = collector(rollout, versions);
    let between = rollout.plan.judgement.scrape.unsigned();
    let begun = Instant::now();
    for at in [begun, begun + between] {
        sleep_until(at).await;
        // What does not answer now is no reason to fail before anything has begun: the driver has its policy.
        let _ = collector
            .ask(metrics.as_ref(), context.clock.now(), between)
            .await;
    }
    Ok(Some(metrics))
}

/// The end of a `start` that finds nothing to do, as that of the same command twice is.
pub(super) fn already_promoted(
    context: &mut Context<'_>,
    ready: ReadyRollout,
) -> (VirtualService, Finish) {
    let (vs, now) = (ready.group.lead, context.clock.now());
    let finish = Finish::without_driving(ready.rollout, Outcome::AlreadyPromoted, now);
    let run = finish.rollout.run.clone();
    let event = finish.event(finish.next_command(&vs));
    context.emit(&vs, &run, event);
    (vs, finish)
}
