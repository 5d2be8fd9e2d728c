//! What every analysis has in common: the plain gate and the sequential test behind one trait.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reason::AnalysisReason;
use super::window::Window;
use crate::verdict::sequential::Evidence;

/// What is known about the canary at this moment. No data is never good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Enough evidence that the canary is as good as stable, within the tolerance.
    Healthy,
    /// Enough evidence that the canary is worse.
    Regressed,
    /// The metrics answer, but there is not enough in them to decide.
    NotEnoughData,
    /// The metrics do not answer, or what they say cannot be trusted.
    MetricsUnavailable,
}

/// The step that begins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepContext {
    /// The canary's share at this step, 0 to 1; at 1 the stable version gets no traffic.
    pub share: f64,
    /// The share of the step after it, if there is one.
    pub next_share: Option<f64>,
    /// When the weights of this step were set.
    pub began: Timestamp,
    /// How long the step lasts at least.
    pub dwell: SignedDuration,
}

/// What an analysis asks for after it has seen a window.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Stay at this weight and look again.
    Stay(Verdict, Vec<AnalysisReason>),
    /// The step has shown what it had to show.
    Advance(Vec<AnalysisReason>),
    /// Take the canary's weight to 0 at once; the following windows confirm or clear it.
    Trip(Vec<AnalysisReason>),
    /// The trip is cleared: both versions failed together. Back to the step's weight.
    Resume(Vec<AnalysisReason>),
    /// The regression is certain.
    Rollback(Vec<AnalysisReason>),
    /// Go back one step, without a verdict: at the present weights the versions cannot be compared,
    /// or more weight may be what hurts. The step before begins again.
    Retreat(Vec<AnalysisReason>),
    /// The step's deadline has passed without a verdict. It is asked again after every later window,
    /// so that a rollout that holds here still learns of a trip.
    Inconclusive(Vec<AnalysisReason>),
}

/// Judges a rollout window by window. Time without one is not its concern: who looks at the metrics
/// knows first that they do not answer, and what to do then.
pub trait Analysis: Send {
    /// A step begins; its weights are set. Not called when a step goes on after a
    /// [`Decision::Resume`].
    fn begin_step(&mut self, step: StepContext);

    /// Takes the next window, in order of time.
    fn observe(&mut self, window: &Window) -> Decision;

    /// The evidence so far, if this analysis weighs any.
    fn evidence(&self) -> Option<Evidence> {
        None
    }
}
