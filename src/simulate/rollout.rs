//! One imagined rollout, driven through the seat of the analysis as an engine drives it.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::scenario::Scenario;
use super::world::{World, instant};
use crate::verdict::{Analysis, Decision, StepContext};

/// How the traffic is moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The canary's shares, ascending, without the last 100 %.
    pub steps: Vec<f64>,
    /// Seconds between scrapes.
    pub scrape: f64,
    /// Seconds a step lasts at least.
    pub dwell: f64,
    /// Seconds at 100 % before it is done; `None` ends the rollout when it reaches 100 %.
    pub bake: Option<f64>,
    /// Seconds after which a rollout is given up, whatever the analysis says.
    pub limit: f64,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            steps: vec![0.01, 0.1, 0.5],
            scrape: 15.0,
            dwell: 60.0,
            bake: None,
            limit: 6.0 * 3600.0,
        }
    }
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The canary has all the traffic.
    Promoted,
    /// The canary's traffic was taken away for good.
    RolledBack,
    /// A step's deadline passed without a verdict.
    Inconclusive,
}

/// What one rollout came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// After how many seconds.
    pub seconds: f64,
    /// Failed canary requests.
    pub failed: u64,
    /// Canary requests that failed because it is worse than stable.
    pub excess: f64,
    /// Requests to either version that failed because of the canary.
    pub damage: f64,
    /// Trips on the way, the last included.
    pub trips: u32,
    /// Retreats on the way.
    pub retreats: u32,
}

/// Drives one rollout. `analysis` is made in a world that can tell its history.
pub fn run<A: Analysis>(
    scenario: &Scenario,
    route: &Route,
    seed: u64,
    analysis: impl FnOnce(&mut World<'_>) -> A,
) -> Outcome {
    let mut world = World::new(scenario, route.scrape, seed);
    let mut analysis = analysis(&mut world);
    let mut step = 0;
    let mut at = 0.0;
    let mut confirming = false;
    let mut outcome = Outcome {
        ending: Ending::Inconclusive,
        seconds: 0.0,
        failed: 0,
        excess: 0.0,
        damage: 0.0,
        trips: 0,
        retreats: 0,
    };
    analysis.begin_step(route.context(step, at));
    while at < route.limit {
        let share = if confirming { 0.0 } else { route.share(step) };
        let (window, truth) = world.scrape(at, share);
        at += route.scrape;
        outcome.seconds = at;
        outcome.failed += truth.failed;
        outcome.excess += truth.excess;
        outcome.damage += truth.damage;
        match analysis.observe(&window) {
            Decision::Stay(..) => {}
            Decision::Advance(_) => {
                step += 1;
                if step > route.steps.len() || step == route.steps.len() && route.bake.is_none() {
                    outcome.ending = Ending::Promoted;
                    return outcome;
                }
                analysis.begin_step(route.context(step, at));
            }
            Decision::Trip(_) => {
                confirming = true;
                outcome.trips += 1;
            }
            Decision::Resume(_) => confirming = false,
            Decision::Rollback(_) => {
                outcome.ending = Ending::RolledBack;
                return outcome;
            }
            Decision::Retreat(_) => {
                step = step.saturating_sub(1);
                outcome.retreats += 1;
                analysis.begin_step(route.context(step, at));
            }
            Decision::Inconclusive(_) => return outcome,
        }
    }
    outcome
}

impl Route {
    fn share(&self, step: usize) -> f64 {
        self.steps.get(step).copied().unwrap_or(1.0)
    }

    fn context(&self, step: usize, at: f64) -> StepContext {
        let alone = step >= self.steps.len();
        let dwell = match self.bake {
            Some(bake) if alone => bake,
            _ => self.dwell,
        };
        StepContext {
            share: self.share(step),
            next_share: (!alone).then(|| self.share(step + 1)),
            began: instant(at),
            dwell: SignedDuration::from_secs_f64(dwell),
        }
    }
}
