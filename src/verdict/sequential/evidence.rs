//! What is known at a moment: what is shown and what is recorded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metric::Subject;
use crate::verdict::{AnalysisReason, Counts};

/// Why a step does not go on although time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// Stable fails more than usual, and the canary is not known to be spared.
    Incident,
    /// The canary has only begun to serve.
    WarmingUp,
    /// Requests sent before the weights changed are still being answered.
    Mixed,
    /// The canary does not get the traffic its weight promises.
    NotItsShare,
    /// The canary refuses far fewer requests than stable (400 to 499).
    FewerRefusals,
    /// Too many trips were cleared in this step.
    Disputed,
    /// The canary looked worse alone, too often.
    Unsteady,
    /// Stable failed more each time the canary got more traffic.
    Overload,
}

/// Where the analysis stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "hold", rename_all = "kebab-case")]
pub enum AnalysisState {
    /// No step has begun.
    Waiting,
    /// Both versions get traffic and are compared.
    Comparing,
    /// The canary's weight is 0; the next window confirms or clears it.
    Confirming,
    /// The canary has all the traffic and is watched alone.
    Baking,
    /// The step does not go on; the canary is still watched.
    Held(Hold),
}

/// One metric's evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricEvidence {
    /// What is counted.
    pub subject: Subject,
    /// Evidence that the canary is worse, in nats.
    pub evidence: f64,
    /// The canary exceeds `promotion_ratio` times stable by at most this share of requests; `None`
    /// while nothing is ruled out.
    pub upper: Option<f64>,
    /// What `upper` must come down to before the step is left.
    pub tolerance: f64,
    /// The history was noisier than is believed, so the counts may be less certain than is assumed.
    pub clamped: bool,
}

impl MetricEvidence {
    /// The bound as a multiple of what is tolerated; without a bound, infinite, unless any will do.
    fn openness(&self) -> f64 {
        if self.tolerance >= 1.0 {
            return 0.0;
        }
        self.upper
            .map_or(f64::INFINITY, |upper| upper / self.tolerance)
    }
}

/// A share of the requests that is not what the weights say; both 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OddShare {
    /// What the canary gets.
    pub got: f64,
    /// What its weight says.
    pub set: f64,
}

/// The operation that most of the canary's failures are of, and how both versions fared with its requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailingOperation {
    /// The operation; `None` of all that are not told apart.
    pub operation: Option<String>,
    /// What stable did since the rollout began.
    pub stable: Counts,
    /// What the canary did.
    pub canary: Counts,
}

/// The evidence of all metrics together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Where the analysis stands.
    pub state: AnalysisState,
    /// Evidence that the canary is worse, in nats, all metrics together.
    pub evidence: f64,
    /// The metric that speaks loudest against the canary.
    pub leader: Subject,
    /// The operation that most of the canary's failures are of, where that alone speaks against it.
    pub operation: Option<FailingOperation>,
    /// What it takes to trip, in nats.
    pub needed: f64,
    /// Evidence against the canary while it is alone at 100 %, in nats.
    pub alone: Option<f64>,
    /// How sure the bounds are, a share: 0.95.
    pub confidence: f64,
    /// Factor on the stable rate in the bounds.
    pub ratio: f64,
    /// The canary's share of the requests, 0 to 1, where it differs from the weights by more than chance
    /// and delays explain.
    pub share: Option<OddShare>,
    /// Each metric, failures first.
    pub metrics: Vec<MetricEvidence>,
    /// What stable did in this step.
    pub stable: Counts,
    /// What the canary did in this step.
    pub canary: Counts,
}

impl Evidence {
    /// What is known beside the counts; what matters most comes first.
    pub fn reasons(&self) -> Vec<AnalysisReason> {
        let mut reasons = Vec::new();
        if let AnalysisState::Held(hold) = self.state {
            reasons.push(AnalysisReason::OnHold { hold });
        }
        if let Some(OddShare { got, set }) = self.share {
            reasons.push(AnalysisReason::OddShare { got, set });
        }
        // Where a regression is near, how good the canary may be is beside the point.
        let evidence = self
            .alone
            .map_or(self.evidence, |alone| alone.max(self.evidence));
        if evidence < self.needed / 2.0 {
            let (first, others) = self.metrics.split_at(1.min(self.metrics.len()));
            let said = first
                .iter()
                .filter(|metric| metric.upper.is_some() || self.is_awaited(metric));
            reasons.extend(said.map(|metric| self.bound(metric)));
            // Of the others, the one that is furthest from what is tolerated; within it there is
            // nothing to say.
            let open = others.iter().filter(|metric| metric.openness() > 1.0);
            let worst = open.max_by(|a, b| a.openness().total_cmp(&b.openness()));
            reasons.extend(worst.map(|metric| self.bound(metric)));
        }
        // Evidence that is shown as 0.0 is left out, unless there is no other reason.
        if evidence >= 0.05 || reasons.is_empty() {
            reasons.push(AnalysisReason::RegressionEvidence {
                subject: self.leader.clone(),
                evidence: evidence.max(0.0),
                needed: self.needed,
            });
        }
        if let Some(failing) = &self.operation {
            reasons.push(AnalysisReason::FailsOperation {
                operation: failing.operation.clone(),
                stable: failing.stable,
                canary: failing.canary,
            });
        }
        reasons
    }

