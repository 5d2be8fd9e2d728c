//! `abort`: the original weights, now, from nothing but the object.

use std::time::Duration;

use clap::Args;

use super::run_id::run_id;
use crate::cluster::{CallError, ErrorKind};
use crate::context::{Context, object_name};
use crate::discovery::{is_under_way, lead_of, moves_with, on_delegate};
use crate::driver::{
    Finish, GroupNotRestored, Initiator, NotRestored, RollbackError, RollbackRequest,
    roll_back_group, rollback_failed, state_unreadable, until_read,
};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::plan::{Exposure, HumanDuration};
use crate::report::object;
use crate::rollout::{Cause, EventKind, Group, LastRollout, ObjectName, Outcome, Reason, Rollout};

/// What `abort` takes.
#[derive(Args, Clone, Debug)]
pub struct Abort {
    /// The VirtualService.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Roll back this run only, as `start --run-id` named it; another one is left alone.
    #[arg(long, value_name = "ID", value_parser = run_id)]
    pub run: Option<String>,
    /// Treat "no rollout in progress" as a success.
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Leave chosen routes that were changed or renamed by others as they are, and end the rollout.
    #[arg(long)]
    pub forget: bool,
    /// How long to retry.
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub timeout: HumanDuration,
}

impl Abort {
    /// The rollout of this VirtualService, whichever run it is.
    pub fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            run: None,
            ignore_not_found: false,
            forget: false,
            timeout: HumanDuration::minutes(1),
        }
    }
}

/// What `abort` came to.
#[derive(Debug)]
pub enum Aborted {
    /// The original weights are back.
    RolledBack(Box<(VirtualService, Finish)>),
    /// Nothing was to be done, and why.
    Nothing(String),
}

impl Aborted {
    /// How the rollout ended, if it was this process that ended it.
    pub fn finish(self) -> Option<Finish> {
        match self {
            Self::RolledBack(done) => Some(done.1),
            Self::Nothing(_) => None,
        }
    }
}

/// Restores the original weights, reads them back and says how long it took.
///
/// A rollout that was rolled back already is no error. Neither a driver, nor a lease, nor metrics
/// are needed. Whatever cannot be read is read again until time is up.
///
/// RBAC: `get` and `patch` on `virtualservices`.
///
/// # Errors
/// [`CommandError::RollbackFailed`] if the weights could not be restored in time, or it could not be found
/// out whether there are any to restore.
pub async fn abort(context: &mut Context<'_>, args: &Abort) -> Result<Aborted, CommandError> {
    let named = ObjectName {
        namespace: context.namespace.clone(),
        name: object_name(&args.name)?.to_owned(),
    };
    let aborted = context.unless_interrupted(async |context| {
        until_read(
            context,
            &named,
            args.timeout.unsigned(),
            async |context, left| {
                on_delegate(context, &args.name, async |context, name| {
                    abort_one(context, name, args, left).await
                })
                .await
            },
        )
        .await
    });
    match aborted.await {
        Err(error @ (CommandError::Interrupted(_) | CommandError::Unconfirmed { .. })) => {
            Err(gave_up(&named, &error))
        }
        Err(CommandError::NoRollout { .. }) if args.ignore_not_found => Ok(Aborted::Nothing(
            format!("{} has no rollout in progress", object(&named.name)),
        )),
        Err(CommandError::Call(error))
            if args.ignore_not_found && error.kind == ErrorKind::Missing =>
        {
            Ok(Aborted::Nothing(format!(
                "{} not found",
                object(&named.name)
            )))
        }
        Err(CommandError::OtherRun { asked, found, .. }) if args.ignore_not_found => {
            Ok(Aborted::Nothing(format!(
                "{} has no run {asked} in progress; run {found} is left alone",
                object(&named.name)
            )))
        }
        done => done,
    }
}

/// A signal ended it before it was known that the weights are back.
fn gave_up(named: &ObjectName, error: &CommandError) -> CommandError {
    CommandError::RollbackFailed {
        object: named.to_string(),
        why: format!("{error}; it is not known whether the original weights are restored"),
        manual: format!("kubectl canary abort {} -n {}", named.name, named.namespace),
    }
}

