//! The one road back.
//!
//! Whatever the cause (a regression, a signal, `abort` on another machine), it is this function
//! that restores the original weights. It needs nothing but the object, waits for no pod, metric or
//! lock, and may be repeated.

use std::time::Duration;

use tokio::time::Instant;

use super::intent::{Intent, WriteError, Written, write};
use super::sight::{Sight, compare, is_on_its_way_back};
use crate::clock::Clock;
use crate::cluster::{CallError, Class, Cluster};
use crate::record::{Cause, Ending, EventKind, Outcome, Rollout, RouteChange};
use crate::traffic::{MissingRoutes, VirtualService};

/// The first pause between attempts, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often the object may turn out to be different before we pause between attempts.
const SURPRISES: u32 = 3;

/// In whose name traffic is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The driver's: it stops where another driver took over, and where somebody changed the weights
    /// unless its policy says to write over that.
    Driver {
        /// Whether it does.
        overwrite: bool,
    },
    /// A person's: the original weights are restored whatever they are now and whoever drives.
    Person,
}

/// What a rollback needs to know.
pub struct Road<'a> {
    /// The API server.
    pub cluster: &'a Cluster,
    /// The time.
    pub clock: &'a Clock,
    /// Why.
    pub cause: Cause,
    /// Who asks.
    pub by: &'a str,
    /// In whose name.
    pub authority: Authority,
    /// How long to keep trying.
    pub patience: Duration,
    /// Whether the state stays on the object when its weights are back, because companions are not.
    pub keeps_state: bool,
}

/// The original weights are back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The object as it was read back.
    pub vs: VirtualService,
    /// What changed; nothing if it was restored already.
    pub changes: Vec<RouteChange>,
    /// From the start until the API server had the weights.
    pub took: Duration,
}

/// Why traffic could not be taken back.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// Another driver has it; it will do what is needed.
    #[error("{0} drives the rollout now")]
    TakenOver(String),
    /// Somebody else changed the routes, and nobody said to write over that.
    #[error("{manager} changed the routes: {what}")]
    Drifted {
        /// The field manager that wrote last.
        manager: String,
        /// What is different.
        what: String,
    },
    /// Somebody ended the rollout in another way meanwhile.
    #[error("the rollout has ended: {}", .0.outcome)]
    Ended(Box<Ending>),
    /// There is nothing left to restore.
    #[error("{0}")]
    Impossible(String),
    /// The API server did not take it in time.
    #[error("{0}")]
    OutOfTime(CallError),
}

