//! Waiting for the lease of a driver that may be dead, with an eye on the canary.
//!
//! The lease tells only in time whether its holder lives. A canary that looks bad until then is not to be
//! left alone: the lease is seized, and what follows decides as any driver does. A holder that lives after
//! all notices at its next write, as that is fenced by the object's state.

use std::pin::pin;

use tokio::time::sleep;

use super::analysis_setup::{analysis_of, collector};
use super::canary_pods::CanaryPods;
use super::lock::settled;
use crate::cluster::{Lease, LeaseError, LeaseGuard};
use crate::context::Context;
use crate::discovery::{PastTime, VersionFacts, live_metrics, past_of};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::metrics::MetricsReading;
use crate::rollout::{Action, Cause, EventKind, Machine, Phase, Rollout, StopAt};

/// Reads what has to be known before a rollout is taken over, and takes its lease meanwhile.
///
/// # Errors
/// If another driver is alive, or the versions cannot be read.
pub(super) async fn stand_by(
    context: &mut Context<'_>,
    vs: &VirtualService,
    rollout: &Rollout,
) -> Result<(VersionFacts, LeaseGuard), CommandError> {
    let lease = || Lease::of(&context.cluster, vs, &context.clock);
    let (first, again) = (lease(), lease());
    let shown = first.status().await.ok();
    if let Some(before) = shown.and_then(|status| status.holder) {
        let seconds = Lease::DURATION.as_secs();
        let text = format!("waiting up to {seconds}s to see whether {before} is still driving");
        context.emit(vs, &rollout.run, EventKind::Warning { text });
    }
    context.actor.known().await;
    let holder = context.holder();
    let (taken, facts, alarmed) = {
        let context: &Context<'_> = context;
        let mut taking = pin!(first.acquire(&holder));
        let mut reading = pin!(read_versions(context, rollout));
        tokio::select! {
            biased;
            taken = &mut taking => match taken {
                Err(error @ LeaseError::Held { .. }) => return Err(error.into()),
                taken => (taken, reading.await, false),
            },
            facts = &mut reading => match facts {
                Err(error) => (taking.await, Err(error), false),
                Ok(versions) => tokio::select! {
                    biased;
                    taken = &mut taking => (taken, Ok(versions), false),
                    () = until_bad(context, rollout, &versions) => {
                        (again.seize(&holder).await, Ok(versions), true)
                    }
                },
            },
        }
    };
    if alarmed {
        let text = format!(
            "{} looks bad: taking over without waiting for the lease",
            rollout.canary
        );
        context.emit(vs, &rollout.run, EventKind::Warning { text });
    }
    let guard = settled(context, vs, &rollout.run, taken)?;
    match facts {
        Ok(versions) => Ok((versions, guard)),
        Err(error) => {
            guard.release().await;
            Err(error)
        }
    }
}

async fn read_versions(
    context: &Context<'_>,
    rollout: &Rollout,
) -> Result<VersionFacts, CommandError> {
    let mut versions = VersionFacts::read(context, rollout).await?;
    let past = PastTime::of(rollout);
    let past = past_of(context, rollout, &versions.targets, past).await?;
    (versions.history, versions.reading) = past;
    if rollout.plan.samples_pods() {
        versions.reading = MetricsReading::default();
    }
    Ok(versions)
}

/// Looks at the canary as a driver does, and returns when a driver would take its traffic away.
async fn until_bad(context: &Context<'_>, rollout: &Rollout, versions: &VersionFacts) {
    let Ok(metrics) = live_metrics(context, rollout, versions) else {
        return std::future::pending().await;
    };
    // The time without a driver is no step that took too long.
    let rollout = Rollout {
        since: context.clock.now(),
        ..rollout.clone()
    };
    let exposure = rollout.exposure();
    let interval = rollout.plan.interval.unsigned();
    let within = rollout.plan.query_timeout.unsigned();
    let mut collector = collector(&rollout, versions);
    let mut pods = CanaryPods::new(&context.cluster, &rollout, versions.clone());
    let analysis = analysis_of(&rollout, &versions.history);
    let mut machine = Machine::new(rollout, analysis, StopAt::END);
    loop {
        let now = context.clock.now();
        machine.know_canary_since(pods.since());
        if let Ok(answers) = collector.ask(metrics.as_ref(), now, within).await {
            let coverage = metrics.coverage();
            let mut observation =
                collector.take(&answers, |at| coverage.share(machine.share_at(at)));
            observation.mirrored = collector.take_mirrored(&answers, |at| machine.exposure_at(at));
            match machine.look(&observation, now, &mut |_| {}) {
                Action::RollBack {
                    cause: Cause::Regression,
                    ..
                } => return,
                Action::Write(next) if next.phase == Phase::Tripped => return,
                Action::RollBack { .. }
                | Action::Write(_)
                | Action::Wait
                | Action::Complete(_)
                | Action::Leave(_) => {}
            }
        }
        tokio::select! {
            () = pods.go_down(), if machine.needs_pods_at(exposure) => return,
            () = sleep(interval) => {}
        }
    }
}
