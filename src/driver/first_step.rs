//! The first write of a rollout: before it nothing has moved, after it there is a way back to know.

use super::sync_companions::sync_companions;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::sync_companions::SyncError;
use super::undo_start::undo_start;
use crate::cluster::CallError;
use crate::context::Context;
use crate::discovery::is_under_way;
use crate::driver::emit;
use crate::driver::{Written, write};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::rollout::{Action, Intent, Observed, WriteError, compare, enter};
use crate::rollout::{Cause, EventKind, LastRollout, Outcome, Rollout, RouteChange};
use crate::signals::Signal;

/// How often the write is tried before the rollout has not begun.
const ATTEMPTS: u32 = 5;
/// The pause between attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a write that is under way may still take once a signal has come.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// A rollout that has begun.
pub struct Begun {
    /// The object with the state.
    pub vs: VirtualService,
    /// What moves with it, in order.
    pub companions: Vec<VirtualService>,
    /// Whether all of them have taken the first step; if not, whoever drives finds out why.
    pub whole: bool,
}

impl Begun {
    /// The first step stands on the lead; nobody has looked at the others since.
    fn unsure(vs: VirtualService, companions: Vec<VirtualService>) -> Self {
        let whole = companions.is_empty();
        Self {
            vs,
            companions,
            whole,
        }
    }
}

