//! How long each step of a plan takes an equal canary under known traffic.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Serialize;

use super::{AnalysisKind, Exposure, HumanDuration, Percent, Plan};
use crate::verdict::sequential::Traffic;

/// A deadline so far away that it is none.
pub const NEVER: SignedDuration = SignedDuration::from_hours(24 * 365);

/// One step before 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForecastStep {
    /// What the canary gets.
    pub exposure: Exposure,
    /// Whether the canary is judged at it by users' requests.
    pub judged: bool,
    /// How long it takes; `None` where its time is up before there is a verdict.
    pub takes: Option<HumanDuration>,
}

/// What a forecast is made from.
#[derive(Clone, Copy, Debug)]
pub struct Outlook {
    /// The traffic of today.
    pub traffic: Traffic,
    /// The first step that is still to be taken.
    pub first: usize,
}

impl Outlook {
    /// A sample comes half a scrape late on average, and is seen half a look after that.
    pub fn lag(plan: &Plan) -> SignedDuration {
        (plan.judgement.scrape.signed() + plan.interval.signed()) / 2
    }

    /// Every step before 100 % that is still to be taken.
    pub fn steps(self, plan: &Plan) -> Vec<ForecastStep> {
        let compared = self.first..plan.step_count() - 1;
        compared
            .map(|index| ForecastStep {
                exposure: plan.exposure(index),
                judged: plan.exposure(index).is_share(),
                takes: self.in_step(plan, index).map(|(time, _)| time),
            })
            .collect()
    }

    /// How long a step takes, and the excess that it rules out.
    fn in_step(self, plan: &Plan, index: usize) -> Option<(HumanDuration, f64)> {
        let judgement = plan.judgement;
        let share = plan.exposure(index).share().share();
        let dwell = plan.dwell_of(index).signed();
        if !plan.exposure(index).is_share() {
            return Some(((dwell + Self::lag(plan)).into(), 1.0));
        }
        let counted = seconds(judgement.min_requests as f64 / (self.traffic.per_second * share))?;
        let (time, excess) = match judgement.analysis {
            AnalysisKind::Threshold => {
                // What is neither above the limit nor beyond the margin passes.
                let limit = judgement.max_error_rate.map_or(1.0, Percent::share);
                let excess = limit.min(self.traffic.failure_rate + judgement.margin.share());
                (counted.max(dwell), excess)
            }
            AnalysisKind::Sequential => {
                let mut policy = plan.policy();
                policy.dwell = dwell;
                let next = (index + 2 < plan.step_count())
                    .then(|| plan.exposure(index + 1).share().share());
                let (time, excess) = self.traffic.time_in_step(share, next, &policy)?;
                match judgement.max_error_rate {
                    Some(_) => (time.max(counted), excess),
                    None => (time, excess),
                }
            }
        };
        let time = time + Self::lag(plan);
        (time <= plan.step_timeout.signed()).then(|| (time.into(), excess))
    }

    /// The excess of failures that the last comparison does not rule out.
    pub fn left_open(self, plan: &Plan) -> Option<f64> {
        let mut compared = self.first..plan.step_count() - 1;
        let last = compared.rfind(|&step| plan.exposure(step).is_share())?;
        self.in_step(plan, last).map(|(_, excess)| excess)
    }

    /// The failure rate of a canary with that excess.
    pub fn overlooks(self, plan: &Plan, excess: f64) -> f64 {
        let allowed = plan.policy().promotion_ratio * self.traffic.failure_rate + excess;
        allowed.min(1.0)
    }
}

/// The time of all steps together; `None` where one of them does not end.
pub fn total(steps: &[ForecastStep]) -> Option<HumanDuration> {
    let mut sum = SignedDuration::ZERO;
    for step in steps {
        sum += step.takes?.signed();
    }
    Some(sum.into())
}

fn seconds(seconds: f64) -> Option<SignedDuration> {
    (seconds < NEVER.as_secs_f64()).then(|| SignedDuration::from_secs_f64(seconds))
}

/// Rounded up to one digit, as a person would choose it.
pub fn coarse(number: f64) -> f64 {
    let digit = 10_f64.powf(number.log10().floor());
    // A number that is round already must not be pushed up by the last bit.
    (number / digit - 1e-9).ceil() * digit
}
