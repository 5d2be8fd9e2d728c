//! Evidence that the canary is good enough (section 6 of the module docs).

use super::block::{Block, Margin, Rates, log_e};

/// The excesses that can be ruled out, as shares of requests: 0.05 to 40 percentage points.
pub const EXCESSES: [f64; 10] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4];
/// How far from equal towards the margin the second expert bets.
const LEAN: f64 = 0.3;

/// For each excess the wealth of two experts who bet that the canary stays below
/// `ratio * stable + excess`: one on "equal", one on "a little worse".
#[derive(Clone, Debug, PartialEq)]
pub struct Promotion {
    pub(super) wealth: [[f64; 2]; EXCESSES.len()],
}

impl Default for Promotion {
    fn default() -> Self {
        Self {
            wealth: [[0.5_f64.ln(); 2]; EXCESSES.len()],
        }
    }
}

impl Promotion {
    /// Bets on a window. `rate` is the stable rate expected before it is seen.
    pub fn bet(&mut self, block: &Block, ratio: f64, rate: f64) {
        for (pair, excess) in self.wealth.iter_mut().zip(EXCESSES) {
            let margin = Margin {
                ratio,
                offset: excess,
            };
            let leaning = rate + LEAN * (margin.at(rate) - rate);
            for (wealth, canary) in pair.iter_mut().zip([rate, leaning]) {
                let alternative = Rates {
                    stable: rate,
                    canary,
                };
                *wealth += log_e(block, margin, alternative);
            }
        }
    }

    /// The log of the evidence against each excess of [`EXCESSES`], in nats.
    pub fn evidence(&self) -> [f64; EXCESSES.len()] {
        self.wealth.map(|[a, b]| {
            let (top, low) = if a > b { (a, b) } else { (b, a) };
            top + (low - top).exp().ln_1p()
        })
    }

    /// The smallest excess that is ruled out at error rate `beta` now, as a share of requests;
    /// `None` while not even the largest is.
    pub fn upper(&self, beta: f64) -> Option<f64> {
        let needed = -beta.ln();
        self.evidence()
            .iter()
            .zip(EXCESSES)
            .find(|(evidence, _)| **evidence >= needed)
            .map(|(_, excess)| excess)
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::Arm;
    use super::*;

    #[test]
    fn more_clean_traffic_rules_out_smaller_excesses() {
        let clean = |requests: f64| {
            let arm = Arm {
                requests,
                bad: 0.001 * requests,
            };
            let mut promotion = Promotion::default();
            let block = Block {
                stable: arm,
                canary: arm,
            };
            promotion.bet(&block, 1.5, 0.001);
            promotion.upper(0.05)
        };
        assert_eq!(clean(1.0), None);
        let bounds: Vec<_> = [30.0, 1e3, 1e4, 1e6].map(clean).into_iter().collect();
        assert!(
            bounds.windows(2).all(|pair| pair[0] > pair[1]),
            "{bounds:?}"
        );
        assert_eq!(bounds[3], Some(0.0005));
    }
}