/// Takes the first step of `rollout`, which is `next`: it stands on the objects that are returned, or
/// is over already where that step was all.
///
/// # Errors
/// Traffic is untouched then, or as it was again, or the error says that nobody can tell.
pub async fn begin(
    context: &mut Context<'_>,
    mut vs: VirtualService,
    companions: Vec<VirtualService>,
    rollout: &Rollout,
    next: Rollout,
) -> Result<Begun, CommandError> {
    let goal = match enter(next.clone()) {
        Action::Complete(next) => {
            let last = LastRollout::of(&next, Outcome::Promoted, &next.holder, context.clock.now());
            Intent::Complete(next, last)
        }
        _ => Intent::State(Box::new(next.clone())),
    };
    let intent = goal.before_companions(&context.cluster);
    let mut attempt = 1;
    loop {
        let (before, began) = (vs.clone(), Instant::now());
        let (written, signal) = write_once(context, &vs, &intent).await?;
        let failure = match written {
            Some(Ok(Written::Done(now))) => {
                if let Some(signal) = signal {
                    context.signals.put_back(signal);
                }
                let mut routes = intent.changes(&before).unwrap_or_default();
                let mut begun = Begun {
                    vs: now,
                    companions,
                    whole: true,
                };
                routes.extend(bring_along(context, &mut begun, &goal).await?);
                let event = EventKind::StepStarted {
                    step: next.step + 1,
                    steps: next.plan.len(),
                    weight: next.weight(),
                    reach: next.reach(),
                    routes,
                    took_millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                };
                emit(context, &begun.vs, &next.run, event);
                return Ok(begun);
            }
            Some(Ok(Written::Changed(now))) if signal.is_none() => {
                if is_ours(&next, &now)? {
                    return Ok(Begun::unsure(now, companions));
                }
                vs = still_as_it_was(rollout, now)?;
                None
            }
            Some(Ok(Written::Failed(error))) if signal.is_none() && error.may_pass() => Some(error),
            Some(Ok(Written::Failed(error))) if signal.is_none() => return Err(error.into()),
            Some(Err(error)) => return Err(unwritable(&vs, error)),
            Some(Ok(Written::Changed(_) | Written::Failed(_))) | None => {
                let vs = interrupted(context, &vs, &next, signal).await?;
                return Ok(Begun::unsure(vs, companions));
            }
        };
        attempt += 1;
        if attempt > ATTEMPTS {
            return Err(given_up(&vs, failure));
        }
        if let Some(error) = failure {
            let event = EventKind::Retrying {
                what: format!("changing the weights of {}", vs.full_name()),
                why: error.to_string(),
                attempt,
                manual: None,
            };
            emit(context, &vs, &next.run, event);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Takes the same step on all that moves along; where one of them cannot, takes back what has moved.
///
/// A signal ends it: whoever drives finds in the lead's state where the others belong.
async fn bring_along(
    context: &mut Context<'_>,
    begun: &mut Begun,
    goal: &Intent,
) -> Result<Vec<RouteChange>, CommandError> {
    let cluster = context.cluster.clone();
    let (lead, others) = (&mut begun.vs, &mut begun.companions);
    let followed = tokio::select! {
        biased;
        signal = context.signals.next(), if !others.is_empty() => Err(signal),
        followed = sync_companions(&cluster, lead, goal, others) => Ok(followed),
    };
    let source = match followed {
        Err(signal) => {
            context.signals.put_back(signal);
            begun.whole = false;
            return Ok(Vec::new());
        }
        Ok(Ok(changes)) => return Ok(changes),
        Ok(Err(SyncError::MovedOn)) => {
            begun.whole = false;
            return Ok(Vec::new());
        }
        Ok(Err(source)) => source,
    };
    let (vs, others) = (begun.vs.clone(), begun.companions.clone());
    let lead = vs.full_name();
    undo_start(context, vs, others, goal.rollout(), Cause::Refused).await?;
    Err(CommandError::NotStarted {
        lead,
        source: Box::new(source),
    })
}

/// One attempt. A signal before it keeps it from being made; one that comes while it is under way
/// waits a little for its answer.
async fn write_once(
    context: &mut Context<'_>,
    vs: &VirtualService,
    intent: &Intent,
) -> Result<(Option<Result<Written, WriteError>>, Option<Signal>), CommandError> {
    if let Some(signal) = context.signals.pending() {
        return Err(CommandError::Interrupted(signal));
    }
    let mut writing = std::pin::pin!(write(&context.cluster, vs, intent));
    tokio::select! {
        biased;
        written = &mut writing => Ok((Some(written), None)),
        signal = context.signals.next() => {
            let written = timeout(LAST_ANSWER, &mut writing).await;
            Ok((written.ok(), Some(signal)))
        }
    }
}

/// A signal came while the write was under way, and its answer does not tell what became of it.
async fn interrupted(
    context: &mut Context<'_>,
    vs: &VirtualService,
    next: &Rollout,
    signal: Option<Signal>,
) -> Result<VirtualService, CommandError> {
    let signal = signal.unwrap_or(Signal::Interrupt);
    let asked = context.cluster.virtual_service(vs.namespace(), vs.name());
    let Ok(Ok(now)) = timeout(LAST_ANSWER, asked).await else {
        return Err(CommandError::Conflict(format!(
            "{} while the first step was set, and the API server does not say whether it is (try: {})",
            signal.name(),
            Rollout::abort_command(vs)
        )));
    };
    if is_ours(next, &now)? {
        context.signals.put_back(signal);
        return Ok(now);
    }
    Err(CommandError::Interrupted(signal))
}

/// Whether the object tells of this very rollout, under way or over.
fn is_ours(next: &Rollout, now: &VirtualService) -> Result<bool, CommandError> {
    let shown = Rollout::read(now)?;
    let ended = LastRollout::read(now).is_some_and(|last| last.run == next.run);
    Ok(ended || shown.is_some_and(|shown| shown.run == next.run && shown.holder == next.holder))
}

/// The object changed under our hands: may the rollout begin on what it is now?
fn still_as_it_was(rollout: &Rollout, now: VirtualService) -> Result<VirtualService, CommandError> {
    if let Some(shown) = Rollout::read(&now)? {
        return Err(is_under_way(&now, &shown));
    }
    let object = now.full_name();
    match compare(rollout, &now) {
        Observed::InSync => Ok(now),
        Observed::Drifted { manager, what } => Err(CommandError::Conflict(format!(
            "{manager} changed virtualservice {object} while the rollout started: {what} (try: again)"
        ))),
        Observed::Advanced(_)
        | Observed::HolderChanged(_)
        | Observed::Ended(_)
        | Observed::Deleted => Err(CommandError::Conflict(format!(
            "virtualservice {object} changed while the rollout started (try: again)"
        ))),
    }
}

fn unwritable(vs: &VirtualService, error: WriteError) -> CommandError {
    match error {
        WriteError::State(error) => error.into(),
        error @ (WriteError::MissingRoutes(_) | WriteError::TooLarge(_)) => {
            CommandError::Conflict(format!("virtualservice {}: {error}", vs.full_name()))
        }
    }
}

fn given_up(vs: &VirtualService, failure: Option<CallError>) -> CommandError {
    match failure {
        Some(error) => error.into(),
        None => CommandError::Conflict(format!(
            "virtualservice {} keeps changing while it is patched (try: again in a moment)",
            vs.full_name()
        )),
    }
}
