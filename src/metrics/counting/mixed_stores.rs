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

use super::target::{is_istio, is_sum};
use super::versions::label;
use crate::metrics::source::Labels;
use crate::plan::ScopeLabel;

/// Labels by which stores tell clusters apart.
pub(super) const CLUSTERS: [&str; 9] = [
    "cluster",
    "cluster_name",
    "cluster_id",
    "k8s_cluster",
    "k8s_cluster_name",
    "kube_cluster",
    "kubernetes_cluster",
    "datacenter",
    "region",
];

/// Labels by which stores tell replicas of Prometheus, or of what receives from it, apart. They may differ
/// where targets are shared out among Prometheis; only the same series under two values is a copy.
pub(super) const REPLICAS: [&str; 8] = [
    "prometheus_replica",
    "replica",
    "__replica__",
    "ha_replica",
    "prometheus",
    "receive",
    "receive_replica",
    "tenant_id",
];

/// Labels that a scrape configuration gives, in which only those differ that come of scraping one proxy several
/// times: one job for all pods and one for the mesh, a target for each port of a pod, two Services of a pod.
const SCRAPED_BY: [&str; 5] = ["job", "endpoint", "container", "service", "instance"];

/// What stands for a label that a series does not have.
const NONE: &str = "none";

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
    /// By what each proxy's series was seen to be scraped first, by a digest of its other labels.
    scraped_by: HashMap<u64, [String; SCRAPED_BY.len()]>,
    /// The series of proxies, and sums over proxies, by a digest of what they count.
    of_proxies: HashMap<u64, String>,
    of_sums: HashMap<u64, String>,
    scraped_twice: Option<MixedLabel>,
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
        // Any value will do for who asks for any of them.
        let is_any =
            |label: &ScopeLabel| SCRAPED_BY.contains(&&*label.name) && label.value.is_none();
        if self.scraped_twice.is_none() && !scope.iter().any(is_any) {
            self.scraped_twice = self.same_proxy(labels).or_else(|| self.sum_beside(labels));
        }
    }

    /// The label that differs where a series of the same proxy was seen before.
    fn same_proxy(&mut self, labels: &Labels) -> Option<MixedLabel> {
        if is_sum(labels) {
            return None;
        }
        let proxy = digest(labels, |name| !SCRAPED_BY.contains(&name), &address(labels));
        let own = SCRAPED_BY.map(|name| label(labels, name).to_owned());
        let first = self.scraped_by.entry(proxy).or_insert_with(|| own.clone());
        let at = (0..SCRAPED_BY.len()).find(|at| own[*at] != first[*at])?;
        Some(twice(SCRAPED_BY[at], &first[at], &own[at]))
    }

    /// A sum over proxies beside what it is a sum of, as a recording rule under the metric's own name leaves it.
    fn sum_beside(&mut self, labels: &Labels) -> Option<MixedLabel> {
        let counted = digest(labels, is_istio, "");
        let job = label(labels, "job").to_owned();
        let (own, others) = match is_sum(labels) {
            true => (&mut self.of_sums, &self.of_proxies),
            false => (&mut self.of_proxies, &self.of_sums),
        };
        own.insert(counted, job.clone());
        let other = others.get(&counted)?;
        let (of_proxy, of_sum) = match is_sum(labels) {
            true => (other, &job),
            false => (&job, other),
        };
        Some(match of_proxy == of_sum {
            true => twice("instance", "", label(labels, "instance")),
            false => twice("job", of_proxy, of_sum),
        })
    }

    /// The first label that is mixed, if any is.
    pub(crate) fn mixed(&self) -> Option<MixedLabel> {
        let several = self.values.iter().filter(|(_, values)| values.len() > 1);
        let mut mixed =
            several.filter(|(name, _)| CLUSTERS.contains(name) || self.copies.contains(*name));
        let Some((name, values)) = mixed.next() else {
            return self.scraped_twice.clone();
        };
        Some(MixedLabel {
            label: (*name).to_owned(),
            values: values.iter().cloned().collect(),
            copies: self.copies.contains(name),
        })
    }
}

/// A label under two of whose values the same is counted; real ones first, as a scope names one.
fn twice(label: &str, a: &str, b: &str) -> MixedLabel {
    let mut values = vec![a.to_owned(), b.to_owned()];
    values.sort_by_key(|value| (value.is_empty(), value.clone()));
    for value in &mut values {
        if value.is_empty() {
            NONE.clone_into(value);
        }
    }
    MixedLabel {
        label: label.to_owned(),
        values,
        copies: true,
    }
}

/// Where a proxy is: a pod has one address whatever the port, and without its name at least the two ports at which
/// every proxy of Istio has the same counters are one.
fn address(labels: &Labels) -> String {
    let instance = label(labels, "instance");
    let has_pod = ["pod", "pod_name"]
        .iter()
        .any(|name| !label(labels, name).is_empty());
    match instance.rsplit_once(':') {
        Some((host, port)) if has_pod || matches!(port, "15020" | "15090") => host.to_owned(),
        _ => instance.to_owned(),
    }
}

/// A digest of all labels but one.
fn others(labels: &Labels, name: &str) -> u64 {
    digest(labels, |other| other != name, "")
}

/// A digest of some of the labels, and of something more.
fn digest(labels: &Labels, is_in: impl Fn(&str) -> bool, more: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for pair in labels.iter().filter(|(name, _)| is_in(name)) {
        pair.hash(&mut hasher);
    }
    more.hash(&mut hasher);
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

    #[test]
    fn a_proxy_that_is_scraped_twice_is_noticed_and_two_proxies_are_not() {
        for (series, scope, is_twice) in [
            (
                [
                    "job=a pod=1 instance=h:15020",
                    "job=b pod=1 instance=h:15090",
                ],
                "",
                true,
            ),
            (
                [
                    "job=a pod=1 instance=h:15020",
                    "job=b pod=1 instance=h:15090",
                ],
                "job=*",
                false,
            ),
            (
                ["job=a instance=h:15020", "job=b instance=h:15090"],
                "",
                true,
            ),
            (
                ["job=a instance=h:9001", "job=b instance=h:9002"],
                "",
                false,
            ),
            (["job=a pod=1", "job=b pod=2"], "", false),
            // A pod that got the name of one that had gone.
            (
                [
                    "job=a pod=1 instance=h:15020",
                    "job=b pod=1 instance=i:15020",
                ],
                "",
                false,
            ),
            // A sum over proxies beside the proxies, and one of other requests.
            (
                ["job=a pod=1 reporter=source", "job=b reporter=source"],
                "",
                true,
            ),
            (
                ["job=b reporter=source", "job=a pod=1 reporter=source"],
                "",
                true,
            ),
            (
                ["job=a pod=1 reporter=source", "job=b reporter=destination"],
                "",
                false,
            ),
        ] {
            let expected =
                is_twice.then(|| ("job".to_owned(), vec!["a".to_owned(), "b".to_owned()], true));
            assert_eq!(mixed(&series, scope), expected, "{series:?} {scope}");
        }
    }
}
