//! How long a verdict will take, before anything is moved (section 9).

use jiff::SignedDuration;

use super::block::{Margin, Rates, project};
use super::mixture::{self, Alternatives};
use super::policy::{Policy, Tolerance};

/// Requests that the first step should send to the canary in a scrape.
const FIRST_STEP: f64 = 50.0;
/// The smallest first step that is advised.
const SMALLEST: f64 = 0.001;

/// What is known of the traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Requests per second to both versions together.
    pub per_second: f64,
    /// The stable version's failure rate, a share of requests.
    pub failure_rate: f64,
}

/// Expected growth of the evidence in nats for each request to either version, at canary share
/// `share`, if the rates are `truth` and the bet is on them:
/// `w (a1 ln(a1/q1) - (a1 - q1)) + (1 - w) (a0 ln(a0/q0) - (a0 - q0))`.
pub fn growth(share: f64, truth: Rates, margin: Margin) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let null = project(margin, truth, 1.0 - share, share);
    let arm = |a: f64, q: f64| a * (a / q).ln() - (a - q);
    share * arm(truth.canary, null.canary) + (1.0 - share) * arm(truth.stable, null.stable)
}

impl Traffic {
    fn stable_rate(self) -> f64 {
        self.failure_rate.max(1e-9)
    }

    /// How long an equal canary takes at `share` until an excess of `tolerance` is ruled out. `None`
    /// when it never is.
    pub fn time_to_promote(
        self,
        share: f64,
        tolerance: f64,
        policy: &Policy,
    ) -> Option<SignedDuration> {
        let rate = self.stable_rate();
        let margin = Margin {
            ratio: policy.promotion_ratio,
            offset: tolerance,
        };
        let equal = Rates {
            stable: rate,
            canary: rate,
        };
        let growth = growth(share, equal, margin);
        duration(-policy.false_promotion.ln() / (self.per_second * growth))
    }

    /// How long an equal canary takes through all steps to 100 %, `shares` being those before it.
    /// `None` when some step never ends by itself. Good to a third.
    pub fn time_to_full(self, shares: &[f64], policy: &Policy) -> Option<SignedDuration> {
        let mut total = SignedDuration::ZERO;
        for (i, &share) in shares.iter().enumerate() {
            let (time, _) = self.time_in_step(share, shares.get(i + 1).copied(), policy)?;
            total += time;
        }
        Some(total)
    }

    /// How long a step at `share` takes an equal canary, and the excess that it then has ruled out;
    /// `next` is the share of the step after it, unless that is 100 %. `None` when the step does not
    /// end by itself.
    pub fn time_in_step(
        self,
        share: f64,
        next: Option<f64>,
        policy: &Policy,
    ) -> Option<(SignedDuration, f64)> {
        let per_window = self.per_second * policy.scrape.as_secs_f64();
        let floor = next.map_or(0.0, |next| policy.blast_floor(next, per_window));
        if floor >= 1.0 {
            return Some((policy.dwell, 1.0));
        }
        let Tolerance { early, late, .. } = policy.tolerance;
        let tolerance = match self.reaches_early(share, floor, policy) {
            true => early,
            false => late,
        };
        let time = self.time_to_promote(share, tolerance.max(floor), policy)?;
        (time <= policy.deadline).then(|| (time.max(policy.dwell), tolerance.max(floor)))
    }

    /// Whether an equal canary at `share` rules the early excess out, or `floor` where that is more, before the
    /// late one takes over.
    pub fn reaches_early(self, share: f64, floor: f64, policy: &Policy) -> bool {
        let Tolerance {
            early,
            widens_after,
            ..
        } = policy.tolerance;
        let time = self.time_to_promote(share, early.max(floor), policy);
        time.is_some_and(|time| time <= widens_after)
    }

    /// How long a canary that fails `canary_rate` of its requests takes at `share` until it trips.
    /// `None` when it never does.
    pub fn time_to_detect(
        self,
        share: f64,
        canary_rate: f64,
        policy: &Policy,
    ) -> Option<SignedDuration> {
        let margin = policy.failures;
        let stable = self.stable_rate();
        let best = best_expert(share, stable, canary_rate, margin, &mixture::ERRORS);
        let prior = (mixture::ERRORS.len() as f64 / 0.9).ln();
        duration((policy.trip() + prior) / (self.per_second * best))
    }

    /// The first step's share: enough for fifty canary requests in a scrape, at least 0.1 %, at most
    /// what was asked for. Five failed requests of fifty are seen at once. Sampling beats statistics: at 10 000 requests per second a broken
    /// canary at 1 % fails 1 500 requests before the first scrape has been seen.
    pub fn first_step(self, asked: f64, policy: &Policy) -> f64 {
        let per_scrape = self.per_second * policy.scrape.as_secs_f64();
        (FIRST_STEP / per_scrape).max(SMALLEST).min(asked)
    }
}

