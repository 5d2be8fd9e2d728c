//! What there is to do next, and how far this process goes. Pure.

use jiff::Timestamp;

use super::outcome::{Cause, Outcome};
use super::segment::Phase;
use super::state::Rollout;
use crate::plan::HumanDuration;

/// How far this process drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopAt {
    /// Stop when this step has passed, from 0, without taking the next; gates before it are passed.
    pub after_step: Option<usize>,
    /// Stop at a gate, instead of waiting for `promote`.
    pub leave_at_gate: bool,
}

impl StopAt {
    /// To the end, waiting at every gate.
    pub const END: Self = Self {
        after_step: None,
        leave_at_gate: false,
    };
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Nothing; wait for what comes.
    Wait,
    /// Write this state and its weights.
    Write(Box<Rollout>),
    /// Write the weights of this state, and that the rollout is over.
    Complete(Box<Rollout>),
    /// Restore the original weights.
    RollBack {
        /// Why.
        cause: Cause,
        /// Whether other clients' weights may be overwritten, because the policy says so.
        overwrite: bool,
    },
    /// Leave the object as it is and end.
    Leave(Outcome),
}

/// The action that takes `rollout` one step further, for a driver and for `promote` alike.
pub fn next_step(rollout: &Rollout, now: Timestamp) -> Action {
    if rollout.plan.is_last(rollout.step) {
        return Action::Complete(Box::new(rollout.clone()));
    }
    enter(rollout.at_step(rollout.step + 1, Phase::Progressing, now))
}

/// The action that enters the step that `next` stands for.
///
/// Where nothing is to be watched at 100 %, the same patch says that the rollout is over.
pub fn enter(next: Rollout) -> Action {
    let plan = &next.plan;
    let ends_here = plan.is_last(next.step)
        && plan.dwell_of(next.step) == HumanDuration::ZERO
        && !plan.steps.as_slice()[next.step].pause;
    if ends_here {
        Action::Complete(Box::new(next))
    } else {
        Action::Write(Box::new(next))
    }
}
