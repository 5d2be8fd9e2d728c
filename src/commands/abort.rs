//! `abort`: the original weights, now, from nothing but the object.

use clap::Args;

use crate::context::Context;
use crate::discovery::{is_under_way, lead_of, moves_with, on_delegate};
use crate::driver::{Finish, Initiator, RollbackRequest, roll_back_group, rollback_failed};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::plan::{Exposure, HumanDuration};
use crate::rollout::{Cause, EventKind, Group, LastRollout, ObjectName, Outcome, Reason, Rollout};

/// What `abort` takes.
#[derive(Args, Clone, Debug)]
pub struct Abort {
    /// The VirtualService.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How long to retry.
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub timeout: HumanDuration,
}

/// Restores the original weights, reads them back and says how long it took.
///
/// A rollout that was rolled back already is no error. Neither a driver, nor a lease, nor metrics
/// are needed.
///
/// RBAC: `get` and `patch` on `virtualservices`.
///
/// # Errors
/// [`CommandError::RollbackFailed`] if the weights could not be restored in time.
pub async fn abort(
    context: &mut Context<'_>,
    args: &Abort,
) -> Result<(VirtualService, Option<Finish>), CommandError> {
    on_delegate(context, &args.name, async |context, name| {
        abort_one(context, name, args.timeout).await
    })
    .await
}

async fn abort_one(
    context: &mut Context<'_>,
    name: &str,
    timeout: HumanDuration,
) -> Result<(VirtualService, Option<Finish>), CommandError> {
    let vs = context
        .cluster
        .virtual_service(&context.namespace, name)
        .await?;
    let Some(rollout) = Rollout::read(&vs)? else {
        let ending = LastRollout::read(&vs).ok().flatten();
        if let Some(ending) = &ending
            && let Some((lead, rollout)) = lead_of(context, &ending.run, &ending.lead).await
        {
            // It is at its end, and the others are not.
            return Err(moves_with(&vs, ObjectName::of(&lead), &rollout));
        }
        return match ending {
            Some(LastRollout {
                outcome: Outcome::RolledBack(_),
                ..
            }) => Ok((vs, None)),
            _ => Err(CommandError::NoRollout {
                name: vs.name().to_owned(),
                namespace: vs.namespace().to_owned(),
            }),
        };
    };
    if rollout.lead.is_some() {
        match lead_of(context, &rollout.run, &rollout.lead).await {
            Some(_) => return Err(is_under_way(&vs, &rollout)),
            // Whatever became of the lead: what is known of this object stands on it.
            None => alone(context, &vs, &rollout),
        }
    }
    let (clock, actor) = (context.clock.clone(), context.actor.clone());
    let cluster = context.cluster.clone();
    let request = RollbackRequest {
        cluster: &cluster,
        clock: &clock,
        cause: Cause::Request,
        by: &actor,
        initiator: Initiator::Person,
        timeout: timeout.unsigned(),
    };
    let group = Group::of_lead(vs);
    let mut tell = |event| context.emit(&group.lead, &rollout.run, event);
    let restored = roll_back_group(&request, &group, &rollout, None, &mut tell).await;
    let restored = restored.map_err(|error| rollback_failed(&group.lead, error))?;
    let finish = Finish {
        outcome: Outcome::RolledBack(Cause::Request),
        exposure: Exposure::Share(rollout.original_share()),
        total_counts: None,
        rollback: Some(restored.took),
        reasons: vec![Reason::Requested {
            by: actor.to_string(),
        }],
        warnings: Vec::new(),
        signal: None,
        at: context.clock.now(),
        rollout,
    };
    Ok((restored.vs, Some(finish)))
}

/// Says that an object is restored without the one it moves with.
fn alone(context: &mut Context<'_>, vs: &VirtualService, rollout: &Rollout) {
    let lead = rollout
        .lead
        .iter()
        .map(ToString::to_string)
        .collect::<String>();
    let text = format!(
        "virtualservice {lead}, with which {} is shifted, cannot be read or has no such rollout any more; restoring {} alone",
        vs.full_name(),
        vs.full_name()
    );
    context.emit(vs, &rollout.run, EventKind::Warning { text });
}
