//! Driving a rollout from a prepared state: what `start`, `resume` and `promote --wait` share.

use clap::Args;
use jiff::Timestamp;

use super::judge::{analysis, books};
use super::{CommandError, Environment};
use crate::cluster::{Class, Keeper, Lease, LeaseError, Subset};
use crate::engine::{Action, Driver, Equipment, Finish, Horizon, Machine, Signals};
use crate::metrics::{MetricSource, Targets};
use crate::record::{Event, EventKind, Look, Outcome, Rollout, Summary, route_of};
use crate::traffic::VirtualService;
use crate::verdict::sequential::History;

/// How long this process stays with the rollout.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Drive {
    /// End with exit code 13 where somebody has to promote, instead of waiting for it.
    #[arg(long)]
    pub leave_at_gate: bool,
}

/// What a driver starts from.
pub(super) struct Departure {
    pub vs: VirtualService,
    pub companions: Vec<VirtualService>,
    pub rollout: Rollout,
    pub first: Action,
    pub horizon: Horizon,
    pub subsets: Vec<Subset>,
    pub canary_pods: usize,
    pub targets: Targets,
    pub since: Timestamp,
    pub history: History,
    pub youngest: Option<Timestamp>,
}

pub(super) fn emit(
    environment: &mut Environment<'_>,
    vs: &VirtualService,
    run: &str,
    event: EventKind,
) {
    let event = Event {
        version: 1,
        at: environment.clock.now(),
        namespace: vs.namespace().to_owned(),
        name: vs.name().to_owned(),
        run: run.to_owned(),
        event,
    };
    environment.observer.see(&event);
}

/// The chosen routes by name; those of companions with their object's.
pub(super) fn names_of_routes(
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
pub(super) async fn unless_interrupted<T>(
    environment: &mut Environment<'_>,
    work: impl AsyncFnOnce(&mut Environment<'_>) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let mut signals = std::mem::replace(&mut environment.signals, Signals::none());
    let done = tokio::select! {
        biased;
        signal = signals.next() => Err(CommandError::Interrupted(signal)),
        done = work(environment) => done,
    };
    environment.signals = signals;
    done
}

/// Takes the lease; where leases may not be had, the state annotation alone must do, said aloud.
pub(super) async fn lock(
    environment: &mut Environment<'_>,
    vs: &VirtualService,
    run: &str,
) -> Result<Keeper, CommandError> {
    let holder = environment.holder();
    let lease = Lease::of(&environment.cluster, vs, &environment.clock);
    match lease.acquire(&holder).await {
        Ok(keeper) => Ok(keeper),
        Err(LeaseError::Call(error)) if error.class == Class::Forbidden => {
            let text = format!(
                "{error}; going on without a lease: the state on the object alone keeps others out"
            );
            emit(environment, vs, run, EventKind::Warning { text });
            Ok(Keeper::without_lease(&holder))
        }
        Err(error) => Err(error.into()),
    }
}

/// Drives to the end of the horizon and gives the lease back.
pub(super) async fn drive(
    environment: &mut Environment<'_>,
    keeper: Keeper,
    metrics: &dyn MetricSource,
    departure: Departure,
) -> Finish {
    let machine = Machine::new(
        departure.rollout.clone(),
        analysis(&departure.rollout.plan, &departure.history),
        departure.horizon,
    )
    .with_canary_since(departure.youngest);
    let (board, narrator) = (keeper.board(), &mut *environment.observer);
    let mut observer = |event: &Event| {
        if let Some(look) = Look::of(event) {
            board.write(look.to_annotation());
        }
        narrator.see(event);
    };
    let kit = Equipment {
        cluster: &environment.cluster,
        metrics,
        books: books(
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
        clock: environment.clock.clone(),
        observer: &mut observer,
        signals: std::mem::replace(&mut environment.signals, Signals::none()),
        lease: keeper.watch(),
        subsets: departure.subsets,
        has_pods: departure.canary_pods > 0,
    };
    let finish = Driver::new(kit, machine, departure.vs, departure.companions)
        .drive(departure.first)
        .await;
    keeper.release().await;
    finish
}

/// The result of a run, for `-o json` and the exit code.
pub fn summary(vs: &VirtualService, finish: &Finish, exit_code: u8) -> Summary {
    let rollout = &finish.rollout;
    Summary {
        object: format!("virtualservice.networking.istio.io/{}", vs.name()),
        namespace: vs.namespace().to_owned(),
        run: rollout.run.clone(),
        outcome: finish.outcome,
        exit_code,
        weight: finish.weight,
        step: rollout.step + 1,
        steps: rollout.plan.len(),
        began: rollout.began,
        ended: finish.at,
        total: finish.total,
        rollback_millis: finish
            .rollback
            .map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        reasons: finish.reasons.clone(),
    }
}

/// A finish of a run that wrote once and did not stay to drive.
pub(super) fn left(rollout: Rollout, outcome: Outcome, at: Timestamp) -> Finish {
    Finish {
        outcome,
        weight: rollout.weight(),
        total: crate::record::Tally::default(),
        rollback: None,
        reasons: Vec::new(),
        signal: None,
        at,
        rollout,
    }
}
