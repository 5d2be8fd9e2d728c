//! What is to be expected of a plan under known traffic, before anything moves.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Serialize;

use super::{AnalysisKind, Exposure, Finding, HumanDuration, OnStuck, Percent, Plan, Steps};
use crate::verdict::sequential::promotion::EXCESSES;
use crate::verdict::sequential::{Preset, Traffic};

/// Failed requests of a broken canary below which a smaller first step is not worth a word.
const CHEAP: f64 = 20.0;
/// A rollout that trips has seen at least this many failures.
const LEAST: f64 = 3.0;
/// A deadline so far away that it is none.
const NEVER: SignedDuration = SignedDuration::from_hours(24 * 365);

/// How long a rollout of an equal canary takes, and what a worse one could do. Good to a quarter.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Requests per second to both versions together.
    pub requests_per_second: f64,
    /// The share of stable's requests that fail.
    pub failure_rate: f64,
    /// How often Prometheus scrapes.
    pub scrape: HumanDuration,
    /// Every step before 100 % that is still to be taken.
    pub steps: Vec<ForecastStep>,
    /// The time to 100 %, waits for people aside; `None` where some step reaches no verdict.
    pub total: Option<HumanDuration>,
    /// Failed requests of a canary that fails all of them, at the first step that it is judged at.
    pub broken: f64,
    /// The percentage of that step.
    pub broken_at: Percent,
    /// A smaller first step, where it spares much.
    pub smaller: Option<SmallerStep>,
    /// What each preset would make of the same steps; empty where none is used.
    pub presets: Vec<PresetForecast>,
}

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

/// A first step that costs less.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmallerStep {
    /// The steps with the smaller one first.
    pub steps: Steps,
    /// Failed requests of a broken canary then.
    pub broken: f64,
    /// The time to 100 % then.
    pub total: Option<HumanDuration>,
    /// Whether the weights of a route are too coarse for it without a larger total.
    pub fine_weights: bool,
}

/// What a preset would make of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PresetForecast {
    /// The preset.
    pub preset: Preset,
    /// Whether it is the one in force; then the plan's own tolerance and dwell are, too.
    pub chosen: bool,
    /// The time to 100 %.
    pub total: Option<HumanDuration>,
    /// The failure rate up to which a canary may be promoted; one that fails more is, at each step,
    /// with a chance of at most 5 %. `None` where there is no verdict at all.
    pub overlooks: Option<f64>,
    /// The excess of slow requests that is not ruled out then; `None` where latency is ignored.
    pub overlooks_slow: Option<f64>,
}

impl Forecast {
    /// The forecast for the steps from `first` on, where the weights of the chosen routes sum to
    /// `shared` at least. Of no traffic nothing can be forecast.
    pub fn of(plan: &Plan, traffic: Traffic, first: usize, shared: i64) -> Option<Self> {
        if traffic.per_second <= 0.0 {
            return None;
        }
        let outlook = Outlook { traffic, first };
        let steps = outlook.steps(plan);
        let judged = (first..plan.step_count()).find(|&step| plan.exposure(step).is_share())?;
        let broken_at = plan.exposure(judged).share();
        let broken = outlook.broken(plan, broken_at);
        Some(Self {
            requests_per_second: traffic.per_second,
            failure_rate: traffic.failure_rate,
            scrape: plan.judgement.scrape,
            total: total(&steps),
            broken,
            broken_at,
            smaller: outlook.smaller(plan, judged, broken, shared),
            presets: outlook.presets(plan),
            steps,
        })
    }

    /// Whether a verdict can be had in time; if not, what to change.
    pub fn finding(&self, plan: &Plan) -> Option<Finding> {
        let stuck = self.steps.iter().find(|step| step.takes.is_none())?;
        let rate = crate::number::pace(self.requests_per_second);
        let what = format!(
            "{rate} is too little for a verdict at {} % within {}",
            stuck.exposure.share(),
            plan.step_timeout
        );
        let why = match plan.on_inconclusive {
            OnStuck::Rollback => "a healthy canary would be rolled back",
            OnStuck::Hold => "the rollout would hold there until promote",
            OnStuck::Promote => "the rollout would continue without a verdict",
        };
        Some(Finding::warn(what, why, self.remedies(plan)))
    }

    fn remedies(&self, plan: &Plan) -> String {
        let outlook = Outlook {
            traffic: Traffic {
                per_second: self.requests_per_second,
                failure_rate: self.failure_rate,
            },
            first: plan.step_count() - 1 - self.steps.len(),
        };
        let mut remedies = Vec::new();
        let mut patient = plan.clone();
        patient.step_timeout = NEVER.into();
        let longest = outlook
            .steps(&patient)
            .iter()
            .map(|step| step.takes)
            .try_fold(HumanDuration::ZERO, |longest, takes| {
                Some(longest.max(takes?))
            });
        // A forecast may be wrong by a quarter, and a week is no deadline.
        if let Some(longest) = longest
            && longest < HumanDuration::minutes(7 * 24 * 60)
        {
            let hours = (longest.signed().as_secs_f64() * 1.5 / 3600.0).ceil();
            remedies.push(format!("--step-timeout {hours}h"));
        }
        if plan.judgement.analysis == AnalysisKind::Sequential {
            let tolerable = EXCESSES.into_iter().map(percent).find(|&excess| {
                let mut wider = plan.clone();
                wider.judgement.tolerance = Some(excess);
                total(&outlook.steps(&wider)).is_some()
            });
            remedies.extend(tolerable.map(|excess| format!("--tolerance {excess}%")));
        }
        if plan.on_inconclusive == OnStuck::Rollback {
            remedies.push("--on-inconclusive hold".into());
        }
        remedies.join(" or ")
    }
}

