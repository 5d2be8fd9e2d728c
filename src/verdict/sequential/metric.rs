//! One question about the canary: does it fail more, is it slower than a bound?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::block::Arm;
use super::dispersion::{Dispersion, SpreadSeen};
use super::guard::Guard;
use super::history::Past;
use super::operations::{self, OperationTraffic};
use super::policy::Policy;
use super::promotion::Promotion;
use super::regression::{Regression, Terms};
use super::stable_rate::StableRate;
use super::traffic_split::MetricCounts;
use super::warmup::Warmth;
use super::{latency, mixture};
use crate::verdict::{Counts, OfStatus, StatusCode, Window};

/// Room over the stable rate while the canary is alone.
const GUARD_ROOM: f64 = 0.005;
/// The same for the share of slow requests, which moves with the load, and of refusals, which moves with
/// the callers.
const GUARD_ROOM_SLOW: f64 = 0.02;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Subject {
    /// Failed requests.
    Failures,
    /// Requests that failed with this status.
    FailedWith {
        /// The status.
        status: StatusCode,
    },
    /// Requests that failed with any status that no other metric counts.
    FailedOtherwise,
    /// Failed requests of one operation.
    FailedIn {
        /// The operation; `None` of all that no other metric counts.
        operation: Option<String>,
    },
    /// Answers of 400 to 499.
    Refusals,
    /// Requests that took longer than a bound of the histogram.
    SlowerThan {
        /// The bound in milliseconds.
        bound_ms: f64,
    },
}

/// A metric of the rollout with all that is bet on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// What is counted.
    pub subject: Subject,
    /// Its part in the evidence; all parts together are 1.
    pub weight: f64,
    /// How noisy its counts are.
    pub dispersion: Dispersion,
    /// What is learned of that during the rollout; `None` when a history has told.
    pub observed: Option<SpreadSeen>,
    /// Is the canary worse? `None` until the stable rate is known at all.
    pub regression: Option<Regression>,
    /// Is the canary good enough? Anew with every step.
    pub promotion: Promotion,
    /// The watch at 100 %.
    pub guard: Option<Guard>,
    /// Bad canary requests so far.
    pub seen: f64,
    /// The share of stable's requests that were bad before the rollout, 0 to 1.
    tail: f64,
    /// The statuses that are counted elsewhere, of [`Subject::FailedOtherwise`] alone.
    elsewhere: Vec<StatusCode>,
    /// How the versions share the requests, of [`Subject::FailedIn`] alone.
    pub(super) operation: Option<OperationTraffic>,
}

impl Metric {
    /// A metric that starts from its past.
    pub fn new(subject: Subject, weight: f64, past: &Past) -> Self {
        Self {
            operation: match subject {
                Subject::FailedIn { .. } => Some(OperationTraffic::default()),
                _ => None,
            },
            subject,
            weight,
            dispersion: past.dispersion.cautious(),
            observed: (past.requests == 0).then(SpreadSeen::unknown),
            regression: past.stable_rate().map(Regression::new),
            promotion: Promotion::default(),
            guard: None,
            seen: 0.0,
            tail: past.bad as f64 / past.requests.max(1) as f64,
            elsewhere: Vec::new(),
        }
    }

    /// Failures with any status but these.
    pub fn otherwise(weight: f64, failures: &Past, statuses: &[(StatusCode, Past)]) -> Self {
        let known: u64 = statuses.iter().map(|(_, past)| past.bad).sum();
        let past = Past {
            bad: failures.bad.saturating_sub(known),
            ..*failures
        };
        Self {
            elsewhere: statuses.iter().map(|(status, _)| *status).collect(),
            ..Self::new(Subject::FailedOtherwise, weight, &past)
        }
    }

    fn failed_otherwise(&self, window: &Window) -> (Counts, Counts) {
        let known = window.failed_with.iter();
        let known = known.filter(|of| self.elsewhere.contains(&of.status));
        let (stable, canary) = of_status(window, known);
        let rest = |all: Counts, known: Counts| Counts {
            failures: all.failures.saturating_sub(known.failures),
            ..all
        };
        (rest(window.stable, stable), rest(window.canary, canary))
    }

    /// This metric's counts in a window. A latency bound that the window lacks has no requests, and
    /// is so without evidence.
    pub fn tally(&self, window: &Window) -> MetricCounts {
        let (stable, canary) = match &self.subject {
            Subject::Failures => (window.stable, window.canary),
            Subject::FailedWith { status } => {
                let same = window.failed_with.iter().filter(|of| of.status == *status);
                of_status(window, same)
            }
            Subject::FailedOtherwise => self.failed_otherwise(window),
            Subject::FailedIn { operation } => operations::counts(window, operation.as_deref()),
            Subject::Refusals => of_status(window, window.refused_with.iter().flatten()),
            Subject::SlowerThan { bound_ms } => latency::at(window, *bound_ms)
                .map(|slow| (slow.stable, slow.canary))
                .unwrap_or_default(),
        };
        MetricCounts {
            stable: arm(stable),
            canary: arm(canary),
            share: window.share,
            unrelated: 0.0,
        }
    }

    /// The terms of a bet against the canary; `None` while it is too young for one. A cold canary is given
    /// room for failures, and time to become fast.
    pub fn terms(&self, policy: &Policy, warmth: Warmth) -> Option<Terms> {
        let is_young = warmth != Warmth::Warm;
        if is_young && matches!(self.subject, Subject::SlowerThan { .. }) {
            return None;
        }
        let (margin, alternatives) = match self.subject {
            Subject::Failures
            | Subject::FailedWith { .. }
            | Subject::FailedOtherwise
            | Subject::FailedIn { .. } => (policy.failures, mixture::ERRORS),
            Subject::Refusals => (policy.refusals, mixture::ERRORS),
            Subject::SlowerThan { .. } => (policy.slow, mixture::SLOW),
        };
        Some(Terms {
            margin: match warmth {
                Warmth::Cold => margin.with_room(),
                Warmth::Young | Warmth::Warm => margin,
            },
            alternatives,
            dispersion: self.dispersion,
        })
    }

