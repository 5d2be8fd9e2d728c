//! Why a rollout does what it does, as values. The words are made in `report`.

use std::mem::discriminant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::foreign_change::Drift;
use super::guard_problem::GuardProblem;
use super::hook_failure::HookFailure;
use super::metrics_outage::Unusable;
use super::outcome::Outcome;
use crate::plan::{HumanDuration, Percent};
use crate::verdict;

/// One reason. Several stand in the order in which they are to be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Reason {
    /// What the analysis says.
    Analysis(verdict::AnalysisReason),
    /// One version has all the traffic.
    NothingToCompare,
    /// No request was counted at this step.
    NoRequests,
    /// The canary was reached by testers alone, who are not judged.
    TestersOnly,
    /// The step passed and has a gate.
    StepPassed,
    /// The weight stays until `promote`.
    WaitsForPromote,
    /// The step ends without a verdict; the reasons that follow say why.
    NoVerdict {
        /// The step's time, where that is up.
        after: Option<HumanDuration>,
    },
    /// A suspected regression was neither confirmed nor cleared in the step's time.
    SuspicionTimedOut {
        /// The step's time.
        after: HumanDuration,
    },
    /// Requests are mirrored, but a version's own proxy does not report them.
    MirrorUnseen {
        /// About how many requests were mirrored.
        expected: u64,
        /// Whether stable's own proxy reports any request.
        stable_seen: bool,
        /// Whether the canary's own proxy reports any request.
        canary_seen: bool,
    },
    /// A guard of the plan is not content.
    Guard {
        /// Its name.
        guard: String,
        /// What it has against the canary.
        problem: GuardProblem,
    },
    /// The metrics cannot be used.
    MetricsUnusable(Unusable),
    /// The metrics could not be used for longer than allowed; the reason that follows says why.
    NoMetrics {
        /// For how long.
        lasted: HumanDuration,
    },
    /// The metrics were lost while a regression was suspected, so it counts as confirmed.
    SuspicionStands,
    /// No pod of the canary is ready.
    CanaryDown {
        /// How many pods it has.
        pods: usize,
        /// Whether any keeps crashing.
        crashing: bool,
    },
    /// The weights are restored, and callers that do not go by them still reach the canary.
    StillReached,
    /// The canary has the weight that it had before the rollout, although it was found worse.
    KeepsShare {
        /// What it has.
        share: Percent,
    },
    /// The rollout was ended by another process.
    Ended {
        /// How.
        outcome: Outcome,
        /// Who did it.
        by: String,
    },
    /// Another driver holds the rollout.
    TakenOver {
        /// Who.
        by: String,
    },
    /// Another process restores the original weights.
    RollbackElsewhere,
    /// The routes are not what the rollout made them.
    Drift {
        /// The field manager that wrote last.
        manager: String,
        /// What is different.
        drift: Drift,
    },
    /// The weights were set again so often that it is given up.
    ReassertLimit {
        /// The field manager that wrote last.
        manager: String,
        /// What is different.
        drift: Drift,
        /// How often they were set again.
        times: usize,
        /// In which time.
        within: HumanDuration,
    },
    /// How to keep the object's owner from changing the weights.
    Advice {
        /// Owner, cause and command.
        text: String,
    },
    /// A signal.
    Signal {
        /// As people call it: `Ctrl-C`.
        name: String,
    },
    /// One more signal during a rollback, which ends the wait for it.
    SecondSignal,
    /// A person asked for it.
    Requested {
        /// Who.
        by: String,
    },
    /// The API server, or a webhook behind it, refuses the next step.
    Refused {
        /// What it said.
        message: String,
    },
    /// The user's command before the next step failed.
    HookFailed(HookFailure),
    /// The original weights could not be restored.
    RollbackFailed {
        /// What went wrong.
        message: String,
    },
    /// A job in the cluster drives the rollout.
    DrivenByJob {
        /// `namespace/name`.
        job: String,
    },
}

impl From<verdict::AnalysisReason> for Reason {
    fn from(reason: verdict::AnalysisReason) -> Self {
        Self::Analysis(reason)
    }
}

impl Reason {
    /// Whether both say the same but for their numbers.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Analysis(a), Self::Analysis(b)) => a.is_like(b),
            (
                Self::Guard {
                    guard: a,
                    problem: x,
                },
                Self::Guard {
                    guard: b,
                    problem: y,
                },
            ) => a == b && x.is_like(y),
            (Self::MetricsUnusable(a), Self::MetricsUnusable(b)) => a.is_like(b),
            _ => discriminant(self) == discriminant(other),
        }
    }

    /// Whether two looks give the same reasons but for their numbers.
    pub fn are_alike(some: &[Self], others: &[Self]) -> bool {
        some.len() == others.len() && some.iter().zip(others).all(|(a, b)| a.is_like(b))
    }
}
