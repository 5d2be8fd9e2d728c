//! Carries out what the machine decides, and tells it what came of it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::intent::{Intent, Written, write};
use super::machine::{Action, Machine};
use super::rollback::{Authority, Road, RollbackError, roll_back};
use super::sight::{Sight, compare};
use super::signals::{Signal, Signals};
use crate::clock::Clock;
use crate::cluster::{Cluster, LeaseWatch, Seen, Subset, Watch};
use crate::metrics::{Ledger, MetricSource, Query};
use crate::plan::{HumanDuration, OnSignal, Percent};
use crate::record::{Cause, Ending, Event, EventKind, Observer, Outcome, Phase, Rollout, Tally};
use crate::traffic::VirtualService;

/// The longest that Prometheus may take for an answer.
const METRICS_DEADLINE: Duration = Duration::from_secs(5);
/// The first pause after a write that did not work, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between writes that do not work.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the canary may look dead before its pods are asked.
const POD_CHECK: Duration = Duration::from_secs(2);

/// Everything outside that a driver works with.
pub struct Equipment<'a> {
    /// The API server.
    pub cluster: &'a Cluster,
    /// The metrics.
    pub metrics: &'a dyn MetricSource,
    /// Counts what the metrics tell.
    pub ledger: Ledger,
    /// The time.
    pub clock: Clock,
    /// Who listens.
    pub observer: &'a mut dyn Observer,
    /// Ctrl-C and SIGTERM.
    pub signals: Signals,
    /// The lease.
    pub lease: LeaseWatch,
    /// What the DestinationRules say, to find the canary's pods.
    pub subsets: Vec<Subset>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// How.
    pub outcome: Outcome,
    /// The canary's percentage now.
    pub weight: Percent,
    /// The rollout as it stood last.
    pub rollout: Rollout,
    /// What was seen over all steps.
    pub total: Tally,
    /// From the decision to take traffic back to restored weights.
    pub rollback: Option<Duration>,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// When.
    pub at: Timestamp,
}

/// Drives one rollout.
pub struct Driver<'a> {
    kit: Equipment<'a>,
    machine: Machine,
    vs: VirtualService,
    watch: Watch,
    next_look: Instant,
    next_pod_check: Instant,
    attempt: u32,
    rollback: Option<Duration>,
}

enum Input {
    Signal(Signal),
    LeaseLost(String),
    Seen(Seen),
    Look,
}

impl<'a> Driver<'a> {
    /// A driver for the rollout that `machine` decides, on `vs` as last seen.
    pub fn new(kit: Equipment<'a>, machine: Machine, vs: VirtualService) -> Self {
        let watch = Watch::from(kit.cluster, &vs);
        let now = Instant::now();
        Self {
            kit,
            machine,
            vs,
            watch,
            next_look: now,
            next_pod_check: now,
            attempt: 1,
            rollback: None,
        }
    }

    /// Carries out `first`, and then whatever the machine decides, to the end.
    pub async fn drive(mut self, first: Action) -> Finish {
        let mut action = first;
        loop {
            action = match action {
                Action::Wait => self.wait().await,
                Action::Write(next) => self.write(*next).await,
                Action::Complete(next) => self.complete(*next).await,
                Action::RollBack { cause, overwrite } => {
                    let outcome = self.take_back(cause, overwrite).await;
                    return self.finish(outcome);
                }
                Action::Leave(outcome) => return self.finish(outcome),
            };
        }
    }

    fn emit(&mut self, event: EventKind) {
        let event = Event {
            version: 1,
            at: self.kit.clock.now(),
            namespace: self.vs.namespace().to_owned(),
            name: self.vs.name().to_owned(),
            run: self.machine.rollout().run.clone(),
            event,
        };
        self.kit.observer.see(&event);
    }

    /// Lets the machine decide, and passes on what it says meanwhile.
    fn with_machine(
        &mut self,
        decide: impl FnOnce(&mut Machine, &mut dyn FnMut(EventKind)) -> Action,
    ) -> Action {
        let mut events = Vec::new();
        let action = decide(&mut self.machine, &mut |event| events.push(event));
        for event in events {
            self.emit(event);
        }
        action
    }

