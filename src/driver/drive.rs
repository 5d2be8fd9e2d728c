//! Carries out what the machine decides, and tells it what came of it.

use std::time::Duration;

use tokio::time::Instant;

use super::analysis_setup::{analysis_of, collector};
use super::apply::{Retry, apply};
use super::canary_pods::CanaryPods;
use super::driver_write::DriverWrite;
use super::finish::{Finish, exposure_after, millis};
use super::guard_poll::GuardPoll;
use super::rollback::{Initiator, RollbackError, RollbackRequest};
use super::rollback_group::{GroupNotRestored, roll_back_group};
use super::watched_group::{Member, WatchedGroup};
use crate::clock::{Clock, ClockWatch};
use crate::cluster::{Cluster, ErrorKind, LeaseGuard, LeaseWatch, ObjectEvent};
use crate::context::Context;
use crate::discovery::VersionFacts;
use crate::istio::VirtualService;
use crate::metrics::{Collector, GuardAnswers, MetricSource};
use crate::plan::{Exposure, OnDrift, OnSignal};
use crate::preflight::owner;
use crate::rollout::{
    Action, Cause, Drift, DriverReport, Event, EventKind, ForeignChange, Group, Intent, KeptShare,
    LastRollout, Machine, ObjectName, Observed, Observer, Outcome, Phase, Reason, Rollout,
    RouteChange, StopAt, Unusable, changes_of, compare, compare_companion, is_in_place,
    is_on_its_way_back, is_untouched,
};
use crate::signals::{LAST_ANSWER, Signal, Signals};

/// The longest from a write to the next look at the metrics.
const LOOK_AFTER_WRITE: Duration = Duration::from_secs(1);

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
    cluster: &'a Cluster,
    metrics: &'a dyn MetricSource,
    collector: Collector,
    clock: Clock,
    clock_watch: ClockWatch,
    observer: &'a mut dyn Observer,
    signals: &'a mut Signals,
    lease: LeaseWatch,
    pods: CanaryPods,
    machine: Machine,
    guards: GuardPoll<'a>,
    group: WatchedGroup,
    next_look: Instant,
    /// The signal that ended it, if one did.
    signal: Option<Signal>,
    /// How long the rollback took, if there was one.
    rollback: Option<Duration>,
    /// What the canary keeps after a rollback.
    kept: Option<KeptShare>,
}

enum Input {
    Signal(Signal),
    LeaseLost(String),
    Seen(Member, ObjectEvent),
    Pods,
    Guards(GuardAnswers),
    Look,
}

/// How a companion stands to its lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CompanionState {
    /// Where the lead says.
    InSync,
    /// At another point of the same rollout, and the lead is where it was.
    Elsewhere,
    /// At another point of the same rollout, and the lead cannot be asked.
    Unknown,
}

