//! What a person should know of the metrics although a verdict may rest on them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::flaw::Unclaimed;

/// Something about the metrics that limits what they show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum MetricsWarning {
    /// Only the versions' own proxies report: requests that never reach them are not seen.
    OnlyDestination,
    /// There are no durations, so slow requests are not judged.
    NoDurations {
        /// Why, in the words of the metrics' error.
        why: String,
    },
    /// Some requests have no readable response code and are left out: their failures would look like
    /// successes.
    SomeWithoutCode,
    /// The series are sums over proxies: what they count around the end of a proxy is left out.
    Sums,
    /// One version has no series although it should get requests, and the service has some of other workloads.
    OtherWorkloads {
        /// What the metrics have, and what the pods are called.
        unclaimed: Unclaimed,
    },
    /// Samples were no counts (NaN, infinite or negative) and are left out.
    SamplesLeftOut {
        /// How many.
        samples: usize,
    },
    /// Prometheus itself warns.
    Server {
        /// Its words.
        text: String,
    },
}

impl fmt::Display for MetricsWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyDestination => f.write_str(
                "only the versions' own proxies report: requests that never reach them are not seen",
            ),
            Self::NoDurations { why } => write!(f, "slow requests are not judged: {why}"),
            Self::SomeWithoutCode => {
                f.write_str("some requests have no readable response_code and are left out")
            }
            Self::Sums => f.write_str(
                "the series are sums over proxies (no label pod or instance): a scrape in which one goes away is left out",
            ),
            Self::OtherWorkloads { unclaimed } => write!(
                f,
                "one version has no series, while the service has series of {}, and the pods are {}",
                unclaimed.found.join(", "),
                unclaimed.wanted.join(", ")
            ),
            Self::SamplesLeftOut { samples: 1 } => {
                f.write_str("1 sample was no count and is left out")
            }
            Self::SamplesLeftOut { samples } => {
                write!(f, "{samples} samples were no counts and are left out")
            }
            Self::Server { text } => write!(f, "Prometheus warns: {text}"),
        }
    }
}
