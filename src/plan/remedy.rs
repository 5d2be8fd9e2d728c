//! What helps a plan that reaches no verdict, or takes long for want of traffic.

use schemars::JsonSchema;
use serde::Serialize;

use super::outlook::{NEVER, Outlook, coarse, total};
use super::{AnalysisKind, HumanDuration, Percent, Plan, Steps};
use crate::verdict::sequential::promotion::EXCESSES;
use crate::verdict::sequential::{Preset, Traffic};

/// Requests per second below which a plan that takes its time is not left uncommented.
const LITTLE: f64 = 1.0;
/// What is worth a word cuts the time to this part.
const WORTH: f64 = 0.5;
/// Times what a step is forecast to take that its timeout must allow: a forecast may be wrong by a
/// quarter, and what helps must not just about help.
const MARGIN: f64 = 1.5;
/// Steps that spend the time where evidence grows the fastest.
const FEWER_STEPS: [&str; 2] = ["10,80,100", "50,100"];
/// Presets that ask for less, as `--preset` calls them.
const LESS_CAREFUL: [(Preset, &str); 2] = [(Preset::Quick, "quick"), (Preset::Quicker, "quicker")];
/// Times the present traffic beyond which nobody sends synthetic requests.
const MOST_TRAFFIC: f64 = 1e4;

/// A change with which a healthy canary is promoted, or is sooner.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// What to change.
    pub change: RemedyChange,
    /// The time to 100 % then.
    pub total: HumanDuration,
    /// The failure rate up to which a canary may be promoted then.
    pub overlooks: f64,
    /// Whether that is more than the plan as it is would leave open.
    pub overlooks_more: bool,
}

/// What to change.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum RemedyChange {
    /// A flag of `plan` and `start`, with its value.
    Flag {
        /// The flag.
        flag: String,
    },
    /// Synthetic requests beside those of users.
    SyntheticRequests {
        /// How many more in a second.
        per_second: f64,
    },
}

impl Remedy {
    /// The flag to add, where it is one.
    pub fn flag(&self) -> Option<&str> {
        match &self.change {
            RemedyChange::Flag { flag } => Some(flag),
            RemedyChange::SyntheticRequests { .. } => None,
        }
    }
}

/// What would help most, the quickest first: of the flags that leave no more open than the plan the
/// best one, of those that do the best one, and synthetic requests. `now` is the time that the plan
/// takes as it is. Empty where nothing is wrong with it.
pub fn remedies(outlook: Outlook, plan: &Plan, now: Option<HumanDuration>) -> Vec<Remedy> {
    if now.is_some() && outlook.traffic.per_second >= LITTLE {
        return Vec::new();
    }
    let goal = match now {
        Some(now) => now.signed().mul_f64(WORTH).into(),
        None => HumanDuration::from(NEVER),
    };
    let search = Search {
        outlook,
        plan,
        goal,
    };
    let flags: Vec<_> = search.flags().collect();
    let best = |more: bool| {
        let flags = flags.iter().filter(|flag| flag.overlooks_more == more);
        flags.min_by_key(|flag| flag.total).cloned()
    };
    let mut remedies: Vec<_> = [best(false), best(true), search.synthetic()]
        .into_iter()
        .flatten()
        .collect();
    remedies.sort_by_key(|remedy| remedy.total);
    remedies
}

struct Search<'a> {
    outlook: Outlook,
    plan: &'a Plan,
    /// The longest that a changed plan may take to be worth a word.
    goal: HumanDuration,
}

