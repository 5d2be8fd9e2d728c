//! The one road back.
//!
//! Whatever the cause (a regression, a signal, `abort` on another machine), it is this function
//! that restores the original weights. It needs nothing but the object, waits for no pod, metric or
//! lock, and may be repeated.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::cluster::{CallError, Cluster, ErrorKind};
use crate::driver::{Written, write};
use crate::istio::{MissingRoutes, VirtualService};
use crate::rollout::{Cause, EventKind, LastRollout, Outcome, Rollout, RouteChange};
use crate::rollout::{Intent, WriteError};
use crate::rollout::{Observed, compare, is_on_its_way_back};

/// The first pause between attempts, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often the object may turn out to be different before we pause between attempts.
const IMMEDIATE_RETRIES: u32 = 3;

/// In whose name traffic is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
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
pub struct RollbackRequest<'a> {
    /// The API server.
    pub cluster: &'a Cluster,
    /// The time.
    pub clock: &'a Clock,
    /// Why.
    pub cause: Cause,
    /// Who asks.
    pub by: &'a str,
    /// In whose name.
    pub initiator: Initiator,
    /// How long to keep trying.
    pub timeout: Duration,
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
    Ended(Box<LastRollout>),
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
    request: &RollbackRequest<'_>,
    mut vs: VirtualService,
    rollout: &Rollout,
    emit: &mut (dyn FnMut(EventKind) + Send),
) -> Result<Restored, RollbackError> {
    let began = Instant::now();
    let mut rollout = rollout.clone();
    let mut attempt = 1;
    let mut immediate = 0;
    let mut pause = FIRST_PAUSE;
    loop {
        let missing = rollout.original_on(&vs).err();
        let intent = towards(request, &rollout, &vs, missing)?;
        let changes = intent
            .changes(&vs)
            .map_err(|error| RollbackError::Impossible(error.to_string()))?;
        let failure = match write(request.cluster, &vs, &intent).await {
            Ok(Written::Done(now)) => {
                let took = began.elapsed();
                if let Some(missing) = missing {
                    return Err(RollbackError::Impossible(format!(
                        "{missing}; whatever is left of them has its original weights again"
                    )));
                }
                match read_back(request, &intent, now).await {
                    Ok(vs) => return Ok(Restored { vs, changes, took }),
                    Err(found) => {
                        vs = found;
                        reconsider(request, &mut rollout, &vs)?;
                        keeps_changing(&vs)
                    }
                }
            }
            Ok(Written::Changed(now)) => {
                vs = now;
                if let Observed::Ended(last) = compare(&rollout, &vs) {
                    return match last.outcome {
                        Outcome::RolledBack(_) => Ok(Restored {
                            vs,
                            changes: Vec::new(),
                            took: began.elapsed(),
                        }),
                        _ => Err(RollbackError::Ended(Box::new(last))),
                    };
                }
                reconsider(request, &mut rollout, &vs)?;
                keeps_changing(&vs)
            }
            Ok(Written::Failed(error)) => error,
            Err(WriteError::MissingRoutes(error)) => {
                return Err(RollbackError::Impossible(error.to_string()));
            }
            Err(error) => return Err(RollbackError::Impossible(error.to_string())),
        };
        if failure.kind == ErrorKind::Precondition && immediate < IMMEDIATE_RETRIES {
            immediate += 1;
            continue;
        }
        if failure.kind == ErrorKind::Missing {
            return Err(RollbackError::Impossible(failure.to_string()));
        }
        if began.elapsed() + pause > request.timeout {
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
    request: &RollbackRequest<'_>,
    rollout: &Rollout,
    vs: &VirtualService,
    missing: Option<MissingRoutes>,
) -> Result<Intent, RollbackError> {
    let nothing_left = || {
        let rest = rollout.original_of_rest(vs);
        rest.routes.is_empty() && rest.is_exactly(vs)
    };
    match (missing, request.initiator) {
        (None, _) if request.keeps_state => Ok(Intent::RestoreRest(Box::new(rollout.clone()))),
        (None, _) => {
            let outcome = Outcome::RolledBack(request.cause);
            let last = LastRollout::of(rollout, outcome, request.by, request.clock.now());
            Ok(Intent::Restore(Box::new(rollout.clone()), last))
        }
        (Some(missing), Initiator::Driver { overwrite: false }) => {
            Err(RollbackError::Impossible(missing.to_string()))
        }
        (Some(missing), _) if nothing_left() => Err(RollbackError::Impossible(missing.to_string())),
        (Some(_), _) => Ok(Intent::RestoreRest(Box::new(rollout.clone()))),
    }
}

fn keeps_changing(vs: &VirtualService) -> CallError {
    CallError {
        kind: ErrorKind::Precondition,
        attempted: format!("patch virtualservice {}", vs.full_name()),
        why: "the object keeps changing while it is patched".into(),
    }
}

/// Reads the object once more: what counts is what the server has, not what it answered.
///
/// A server that cannot be read right now has still confirmed the write, and that stands.
async fn read_back(
    request: &RollbackRequest<'_>,
    intent: &Intent,
    written: VirtualService,
) -> Result<VirtualService, VirtualService> {
    if !request.cluster.stores() {
        return Ok(written);
    }
    match request
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
    request: &RollbackRequest<'_>,
    rollout: &mut Rollout,
    vs: &VirtualService,
) -> Result<(), RollbackError> {
    match (compare(rollout, vs), request.initiator) {
        (Observed::InSync, _) => Ok(()),
        // Somebody promoted or paused while we decided: taking traffic back goes first.
        (Observed::Advanced(shown), _) => {
            *rollout = *shown;
            Ok(())
        }
        (Observed::Ended(last), _) => Err(RollbackError::Ended(Box::new(last))),
        (Observed::HolderChanged(holder), Initiator::Driver { .. }) => {
            Err(RollbackError::TakenOver(holder))
        }
        (Observed::Drifted { .. }, _) if is_on_its_way_back(rollout, vs) => Ok(()),
        (Observed::Drifted { manager, what }, Initiator::Driver { overwrite: false }) => {
            Err(RollbackError::Drifted { manager, what })
        }
        (Observed::HolderChanged(_), Initiator::Person) | (Observed::Drifted { .. }, _) => {
            if let Ok(Some(shown)) = Rollout::read(vs)
                && (shown.run == rollout.run || request.initiator == Initiator::Person)
            {
                *rollout = shown;
            }
            Ok(())
        }
        (Observed::Deleted, _) => Err(RollbackError::Impossible(format!(
            "virtualservice {} was deleted",
            vs.full_name()
        ))),
    }
}
