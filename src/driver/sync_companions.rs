//! Bringing the companions to where their lead stands, without a driver that watches them.

use super::apply::{Failure, Next, Purpose, Retry, apply};
use crate::cluster::{CallError, Cluster, ErrorKind};
use crate::istio::VirtualService;
use crate::rollout::{
    Companion, Group, Intent, Observed, Rollout, RouteChange, blocker, changes_of, compare,
    is_in_place,
};

/// Why the companions are not where their lead is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SyncError {
    /// One of them cannot be patched, however often it is tried.
    #[error("virtualservice {object} cannot be patched together with the others: {why}")]
    Refused {
        /// `namespace/name`.
        object: String,
        /// Why.
        why: String,
    },
    /// The API server does not take it for the time being.
    #[error("virtualservice {object} was not patched together with the others: {why}")]
    Unreachable {
        /// `namespace/name`.
        object: String,
        /// What it said last.
        why: String,
    },
    /// Another process moved the lead meanwhile, and is responsible for the companions now.
    #[error("another client advanced the rollout")]
    MovedOn,
}

/// Brings every companion to where `goal` has brought the lead, in order, and then ends the rollout
/// on the lead where that is the goal. Without companions there is nothing to do.
///
/// # Errors
/// See [`SyncError`]. Those that come before it in the order have moved then.
pub async fn sync_companions(
    cluster: &Cluster,
    group: &mut Group,
    goal: &Intent,
) -> Result<Vec<RouteChange>, SyncError> {
    let rollout = goal.rollout().clone();
    let mut changes = Vec::new();
    for (companion, vs) in rollout.companions.iter().zip(&mut group.companions) {
        let before = vs.clone();
        let mut sync = Sync {
            cluster,
            lead: &group.lead,
            goal,
            companion,
            intent: goal.of_companion(&group.lead, companion),
        };
        if is_in_place(&sync.intent, vs) {
            continue;
        }
        *vs = apply(cluster, Retry::COMMAND, before.clone(), &mut sync).await?;
        changes.extend(changes_of(&sync.intent, &before));
    }
    if matches!(goal, Intent::Complete(..))
        && !rollout.companions.is_empty()
        && !goal.is_done(&group.lead)
    {
        let mut end = EndOnLead {
            goal,
            rollout: &rollout,
        };
        group.lead = apply(cluster, Retry::COMMAND, group.lead.clone(), &mut end).await?;
    }
    Ok(changes)
}

fn gave_up(vs: &VirtualService, failure: Failure) -> SyncError {
    let object = vs.full_name();
    match failure {
        Failure::Call(CallError {
            kind: ErrorKind::Precondition,
            why,
            ..
        }) => SyncError::Unreachable { object, why },
        Failure::Call(error) if error.may_pass() => SyncError::Unreachable {
            object,
            why: error.to_string(),
        },
        Failure::Call(error) => SyncError::Refused {
            object,
            why: error.to_string(),
        },
        Failure::Unwritable(error) => SyncError::Refused {
            object,
            why: error.to_string(),
        },
    }
}

/// One companion on its way to where the lead is.
struct Sync<'a> {
    cluster: &'a Cluster,
    lead: &'a VirtualService,
    goal: &'a Intent,
    companion: &'a Companion,
    intent: Intent,
}

impl Purpose for Sync<'_> {
    type Stop = SyncError;

    async fn intent(&mut self, _: &VirtualService) -> Result<Option<Intent>, SyncError> {
        Ok(Some(self.intent.clone()))
    }

    /// The next patch may rest only on what was read before the lead was seen to be in place.
    async fn changed(&mut self, now: VirtualService, _: &Intent) -> Result<Next, SyncError> {
        let shown = self
            .cluster
            .virtual_service(self.lead.namespace(), self.lead.name());
        let first = self.goal.before_companions(self.cluster.stores());
        if !shown.await.is_ok_and(|shown| first.is_done(&shown)) {
            return Err(SyncError::MovedOn);
        }
        if let Some(why) = blocker(self.goal, self.lead, self.companion, &now) {
            let object = now.full_name();
            return Err(SyncError::Refused { object, why });
        }
        Ok(match is_in_place(&self.intent, &now) {
            true => Next::Done(now),
            false => Next::Again(now),
        })
    }

    async fn failed(
        &mut self,
        vs: &VirtualService,
        failure: Failure,
    ) -> Result<VirtualService, SyncError> {
        Err(gave_up(vs, failure))
    }
}

/// The lead, whose companions have all arrived.
struct EndOnLead<'a> {
    goal: &'a Intent,
    rollout: &'a Rollout,
}

impl Purpose for EndOnLead<'_> {
    type Stop = SyncError;

    async fn intent(&mut self, _: &VirtualService) -> Result<Option<Intent>, SyncError> {
        Ok(Some(self.goal.clone()))
    }

    async fn changed(&mut self, now: VirtualService, _: &Intent) -> Result<Next, SyncError> {
        match compare(self.rollout, &now) {
            Observed::InSync => Ok(Next::Again(now)),
            _ => Err(SyncError::MovedOn),
        }
    }

    async fn failed(
        &mut self,
        vs: &VirtualService,
        failure: Failure,
    ) -> Result<VirtualService, SyncError> {
        Err(gave_up(vs, failure))
    }
}
