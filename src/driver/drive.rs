//! Driving a rollout from a prepared state: what `start`, `resume` and `promote --wait` share.

use jiff::Timestamp;

use crate::cluster::{ErrorKind, Lease, LeaseError, LeaseGuard, Subset};
use crate::context::Context;
use crate::driver::{Deps, Driver, Finish};
use crate::driver::{analysis, collector};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::metrics::{MetricSource, Targets};
use crate::rollout::{Action, Machine, StopAt};
use crate::rollout::{DriverReport, Event, EventKind, Outcome, Rollout, route_of};
use crate::signals::Signals;
use crate::verdict::sequential::History;

/// What a driver starts from.
pub struct DriveInput {
    pub vs: VirtualService,
    pub companions: Vec<VirtualService>,
    pub rollout: Rollout,
    pub first: Action,
    pub stop_at: StopAt,
    pub subsets: Vec<Subset>,
    pub canary_pods: usize,
    pub targets: Targets,
    pub since: Timestamp,
    pub history: History,
    pub youngest: Option<Timestamp>,
}

pub fn emit(context: &mut Context<'_>, vs: &VirtualService, run: &str, event: EventKind) {
    let event = Event {
        version: 1,
        at: context.clock.now(),
        namespace: vs.namespace().to_owned(),
        name: vs.name().to_owned(),
        run: run.to_owned(),
        event,
    };
    context.observer.see(&event);
}

/// The chosen routes by name; those of companions with their object's.
pub fn names_of_routes(
    rollout: &Rollout,
    vs: &VirtualService,
    companions: &[VirtualService],
) -> Vec<String> {
    let own = rollout.routes.iter().filter_map(|split| split.find(vs));
    let own = own.map(ToString::to_string);
    let theirs = rollout.also.iter().zip(companions);
    let theirs = theirs.flat_map(|(companion, vs)| {
        let found = companion.routes.iter().filter_map(|split| split.find(vs));
        found.map(|route| route_of(&route.to_string(), vs))
    });
    own.chain(theirs).collect()
}

/// Does what may take a while before anything has moved; a signal ends it.
pub async fn unless_interrupted<T>(
    context: &mut Context<'_>,
    work: impl AsyncFnOnce(&mut Context<'_>) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let mut signals = std::mem::replace(&mut context.signals, Signals::none());
    let done = tokio::select! {
        biased;
        signal = signals.next() => Err(CommandError::Interrupted(signal)),
        done = work(context) => done,
    };
    context.signals = signals;
    done
}

/// Takes the lease; where leases may not be had, the state annotation alone must do, said aloud.
pub async fn lock(
    context: &mut Context<'_>,
    vs: &VirtualService,
    run: &str,
) -> Result<LeaseGuard, CommandError> {
    let holder = context.holder();
    let lease = Lease::of(&context.cluster, vs, &context.clock);
    match lease.acquire(&holder).await {
        Ok(guard) => Ok(guard),
        Err(LeaseError::Call(error)) if error.kind == ErrorKind::Forbidden => {
            let text = format!(
                "{error}; going on without a lease: the state on the object alone keeps others out"
            );
            emit(context, vs, run, EventKind::Warning { text });
            Ok(LeaseGuard::without_lease(&holder))
        }
        Err(error) => Err(error.into()),
    }
}

/// Drives to the end of the horizon and gives the lease back.
pub async fn drive(
    context: &mut Context<'_>,
    guard: LeaseGuard,
    metrics: &dyn MetricSource,
    departure: DriveInput,
) -> Finish {
    let machine = Machine::new(
        departure.rollout.clone(),
        analysis(&departure.rollout.plan, &departure.history),
        departure.stop_at,
    )
    .with_canary_since(departure.youngest);
    let (report, formatter) = (guard.report(), &mut *context.observer);
    let mut observer = |event: &Event| {
        if let Some(look) = DriverReport::of(event) {
            report.write(look.to_annotation());
        }
        formatter.see(event);
    };
    let deps = Deps {
        cluster: &context.cluster,
        metrics,
        collector: collector(
            &departure.rollout.plan,
            departure.targets,
            departure.since,
            departure
                .history
                .slow
                .iter()
                .map(|(bound, _)| *bound)
                .collect(),
        ),
        clock: context.clock.clone(),
        observer: &mut observer,
        signals: std::mem::replace(&mut context.signals, Signals::none()),
        lease: guard.watch(),
        subsets: departure.subsets,
        has_pods: departure.canary_pods > 0,
    };
    let finish = Driver::new(deps, machine, departure.vs, departure.companions)
        .drive(departure.first)
        .await;
    guard.release().await;
    finish
}

/// A finish of a run that wrote once and did not stay to drive.
pub fn left(rollout: Rollout, outcome: Outcome, at: Timestamp) -> Finish {
    Finish {
        outcome,
        weight: rollout.weight(),
        total: crate::rollout::VersionCounts::default(),
        rollback: None,
        reasons: Vec::new(),
        signal: None,
        at,
        rollout,
    }
}
