//! Carries out what the machine decides, and tells it what came of it.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::analysis_setup::{analysis_of, collector};
use super::canary_pods::CanaryPods;
use super::finish::Finish;
use super::guard_poll::GuardPoll;
use super::rollback_group::read_to_restore;
use super::step_gate::StepGate;
use super::watched_group::{Member, WatchedGroup};
use crate::clock::{Clock, ClockWatch};
use crate::cluster::{Cluster, ErrorKind, LeaseGuard, LeaseWatch, ObjectEvent};
use crate::context::Context;
use crate::discovery::VersionFacts;
use crate::istio::VirtualService;
use crate::metrics::{Collector, GuardAnswers, MetricSource};
use crate::plan::{Exposure, OnSignal};
use crate::rollout::{
    Action, Cause, DriverReport, Event, EventKind, Group, HookFailure, Intent, KeptShare, Machine,
    ObjectName, Observer, Outcome, Reason, Rollout, StopAt, Unusable,
};
use crate::signals::{LAST_ANSWER, Signal, Signals};

/// What a driver starts from.
pub struct DriveInput {
    /// The objects as last seen.
    pub group: Group,
    /// The rollout as it stands on the lead.
    pub rollout: Rollout,
    /// What to do first.
    pub first: Action,
    /// How far to go.
    pub stop_at: StopAt,
    /// Where the metrics come from.
    pub metrics: Box<dyn MetricSource>,
    /// What is known of the two versions.
    pub versions: VersionFacts,
}

/// Drives a rollout until it ends or has gone as far as it should, and gives the lease back.
pub async fn drive(context: &mut Context<'_>, guard: LeaseGuard, input: DriveInput) -> Finish {
    let DriveInput {
        group,
        rollout,
        first,
        stop_at,
        metrics,
        versions,
    } = input;
    // Pods answer no query of the user's.
    let has_own = rollout.plan.samples_pods() && !rollout.plan.guards.is_empty();
    let prometheus = has_own.then(|| context.metrics_of(&rollout));
    let prometheus = prometheus.and_then(Result::ok);
    let (report, listener) = (guard.report(), &mut *context.observer);
    let mut observer = |event: &Event| {
        if let Some(seen) = DriverReport::of(event) {
            report.write(seen.to_annotation());
        }
        listener.see(event);
    };
    let analysis = analysis_of(&rollout, &versions.history);
    let share_before = versions.history.canary_share();
    let other_callers = share_before.is_some_and(|share| rollout.is_reached_past_weights(share));
    let guards = GuardPoll::new(
        prometheus.as_deref().unwrap_or(metrics.as_ref()),
        &rollout,
        &versions,
    );
    let watch = guards.watch(&rollout).await;
    let now = Instant::now();
    let driver = Driver {
        cluster: &context.cluster,
        metrics: metrics.as_ref(),
        collector: collector(&rollout, &versions),
        clock: context.clock.clone(),
        clock_watch: ClockWatch::begin(&context.clock),
        observer: &mut observer,
        signals: &mut context.signals,
        lease: guard.watch(),
        pods: CanaryPods::new(&context.cluster, &rollout, versions),
        machine: Machine::new(rollout, analysis, stop_at)
            .with_other_callers(other_callers)
            .with_guards(watch),
        guards,
        group: WatchedGroup::new(&context.cluster, group),
        gate: StepGate::new(context.before_step.as_ref()),
        next_look: now,
        signal: None,
        rollback: None,
        kept: None,
    };
    let finish = driver.run(first).await;
    guard.release().await;
    finish
}

/// Drives one rollout.
pub(super) struct Driver<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) metrics: &'a dyn MetricSource,
    pub(super) collector: Collector,
    pub(super) clock: Clock,
    pub(super) clock_watch: ClockWatch,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) signals: &'a mut Signals,
    pub(super) lease: LeaseWatch,
    pub(super) pods: CanaryPods,
    pub(super) machine: Machine,
    pub(super) guards: GuardPoll<'a>,
    pub(super) group: WatchedGroup,
    pub(super) gate: StepGate<'a>,
    pub(super) next_look: Instant,
    /// The signal that ended it, if one did.
    pub(super) signal: Option<Signal>,
    /// How long the rollback took, if there was one.
    pub(super) rollback: Option<Duration>,
    /// What the canary keeps after a rollback.
    pub(super) kept: Option<KeptShare>,
}

enum Input {
    Signal(Signal),
    LeaseLost(String),
    Seen(Member, ObjectEvent),
    Pods,
    Guards(GuardAnswers),
    HookEnded(Box<Result<EventKind, HookFailure>>),
    Look,
}

