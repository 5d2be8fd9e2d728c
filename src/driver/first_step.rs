//! The first write of a rollout: before it nothing has moved, after it a rollback knows where to.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::apply::{Failure, Next, Purpose, Retry, Written, apply, write};
use super::change_state::not_written;
use super::finish::millis;
use super::steps::step_started;
use super::sync_companions::{SyncError, sync_companions};
use super::undo_start::undo_start;
use crate::cluster::{CallError, ErrorKind};
use crate::context::Context;
use crate::discovery::is_under_way;
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::rollout::{
    Action, Cause, EventKind, Group, Intent, LastRollout, Observed, Outcome, Rollout, RouteChange,
    compare, enter,
};
use crate::signals::{Signal, Signals};

/// How long it is tried to find out what became of the first step.
const SETTLE: Duration = Duration::from_secs(20);
/// How long to wait before looking again.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// A rollout that has begun.
pub struct Begun {
    /// The objects; the lead holds the state.
    pub group: Group,
    /// Whether all of them have taken the first step; if not, the driver finds out why.
    pub whole: bool,
}

/// Takes the first step of `rollout`, which is `next`: it stands on the objects that are returned, or
/// is over already where that step was all.
///
/// # Errors
/// Traffic is untouched then, or as it was again, or the error says that the outcome is unknown.
pub async fn begin(
    context: &mut Context<'_>,
    mut group: Group,
    rollout: &Rollout,
    next: &Rollout,
) -> Result<Begun, CommandError> {
    let goal = match enter(next.clone()) {
        Action::Complete(next) => {
            let now = context.clock.now();
            let last = LastRollout::of(&next, Outcome::Promoted, &next.holder, now);
            Intent::Complete(next, last)
        }
        _ => Intent::State(Box::new(next.clone())),
    };
    let cluster = context.cluster.clone();
    let began = Instant::now();
    let mut first = FirstStep {
        rollout,
        next,
        intent: goal.before_companions(cluster.stores()),
        routes: Vec::new(),
        found: false,
        unclear: false,
        context,
    };
    group.lead = apply(&cluster, Retry::COMMAND, group.lead, &mut first).await?;
    let FirstStep {
        mut routes, found, ..
    } = first;
    if found {
        // It stands on the lead; the others have not been read since.
        let whole = group.companions.is_empty();
        return Ok(Begun { group, whole });
    }
    let companions = bring_companions(context, &mut group, &goal).await?;
    let whole = companions.is_some();
    routes.extend(companions.into_iter().flatten());
    let event = step_started(next, routes, millis(began.elapsed()));
    context.emit(&group.lead, &next.run, event);
    Ok(Begun { group, whole })
}

/// Takes the same step on the companions; where one of them cannot, rolls back what has moved.
///
/// A signal ends it with `None`: a driver finds in the lead's state where the others belong.
async fn bring_companions(
    context: &mut Context<'_>,
    group: &mut Group,
    goal: &Intent,
) -> Result<Option<Vec<RouteChange>>, CommandError> {
    let cluster = context.cluster.clone();
    let alone = group.companions.is_empty();
    let synced = tokio::select! {
        biased;
        signal = context.signals.next(), if !alone => Err(signal),
        synced = sync_companions(&cluster, group, goal) => Ok(synced),
    };
    let source = match synced {
        Err(signal) => {
            context.signals.put_back(signal);
            return Ok(None);
        }
        Ok(Ok(changes)) => return Ok(Some(changes)),
        Ok(Err(SyncError::MovedOn)) => return Ok(None),
        Ok(Err(source)) => source,
    };
    let (moved, rollout) = moved_before(group, goal.rollout(), &source);
    undo_start(context, moved, &rollout, Cause::Refused).await?;
    Err(CommandError::NotStarted {
        lead: group.lead.full_name(),
        why: source.to_string(),
    })
}

/// The part of a group that its first step may have reached when `error` ended it: what it never came to is
/// not its to restore.
fn moved_before(group: &Group, rollout: &Rollout, error: &SyncError) -> (Group, Rollout) {
    let (mut group, mut rollout) = (group.clone(), rollout.clone());
    let of = |object: &String| {
        let mut companions = rollout.companions.iter();
        companions.position(|companion| companion.object.to_string() == *object)
    };
    let reached = match error {
        SyncError::Refused { object, .. } => of(object),
        SyncError::Unreachable { object, .. } => of(object).map(|place| place + 1),
        SyncError::MovedOn => None,
    };
    if let Some(reached) = reached {
        rollout.companions.truncate(reached);
        group.companions.truncate(reached);
    }
    (group, rollout)
}

/// The first write under way.
struct FirstStep<'a, 'c> {
    context: &'a mut Context<'c>,
    /// The rollout before its first step.
    rollout: &'a Rollout,
    next: &'a Rollout,
    intent: Intent,
    /// What the last attempt changes.
    routes: Vec<RouteChange>,
    /// Whether the step was found on the object although no answer had confirmed it.
    found: bool,
    /// Whether an attempt was made whose answer does not tell what became of it.
    unclear: bool,
}

impl Purpose for FirstStep<'_, '_> {
    type Stop = CommandError;

    async fn intent(&mut self, vs: &VirtualService) -> Result<Option<Intent>, CommandError> {
        self.routes = self.intent.changes(vs).unwrap_or_default();
        let now = self.context.clock.now();
        Ok(Some(self.intent.attempted_at(self.rollout, now)))
    }

