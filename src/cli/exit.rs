//! The one table of exit codes.

use std::process::ExitCode;

use crate::error::CommandError;
use crate::rollout::{Cause, Outcome};
use crate::verdict::Verdict;

/// How the process ends. Pipelines decide by these numbers, so they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: an error; traffic is untouched.
    Error,
    /// 2: the command line or plan file cannot be followed; traffic is untouched.
    Usage,
    /// 3: `list --orphaned` found some.
    Orphaned,
    /// 4: the preflight refused; traffic is untouched.
    Preflight,
    /// 5: another driver holds the rollout.
    Held,
    /// 10: rolled back on a regression.
    Regressed,
    /// 11: rolled back on request or on a signal.
    Aborted,
    /// 12: rolled back for want of a verdict.
    NoVerdict,
    /// 13: the weight stays, waiting for `promote`.
    Waiting,
    /// 14: another client changed the weights or routes.
    Drifted,
    /// 20: the rollback FAILED, or it is not known where traffic is; it needs manual attention.
    RollbackFailed,
    /// 130: Ctrl-C before anything had moved.
    Interrupted,
    /// 143: SIGTERM before anything had moved.
    Terminated,
    /// 129: SIGHUP before anything had moved.
    HungUp,
}

impl Exit {
    /// Every exit, for the table in the documentation.
    pub const ALL: [Self; 15] = [
        Self::Done,
        Self::Error,
        Self::Usage,
        Self::Orphaned,
        Self::Preflight,
        Self::Held,
        Self::Regressed,
        Self::Aborted,
        Self::NoVerdict,
        Self::Waiting,
        Self::Drifted,
        Self::RollbackFailed,
        Self::HungUp,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Orphaned => 3,
            Self::Preflight => 4,
            Self::Held => 5,
            Self::Regressed => 10,
            Self::Aborted => 11,
            Self::NoVerdict => 12,
            Self::Waiting => 13,
            Self::Drifted => 14,
            Self::RollbackFailed => 20,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::HungUp => 129,
        }
    }

    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Error => "error, traffic untouched",
            Self::Usage => "invalid command line or plan file",
            Self::Orphaned => "`list --orphaned` found rollouts without a running driver",
            Self::Preflight => "refused by preflight, traffic untouched",
            Self::Held => "another driver holds the rollout",
            Self::Regressed => "rolled back on a regression, or on a failed `--before-step`",
            Self::Aborted => "rolled back on request or on a signal",
            Self::NoVerdict => "rolled back, inconclusive: no data, no metrics, out of time",
            Self::Waiting => "held at a weight, waiting for `promote`",
            Self::Drifted => {
                "another client changed the weights or routes, nothing overwritten unless `--on-drift` says so"
            }
            Self::RollbackFailed => {
                "rollback FAILED or outcome unknown, traffic needs manual attention"
            }
            Self::Interrupted => "Ctrl-C before any traffic was shifted",
            Self::Terminated => "SIGTERM before any traffic was shifted",
            Self::HungUp => "SIGHUP before any traffic was shifted",
        }
    }
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Promoted
            | Outcome::AlreadyPromoted
            | Outcome::StepPassed
            | Outcome::StepSet => Self::Done,
            Outcome::RolledBack(Cause::Regression | Cause::CanaryDown | Cause::HookFailed) => {
                Self::Regressed
            }
            Outcome::RolledBack(Cause::Request | Cause::Signal | Cause::Undo) => Self::Aborted,
            Outcome::RolledBack(Cause::Inconclusive | Cause::NoMetrics | Cause::Refused) => {
                Self::NoVerdict
            }
            Outcome::RolledBack(Cause::Drift) | Outcome::Drifted => Self::Drifted,
            Outcome::Held => Self::Waiting,
            Outcome::TakenOver => Self::Held,
            Outcome::RollbackFailed => Self::RollbackFailed,
            Outcome::Interrupted => Self::Interrupted,
        }
    }
}

/// What `analyze` found: the number that a rollout would end with on the same verdict.
impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Healthy => Self::Done,
            Verdict::Regressed => Self::Regressed,
            Verdict::NotEnoughData | Verdict::MetricsUnavailable => Self::NoVerdict,
        }
    }
}

impl From<&CommandError> for Exit {
    fn from(error: &CommandError) -> Self {
        match error {
            CommandError::Usage(_) | CommandError::Plan(_) | CommandError::File { .. } => {
                Self::Usage
            }
            CommandError::Preflight(_) => Self::Preflight,
            CommandError::UnderWay { .. }
            | CommandError::MovesWith { .. }
            | CommandError::OtherRun { .. } => Self::Held,
            CommandError::TakenBack { .. } => Self::NoVerdict,
            CommandError::Lease(crate::cluster::LeaseError::Held { .. }) => Self::Held,
            CommandError::RollbackFailed { .. }
            | CommandError::Unconfirmed { .. }
            | CommandError::Divided { .. } => Self::RollbackFailed,
            CommandError::Interrupted(crate::signals::Signal::Interrupt) => Self::Interrupted,
            CommandError::Interrupted(crate::signals::Signal::Terminate) => Self::Terminated,
            CommandError::Interrupted(crate::signals::Signal::HangUp) => Self::HungUp,
            CommandError::Lease(crate::cluster::LeaseError::Call(_))
            | CommandError::Connection(_)
            | CommandError::Call(_)
            | CommandError::Versions(_)
            | CommandError::Delegate(_)
            | CommandError::NothingToShift { .. }
            | CommandError::Scaffold { .. }
            | CommandError::Split { .. }
            | CommandError::State(_)
            | CommandError::NoRollout { .. }
            | CommandError::NotStarted { .. }
            | CommandError::Conflict(_)
            | CommandError::Io { .. } => Self::Error,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::job_manifest::FINAL;

    #[test]
    fn only_what_is_no_result_lets_a_job_try_again() {
        let may_change = [
            Exit::Done,
            Exit::Error,
            Exit::Orphaned,
            Exit::Waiting,
            Exit::Interrupted,
            Exit::Terminated,
            Exit::HungUp,
        ];
        for exit in Exit::ALL {
            assert_eq!(
                FINAL.contains(&exit.code()),
                !may_change.contains(&exit),
                "{exit:?}"
            );
        }
    }

    #[test]
    fn the_reference_has_this_table() {
        let reference = include_str!("../../docs/reference.md");
        for exit in Exit::ALL {
            let row = format!("| {} | {} |", exit.code(), exit.meaning());
            assert!(
                reference.contains(&row),
                "docs/reference.md lacks the row: {row}"
            );
        }
    }
}
