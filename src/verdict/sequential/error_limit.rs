//! An absolute limit on the canary's failures, held to it by evidence (`--max-error-rate`).
//!
//! A limit that is asked at every window is crossed by chance: a canary that fails half as often as the limit
//! allows is over it in some window sooner or later. So the limit is a bet like the others: against "the
//! canary fails at most `limit` of its requests", settled on the canary alone, with its own part of the
//! chance of a false rollback ([`PART`]). By Ville's inequality the whole rollout keeps the bound.

use super::block::Arm;
use super::dispersion::Dispersion;
use super::guard::Guard;
use super::history::History;
use super::mixture;
use super::policy::Policy;
use crate::verdict::analysis::{Analysis, Decision, StepContext, Verdict};
use crate::verdict::{AnalysisReason, Counts, Window};

/// The limit's part of the chance of a false rollback; the comparison with stable has the rest.
const PART: f64 = 0.1;
/// Failed requests of the canary without which nothing is rolled back.
const LEAST_BAD: u64 = 3;

/// The canary's failures against a fixed limit.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorLimit {
    limit: f64,
    min_requests: u64,
    /// Evidence that rolls back, in nats.
    needed: f64,
    guard: Guard,
    dispersion: Dispersion,
    failures: u64,
    step: Option<StepContext>,
    in_step: Counts,
}

impl ErrorLimit {
    /// At most `limit` of the canary's requests may fail; a step is passed on `min_requests` or more.
    ///
    /// Returns the policy that is left for the comparison beside it.
    pub fn new(limit: f64, min_requests: u64, policy: Policy, history: &History) -> (Self, Policy) {
        let own = Self {
            limit,
            min_requests,
            needed: -(policy.false_rollback * PART).ln(),
            guard: Guard::at(limit, limit),
            dispersion: history.failures.dispersion.cautious(),
            failures: 0,
            step: None,
            in_step: Counts::default(),
        };
        let rest = Policy {
            false_rollback: policy.false_rollback * (1.0 - PART),
            ..policy
        };
        (own, rest)
    }

    fn bet(&mut self, window: &Window) -> f64 {
        // Where stable is over the limit as well, the canary is not to blame. What stable did says
        // nothing about the canary's draw, so the bound does not mind which windows are left out.
        let stable = window.stable.failure_rate().unwrap_or_default();
        let canary = match stable > self.limit {
            true => Counts::default(),
            false => window.canary,
        };
        self.failures += canary.failures;
        let arm = Arm {
            requests: canary.requests as f64,
            bad: canary.failures as f64,
        };
        self.guard.observe(arm, self.dispersion, &mixture::ERRORS)
    }
}

impl Analysis for ErrorLimit {
    fn begin_step(&mut self, step: StepContext) {
        self.step = Some(step);
        self.in_step = Counts::default();
    }

    fn observe(&mut self, window: &Window) -> Decision {
        let evidence = self.bet(window);
        if self.step.is_some_and(|step| window.lies_after(step.began)) {
            self.in_step += window.canary;
        }
        let rate = self.in_step.failure_rate().unwrap_or_default();
        let over = AnalysisReason::OverLimit {
            rate,
            limit: self.limit,
        };
        if evidence >= self.needed && self.failures >= LEAST_BAD {
            Decision::Rollback(vec![over])
        } else if self.in_step.requests < self.min_requests {
            let too_few = AnalysisReason::TooFewCanaryRequests {
                requests: self.in_step.requests,
                needed: self.min_requests,
            };
            Decision::Stay(Verdict::NotEnoughData, vec![too_few])
        } else if rate > self.limit {
            Decision::Stay(Verdict::NotEnoughData, vec![over])
        } else {
            Decision::Advance(Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::sequential::Preset;
    use jiff::{SignedDuration, Timestamp};

    fn limit() -> ErrorLimit {
        let policy = Preset::Careful.policy(SignedDuration::from_secs(15));
        let (mut limit, _) = ErrorLimit::new(0.02, 100, policy, &History::unknown());
        limit.begin_step(StepContext {
            share: 0.1,
            next_share: None,
            began: Timestamp::UNIX_EPOCH,
            dwell: SignedDuration::ZERO,
        });
        limit
    }

    fn window(requests: u64, failures: u64) -> Window {
        Window {
            canary: Counts { requests, failures },
            ..Window::default()
        }
    }

    #[test]
    fn a_window_over_the_limit_may_be_chance_and_many_are_not() {
        let mut unlucky = limit();
        assert!(matches!(
            unlucky.observe(&window(100, 4)),
            Decision::Stay(..)
        ));
        for _ in 0..200 {
            let decision = unlucky.observe(&window(100, 1));
            assert!(!matches!(decision, Decision::Rollback(_)), "{decision:?}");
        }
        let mut bad = limit();
        let windows =
            (1..).find(|_| matches!(bad.observe(&window(100, 10)), Decision::Rollback(_)));
        assert_eq!(windows, Some(7), "without a history it is the more careful");
    }

    #[test]
    fn stable_over_the_limit_is_no_evidence_against_the_canary() {
        let policy = Preset::Careful.policy(SignedDuration::from_secs(15));
        let (mut limit, rest) = ErrorLimit::new(0.02, 100, policy.clone(), &History::unknown());
        assert!(rest.false_rollback < policy.false_rollback);
        for _ in 0..50 {
            let failing = Counts {
                requests: 100,
                failures: 50,
            };
            let decision = limit.observe(&Window {
                stable: failing,
                canary: failing,
                ..Window::default()
            });
            assert!(matches!(decision, Decision::Stay(..)), "{decision:?}");
        }
    }
}
