//! The evidence in one window: a log e-value against "not worse than the margin" (section 1 of the
//! module docs).

/// What counts as not worse: `canary rate <= ratio * stable rate + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// Factor on the stable rate, no unit; 1.25 allows a quarter more.
    pub ratio: f64,
    /// Allowance on top, as a share of requests; 0.0001 is 0.01 percentage points.
    pub offset: f64,
}

impl Margin {
    /// The highest canary rate that still counts as not worse beside `stable_rate`.
    pub fn at(self, stable_rate: f64) -> f64 {
        self.ratio * stable_rate + self.offset
    }
}

/// One version's part of a block. Counts are real-valued, because thinning by the dispersion and
/// re-alignment divide them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Arm {
    /// Requests it was exposed to.
    pub requests: f64,
    /// Bad requests among them.
    pub bad: f64,
}

/// Stable and canary over the same stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Block {
    /// The stable version.
    pub stable: Arm,
    /// The canary.
    pub canary: Arm,
}

/// A pair of bad-request rates, chosen before the window it is used on is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Stable rate, above 0.
    pub stable: f64,
    /// Canary rate, above 0.
    pub canary: f64,
}

/// The point of the line `canary = ratio * stable + offset` closest to `alternative` in
/// Kullback-Leibler divergence, the versions weighted with their requests `n0` and `n1`.
///
/// The stable coordinate x is the positive root of `A x² + B x + C = 0` with `A = r (n0 + r n1)`,
/// `B = δ (n0 + r n1) - r (n0 a0 + n1 a1)` and `C = -n0 a0 δ`. The branch avoids subtracting two
/// nearly equal numbers. Both request counts must be above 0.
pub fn project(margin: Margin, alternative: Rates, n0: f64, n1: f64) -> Rates {
    let Margin {
        ratio: r,
        offset: d,
    } = margin;
    let weight = n0 + r * n1;
    let a = r * weight;
    let b = d * weight - r * (n0 * alternative.stable + n1 * alternative.canary);
    let c = -n0 * alternative.stable * d;
    let q = (b * b - 4.0 * a * c).sqrt();
    let stable = if b <= 0.0 {
        (q - b) / (2.0 * a)
    } else {
        -2.0 * c / (b + q)
    };
    Rates {
        stable,
        canary: r * stable + d,
    }
}

/// The log e-value of `block` for the alternative against the margin, in nats.
///
/// `x1 ln(a1/q1) + x0 ln(a0/q0) - n1 (a1 - q1) - n0 (a0 - q0)`, where `q` is [`project`] of the
/// alternative `a`. Under Poisson counts its exponential has expectation 1 on the whole line and
/// less below it, whatever the stable rate is. A window in which either version saw no request is
/// without evidence: 0.
pub fn log_e(block: &Block, margin: Margin, alternative: Rates) -> f64 {
    let Block { stable, canary } = *block;
    if stable.requests <= 0.0 || canary.requests <= 0.0 {
        return 0.0;
    }
    let null = project(margin, alternative, stable.requests, canary.requests);
    log_ratio(canary, alternative.canary, null.canary)
        + log_ratio(stable, alternative.stable, null.stable)
}

/// The log-likelihood ratio of a Poisson count for rate `alternative` against rate `null`, in nats.
pub fn log_ratio(arm: Arm, alternative: f64, null: f64) -> f64 {
    let drift = arm.requests * (alternative - null);
    if arm.bad > 0.0 {
        arm.bad * (alternative / null).ln() - drift
    } else {
        -drift
    }
}

