//! `pause`: stay at this weight until `resume` or `promote`.

use clap::Args;

use crate::context::Context;
use crate::discovery::{is_tripped, is_unchanged, on_delegate, under_way};
use crate::driver::{Finish, change};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::rollout::{EventKind, Intent, Outcome, Phase, Reason};

/// What `pause` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Pause {
    /// The VirtualService.
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Pauses a rollout: one guarded PATCH, with or without a driver alive. Pausing twice is no error.
///
/// A rollout that waits for `promote` stays at its weight anyway, and goes on waiting for it: a gate is
/// not opened by `pause` and `resume`.
///
/// RBAC: `get` and `patch` on `virtualservices`.
///
/// # Errors
/// If there is no rollout under way, or the API server does not take it.
pub async fn pause(
    context: &mut Context<'_>,
    name: &str,
) -> Result<(VirtualService, Finish), CommandError> {
    context
        .unless_interrupted(async |context| on_delegate(context, name, pause_one).await)
        .await
}

async fn pause_one(
    context: &mut Context<'_>,
    name: &str,
) -> Result<(VirtualService, Finish), CommandError> {
    context.actor.known().await;
    let (now, by) = (context.clock.now(), context.actor.by());
    let changed = change(context, name, |vs, rollout| match rollout.phase {
        Phase::Paused | Phase::Waiting => Ok(None),
        Phase::Tripped => Err(is_tripped(vs)),
        Phase::Progressing => {
            is_unchanged(vs, &rollout)?;
            let mut next = rollout.in_phase(Phase::Paused, now);
            next.changed_by = Some(by.clone());
            Ok(Some(Intent::State(Box::new(next))))
        }
    })
    .await?;
    let vs = changed.group.lead;
    let rollout = under_way(&vs)?;
    let event = match rollout.phase {
        Phase::Waiting => EventKind::Waiting {
            exposure: rollout.exposure(),
            reasons: vec![Reason::WaitsForPromote],
        },
        Phase::Paused | Phase::Progressing | Phase::Tripped => EventKind::Paused { by },
    };
    context.emit(&vs, &rollout.run, event);
    Ok((vs, Finish::without_driving(rollout, Outcome::Held, now)))
}