impl Driver<'_> {
    /// Carries out `first`, and then whatever the machine decides, to the end.
    async fn run(mut self, first: Action) -> Finish {
        let mut action = match first {
            Action::Wait => self.machine.after_write(),
            other => other,
        };
        loop {
            action = self.admitted(action);
            let exposure = match &action {
                Action::Write(next) => next.exposure(),
                _ => self.machine.rollout().exposure(),
            };
            action = match action {
                Action::Wait | Action::Write(_) if self.is_down_at(exposure) => self.canary_down(),
                // However the state came to be what it is, the companions have to follow it.
                Action::Wait => match self.sync().await {
                    Ok(_) => self.wait().await,
                    Err(action) => action,
                },
                Action::Write(next) => merged(self.take_step(*next).await),
                Action::Complete(next) => merged(self.complete(*next).await),
                Action::RollBack { cause, overwrite } => {
                    let outcome = self.roll_back(cause, overwrite).await;
                    return self.finish(outcome);
                }
                Action::Leave(outcome) => return self.finish(outcome),
            };
        }
    }

    pub(super) fn emit(&mut self, event: EventKind) {
        let run = &self.machine.rollout().run;
        let event = Event::new(self.clock.now(), self.group.lead(), run, event);
        self.observer.see(&event);
    }

    /// Lets the machine decide, and passes on what it says meanwhile.
    pub(super) fn with_machine(
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

    pub(super) fn object(&self, member: Member) -> &VirtualService {
        self.group.object(member)
    }

    pub(super) fn signals(&mut self) -> &mut Signals {
        self.signals
    }

    /// `intent` as it is written now.
    pub(super) fn attempt(&self, intent: &Intent) -> Intent {
        intent.attempted_at(self.machine.rollout(), self.clock.now())
    }

    async fn wait(&mut self) -> Action {
        let input = tokio::select! {
            biased;
            signal = self.signals.next() => Input::Signal(signal),
            holder = self.lease.lost() => Input::LeaseLost(holder),
            (member, event) = self.group.next() => Input::Seen(member, event),
            () = self.pods.next() => Input::Pods,
            answers = self.guards.next(&self.clock) => Input::Guards(answers),
            ended = self.gate.ended() => Input::HookEnded(Box::new(ended)),
            () = tokio::time::sleep_until(self.next_look) => Input::Look,
        };
        match input {
            Input::Signal(signal) => self.signalled(signal),
            Input::LeaseLost(holder) => self.lease_lost(holder).await,
            Input::Seen(Member::Lead, ObjectEvent::Deleted) => self.lead_gone(),
            Input::Seen(Member::Lead, ObjectEvent::Changed(vs)) => self.lead_seen(*vs),
            Input::Seen(Member::Companion(index), event) => self.companion_seen(index, event).await,
            Input::Pods => Action::Wait,
            Input::Guards(answers) => self.guard_answered(answers),
            Input::HookEnded(ended) => self.hook_ended(*ended).await,
            Input::Look => self.look().await,
        }
    }

    /// Follows a signal as the plan says.
    pub(super) fn signalled(&mut self, signal: Signal) -> Action {
        self.signal = Some(signal);
        let name = signal.name();
        self.machine
            .override_reason(Reason::Signal { name: name.into() });
        match self.machine.rollout().plan.on_signal {
            OnSignal::Rollback => {
                let text =
                    format!("{name}: rolling back; a second one leaves the weights as they are");
                self.emit(EventKind::Warning { text });
                Action::RollBack {
                    cause: Cause::Signal,
                    overwrite: false,
                }
            }
            OnSignal::Hold => {
                let text = format!("{name}: holding at the current weight");
                self.emit(EventKind::Warning { text });
                Action::Leave(Outcome::Held)
            }
        }
    }

    /// The same during a write; `sent` says whether a PATCH was on its way whose answer is not known. What is
    /// held is what that has come to, and a promotion is not held.
    pub(super) async fn signalled_in_write(&mut self, signal: Signal, sent: bool) -> Action {
        if sent && self.machine.rollout().plan.on_signal == OnSignal::Hold {
            let lead = ObjectName::of(self.group.lead());
            let asked = read_to_restore(self.cluster, &lead, LAST_ANSWER);
            if let Ok(Ok(now)) = tokio::time::timeout(LAST_ANSWER, asked).await
                && let Err(action @ Action::Leave(Outcome::Promoted)) = self.lead_is(now)
            {
                self.signal = Some(signal);
                return action;
            }
        }
        self.signalled(signal)
    }

    /// Another process has the lease. Who drives is what the object says, so it is looked at first: one that
    /// took the lease and then did not manage to write leaves the rollout to this driver.
    async fn lease_lost(&mut self, holder: String) -> Action {
        let lead = self.group.lead();
        let asked = self.cluster.virtual_service(lead.namespace(), lead.name());
        let shown = match asked.await {
            Ok(now) => self.lead_is(now),
            Err(error) if error.kind == ErrorKind::Missing => Err(self.lead_gone()),
            // Every write is fenced by the object, and its watch tells of any other driver.
            Err(_) => Ok(()),
        };
        if let Err(action) = shown {
            return action;
        }
        let text = format!(
            "{holder} has taken the lease of this rollout and not the rollout itself; going on here"
        );
        self.emit(EventKind::Warning { text });
        Action::Wait
    }

    /// Looks at the metrics, unless the canary goes down meanwhile.
    pub(super) async fn look(&mut self) -> Action {
        self.next_look = Instant::now() + self.interval();
        self.machine
            .clock_was_set(self.clock_watch.set_by(&self.clock));
        let now = self.clock.now();
        let within = self.machine.rollout().plan.query_timeout.unsigned();
        let answers = tokio::select! {
            biased;
            signal = self.signals.next() => return self.signalled(signal),
            () = self.pods.go_down() => {
                self.next_look = Instant::now();
                return match self.is_down_at(self.machine.rollout().exposure()) {
                    true => self.canary_down(),
                    false => Action::Wait,
                };
            }
            // Metrics that hang do not hide what somebody else does.
            () = self.group.hear_news() => {
                self.next_look = Instant::now();
                return Action::Wait;
            }
            answers = self.collector.ask(self.metrics, now, within) => answers,
        };
        self.machine.know_canary_pods(self.pods.now());
        self.machine.know_canary_since(self.pods.since());
        match answers {
            Ok(answers) => {
                let (machine, collector) = (&self.machine, &mut self.collector);
                let coverage = self.metrics.coverage();
                let mut observation =
                    collector.take(&answers, |at| coverage.share(machine.share_at(at)));
                observation.mirrored =
                    collector.take_mirrored(&answers, |at| machine.exposure_at(at));
                self.with_machine(|machine, emit| machine.look(&observation, now, emit))
            }
            Err(error) => {
                let wait = error.retry_after().map(SignedDuration::try_from);
                let outage = Unusable::from(error);
                let action =
                    self.with_machine(|machine, emit| machine.metrics_unusable(&outage, now, emit));
                if let Some(Ok(wait)) = wait {
                    let wait = self.machine.wait_for_metrics(wait, now).unsigned_abs();
                    self.next_look = self.next_look.max(Instant::now() + wait);
                }
                action
            }
        }
    }

    /// Takes in what a guard's queries said.
    fn guard_answered(&mut self, answers: GuardAnswers) -> Action {
        let (now, machine) = (self.clock.now(), &self.machine);
        let reading = self.guards.take(answers, &|at| machine.share_at(at));
        let Some(reading) = reading else {
            return Action::Wait;
        };
        self.machine.know_canary_since(self.pods.since());
        self.with_machine(|machine, emit| machine.guard_read(&reading, now, emit))
    }

    /// `action`, or to wait where the user's command has to succeed before it.
    fn admitted(&mut self, action: Action) -> Action {
        let (rollout, lead) = (self.machine.rollout(), self.group.lead());
        let (action, started) = self.gate.admit(action, rollout, lead);
        if let Some(started) = started {
            self.emit(started);
        }
        action
    }

    /// The user's command has ended. Where it has succeeded, the newest metrics have the last word.
    async fn hook_ended(&mut self, ended: Result<EventKind, HookFailure>) -> Action {
        match ended {
            Ok(passed) => {
                self.emit(passed);
                self.look().await
            }
            Err(failure) => {
                let (policy, now) = (self.gate.on_failure(), self.clock.now());
                self.with_machine(|machine, emit| machine.hook_failed(failure, policy, now, emit))
            }
        }
    }

    pub(super) fn interval(&self) -> Duration {
        self.machine.rollout().plan.interval.unsigned()
    }

    /// Whether the canary cannot stay at `exposure`, or go there, since no pod of it is ready.
    fn is_down_at(&self, exposure: Exposure) -> bool {
        self.pods.are_down() && self.machine.needs_pods_at(exposure)
    }

    /// A canary without a ready pod fails every request, whatever the metrics say of it yet.
    fn canary_down(&mut self) -> Action {
        let (pods, crashing) = self.pods.count();
        self.with_machine(|machine, emit| machine.canary_down(pods, crashing, emit))
    }
}

/// What comes next, whether the write was made or not.
fn merged(next: Result<Action, Action>) -> Action {
    match next {
        Ok(action) | Err(action) => action,
    }
}
