//! Where a rollout stands, and what its weights were over time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::Percent;

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The step is being judged.
    Progressing,
    /// The step is over; `promote` takes the next.
    Waiting,
    /// Somebody asked to stay at this weight.
    Paused,
    /// The canary looked bad and gets nothing until that is confirmed or cleared.
    Tripped,
}

/// A stretch of time at one weight: what a later run needs to rebuild the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// The canary's percentage.
    pub weight: Percent,
    /// How many requests were copied to it, where any were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<Percent>,
    /// Since when.
    pub since: Timestamp,
}

impl Segment {
    /// The canary's part of what both versions got, copies included, 0 to 1.
    pub fn exposure(&self) -> f64 {
        match self.mirrored {
            // Copies come on top of what stable gets anyway.
            Some(share) => share.share() / (1.0 + share.share()),
            None => self.weight.share(),
        }
    }
}