/// Restores the original weights of `rollout`, starting from `vs`, the object as last seen.
///
/// # Errors
/// See [`RollbackError`]; traffic may then be anywhere between the last weights and the original.
pub async fn roll_back(
    road: &Road<'_>,
    mut vs: VirtualService,
    rollout: &Rollout,
    emit: &mut (dyn FnMut(EventKind) + Send),
) -> Result<Restored, RollbackError> {
    let began = Instant::now();
    let mut rollout = rollout.clone();
    let mut attempt = 1;
    let mut surprises = 0;
    let mut pause = FIRST_PAUSE;
    loop {
        let missing = rollout.original_on(&vs).err();
        let intent = towards(road, &rollout, &vs, missing)?;
        let changes = intent
            .changes(&vs)
            .map_err(|error| RollbackError::Impossible(error.to_string()))?;
        let failure = match write(road.cluster, &vs, &intent).await {
            Ok(Written::Done(now)) => {
                let took = began.elapsed();
                if let Some(missing) = missing {
                    return Err(RollbackError::Impossible(format!(
                        "{missing}; whatever is left of them has its original weights again"
                    )));
                }
                match read_back(road, &intent, now).await {
                    Ok(vs) => return Ok(Restored { vs, changes, took }),
                    Err(found) => {
                        vs = found;
                        reconsider(road, &mut rollout, &vs)?;
                        surprise(&vs)
                    }
                }
            }
            Ok(Written::NotAsBelieved(now)) => {
                vs = now;
                if let Sight::Ended(ending) = compare(&rollout, &vs) {
                    return match ending.outcome {
                        Outcome::RolledBack(_) => Ok(Restored {
                            vs,
                            changes: Vec::new(),
                            took: began.elapsed(),
                        }),
                        _ => Err(RollbackError::Ended(Box::new(ending))),
                    };
                }
                reconsider(road, &mut rollout, &vs)?;
                surprise(&vs)
            }
            Ok(Written::Failed(error)) => error,
            Err(WriteError::MissingRoutes(error)) => {
                return Err(RollbackError::Impossible(error.to_string()));
            }
            Err(error) => return Err(RollbackError::Impossible(error.to_string())),
        };
        if failure.class == Class::Precondition && surprises < SURPRISES {
            surprises += 1;
            continue;
        }
        if failure.class == Class::Missing {
            return Err(RollbackError::Impossible(failure.to_string()));
        }
        if began.elapsed() + pause > road.patience {
            return Err(RollbackError::OutOfTime(failure));
        }
        attempt += 1;
        emit(EventKind::Retrying {
            what: format!("restoring the weights of {}", vs.full_name()),
            why: failure.to_string(),
            attempt,
            manual: Some(Rollout::abort_command(&vs)),
        });
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What can be restored: everything, or what is left of the chosen routes, unless somebody else's
/// changes are not to be touched at all.
fn towards(
    road: &Road<'_>,
    rollout: &Rollout,
    vs: &VirtualService,
    missing: Option<MissingRoutes>,
) -> Result<Intent, RollbackError> {
    let nothing_left = || {
        let rest = rollout.original_of_rest(vs);
        rest.forms.is_empty() && rest.is_exactly(vs)
    };
    match (missing, road.authority) {
        (None, _) if road.keeps_state => Ok(Intent::RestoreRest(Box::new(rollout.clone()))),
        (None, _) => {
            let outcome = Outcome::RolledBack(road.cause);
            let ending = Ending::of(rollout, outcome, road.by, road.clock.now());
            Ok(Intent::Restore(Box::new(rollout.clone()), ending))
        }
        (Some(missing), Authority::Driver { overwrite: false }) => {
            Err(RollbackError::Impossible(missing.to_string()))
        }
        (Some(missing), _) if nothing_left() => Err(RollbackError::Impossible(missing.to_string())),
        (Some(_), _) => Ok(Intent::RestoreRest(Box::new(rollout.clone()))),
    }
}

fn surprise(vs: &VirtualService) -> CallError {
    CallError {
        class: Class::Precondition,
        attempted: format!("patch virtualservice {}", vs.full_name()),
        why: "the object keeps changing while it is patched".into(),
    }
}

/// Reads the object once more: what counts is what the server has, not what it answered.
///
/// A server that cannot be read right now has still confirmed the write, and that stands.
async fn read_back(
    road: &Road<'_>,
    intent: &Intent,
    written: VirtualService,
) -> Result<VirtualService, VirtualService> {
    if !road.cluster.stores() {
        return Ok(written);
    }
    match road
        .cluster
        .virtual_service(written.namespace(), written.name())
        .await
    {
        Ok(now) if intent.has_weights(&now) || now.is_older_than(&written) => Ok(now),
        Ok(now) => Err(now),
        Err(_) if intent.has_weights(&written) => Ok(written),
        Err(_) => Err(written),
    }
}

/// The object is not what we believed: may we still restore it, and from which state?
fn reconsider(
    road: &Road<'_>,
    rollout: &mut Rollout,
    vs: &VirtualService,
) -> Result<(), RollbackError> {
    match (compare(rollout, vs), road.authority) {
        (Sight::AsBelieved, _) => Ok(()),
        // Somebody promoted or paused while we decided: taking traffic back goes first.
        (Sight::Moved(shown), _) => {
            *rollout = *shown;
            Ok(())
        }
        (Sight::Ended(ending), _) => Err(RollbackError::Ended(Box::new(ending))),
        (Sight::TakenOver(holder), Authority::Driver { .. }) => {
            Err(RollbackError::TakenOver(holder))
        }
        (Sight::Drifted { .. }, _) if is_on_its_way_back(rollout, vs) => Ok(()),
        (Sight::Drifted { manager, what }, Authority::Driver { overwrite: false }) => {
            Err(RollbackError::Drifted { manager, what })
        }
        (Sight::TakenOver(_), Authority::Person) | (Sight::Drifted { .. }, _) => {
            if let Ok(Some(shown)) = Rollout::read(vs)
                && (shown.run == rollout.run || road.authority == Authority::Person)
            {
                *rollout = shown;
            }
            Ok(())
        }
        (Sight::Gone, _) => Err(RollbackError::Impossible(format!(
            "virtualservice {} was deleted",
            vs.full_name()
        ))),
    }
}
