//! What stays on the object when a rollout is over.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::companion::{Companion, ObjectName};
use super::outcome::Outcome;
use super::record::{Unreadable, read_record};
use super::state::Rollout;
use crate::istio::{Destination, RouteGroup, Split, VirtualService, route_groups};
use crate::verdict::sequential::BaselineRecord;

/// The annotation that says how the last rollout ended.
pub const LAST: &str = "kubectl-canary.dev/last";

/// Whether an object, in JSON, may have a rollout or the record of one: what does not even mention us has
/// none, and need not be read.
pub(crate) fn is_marked_in(json: &str) -> bool {
    json.contains("kubectl-canary.dev")
}

/// The end of a rollout, short, so that a GitOps diff stays small.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRollout {
    /// The format's version.
    pub version: u32,
    /// The run.
    pub run: String,
    /// The stable version.
    pub stable: String,
    /// The canary.
    pub canary: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// Who ended it.
    pub changed_by: String,
    /// A digest of the plan.
    pub plan_hash: String,
    /// The lead of the group that this object was a companion in, if it was.
    pub lead: Option<ObjectName>,
    /// What it knew of how stable failed and how long its requests took.
    pub baseline: Option<BaselineRecord>,
    /// What `undo` restores; only after a promotion.
    pub before: Option<BeforePromotion>,
}

/// What `undo` has to know of a promotion: the versions, and the weights before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BeforePromotion {
    /// The stable version.
    pub stable: Destination,
    /// The canary.
    pub canary: Destination,
    /// The chosen routes with their original weights.
    #[serde(with = "route_groups")]
    #[schemars(with = "Vec<RouteGroup>")]
    pub routes: Vec<Split>,
    /// The objects that were shifted together with this one.
    pub companions: Vec<Companion>,
}

impl BeforePromotion {
    /// What is to be kept of `rollout`.
    pub fn of(rollout: &Rollout) -> Self {
        Self {
            stable: rollout.stable.clone(),
            canary: rollout.canary.clone(),
            routes: rollout.routes.clone(),
            companions: rollout.companions.clone(),
        }
    }
}

impl LastRollout {
    /// The version of the format that this binary writes, and the newest that it reads.
    pub const VERSION: u32 = 1;

    /// The end of `rollout`.
    pub fn of(rollout: &Rollout, outcome: Outcome, by: &str, at: Timestamp) -> Self {
        Self {
            version: Self::VERSION,
            run: rollout.run.clone(),
            stable: rollout.stable.to_string(),
            canary: rollout.canary.to_string(),
            outcome,
            at,
            changed_by: by.to_owned(),
            plan_hash: rollout.plan.hash(),
            lead: rollout.lead.clone(),
            baseline: rollout.baseline.clone(),
            before: (outcome == Outcome::Promoted).then(|| BeforePromotion::of(rollout)),
        }
    }

    /// How the last rollout on `vs` ended, if there was one.
    ///
    /// # Errors
    /// If the record is damaged or of a newer version.
    pub fn read(vs: &VirtualService) -> Result<Option<Self>, Unreadable> {
        let text = vs.annotation(LAST);
        text.map(|text| read_record(text, Self::VERSION))
            .transpose()
    }

    /// What the last rollout on `vs` knew of the service that `rollout` is about, if it can be used.
    pub fn baseline_for(vs: &VirtualService, rollout: &Rollout) -> Option<BaselineRecord> {
        let hosts = [&rollout.stable.host, &rollout.canary.host];
        let record = Self::read(vs).ok()??.baseline?;
        let is_of_it = hosts.iter().any(|host| host.to_string() == record.host);
        (is_of_it && record.is_usable(rollout.began)).then_some(record)
    }

    /// How run `run` ended on `vs`, if that is its last rollout and can be read.
    pub fn of_run(vs: &VirtualService, run: &str) -> Option<Self> {
        Self::read(vs).ok()?.filter(|last| last.run == run)
    }

    /// The annotation's text.
    pub fn to_annotation(&self) -> String {
        serde_json::to_string(self).expect("the record of an end is plain data with string keys")
    }
}
