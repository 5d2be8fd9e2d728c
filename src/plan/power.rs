//! What the analysis of a plan would notice on the way to 100 %.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outlook::Outlook;
use super::{AnalysisKind, Exposure, HumanDuration, Plan};
use crate::verdict::sequential::{History, Power, StepTraffic, Subject};

/// The regressions that are asked about, as shares of requests.
const REFERENCES: [f64; 7] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];
/// Times the smallest excess that is caught at all from which one is caught in four of five rollouts.
const SURE: f64 = 1.5;

/// What the analysis would notice of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricPower {
    /// What is counted.
    pub subject: Subject,
    /// The smallest excess over stable's rate that is caught before the canary has all the traffic,
    /// as a share of requests; a canary with it is about as likely to be promoted as not. `None` where
    /// nothing is caught in the time of the steps.
    pub smallest: Option<f64>,
    /// A regression of one percentage point, or of more where that may go undetected.
    pub example: Option<DetectedRegression>,
}

/// A regression that is caught.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DetectedRegression {
    /// By what the canary's rate of bad requests exceeds stable's, as a share of requests.
    pub excess: f64,
    /// From the start until the canary's traffic is taken away.
    pub after: HumanDuration,
    /// Users' requests that are bad until then because of the canary.
    pub bad: f64,
}

impl DetectedRegression {
    /// The regression of this excess; `None` where it is not caught.
    pub fn of(power: &Power, subject: &Subject, excess: f64) -> Option<Self> {
        let caught = power.caught(subject, excess)?;
        Some(Self {
            excess,
            after: caught.after.into(),
            bad: caught.bad,
        })
    }
}

impl Outlook {
    /// The power of the plan's analysis; `None` where fixed limits decide.
    pub fn power(self, plan: &Plan, history: &History, age: SignedDuration) -> Option<Power> {
        if plan.judgement.analysis == AnalysisKind::Threshold {
            return None;
        }
        let mut history = history.clone();
        if plan.judgement.ignore_client_errors {
            history.refusals = None;
        }
        if plan.judgement.ignore_latency {
            history.slow.clear();
        }
        let compared = self.first..plan.step_count() - 1;
        let steps = compared.map(|step| self.traffic_at(plan, step)).collect();
        // A pod that waits for its first request does not grow warm.
        let served = match history.canary_served() {
            true => age,
            false => SignedDuration::ZERO,
        };
        let warm = plan.judgement.warmup.signed() - served;
        Some(Power::new(
            plan.policy(),
            &history,
            steps,
            warm.max(SignedDuration::ZERO),
            Self::lag(plan),
        ))
    }

    fn traffic_at(self, plan: &Plan, step: usize) -> StepTraffic {
        let exposure = plan.exposure(step);
        let mirrored = exposure.mirrored().unwrap_or_default().share();
        let mut later = (step + 1..plan.step_count()).map(|step| plan.exposure(step));
        let next = later.find(|exposure| exposure.is_judged());
        StepTraffic {
            // Mirrored requests come on top of what stable gets anyway.
            per_second: self.traffic.per_second * (1.0 + mirrored),
            share: exposure.canary_part(),
            next: next.map(Exposure::canary_part).filter(|&share| share < 1.0),
            dwell: plan.dwell_of(step).signed(),
            answers: exposure.is_share(),
        }
    }
}

/// What would be noticed of each metric, in the order in which they are compared.
pub fn metrics(power: &Power) -> Vec<MetricPower> {
    let of_metric = |subject| {
        let smallest = power.smallest(&subject);
        let sure = |smallest: f64| {
            let mut references = REFERENCES.into_iter();
            let excess = references.find(|&excess| excess >= (SURE * smallest).min(1.0))?;
            DetectedRegression::of(power, &subject, excess)
        };
        let example = smallest.and_then(sure);
        MetricPower {
            subject,
            smallest,
            example,
        }
    };
    power.subjects().map(of_metric).collect()
}