    async fn wait(&mut self) -> Action {
        let input = tokio::select! {
            biased;
            signal = self.kit.signals.next() => Input::Signal(signal),
            holder = self.kit.lease.lost() => Input::LeaseLost(holder),
            seen = self.watch.next() => Input::Seen(seen),
            () = tokio::time::sleep_until(self.next_look) => Input::Look,
        };
        match input {
            Input::Signal(signal) => self.signalled(signal),
            Input::LeaseLost(holder) => {
                self.with_machine(|machine, emit| machine.see(Sight::TakenOver(holder), emit))
            }
            Input::Seen(Seen::Deleted) => {
                let why = format!("virtualservice {} was deleted", self.vs.full_name());
                self.emit(EventKind::Warning { text: why });
                Action::Leave(Outcome::Drifted)
            }
            Input::Seen(Seen::Changed(vs)) => self.seen(*vs),
            Input::Look => self.look().await,
        }
    }

    fn signalled(&mut self, signal: Signal) -> Action {
        let name = match signal {
            Signal::Interrupt => "Ctrl-C",
            Signal::Terminate => "SIGTERM",
        };
        match self.machine.rollout().plan.on_signal {
            OnSignal::Rollback => {
                let text =
                    format!("{name}: taking the traffic back; a second one leaves it where it is");
                self.emit(EventKind::Warning { text });
                Action::RollBack {
                    cause: Cause::Signal,
                    overwrite: false,
                }
            }
            OnSignal::Hold => {
                let text = format!("{name}: leaving the weight where it is");
                self.emit(EventKind::Warning { text });
                Action::Leave(Outcome::Held)
            }
        }
    }

    fn seen(&mut self, vs: VirtualService) -> Action {
        // The watch tells of our own writes after their answers have; those are no news.
        if vs.is_older_than(&self.vs) {
            return Action::Wait;
        }
        let sight = compare(self.machine.rollout(), &vs);
        self.vs = vs;
        if sight == Sight::AsBelieved {
            return Action::Wait;
        }
        self.next_look = Instant::now();
        self.with_machine(|machine, emit| machine.see(sight, emit))
    }

    async fn look(&mut self) -> Action {
        let interval = self.machine.rollout().plan.interval.unsigned();
        self.next_look = Instant::now() + interval;
        let now = self.kit.clock.now();
        let query = Query {
            text: self.kit.ledger.query(now),
            at: now,
            within: METRICS_DEADLINE,
        };
        let metrics = self.kit.metrics;
        let answer = tokio::select! {
            biased;
            signal = self.kit.signals.next() => return self.signalled(signal),
            answer = metrics.ask(&query) => answer,
        };
        let action = match answer {
            Ok(answer) => {
                let machine = &self.machine;
                let observation = self.kit.ledger.take(&answer, |at| machine.share_at(at));
                self.with_machine(|machine, emit| machine.look(&observation, now, emit))
            }
            Err(error) => {
                let why = error.to_string();
                self.with_machine(|machine, emit| machine.blind(&why, now, emit))
            }
        };
        if action == Action::Wait
            && self.machine.suspects_pods()
            && Instant::now() >= self.next_pod_check
        {
            return self.check_pods().await;
        }
        action
    }

    /// A canary that answers nobody leaves few traces in the metrics; its pods tell.
    async fn check_pods(&mut self) -> Action {
        self.next_pod_check = Instant::now()
            + self
                .machine
                .rollout()
                .plan
                .interval
                .unsigned()
                .max(POD_CHECK);
        let canary = self.machine.rollout().canary.clone();
        let found = self.kit.cluster.workloads(&canary, &self.kit.subsets).await;
        match found {
            // Without any pod there may be none to see for us: a host outside, or no right to list.
            Ok(pods) if pods.pods > 0 && pods.is_down() => {
                let crashing = if pods.crashing > 0 {
                    ", they keep crashing"
                } else {
                    ""
                };
                let why = format!(
                    "none of the {} pods of {canary} is ready{crashing}",
                    pods.pods
                );
                self.with_machine(|machine, emit| machine.canary_down(why, emit))
            }
            _ => Action::Wait,
        }
    }

