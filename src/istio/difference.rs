//! What of an object's routes is not as it shall be, as far as requests notice.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::split::Weights;
use crate::plan::Percent;

/// The first difference that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum RouteDifference {
    /// A route has other weights.
    Weights {
        /// The route.
        route: String,
        /// Its weights.
        found: Weights,
        /// The weights that were set.
        expected: Weights,
    },
    /// A route mirrors requests, and this rollout did not set that.
    Mirrored {
        /// The route.
        route: String,
    },
    /// A route no longer mirrors requests to the canary.
    NotMirrored {
        /// The route.
        route: String,
        /// The percentage of its requests that was set.
        percent: Percent,
    },
    /// The rules that send testers or sticky users to the canary are others.
    CanaryRules {
        /// What their names begin with.
        name: String,
    },
    /// What the canary's destination says of the cookie for sticky users is not what was set.
    StickyCookie {
        /// The route.
        route: String,
    },
    /// Chosen routes were removed or rewritten.
    RoutesMissing {
        /// How many.
        missing: usize,
        /// Of how many.
        chosen: usize,
    },
}

impl fmt::Display for RouteDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |weights: &Weights| {
            let weights = weights.iter().map(|weight| weight.unwrap_or(0).to_string());
            weights.collect::<Vec<_>>().join("/")
        };
        match self {
            Self::Weights {
                route,
                found,
                expected,
            } => write!(
                f,
                "{route} has weights {}, this rollout knows {}",
                list(found),
                list(expected)
            ),
            Self::Mirrored { route } => {
                write!(
                    f,
                    "{route} mirrors requests, which this rollout did not set"
                )
            }
            Self::NotMirrored { route, percent } => write!(
                f,
                "{route} does not mirror {percent} % of its requests to the canary, as this rollout set"
            ),
            Self::CanaryRules { name } => write!(
                f,
                "the rules {name} to the canary alone are not as this rollout set them"
            ),
            Self::StickyCookie { route } => write!(
                f,
                "{route} does not have the canary's set-cookie as this rollout left it"
            ),
            Self::RoutesMissing { missing, chosen } => write!(
                f,
                "{missing} of the {chosen} chosen routes were deleted or send elsewhere now"
            ),
        }
    }
}
