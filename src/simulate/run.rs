//! A plan run against a simulated pair of versions, by the machine that decides real rollouts.
//!
//! Time is as in a cluster: scrapes come at a phase of their own, the metrics are queried a little
//! later, and weights change in the middle of a window.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sampler::Sampler;
use super::scenario::Scenario;
use super::world::{SimulatedWorld, Truth, instant};
use crate::istio::{Destination, Host};
use crate::metrics::{Newest, Observation, Quality};
use crate::plan::Plan;
use crate::rollout::{Action, Cause, EventKind, Machine, Phase, Rollout, StopAt, next_step};
use crate::verdict::sequential::Evidence;
use crate::verdict::{Analysis, Counts, Verdict, Window};

/// After a change of weights the metrics are queried again within this many seconds.
const SOON: f64 = 1.0;
/// A rollout that goes back and forth ends after this many times what its steps may take.
const PATIENCE: f64 = 3.0;
/// Mixed into the seed, so that the scrape's phase is drawn independently of the traffic.
const PHASE: u64 = 0x0070_6861_7365;

/// A plan and what it is run against.
#[derive(Clone, Copy, Debug)]
pub struct Simulator<'a> {
    /// The plan; gates are opened as soon as their step has passed.
    pub plan: &'a Plan,
    /// The simulated versions.
    pub scenario: &'a Scenario,
    /// How many seconds old the canary's pods are at the start.
    pub canary_age: f64,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunEnding {
    /// The canary has all the traffic.
    Promoted,
    /// The canary was rolled back as worse.
    RolledBack,
    /// It ended without a verdict.
    Inconclusive,
}

/// What one rollout came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SimulatedRun {
    /// How it ended.
    pub ending: RunEnding,
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
    /// Steps back on the way.
    pub retreats: u32,
}

/// What one query of the simulated metrics showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Seconds since the start.
    pub at: f64,
    /// The canary's share until now.
    pub share: f64,
    /// What stable did since the query before.
    pub stable: Counts,
    /// What the canary did since the query before.
    pub canary: Counts,
    /// What is known.
    pub verdict: Verdict,
    /// The evidence behind it, where the analysis weighs any.
    pub evidence: Option<Box<Evidence>>,
}

impl Simulator<'_> {
    /// Runs one rollout. `analysis` is made with access to stable's history; `watch` gets every query
    /// that showed something new.
    pub fn run(
        &self,
        seed: u64,
        analysis: impl FnOnce(&mut SimulatedWorld<'_>) -> Box<dyn Analysis>,
        watch: &mut dyn FnMut(Reading),
    ) -> SimulatedRun {
        let scrape = self.plan.judgement.scrape.signed().as_secs_f64();
        let mut world = SimulatedWorld::new(self.scenario, scrape, seed);
        let analysis = analysis(&mut world);
        let phase = scrape * Sampler::new(seed ^ PHASE).uniform();
        let rollout = unmoved(self.plan).at_step(0, Phase::Progressing, instant(0.0));
        let weight = rollout.exposure().share().share();
        let machine = Machine::new(rollout, analysis, StopAt::END)
            .with_canary_since(Some(instant(-self.canary_age)));
        let interval = self.plan.interval.signed().as_secs_f64();
        Run {
            machine,
            world,
            scrape,
            interval,
            scraped: phase - scrape,
            next_query: interval.min(SOON),
            weights: vec![(f64::NEG_INFINITY, 0.0), (0.0, weight)],
            undecided: false,
            run: SimulatedRun {
                ending: RunEnding::Inconclusive,
                seconds: 0.0,
                failed: 0,
                excess: 0.0,
                damage: 0.0,
                trips: 0,
                retreats: 0,
            },
        }
        .finish(self.limit(), watch)
    }

    /// Seconds after which it ends, whatever the analysis says.
    fn limit(&self) -> f64 {
        let steps = 0..self.plan.step_count();
        let timeout = self.plan.step_timeout.signed().as_secs_f64();
        let seconds = steps.map(|step| timeout + self.plan.dwell_of(step).signed().as_secs_f64());
        PATIENCE * seconds.sum::<f64>()
    }
}

/// A rollout that belongs to no object: the machine needs only its plan and its weights so far.
fn unmoved(plan: &Plan) -> Rollout {
    let version = |subset: &str| Destination {
        host: Host::resolve("simulated", "simulated"),
        subset: Some(subset.into()),
        port: None,
    };
    Rollout::new(
        "simulation".into(),
        "simulation".into(),
        plan.clone(),
        (version("stable"), version("canary"), Vec::new()),
        instant(0.0),
    )
}

struct Run<'a> {
    machine: Machine,
    world: SimulatedWorld<'a>,
    scrape: f64,
    interval: f64,
    /// When the last scrape was.
    scraped: f64,
    /// When the metrics are queried next.
    next_query: f64,
    /// Since when the canary had which share; all but the newest may matter to the next window.
    weights: Vec<(f64, f64)>,
    undecided: bool,
    run: SimulatedRun,
}

