//! The one stream of events that every renderer draws from.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::companion::ObjectName;
use super::foreign_change::Drift;
use super::metrics_outage::Unusable;
use super::outcome::{Cause, Outcome};
use super::pod_summary::PodSummary;
use super::reason::Reason;
use super::step_answers::StepAnswers;
use super::version_counts::VersionCounts;
use crate::istio::{VirtualService, Weights, in_force};
use crate::metrics::MetricsWarning;
use crate::plan::{
    AfterRegression, Exposure, HumanDuration, MetricPower, OnDrift, OnHookFailure, OnSignal,
    OnStuck, Percent, PlannedStep,
};
use crate::verdict::Verdict;
use crate::verdict::sequential::Evidence;

/// Takes events as they happen, from one that decides: it must not block.
pub trait Observer: Send {
    /// Takes one event.
    fn see(&mut self, event: &Event);
}

impl<F: FnMut(&Event) + Send> Observer for F {
    fn see(&mut self, event: &Event) {
        self(event);
    }
}

/// Something that happened in a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The format's version.
    pub version: u32,
    /// When.
    pub at: Timestamp,
    /// The VirtualService's namespace.
    pub namespace: String,
    /// The VirtualService's name.
    pub name: String,
    /// The run.
    pub run: String,
    /// What.
    pub event: EventKind,
}

impl Event {
    /// What happened in run `run` on `vs`, now.
    pub fn new(at: Timestamp, vs: &VirtualService, run: &str, event: EventKind) -> Self {
        Self::of_object(at, &ObjectName::of(vs), run, event)
    }

    /// The same for an object that could not be read.
    pub fn of_object(at: Timestamp, object: &ObjectName, run: &str, event: EventKind) -> Self {
        Self {
            version: 1,
            at,
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            run: run.to_owned(),
            event,
        }
    }
}

/// The weights of one route before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RouteChange {
    /// `http[primary]`.
    pub route: String,
    /// Before.
    pub before: Weights,
    /// After.
    pub after: Weights,
    /// The position of stable in the lists.
    pub stable: usize,
    /// The position of the canary in the lists.
    pub canary: usize,
}

