//! Failures by operation (section 5 of `docs/statistics.md`): one that only the canary breaks is drowned in the
//! requests of all others.

use super::block::Arm;
use super::traffic_split::{MetricCounts, NOMINAL};
use crate::verdict::{Counts, Window};

/// How the versions share the requests of one operation.
///
/// The weights divide all requests, not those of each operation: callers that stay with a version ask for what
/// they always ask for. So a handful of requests is divided as this operation's were before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OperationTraffic {
    /// Requests of stable and of the canary in this step.
    step: [f64; 2],
    /// What stable did since the rollout began.
    pub stable: Counts,
    /// The same of the canary.
    pub canary: Counts,
}

impl OperationTraffic {
    /// The canary's share of the operation's requests, 0 to 1, where all requests are divided by `weight`.
    pub fn share(&self, tally: &MetricCounts, weight: f64) -> f64 {
        let [stable, canary] = self.with(tally);
        (canary + NOMINAL * weight) / (stable + canary + NOMINAL)
    }

    fn with(&self, tally: &MetricCounts) -> [f64; 2] {
        let [stable, canary] = self.step;
        let followed = tally.followed();
        [
            stable + followed.stable.requests,
            canary + followed.canary.requests,
        ]
    }

    /// Learns how they were divided in a window.
    pub fn learn(&mut self, tally: &MetricCounts) {
        self.step = self.with(tally);
    }

    /// Other weights divide them otherwise.
    pub fn begin_step(&mut self) {
        self.step = [0.0; 2];
    }

    /// Counts what both did in a window.
    pub fn count(&mut self, tally: &MetricCounts) {
        let counts = |arm: Arm| Counts {
            requests: arm.requests as u64,
            failures: arm.bad as u64,
        };
        self.stable += counts(tally.stable);
        self.canary += counts(tally.canary);
    }
}

/// What stable and canary did with an operation's requests in a window.
pub(super) fn counts(window: &Window, operation: Option<&str>) -> (Counts, Counts) {
    let mut of = window.operations.iter();
    of.find(|of| of.operation.as_deref() == operation)
        .map(|of| (of.stable, of.canary))
        .unwrap_or_default()
}