impl Run<'_> {
    fn finish(mut self, limit: f64, watch: &mut dyn FnMut(Reading)) -> SimulatedRun {
        let plan = &self.machine.rollout().plan;
        if plan.is_last(0) && plan.dwell_of(0).unsigned().is_zero() {
            return self.ended(0.0, RunEnding::Promoted);
        }
        while self.next_query < limit {
            // Queries between two scrapes show nothing new, and would only cost time here.
            while self.next_query < self.scraped + self.scrape {
                self.next_query += self.interval;
            }
            let now = self.next_query;
            let action = self.query(now, watch);
            self.next_query = now + self.interval;
            if let Some(ending) = self.carry_out(action, now) {
                return self.ended(now, ending);
            }
        }
        self.run.seconds = limit;
        self.run
    }

    fn query(&mut self, now: f64, watch: &mut dyn FnMut(Reading)) -> Action {
        let (mut windows, mut mirrored) = (Vec::new(), Vec::new());
        while self.scraped + self.scrape <= now {
            let until = self.scraped + self.scrape;
            let window = self.window(until);
            if self.machine.rollout().plan.mirrors() {
                // After a trip nothing is copied, and stable's own proxies report all the same.
                let share = self
                    .machine
                    .rollout()
                    .exposure()
                    .mirrored()
                    .unwrap_or_default();
                let copies = self.world.copies(self.scraped, &window, share.share());
                mirrored.push(Window {
                    share: self.machine.exposure_at(window.end),
                    ..copies
                });
            }
            windows.push(window);
            self.scraped = until;
        }
        let (mut stable, mut canary) = (Counts::default(), Counts::default());
        for window in &windows {
            stable += window.stable;
            canary += window.canary;
        }
        let observation = Observation {
            mirrored,
            ..sound(windows, self.scrape)
        };
        let undecided = &mut self.undecided;
        let share = self.weights.last().map_or(0.0, |weight| weight.1);
        let mut emit = |event| match event {
            EventKind::NoVerdict { .. } => *undecided = true,
            EventKind::Analyzed {
                verdict, evidence, ..
            } => watch(Reading {
                at: now,
                share,
                stable,
                canary,
                verdict,
                evidence,
            }),
            _ => {}
        };
        self.machine.look(&observation, instant(now), &mut emit)
    }

    /// What is scraped at `until`, with the share that the state then stands for.
    fn window(&mut self, until: f64) -> Window {
        let from = self.scraped;
        let mut stretches = Vec::with_capacity(2);
        for (i, &(since, share)) in self.weights.iter().enumerate() {
            let ends = self.weights.get(i + 1).map_or(until, |next| next.0);
            let seconds = ends.min(until) - since.max(from);
            if seconds > 0.0 {
                stretches.push((seconds, share));
            }
        }
        let past = self.weights.iter().rposition(|weight| weight.0 <= until);
        self.weights.drain(..past.unwrap_or(0));
        let (window, truth) = self.world.window(from, &stretches);
        self.add(truth);
        Window {
            share: self.machine.share_at(instant(until)),
            // The stretches may not add up to the last bit.
            end: instant(until),
            ..window
        }
    }

    fn add(&mut self, truth: Truth) {
        self.run.failed += truth.failed;
        self.run.excess += truth.excess;
        self.run.damage += truth.damage;
    }

    /// Carries an action out; returns the ending if it was the last.
    fn carry_out(&mut self, action: Action, now: f64) -> Option<RunEnding> {
        match action {
            Action::Wait => None,
            Action::Write(next) => {
                let before = self.machine.rollout();
                self.run.trips += u32::from(next.phase == Phase::Tripped);
                self.run.retreats += u32::from(next.step < before.step);
                let gate = next.phase == Phase::Waiting;
                self.weights.push((now, next.exposure().share().share()));
                self.machine.set_state(*next);
                self.next_query = now + self.interval.min(SOON);
                match gate {
                    // Without a verdict the gate stays closed.
                    true if self.undecided => Some(RunEnding::Inconclusive),
                    true => self.carry_out(next_step(self.machine.rollout(), instant(now)), now),
                    false => None,
                }
            }
            Action::Complete(_) => Some(RunEnding::Promoted),
            Action::RollBack { cause, .. } => Some(match cause {
                Cause::Regression | Cause::CanaryDown => RunEnding::RolledBack,
                Cause::Request
                | Cause::Signal
                | Cause::Inconclusive
                | Cause::NoMetrics
                | Cause::Refused
                | Cause::HookFailed
                | Cause::Undo
                | Cause::Drift => RunEnding::Inconclusive,
            }),
            Action::Leave(_) => Some(RunEnding::Inconclusive),
        }
    }

    fn ended(mut self, now: f64, ending: RunEnding) -> SimulatedRun {
        // Requests since the last scrape have failed too.
        if now > self.scraped {
            self.window(now);
        }
        self.run.ending = ending;
        self.run.seconds = now;
        self.run
    }
}

/// An answer without a flaw.
fn sound(windows: Vec<Window>, scrape: f64) -> Observation {
    let newest: Option<Timestamp> = windows.last().map(|window| window.end);
    Observation {
        windows,
        mirrored: Vec::new(),
        quality: Quality {
            newest: Newest {
                overall: newest,
                stable: newest,
                canary: newest,
            },
            scrape_interval: Some(jiff::SignedDuration::from_secs_f64(scrape)),
            warnings: Vec::new(),
            partial: false,
            versions_apart: Some(jiff::SignedDuration::ZERO),
            series: 2,
            flaw: None,
        },
    }
}