/// `ln Σ exp(x)`, without overflow. An empty slice is the log of nothing: negative infinity.
pub fn log_sum_exp(values: &[f64]) -> f64 {
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    top + values.iter().map(|v| (v - top).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn poisson(mean: f64, count: u32) -> f64 {
        let log_factorial: f64 = (1..=count).map(|i| f64::from(i).ln()).sum();
        (f64::from(count) * mean.ln() - mean - log_factorial).exp()
    }

    /// `E[exp(log_e)]` by summing over every pair of counts that matters.
    fn expectation(n0: f64, n1: f64, truth: Rates, margin: Margin, alternative: Rates) -> f64 {
        let mut sum = 0.0;
        for x0 in 0..60 {
            for x1 in 0..60 {
                let block = Block {
                    stable: Arm {
                        requests: n0,
                        bad: f64::from(x0),
                    },
                    canary: Arm {
                        requests: n1,
                        bad: f64::from(x1),
                    },
                };
                sum += poisson(n0 * truth.stable, x0)
                    * poisson(n1 * truth.canary, x1)
                    * log_e(&block, margin, alternative).exp();
            }
        }
        sum
    }

    proptest! {
        #[test]
        fn on_the_margin_the_expectation_is_one_whatever_the_stable_rate(
            n0 in 1.0..20.0_f64,
            n1 in 1.0..20.0_f64,
            rate in 0.001..0.2_f64,
            a0 in 0.001..0.2_f64,
            worse in 1.0..2.0_f64,
        ) {
            let margin = Margin { ratio: 1.25, offset: 0.0001 };
            let alternative = Rates { stable: a0, canary: (worse * margin.at(a0)).min(1.0) };
            let truth = Rates { stable: rate, canary: margin.at(rate) };
            let value = expectation(n0, n1, truth, margin, alternative);
            prop_assert!((value - 1.0).abs() < 1e-6, "{value}");
        }

        #[test]
        fn below_the_margin_the_expectation_is_at_most_one(
            n0 in 1.0..20.0_f64,
            n1 in 1.0..20.0_f64,
            rate in 0.001..0.2_f64,
            share in 0.0..1.0_f64,
            a0 in 0.001..0.2_f64,
            worse in 1.0..2.0_f64,
        ) {
            let margin = Margin { ratio: 1.25, offset: 0.0001 };
            let alternative = Rates { stable: a0, canary: (worse * margin.at(a0)).min(1.0) };
            let truth = Rates { stable: rate, canary: (share * margin.at(rate)).max(1e-9) };
            prop_assert!(expectation(n0, n1, truth, margin, alternative) < 1.0 + 1e-6);
        }

        #[test]
        fn above_the_margin_the_promotion_value_has_expectation_at_most_one(
            n0 in 1.0..20.0_f64,
            n1 in 1.0..20.0_f64,
            rate in 0.001..0.1_f64,
            beyond in 1.0..3.0_f64,
            a0 in 0.001..0.1_f64,
        ) {
            let margin = Margin { ratio: 1.5, offset: 0.01 };
            let alternative = Rates { stable: a0, canary: a0 };
            let truth = Rates { stable: rate, canary: beyond * margin.at(rate) };
            prop_assert!(expectation(n0, n1, truth, margin, alternative) < 1.0 + 1e-6);
        }

        #[test]
        fn any_counts_give_a_number(
            n0 in 0.0..1e9_f64,
            n1 in 0.0..1e9_f64,
            bad0 in 0.0..1.0_f64,
            bad1 in 0.0..1.0_f64,
            a0 in 1e-10..1.0_f64,
            a1 in 1e-10..1.0_f64,
        ) {
            let block = Block {
                stable: Arm { requests: n0, bad: (bad0 * n0).floor() },
                canary: Arm { requests: n1, bad: (bad1 * n1).floor() },
            };
            let margin = Margin { ratio: 1.25, offset: 0.0001 };
            let value = log_e(&block, margin, Rates { stable: a0, canary: a1 });
            prop_assert!(value.is_finite(), "{value}");
        }
    }

    #[test]
    fn a_sum_of_logs_does_not_overflow() {
        let table: [(&[f64], f64); 3] = [
            (&[0.0, 0.0], std::f64::consts::LN_2),
            (&[6000.0, -6000.0], 6000.0),
            (&[-9000.0, -9000.0], -9000.0 + std::f64::consts::LN_2),
        ];
        for (values, expected) in table {
            assert!((log_sum_exp(values) - expected).abs() < 1e-12, "{values:?}");
        }
    }
}
