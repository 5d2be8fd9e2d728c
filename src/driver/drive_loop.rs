//! Carries out what the machine decides, and tells it what came of it.

use std::time::Duration;

use tokio::time::Instant;

use super::companion_watch::{CompanionWatch, Member};
use super::finish::Finish;
use crate::clock::Clock;
use crate::cluster::{Cluster, LeaseWatch, ObjectEvent, Subset, Watch};
use crate::istio::VirtualService;
use crate::metrics::{Collector, MetricSource};
use crate::plan::{OnDrift, OnSignal};
use crate::preflight::owner;
use crate::rollout::Action;
use crate::rollout::Machine;
use crate::rollout::Unusable;
use crate::rollout::{Cause, Event, EventKind, Observer, Outcome};
use crate::rollout::{Observed, compare, is_on_its_way_back};
use crate::signals::{Signal, Signals};

/// The longest that Prometheus may take for an answer.
const METRICS_DEADLINE: Duration = Duration::from_secs(5);
/// How long the canary may look dead before its pods are asked.
const POD_CHECK: Duration = Duration::from_secs(2);

/// Everything outside that a driver works with.
pub struct Deps<'a> {
    /// The API server.
    pub cluster: &'a Cluster,
    /// The metrics.
    pub metrics: &'a dyn MetricSource,
    /// Counts what the metrics tell.
    pub collector: Collector,
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

/// Drives one rollout.
pub struct Driver<'a> {
    pub deps: Deps<'a>,
    pub machine: Machine,
    pub vs: VirtualService,
    /// The companions, in their order.
    pub companions: Vec<CompanionWatch>,
    watch: Watch,
    pub next_look: Instant,
    next_pod_check: Instant,
    pub signal: Option<Signal>,
    pub rollback: Option<Duration>,
}

enum Input {
    Signal(Signal),
    LeaseLost(String),
    ObjectEvent(ObjectEvent),
    CompanionSeen(usize, ObjectEvent),
    DriverReport,
}

