//! How much noisier than independent errors the counts are (section 5 of the module docs).

use super::block::Arm;

/// Errors at which the history's own estimate and the prior weigh the same.
const SHRINK: f64 = 20.0;
/// Cluster sizes above this are not believed; what is left of the noise is a fluctuating rate.
const MAX_CLUSTER: f64 = 100.0;
/// Fluctuations above this (a rate that doubles from window to window) are not believed.
const MAX_FLUCTUATION: f64 = 1.0;
/// Larger clusters are rarer than a fluctuating rate.
const LIKELY_CLUSTER: f64 = 8.0;
/// Differences without which nothing is learned of the spread.
const LEAST_STEPS: u32 = 6;

/// The variance of a count with mean `μ` is `cluster * μ + fluctuation * μ²`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dispersion {
    /// Mean size of a cluster of errors, at least 1, no unit.
    pub cluster: f64,
    /// Squared coefficient of variation of the rate from window to window, no unit.
    pub fluctuation: f64,
    /// The history asked for more than is believed; the values are clamped.
    pub clamped: bool,
}

impl Dispersion {
    /// Independent errors: Poisson counts.
    pub const POISSON: Self = Self {
        cluster: 1.0,
        fluctuation: 0.0,
        clamped: false,
    };

    /// What is assumed before anything was seen: clusters of 5, a rate that varies by half.
    pub const UNKNOWN: Self = Self {
        cluster: 5.0,
        fluctuation: 0.3,
        clamped: false,
    };

    /// The most that is believed of either.
    pub const MOST: Self = Self {
        cluster: MAX_CLUSTER,
        fluctuation: MAX_FLUCTUATION,
        clamped: true,
    };

    /// The more cautious of two, in both of its parts.
    pub fn or_wider(self, other: Self) -> Self {
        Self {
            cluster: self.cluster.max(other.cluster),
            fluctuation: self.fluctuation.max(other.fluctuation),
            clamped: self.clamped || other.clamped,
        }
    }

    /// Variance over mean of a count with mean `mean`.
    pub fn ratio(self, mean: f64) -> f64 {
        self.cluster + self.fluctuation * mean
    }

    /// The dispersion to bet with: fluctuation `κ (1 + κ)`.
    ///
    /// Thinning matches the variance of a fluctuating rate, but not its tail: a gamma rate of the same
    /// variance exceeds a Poisson count's tail the more the larger κ is, and the bold experts live in
    /// that tail. Simulated at κ = 1 (a rate that doubles or halves with every scrape) this takes the
    /// false rollbacks below 1 %; at κ = 0.1 it costs a tenth.
    pub fn cautious(self) -> Self {
        Self {
            fluctuation: self.fluctuation * (1.0 + self.fluctuation),
            ..self
        }
    }

    /// Estimates it from stable's bad counts in the windows of its history, oldest first.
    ///
    /// Half the mean squared difference of neighbouring windows estimates the variance and does not
    /// see slow drift. Variance over mean, shrunk towards Poisson with weight `Σ / (Σ + 20)`, counts as
    /// clusters up to 100: totals alone cannot tell clusters from fluctuation, and this is the cautious
    /// reading. Beyond that it is a rate that fluctuates.
    /// Fewer than two windows say nothing: [`Dispersion::UNKNOWN`].
    pub fn estimate(totals: &[u64]) -> Self {
        if totals.len() < 2 {
            return Self::UNKNOWN;
        }
        let sum: f64 = totals.iter().map(|&t| t as f64).sum();
        if sum == 0.0 {
            return Self::POISSON;
        }
        let mean = sum / totals.len() as f64;
        let ratio = half_squared_steps(totals) / mean;
        let belief = sum / (sum + SHRINK);
        let ratio = belief * ratio.max(1.0) + (1.0 - belief);
        let cluster = ratio.min(MAX_CLUSTER);
        let fluctuation = (ratio - cluster) / mean;
        Self {
            cluster,
            fluctuation: fluctuation.min(MAX_FLUCTUATION),
            clamped: fluctuation > MAX_FLUCTUATION,
        }
    }
}

/// Learns the dispersion during the rollout, when there is no history to take it from.
///
/// What is used on a window comes from the stable windows before it, so the bets stay fair as far as
/// the estimate is right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpreadSeen {
    /// What is assumed until enough was seen, and where little was.
    prior: Dispersion,
    /// Whether the prior is known from before, so that what is seen may only widen it.
    is_known: bool,
    last: Arm,
    bad: f64,
    requests: f64,
    steps: u32,
    squares: f64,
}

