//! Carries out what the machine decides, and tells it what came of it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::blindness::Trouble;
use super::intent::{Intent, WriteError, Written, write};
use super::machine::{Action, Machine};
use super::rollback::{Authority, Road, RollbackError, roll_back};
use super::sight::{Sight, compare};
use super::signals::{Signal, Signals};
use crate::clock::Clock;
use crate::cluster::{CallError, Class, Cluster, LeaseWatch, Seen, Subset, Watch};
use crate::metrics::{Books, MetricSource};
use crate::plan::{HumanDuration, OnDrift, OnSignal, Percent};
use crate::record::{Cause, Ending, Event, EventKind, Observer, Outcome, Phase, Rollout, Tally};
use crate::traffic::VirtualService;

/// The longest that Prometheus may take for an answer.
const METRICS_DEADLINE: Duration = Duration::from_secs(5);
/// The first pause after a write that did not work, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between writes that do not work.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the object may turn out to be different before there is a pause between attempts.
const SURPRISES: u32 = 3;
/// How long a write that is under way may still take once a signal has come: what became of it
/// is better known than guessed.
const LAST_ANSWER: Duration = Duration::from_secs(2);
/// How long the canary may look dead before its pods are asked.
const POD_CHECK: Duration = Duration::from_secs(2);

/// Everything outside that a driver works with.
pub struct Equipment<'a> {
    /// The API server.
    pub cluster: &'a Cluster,
    /// The metrics.
    pub metrics: &'a dyn MetricSource,
    /// Counts what the metrics tell.
    pub books: Books,
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
    /// Whether the canary had pods to look at when the driving began.
    pub has_pods: bool,
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
    /// The signal that ended it, if one did.
    pub signal: Option<Signal>,
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
    signal: Option<Signal>,
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
            signal: None,
            rollback: None,
        }
    }

    /// Carries out `first`, and then whatever the machine decides, to the end.
    pub async fn drive(mut self, first: Action) -> Finish {
        let mut action = match first {
            Action::Wait => self.machine.after_write(),
            other => other,
        };
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
            Input::LeaseLost(holder) => self.see(Sight::TakenOver(holder)),
            Input::Seen(Seen::Deleted) => self.see(Sight::Gone),
            Input::Seen(Seen::Changed(vs)) => self.seen(*vs),
            Input::Look => self.look().await,
        }
    }

    fn see(&mut self, sight: Sight) -> Action {
        self.with_machine(|machine, emit| machine.see(sight, emit))
    }

    fn signalled(&mut self, signal: Signal) -> Action {
        self.signal = Some(signal);
        let name = signal.name();
        self.machine.because(name);
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
        self.see(sight)
    }

    async fn look(&mut self) -> Action {
        let interval = self.machine.rollout().plan.interval.unsigned();
        self.next_look = Instant::now() + interval;
        let now = self.kit.clock.now();
        let metrics = self.kit.metrics;
        let answers = tokio::select! {
            biased;
            signal = self.kit.signals.next() => return self.signalled(signal),
            answers = self.kit.books.ask(metrics, now, METRICS_DEADLINE) => answers,
        };
        let action = match answers {
            Ok(answers) => {
                let machine = &self.machine;
                let observation = self.kit.books.take(&answers, |at| machine.share_at(at));
                self.with_machine(|machine, emit| machine.look(&observation, now, emit))
            }
            Err(error) => {
                let trouble = Trouble::NoAnswer(error);
                self.with_machine(|machine, emit| machine.blind(&trouble, now, emit))
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
        let found = tokio::select! {
            biased;
            signal = self.kit.signals.next() => return self.signalled(signal),
            found = self.kit.cluster.workloads(&canary, &self.kit.subsets) => found,
        };
        match found {
            // Where there never was a pod, there may be none to see for us: a host outside the cluster.
            Ok(pods) if pods.is_down() && (pods.pods > 0 || self.kit.has_pods) => {
                let crashing = if pods.crashing > 0 {
                    ", they keep crashing"
                } else {
                    ""
                };
                let why = match pods.pods {
                    0 => format!("{canary} has no pods any more"),
                    pods => format!("none of the {pods} pods of {canary} is ready{crashing}"),
                };
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
        let tally = self.machine.step();
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
                tally,
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

    /// Writes until it is done. Nothing moves while it does not work, but the canary is still
    /// watched: what was decided before a long outage may be wrong after it.
    async fn attempt(&mut self, intent: &Intent) -> Result<(), Action> {
        let mut pause = FIRST_PAUSE;
        let mut surprises = 0;
        for attempt in 2.. {
            let failure = match self.write_once(intent).await? {
                Ok(Written::Done(now)) => {
                    self.vs = now;
                    return Ok(());
                }
                Ok(Written::NotAsBelieved(now)) => {
                    let sight = compare(self.machine.rollout(), &now);
                    self.vs = now;
                    if sight != Sight::AsBelieved {
                        return Err(self.see(sight));
                    }
                    // Something changed that is not ours to care about: try again on what is there now.
                    surprises += 1;
                    if surprises <= SURPRISES {
                        continue;
                    }
                    "the object keeps changing while it is patched".to_owned()
                }
                Ok(Written::Failed(error)) if error.may_pass() => error.to_string(),
                Ok(Written::Failed(CallError {
                    class: Class::Missing,
                    ..
                })) => return Err(self.see(Sight::Gone)),
                Ok(Written::Failed(error)) => return Err(self.refused(&error.to_string())),
                Err(WriteError::MissingRoutes(missing)) => {
                    let sight = Sight::Drifted {
                        manager: self.vs.last_manager().unwrap_or("somebody").to_owned(),
                        what: missing.to_string(),
                    };
                    // Not even a policy that insists can write to a route that is not there.
                    self.see(sight);
                    return Err(Action::Leave(Outcome::Drifted));
                }
                Err(error @ (WriteError::State(_) | WriteError::TooLarge(_))) => {
                    return Err(self.refused(&error.to_string()));
                }
            };
            self.emit(EventKind::Retrying {
                what: format!("changing the weights of {}", self.vs.full_name()),
                why: failure,
                attempt,
                manual: None,
            });
            tokio::select! {
                biased;
                signal = self.kit.signals.next() => return Err(self.signalled(signal)),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.look_again(intent).await?;
        }
        unreachable!("attempts are counted without an end")
    }

    /// One attempt at a write. A signal that comes while it is under way waits a little for its
    /// answer, and is followed with what that says.
    async fn write_once(&mut self, intent: &Intent) -> Result<Result<Written, WriteError>, Action> {
        if let Some(signal) = self.kit.signals.pending() {
            return Err(self.signalled(signal));
        }
        let cluster = self.kit.cluster;
        let (written, signal) = {
            let mut writing = std::pin::pin!(write(cluster, &self.vs, intent));
            tokio::select! {
                biased;
                written = &mut writing => (Some(written), None),
                signal = self.kit.signals.next() => {
                    let written = tokio::time::timeout(LAST_ANSWER, &mut writing).await;
                    (written.ok(), Some(signal))
                }
            }
        };
        match (written, signal) {
            (Some(written), None) => Ok(written),
            (Some(Ok(Written::Done(now))), Some(signal)) => {
                self.kit.signals.put_back(signal);
                Ok(Ok(Written::Done(now)))
            }
            (_, Some(signal)) => Err(self.signalled(signal)),
            (None, None) => unreachable!("only a signal ends the wait for an answer"),
        }
    }

    /// Looks at the metrics between attempts; only what is worse than what `intent` was made of counts.
    async fn look_again(&mut self, intent: &Intent) -> Result<(), Action> {
        match self.look().await {
            action @ Action::RollBack { .. } => Err(action),
            Action::Write(next)
                if next.phase == Phase::Tripped && *intent != Intent::State(next.clone()) =>
            {
                Err(Action::Write(next))
            }
            action @ Action::Leave(Outcome::Held) => Err(action),
            Action::Wait | Action::Write(_) | Action::Complete(_) | Action::Leave(_) => Ok(()),
        }
    }

    /// The server says the change itself is wrong: a canary that cannot go on goes back.
    fn refused(&mut self, why: &str) -> Action {
        self.machine.because(why);
        self.emit(EventKind::Warning {
            text: why.to_owned(),
        });
        Action::RollBack {
            cause: Cause::Refused,
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
            // A policy that does not leave foreign weights alone does not leave them on the way back.
            authority: Authority::Driver {
                overwrite: overwrite || rollout.plan.on_drift != OnDrift::Stop,
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
        // Whoever hears that traffic is being taken back has no reason for another signal but haste.
        let mut signals_left = if self.signal.is_some() { 1 } else { 2 };
        let restored = {
            let mut road = std::pin::pin!(roll_back(&road, self.vs.clone(), &rollout, &mut emit));
            loop {
                tokio::select! {
                    biased;
                    restored = &mut road => break Some(restored),
                    signal = self.kit.signals.next() => {
                        self.signal.get_or_insert(signal);
                        signals_left -= 1;
                        if signals_left == 0 {
                            break None;
                        }
                    }
                }
            }
        };
        let Some(restored) = restored else {
            let text = "a second signal: leaving the traffic where it is";
            self.machine.because(text);
            self.emit(EventKind::Warning { text: text.into() });
            return Outcome::RollbackFailed;
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
                self.see(Sight::TakenOver(holder));
                Outcome::TakenOver
            }
            Err(RollbackError::Ended(ending)) => {
                let outcome = ending.outcome;
                self.see(Sight::Ended(ending));
                outcome
            }
            Err(RollbackError::Drifted { manager, what }) => {
                self.see(Sight::Drifted { manager, what });
                Outcome::Drifted
            }
            Err(error @ (RollbackError::Impossible(_) | RollbackError::OutOfTime(_))) => {
                self.machine.because(error.to_string());
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
            Outcome::Held if rollout.phase == Phase::Progressing => {
                Some(format!("kubectl canary resume {object}"))
            }
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
            signal: self.signal,
            at,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
