//! Where a rollout stands, and what its weights were over time.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::Exposure;

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The step is being judged.
    Progressing,
    /// The step is over; `promote` takes the next.
    Waiting,
    /// Held at this weight by `pause`.
    Paused,
    /// The canary looked bad and gets nothing until that is confirmed or cleared.
    Tripped,
}

/// A period at one weight: what another process needs to rebuild the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Segment {
    /// What the canary got.
    pub exposure: Exposure,
    /// Since when.
    pub since: Timestamp,
}
