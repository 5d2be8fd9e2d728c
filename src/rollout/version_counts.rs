//! Requests of both versions, side by side.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verdict::Counts;

/// Requests of both versions over some time, side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionCounts {
    /// The stable version's.
    pub stable: Counts,
    /// The canary's.
    pub canary: Counts,
}

impl VersionCounts {
    /// What came on top of `before`, of each version.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            stable: self.stable.since(before.stable),
            canary: self.canary.since(before.canary),
        }
    }
}

impl std::ops::AddAssign for VersionCounts {
    fn add_assign(&mut self, other: Self) {
        self.stable += other.stable;
        self.canary += other.canary;
    }
}