    async fn write(&mut self, next: Rollout) -> Action {
        let before = self.machine.rollout().clone();
        let began = Instant::now();
        let intent = Intent::State(Box::new(next.clone()));
        let changes = intent.changes(&self.vs).unwrap_or_default();
        if let Err(action) = self.attempt(&intent).await {
            return action;
        }
        let took_millis = millis(began.elapsed());
        let moved = changes.iter().any(|change| change.before != change.after);
        self.machine.believe(next);
        self.next_look = Instant::now()
            + self
                .machine
                .rollout()
                .plan
                .interval
                .unsigned()
                .min(Duration::from_secs(1));
        let rollout = self.machine.rollout();
        let weight = rollout.weight();
        let event = match (before.phase, rollout.phase) {
            (_, Phase::Tripped) => EventKind::Tripped {
                weight: before.weight(),
                tally: self.machine.total(),
                reasons: self.machine.reasons(),
                took_millis,
            },
            (Phase::Tripped, Phase::Progressing) => EventKind::Cleared {
                weight,
                reasons: self.machine.reasons(),
            },
            (_, Phase::Progressing) if moved || before.since != rollout.since => {
                EventKind::StepStarted {
                    step: rollout.step + 1,
                    steps: rollout.plan.len(),
                    weight,
                    routes: changes,
                    took_millis,
                }
            }
            _ => return self.machine.after_write(),
        };
        self.emit(event);
        self.machine.after_write()
    }

    async fn complete(&mut self, next: Rollout) -> Action {
        let began = Instant::now();
        let ending = Ending::of(&next, Outcome::Promoted, &next.holder, self.kit.clock.now());
        let intent = Intent::Complete(Box::new(next.clone()), ending);
        let changes = intent.changes(&self.vs).unwrap_or_default();
        if let Err(action) = self.attempt(&intent).await {
            return action;
        }
        let took_millis = millis(began.elapsed());
        let moved = changes.iter().any(|change| change.before != change.after);
        self.machine.believe(next);
        if moved {
            let rollout = self.machine.rollout();
            let event = EventKind::StepStarted {
                step: rollout.step + 1,
                steps: rollout.plan.len(),
                weight: rollout.weight(),
                routes: changes,
                took_millis,
            };
            self.emit(event);
        }
        Action::Leave(Outcome::Promoted)
    }

