//! How this process's part in a rollout ended.

use std::time::Duration;

use jiff::Timestamp;

use crate::istio::VirtualService;
use crate::metrics::MetricsWarning;
use crate::plan::{Exposure, HumanDuration, Percent};
use crate::rollout::{EventKind, Outcome, Phase, Reason, Rollout, Summary, VersionCounts};
use crate::signals::Signal;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// How.
    pub outcome: Outcome,
    /// What the canary gets now.
    pub exposure: Exposure,
    /// The rollout as it stood last.
    pub rollout: Rollout,
    /// What was seen over all steps.
    pub total_counts: Option<VersionCounts>,
    /// From the decision to roll back to restored weights.
    pub rollback: Option<Duration>,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What limited what the metrics showed, by their last answer.
    pub warnings: Vec<MetricsWarning>,
    /// The signal that ended it, if one did.
    pub signal: Option<Signal>,
    /// When.
    pub at: Timestamp,
}

impl Finish {
    /// The end of a run that wrote and did not stay to drive.
    pub fn without_driving(rollout: Rollout, outcome: Outcome, at: Timestamp) -> Self {
        Self {
            outcome,
            exposure: exposure_after(outcome, &rollout),
            total_counts: None,
            rollback: None,
            reasons: Vec::new(),
            warnings: Vec::new(),
            signal: None,
            at,
            rollout,
        }
    }

    /// The event that says so; `next` is the command that comes next.
    pub fn event(&self, next: Option<String>) -> EventKind {
        let took = self.at.duration_since(self.rollout.began);
        EventKind::Finished {
            outcome: self.outcome,
            stable: Some(self.rollout.stable.to_string()),
            canary: Some(self.rollout.canary.to_string()),
            exposure: self.exposure,
            took: HumanDuration::from(took),
            total_counts: self.total_counts,
            reasons: self.reasons.clone(),
            next,
        }
    }

    /// The result of the run on `vs`, for `-o json`; `exit_code` is what goes with it.
    pub fn summary(&self, vs: &VirtualService, exit_code: u8) -> Summary {
        let rollout = &self.rollout;
        Summary {
            version: Summary::VERSION,
            namespace: vs.namespace().to_owned(),
            name: vs.name().to_owned(),
            stable: rollout.stable.to_string(),
            canary: rollout.canary.to_string(),
            run: rollout.run.clone(),
            outcome: self.outcome,
            exit_code,
            exposure: self.exposure,
            step: rollout.step + 1,
            step_count: rollout.plan.step_count(),
            began: rollout.began,
            ended: self.at,
            total_counts: self.total_counts,
            rollback_millis: self.rollback.map(millis),
            reasons: self.reasons.clone(),
            warnings: self.warnings.clone(),
        }
    }

    /// The command that comes next, if there is one.
    pub fn next_command(&self, vs: &VirtualService) -> Option<String> {
        let command = match self.outcome {
            Outcome::RollbackFailed => "abort",
            Outcome::Held if self.rollout.phase == Phase::Progressing => "resume",
            Outcome::Held | Outcome::StepPassed | Outcome::StepSet => "promote",
            Outcome::Drifted | Outcome::TakenOver => "status",
            Outcome::Promoted
            | Outcome::AlreadyPromoted
            | Outcome::RolledBack(_)
            | Outcome::Interrupted => return None,
        };
        let (name, namespace) = (vs.name(), vs.namespace());
        Some(format!("kubectl canary {command} {name} -n {namespace}"))
    }
}

/// What the canary gets once a run has ended in this way.
pub(super) fn exposure_after(outcome: Outcome, rollout: &Rollout) -> Exposure {
    match outcome {
        Outcome::Promoted | Outcome::AlreadyPromoted => Exposure::Share(Percent::HUNDRED),
        Outcome::RolledBack(cause) => Exposure::Share(rollout.share_after(cause)),
        Outcome::Interrupted => Exposure::Share(rollout.original_share()),
        Outcome::StepPassed
        | Outcome::StepSet
        | Outcome::Held
        | Outcome::Drifted
        | Outcome::TakenOver
        | Outcome::RollbackFailed => rollout.exposure(),
    }
}

/// Whole milliseconds, as events and results have them.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
