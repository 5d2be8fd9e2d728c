//! A step as a plan is shown: with every option decided and what the canary has already.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Exposure, HumanDuration, Percent, Plan};

/// One step of a plan, in events, in the status and in `kubectl canary plan`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// What the canary gets.
    pub exposure: Exposure,
    /// The minimum time at it.
    pub hold: HumanDuration,
    /// Whether it waits for `promote` when it has passed.
    pub pause: bool,
    /// Whether it is skipped, because the canary had more before the rollout.
    pub skipped: bool,
}

impl PlannedStep {
    /// What each step gives the canary, in order.
    pub fn exposures(steps: &[Self]) -> Vec<Exposure> {
        steps.iter().map(|step| step.exposure).collect()
    }
}

impl Plan {
    /// The steps for a canary that has `original` percent before the rollout.
    pub fn planned_steps(&self, original: Percent) -> Vec<PlannedStep> {
        let steps = self.steps.as_slice().iter().enumerate();
        let steps = steps.map(|(index, step)| PlannedStep {
            exposure: step.exposure,
            hold: self.dwell_of(index),
            pause: step.pause,
            // A step that equals the share is judged before the next is taken.
            skipped: step.exposure.share() < original,
        });
        steps.collect()
    }
}
