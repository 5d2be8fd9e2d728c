//! What another client changed on an object of a rollout. Pure.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::companion::ObjectName;
use crate::istio::{RouteDifference, VirtualService};

/// A change by another client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The companion that was changed; `null` for the lead.
    pub object: Option<ObjectName>,
    /// What was changed.
    pub change: ForeignChange,
}

/// What another client changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum ForeignChange {
    /// The chosen routes.
    Routes {
        /// The first difference.
        difference: RouteDifference,
    },
    /// The rollout's state was removed.
    StateRemoved,
    /// The rollout's state cannot be read any more.
    StateUnreadable {
        /// Why.
        message: String,
    },
    /// A companion has another state of the rollout than its lead.
    OtherState {
        /// The lead.
        lead: ObjectName,
    },
    /// The object was deleted.
    Deleted,
    /// The object was deleted and recreated.
    Recreated,
}

impl Drift {
    /// Of the companion `vs`.
    #[must_use]
    pub fn of_companion(self, vs: &VirtualService) -> Self {
        Self {
            object: Some(ObjectName::of(vs)),
            ..self
        }
    }
}

impl From<ForeignChange> for Drift {
    fn from(change: ForeignChange) -> Self {
        Self {
            object: None,
            change,
        }
    }
}

impl From<RouteDifference> for Drift {
    fn from(difference: RouteDifference) -> Self {
        ForeignChange::Routes { difference }.into()
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match &self.change {
            ForeignChange::Deleted => "was deleted",
            ForeignChange::Recreated => "was deleted and recreated",
            ForeignChange::OtherState { .. } => "has another state of the rollout than",
            ForeignChange::Routes { .. }
            | ForeignChange::StateRemoved
            | ForeignChange::StateUnreadable { .. } => "",
        };
        match (&self.object, verb) {
            (Some(object), "") => write!(f, "virtualservice {object}: ")?,
            (Some(object), verb) => write!(f, "virtualservice {object} {verb}")?,
            (None, "") => {}
            (None, verb) => write!(f, "the VirtualService {verb}")?,
        }
        match &self.change {
            ForeignChange::Routes { difference } => difference.fmt(f),
            ForeignChange::StateRemoved => f.write_str("the rollout state was removed"),
            ForeignChange::StateUnreadable { message } => f.write_str(message),
            ForeignChange::OtherState { lead } => write!(f, " {lead}"),
            ForeignChange::Deleted | ForeignChange::Recreated => Ok(()),
        }
    }
}
