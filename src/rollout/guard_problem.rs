//! What a guard has against a canary.

use std::mem::discriminant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::GuardGap;
use crate::verdict::Counts;

/// Why a guard holds a rollout or rolls it back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum GuardProblem {
    /// The value is larger than allowed.
    OverMax {
        /// The value; an infinite one is the largest number there is.
        value: f64,
        /// The largest value allowed.
        max: f64,
        /// How many readings in a row were out of bounds; none counts while the canary warms up.
        times: u32,
        /// How many it takes.
        limit: u32,
    },
    /// The value is smaller than allowed.
    UnderMin {
        /// The value; an infinite one is the smallest number there is.
        value: f64,
        /// The smallest value allowed.
        min: f64,
        /// How many readings in a row were out of bounds; none counts while the canary warms up.
        times: u32,
        /// How many it takes.
        limit: u32,
    },
    /// The canary's counters are worse than stable's, for certain.
    Worse {
        /// What stable counted since the rollout began; failures are what went wrong.
        stable: Counts,
        /// What the canary counted.
        canary: Counts,
    },
    /// The canary's counters look worse, and the next reading decides.
    MaybeWorse {
        /// What stable counted since the rollout began; failures are what went wrong.
        stable: Counts,
        /// What the canary counted.
        canary: Counts,
    },
    /// There is no data.
    NoData {
        /// Why.
        why: GuardGap,
    },
}

impl GuardProblem {
    /// Whether both say the same but for their numbers.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NoData { why: a }, Self::NoData { why: b }) => a.is_like(b),
            _ => discriminant(self) == discriminant(other),
        }
    }
}