    fn unclear(&mut self) {
        self.unclear = true;
    }

    async fn changed(&mut self, now: VirtualService, _: &Intent) -> Result<Next, CommandError> {
        if is_ours(self.next, &now)? {
            self.found = true;
            return Ok(Next::Done(now));
        }
        Ok(Next::Again(still_as_it_was(self.rollout, now)?))
    }

    async fn failed(
        &mut self,
        vs: &VirtualService,
        failure: Failure,
    ) -> Result<VirtualService, CommandError> {
        self.unclear |= failure.is_unknown();
        if self.unclear
            && let Some(now) = self.settle(vs, None).await?
        {
            return Ok(now);
        }
        Err(not_written(vs, failure))
    }

    fn signals(&mut self) -> Option<&mut Signals> {
        Some(&mut self.context.signals)
    }

    async fn interrupted(
        &mut self,
        vs: &VirtualService,
        signal: Signal,
        sent: bool,
    ) -> Result<VirtualService, CommandError> {
        self.unclear |= sent;
        if self.unclear
            && let Some(now) = self.settle(vs, Some(signal)).await?
        {
            self.context.signals.put_back(signal);
            return Ok(now);
        }
        Err(CommandError::Interrupted(signal))
    }

    fn retrying(&mut self, vs: &VirtualService, failure: &CallError, attempt: u32) {
        self.unclear |= failure.kind == ErrorKind::Unknown;
        let event = EventKind::Retrying {
            what: format!("changing the weights of {}", vs.full_name()),
            why: failure.to_string(),
            attempt,
            manual: None,
        };
        self.context.emit(vs, &self.next.run, event);
    }
}

impl FirstStep<'_, '_> {
    /// Finds out what became of an attempt whose answer is not known: the object, if the rollout stands on it,
    /// and nothing where it does not and cannot any more.
    ///
    /// An attempt that has not arrived yet may still arrive. So a record that this run has ended is written
    /// where its first step is missing; after it, the step's own tests keep it out.
    ///
    /// # Errors
    /// [`CommandError::Unconfirmed`] if the API server does not tell in time, or a further signal comes first.
    async fn settle(
        &mut self,
        vs: &VirtualService,
        signal: Option<Signal>,
    ) -> Result<Option<VirtualService>, CommandError> {
        let cluster = self.context.cluster.clone();
        let last = LastRollout::of(
            self.rollout,
            Outcome::Interrupted,
            &self.rollout.holder,
            self.context.clock.now(),
        );
        let (rollout, next) = (self.rollout, self.next);
        let ended = Intent::Restore(Box::new(rollout.clone()), last);
        let settling = async {
            loop {
                match cluster.virtual_service(vs.namespace(), vs.name()).await {
                    Ok(now) if is_ours(next, &now)? => return Ok(Some(now)),
                    // Whatever made it another object keeps the step out as well.
                    Ok(now) if compare(rollout, &now) != Observed::InSync => return Ok(None),
                    Ok(now) => {
                        let written = write(&cluster, &now, &ended).await;
                        if let Ok(Written::Done(_)) = written {
                            return Ok(None);
                        }
                    }
                    Err(gone) if gone.kind == ErrorKind::Missing => return Ok(None),
                    Err(_) => {}
                }
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
        };
        let settled = tokio::select! {
            biased;
            settled = timeout(SETTLE, settling) => settled.ok(),
            _ = self.context.signals.next() => None,
        };
        match settled {
            Some(Ok(now)) => {
                self.found = now.is_some();
                Ok(now)
            }
            Some(Err(error)) => Err(error),
            None => Err(CommandError::Unconfirmed {
                object: vs.full_name(),
                what: match signal {
                    Some(signal) => format!("{} while the first step was set", signal.name()),
                    None => "the first step was set".to_owned(),
                },
                next: Rollout::abort_command(vs),
            }),
        }
    }
}

/// Whether the object tells of this very rollout, under way or over; not if it never began.
fn is_ours(next: &Rollout, now: &VirtualService) -> Result<bool, CommandError> {
    let shown = Rollout::read(now)?;
    let last = LastRollout::of_run(now, &next.run);
    let ended = last.is_some_and(|last| last.outcome != Outcome::Interrupted);
    Ok(ended || shown.is_some_and(|shown| shown.run == next.run && shown.holder == next.holder))
}

/// The object has changed: may the rollout begin on what it is now?
fn still_as_it_was(rollout: &Rollout, now: VirtualService) -> Result<VirtualService, CommandError> {
    if let Some(shown) = Rollout::read(&now)? {
        return Err(is_under_way(&now, &shown));
    }
    let object = now.full_name();
    match compare(rollout, &now) {
        Observed::InSync => Ok(now),
        Observed::Drifted { manager, drift } => Err(CommandError::Conflict(format!(
            "{manager} changed virtualservice {object} while the rollout started: {drift} (try: the same command again)"
        ))),
        Observed::Advanced(_)
        | Observed::HolderChanged(_)
        | Observed::Ended(_)
        | Observed::Deleted => Err(CommandError::Conflict(format!(
            "virtualservice {object} changed while the rollout started (try: the same command again)"
        ))),
    }
}
