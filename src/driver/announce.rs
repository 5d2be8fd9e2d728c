//! What is told before a driver begins.

use super::steps::step_started;
use crate::context::Context;
use crate::discovery::{ReadyRollout, VersionFacts};
use crate::plan::{Forecast, Level, OnHookFailure};
use crate::rollout::{EventKind, Group, Phase, Reason, Rollout};

/// Tells what is about to start, with every warning of the preflight.
pub fn announce_start(context: &mut Context<'_>, ready: &ReadyRollout) {
    let (lead, rollout) = (&ready.group.lead, &ready.rollout);
    let left_behind = ready.left_behind.clone();
    let forecast = ready.forecast.as_ref();
    let versions = ready.versions.as_ref();
    let event = planned(
        (&ready.group, rollout),
        left_behind,
        (forecast, versions),
        None,
    );
    context.emit(lead, &rollout.run, event);
    for finding in &ready.findings {
        if finding.level == Level::Warn {
            let text = finding.to_string();
            context.emit(lead, &rollout.run, EventKind::Warning { text });
        }
    }
}

/// Tells that this process goes on with a rollout, which `before` was the state of.
pub fn announce_takeover(
    context: &mut Context<'_>,
    group: &Group,
    before: &Rollout,
    rollout: &Rollout,
    versions: &VersionFacts,
) {
    let from = Some(before.holder.clone());
    let event = planned((group, rollout), Vec::new(), (None, Some(versions)), from);
    context.emit(&group.lead, &rollout.run, event);
    let event = match rollout.phase {
        Phase::Waiting => EventKind::Waiting {
            exposure: rollout.exposure(),
            reasons: vec![Reason::WaitsForPromote],
        },
        Phase::Progressing | Phase::Paused | Phase::Tripped => {
            step_started(rollout, group.changes(before, rollout), 0)
        }
    };
    context.emit(&group.lead, &rollout.run, event);
    if rollout.phase == Phase::Paused {
        let event = paused(before, rollout);
        context.emit(&group.lead, &rollout.run, event);
    }
}

/// Why a rollout is paused, as whoever was there when it began was told.
fn paused(before: &Rollout, rollout: &Rollout) -> EventKind {
    match &rollout.hook_failure {
        Some(failure) => EventKind::HookFailed {
            step: failure.step,
            exposure: failure.exposure,
            why: failure.why.clone(),
            policy: OnHookFailure::Hold,
        },
        None => EventKind::Paused {
            by: before.changed_by.as_ref().unwrap_or(&before.holder).clone(),
        },
    }
}

fn planned(
    (group, rollout): (&Group, &Rollout),
    left_behind: Vec<String>,
    (forecast, versions): (Option<&Forecast>, Option<&VersionFacts>),
    resumed_from: Option<String>,
) -> EventKind {
    EventKind::Planned {
        stable: rollout.stable.to_string(),
        canary: rollout.canary.to_string(),
        stable_pods: versions.map(|versions| versions.stable_pods.clone()),
        canary_pods: versions.map(|versions| versions.canary_pods.clone()),
        routes: group.route_names(rollout),
        left_behind,
        steps: rollout.plan.planned_steps(rollout.original_share()),
        prometheus: rollout.plan.prometheus.clone(),
        expected: forecast.and_then(|forecast| forecast.total),
        requests_per_second: forecast.map(|forecast| forecast.requests_per_second),
        power: rollout.power.clone(),
        resumed_from,
        by: rollout.holder.clone(),
        on_signal: rollout.plan.on_signal,
    }
}
