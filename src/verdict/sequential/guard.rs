//! The watch at 100 %, where no stable version runs beside the canary (section 7).

use super::block::{Arm, Block};
use super::dispersion::Dispersion;
use super::mixture::{Alternatives, Mixture};
use super::stable_rate::StableRate;

/// Factor and allowance on the stable rate of the last step.
const RATIO: f64 = 2.0;

/// A one-sample bet on the canary's rate being above a limit frozen when the bake began. It only
/// ever asks for a comparison, so it needs no stable version; it never rolls back by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    limit: f64,
    rate: f64,
    mixture: Mixture,
}

impl Guard {
    /// Freezes the limit `2 * (S + 2 sqrt(S) + 2) / N + offset` from the stable counts remembered.
    pub fn freeze(stable_rate: StableRate, offset: f64) -> Self {
        let rate = stable_rate.upper_rate().min(1.0);
        Self::at(RATIO * rate + offset, rate)
    }

    /// A guard at a given limit; `rate` scales the dispersion.
    pub fn at(limit: f64, rate: f64) -> Self {
        Self {
            limit,
            rate,
            mixture: Mixture::default(),
        }
    }

    /// Takes in what the canary did; returns the evidence in nats.
    pub fn observe(
        &mut self,
        canary: Arm,
        dispersion: Dispersion,
        alternatives: &Alternatives,
    ) -> f64 {
        let thin = dispersion.ratio(canary.requests * self.rate);
        let block = Block {
            stable: Arm::default(),
            canary: Arm {
                requests: canary.requests / thin,
                bad: canary.bad / thin,
            },
        };
        self.mixture.bet_alone(&block, self.limit, alternatives);
        let evidence = self.mixture.evidence();
        self.mixture.share_out();
        evidence
    }
}
