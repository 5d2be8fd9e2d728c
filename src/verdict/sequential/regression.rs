//! The process that asks one metric: is the canary worse than the margin? (Section 3.)

use super::block::{Block, Margin};
use super::dispersion::Dispersion;
use super::mixture::{Alternatives, Mixture};
use super::stable_rate::StableRate;
use super::traffic_split::MetricCounts;

/// What a bet is made on; fixed for a rollout but for the margin during warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// What counts as not worse.
    pub margin: Margin,
    /// How bold the experts are.
    pub alternatives: Alternatives,
    /// How noisy the counts are.
    pub dispersion: Dispersion,
}

/// The stable rate as known so far and the wealth won against it. One for the whole rollout: it is
/// never reset when the weights change.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// What stable's rate is taken to be.
    pub stable_rate: StableRate,
    /// The bets.
    pub mixture: Mixture,
}

impl Regression {
    /// Starts from a stable rate; nothing of the history counts as evidence.
    pub fn new(stable_rate: StableRate) -> Self {
        Self {
            stable_rate,
            mixture: Mixture::default(),
        }
    }

    /// The block on which this window's bets are settled: of the requests that went by the weights.
    pub fn block(&self, tally: &MetricCounts, dispersion: Dispersion) -> Block {
        tally.followed().block(dispersion, self.stable_rate.rate())
    }

    /// Bets on a window, with what was known before it.
    pub fn bet(&mut self, tally: &MetricCounts, terms: &Terms) {
        let block = self.block(tally, terms.dispersion);
        self.mixture.bet(
            &block,
            terms.margin,
            self.stable_rate.rate(),
            &terms.alternatives,
        );
    }

    /// Learns from the window after the bets on it.
    pub fn learn(&mut self, tally: &MetricCounts) {
        self.mixture.share_out();
        self.stable_rate.absorb(&tally.followed());
    }

    /// The evidence that the canary is worse, in nats.
    pub fn evidence(&self) -> f64 {
        self.mixture.evidence()
    }
}

/// `ln Σ v M` over metrics: an average of e-values is an e-value, however the metrics depend on each
/// other. Takes pairs of weight `v` (together at most 1) and `ln M`.
pub fn combine(metrics: impl Iterator<Item = (f64, f64)>) -> f64 {
    // A running sum keeps the five metrics of a window off the heap.
    metrics.fold(f64::NEG_INFINITY, |sum, (weight, evidence)| {
        let next = weight.ln() + evidence;
        let (top, low) = if sum > next { (sum, next) } else { (next, sum) };
        top + (low - top).exp().ln_1p()
    })
}