impl<'a> Driver<'a> {
    /// A driver for the rollout that `machine` decides, on `vs` and its companions as last seen.
    pub fn new(
        deps: Deps<'a>,
        machine: Machine,
        vs: VirtualService,
        companions: Vec<VirtualService>,
    ) -> Self {
        let companions = companions.into_iter();
        let companions = companions
            .map(|vs| CompanionWatch::new(deps.cluster, vs))
            .collect();
        let watch = Watch::from(deps.cluster, &vs);
        let now = Instant::now();
        Self {
            deps,
            machine,
            vs,
            companions,
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
                // However the state came to be what it is, the companions have to follow it.
                Action::Wait => match self.sync().await {
                    Ok(_) => self.wait().await,
                    Err(action) => action,
                },
                Action::Write(next) => self.write(*next).await,
                Action::Complete(next) => self.complete(*next).await,
                Action::RollBack { cause, overwrite } => {
                    let outcome = self.roll_back_and_report(cause, overwrite).await;
                    return self.finish(outcome);
                }
                Action::Leave(outcome) => return self.finish(outcome),
            };
        }
    }

    pub fn emit(&mut self, event: EventKind) {
        let event = Event {
            version: 1,
            at: self.deps.clock.now(),
            namespace: self.vs.namespace().to_owned(),
            name: self.vs.name().to_owned(),
            run: self.machine.rollout().run.clone(),
            event,
        };
        self.deps.observer.see(&event);
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
            signal = self.deps.signals.next() => Input::Signal(signal),
            holder = self.deps.lease.lost() => Input::LeaseLost(holder),
            seen = self.watch.next() => Input::ObjectEvent(seen),
            (index, seen) = CompanionWatch::next(&mut self.companions) => Input::CompanionSeen(index, seen),
            () = tokio::time::sleep_until(self.next_look) => Input::DriverReport,
        };
        match input {
            Input::Signal(signal) => self.signalled(signal),
            Input::LeaseLost(holder) => self.see(Observed::HolderChanged(holder)),
            Input::ObjectEvent(ObjectEvent::Deleted) => self.lead_gone(),
            Input::CompanionSeen(index, seen) => self.companion_seen(index, seen).await,
            Input::ObjectEvent(ObjectEvent::Changed(vs)) => self.seen(*vs),
            Input::DriverReport => self.look().await,
        }
    }

    pub fn see(&mut self, sight: Observed) -> Action {
        self.see_on(Member::Lead, sight)
    }

    /// Sees something on one of the objects.
    pub fn see_on(&mut self, member: Member, sight: Observed) -> Action {
        let now = self.deps.clock.now();
        let action = self.with_machine(|machine, emit| machine.see(sight, now, emit));
        if action == Action::Leave(Outcome::Drifted) && self.machine.gave_up() {
            let rollout = self.machine.rollout();
            let routes = match member {
                Member::Lead => &rollout.routes,
                Member::Companion(index) => &rollout.also[index].routes,
            };
            let kinds: Vec<_> = routes.iter().map(|split| split.kind).collect();
            let peace = owner::peace(self.object(member), &kinds);
            let advice = peace.unwrap_or_else(|| {
                "try: tell whoever writes this object to leave the weights alone".to_owned()
            });
            let why = self.machine.reasons().join("; ");
            self.machine.override_reason(format!("{why}; {advice}"));
        }
        action
    }

    /// Where there is no object, no policy can do anything about it; but about its companions.
    pub fn lead_gone(&mut self) -> Action {
        let action = self.see(Observed::Deleted);
        if self.companions.is_empty() || self.machine.rollout().plan.on_drift == OnDrift::Stop {
            return action;
        }
        Action::RollBack {
            cause: Cause::Drift,
            overwrite: true,
        }
    }

    pub fn signalled(&mut self, signal: Signal) -> Action {
        self.signal = Some(signal);
        let name = signal.name();
        self.machine.override_reason(name);
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

    /// The lead is not as believed.
    pub fn lead_shows(&mut self, sight: Observed) -> Action {
        if matches!(sight, Observed::Drifted { .. })
            && is_on_its_way_back(self.machine.rollout(), &self.vs)
        {
            self.machine
                .override_reason("somebody takes the rollout back");
            return Action::RollBack {
                cause: Cause::Request,
                overwrite: false,
            };
        }
        self.see(sight)
    }

    fn seen(&mut self, vs: VirtualService) -> Action {
        // The watch tells of our own writes after their answers have; those are no news.
        if vs.is_older_than(&self.vs) {
            return Action::Wait;
        }
        let sight = compare(self.machine.rollout(), &vs);
        self.vs = vs;
        if sight == Observed::InSync {
            return Action::Wait;
        }
        self.next_look = Instant::now();
        self.lead_shows(sight)
    }

    pub async fn look(&mut self) -> Action {
        let interval = self.machine.rollout().plan.interval.unsigned();
        self.next_look = Instant::now() + interval;
        let now = self.deps.clock.now();
        let metrics = self.deps.metrics;
        let answers = tokio::select! {
            biased;
            signal = self.deps.signals.next() => return self.signalled(signal),
            answers = self.deps.collector.ask(metrics, now, METRICS_DEADLINE) => answers,
        };
        let action = match answers {
            Ok(answers) => {
                let machine = &self.machine;
                let collector = &mut self.deps.collector;
                let mut observation = collector.take(&answers, |at| machine.share_at(at));
                observation.shadows =
                    collector.take_shadows(&answers, |at| machine.exposure_at(at));
                self.with_machine(|machine, emit| machine.look(&observation, now, emit))
            }
            Err(error) => {
                let trouble = Unusable::NoAnswer(error);
                self.with_machine(|machine, emit| machine.metrics_unusable(&trouble, now, emit))
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
            signal = self.deps.signals.next() => return self.signalled(signal),
            found = self.deps.cluster.workloads(&canary, &self.deps.subsets) => found,
        };
        match found {
            // Where there never was a pod, there may be none to see for us: a host outside the cluster.
            Ok(pods) if pods.is_down() && (pods.pods > 0 || self.deps.has_pods) => {
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
}