impl SpreadSeen {
    /// Nothing is known and nothing was seen.
    pub fn unknown() -> Self {
        Self {
            prior: Dispersion::UNKNOWN,
            is_known: false,
            last: Arm::default(),
            bad: 0.0,
            requests: 0.0,
            steps: 0,
            squares: 0.0,
        }
    }

    /// Nothing was seen, but this is known from before.
    pub fn beside(known: Dispersion) -> Self {
        Self {
            prior: known,
            is_known: true,
            ..Self::unknown()
        }
    }

    /// Takes in what stable did in a window.
    pub fn absorb(&mut self, stable: Arm) {
        if stable.requests <= 0.0 {
            return;
        }
        if self.last.requests > 0.0 {
            let step = stable.bad / stable.requests - self.last.bad / self.last.requests;
            self.squares += step * step / (1.0 / stable.requests + 1.0 / self.last.requests);
            self.steps += 1;
        }
        self.bad += stable.bad;
        self.requests += stable.requests;
        self.last = stable;
    }

    /// The dispersion seen so far: the variance of rates over what independent errors would give, by
    /// successive differences, read three standard deviations high, and shrunk towards
    /// the prior as long as few errors were seen. Up to 8 of it counts as clusters, the
    /// rest as fluctuation.
    pub fn dispersion(&self) -> Dispersion {
        if self.steps < LEAST_STEPS || self.bad <= 0.0 {
            return self.prior;
        }
        let steps = f64::from(self.steps);
        let rate = self.bad / self.requests;
        let ratio = self.squares / steps / rate * (1.0 + 3.0 / steps.sqrt());
        let cluster = ratio.clamp(1.0, LIKELY_CLUSTER);
        let mean = self.bad / (steps + 1.0);
        let fluctuation = (ratio - cluster).max(0.0) / mean;
        let belief = self.bad / (self.bad + SHRINK);
        let prior = self.prior;
        let seen = Dispersion {
            cluster: belief * cluster + (1.0 - belief) * prior.cluster,
            fluctuation: (belief * fluctuation + (1.0 - belief) * prior.fluctuation)
                .min(MAX_FLUCTUATION),
            clamped: fluctuation > MAX_FLUCTUATION,
        };
        match self.is_known {
            true => seen.or_wider(prior),
            false => seen,
        }
    }
}

/// Mean of half the squared differences of neighbours; 0 of fewer than two.
fn half_squared_steps(values: &[u64]) -> f64 {
    let squares = values.windows(2).map(|pair| {
        let step = pair[0] as f64 - pair[1] as f64;
        0.5 * step * step
    });
    squares.sum::<f64>() / values.len().saturating_sub(1).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_count_as_clusters() {
        let totals = [4, 0, 9, 2, 5, 0, 7, 3];
        let dispersion = Dispersion::estimate(&totals);
        assert_eq!(dispersion.fluctuation, 0.0);
        assert!(dispersion.cluster > 2.0);
    }

    #[test]
    fn nothing_seen_is_not_the_same_as_nothing_bad() {
        assert_eq!(Dispersion::estimate(&[]), Dispersion::UNKNOWN);
        assert_eq!(Dispersion::estimate(&[0, 0, 0]), Dispersion::POISSON);
    }

    #[test]
    fn what_is_seen_widens_what_was_known_and_never_narrows_it() {
        let known = Dispersion {
            cluster: 4.0,
            ..Dispersion::POISSON
        };
        let seen = |counts: [f64; 2]| {
            let mut spread = SpreadSeen::beside(known);
            for window in 0..40 {
                spread.absorb(Arm {
                    requests: 1_000.0,
                    bad: counts[window % 2],
                });
            }
            spread.dispersion()
        };
        assert_eq!(SpreadSeen::beside(known).dispersion(), known);
        assert_eq!(seen([10.0, 10.0]).cluster, 4.0);
        let wild = seen([0.0, 20.0]);
        assert!(wild.cluster > 7.0 && wild.fluctuation > 0.1, "{wild:?}");
    }

    #[test]
    fn wild_histories_are_clamped_and_say_so() {
        for (totals, fluctuation, clamped) in [
            ([0, 90, 0, 90, 0, 90], 0.0, false),
            ([700, 1300, 700, 1300, 700, 1300], 0.08, false),
            ([0, 1000, 0, 1000, 0, 1000], MAX_FLUCTUATION, true),
        ] {
            let dispersion = Dispersion::estimate(&totals);
            assert!(
                (dispersion.fluctuation - fluctuation).abs() < 0.01,
                "{dispersion:?}"
            );
            assert_eq!(dispersion.clamped, clamped);
            assert_eq!(
                dispersion.cluster >= MAX_CLUSTER,
                fluctuation > 0.0,
                "{dispersion:?}"
            );
        }
    }
}
