//! Bringing the companions to where their lead stands, without somebody who watches.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::driver::{Written, write};
use crate::istio::VirtualService;
use crate::rollout::RouteChange;
use crate::rollout::{Intent, WriteError};
use crate::rollout::{Observed, compare};
use crate::rollout::{blocker, changes_of, is_in_place};

/// How often a write to a companion is tried.
const ATTEMPTS: u32 = 5;
/// The pause between attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Why the companions are not where their lead is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SyncError {
    /// One of them cannot be brought there, however often it is tried.
    #[error("virtualservice {object} cannot move along: {why}")]
    Refused {
        /// `namespace/name`.
        object: String,
        /// Why.
        why: String,
    },
    /// The API server does not take it for the time being.
    #[error("virtualservice {object} does not move along: {why}")]
    Unreachable {
        /// `namespace/name`.
        object: String,
        /// What it said last.
        why: String,
    },
    /// Somebody else moved the lead meanwhile, and has the companions to look after now.
    #[error("somebody else moved the rollout on")]
    MovedOn,
}

/// Brings every companion to where `goal` has brought the lead, in order, and then ends the rollout
/// on the lead where that is the goal. Without companions there is nothing to do.
///
/// # Errors
/// See [`SyncError`]. Those that come before it in the order have moved then.
pub async fn sync_companions(
    cluster: &Cluster,
    lead: &mut VirtualService,
    goal: &Intent,
    others: &mut [VirtualService],
) -> Result<Vec<RouteChange>, SyncError> {
    let rollout = goal.rollout().clone();
    let mut changes = Vec::new();
    for (companion, vs) in rollout.also.iter().zip(others.iter_mut()) {
        let intent = goal.of_companion(lead, companion);
        if is_in_place(&intent, vs) {
            continue;
        }
        let before = vs.clone();
        let first = goal.before_companions(cluster);
        write_to(cluster, vs, &intent, async |now| {
            let shown = cluster.virtual_service(lead.namespace(), lead.name());
            let is_ours = shown.await.is_ok_and(|shown| first.is_done(&shown));
            match blocker(goal, lead, companion, now) {
                _ if !is_ours => Err(SyncError::MovedOn),
                Some(why) => Err(refused(now, why)),
                None => Ok(()),
            }
        })
        .await?;
        changes.extend(changes_of(&intent, &before));
    }
    if matches!(goal, Intent::Complete(..)) && !rollout.also.is_empty() && !goal.is_done(lead) {
        write_to(cluster, lead, goal, async |now| {
            match compare(&rollout, now) {
                Observed::InSync => Ok(()),
                _ => Err(SyncError::MovedOn),
            }
        })
        .await?;
    }
    Ok(changes)
}

/// Writes until it is done, as often as is sensible without somebody watching.
async fn write_to(
    cluster: &Cluster,
    vs: &mut VirtualService,
    intent: &Intent,
    mut may_go_on: impl AsyncFnMut(&VirtualService) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        match write(cluster, vs, intent).await {
            Ok(Written::Done(now)) => {
                *vs = now;
                return Ok(());
            }
            Ok(Written::Changed(now)) => {
                // Only what was looked at together with the lead is a ground to write on.
                may_go_on(&now).await?;
                *vs = now;
                if is_in_place(intent, vs) {
                    return Ok(());
                }
                why = "the object keeps changing while it is patched".into();
            }
            Ok(Written::Failed(error)) if error.may_pass() => {
                why = error.to_string();
                tokio::time::sleep(PAUSE).await;
            }
            Ok(Written::Failed(error)) => return Err(refused(vs, error.to_string())),
            Err(error) => return Err(unwritable(vs, &error)),
        }
    }
    Err(SyncError::Unreachable {
        object: vs.full_name(),
        why,
    })
}

fn refused(vs: &VirtualService, why: String) -> SyncError {
    SyncError::Refused {
        object: vs.full_name(),
        why,
    }
}

fn unwritable(vs: &VirtualService, error: &WriteError) -> SyncError {
    refused(vs, error.to_string())
}
