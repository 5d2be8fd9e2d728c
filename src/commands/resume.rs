//! `resume`: let a paused rollout go on, and take over one whose driver died.

use clap::Args;

use super::drive::{Departure, Drive, drive, emit, left, lock};
use super::environment::object_name;
use super::judge::past_of;
use super::prepare::arm;
use super::state::{change, under_way};
use super::{CommandError, Environment};
use crate::cluster::{Lease, Subset};
use crate::engine::{Action, Finish, Horizon, Intent};
use crate::metrics::Targets;
use crate::record::{EventKind, Outcome, Phase, Rollout};
use crate::traffic::VirtualService;

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
    let name = object_name(&args.name)?;
    let namespace = environment.namespace.clone();
    let vs = environment
        .cluster
        .virtual_service(&namespace, name)
        .await?;
    let rollout = under_way(&vs)?;
    let alive = Lease::of(&environment.cluster, &vs, &environment.clock)
        .live_holder()
        .await;
    if alive.is_ok_and(|holder| holder.is_some()) {
        return continue_beside(environment, &namespace, name).await;
    }
    let horizon = Horizon {
        one_step: false,
        leave_at_gate: args.drive.leave_at_gate,
    };
    take_over(environment, vs, rollout, horizon).await
}

/// Its driver lives: one patch, and it goes on by itself.
async fn continue_beside(
    environment: &mut Environment<'_>,
    namespace: &str,
    name: &str,
) -> Result<(VirtualService, Finish), CommandError> {
    let (now, by) = (environment.clock.now(), environment.actor.clone());
    let (vs, _) = change(&environment.cluster, namespace, name, |_, rollout| {
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

/// Its driver is dead, or it never had one: this process drives on from what the object says.
pub(super) async fn take_over(
    environment: &mut Environment<'_>,
    vs: VirtualService,
    rollout: Rollout,
    horizon: Horizon,
) -> Result<(VirtualService, Finish), CommandError> {
    let metrics = environment.metrics(&rollout.plan.prometheus)?;
    let subsets = subsets(environment, &rollout).await?;
    let stable = environment
        .cluster
        .workloads(&rollout.stable, &subsets)
        .await?;
    let canary = environment
        .cluster
        .workloads(&rollout.canary, &subsets)
        .await?;
    let youngest = canary.youngest;
    let targets = Targets::new(arm(&rollout.stable, stable), arm(&rollout.canary, canary))
        .map_err(|error| {
            CommandError::Conflict(format!("virtualservice {}: {error}", vs.full_name()))
        })?;
    let history = past_of(environment, &rollout.plan, &targets, rollout.began).await?;
    let keeper = lock(environment, &vs, &rollout.run).await?;
    let routes = rollout
        .routes
        .iter()
        .filter_map(|split| split.find(&vs))
        .map(ToString::to_string);
    let event = EventKind::Planned {
        stable: rollout.stable.to_string(),
        canary: rollout.canary.to_string(),
        routes: routes.collect(),
        left_behind: Vec::new(),
        steps: rollout
            .plan
            .steps
            .as_slice()
            .iter()
            .map(|step| step.weight)
            .collect(),
        skipped: Vec::new(),
        prometheus: rollout.plan.prometheus.clone(),
        expected: None,
        requests_per_second: None,
        resumed_from: Some(rollout.holder.clone()),
    };
    emit(environment, &vs, &rollout.run, event);
    let now = environment.clock.now();
    let phase = match rollout.phase {
        Phase::Waiting => Phase::Waiting,
        Phase::Tripped => Phase::Tripped,
        Phase::Progressing | Phase::Paused => Phase::Progressing,
    };
    let mut next = rollout.in_phase(phase, now);
    next.holder = environment.holder();
    // The step's deadline starts anew: the time without a driver is not the canary's fault.
    next.since = now;
    let departure = Departure {
        since: rollout
            .history
            .first()
            .map_or(rollout.began, |stage| stage.since),
        first: Action::Write(Box::new(next)),
        vs: vs.clone(),
        rollout,
        horizon,
        subsets,
        targets,
        history,
        youngest,
    };
    let finish = drive(environment, keeper, metrics.as_ref(), departure).await;
    Ok((vs, finish))
}

async fn subsets(
    environment: &Environment<'_>,
    rollout: &Rollout,
) -> Result<Vec<Subset>, CommandError> {
    let mut subsets = Vec::new();
    let mut namespaces = vec![environment.namespace.clone()];
    for version in [&rollout.stable, &rollout.canary] {
        if version.subset.is_some()
            && let Some((_, namespace)) = version.host.service()
        {
            namespaces.push(namespace.to_owned());
        }
    }
    namespaces.sort();
    namespaces.dedup();
    for namespace in namespaces {
        subsets.extend(environment.cluster.subsets(&namespace).await?);
    }
    Ok(subsets)
}
