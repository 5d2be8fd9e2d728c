//! `resume`: let a paused rollout go on, and take over one whose driver died.

use clap::Args;

use super::drive::Drive;
use super::prometheus_args::PrometheusArgs;
use crate::cluster::LeaseError;
use crate::context::Context;
use crate::discovery::{on_delegate, under_way};
use crate::driver::{Changed, Finish, change, take_over};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::rollout::{
    Action, EventKind, Intent, LastRollout, Outcome, Phase, Rollout, StopAt, enter,
};

/// What `resume` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Resume {
    /// The VirtualService.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// When to exit.
    #[command(flatten)]
    pub drive: Drive,
    /// Where Prometheus is, and how to log in there.
    #[command(flatten)]
    pub prometheus: PrometheusArgs,
}

/// Goes on with a rollout: beside its driver if one lives, else in its place.
///
/// RBAC: as `start`.
///
/// # Errors
/// Whatever keeps it from going on; traffic is untouched then.
pub async fn resume(
    context: &mut Context<'_>,
    args: &Resume,
) -> Result<(VirtualService, Finish), CommandError> {
    on_delegate(context, &args.name, async |context, name| {
        resume_one(context, name, &args.drive).await
    })
    .await
}

async fn resume_one(
    context: &mut Context<'_>,
    name: &str,
    drive: &Drive,
) -> Result<(VirtualService, Finish), CommandError> {
    context.actor.known().await;
    let stop_at = |_: &Rollout| StopAt {
        after_step: None,
        leave_at_gate: drive.leave_at_gate,
    };
    let (now, holder) = (context.clock.now(), context.holder());
    let taken = take_over(context, name, stop_at, |_, rollout| {
        let phase = match rollout.phase {
            Phase::Progressing | Phase::Paused => Phase::Progressing,
            held @ (Phase::Waiting | Phase::Tripped) => held,
        };
        let next = rollout.in_phase(phase, now);
        // Only a group stands at a last step that needs no analysis: its companions may be behind.
        let ends = next.plan.is_last(next.step) && !next.companions.is_empty();
        Ok(
            match (ends && phase == Phase::Progressing).then(|| enter(next.clone())) {
                Some(Action::Complete(next)) => {
                    let ending = LastRollout::of(&next, Outcome::Promoted, &holder, now);
                    Intent::Complete(next, ending)
                }
                _ => Intent::State(Box::new(next)),
            },
        )
    });
    match taken.await {
        Err(CommandError::Lease(LeaseError::Held { .. })) => {
            context
                .unless_interrupted(async |context| {
                    continue_beside(context, name, drive.flag()).await
                })
                .await
        }
        taken => taken,
    }
}

/// Goes on in the place of a driver of the same run that died, without changing where the rollout
/// stands: a paused rollout stays paused.
///
/// RBAC: as `start`.
///
/// # Errors
/// Whatever keeps it from going on; traffic is untouched then.
pub async fn replace(
    context: &mut Context<'_>,
    name: &str,
) -> Result<(VirtualService, Finish), CommandError> {
    let stop_at = |_: &Rollout| StopAt {
        after_step: None,
        leave_at_gate: false,
    };
    on_delegate(context, name, async |context, name| {
        take_over(context, name, stop_at, |_, rollout| {
            Ok(Intent::State(Box::new(rollout)))
        })
        .await
    })
    .await
}

/// Its driver lives: one patch, and it goes on by itself, in its own way: a flag that would change that is
/// refused.
async fn continue_beside(
    context: &mut Context<'_>,
    name: &str,
    flag: Option<&str>,
) -> Result<(VirtualService, Finish), CommandError> {
    context.actor.known().await;
    let (now, by) = (context.clock.now(), context.actor.by());
    let namespace = context.namespace.clone();
    let Changed { group, .. } = change(context, name, |_, rollout| {
        if rollout.phase != Phase::Paused {
            return Err(CommandError::Conflict(format!(
                "virtualservice {namespace}/{name} is already driven by {} and not paused (try: kubectl canary status {name} -n {namespace})",
                rollout.holder
            )));
        }
        if let Some(flag) = flag {
            return Err(CommandError::Usage(format!(
                "{flag} has no effect: virtualservice {namespace}/{name} is driven by {}, which goes on as it was started (try: kubectl canary resume {name} -n {namespace})",
                rollout.holder
            )));
        }
        let mut next = rollout.in_phase(Phase::Progressing, now);
        next.since = now;
        next.changed_by = Some(by.clone());
        Ok(Some(Intent::State(Box::new(next))))
    })
    .await?;
    let vs = group.lead;
    let rollout = under_way(&vs)?;
    context.emit(&vs, &rollout.run, EventKind::Resumed { by });
    Ok((vs, Finish::without_driving(rollout, Outcome::StepSet, now)))
}
