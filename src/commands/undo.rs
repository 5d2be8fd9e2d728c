//! `undo`: the weights of before the last promotion, now, from nothing but the object.

use clap::Args;

use crate::context::Context;
use crate::discovery::{is_under_way, moves_with, on_delegate};
use crate::driver::{Finish, read_to_restore, undo_promotion};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::plan::HumanDuration;
use crate::rollout::{Cause, EventKind, Group, LastRollout, ObjectName, Outcome, Rollout};

/// What `undo` takes.
#[derive(Args, Clone, Debug)]
pub struct Undo {
    /// The VirtualService.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How long to retry.
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub timeout: HumanDuration,
}

/// Restores the weights of before the last promotion, reads them back and says how long it took. A
/// promotion that is undone already is no error; `None` says so.
///
/// Metrics and pods are not asked for. The lease is held meanwhile, so that no rollout starts.
///
/// RBAC: `get` and `patch` on `virtualservices`; `get`, `create` and `update` on `leases`.
///
/// # Errors
/// If there is no promotion to undo, or an object is not as it left it; traffic is untouched then.
/// [`CommandError::RollbackFailed`] if the weights could not be restored in time.
pub async fn undo(
    context: &mut Context<'_>,
    args: &Undo,
) -> Result<(VirtualService, Option<Finish>), CommandError> {
    on_delegate(context, &args.name, async |context, name| {
        undo_one(context, name, args.timeout).await
    })
    .await
    .map_err(|error| match error {
        CommandError::NoRollout { name, namespace } => CommandError::Conflict(format!(
            "nothing to undo: virtualservice {namespace}/{name} has no record of a promotion (try: kubectl canary status {name} -n {namespace})"
        )),
        error => error,
    })
}

async fn undo_one(
    context: &mut Context<'_>,
    name: &str,
    timeout: HumanDuration,
) -> Result<(VirtualService, Option<Finish>), CommandError> {
    let namespace = context.namespace.clone();
    let vs = read(
        context,
        ObjectName {
            namespace,
            name: name.to_owned(),
        },
        timeout,
    )
    .await?;
    if let Some(rollout) = Rollout::read(&vs)? {
        return Err(is_under_way(&vs, &rollout));
    }
    let object = vs.full_name();
    let status = format!("kubectl canary status {} -n {}", vs.name(), vs.namespace());
    let last = LastRollout::read(&vs).map_err(|error| {
        CommandError::Conflict(format!(
            "the last rollout's record on virtualservice {object} cannot be read: {error} (try: kubectl edit virtualservice {} -n {})",
            vs.name(),
            vs.namespace()
        ))
    })?;
    let Some(last) = last else {
        return Err(CommandError::NoRollout {
            name: vs.name().to_owned(),
            namespace: vs.namespace().to_owned(),
        });
    };
    let rollout = match (last.outcome, last.promoted_rollout()) {
        (Outcome::RolledBack(Cause::Undo), _) => return Ok((vs, None)),
        (Outcome::Promoted, Some(rollout)) => rollout,
        (Outcome::Promoted, None) => {
            return Err(CommandError::Conflict(format!(
                "nothing to undo: the record on virtualservice {object} does not hold the weights before the promotion (try: {status})"
            )));
        }
        (outcome, _) => {
            return Err(CommandError::Conflict(format!(
                "nothing to undo: the last rollout of virtualservice {object} ended otherwise: {outcome} (try: {status})"
            )));
        }
    };
    if let Some(lead) = &last.lead {
        let found = read(context, lead.clone(), timeout).await.ok();
        let of_lead = found.and_then(|lead| LastRollout::of_run(&lead, &last.run));
        if of_lead.is_some_and(|last| last.outcome == Outcome::Promoted) {
            return Err(moves_with(&vs, lead.clone(), &rollout));
        }
        let text = format!(
            "virtualservice {lead}, with which {object} was promoted, cannot be read or has no such promotion any more; restoring {object} alone"
        );
        context.emit(&vs, &rollout.run, EventKind::Warning { text });
    }
    let mut companions = Vec::new();
    for companion in &rollout.companions {
        companions.push(read(context, companion.object.clone(), timeout).await?);
    }
    let group = Group {
        lead: vs,
        companions,
    };
    let (vs, finish) = undo_promotion(context, group, &rollout, timeout).await?;
    Ok((vs, Some(finish)))
}

/// Reads one of the objects, as often as the time allows; a signal ends it.
async fn read(
    context: &mut Context<'_>,
    object: ObjectName,
    timeout: HumanDuration,
) -> Result<VirtualService, CommandError> {
    let read = context.unless_interrupted(async |context| {
        let read = read_to_restore(&context.cluster, &object, timeout.unsigned());
        Ok(read.await?)
    });
    read.await
}
