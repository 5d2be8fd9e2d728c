//! `promote`: open a gate, or take the next step, with or without waiting for a verdict.

use clap::Args;
use jiff::Timestamp;

use super::drive::HookArgs;
use super::prometheus_args::PrometheusArgs;
use crate::context::Context;
use crate::discovery::{is_tripped, is_unchanged, on_delegate, under_way};
use crate::driver::{Changed, Finish, change, take_over};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::rollout::{
    Action, EventKind, Intent, LastRollout, Outcome, Phase, Reason, Rollout, StopAt, next_step,
};

/// What `promote` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Promote {
    /// The VirtualService.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Shift all traffic to the canary at once.
    #[arg(long)]
    pub full: bool,
    /// Wait for the verdict of the step, and before it of the current one, unless that has passed; a
    /// regression is rolled back.
    #[arg(long, conflicts_with = "full")]
    pub wait: bool,
    /// What is run.
    #[command(flatten)]
    pub hooks: HookArgs,
    /// Where Prometheus is, and how to log in there.
    #[command(flatten)]
    pub prometheus: PrometheusArgs,
}

/// Moves a rollout on: one guarded PATCH, with or without a driver alive.
///
/// With `--wait` this process becomes the driver for one step, so no other may be alive. A step that nobody
/// has judged is judged before the next one is taken.
///
/// RBAC: `get` and `patch` on `virtualservices`; with `--wait` as `start`.
///
/// # Errors
/// If there is no rollout under way, or the API server does not take it.
pub async fn promote(
    context: &mut Context<'_>,
    args: &Promote,
) -> Result<(VirtualService, Finish), CommandError> {
    if args.wait {
        let stop_at = |before: &Rollout| StopAt {
            after_step: Some(before.step + 1),
            leave_at_gate: true,
        };
        return on_delegate(context, &args.name, async |context, name| {
            context.actor.known().await;
            let (now, by) = (context.clock.now(), context.actor.by());
            let has_hook = context.before_step.is_some();
            take_over(context, name, stop_at, |vs, rollout| {
                let is_judged = rollout.step_passed || rollout.phase == Phase::Waiting;
                let is_last = rollout.plan.is_last(rollout.step);
                let is_tripped = rollout.phase == Phase::Tripped;
                if is_tripped || is_judged && (is_last || !has_hook) {
                    return further(vs, &rollout, false, &by, now);
                }
                let next = rollout.in_phase(Phase::Progressing, now);
                if !is_judged {
                    return Ok(Intent::State(Box::new(next)));
                }
                // The next step is the driver's to take, which runs the command before it.
                is_unchanged(vs, &rollout)?;
                Ok(Intent::State(Box::new(next.passed())))
            })
            .await
        })
        .await;
    }
    context
        .unless_interrupted(async |context| {
            on_delegate(context, &args.name, async |context, name| {
                promote_one(context, name, args.full).await
            })
            .await
        })
        .await
}

async fn promote_one(
    context: &mut Context<'_>,
    name: &str,
    full: bool,
) -> Result<(VirtualService, Finish), CommandError> {
    context.actor.known().await;
    let (now, by) = (context.clock.now(), context.actor.by());
    let decide =
        |vs: &VirtualService, rollout: Rollout| further(vs, &rollout, full, &by, now).map(Some);
    let Changed { group, intent } = change(context, name, decide).await?;
    let vs = group.lead;
    let (rollout, outcome) = match intent {
        Some(Intent::Complete(rollout, _)) => (*rollout, Outcome::Promoted),
        Some(
            Intent::State(rollout)
            | Intent::Restore(rollout, _)
            | Intent::RestoreRest(rollout, _)
            | Intent::RestoreAndForget(rollout, _),
        ) => (*rollout, Outcome::StepSet),
        None => (under_way(&vs)?, Outcome::Held),
    };
    // Somebody who paused it at the last step, say, was faster than its end.
    let is_under_way = Rollout::read(&vs).is_ok_and(|shown| {
        let shown = shown.map(|shown| shown.run);
        shown.is_some_and(|run| run == rollout.run)
    });
    let outcome = match outcome {
        Outcome::Promoted if is_under_way => Outcome::StepSet,
        outcome => outcome,
    };
    let last = LastRollout::of_run(&vs, &rollout.run);
    if let Some(last) = last.filter(|last| matches!(last.outcome, Outcome::RolledBack(_))) {
        let finish = Finish {
            reasons: vec![Reason::Ended {
                outcome: last.outcome,
                by: last.changed_by,
            }],
            ..Finish::without_driving(rollout, last.outcome, now)
        };
        let run = finish.rollout.run.clone();
        context.emit(&vs, &run, finish.event(None));
        return Ok((vs, finish));
    }
    let event = EventKind::Promoted {
        by,
        exposure: rollout.exposure(),
    };
    context.emit(&vs, &rollout.run, event);
    let finish = Finish::without_driving(rollout, outcome, now);
    if outcome.ends_rollout() {
        let run = finish.rollout.run.clone();
        context.emit(&vs, &run, finish.event(None));
    }
    Ok((vs, finish))
}

/// What the rollout becomes by being promoted.
fn further(
    vs: &VirtualService,
    rollout: &Rollout,
    full: bool,
    by: &str,
    now: Timestamp,
) -> Result<Intent, CommandError> {
    if rollout.phase == Phase::Tripped {
        return Err(is_tripped(vs));
    }
    is_unchanged(vs, rollout)?;
    let action = if full {
        let last = rollout.plan.step_count() - 1;
        Action::Complete(Box::new(rollout.at_step(last, Phase::Progressing, now)))
    } else {
        next_step(rollout, now)
    };
    Ok(match action {
        Action::Complete(next) => {
            let ending = LastRollout::of(&next, Outcome::Promoted, by, now);
            Intent::Complete(next, ending)
        }
        Action::Write(next) => {
            let changed_by = Some(by.to_owned());
            Intent::State(Box::new(Rollout {
                changed_by,
                ..*next
            }))
        }
        Action::Wait | Action::RollBack { .. } | Action::Leave(_) => {
            unreachable!("the next step of a rollout is written or ends it")
        }
    })
}
