//! A bet on "worse" by experts of different boldness (section 3 of the module docs).

use super::block::{Block, Margin, Rates, log_e, log_ratio, log_sum_exp};

/// Experts, the first of whom keeps her money.
pub const EXPERTS: usize = 8;
/// What the cautious expert starts with, and so the most that an outage can cost.
pub const CASH: f64 = 0.1;
/// Windows after which wealth is shared out half as fast as at the start.
const SHARING: f64 = 100.0;

/// How many times the margin each betting expert takes the canary to be.
pub type Alternatives = [f64; EXPERTS - 1];

/// For errors: from half more to "every request fails".
pub const ERRORS: Alternatives = [1.5, 2.5, 5.0, 12.0, 40.0, 200.0, f64::INFINITY];
/// For requests slower than a bound, whose share moves less.
pub const SLOW: Alternatives = [1.2, 1.5, 2.5, 5.0, 12.0, 40.0, f64::INFINITY];

/// The log-wealth of the experts, together 1 (0 nats) at the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    pub(super) wealth: [f64; EXPERTS],
    windows: u32,
}

impl Default for Mixture {
    fn default() -> Self {
        Self {
            wealth: prior(),
            windows: 0,
        }
    }
}

fn prior() -> [f64; EXPERTS] {
    let mut prior = [((1.0 - CASH) / (EXPERTS - 1) as f64).ln(); EXPERTS];
    prior[0] = CASH.ln();
    prior
}

impl Mixture {
    /// Bets on a window of both versions. `rate` is the stable rate expected before it is seen.
    ///
    /// Expert ψ bets on `a0 = rate`, `a1 = min(ψ m, 1)` with `m` the margin at that rate, and sits the
    /// window out when this is not above the margin.
    pub fn bet(&mut self, block: &Block, margin: Margin, rate: f64, alternatives: &Alternatives) {
        let limit = margin.at(rate);
        for (wealth, boldness) in self.wealth[1..].iter_mut().zip(alternatives) {
            let canary = (boldness * limit).min(1.0);
            if canary > limit {
                let alternative = Rates {
                    stable: rate,
                    canary,
                };
                *wealth += log_e(block, margin, alternative);
            }
        }
    }

    /// Bets on a window of the canary alone against the fixed rate `limit`.
    pub fn bet_alone(&mut self, block: &Block, limit: f64, alternatives: &Alternatives) {
        for (wealth, boldness) in self.wealth[1..].iter_mut().zip(alternatives) {
            let canary = (boldness * limit).min(1.0);
            if canary > limit {
                *wealth += log_ratio(block.canary, canary, limit);
            }
        }
    }

    /// The log of the total wealth, in nats: the evidence.
    pub fn evidence(&self) -> f64 {
        log_sum_exp(&self.wealth)
    }

    /// Shares a little of the total out by the prior, so that an expert who was wrong for an hour can
    /// still be right about the next minute. The total does not change.
    pub fn share_out(&mut self) {
        let total = self.evidence();
        let part = 1.0 / (f64::from(self.windows) + 1.0 + SHARING);
        let (keep, give) = ((-part).ln_1p(), part.ln() + total);
        for (wealth, prior) in self.wealth.iter_mut().zip(prior()) {
            let (a, b) = (keep + *wealth, give + prior);
            let (top, low) = if a > b { (a, b) } else { (b, a) };
            *wealth = top + (low - top).exp().ln_1p();
        }
        self.windows = self.windows.saturating_add(1);
    }
}
