//! How a rollout, or this process's part in it, ended.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reason::Reason;
use super::version_counts::VersionCounts;
use crate::metrics::MetricsWarning;
use crate::plan::Exposure;

/// Why it was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The canary was worse.
    Regression,
    /// No pod of the canary is ready.
    CanaryDown,
    /// A user asked for it.
    Request,
    /// Ctrl-C or SIGTERM.
    Signal,
    /// A step's time was up without a verdict.
    Inconclusive,
    /// The metrics were unavailable for too long.
    NoMetrics,
    /// Another client changed the routes, and the policy is to roll back.
    Drift,
    /// The API server, or a webhook behind it, does not take the next step.
    Refused,
    /// The user's command before the next step failed.
    HookFailed,
    /// A user took back a promotion.
    Undo,
}

/// How it ended. Each has an exit code of its own in the one table of `cli`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "cause", rename_all = "kebab-case")]
pub enum Outcome {
    /// The canary has all the traffic.
    Promoted,
    /// The canary had all the traffic before anything was done.
    AlreadyPromoted,
    /// The step passed and this process was asked to go no further.
    StepPassed,
    /// The weights of a step are set; this process did not analyze it.
    StepSet,
    /// The original weights are back.
    RolledBack(Cause),
    /// The weight stays until `promote` or `abort`.
    Held,
    /// Another client changed the weights or routes; nothing was overwritten.
    Drifted,
    /// Another driver took over.
    TakenOver,
    /// The original weights could not be restored.
    RollbackFailed,
    /// A signal came before anything had moved.
    Interrupted,
}

impl Outcome {
    /// Whether the rollout is over, rather than this process's part in it.
    pub fn ends_rollout(self) -> bool {
        match self {
            Self::Promoted | Self::AlreadyPromoted | Self::RolledBack(_) | Self::Interrupted => {
                true
            }
            Self::StepPassed
            | Self::StepSet
            | Self::Held
            | Self::Drifted
            | Self::TakenOver
            | Self::RollbackFailed => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regression => "the canary was worse than stable",
            Self::CanaryDown => "no pod of the canary is ready",
            Self::Request => "on request",
            Self::Signal => "on a signal",
            Self::Inconclusive => "inconclusive, no verdict in time",
            Self::NoMetrics => "metrics unavailable",
            Self::Drift => "another client changed the routes",
            Self::Refused => "the API server rejected the next step",
            Self::HookFailed => "the command before the next step failed",
            Self::Undo => "promotion undone",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted => f.write_str("promoted"),
            Self::AlreadyPromoted => f.write_str("already promoted"),
            Self::StepPassed => f.write_str("step passed"),
            Self::StepSet => f.write_str("step set, not analyzed"),
            Self::RolledBack(cause) => write!(f, "rolled back: {cause}"),
            Self::Held => f.write_str("held"),
            Self::Drifted => f.write_str("stopped: another client changed the routes"),
            Self::TakenOver => f.write_str("another driver took over"),
            Self::RollbackFailed => f.write_str("rollback FAILED"),
            Self::Interrupted => f.write_str("interrupted before any traffic was shifted"),
        }
    }
}

/// The result of `start`, `resume`, `promote`, `pause` and `abort`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The format's version.
    pub version: u32,
    /// The VirtualService's namespace.
    pub namespace: String,
    /// The VirtualService's name.
    pub name: String,
    /// The stable version.
    pub stable: String,
    /// The canary.
    pub canary: String,
    /// The run.
    pub run: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The exit code that goes with it.
    pub exit_code: u8,
    /// What the canary gets now.
    pub exposure: Exposure,
    /// The step it ended at, from 1.
    pub step: usize,
    /// The number of steps.
    pub step_count: usize,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What was counted over all steps; `null` where this process read no metrics.
    pub total_counts: Option<VersionCounts>,
    /// From the decision to roll back to restored weights, in milliseconds; `null` without a rollback.
    pub rollback_millis: Option<u64>,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What limited what the metrics showed; empty where nothing did, or where none were read.
    pub warnings: Vec<MetricsWarning>,
}

impl Summary {
    /// The version of the format that this binary writes.
    pub const VERSION: u32 = 1;
}