    /// How near a rollback is, 0 to 1: the evidence as a part of what it takes.
    pub fn towards_rollback(&self) -> f64 {
        let evidence = self
            .alone
            .map_or(self.evidence, |alone| alone.max(self.evidence));
        (evidence / self.needed).clamp(0.0, 1.0)
    }

    /// How near leaving the step is, 0 to 1, times aside: what is tolerated as a part of what is not yet
    /// ruled out, of the metric of which least is.
    pub fn towards_promotion(&self) -> f64 {
        let closeness = self.metrics.iter().map(|metric| match metric.upper {
            None if self.is_awaited(metric) => 0.0,
            _ => 1.0 / metric.openness().max(1.0),
        });
        closeness.fold(1.0, f64::min)
    }

    /// Whether more has to be seen before a metric lets the step go: before the first request, what is
    /// tolerated is not known either.
    fn is_awaited(&self, metric: &MetricEvidence) -> bool {
        self.canary.requests == 0 || metric.openness() > 1.0
    }

    /// What is ruled out for a metric.
    fn bound(&self, metric: &MetricEvidence) -> AnalysisReason {
        let subject = metric.subject.clone();
        match metric.upper {
            Some(excess) => AnalysisReason::Bounded {
                subject,
                ratio: self.ratio,
                excess,
                confidence: self.confidence,
            },
            None => AnalysisReason::Unbounded { subject },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_most_comes_first() {
        let mut evidence = Evidence {
            state: AnalysisState::Held(Hold::Incident),
            evidence: 3.12,
            leader: Subject::Failures,
            operation: None,
            needed: 4.605,
            alone: None,
            confidence: 0.95,
            ratio: 1.5,
            share: None,
            metrics: vec![
                MetricEvidence {
                    subject: Subject::Failures,
                    evidence: 3.12,
                    upper: Some(0.005),
                    tolerance: 0.005,
                    clamped: false,
                },
                MetricEvidence {
                    subject: Subject::SlowerThan { bound_ms: 250.0 },
                    evidence: -1.0,
                    upper: None,
                    tolerance: 0.02,
                    clamped: false,
                },
            ],
            stable: Counts {
                requests: 15_722,
                failures: 14,
            },
            canary: Counts {
                requests: 151,
                failures: 0,
            },
        };
        assert_eq!(
            evidence.reasons(),
            [
                AnalysisReason::OnHold {
                    hold: Hold::Incident
                },
                AnalysisReason::RegressionEvidence {
                    subject: Subject::Failures,
                    evidence: 3.12,
                    needed: 4.605
                },
            ]
        );
        evidence.evidence = 0.5;
        evidence.state = AnalysisState::Comparing;
        assert_eq!(
            evidence.reasons(),
            [
                AnalysisReason::Bounded {
                    subject: Subject::Failures,
                    ratio: 1.5,
                    excess: 0.005,
                    confidence: 0.95
                },
                AnalysisReason::Unbounded {
                    subject: Subject::SlowerThan { bound_ms: 250.0 }
                },
                AnalysisReason::RegressionEvidence {
                    subject: Subject::Failures,
                    evidence: 0.5,
                    needed: 4.605
                },
            ]
        );
    }

    #[test]
    fn what_is_not_known_yet_is_not_near_promotion() {
        // Before the first request it is not known how much has to be ruled out, if anything.
        for (requests, tolerance, upper, towards) in [
            (0, 1.0, None, 0.0),
            (0, 0.005, None, 0.0),
            (20, 0.005, None, 0.0),
            (20, 0.005, Some(0.01), 0.5),
            (20, 1.0, None, 1.0),
        ] {
            let metric = MetricEvidence {
                subject: Subject::Failures,
                evidence: 0.0,
                upper,
                tolerance,
                clamped: false,
            };
            let evidence = Evidence {
                state: AnalysisState::Comparing,
                evidence: 0.0,
                leader: Subject::Failures,
                operation: None,
                needed: 4.605,
                alone: None,
                confidence: 0.95,
                ratio: 1.5,
                share: None,
                metrics: vec![metric],
                stable: Counts::default(),
                canary: Counts {
                    requests,
                    failures: 0,
                },
            };
            assert_eq!(
                evidence.towards_promotion(),
                towards,
                "{requests} {tolerance}"
            );
            let too_few = evidence
                .reasons()
                .iter()
                .any(|reason| matches!(reason, AnalysisReason::Unbounded { .. }));
            assert_eq!(too_few, towards == 0.0, "{requests} {tolerance}");
        }
    }
}