async fn abort_one(
    context: &mut Context<'_>,
    name: &str,
    args: &Abort,
    timeout: Duration,
) -> Result<Aborted, CommandError> {
    let vs = context
        .cluster
        .virtual_service(&context.namespace, name)
        .await?;
    let rollout = Rollout::read(&vs).map_err(|error| state_unreadable(&vs, &error))?;
    let ending = LastRollout::read(&vs).ok().flatten();
    if let Some(asked) = &args.run
        && rollout.as_ref().is_none_or(|rollout| rollout.run != *asked)
        && let Some(ending) = ending.as_ref().filter(|ending| ending.run == *asked)
        && ending.lead.is_none()
    {
        return Ok(Aborted::Nothing(has_ended(&vs, ending, rollout.as_ref())));
    }
    let Some(rollout) = rollout else {
        if let Some(ending) = &ending
            && let Some((lead, rollout)) = lead_of(context, &ending.run, &ending.lead).await?
        {
            // It is at its end, and the others are not.
            return Err(moves_with(&vs, ObjectName::of(&lead), &rollout));
        }
        return match ending {
            Some(LastRollout {
                outcome: Outcome::RolledBack(_),
                run,
                ..
            }) if args.run.as_ref().is_none_or(|asked| *asked == run) => Ok(Aborted::Nothing(
                format!("{} already rolled back", object(vs.name())),
            )),
            _ => Err(CommandError::NoRollout {
                name: vs.name().to_owned(),
                namespace: vs.namespace().to_owned(),
            }),
        };
    };
    if let Some(asked) = args.run.as_ref().filter(|asked| **asked != rollout.run) {
        return Err(CommandError::OtherRun {
            object: Box::new(ObjectName::of(&vs)),
            asked: asked.clone(),
            found: rollout.run,
            holder: rollout.holder,
        });
    }
    if rollout.lead.is_some() {
        match lead_of(context, &rollout.run, &rollout.lead).await? {
            Some(_) => return Err(is_under_way(&vs, &rollout)),
            // Whatever became of the lead: what is known of this object stands on it.
            None => alone(context, &vs, &rollout),
        }
    }
    roll_back(context, vs, rollout, args, timeout).await
}

async fn roll_back(
    context: &mut Context<'_>,
    vs: VirtualService,
    rollout: Rollout,
    args: &Abort,
    timeout: Duration,
) -> Result<Aborted, CommandError> {
    // Whatever is known by now: nothing waits for a name.
    let (clock, by) = (context.clock.clone(), context.actor.by());
    let cluster = context.cluster.clone();
    let request = RollbackRequest {
        cluster: &cluster,
        clock: &clock,
        cause: Cause::Request,
        by: &by,
        initiator: Initiator::Person {
            any_run: args.run.is_none(),
            forget: args.forget,
        },
        timeout,
    };
    let group = Group::of_lead(vs);
    let mut tell = |event| context.emit(&group.lead, &rollout.run, event);
    let restored = roll_back_group(&request, &group, &rollout, None, &mut tell).await;
    let restored = restored.map_err(|error| not_restored(&group.lead, error))?;
    let finish = Finish {
        outcome: Outcome::RolledBack(restored.cause),
        exposure: Exposure::Share(rollout.share_after(restored.cause)),
        total_counts: None,
        rollback: Some(restored.took),
        reasons: vec![Reason::Requested { by: by.clone() }],
        warnings: Vec::new(),
        signal: None,
        at: context.clock.now(),
        rollout,
    };
    let run = finish.rollout.run.clone();
    context.emit(&restored.vs, &run, finish.event(None));
    Ok(Aborted::RolledBack(Box::new((restored.vs, finish))))
}

/// What kept the weights from being restored; a run that was replaced meanwhile is looked at anew.
fn not_restored(vs: &VirtualService, error: GroupNotRestored) -> CommandError {
    let other = |left: &&NotRestored| matches!(left.error, RollbackError::OtherRun(_));
    match error.0.iter().find(other) {
        Some(NotRestored { error: other, .. }) => CommandError::Call(CallError {
            kind: ErrorKind::Precondition,
            attempted: format!("patch virtualservice {}", vs.full_name()),
            why: other.to_string(),
        }),
        None => rollback_failed(vs, error),
    }
}

/// Says how the run that was named ended, and that the present one is none of its business.
fn has_ended(vs: &VirtualService, ending: &LastRollout, now: Option<&Rollout>) -> String {
    let LastRollout { run, outcome, .. } = ending;
    let ended = format!(
        "{}: run {run} has already ended: {outcome}",
        object(vs.name())
    );
    match now {
        Some(other) => format!("{ended}; run {} is left alone", other.run),
        None => ended,
    }
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
