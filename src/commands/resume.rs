//! `resume`: let a paused rollout go on, and take over one whose driver died.

use std::collections::BTreeSet;

use clap::Args;
use jiff::Timestamp;

use super::drive::{
    Departure, Drive, drive, emit, left, lock, names_of_routes, unless_interrupted,
};
use super::handover::on_delegate;
use super::judge::past_of;
use super::past::Depth;
use super::state::{Changed, change, under_way};
use super::{CommandError, Environment};
use crate::cluster::{Keeper, Lease, Subset};
use crate::engine::{Action, Finish, Horizon, Intent, enter};
use crate::metrics::{MetricSource, Targets};
use crate::preflight::{arm, subsets_meant};
use crate::record::{Ending, EventKind, Outcome, Phase, Rollout, RouteChange, route_of};
use crate::traffic::VirtualService;
use crate::verdict::sequential::History;

/// What `resume` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Resume {
    /// The VirtualService.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How long to stay.
    #[command(flatten)]
    pub drive: Drive,
}

/// Goes on with a rollout: beside its driver if one lives, else in its place.
///
/// RBAC: as `start`.
///
/// # Errors
/// Whatever keeps it from going on; traffic is untouched then.
pub async fn resume(
    environment: &mut Environment<'_>,
    args: &Resume,
) -> Result<(VirtualService, Finish), CommandError> {
    on_delegate(environment, &args.name, async |environment, name| {
        resume_one(environment, name, args.drive).await
    })
    .await
}

async fn resume_one(
    environment: &mut Environment<'_>,
    name: &str,
    drive: Drive,
) -> Result<(VirtualService, Finish), CommandError> {
    let namespace = environment.namespace.clone();
    let alive = unless_interrupted(environment, async |environment| {
        let vs = environment
            .cluster
            .virtual_service(&namespace, name)
            .await?;
        under_way(&vs)?;
        let lease = Lease::of(&environment.cluster, &vs, &environment.clock);
        // Whoever may not look at leases judges by the annotation alone; taking over asks again.
        Ok(lease.live_holder().await.ok().flatten().is_some())
    })
    .await?;
    if alive {
        return continue_beside(environment, name).await;
    }
    let horizon = Horizon {
        one_step: false,
        leave_at_gate: drive.leave_at_gate,
    };
    let (now, holder) = (environment.clock.now(), environment.holder());
    take_over(environment, name, horizon, |_, rollout| {
        let phase = match rollout.phase {
            Phase::Progressing | Phase::Paused => Phase::Progressing,
            held @ (Phase::Waiting | Phase::Tripped) => held,
        };
        let next = rollout.in_phase(phase, now);
        // Only what moves together stands at a last step that nobody has to watch.
        let ends = next.plan.is_last(next.step) && !next.also.is_empty();
        Ok(
            match (ends && phase == Phase::Progressing).then(|| enter(next.clone())) {
                Some(Action::Complete(next)) => {
                    let ending = Ending::of(&next, Outcome::Promoted, &holder, now);
                    Intent::Complete(next, ending)
                }
                _ => Intent::State(Box::new(next)),
            },
        )
    })
    .await
}

/// Goes on in the place of a driver of the same run that died, without changing where the rollout
/// stands: what somebody paused stays paused.
///
/// RBAC: as `start`.
///
/// # Errors
/// Whatever keeps it from going on; traffic is untouched then.
pub async fn replace(
    environment: &mut Environment<'_>,
    name: &str,
) -> Result<(VirtualService, Finish), CommandError> {
    let horizon = Horizon {
        one_step: false,
        leave_at_gate: false,
    };
    on_delegate(environment, name, async |environment, name| {
        take_over(environment, name, horizon, |_, rollout| {
            Ok(Intent::State(Box::new(rollout)))
        })
        .await
    })
    .await
}

/// Its driver lives: one patch, and it goes on by itself.
async fn continue_beside(
    environment: &mut Environment<'_>,
    name: &str,
) -> Result<(VirtualService, Finish), CommandError> {
    let (now, by) = (environment.clock.now(), environment.actor.clone());
    let namespace = environment.namespace.clone();
    let Changed { vs, .. } = change(environment, name, |_, rollout| {
        if rollout.phase != Phase::Paused {
            return Err(CommandError::Conflict(format!(
                "virtualservice {namespace}/{name} is driven by {} and not paused (try: kubectl canary status {name} -n {namespace})",
                rollout.holder
            )));
        }
        let mut next = rollout.in_phase(Phase::Progressing, now);
        next.since = now;
        next.by = Some(by.clone());
        Ok(Some(Intent::State(Box::new(next))))
    })
    .await?;
    let rollout = under_way(&vs)?;
    emit(environment, &vs, &rollout.run, EventKind::Continued { by });
    Ok((vs, left(rollout, Outcome::StepPassed, now)))
}

