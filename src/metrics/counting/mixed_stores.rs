//! Whether series of several clusters or of several replicas of Prometheus are mixed in one store.
//!
//! A store that holds several clusters has the Deployments of the same name in all of them, and another
//! cluster's failures would be this canary's. A pair of Prometheus replicas without deduplication has every
//! series twice, and evidence counts twice with it. Neither shows in the sums; the labels show it.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::source::Labels;
use crate::plan::ScopeLabel;

/// Labels by which stores tell clusters apart.
pub(super) const CLUSTERS: [&str; 3] = ["cluster", "cluster_name", "k8s_cluster_name"];

/// Labels by which stores tell replicas of Prometheus, or of what receives from it, apart. They may differ
/// where targets are shared out among Prometheis; only the same series under two values is a copy.
pub(super) const REPLICAS: [&str; 6] = [
    "prometheus_replica",
    "replica",
    "prometheus",
    "receive",
    "receive_replica",
    "tenant_id",
];

/// A label with several values where it should have one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MixedLabel {
    /// The label.
    pub label: String,
    /// Its values.
    pub values: Vec<String>,
    /// Whether the same series stands there under several of them, so that it would count as often.
    pub copies: bool,
}

/// The values seen so far of the labels that should have one.
#[derive(Clone, Debug, Default)]
pub(crate) struct MixedStores {
    values: BTreeMap<&'static str, BTreeSet<String>>,
    /// The value under which each series was seen first, by a digest of its other labels.
    first: HashMap<(&'static str, u64), String>,
    copies: BTreeSet<&'static str>,
}

impl MixedStores {
    /// Notes the labels of a series that is counted, but for those that `scope` settles.
    pub(crate) fn note(&mut self, labels: &Labels, scope: &[ScopeLabel]) {
        for name in CLUSTERS.into_iter().chain(REPLICAS) {
            let Some(value) = labels.get(name) else {
                continue;
            };
            if scope.iter().any(|label| label.name == name) {
                continue;
            }
            self.values.entry(name).or_default().insert(value.clone());
            if REPLICAS.contains(&name) {
                let key = (name, others(labels, name));
                let first = self.first.entry(key).or_insert_with(|| value.clone());
                if first != value {
                    self.copies.insert(name);
                }
            }
        }
    }

    /// The first label that is mixed, if any is.
    pub(crate) fn mixed(&self) -> Option<MixedLabel> {
        let several = self.values.iter().filter(|(_, values)| values.len() > 1);
        let mut mixed =
            several.filter(|(name, _)| CLUSTERS.contains(name) || self.copies.contains(*name));
        let (name, values) = mixed.next()?;
        Some(MixedLabel {
            label: (*name).to_owned(),
            values: values.iter().cloned().collect(),
            copies: self.copies.contains(name),
        })
    }
}

/// A digest of all labels but one.
fn others(labels: &Labels, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for pair in labels.iter().filter(|(other, _)| other.as_str() != name) {
        pair.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(series: &[&str], scope: &str) -> Option<(String, Vec<String>, bool)> {
        let mut stores = MixedStores::default();
        let scope: Vec<ScopeLabel> = scope
            .split_whitespace()
            .map(|label| label.parse().unwrap())
            .collect();
        for text in series {
            let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
            let labels = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            stores.note(&labels.collect(), &scope);
        }
        let mixed = stores.mixed()?;
        Some((mixed.label, mixed.values, mixed.copies))
    }

    #[test]
    fn two_clusters_are_mixed_and_shards_are_not() {
        let both = || vec!["a".to_owned(), "b".to_owned()];
        for (series, scope, expected) in [
            (
                vec!["cluster=a pod=1", "cluster=b pod=2"],
                "",
                Some(("cluster", false)),
            ),
            (
                vec!["cluster=a pod=1", "cluster=b pod=2"],
                "cluster=*",
                None,
            ),
            (vec!["cluster=a pod=1", "cluster=a pod=2"], "", None),
            // The same series from both.
            (
                vec!["prometheus_replica=a pod=1", "prometheus_replica=b pod=1"],
                "",
                Some(("prometheus_replica", true)),
            ),
            // Each scrapes its own part of the targets.
            (
                vec!["prometheus_replica=a pod=1", "prometheus_replica=b pod=2"],
                "",
                None,
            ),
            (
                vec!["replica=a pod=1", "replica=b pod=1"],
                "replica=a",
                None,
            ),
        ] {
            let expected = expected.map(|(label, copies)| (label.to_owned(), both(), copies));
            assert_eq!(mixed(&series, scope), expected, "{series:?} {scope}");
        }
    }
}
