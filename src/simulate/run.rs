//! A plan played against an imagined pair of versions, by the machine that decides real rollouts.
//!
//! What differs from [`run`](super::run) is time: scrapes come at a phase of their own, a look sees
//! them a little later, and weights change in the middle of a window, as they do in a cluster.

use jiff::Timestamp;

use super::rollout::{Ending, Outcome};
use super::sampler::Sampler;
use super::scenario::Scenario;
use super::world::{Truth, World, instant};
use crate::istio::{Destination, Host};
use crate::metrics::{Newest, Observation, Quality, Reporter};
use crate::plan::Plan;
use crate::rollout::{Action, Cause, EventKind, Machine, Phase, Rollout, StopAt, next_step};
use crate::verdict::sequential::Evidence;
use crate::verdict::{Analysis, Counts, Verdict, Window};

/// After a change of weights the metrics are looked at again within this many seconds.
const SOON: f64 = 1.0;
/// A rollout that goes back and forth is given up after this many times what its steps may take.
const PATIENCE: f64 = 3.0;
/// Tells the draws of the scrape's phase from those of the world.
const PHASE: u64 = 0x0070_6861_7365;

/// A plan and what it is played against.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsal<'a> {
    /// The plan; gates are opened as soon as their step has passed.
    pub plan: &'a Plan,
    /// The imagined versions.
    pub scenario: &'a Scenario,
    /// How many seconds old the canary's pods are at the start.
    pub canary_age: f64,
}

/// What one look at the imagined metrics showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Seconds since the start.
    pub at: f64,
    /// The canary's share until now.
    pub share: f64,
    /// What stable did since the last look.
    pub stable: Counts,
    /// What the canary did since the last look.
    pub canary: Counts,
    /// What is known.
    pub verdict: Verdict,
    /// The evidence behind it, where the analysis weighs any.
    pub evidence: Option<Box<Evidence>>,
}

impl Rehearsal<'_> {
    /// Plays one rollout. `analysis` is made in a world that can tell its past; `watch` is told of
    /// every look that showed something new.
    pub fn play(
        &self,
        seed: u64,
        analysis: impl FnOnce(&mut World<'_>) -> Box<dyn Analysis>,
        watch: &mut dyn FnMut(Moment),
    ) -> Outcome {
        let scrape = self.plan.judgement.scrape.signed().as_secs_f64();
        let mut world = World::new(self.scenario, scrape, seed);
        let analysis = analysis(&mut world);
        let phase = scrape * Sampler::new(seed ^ PHASE).uniform();
        let rollout = imagined(self.plan).at_step(0, Phase::Progressing, instant(0.0));
        let weight = rollout.exposure().share().share();
        let machine = Machine::new(rollout, analysis, StopAt::END)
            .with_canary_since(Some(instant(-self.canary_age)));
        let interval = self.plan.interval.signed().as_secs_f64();
        Play {
            machine,
            world,
            scrape,
            interval,
            scraped: phase - scrape,
            look: interval.min(SOON),
            weights: vec![(f64::NEG_INFINITY, 0.0), (0.0, weight)],
            undecided: false,
            outcome: Outcome {
                ending: Ending::Inconclusive,
                seconds: 0.0,
                failed: 0,
                excess: 0.0,
                damage: 0.0,
                trips: 0,
                retreats: 0,
            },
        }
        .play_out(self.limit(), watch)
    }

    /// Seconds after which it is given up.
    fn limit(&self) -> f64 {
        let steps = 0..self.plan.len();
        let timeout = self.plan.step_timeout.signed().as_secs_f64();
        let seconds = steps.map(|step| timeout + self.plan.dwell_of(step).signed().as_secs_f64());
        PATIENCE * seconds.sum::<f64>()
    }
}

/// A rollout on no object: the machine asks only for its plan and its weights so far.
fn imagined(plan: &Plan) -> Rollout {
    let version = |subset: &str| Destination {
        host: Host::resolve("imagined", "imagined"),
        subset: Some(subset.into()),
        port: None,
    };
    Rollout::new(
        "rehearsal".into(),
        "rehearsal".into(),
        plan.clone(),
        (version("stable"), version("canary"), Vec::new()),
        instant(0.0),
    )
}