    /// Bets on a window, for and against the canary. During warm-up nothing speaks for it, and that it is
    /// slow not against it either.
    pub fn bet(&mut self, tally: &MetricCounts, policy: &Policy, warmth: Warmth) {
        let terms = self.terms(policy, warmth);
        self.seen += tally.canary.bad;
        if let Some(operation) = &mut self.operation {
            operation.count(tally);
        }
        let Some(regression) = &mut self.regression else {
            return;
        };
        if warmth != Warmth::Cold {
            // Of all that stable did: a bound on what users of the canary get rests on what they got before.
            let rate = regression.stable_rate.rate();
            let block = tally.block(self.dispersion, rate);
            self.promotion.bet(&block, policy.promotion_ratio, rate);
        }
        if let Some(terms) = terms {
            regression.bet(tally, &terms);
        }
    }

    /// Learns from the window after the bets. Without a past the first window with stable requests
    /// sets the rate from which bets can be made; it is itself not bet on.
    pub fn learn(&mut self, tally: &MetricCounts) {
        if let Some(operation) = &mut self.operation {
            operation.learn(tally);
        }
        if let Some(observed) = &mut self.observed {
            observed.absorb(tally.stable);
            self.dispersion = observed.dispersion().cautious();
        }
        match &mut self.regression {
            Some(regression) => regression.learn(tally),
            None if tally.stable.requests > 0.0 => {
                let start =
                    StableRate::from_counts(0.5 + tally.stable.bad, 1.0 + tally.stable.requests);
                self.regression = Some(Regression::new(start));
            }
            None => {}
        }
    }

    /// Learns the stable rate alone, from a window on which nothing was bet.
    pub fn learn_baseline(&mut self, tally: &MetricCounts) {
        if let Some(regression) = &mut self.regression {
            regression.stable_rate.absorb(tally);
        }
    }

    /// The evidence that the canary is worse, in nats; 0 while nothing can be compared.
    pub fn evidence(&self) -> f64 {
        self.regression.as_ref().map_or(0.0, Regression::evidence)
    }

    /// The excess that must be ruled out before a step is left, given the one for failures; at 1 or
    /// above none needs to be.
    pub fn tolerance(&self, failures: f64, policy: &Policy) -> f64 {
        match self.subject {
            Subject::Failures => failures,
            // Failures of all kinds together are ruled out already, and how many requests the callers get
            // wrong is not for the canary to prove.
            Subject::FailedWith { .. }
            | Subject::FailedOtherwise
            | Subject::FailedIn { .. }
            | Subject::Refusals => 1.0,
            Subject::SlowerThan { .. } => policy.slow_excess(failures, self.tail),
        }
    }

    /// Starts the watch at 100 % from the stable rate known now.
    pub fn freeze(&mut self) {
        let room = match self.subject {
            Subject::Failures
            | Subject::FailedWith { .. }
            | Subject::FailedOtherwise
            | Subject::FailedIn { .. } => GUARD_ROOM,
            Subject::Refusals | Subject::SlowerThan { .. } => GUARD_ROOM_SLOW,
        };
        self.guard = self
            .regression
            .as_ref()
            .map(|regression| Guard::freeze(regression.stable_rate, room));
    }

    /// Takes in what the canary did alone; returns the evidence in nats.
    pub fn watch(&mut self, tally: &MetricCounts, policy: &Policy) -> f64 {
        let terms = self.terms(policy, Warmth::Warm);
        self.guard
            .as_mut()
            .zip(terms)
            .map_or(0.0, |(guard, terms)| {
                guard.observe(tally.canary, terms.dispersion, &terms.alternatives)
            })
    }
}

/// What was answered with some statuses, of all requests of a window.
fn of_status<'a>(
    window: &Window,
    statuses: impl Iterator<Item = &'a OfStatus>,
) -> (Counts, Counts) {
    let (mut stable, mut canary) = (window.stable, window.canary);
    (stable.failures, canary.failures) = (0, 0);
    for of in statuses {
        stable.failures += of.stable;
        canary.failures += of.canary;
    }
    (stable, canary)
}

fn arm(counts: Counts) -> Arm {
    Arm {
        requests: counts.requests as f64,
        bad: counts.failures as f64,
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::policy::Preset;
    use super::*;

    #[test]
    fn four_slow_requests_count_as_much_as_a_failed_one_but_a_tail_that_doubles_is_little() {
        let policy = Preset::Careful.policy(SignedDuration::from_secs(15));
        let asked = |subject, bad, failures| {
            let past = Past {
                bad,
                requests: 10_000,
                ..Past::UNKNOWN
            };
            Metric::new(subject, 0.5, &past).tolerance(failures, &policy)
        };
        let slow = Subject::SlowerThan { bound_ms: 250.0 };
        for (tail, of_failures, of_slow) in [
            (1_000, 0.0005, 0.02),
            (100, 0.0005, 0.01),
            (10, 0.0005, 0.005),
            (0, 0.0005, 0.02),
            (100, 0.005, 0.02),
            (1_000, 0.02, 0.08),
            // All of the canary's requests may be slow, but not all may fail.
            (0, 0.3, 1.2),
        ] {
            assert_eq!(asked(Subject::Failures, tail, of_failures), of_failures);
            assert_eq!(
                asked(slow.clone(), tail, of_failures),
                of_slow,
                "{tail} {of_failures}"
            );
        }
    }
}
