//! `abort`: the original weights, now, from nothing but the object.

use clap::Args;

use super::drive::emit;
use super::handover::{lead_of, on_delegate};
use super::state::{is_under_way, moves_with};
use super::take_back::rollback_failed;
use super::{CommandError, Environment};
use crate::engine::{Authority, Finish, Road, roll_back_together};
use crate::plan::HumanDuration;
use crate::record::{Cause, Ending, EventKind, ObjectName, Outcome, Rollout, Tally};
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
        let ending = Ending::read(&vs);
        if let Some(ending) = &ending
            && let Some((lead, rollout)) = lead_of(environment, &ending.run, &ending.lead).await
        {
            // It is at its end, and the others are not.
            return Err(moves_with(&vs, ObjectName::of(&lead), &rollout));
        }
        return match ending {
            Some(Ending {
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
        match lead_of(environment, &rollout.run, &rollout.lead).await {
            Some(_) => return Err(is_under_way(&vs, &rollout)),
            // Whatever became of the lead: what is known of this object stands on it.
            None => alone(environment, &vs, &rollout),
        }
    }
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
        keeps_state: false,
    };
    let before = vs.clone();
    let mut tell = |event| emit(environment, &before, &rollout.run, event);
    let restored = roll_back_together(&road, vs.clone(), Vec::new(), &rollout, &mut tell).await;
    let restored = restored.map_err(|error| rollback_failed(&vs, error))?;
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

/// Says that an object is restored without the one it moves with.
fn alone(environment: &mut Environment<'_>, vs: &VirtualService, rollout: &Rollout) {
    let lead = rollout
        .lead
        .iter()
        .map(ToString::to_string)
        .collect::<String>();
    let text = format!(
        "virtualservice {lead}, which {} moves with, cannot be read or has no such rollout any more; restoring {} alone",
        vs.full_name(),
        vs.full_name()
    );
    emit(environment, vs, &rollout.run, EventKind::Warning { text });
}
