//! `abort`: the original weights, now, from nothing but the object.

use clap::Args;

use super::drive::emit;
use super::environment::object_name;
use super::{CommandError, Environment};
use crate::engine::{Authority, Finish, Road, roll_back};
use crate::plan::HumanDuration;
use crate::record::{Cause, Ending, EventKind, Outcome, Rollout, Tally};
use crate::traffic::VirtualService;

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
    let name = object_name(&args.name)?;
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
        patience: args.timeout.unsigned(),
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

/// What does the same without this program: a JSON Patch for kubectl.
fn by_hand(vs: &VirtualService, rollout: &Rollout) -> String {
    let operations: Vec<_> =
        rollout
            .routes
            .iter()
            .filter_map(|split| Some((split.find(vs)?, split)))
            .flat_map(|(route, split)| {
                let at = route.at.pointer();
                split.original.iter().enumerate().map(move |(position, weight)| {
                let weight = weight.unwrap_or(0);
                format!(r#"{{"op":"add","path":"{at}/route/{position}/weight","value":{weight}}}"#)
            })
            })
            .collect();
    match operations.is_empty() {
        true => format!(
            "kubectl edit virtualservice {} -n {}",
            vs.name(),
            vs.namespace()
        ),
        false => format!(
            "kubectl patch virtualservice {} -n {} --type=json -p '[{}]'",
            vs.name(),
            vs.namespace(),
            operations.join(",")
        ),
    }
}
