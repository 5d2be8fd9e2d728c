//! Going on with a rollout whose driver died, or that never had one.

use crate::cluster::{LeaseGuard, Subset};
use crate::context::Context;
use crate::discovery::Lookback;
use crate::discovery::past_of;
use crate::discovery::subsets;
use crate::discovery::under_way;
use crate::driver::Finish;
use crate::driver::{Changed, change};
use crate::driver::{DriveInput, drive, emit, left, lock, names_of_routes, unless_interrupted};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::metrics::{MetricSource, Targets};
use crate::preflight::version_selector;
use crate::rollout::{Action, Intent, StopAt};
use crate::rollout::{EventKind, Outcome, Phase, Rollout, RouteChange, route_of};
use crate::verdict::sequential::History;
use jiff::Timestamp;

/// Its driver is dead, or it never had one: this process moves the rollout to what `decide` makes of
/// it, under its own name, and drives on from there.
pub async fn take_over(
    context: &mut Context<'_>,
    name: &str,
    stop_at: StopAt,
    mut decide: impl FnMut(&VirtualService, Rollout) -> Result<Intent, CommandError>,
) -> Result<(VirtualService, Finish), CommandError> {
    let scene = unless_interrupted(context, async |context| survey(context, name).await);
    let (scene, guard) = scene.await?;
    let (now, holder) = (context.clock.now(), context.holder());
    let mut from = None;
    let changed = change(context, name, |vs, rollout| {
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
            guard.release().await;
            let rollout = under_way(&vs)?;
            return Ok((vs, left(rollout, Outcome::Held, now)));
        }
        Err(error) => {
            guard.release().await;
            return Err(error);
        }
    };
    let (rollout, first) = match intent {
        Intent::State(rollout) | Intent::RestoreRest(rollout) => (*rollout, Action::Wait),
        Intent::Complete(rollout, last) | Intent::Restore(rollout, last) => {
            (*rollout, Action::Leave(last.outcome))
        }
    };
    announce(context, (&vs, &companions), &before, &rollout);
    let departure = DriveInput {
        since: rollout
            .history
            .first()
            .map_or(rollout.began, |segment| segment.since),
        first,
        vs: vs.clone(),
        companions,
        rollout,
        stop_at,
        subsets: scene.subsets,
        canary_pods: scene.canary_pods,
        targets: scene.targets,
        history: scene.history,
        youngest: scene.youngest,
    };
    let finish = drive(context, guard, scene.metrics.as_ref(), departure).await;
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
    context: &mut Context<'_>,
    name: &str,
) -> Result<(Scene, LeaseGuard), CommandError> {
    let vs = context
        .cluster
        .virtual_service(&context.namespace, name)
        .await?;
    let rollout = under_way(&vs)?;
    let metrics = context.metrics(&rollout.plan.prometheus)?;
    let subsets = subsets(context, &rollout).await?;
    let cluster = &context.cluster;
    let stable = cluster.workloads(&rollout.stable, &subsets).await?;
    let canary = cluster.workloads(&rollout.canary, &subsets).await?;
    let (canary_pods, youngest) = (canary.pods, canary.youngest);
    let targets = Targets::new(
        version_selector(&rollout.stable, stable),
        version_selector(&rollout.canary, canary),
    );
    let targets = targets.map_err(|error| {
        CommandError::Conflict(format!("virtualservice {}: {error}", vs.full_name()))
    })?;
    let targets = targets.counting(rollout.counted());
    let history = past_of(
        context,
        &rollout.plan,
        &targets,
        rollout.began,
        Lookback::of(rollout.past),
    )
    .await?;
    let guard = lock(context, &vs, &rollout.run).await?;
    let scene = Scene {
        rollout,
        metrics,
        subsets,
        canary_pods,
        targets,
        history,
        youngest,
    };
    Ok((scene, guard))
}

fn announce(
    context: &mut Context<'_>,
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
    emit(context, vs, &rollout.run, planned);
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
    emit(context, vs, &rollout.run, event);
}