/// Its driver is dead, or it never had one: this process moves the rollout to what `decide` makes of
/// it, under its own name, and drives on from there.
pub(super) async fn take_over(
    environment: &mut Environment<'_>,
    name: &str,
    horizon: Horizon,
    mut decide: impl FnMut(&VirtualService, Rollout) -> Result<Intent, CommandError>,
) -> Result<(VirtualService, Finish), CommandError> {
    let scene = unless_interrupted(environment, async |environment| {
        survey(environment, name).await
    });
    let (scene, keeper) = scene.await?;
    let (now, holder) = (environment.clock.now(), environment.holder());
    let mut from = None;
    let changed = change(environment, name, |vs, rollout| {
        from = Some(rollout.clone());
        let mut intent = decide(vs, rollout)?;
        if let Intent::State(next) = &mut intent {
            next.holder.clone_from(&holder);
            // The step's deadline starts anew: the time without a driver is not the canary's fault.
            next.since = now;
        }
        Ok(Some(intent))
    });
    let (before, vs, companions, intent) = match changed.await {
        Ok(Changed {
            vs,
            companions,
            intent: Some(intent),
        }) => (from.unwrap_or(scene.rollout), vs, companions, intent),
        Ok(Changed { vs, .. }) => {
            keeper.release().await;
            let rollout = under_way(&vs)?;
            return Ok((vs, left(rollout, Outcome::Held, now)));
        }
        Err(error) => {
            keeper.release().await;
            return Err(error);
        }
    };
    let (rollout, first) = match intent {
        Intent::State(rollout) | Intent::RestoreRest(rollout) => (*rollout, Action::Wait),
        Intent::Complete(rollout, ending) | Intent::Restore(rollout, ending) => {
            (*rollout, Action::Leave(ending.outcome))
        }
    };
    announce(environment, (&vs, &companions), &before, &rollout);
    let departure = Departure {
        since: rollout
            .history
            .first()
            .map_or(rollout.began, |stage| stage.since),
        first,
        vs: vs.clone(),
        companions,
        rollout,
        horizon,
        subsets: scene.subsets,
        canary_pods: scene.canary_pods,
        targets: scene.targets,
        history: scene.history,
        youngest: scene.youngest,
    };
    let finish = drive(environment, keeper, scene.metrics.as_ref(), departure).await;
    Ok((vs, finish))
}

/// What has to be known before a rollout is taken over.
struct Scene {
    rollout: Rollout,
    metrics: Box<dyn MetricSource>,
    subsets: Vec<Subset>,
    canary_pods: usize,
    targets: Targets,
    history: History,
    youngest: Option<Timestamp>,
}

async fn survey(
    environment: &mut Environment<'_>,
    name: &str,
) -> Result<(Scene, Keeper), CommandError> {
    let vs = environment
        .cluster
        .virtual_service(&environment.namespace, name)
        .await?;
    let rollout = under_way(&vs)?;
    let metrics = environment.metrics(&rollout.plan.prometheus)?;
    let subsets = subsets(environment, &rollout).await?;
    let cluster = &environment.cluster;
    let stable = cluster.workloads(&rollout.stable, &subsets).await?;
    let canary = cluster.workloads(&rollout.canary, &subsets).await?;
    let (canary_pods, youngest) = (canary.pods, canary.youngest);
    let targets = Targets::new(arm(&rollout.stable, stable), arm(&rollout.canary, canary));
    let targets = targets.map_err(|error| {
        CommandError::Conflict(format!("virtualservice {}: {error}", vs.full_name()))
    })?;
    let targets = targets.counting(rollout.counted());
    let history = past_of(
        environment,
        &rollout.plan,
        &targets,
        rollout.began,
        Depth::of(rollout.past),
    )
    .await?;
    let keeper = lock(environment, &vs, &rollout.run).await?;
    let scene = Scene {
        rollout,
        metrics,
        subsets,
        canary_pods,
        targets,
        history,
        youngest,
    };
    Ok((scene, keeper))
}

fn announce(
    environment: &mut Environment<'_>,
    (vs, companions): (&VirtualService, &[VirtualService]),
    before: &Rollout,
    rollout: &Rollout,
) {
    let planned = EventKind::Planned {
        stable: rollout.stable.to_string(),
        canary: rollout.canary.to_string(),
        routes: names_of_routes(rollout, vs, companions),
        left_behind: Vec::new(),
        steps: rollout.plan.rungs(),
        skipped: Vec::new(),
        prometheus: rollout.plan.prometheus.clone(),
        expected: None,
        requests_per_second: None,
        resumed_from: Some(before.holder.clone()),
    };
    emit(environment, vs, &rollout.run, planned);
    let objects = rollout.also.iter().zip(companions);
    let objects = objects.map(|(companion, other)| (&companion.routes, other));
    let changes = std::iter::once((&rollout.routes, vs)).chain(objects);
    let changes = changes.flat_map(|(splits, object)| {
        splits.iter().filter_map(move |split| {
            let route = split.find(object)?.to_string();
            Some(RouteChange {
                route: match object.uid() == vs.uid() {
                    true => route,
                    false => route_of(&route, object),
                },
                before: before.weights_of(split),
                after: rollout.weights_of(split),
                stable: split.stable,
                canary: split.canary,
            })
        })
    });
    let event = match rollout.phase {
        Phase::Waiting => EventKind::Waiting {
            weight: rollout.weight(),
            reach: rollout.reach(),
            why: "it waits for promote".into(),
        },
        Phase::Progressing | Phase::Paused | Phase::Tripped => EventKind::StepStarted {
            step: rollout.step + 1,
            steps: rollout.plan.len(),
            weight: rollout.weight(),
            reach: rollout.reach(),
            routes: changes.collect(),
            took_millis: 0,
        },
    };
    emit(environment, vs, &rollout.run, event);
}

pub(super) async fn subsets(
    environment: &Environment<'_>,
    rollout: &Rollout,
) -> Result<Vec<Subset>, CommandError> {
    let mut namespaces = BTreeSet::from([environment.namespace.clone()]);
    for version in [&rollout.stable, &rollout.canary] {
        if version.subset.is_some()
            && let Some((_, namespace)) = version.host.service()
        {
            namespaces.insert(namespace.to_owned());
        }
    }
    let mut around = environment
        .cluster
        .destination_rules_around(&namespaces)
        .await;
    match around.failed.pop() {
        Some((_, error)) => Err(error.into()),
        None => Ok(subsets_meant(&around.found, &environment.namespace)),
    }
}
