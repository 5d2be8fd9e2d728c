//! `abort`: the original weights, now, from nothing but the object.

use clap::Args;
use json_patch::PatchOperation;

use super::drive::emit;
use super::handover::on_delegate;
use super::{CommandError, Environment};
use crate::engine::{Authority, Finish, Road, roll_back};
use crate::plan::HumanDuration;
use crate::record::{Cause, Ending, EventKind, Outcome, Rollout, Tally};
use crate::traffic::{VirtualService, shift};

/// What `abort` takes.
#[derive(Args, Clone, Debug)]
pub struct Abort {
    /// The VirtualService.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Keep trying for this long.
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
    environment: &mut Environment<'_>,
    args: &Abort,
) -> Result<(VirtualService, Option<Finish>), CommandError> {
    on_delegate(environment, &args.name, async |environment, name| {
        abort_one(environment, name, args.timeout).await
    })
    .await
}

async fn abort_one(
    environment: &mut Environment<'_>,
    name: &str,
    patience: HumanDuration,
) -> Result<(VirtualService, Option<Finish>), CommandError> {
    let vs = environment
        .cluster
        .virtual_service(&environment.namespace, name)
        .await?;
    let Some(rollout) = Rollout::read(&vs)? else {
        return match Ending::read(&vs) {
            Some(Ending {
                outcome: Outcome::RolledBack(_),
                ..
            }) => Ok((vs, None)),
            _ => Err(CommandError::NoRollout {
                object: vs.full_name(),
                name: vs.name().to_owned(),
                namespace: vs.namespace().to_owned(),
            }),
        };
    };
    let event = EventKind::RollingBack {
        cause: Cause::Request,
        weight: rollout.weight(),
    };
    emit(environment, &vs, &rollout.run, event);
    let (clock, actor) = (environment.clock.clone(), environment.actor.clone());
    let cluster = environment.cluster.clone();
    let road = Road {
        cluster: &cluster,
        clock: &clock,
        cause: Cause::Request,
        by: &actor,
        authority: Authority::Person,
        patience: patience.unsigned(),
    };
    let before = vs.clone();
    let mut tell = |event| emit(environment, &before, &rollout.run, event);
    let restored = roll_back(&road, vs.clone(), &rollout, &mut tell).await;
    let restored = restored.map_err(|source| CommandError::RollbackFailed {
        object: vs.full_name(),
        source: Box::new(source),
        manual: by_hand(&vs, &rollout),
    })?;
    let event = EventKind::RolledBack {
        cause: Cause::Request,
        routes: restored.changes,
        took_millis: u64::try_from(restored.took.as_millis()).unwrap_or(u64::MAX),
        total: Tally::default(),
    };
    emit(environment, &restored.vs, &rollout.run, event);
    let finish = Finish {
        outcome: Outcome::RolledBack(Cause::Request),
        weight: rollout.original_share(),
        total: Tally::default(),
        rollback: Some(restored.took),
        reasons: vec![format!("asked for by {actor}")],
        signal: None,
        at: environment.clock.now(),
        rollout,
    };
    Ok((restored.vs, Some(finish)))
}

/// What does the same without this program: a JSON Patch for kubectl, with all that the rollout added
/// to the routes, but without the tests that guard ours.
fn by_hand(vs: &VirtualService, rollout: &Rollout) -> String {
    let patch = rollout
        .original_on(vs)
        .ok()
        .and_then(|shape| shift(vs, &shape, &[]).ok());
    let changes: Vec<_> = patch
        .into_iter()
        .flat_map(|patch| patch.0)
        .filter(|operation| !matches!(operation, PatchOperation::Test(_)))
        .collect();
    let (name, namespace) = (vs.name(), vs.namespace());
    match serde_json::to_string(&changes) {
        Ok(changes_as_json) if !changes.is_empty() => format!(
            "kubectl patch virtualservice {name} -n {namespace} --type=json -p '{changes_as_json}'"
        ),
        _ => format!("kubectl edit virtualservice {name} -n {namespace}"),
    }
}
