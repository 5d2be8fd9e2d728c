//! Where the address of Prometheus comes from.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the address of Prometheus comes from; an earlier one wins over a later one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AddressSource {
    /// `--prometheus`.
    Flag,
    /// `KUBECTL_CANARY_PROMETHEUS_URL`.
    Environment,
    /// The plan file.
    File,
    /// The user's own file, see `config`.
    Config,
    /// Nothing was said, and a Service of the cluster has the metrics.
    Discovery,
    /// Nothing was said, and it is where Istio's own add-on is.
    #[default]
    Default,
}

impl fmt::Display for AddressSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "--prometheus",
            Self::Environment => "KUBECTL_CANARY_PROMETHEUS_URL",
            Self::File => "plan file",
            Self::Config => "config file",
            Self::Discovery => "found in the cluster",
            Self::Default => "default",
        })
    }
}