impl Search<'_> {
    fn flags(&self) -> impl Iterator<Item = Remedy> {
        let patient = self.patient();
        let steps = FEWER_STEPS
            .into_iter()
            .filter_map(|steps| self.steps(steps));
        let presets = LESS_CAREFUL.into_iter();
        let presets = presets.filter_map(|(preset, name)| self.preset(preset, name));
        let changed = patient
            .into_iter()
            .chain(steps)
            .chain(presets)
            .chain(self.tolerance());
        changed.collect::<Vec<_>>().into_iter()
    }

    /// A plan with a flag more, if that reaches the goal.
    fn tried(&self, flag: String, outlook: Outlook, plan: &Plan) -> Option<Remedy> {
        let hasty = Plan {
            step_timeout: plan.step_timeout.signed().div_f64(MARGIN).into(),
            ..plan.clone()
        };
        let total = total(&outlook.steps(&hasty)).filter(|&total| total <= self.goal)?;
        let left = outlook.left_open(&hasty)?;
        Some(Remedy {
            change: RemedyChange::Flag { flag },
            total,
            overlooks: outlook.overlooks(plan, left),
            overlooks_more: plan.policy().tolerance.late > self.plan.policy().tolerance.late,
        })
    }

    /// A step timeout that is long enough.
    fn patient(&self) -> Option<Remedy> {
        let mut patient = self.plan.clone();
        patient.step_timeout = NEVER.into();
        let steps = self.outlook.steps(&patient);
        let mut longest = steps.iter().map(|step| step.takes);
        let longest = longest.try_fold(HumanDuration::ZERO, |longest, takes| {
            Some(longest.max(takes?))
        })?;
        if longest <= self.plan.step_timeout || longest > HumanDuration::minutes(7 * 24 * 60) {
            // It is not what limits the plan, or a week, which is no deadline.
            return None;
        }
        let hours = (longest.signed().as_secs_f64() * MARGIN / 3600.0).ceil();
        self.tried(format!("--step-timeout {hours}h"), self.outlook, &patient)
    }

    /// Fewer steps, where those of the plan say no more than their weights.
    fn steps(&self, steps: &str) -> Option<Remedy> {
        let mut plain = self.plan.steps.as_slice().iter();
        if self.outlook.first > 0
            || !plain.all(|step| step.exposure.is_share() && !step.pause && step.hold.is_none())
        {
            return None;
        }
        let parsed: Steps = steps.parse().ok()?;
        let plan = Plan {
            steps: parsed,
            ..self.plan.clone()
        };
        self.tried(format!("--steps {steps}"), self.outlook, &plan)
    }

    /// A preset that asks for less, where the plan's is what decides.
    fn preset(&self, preset: Preset, name: &str) -> Option<Remedy> {
        let own = self.plan.judgement;
        let scrape = own.scrape.signed();
        let late = |preset: Preset| preset.policy(scrape).tolerance.late;
        if !self.compares() || own.tolerance.is_some() || late(preset) <= late(own.preset) {
            return None;
        }
        let mut plan = self.plan.clone();
        plan.judgement.preset = preset;
        // A dwell that was asked for stays, whatever the preset.
        if plan.dwell.signed() == own.preset.policy(scrape).dwell {
            plan.dwell = preset.policy(scrape).dwell.into();
        }
        self.tried(format!("--preset {name}"), self.outlook, &plan)
    }

    /// The smallest tolerance that suffices.
    fn tolerance(&self) -> Option<Remedy> {
        if !self.compares() {
            return None;
        }
        EXCESSES
            .into_iter()
            .map(Percent::nearest)
            .find_map(|excess| {
                let mut plan = self.plan.clone();
                plan.judgement.tolerance = Some(excess);
                self.tried(format!("--tolerance {excess}%"), self.outlook, &plan)
            })
    }

    /// The least traffic that suffices, to one digit.
    fn synthetic(&self) -> Option<Remedy> {
        let present = self.outlook.traffic.per_second;
        let with = |more: f64| Outlook {
            traffic: Traffic {
                per_second: present + more,
                ..self.outlook.traffic
            },
            ..self.outlook
        };
        let tried = |more: f64| self.tried(String::new(), with(more), self.plan);
        let (mut low, mut high) = (0.0, present * MOST_TRAFFIC);
        tried(high)?;
        while high - low > 0.01 * high {
            let middle = 0.5 * (low + high);
            match tried(middle) {
                Some(_) => high = middle,
                None => low = middle,
            }
        }
        let per_second = coarse(high);
        let change = RemedyChange::SyntheticRequests { per_second };
        tried(per_second).map(|remedy| Remedy { change, ..remedy })
    }

    fn compares(&self) -> bool {
        self.plan.judgement.analysis == AnalysisKind::Sequential
    }
}
