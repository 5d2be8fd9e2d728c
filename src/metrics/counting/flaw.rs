//! What keeps metrics that do come from being used, and whose the requests are that neither version claims.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mixed_stores::MixedLabel;
use super::unit::Unit;
use super::versions::{SeriesOwner, Targets, label, version};
use crate::metrics::source::Labels;

/// So many names are kept of what neither version claims.
const NAMED: usize = 5;

/// Why metrics that are whole and fresh cannot be used all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The service has requests, of other workloads than those of either version.
    Unclaimed(Unclaimed),
    /// A label has several values where it should have one: of several clusters, or copies.
    Mixed(MixedLabel),
    /// No series tells a success from a failure, so that all look fine.
    NoCodes,
    /// gRPC answers have no status, so that all look fine.
    NoGrpcStatus,
}

/// Workloads by the names that the metrics have, and those that the pods have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unclaimed {
    /// What the metrics have.
    pub found: Vec<String>,
    /// What the pods are called.
    pub wanted: Vec<String>,
}

/// The names of the service's requests that belong to neither version.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnclaimedNames {
    names: BTreeSet<String>,
    /// Which versions any series names, and whether any request was answered by who knows which.
    named: BTreeSet<SeriesOwner>,
    is_nameless: bool,
}

impl UnclaimedNames {
    /// Notes a series of the service that belongs to neither version.
    pub(crate) fn note(&mut self, labels: &Labels) {
        if self.names.len() < NAMED {
            self.names.insert(name_of(labels));
        }
    }

    /// Notes a series that is counted for this owner.
    pub(crate) fn note_counted(&mut self, owner: SeriesOwner, labels: &Labels, unit: Unit) {
        match owner {
            SeriesOwner::Stable | SeriesOwner::Canary => {
                self.named.insert(owner);
            }
            // Something answered it, and no label says what.
            SeriesOwner::Unknown if unit.is_answered(labels) => {
                self.is_nameless = true;
                self.note(labels);
            }
            SeriesOwner::Unknown => {}
        }
    }

    /// Whether there are answers and not one of them names a version: divided by the weights, both versions would
    /// look alike.
    pub(crate) fn are_nameless(&self) -> bool {
        self.is_nameless && self.named.is_empty()
    }

    /// All of them beside those that the versions have, where one version has no series and the other some.
    pub(crate) fn in_place_of_one(&self, targets: &Targets) -> Option<Unclaimed> {
        self.against(targets).filter(|_| self.named.len() == 1)
    }

    /// All of them beside those that the versions have; `None` of nothing.
    pub(crate) fn against(&self, targets: &Targets) -> Option<Unclaimed> {
        (!self.names.is_empty()).then(|| Unclaimed {
            found: self.names.iter().cloned().collect(),
            wanted: targets.names(),
        })
    }
}

/// What tells of a workload in the labels of a series.
fn name_of(labels: &Labels) -> String {
    match (label(labels, "destination_workload"), version(labels)) {
        ("" | "unknown", "") => "no workload and no version".into(),
        ("" | "unknown", version) => format!("version {version}"),
        (workload, _) => workload.to_owned(),
    }
}
