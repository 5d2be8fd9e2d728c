//! What stays on the object when a rollout is over.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::companion::ObjectName;
use super::outcome::Outcome;
use super::state::Rollout;
use crate::istio::VirtualService;

/// The annotation that says how the last rollout ended.
pub const LAST: &str = "kubectl-canary.dev/last";

/// The end of a rollout, short, so that a GitOps diff stays small.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastRollout {
    /// The format's version.
    pub version: u32,
    /// The run.
    pub run: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// Who ended it.
    pub by: String,
    /// What ran: a digest of the plan.
    pub plan: String,
    /// The object that this one moved with, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead: Option<ObjectName>,
}

impl LastRollout {
    /// The end of `rollout`.
    pub fn of(rollout: &Rollout, outcome: Outcome, by: &str, at: Timestamp) -> Self {
        Self {
            version: 1,
            run: rollout.run.clone(),
            outcome,
            at,
            by: by.to_owned(),
            plan: rollout.plan.hash(),
            lead: rollout.lead.clone(),
        }
    }

    /// The last ending on `vs`; one that cannot be read is no ending, since nothing depends on it.
    pub fn read(vs: &VirtualService) -> Option<Self> {
        serde_json::from_str(vs.annotation(LAST)?).ok()
    }

    /// The annotation's text.
    pub fn to_annotation(&self) -> String {
        serde_json::to_string(self).expect("an ending is plain data with string keys")
    }
}
