//! How much of a window's traffic each version was exposed to (section 2 of the module docs).

use super::block::{Arm, Block};
use super::dispersion::Dispersion;

/// Requests the nominal split is worth beside the realised one.
pub(super) const NOMINAL: f64 = 20.0;

/// One metric's raw counts in one window, and the share that was set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MetricCounts {
    /// What the stable version did.
    pub stable: Arm,
    /// What the canary did.
    pub canary: Arm,
    /// The canary's share of the weights, 0 to 1.
    pub share: f64,
    /// The part of stable's requests that did not go by the weights, 0 to 1.
    pub unrelated: f64,
}

/// Requests of a window as divided between the versions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrafficSplit {
    /// Requests the stable version stood for.
    pub stable: f64,
    /// Requests the canary stood for.
    pub canary: f64,
}

impl MetricCounts {
    /// The smoothed split: `s = (n1 + 20 w) / (N + 20)`, `e1 = N s`, `e0 = N (1 - s)`.
    ///
    /// With ordinary traffic this is the realised split. With a handful of requests it leans on the
    /// weights, without which a window of one canary request and no stable one would say nothing.
    pub fn exposure(&self) -> TrafficSplit {
        let total = self.stable.requests + self.canary.requests;
        let share = (self.canary.requests + NOMINAL * self.share) / (total + NOMINAL);
        TrafficSplit {
            stable: total * (1.0 - share),
            canary: total * share,
        }
    }

    /// The same without the requests that other rules sent to stable. Which of its failures were among those
    /// is not known, so all of them stay: stable looks worse than it is, and the canary no worse.
    pub fn followed(&self) -> Self {
        Self {
            stable: Arm {
                requests: self.stable.requests * (1.0 - self.unrelated),
                ..self.stable
            },
            unrelated: 0.0,
            ..*self
        }
    }

    /// The same with the versions changed.
    pub fn reversed(&self) -> Self {
        Self {
            stable: self.canary,
            canary: self.stable,
            share: 1.0 - self.share,
            unrelated: 0.0,
        }
    }

    /// The block of evidence: smoothed exposures and counts, each divided by the variance-to-mean
    /// ratio `φ + κ e λ` that the dispersion gives at stable rate `rate`.
    pub fn block(&self, dispersion: Dispersion, rate: f64) -> Block {
        let exposure = self.exposure();
        let d0 = dispersion.ratio(exposure.stable * rate);
        let d1 = dispersion.ratio(exposure.canary * rate);
        Block {
            stable: Arm {
                requests: exposure.stable / d0,
                bad: self.stable.bad / d0,
            },
            canary: Arm {
                requests: exposure.canary / d1,
                bad: self.canary.bad / d1,
            },
        }
    }
}