impl RouteChange {
    /// The canary's part of `weights`, which are those before or after.
    pub(crate) fn canary_share(&self, weights: &Weights) -> Option<Percent> {
        let weights = in_force(weights);
        let total = weights.iter().flatten().sum();
        let canary = weights.get(self.canary)?.unwrap_or(0);
        (total > 0).then(|| Percent::of(canary, total))
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum EventKind {
    /// A rollout is about to start or go on.
    Planned {
        /// The stable version.
        stable: String,
        /// The canary.
        canary: String,
        /// What runs of stable at this moment, where that is known.
        stable_pods: Option<PodSummary>,
        /// What runs of the canary at this moment, where that is known.
        canary_pods: Option<PodSummary>,
        /// The routes to shift.
        routes: Vec<String>,
        /// Routes that keep sending to stable.
        left_behind: Vec<String>,
        /// The steps.
        steps: Vec<PlannedStep>,
        /// Where the metrics come from.
        prometheus: String,
        /// The time to 100 % that was forecast, waits for people aside.
        expected: Option<HumanDuration>,
        /// Requests per second to both versions before.
        requests_per_second: Option<f64>,
        /// What the analysis would notice of failures.
        power: Option<MetricPower>,
        /// Whether this takes over a rollout under way, and from whom.
        resumed_from: Option<String>,
        /// Who drives.
        by: String,
        /// What a signal to the driver does.
        on_signal: OnSignal,
    },
    /// The weights of a step are set.
    StepStarted {
        /// The step, from 1.
        step: usize,
        /// The number of steps.
        step_count: usize,
        /// What the canary gets.
        exposure: Exposure,
        /// What changed.
        routes: Vec<RouteChange>,
        /// How long the API server took, in milliseconds.
        took_millis: u64,
    },
    /// Requests are arriving at the canary: the data plane took the weights.
    TrafficSeen {
        /// What the canary gets, as set.
        exposure: Exposure,
        /// What was seen since.
        seen: VersionCounts,
    },
    /// The metrics were looked at.
    Analyzed {
        /// The step, from 1.
        step: usize,
        /// The number of steps.
        step_count: usize,
        /// What the canary gets.
        exposure: Exposure,
        /// What is known.
        verdict: Verdict,
        /// What was counted since the step began.
        step_counts: VersionCounts,
        /// The same of requests mirrored to the canary, and of stable beside them; `null` where none
        /// are mirrored. They reach no user and are in no other count.
        mirror_counts: Option<VersionCounts>,
        /// How these requests, or the mirrored ones where there are any, were answered beside failures.
        answers: StepAnswers,
        /// Why.
        reasons: Vec<Reason>,
        /// The evidence behind it, where the analysis weighs any.
        evidence: Option<Box<Evidence>>,
        /// What limits what the metrics show.
        warnings: Vec<MetricsWarning>,
        /// How old the newest sample is, in milliseconds.
        sample_age_millis: Option<u64>,
        /// What runs of the canary, where that is known.
        canary_pods: Option<PodSummary>,
        /// About when the canary has warmed up, where it has not yet.
        warm_at: Option<Timestamp>,
    },
    /// The step has passed.
    StepPassed {
        /// The step, from 1.
        step: usize,
        /// What the canary gets.
        exposure: Exposure,
        /// What was counted since the step began.
        step_counts: VersionCounts,
        /// The same of requests mirrored to the canary, and of stable beside them; `null` where none
        /// are mirrored. They reach no user and are in no other count.
        mirror_counts: Option<VersionCounts>,
        /// Why.
        reasons: Vec<Reason>,
    },
    /// The canary gets nothing until the regression is confirmed or cleared.
    Tripped {
        /// What the canary got before.
        exposure: Exposure,
        /// What was counted since the step began.
        step_counts: VersionCounts,
        /// The same of requests mirrored to the canary, and of stable beside them; `null` where none
        /// are mirrored. They reach no user and are in no other count.
        mirror_counts: Option<VersionCounts>,
        /// Why.
        reasons: Vec<Reason>,
        /// From the verdict to the weights, in milliseconds.
        took_millis: u64,
    },
    /// The trip is cleared: back to the step's weight.
    FalseAlarm {
        /// What the canary gets now.
        exposure: Exposure,
        /// Why.
        reasons: Vec<Reason>,
    },
    /// The canary is worse, for certain.
    Regressed {
        /// What the canary got when it was found.
        exposure: Exposure,
        /// What was counted since the step began.
        step_counts: VersionCounts,
        /// The same of requests mirrored to the canary, and of stable beside them; `null` where none
        /// are mirrored. They reach no user and are in no other count.
        mirror_counts: Option<VersionCounts>,
        /// Why.
        reasons: Vec<Reason>,
    },
    /// The weight stays until `promote` or `abort`.
    Waiting {
        /// What the canary gets.
        exposure: Exposure,
        /// Why.
        reasons: Vec<Reason>,
    },
    /// The rollout was paused.
    Paused {
        /// Who.
        by: String,
    },
    /// The rollout was resumed.
    Resumed {
        /// Who.
        by: String,
    },
    /// The rollout was moved by `promote`.
    Promoted {
        /// Who.
        by: String,
        /// What the canary gets now.
        exposure: Exposure,
    },
    /// The metrics cannot be used.
    MetricsUnavailable {
        /// Why.
        why: Unusable,
        /// For how long already.
        lasted: HumanDuration,
        /// For how long that is allowed.
        grace: HumanDuration,
    },
    /// The metrics can be used again.
    MetricsBack {
        /// For how long they were away.
        after: HumanDuration,
    },
    /// A step's time, or the metrics' grace, is up.
    NoVerdict {
        /// Why.
        reasons: Vec<Reason>,
        /// What is done.
        policy: OnStuck,
    },
    /// The user's command before a step was started.
    HookStarted {
        /// The step to come, from 1.
        step: usize,
        /// What the canary gets there.
        exposure: Exposure,
    },
    /// It has succeeded.
    HookPassed {
        /// The step to come, from 1.
        step: usize,
        /// What the canary gets there.
        exposure: Exposure,
        /// How long it took, in milliseconds.
        took_millis: u64,
    },
    /// It has failed.
    HookFailed {
        /// The step that was to come, from 1.
        step: usize,
        /// What the canary was to get there.
        exposure: Exposure,
        /// What became of it, after its name in a sentence.
        why: String,
        /// What is done.
        policy: OnHookFailure,
    },
    /// Another client changed the weights or routes.
    Drifted {
        /// The field manager that wrote last.
        manager: String,
        /// What is different.
        drift: Drift,
        /// What is done.
        policy: OnDrift,
    },
    /// A call did not work and is tried again.
    Retrying {
        /// What was attempted.
        what: String,
        /// What happened.
        why: String,
        /// Which attempt comes next, from 2.
        attempt: u32,
        /// The command that does the same by hand, where traffic depends on it.
        manual: Option<String>,
    },
    /// A rollback begins.
    RollingBack {
        /// Why.
        cause: Cause,
        /// What the canary got until now.
        exposure: Exposure,
    },
    /// The original weights are back and were read back.
    RolledBack {
        /// Why.
        cause: Cause,
        /// Whether the canary has its original weight, or none.
        after: AfterRegression,
        /// What changed.
        routes: Vec<RouteChange>,
        /// From the decision to restored weights, in milliseconds.
        took_millis: u64,
        /// What was seen over all steps.
        total_counts: Option<VersionCounts>,
    },
    /// Something to know that changes nothing.
    Warning {
        /// What.
        text: String,
    },
    /// This process is done with the rollout.
    Finished {
        /// How it ended.
        outcome: Outcome,
        /// The stable version: a process that only ends a rollout tells nothing else of it.
        stable: Option<String>,
        /// The canary.
        canary: Option<String>,
        /// What the canary gets now.
        exposure: Exposure,
        /// How long the rollout took.
        took: HumanDuration,
        /// What was seen over all steps.
        total_counts: Option<VersionCounts>,
        /// Why.
        reasons: Vec<Reason>,
        /// The command that comes next, if there is one.
        next: Option<String>,
    },
}

impl EventKind {
    /// Whether the next event of its kind says the same again: output that is behind may leave it out.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Analyzed { .. } | Self::MetricsUnavailable { .. } | Self::Retrying { .. } => true,
            Self::Planned { .. }
            | Self::StepStarted { .. }
            | Self::TrafficSeen { .. }
            | Self::StepPassed { .. }
            | Self::Tripped { .. }
            | Self::FalseAlarm { .. }
            | Self::Regressed { .. }
            | Self::Waiting { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::Promoted { .. }
            | Self::MetricsBack { .. }
            | Self::NoVerdict { .. }
            | Self::HookStarted { .. }
            | Self::HookPassed { .. }
            | Self::HookFailed { .. }
            | Self::Drifted { .. }
            | Self::RollingBack { .. }
            | Self::RolledBack { .. }
            | Self::Warning { .. }
            | Self::Finished { .. } => false,
        }
    }
}