/// What a forecast is made from.
#[derive(Clone, Copy)]
struct Outlook {
    traffic: Traffic,
    first: usize,
}

impl Outlook {
    /// A sample comes half a scrape late on average, and is seen half a look after that.
    fn lag(plan: &Plan) -> SignedDuration {
        (plan.judgement.scrape.signed() + plan.interval.signed()) / 2
    }

    fn steps(self, plan: &Plan) -> Vec<ForecastStep> {
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

    /// Failed requests until a canary that fails all of them has no traffic any more.
    fn broken(self, plan: &Plan, weight: Percent) -> f64 {
        let share = weight.share();
        let rate = self.traffic.per_second * share;
        let seen = match plan.judgement.analysis {
            // At 100 % nothing is beside the canary: what is left is the lag.
            AnalysisKind::Sequential => self
                .traffic
                .time_to_detect(share, 1.0, &plan.policy())
                .unwrap_or_default(),
            AnalysisKind::Threshold => SignedDuration::ZERO,
        };
        (rate * (seen + Self::lag(plan)).as_secs_f64()).max(LEAST)
    }

    /// A smaller one in place of step `judged`, the first at which the canary is judged.
    fn smaller(self, plan: &Plan, judged: usize, broken: f64, shared: i64) -> Option<SmallerStep> {
        let asked = plan.exposure(judged).share();
        if broken < CHEAP {
            return None;
        }
        let ideal = self.traffic.first_step(asked.share(), &plan.policy());
        let weight = percent(coarse(ideal));
        if weight.share() > 0.5 * asked.share() {
            return None;
        }
        let mut list = plan.steps.as_slice()[self.first..].to_vec();
        list[judged - self.first].exposure = Exposure::Share(weight);
        let steps = Steps::new(list).ok()?;
        let then = Plan {
            steps: steps.clone(),
            ..plan.clone()
        };
        let outlook = Self { first: 0, ..self };
        Some(SmallerStep {
            broken: outlook.broken(&then, weight),
            total: total(&outlook.steps(&then)),
            fine_weights: weight.floor_of(shared) == 0,
            steps,
        })
    }

    fn presets(self, plan: &Plan) -> Vec<PresetForecast> {
        let own = plan.judgement.preset;
        if plan.judgement.analysis == AnalysisKind::Threshold {
            return Vec::new();
        }
        let scrape = plan.judgement.scrape.signed();
        // A dwell that was asked for stays, whatever the preset.
        let asked = plan.dwell.signed() != own.policy(scrape).dwell;
        [Preset::Careful, Preset::Quick, Preset::Quicker]
            .into_iter()
            .map(|preset| {
                let mut other = plan.clone();
                if preset != own {
                    other.judgement.preset = preset;
                    other.judgement.tolerance = None;
                    if !asked {
                        other.dwell = preset.policy(scrape).dwell.into();
                    }
                }
                let left = self.left_open(&other);
                PresetForecast {
                    preset,
                    chosen: preset == own,
                    total: total(&self.steps(&other)),
                    overlooks: left.map(|excess| self.overlooks(&other, excess)),
                    overlooks_slow: left
                        .filter(|_| !other.judgement.ignore_latency)
                        .map(|excess| other.policy().slow_excess(excess, 0.0).min(1.0)),
                }
            })
            .collect()
    }

    /// The excess of failures that the last comparison does not rule out.
    fn left_open(self, plan: &Plan) -> Option<f64> {
        let mut compared = self.first..plan.step_count() - 1;
        let last = compared.rfind(|&step| plan.exposure(step).is_share())?;
        self.in_step(plan, last).map(|(_, excess)| excess)
    }

    /// The failure rate of a canary with that excess.
    fn overlooks(self, plan: &Plan, excess: f64) -> f64 {
        let allowed = plan.policy().promotion_ratio * self.traffic.failure_rate + excess;
        allowed.min(1.0)
    }
}

fn total(steps: &[ForecastStep]) -> Option<HumanDuration> {
    let mut sum = SignedDuration::ZERO;
    for step in steps {
        sum += step.takes?.signed();
    }
    Some(sum.into())
}

fn seconds(seconds: f64) -> Option<SignedDuration> {
    (seconds < NEVER.as_secs_f64()).then(|| SignedDuration::from_secs_f64(seconds))
}

/// The share as a percentage, exact to a thousandth of a percent.
fn percent(share: f64) -> Percent {
    Percent::of((share * 100_000.0).round() as i64, 100_000)
}

/// Rounded up to one digit, as a person would choose it.
fn coarse(share: f64) -> f64 {
    let digit = 10_f64.powf(share.log10().floor());
    // A share that is round already must not be pushed up by the last bit.
    (share / digit - 1e-9).ceil() * digit
}