impl Driver<'_> {
    /// Carries out `first`, and then whatever the machine decides, to the end.
    async fn run(mut self, first: Action) -> Finish {
        let mut action = match first {
            Action::Wait => self.machine.after_write(),
            other => other,
        };
        loop {
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

    pub fn emit(&mut self, event: EventKind) {
        let run = &self.machine.rollout().run;
        let event = Event::new(self.clock.now(), self.group.lead(), run, event);
        self.observer.see(&event);
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

    pub fn object(&self, member: Member) -> &VirtualService {
        self.group.object(member)
    }

    pub fn signals(&mut self) -> &mut Signals {
        self.signals
    }

    /// `intent` as it is written now.
    pub fn attempt(&self, intent: &Intent) -> Intent {
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
            Input::Look => self.look().await,
        }
    }

    /// Follows a signal as the plan says.
    pub fn signalled(&mut self, signal: Signal) -> Action {
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
    pub async fn signalled_in_write(&mut self, signal: Signal, sent: bool) -> Action {
        if sent && self.machine.rollout().plan.on_signal == OnSignal::Hold {
            let lead = self.group.lead();
            let asked = self.cluster.virtual_service(lead.namespace(), lead.name());
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

    // What the objects show.

    fn see(&mut self, observed: Observed) -> Action {
        self.see_on(Member::Lead, observed)
    }

    /// Sees something on one of the objects.
    pub fn see_on(&mut self, member: Member, observed: Observed) -> Action {
        let now = self.clock.now();
        let action = self.with_machine(|machine, emit| machine.see(observed, now, emit));
        if action == Action::Leave(Outcome::Drifted) && self.machine.gave_up() {
            let rollout = self.machine.rollout();
            let routes = match member {
                Member::Lead => &rollout.routes,
                Member::Companion(index) => &rollout.companions[index].routes,
            };
            let kinds: Vec<_> = routes.iter().map(|split| split.kind).collect();
            let advice = owner::peace(self.object(member), &kinds);
            let advice = advice.unwrap_or_else(|| {
                "try: configure the other writer to ignore the weights".to_owned()
            });
            self.machine.add_reason(Reason::Advice { text: advice });
        }
        action
    }

    /// Where there is no object, no policy can do anything about it; but about its companions.
    pub fn lead_gone(&mut self) -> Action {
        let action = self.see(Observed::Deleted);
        let stops = self.machine.rollout().plan.on_drift == OnDrift::Stop;
        if self.group.companions() == 0 || stops {
            return action;
        }
        Action::RollBack {
            cause: Cause::Drift,
            overwrite: true,
        }
    }

    fn lead_seen(&mut self, vs: VirtualService) -> Action {
        // The watch tells of our own writes after their answers have; those are no news.
        if vs.is_older_than(self.group.lead()) {
            return Action::Wait;
        }
        match self.lead_is(vs) {
            Ok(()) => Action::Wait,
            Err(action) => {
                self.next_look = Instant::now();
                action
            }
        }
    }

    /// Takes the lead for what it is now: in sync, or what is to be done.
    pub fn lead_is(&mut self, vs: VirtualService) -> Result<(), Action> {
        let observed = compare(self.machine.rollout(), &vs);
        self.group.set(Member::Lead, vs);
        match observed {
            Observed::InSync => Ok(()),
            Observed::Drifted { .. }
                if is_on_its_way_back(self.machine.rollout(), self.group.lead()) =>
            {
                self.machine.override_reason(Reason::RollbackElsewhere);
                Err(Action::RollBack {
                    cause: Cause::Request,
                    overwrite: false,
                })
            }
            observed => Err(self.see(observed)),
        }
    }

    async fn companion_seen(&mut self, index: usize, event: ObjectEvent) -> Action {
        let member = Member::Companion(index);
        let vs = match event {
            ObjectEvent::Deleted => {
                let observed = Observed::Drifted {
                    manager: "another client".into(),
                    drift: Drift::from(ForeignChange::Deleted).of_companion(self.object(member)),
                };
                return self.see_on(member, observed);
            }
            ObjectEvent::Changed(vs) => *vs,
        };
        if vs.is_older_than(self.object(member)) {
            return Action::Wait;
        }
        match self.companion_is(index, vs).await {
            Err(action) => action,
            // What cannot be told now is met by the next patch.
            Ok(CompanionState::InSync | CompanionState::Unknown) => Action::Wait,
            // Nothing of ours is on its way, so another client has put an earlier state back.
            Ok(CompanionState::Elsewhere) => {
                let vs = self.object(member);
                let observed = Observed::Drifted {
                    manager: vs.last_manager().unwrap_or("another client").to_owned(),
                    drift: Drift::from(ForeignChange::OtherState {
                        lead: ObjectName::of(self.group.lead()),
                    })
                    .of_companion(vs),
                };
                self.see_on(member, observed)
            }
        }
    }

    /// Takes a companion for what it is now: how it stands to the lead, or what is to be done.
    ///
    /// The next patch rests on it only if the lead was looked at after it.
    async fn companion_is(
        &mut self,
        index: usize,
        now: VirtualService,
    ) -> Result<CompanionState, Action> {
        let rollout = self.machine.rollout().clone();
        let Some(companion) = rollout.companions.get(index) else {
            return Ok(CompanionState::InSync);
        };
        let member = Member::Companion(index);
        let observed = compare_companion(&rollout, self.group.lead(), companion, &now);
        if let Observed::Ended(last) = &observed
            && let Outcome::RolledBack(cause) = last.outcome
        {
            self.group.set(member, now);
            self.machine.override_reason(Reason::Ended {
                outcome: last.outcome,
                by: last.changed_by.clone(),
            });
            return Err(Action::RollBack {
                cause,
                overwrite: false,
            });
        }
        // This rollout has not come to it yet: what others ended there before is no end of this.
        let seen = [self.object(member), &now];
        if is_untouched(&rollout.of_companion(self.group.lead(), companion), seen) {
            self.group.set(member, now);
            return Ok(CompanionState::Unknown);
        }
        match observed {
            Observed::InSync => {
                self.group.set(member, now);
                Ok(CompanionState::InSync)
            }
            // Only the lead can tell which of the two counts.
            Observed::Advanced(_) | Observed::Ended(_) => {
                let lead = self.group.lead();
                let asked = self.cluster.virtual_service(lead.namespace(), lead.name());
                let Ok(lead) = asked.await else {
                    return Ok(CompanionState::Unknown);
                };
                self.group.set(member, now);
                self.lead_is(lead).map(|()| CompanionState::Elsewhere)
            }
            observed => {
                self.group.set(member, now);
                Err(self.see_on(member, observed))
            }
        }
    }

    /// A patch has met another object than the one last seen.
    pub async fn object_is(&mut self, member: Member, now: VirtualService) -> Result<(), Action> {
        match member {
            Member::Lead => self.lead_is(now),
            Member::Companion(index) => self.companion_is(index, now).await.map(|_| ()),
        }
    }

    // Looking at the metrics.

    /// Looks at the metrics, unless the canary goes down meanwhile.
    pub async fn look(&mut self) -> Action {
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
                let outage = Unusable::from(error);
                self.with_machine(|machine, emit| machine.metrics_unusable(&outage, now, emit))
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

    pub fn interval(&self) -> Duration {
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

    // Writing.

    /// Writes to one of the objects until it is done, or until something else is to be done.
    async fn write(&mut self, member: Member, intent: &Intent) -> Result<(), Action> {
        let (cluster, vs) = (self.cluster, self.object(member).clone());
        let mut write = DriverWrite {
            driver: self,
            member,
            intent,
        };
        // On the heap, as looks are part of it and threads have small stacks.
        let now = Box::pin(apply(cluster, Retry::DRIVER, vs, &mut write)).await?;
        self.group.set(member, now);
        Ok(())
    }

    /// Brings every companion, in order, to where the lead stands, and says what that changed.
    async fn sync(&mut self) -> Result<Vec<RouteChange>, Action> {
        let state = Intent::State(Box::new(self.machine.rollout().clone()));
        self.bring_companions(&state).await
    }

    /// Brings every companion, in order, to what `goal` means for it.
    async fn bring_companions(&mut self, goal: &Intent) -> Result<Vec<RouteChange>, Action> {
        let mut changes = Vec::new();
        let companions = goal.rollout().companions.clone();
        for (index, companion) in companions.iter().enumerate().take(self.group.companions()) {
            let member = Member::Companion(index);
            let intent = goal.of_companion(self.group.lead(), companion);
            let before = self.object(member).clone();
            if is_in_place(&intent, &before) {
                continue;
            }
            self.write(member, &intent).await?;
            changes.extend(changes_of(&intent, &before));
        }
        Ok(changes)
    }

    /// Writes the state of a step, or says what is to be done instead.
    async fn take_step(&mut self, next: Rollout) -> Result<Action, Action> {
        let before = self.machine.rollout().clone();
        let began = Instant::now();
        let intent = Intent::State(Box::new(next.clone()));
        let mut changes = intent.changes(self.group.lead()).unwrap_or_default();
        self.write(Member::Lead, &intent).await?;
        let (step_counts, mirror_counts) =
            (self.machine.step_counts(), self.machine.mirror_counts());
        // From here on it is known to be in force; when it was decided does not matter any more.
        self.machine
            .set_state(next.in_force_at(&before, self.clock.now()));
        let reasons = self.machine.reasons();
        changes.extend(self.sync().await?);
        let took_millis = millis(began.elapsed());
        self.next_look = Instant::now() + self.interval().min(LOOK_AFTER_WRITE);
        let rollout = self.machine.rollout();
        let event = match (before.phase, rollout.phase) {
            (_, Phase::Tripped) => EventKind::Tripped {
                exposure: before.exposure(),
                step_counts,
                mirror_counts,
                reasons,
                took_millis,
            },
            (Phase::Tripped, Phase::Progressing) => EventKind::FalseAlarm {
                exposure: rollout.exposure(),
                reasons,
            },
            (_, Phase::Progressing) if moved(&changes) || before.since != rollout.since => {
                step_started(rollout, changes, took_millis)
            }
            _ => return Ok(self.machine.after_write()),
        };
        self.emit(event);
        Ok(self.machine.after_write())
    }

    /// Ends the rollout at its last step, or says what is to be done instead.
    async fn complete(&mut self, next: Rollout) -> Result<Action, Action> {
        let began = Instant::now();
        let last = LastRollout::of(&next, Outcome::Promoted, &next.holder, self.clock.now());
        let intent = Intent::Complete(Box::new(next.clone()), last);
        let mut changes = intent.changes(self.group.lead()).unwrap_or_default();
        let first = intent.before_companions(self.cluster.stores());
        if first != intent && !first.is_done(self.group.lead()) {
            let before = self.machine.rollout().clone();
            self.write(Member::Lead, &first).await?;
            self.machine
                .set_state(next.in_force_at(&before, self.clock.now()));
        }
        changes.extend(self.bring_companions(&intent).await?);
        self.write(Member::Lead, &intent).await?;
        let took_millis = millis(began.elapsed());
        self.machine.set_state(next);
        if moved(&changes) {
            let event = step_started(self.machine.rollout(), changes, took_millis);
            self.emit(event);
        }
        Ok(Action::Leave(Outcome::Promoted))
    }

    /// The server says the change itself is wrong: a canary that cannot go on goes back.
    pub fn refused(&mut self, why: &str) -> Action {
        self.machine.override_reason(Reason::Refused {
            message: why.to_owned(),
        });
        self.emit(EventKind::Warning {
            text: why.to_owned(),
        });
        Action::RollBack {
            cause: Cause::Refused,
            overwrite: false,
        }
    }

    // The end.

    async fn roll_back(&mut self, cause: Cause, overwrite: bool) -> Outcome {
        let rollout = self.machine.rollout().clone();
        let clock = self.clock.clone();
        let request = RollbackRequest {
            cluster: self.cluster,
            clock: &clock,
            cause,
            by: &rollout.holder,
            // A policy that does not leave foreign weights alone does not leave them in a rollback.
            initiator: Initiator::Driver {
                overwrite: overwrite || rollout.plan.on_drift != OnDrift::Stop,
            },
            timeout: rollout.plan.rollback_timeout.unsigned(),
        };
        let (group, total) = (self.group.seen(), self.machine.total_counts());
        let observer = &mut *self.observer;
        let mut emit = |event| {
            observer.see(&Event::new(clock.now(), &group.lead, &rollout.run, event));
        };
        // A signal during a rollback can only mean: stop waiting. The one that began it does not count.
        let mut signals_left = if self.signal.is_some() { 1 } else { 2 };
        let restored = {
            let back = roll_back_group(&request, &group, &rollout, total, &mut emit);
            let mut back = std::pin::pin!(back);
            loop {
                tokio::select! {
                    biased;
                    restored = &mut back => break Some(restored),
                    signal = self.signals.next() => {
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
            let text = "a second signal: leaving the weights as they are";
            return self.rollback_failed(Reason::SecondSignal, text.into());
        };
        match restored.map_err(GroupNotRestored::into_error) {
            Ok(restored) => {
                self.group.set(Member::Lead, restored.vs);
                self.rollback = Some(restored.took);
                self.kept = self.group.seen().kept_share(&rollout, restored.cause);
                let share = self.kept.as_ref().map(|kept| kept.share);
                self.machine.rolled_back(share);
                Outcome::RolledBack(restored.cause)
            }
            Err(RollbackError::TakenOver(holder)) => {
                self.see(Observed::HolderChanged(holder));
                Outcome::TakenOver
            }
            Err(RollbackError::Ended(last)) => {
                let outcome = last.outcome;
                self.see(Observed::Ended(last));
                outcome
            }
            Err(RollbackError::Drifted { manager, drift }) => {
                let drift = *drift;
                self.see(Observed::Drifted { manager, drift });
                Outcome::Drifted
            }
            Err(
                error @ (RollbackError::Impossible(_)
                | RollbackError::OutOfTime(_)
                | RollbackError::Deleted(_)
                | RollbackError::OtherRun(_)
                | RollbackError::PromotionChanged(_)),
            ) => {
                let message = error.to_string();
                self.rollback_failed(
                    Reason::RollbackFailed {
                        message: message.clone(),
                    },
                    message,
                )
            }
        }
    }

    fn rollback_failed(&mut self, why: Reason, text: String) -> Outcome {
        self.machine.override_reason(why);
        self.emit(EventKind::Warning { text });
        Outcome::RollbackFailed
    }

    fn finish(mut self, outcome: Outcome) -> Finish {
        let rollout = self.machine.rollout().clone();
        let finish = Finish {
            outcome,
            exposure: exposure_after(outcome, &rollout),
            total_counts: self.machine.total_counts(),
            rollback: self.rollback,
            reasons: self.machine.reasons(),
            warnings: self.machine.warnings().to_vec(),
            signal: self.signal,
            at: self.clock.now(),
            rollout,
        };
        let next = match self.kept {
            Some(ref kept) => Some(kept.command.clone()),
            None => finish.next_command(self.group.lead()),
        };
        self.emit(finish.event(next));
        finish
    }
}

/// What comes next, whether the write was made or not.
fn merged(next: Result<Action, Action>) -> Action {
    match next {
        Ok(action) | Err(action) => action,
    }
}

fn moved(changes: &[RouteChange]) -> bool {
    changes.iter().any(|change| change.before != change.after)
}

/// The weights of the step at which `rollout` stands are set.
pub(super) fn step_started(
    rollout: &Rollout,
    routes: Vec<RouteChange>,
    took_millis: u64,
) -> EventKind {
    EventKind::StepStarted {
        step: rollout.step + 1,
        step_count: rollout.plan.step_count(),
        exposure: rollout.exposure(),
        routes,
        took_millis,
    }
}