/// The fastest expected growth among the experts at the true rates.
fn best_expert(
    share: f64,
    stable: f64,
    canary: f64,
    margin: Margin,
    alternatives: &Alternatives,
) -> f64 {
    let limit = margin.at(stable);
    alternatives
        .iter()
        .map(|boldness| (boldness * limit).min(1.0))
        .filter(|&bet| bet > limit && share > 0.0 && share < 1.0)
        .map(|bet| {
            let bet = Rates {
                stable,
                canary: bet,
            };
            let null = project(margin, bet, 1.0 - share, share);
            share * (canary * (bet.canary / null.canary).ln() - (bet.canary - null.canary))
                + (1.0 - share)
                    * (stable * (bet.stable / null.stable).ln() - (stable - null.stable))
        })
        .fold(0.0, f64::max)
}

fn duration(seconds: f64) -> Option<SignedDuration> {
    // A thousand years of waiting is never; it also keeps the conversion in range.
    (seconds.is_finite() && (0.0..3e10).contains(&seconds))
        .then(|| SignedDuration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::sequential::policy::Preset;

    fn policy() -> Policy {
        Preset::Careful.policy(SignedDuration::from_secs(15))
    }

    #[test]
    fn minutes_to_rule_an_excess_out_at_half_the_traffic() {
        let table = [
            (1.0 / 6.0, 0.0001, 0.001, 793.0),
            (1.0 / 6.0, 0.0001, 0.005, 130.0),
            (1.0 / 6.0, 0.001, 0.005, 188.0),
            (1.0 / 6.0, 0.01, 0.005, 360.0),
            (1.0, 0.0001, 0.005, 22.0),
            (1.0, 0.01, 0.02, 11.0),
            (10.0, 0.001, 0.001, 27.0),
            (100.0, 0.01, 0.001, 1.7),
        ];
        for (per_second, failure_rate, tolerance, minutes) in table {
            let traffic = Traffic {
                per_second,
                failure_rate,
            };
            let time = traffic.time_to_promote(0.5, tolerance, &policy()).unwrap();
            let ours = time.as_secs_f64() / 60.0;
            assert!((ours / minutes - 1.0).abs() < 0.03, "{ours} for {minutes}");
        }
    }

    #[test]
    fn the_first_step_is_small_where_traffic_is_high() {
        let table = [
            (0.1, 0.01),
            (100.0, 0.01),
            (1_000.0, 1.0 / 300.0),
            (1e6, 0.001),
        ];
        for (per_second, expected) in table {
            let traffic = Traffic {
                per_second,
                failure_rate: 0.001,
            };
            let step = traffic.first_step(0.01, &policy());
            assert!((step - expected).abs() < 1e-12, "{per_second}: {step}");
        }
    }

    #[test]
    fn the_whole_way_takes_what_simulation_took() {
        // Medians of imagined rollouts, in seconds.
        let table = [
            (1.0, 0.0001, 1538.0),
            (1.0, 0.001, 1823.0),
            (10.0, 0.0001, 338.0),
            (10.0, 0.001, 393.0),
            (10.0, 0.01, 548.0),
            (100.0, 0.0001, 238.0),
            (100.0, 0.001, 243.0),
            (1_000.0, 0.001, 223.0),
            (10_000.0, 0.01, 218.0),
        ];
        for (per_second, failure_rate, seconds) in table {
            let traffic = Traffic {
                per_second,
                failure_rate,
            };
            let time = traffic.time_to_full(&[0.01, 0.1, 0.5], &policy()).unwrap();
            let ours = time.as_secs_f64();
            assert!((ours / seconds - 1.0).abs() < 0.33, "{ours} for {seconds}");
        }
        let idle = Traffic {
            per_second: 1.0 / 6.0,
            failure_rate: 0.001,
        };
        assert_eq!(idle.time_to_full(&[0.01, 0.1, 0.5], &policy()), None);
    }

    #[test]
    fn what_is_within_the_margin_is_never_detected() {
        let traffic = Traffic {
            per_second: 100.0,
            failure_rate: 0.01,
        };
        assert_eq!(traffic.time_to_detect(0.5, 0.01, &policy()), None);
        assert!(traffic.time_to_detect(0.5, 0.05, &policy()).is_some());
        assert_eq!(traffic.time_to_promote(1.0, 0.005, &policy()), None);
    }
}
