//! Why a verdict is what it is, with its numbers. The words are made in `report`.

use std::mem::discriminant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sequential::{Hold, Subject};
use super::window::Counts;

/// One reason for a verdict. Rates, margins and limits are shares of requests, 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "finding",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum AnalysisReason {
    /// The step is held although time passes.
    OnHold {
        /// Why.
        hold: Hold,
    },
    /// The canary's share of the requests is not what its weight says; both 0 to 1.
    OddShare {
        /// What it gets.
        got: f64,
        /// What its weight says.
        set: f64,
    },
    /// The canary's rate is at most `ratio` times stable's plus `excess`.
    Bounded {
        /// What is counted.
        subject: Subject,
        /// Factor on the rate of stable.
        ratio: f64,
        /// Share of requests.
        excess: f64,
        /// How sure that is, 0 to 1.
        confidence: f64,
    },
    /// Too few requests for such a bound.
    Unbounded {
        /// What is counted.
        subject: Subject,
    },
    /// How much speaks for a regression.
    RegressionEvidence {
        /// What speaks loudest.
        subject: Subject,
        /// In nats.
        evidence: f64,
        /// What it takes to roll back, in nats.
        needed: f64,
    },
    /// Most of the canary's failures are of one operation, which speaks against it by itself.
    FailsOperation {
        /// The operation; `None` of all that are not told apart.
        operation: Option<String>,
        /// What stable did with its requests since the rollout began.
        stable: Counts,
        /// What the canary did with its own.
        canary: Counts,
    },
    /// The canary's failures are within the absolute limit.
    WithinLimit {
        /// Failures of the canary per request.
        rate: f64,
        /// The limit.
        limit: f64,
    },
    /// The canary's failures are over the absolute limit.
    OverLimit {
        /// Failures of the canary per request.
        rate: f64,
        /// The limit.
        limit: f64,
    },
    /// The canary fails more than stable by more than the margin.
    OverMargin {
        /// Failures of the canary per request.
        canary: f64,
        /// Failures of stable per request.
        stable: f64,
        /// What is allowed in addition.
        margin: f64,
    },
    /// The canary fails more than stable, but chance explains as much.
    MaybeChance {
        /// Failures of the canary per request.
        canary: f64,
        /// Failures of stable per request.
        stable: f64,
    },
    /// Both versions fail, so the canary is not to blame.
    BothFail {
        /// Failures of the canary per request.
        canary: f64,
        /// Failures of stable per request.
        stable: f64,
    },
    /// The canary had too few requests at this step.
    TooFewCanaryRequests {
        /// What it had.
        requests: u64,
        /// What it takes.
        needed: u64,
    },
    /// Stable had too few requests at this step.
    TooFewStableRequests {
        /// What it had.
        requests: u64,
        /// What it takes.
        needed: u64,
    },
}

impl AnalysisReason {
    /// Whether both say the same but for their numbers.
    pub fn is_like(&self, other: &Self) -> bool {
        let subjects = |a: &Subject, b: &Subject| discriminant(a) == discriminant(b);
        match (self, other) {
            (Self::OnHold { hold: a }, Self::OnHold { hold: b }) => a == b,
            (Self::Bounded { subject: a, .. }, Self::Bounded { subject: b, .. })
            | (Self::Unbounded { subject: a }, Self::Unbounded { subject: b }) => subjects(a, b),
            (
                Self::FailsOperation { operation: a, .. },
                Self::FailsOperation { operation: b, .. },
            ) => a == b,
            _ => discriminant(self) == discriminant(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AnalysisReason as Reason;
    use super::*;

    #[test]
    fn numbers_make_no_other_reason_and_what_they_are_about_does() {
        let held = |hold| Reason::OnHold { hold };
        let bounded = |subject: &Subject, excess| Reason::Bounded {
            subject: subject.clone(),
            ratio: 1.5,
            excess,
            confidence: 0.95,
        };
        let unbounded = |subject: &Subject| Reason::Unbounded {
            subject: subject.clone(),
        };
        let fails = |operation: Option<&str>| Reason::FailsOperation {
            operation: operation.map(str::to_owned),
            stable: Counts::default(),
            canary: Counts::default(),
        };
        let odd = |got| Reason::OddShare { got, set: 0.5 };
        let (failures, refusals) = (Subject::Failures, Subject::Refusals);
        for (a, b, alike) in [
            (held(Hold::Incident), held(Hold::Incident), true),
            (held(Hold::Incident), held(Hold::WarmingUp), false),
            (bounded(&failures, 0.1), bounded(&failures, 0.2), true),
            (bounded(&failures, 0.1), bounded(&refusals, 0.1), false),
            (unbounded(&failures), unbounded(&failures), true),
            (unbounded(&failures), unbounded(&refusals), false),
            (unbounded(&failures), bounded(&failures, 0.1), false),
            (fails(Some("pay")), fails(Some("pay")), true),
            (fails(Some("pay")), fails(None), false),
            (odd(0.1), odd(0.2), true),
            (odd(0.1), held(Hold::NotItsShare), false),
        ] {
            assert_eq!(a.is_like(&b), alike, "{a:?} {b:?}");
            assert_eq!(b.is_like(&a), alike, "{b:?} {a:?}");
        }
    }
}
