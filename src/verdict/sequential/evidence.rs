//! What is known, for a person and for the record.

use serde::{Deserialize, Serialize};

use super::metric::Subject;
use crate::number::grouped;
use crate::verdict::Counts;

/// Why a step does not go on although time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// Both versions fail more than usual.
    Incident,
    /// The canary does not get the traffic its weight promises.
    NotItsShare,
    /// Too many trips were cleared in this step.
    Disputed,
    /// The canary looked worse alone, too often.
    Unsteady,
    /// Stable failed more each time the canary got more traffic.
    Overload,
}

/// Where the analysis stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where the analysis stands.
    pub state: State,
    /// Evidence that the canary is worse, in nats, all metrics together.
    pub evidence: f64,
    /// What it takes to trip, in nats.
    pub needed: f64,
    /// Evidence against the canary while it is alone at 100 %, in nats.
    pub alone: Option<f64>,
    /// How sure the bounds are, a share: 0.95.
    pub confidence: f64,
    /// Factor on the stable rate in the bounds.
    pub ratio: f64,
    /// Each metric, failures first.
    pub metrics: Vec<MetricEvidence>,
    /// What stable did in this step.
    pub stable: Counts,
    /// What the canary did in this step.
    pub canary: Counts,
}

impl Evidence {
    /// The same in sentences a person understands.
    pub fn sentences(&self) -> Vec<String> {
        let counts = format!(
            "canary {}, stable {}",
            failed(self.canary),
            failed(self.stable)
        );
        std::iter::once(counts).chain(self.reasons()).collect()
    }

    /// The sentences without the counts, for places that show those already; what matters most comes
    /// first.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let State::Held(hold) = self.state {
            reasons.push(hold.sentence().to_owned());
        }
        // Where a regression is near, how good the canary may be is beside the point.
        let evidence = self
            .alone
            .map_or(self.evidence, |alone| alone.max(self.evidence));
        if evidence < self.needed / 2.0 {
            let (first, others) = self.metrics.split_at(1.min(self.metrics.len()));
            reasons.extend(first.iter().map(|metric| self.bound(metric)));
            // Of the others, the one that is furthest from what is tolerated; within it there is
            // nothing to say.
            let open = others.iter().filter(|metric| metric.openness() > 1.0);
            let worst = open.max_by(|a, b| a.openness().total_cmp(&b.openness()));
            reasons.extend(worst.map(|metric| self.bound(metric)));
        }
        // Evidence that rounds to nothing is not worth a line, unless it is all there is to say.
        if evidence >= 0.05 || reasons.is_empty() {
            reasons.push(self.against());
        }
        reasons
    }

    /// How far the evidence of a regression is.
    pub fn against(&self) -> String {
        let evidence = self.alone.map_or(self.evidence, |a| a.max(self.evidence));
        format!(
            "evidence of regression {:.1} of {:.1}",
            evidence.max(0.0),
            self.needed
        )
    }

    /// What is ruled out for a metric.
    pub fn bound(&self, metric: &MetricEvidence) -> String {
        let what = match metric.subject {
            Subject::Failures => "errors".to_owned(),
            Subject::SlowerThan { bound_ms } => format!("requests over {bound_ms} ms"),
        };
        match metric.upper {
            Some(upper) => format!(
                "canary {what} exceed {}x stable by at most {} points ({:.0} %)",
                self.ratio,
                points(upper),
                100.0 * self.confidence
            ),
            None => format!("no bound on canary {what} yet"),
        }
    }
}

impl Hold {
    /// Why, in words.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Incident => "stable fails more than usual too: waiting for it to pass",
            Self::NotItsShare => "the canary does not get the traffic its weight promises",
            Self::Disputed => "both versions failed together three times in this step",
            Self::Unsteady => "the canary looked worse at 100 % three times, but not beside stable",
            Self::Overload => "stable failed more each of three times the canary got more traffic",
        }
    }
}

/// A share of requests in percentage points, as short as it can be.
pub fn points(share: f64) -> String {
    let text = format!("{:.2}", 100.0 * share);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `2 of 15 722 failed`.
pub fn failed(counts: Counts) -> String {
    format!(
        "{} of {} failed",
        grouped(counts.failures),
        grouped(counts.requests)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let table = [(0.0005, "0.05"), (0.005, "0.5"), (0.4, "40"), (0.02, "2")];
        for (share, text) in table {
            assert_eq!(points(share), text);
        }
    }

    #[test]
    fn evidence_speaks_in_sentences() {
        let mut evidence = Evidence {
            state: State::Held(Hold::Incident),
            evidence: 3.12,
            needed: 4.605,
            alone: None,
            confidence: 0.95,
            ratio: 1.5,
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
            evidence.sentences(),
            [
                "canary 0 of 151 failed, stable 14 of 15 722 failed",
                "stable fails more than usual too: waiting for it to pass",
                "evidence of regression 3.1 of 4.6",
            ]
        );
        evidence.evidence = 0.5;
        evidence.state = State::Comparing;
        assert_eq!(
            evidence.reasons(),
            [
                "canary errors exceed 1.5x stable by at most 0.5 points (95 %)",
                "no bound on canary requests over 250 ms yet",
                "evidence of regression 0.5 of 4.6",
            ]
        );
    }
}
