//! What the stable version's rate is taken to be before the next window is seen.

use super::traffic_split::MetricCounts;

/// Bad requests remembered: the estimate follows the current level within about 18 %.
const MEMORY: f64 = 30.0;

/// A fading count of the stable version's bad and total requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StableRate {
    bad: f64,
    requests: f64,
}

impl StableRate {
    /// Starts from counts; `bad` must be above 0, because a rate of exactly 0 cannot be bet on.
    pub fn from_counts(bad: f64, requests: f64) -> Self {
        let mut stable_rate = Self { bad, requests };
        stable_rate.fade();
        stable_rate
    }

    /// Starts from a history: half a bad request and one request are added, then it fades.
    pub fn from_history(bad: u64, requests: u64) -> Self {
        Self::from_counts(0.5 + bad as f64, 1.0 + requests as f64)
    }

    /// The expected stable rate, a share of requests above 0.
    pub fn rate(self) -> f64 {
        self.bad / self.requests
    }

    /// An upper reading of the rate: two standard deviations of the count and two requests more.
    pub fn upper_rate(self) -> f64 {
        (self.bad + 2.0 * self.bad.sqrt() + 2.0) / self.requests
    }

    /// Takes in what stable did in a window.
    pub fn absorb(&mut self, tally: &MetricCounts) {
        self.bad += tally.stable.bad;
        self.requests += tally.stable.requests;
        self.fade();
    }

    /// Bad and total requests remembered.
    pub fn counts(self) -> (f64, f64) {
        (self.bad, self.requests)
    }

    fn fade(&mut self) {
        if self.bad > MEMORY {
            self.requests *= MEMORY / self.bad;
            self.bad = MEMORY;
        }
    }
}