    /// Writes until it is done. Nothing moves while it does not work; a signal goes first.
    async fn attempt(&mut self, intent: &Intent) -> Result<(), Action> {
        let mut pause = FIRST_PAUSE;
        self.attempt = 1;
        loop {
            let cluster = self.kit.cluster;
            let written = tokio::select! {
                biased;
                signal = self.kit.signals.next() => return Err(self.signalled(signal)),
                written = write(cluster, &self.vs, intent) => written,
            };
            let failure = match written {
                Ok(Written::Done(now)) => {
                    self.vs = now;
                    return Ok(());
                }
                Ok(Written::NotAsBelieved(now)) => {
                    let sight = compare(self.machine.rollout(), &now);
                    self.vs = now;
                    match sight {
                        // Something that is not ours to care about changed: try again on what is there now.
                        Sight::AsBelieved if self.attempt <= 3 => {
                            self.attempt += 1;
                            continue;
                        }
                        Sight::AsBelieved => {
                            "the object keeps changing while it is patched".to_owned()
                        }
                        sight => {
                            return Err(self.with_machine(|machine, emit| machine.see(sight, emit)));
                        }
                    }
                }
                Ok(Written::Failed(error)) if error.may_pass() => error.to_string(),
                Ok(Written::Failed(error)) => return Err(self.refused(&error.to_string())),
                Err(error) => return Err(self.refused(&error.to_string())),
            };
            self.attempt += 1;
            let event = EventKind::Retrying {
                what: format!("changing the weights of {}", self.vs.full_name()),
                why: failure,
                attempt: self.attempt,
                manual: None,
            };
            self.emit(event);
            tokio::select! {
                biased;
                signal = self.kit.signals.next() => return Err(self.signalled(signal)),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The server says the change itself is wrong: a canary that cannot go on goes back.
    fn refused(&mut self, why: &str) -> Action {
        self.emit(EventKind::Warning {
            text: why.to_owned(),
        });
        Action::RollBack {
            cause: Cause::Inconclusive,
            overwrite: false,
        }
    }

    async fn take_back(&mut self, cause: Cause, overwrite: bool) -> Outcome {
        let rollout = self.machine.rollout().clone();
        self.emit(EventKind::RollingBack {
            cause,
            weight: rollout.weight(),
        });
        let clock = self.kit.clock.clone();
        let road = Road {
            cluster: self.kit.cluster,
            clock: &clock,
            cause,
            by: &rollout.holder,
            authority: if overwrite {
                Authority::Person
            } else {
                Authority::Driver
            },
            patience: rollout.plan.rollback_timeout.unsigned(),
        };
        let (namespace, name, run) = (
            self.vs.namespace().to_owned(),
            self.vs.name().to_owned(),
            rollout.run.clone(),
        );
        let observer = &mut *self.kit.observer;
        let mut emit = |event| {
            observer.see(&Event {
                version: 1,
                at: clock.now(),
                namespace: namespace.clone(),
                name: name.clone(),
                run: run.clone(),
                event,
            });
        };
        let restored = tokio::select! {
            biased;
            restored = roll_back(&road, self.vs.clone(), &rollout, &mut emit) => restored,
            _ = self.kit.signals.next() => {
                self.emit(EventKind::Warning { text: "a second signal: leaving the traffic where it is".into() });
                return Outcome::RollbackFailed;
            }
        };
        match restored {
            Ok(restored) => {
                self.vs = restored.vs;
                self.rollback = Some(restored.took);
                let total = self.machine.total();
                self.emit(EventKind::RolledBack {
                    cause,
                    routes: restored.changes,
                    took_millis: millis(restored.took),
                    total,
                });
                Outcome::RolledBack(cause)
            }
            Err(RollbackError::TakenOver(holder)) => {
                self.with_machine(|machine, emit| machine.see(Sight::TakenOver(holder), emit));
                Outcome::TakenOver
            }
            Err(RollbackError::Ended(ending)) => ending.outcome,
            Err(RollbackError::Drifted { manager, what }) => {
                let policy = rollout.plan.on_drift;
                self.emit(EventKind::Drifted {
                    manager,
                    what,
                    policy,
                });
                Outcome::Drifted
            }
            Err(error @ (RollbackError::Impossible(_) | RollbackError::OutOfTime(_))) => {
                self.emit(EventKind::Warning {
                    text: error.to_string(),
                });
                Outcome::RollbackFailed
            }
        }
    }

    fn finish(mut self, outcome: Outcome) -> Finish {
        let rollout = self.machine.rollout().clone();
        let weight = match outcome {
            Outcome::Promoted => Percent::HUNDRED,
            Outcome::RolledBack(_) | Outcome::Interrupted => rollout.original_share(),
            Outcome::StepPassed
            | Outcome::Held
            | Outcome::Drifted
            | Outcome::TakenOver
            | Outcome::RollbackFailed => rollout.weight(),
        };
        let object = format!("{} -n {}", self.vs.name(), self.vs.namespace());
        let next = match outcome {
            Outcome::RollbackFailed => Some(format!("kubectl canary abort {object}")),
            Outcome::Held | Outcome::StepPassed => Some(format!("kubectl canary promote {object}")),
            Outcome::Drifted | Outcome::TakenOver => {
                Some(format!("kubectl canary status {object}"))
            }
            Outcome::Promoted | Outcome::RolledBack(_) | Outcome::Interrupted => None,
        };
        let at = self.kit.clock.now();
        let total = self.machine.total();
        let reasons = self.machine.reasons();
        self.emit(EventKind::Finished {
            outcome,
            weight,
            took: HumanDuration::from(at.duration_since(rollout.began)),
            total,
            reasons: reasons.clone(),
            next,
        });
        Finish {
            outcome,
            weight,
            rollout,
            total,
            rollback: self.rollback,
            reasons,
            at,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
