//! Random draws, and exact shares instead of them.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Binomial, Distribution, Poisson};

/// Turns expected numbers into whole ones: by seeded chance, or spread evenly without any.
#[derive(Clone, Debug)]
pub struct Sampling(Mode);

#[derive(Clone, Debug)]
enum Mode {
    /// Poisson counts and multinomial splits.
    Seeded(Xoshiro256PlusPlus),
    /// What is left over of each expectation, by a name for what is counted.
    Exact(BTreeMap<String, Vec<f64>>),
}

/// Sums of decimal fractions fall just short of whole numbers; this much is forgiven.
const ROUNDING: f64 = 1e-6;

impl Sampling {
    /// Random draws that repeat themselves for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Mode::Seeded(Xoshiro256PlusPlus::seed_from_u64(seed)))
    }

    /// No chance: 2 % of 100 requests are 2, always.
    pub fn exact() -> Self {
        Self(Mode::Exact(BTreeMap::new()))
    }

    /// How many of something that happens `mean` times on average.
    pub fn count(&mut self, what: &str, mean: f64) -> u64 {
        if !mean.is_finite() || mean <= 0.0 {
            return 0;
        }
        match &mut self.0 {
            Mode::Seeded(rng) => {
                let poisson = Poisson::new(mean).expect("the mean is positive and finite");
                poisson.sample(rng) as u64
            }
            Mode::Exact(left) => {
                let left = left.entry(what.to_owned()).or_insert_with(|| vec![0.0]);
                left[0] += mean;
                let whole = (left[0] + ROUNDING).floor();
                left[0] -= whole;
                whole as u64
            }
        }
    }

    /// Splits `n` over shares that need not add up to one. The parts always add up to `n`,
    /// unless there is no positive share at all: then all parts are 0.
    pub fn split(&mut self, what: &str, n: u64, shares: &[f64]) -> Vec<u64> {
        let total: f64 = shares.iter().filter(|share| **share > 0.0).sum();
        if n == 0 || total <= 0.0 {
            return vec![0; shares.len()];
        }
        let shares: Vec<f64> = shares.iter().map(|share| share.max(0.0) / total).collect();
        match &mut self.0 {
            Mode::Seeded(rng) => multinomial(rng, n, &shares),
            Mode::Exact(left) => {
                let left = left.entry(what.to_owned()).or_default();
                left.resize(shares.len(), 0.0);
                evenly(left, n, &shares)
            }
        }
    }
}

/// Draws the parts one after the other, each from what the earlier ones left.
fn multinomial(rng: &mut Xoshiro256PlusPlus, n: u64, shares: &[f64]) -> Vec<u64> {
    let (mut rest, mut mass) = (n, 1.0_f64);
    let mut parts = vec![0; shares.len()];
    let last = shares.iter().rposition(|share| *share > 0.0);
    for (at, share) in shares.iter().enumerate() {
        if rest == 0 || *share <= 0.0 {
            continue;
        }
        let drawn = if Some(at) == last {
            rest
        } else {
            let chance = (share / mass).clamp(0.0, 1.0);
            let binomial = Binomial::new(rest, chance).expect("the chance is within 0 and 1");
            binomial.sample(rng)
        };
        parts[at] = drawn;
        rest -= drawn;
        mass -= share;
    }
    parts
}

/// Gives each part its whole numbers, and the rest to those that are owed most.
fn evenly(left: &mut [f64], n: u64, shares: &[f64]) -> Vec<u64> {
    let mut parts = Vec::with_capacity(shares.len());
    for (owed, share) in left.iter_mut().zip(shares) {
        *owed += n as f64 * share;
        let whole = (*owed + ROUNDING).floor().max(0.0);
        *owed -= whole;
        parts.push(whole as u64);
    }
    let mut given: u64 = parts.iter().sum();
    while given != n {
        let candidates = (0..parts.len()).filter(|at| shares[*at] > 0.0);
        let by_debt = |a: &usize, b: &usize| left[*a].total_cmp(&left[*b]).then(b.cmp(a));
        if given < n {
            let Some(at) = candidates.max_by(by_debt) else {
                break;
            };
            parts[at] += 1;
            left[at] -= 1.0;
            given += 1;
        } else {
            let Some(at) = candidates.filter(|at| parts[*at] > 0).min_by(by_debt) else {
                break;
            };
            parts[at] -= 1;
            left[at] += 1.0;
            given -= 1;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exact_counts_neither_lose_nor_gain() {
        let mut sampling = Sampling::exact();
        let counted: u64 = (0..1000).map(|_| sampling.count("requests", 0.1)).sum();
        assert_eq!(counted, 100);
        let failed: u64 = (0..50)
            .map(|_| sampling.split("failed", 2, &[0.02, 0.98])[0])
            .sum();
        assert_eq!(failed, 2);
    }

    #[test]
    fn the_same_seed_repeats_itself() {
        let draw = |seed| {
            let mut sampling = Sampling::seeded(seed);
            (0..20)
                .map(|_| sampling.count("", 7.5))
                .collect::<Vec<u64>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn seeded_counts_have_the_mean_and_the_variance_of_poisson() {
        for mean in [0.3, 4.0, 250.0] {
            let mut sampling = Sampling::seeded(7);
            let n = 20_000;
            let drawn: Vec<f64> = (0..n).map(|_| sampling.count("", mean) as f64).collect();
            let average = drawn.iter().sum::<f64>() / f64::from(n);
            let variance = drawn.iter().map(|x| (x - average).powi(2)).sum::<f64>() / f64::from(n);
            assert!((average / mean - 1.0).abs() < 0.04, "{average} of {mean}");
            assert!((variance / mean - 1.0).abs() < 0.06, "{variance} of {mean}");
        }
    }

    proptest! {
        #[test]
        fn parts_add_up(n in 0_u64..5000, shares in prop::collection::vec(0.0_f64..10.0, 1..6), seed: u64, exact: bool) {
            let mut sampling = if exact { Sampling::exact() } else { Sampling::seeded(seed) };
            let wanted = if shares.iter().any(|share| *share > 0.0) { n } else { 0 };
            for _ in 0..3 {
                let parts = sampling.split("x", n, &shares);
                prop_assert_eq!(parts.iter().sum::<u64>(), wanted);
                for (part, share) in parts.iter().zip(&shares) {
                    prop_assert!(*share > 0.0 || *part == 0);
                }
            }
        }
    }
}
