//! What runs of a version, as it is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::istio::Workloads;

/// The pods of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSummary {
    /// How many there are.
    pub pods: usize,
    /// How many of them are ready.
    pub ready: usize,
    /// The images that they run beside Istio's proxy: several while one replaces the other.
    pub images: Vec<String>,
}

impl From<&Workloads> for PodSummary {
    fn from(workloads: &Workloads) -> Self {
        Self {
            pods: workloads.pods,
            ready: workloads.ready,
            images: workloads.images.iter().cloned().collect(),
        }
    }
}