struct Play<'a> {
    machine: Machine,
    world: World<'a>,
    scrape: f64,
    interval: f64,
    /// When the last scrape was.
    scraped: f64,
    /// When the next look is.
    look: f64,
    /// Since when the canary had which share; all but the newest may matter to the next window.
    weights: Vec<(f64, f64)>,
    undecided: bool,
    outcome: Outcome,
}

impl Play<'_> {
    fn play_out(mut self, limit: f64, watch: &mut dyn FnMut(Moment)) -> Outcome {
        let plan = &self.machine.rollout().plan;
        if plan.is_last(0) && plan.dwell_of(0).unsigned().is_zero() {
            return self.ended(0.0, Ending::Promoted);
        }
        while self.look < limit {
            // Looks between two scrapes show nothing new, and would only cost time here.
            while self.look < self.scraped + self.scrape {
                self.look += self.interval;
            }
            let now = self.look;
            let action = self.look_at(now, watch);
            self.look = now + self.interval;
            if let Some(ending) = self.carry_out(action, now) {
                return self.ended(now, ending);
            }
        }
        self.outcome.seconds = limit;
        self.outcome
    }

    fn look_at(&mut self, now: f64, watch: &mut dyn FnMut(Moment)) -> Action {
        let (mut windows, mut shadows) = (Vec::new(), Vec::new());
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
                shadows.push(Window {
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
            shadows,
            ..sound(windows, self.scrape)
        };
        let undecided = &mut self.undecided;
        let share = self.weights.last().map_or(0.0, |weight| weight.1);
        let mut emit = |event| match event {
            EventKind::NoVerdict { .. } => *undecided = true,
            EventKind::Looked {
                verdict, evidence, ..
            } => watch(Moment {
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

    /// What is scraped at `until`, booked to the share that the state then stands for.
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
        self.suffer(truth);
        Window {
            share: self.machine.share_at(instant(until)),
            // The stretches may not add up to the last bit.
            end: instant(until),
            ..window
        }
    }

    fn suffer(&mut self, truth: Truth) {
        self.outcome.failed += truth.failed;
        self.outcome.excess += truth.excess;
        self.outcome.damage += truth.damage;
    }

    /// The ending, if that was it.
    fn carry_out(&mut self, action: Action, now: f64) -> Option<Ending> {
        match action {
            Action::Wait => None,
            Action::Write(next) => {
                let before = self.machine.rollout();
                self.outcome.trips += u32::from(next.phase == Phase::Tripped);
                self.outcome.retreats += u32::from(next.step < before.step);
                let gate = next.phase == Phase::Waiting;
                self.weights.push((now, next.exposure().share().share()));
                self.machine.set_state(*next);
                self.look = now + self.interval.min(SOON);
                match gate {
                    // Nobody comes to decide what the metrics did not.
                    true if self.undecided => Some(Ending::Inconclusive),
                    true => self.carry_out(next_step(self.machine.rollout(), instant(now)), now),
                    false => None,
                }
            }
            Action::Complete(_) => Some(Ending::Promoted),
            Action::RollBack { cause, .. } => Some(match cause {
                Cause::Regression | Cause::CanaryDown => Ending::RolledBack,
                Cause::Request
                | Cause::Signal
                | Cause::Inconclusive
                | Cause::NoMetrics
                | Cause::Refused
                | Cause::Drift => Ending::Inconclusive,
            }),
            Action::Leave(_) => Some(Ending::Inconclusive),
        }
    }

    fn ended(mut self, now: f64, ending: Ending) -> Outcome {
        // What nobody has looked at yet has failed all the same.
        if now > self.scraped {
            self.window(now);
        }
        self.outcome.ending = ending;
        self.outcome.seconds = now;
        self.outcome
    }
}

/// An answer without a flaw.
fn sound(windows: Vec<Window>, scrape: f64) -> Observation {
    let newest: Option<Timestamp> = windows.last().map(|window| window.end);
    Observation {
        windows,
        shadows: Vec::new(),
        quality: Quality {
            newest: Newest {
                overall: newest,
                stable: newest,
                canary: newest,
            },
            scrape_interval: Some(jiff::SignedDuration::from_secs_f64(scrape)),
            reporter: Some(Reporter::Source),
            warnings: Vec::new(),
            partial: false,
            versions_apart: Some(jiff::SignedDuration::ZERO),
            series: 2,
        },
    }
}
