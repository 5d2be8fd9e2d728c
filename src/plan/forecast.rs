//! What is to be expected of a plan under known traffic, before anything moves.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Serialize;

use super::outlook::{ForecastStep, Outlook, coarse, total};
use super::power::{DetectedRegression, MetricPower, metrics};
use super::remedy::{Remedy, remedies};
use super::{AnalysisKind, Exposure, Finding, HumanDuration, OnStuck, Percent, Plan, Steps};
use crate::verdict::sequential::{History, Preset, Subject, Traffic};

/// Failed requests of a broken canary below which a smaller first step is not worth a word.
const CHEAP: f64 = 20.0;
/// A rollout that trips has seen at least this many failures.
const LEAST: f64 = 3.0;

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
    /// What would help where traffic is low or a step reaches no verdict, the quickest first; at most
    /// three.
    pub remedies: Vec<Remedy>,
    /// What the analysis would notice of each metric; empty where nothing is compared or no past is
    /// known.
    pub power: Vec<MetricPower>,
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
            remedies: remedies(outlook, plan, total(&steps)),
            power: Vec::new(),
            steps,
        })
    }

    /// The same with what the analysis would notice that starts from `history`; `age` is that of the
    /// canary's youngest pod at the start.
    #[must_use]
    pub fn with_power(self, plan: &Plan, history: &History, age: SignedDuration) -> Self {
        let power = self.outlook(plan).power(plan, history, age);
        Self {
            power: power.iter().flat_map(metrics).collect(),
            ..self
        }
    }

    /// When a canary is caught whose rate of bad requests exceeds stable's by `excess`, a share.
    pub fn detects(
        &self,
        plan: &Plan,
        history: &History,
        age: SignedDuration,
        (subject, excess): (Subject, f64),
    ) -> Option<DetectedRegression> {
        let power = self.outlook(plan).power(plan, history, age)?;
        DetectedRegression::of(&power, &subject, excess)
    }

    fn outlook(&self, plan: &Plan) -> Outlook {
        Outlook {
            traffic: Traffic {
                per_second: self.requests_per_second,
                failure_rate: self.failure_rate,
            },
            first: plan.step_count() - 1 - self.steps.len(),
        }
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
        let mut flags: Vec<_> = self.remedies.iter().filter_map(Remedy::flag).collect();
        if plan.on_inconclusive == OnStuck::Rollback {
            flags.push("--on-inconclusive hold");
        }
        Some(Finding::warn(what, why, flags.join(" or ")))
    }
}

impl Outlook {
    /// Failed requests until a canary that fails all of them has no traffic any more.
    fn broken(self, plan: &Plan, weight: Percent) -> f64 {
        let share = weight.share();
        let rate = self.traffic.per_second * share;
        let seen = match plan.judgement.analysis {
            // At 100 % nothing is beside the canary: what is left is the lag.
            AnalysisKind::Sequential => self
                .traffic
                .time_to_detect(share, 1.0, &plan.policy().while_cold())
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
        let weight = Percent::nearest(coarse(ideal));
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
}
