//! Whether there is anybody to take the requests.

use super::version::written;
use super::{Facts, Version, capacity, host_conflicts};
use crate::istio::{EmptyWorkload, ExternalHost, Host, ServiceEntry};
use crate::metrics::ServiceKey;
use crate::plan::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let found = facts.versions().into_iter();
    let found = found.filter_map(|version| of(facts, version));
    let mut findings: Vec<Finding> = Vec::new();
    for finding in found {
        // Two subsets of one host are said once.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

/// What to write for a host that is no Service's: the Service that exists.
fn written_out(facts: &Facts, host: &Host, known: &ServiceKey) -> String {
    let full = host_conflicts::written_out(&facts.vs, &known.name, &known.namespace);
    format!(
        "host: {full} instead of {host}: kubectl edit virtualservice {} -n {}",
        facts.vs.name(),
        facts.vs.namespace()
    )
}

/// A host that is no Service of this cluster: one outside, or a name that only looks like a Service's.
fn outside(facts: &Facts, version: &Version) -> Finding {
    let host = &version.destination.host;
    match (version.lookalikes.first(), &version.external) {
        (_, ExternalHost::Entry(entry)) => of_entry(version, entry),
        (None, ExternalHost::Hidden(entry)) => Finding::warn(
            format!(
                "{host} is a host of ServiceEntry {} only, which is not exported to namespace {} (spec.exportTo)",
                entry.name,
                facts.vs.namespace()
            ),
            "callers there do not know it, so their requests fail (503)",
            {
                let (namespace, entry) = entry.name.split_once('/').unwrap_or_default();
                format!(
                    "{} in spec.exportTo: kubectl edit serviceentry {entry} -n {namespace}",
                    facts.vs.namespace()
                )
            },
        ),
        (Some(known), _) => Finding::refuse(
            format!("{host} is no host of the mesh (spec.http[].route[].destination.host)"),
            format!("{}, so its requests fail (503)", host.no_service_because()),
            written_out(facts, host, known),
        ),
        (None, ExternalHost::Nowhere) => Finding::refuse(
            format!(
                "no Service and no ServiceEntry has host {host} (spec.http[].route[].destination.host)"
            ),
            "Istio does not know it, so its requests fail (503)",
            "a ServiceEntry with it in spec.hosts; those there are: kubectl get serviceentries -A",
        ),
        (None, ExternalHost::NotRead) => Finding::warn(
            format!("{host} is no Service of this cluster"),
            "its pods cannot be looked at, and only requests tell whether it works",
            "",
        ),
    }
}

/// A host that a ServiceEntry makes known, whose endpoints may be told apart by labels.
fn of_entry(version: &Version, entry: &ServiceEntry) -> Finding {
    let (host, name) = (&version.destination.host, &entry.name);
    let labels = version.subset.as_ref().map(|subset| &subset.labels);
    let labels = labels.filter(|labels| entry.endpoints_with(labels) == Some(0));
    match labels {
        Some(labels) => Finding::refuse(
            format!(
                "{} {} of {host} selects no endpoint of ServiceEntry {name}: {}",
                version.role,
                version.destination,
                written(labels)
            ),
            "its requests would fail (503)",
            {
                let (namespace, entry) = name.split_once('/').unwrap_or_default();
                format!(
                    "these labels in spec.endpoints[].labels: kubectl edit serviceentry {entry} -n {namespace}"
                )
            },
        ),
        None => Finding::warn(
            format!("{host} is no Service of this cluster, but a host of ServiceEntry {name}"),
            "its endpoints cannot be looked at, and only requests tell whether they work",
            "",
        ),
    }
}

/// A version of which there is a workload and no pod.
fn without_pods(facts: &Facts, version: &Version, workload: &EmptyWorkload) -> Finding {
    let (role, destination) = (version.role, &version.destination);
    let EmptyWorkload {
        kind,
        name,
        replicas,
    } = workload;
    let namespace = version.namespace();
    if *replicas > 0 {
        return Finding::refuse(
            format!(
                "{kind} {namespace}/{name} of {role} {destination} wants {replicas} pods and has none"
            ),
            "its requests would fail",
            format!("kubectl describe {kind} {name} -n {namespace}"),
        );
    }
    let others = facts.versions().map(|version| version.workloads().ready);
    let wanted = others.into_iter().max().unwrap_or(0).max(1);
    Finding::refuse(
        format!("{kind} {namespace}/{name} of {role} {destination} has 0 replicas (spec.replicas)"),
        "its requests would fail",
        capacity::scale_to(facts, version, (kind, name), wanted),
    )
}

/// A Service of type ExternalName, which Istio takes for another name of that host.
fn of_alias(facts: &Facts, version: &Version, alias: &str) -> Finding {
    let (host, service) = (&version.destination.host, version.service_name());
    let own = Host::resolve(alias.trim_end_matches('.'), facts.vs.namespace());
    match own.service() {
        Some(_) => Finding::refuse(
            format!("Service {service} is another name of {own} (spec.externalName)"),
            "Istio sends its requests there and counts them there, with that Service's subsets",
            format!(
                "host: {own} instead of {host}: kubectl edit virtualservice {} -n {}",
                facts.vs.name(),
                facts.vs.namespace()
            ),
        ),
        None => Finding::warn(
            format!(
                "Service {service} is another name of {own}, a host outside (spec.externalName)"
            ),
            "its pods cannot be looked at, and only requests tell whether it works",
            "",
        ),
    }
}

/// A label of the subset that istiod gives to endpoints: their cluster, network or locality.
fn placed_by(version: &Version) -> Option<&str> {
    let labels = version.subset.as_ref()?.labels.keys();
    let is_place = |key: &&String| {
        key.starts_with("topology.istio.io/") || key.starts_with("topology.kubernetes.io/")
    };
    labels.into_iter().find(is_place).map(String::as_str)
}

fn of(facts: &Facts, version: &Version) -> Option<Finding> {
    let (role, destination) = (version.role, &version.destination);
    let host = &destination.host;
    // A subset that is defined nowhere is said elsewhere.
    let is_unknown_host = !version.lookalikes.is_empty();
    if version.pods.is_none() || version.lacks_subset() && !is_unknown_host {
        return None;
    }
    if version.is_external() {
        return Some(outside(facts, version));
    }
    let namespace = version.namespace();
    if let Some(alias) = version.alias() {
        return Some(of_alias(facts, version, alias));
    }
    let Some(selector) = version.selector() else {
        let what = match &version.service {
            None => format!("there is no Service {}", version.service_name()),
            Some(_) => format!(
                "Service {} selects no pods (spec.selector)",
                version.service_name()
            ),
        };
        return Some(Finding::refuse(
            what,
            format!("the pods of {role} {destination} cannot be determined"),
            match version.lookalikes.first() {
                Some(known) => format!(
                    "{}, as a short name is one of the object's own namespace",
                    written_out(facts, host, known)
                ),
                None => format!("kubectl get services -n {namespace}"),
            },
        ));
    };
    let labels = written(&selector);
    let workloads = version.workloads();
    let (ready, pods) = (workloads.ready, workloads.pods);
    if let (0, Some(label)) = (pods, placed_by(version)) {
        return Some(Finding::refuse(
            format!(
                "{role} {destination} of {host} is selected by {label} (spec.subsets[].labels)"
            ),
            "Istio takes it from where an endpoint is, not from pods, so neither pods nor metrics show which version they are",
            "a label that only the pods of one version have",
        ));
    }
    if let (0, Some(workload)) = (pods, &version.empty) {
        return Some(without_pods(facts, version, workload));
    }
    Some(if pods == 0 {
        Finding::refuse(
            format!("{role} {destination} of {host} selects no pod: {labels}"),
            "its requests would fail",
            match &version.subset {
                Some(subset) => format!(
                    "compare spec.subsets of DestinationRule {} with: kubectl get pods -n {namespace} --show-labels",
                    subset.rule
                ),
                None => format!("kubectl get pods -n {namespace} --show-labels"),
            },
        )
    } else if workloads.is_down() {
        Finding::refuse(
            format!("{role} {destination} of {host} has no ready pod ({pods} in all)"),
            "its requests would fail",
            format!("kubectl describe pods -n {namespace} -l {labels}"),
        )
    } else {
        Finding::ok(format!(
            "{role} {destination} has {ready} of {pods} pods ready"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::test_facts::{facts, told};
    use serde_json::json;

    #[test]
    fn pods_are_counted() {
        assert_eq!(
            told(check(&facts())),
            [
                "ok: stable v1 has 3 of 3 pods ready",
                "ok: canary v2 has 3 of 3 pods ready"
            ]
        );
    }

    #[test]
    fn labels_that_select_nobody_and_pods_that_are_not_ready_are_refused() {
        let mut facts = facts();
        for pod in facts.stable.pods.iter_mut().flatten() {
            pod.status = None;
        }
        facts.change_rule_only(|spec| spec["subsets"][1]["labels"] = json!({"version": "v3"}));
        facts.canary.subset = facts.subset("v2");
        facts.canary.pods = Some(Vec::new());
        assert_eq!(
            told(check(&facts)),
            [
                "refuse: stable v1 of reviews.shop.svc.cluster.local has no ready pod (3 in all): its requests would fail (try: kubectl describe pods -n shop -l app=reviews,version=v1)",
                "refuse: canary v2 of reviews.shop.svc.cluster.local selects no pod: app=reviews,version=v3: its requests would fail (try: compare spec.subsets of DestinationRule shop/reviews with: kubectl get pods -n shop --show-labels)",
            ]
        );
    }

    #[test]
    fn a_name_that_only_looks_like_a_services_is_written_out() {
        let mut facts = facts();
        let known = |namespace: &str| ServiceKey {
            name: "reviews".into(),
            namespace: namespace.into(),
        };
        for version in [&mut facts.stable, &mut facts.canary] {
            version.destination.host = Host::resolve("reviews.shop", "shop");
            version.service = None;
            version.lookalikes = vec![known("shop")];
        }
        assert_eq!(
            told(check(&facts)),
            [
                "refuse: reviews.shop is no host of the mesh (spec.http[].route[].destination.host): Istio completes only names without a dot, so its requests fail (503) (try: host: reviews.shop.svc.cluster.local instead of reviews.shop: kubectl edit virtualservice reviews -n shop)"
            ]
        );
        for version in [&mut facts.stable, &mut facts.canary] {
            version.destination.host = Host::resolve("reviews", "edge");
            version.lookalikes = vec![known("bank")];
        }
        assert!(
            told(check(&facts))[0].ends_with("(try: host: reviews.bank.svc.cluster.local instead of reviews.edge.svc.cluster.local: kubectl edit virtualservice reviews -n shop, as a short name is one of the object's own namespace)"),
            "{:?}", told(check(&facts))
        );
    }

    #[test]
    fn a_host_without_a_service_is_told_from_one_outside() {
        let mut facts = facts();
        facts.stable.service = None;
        facts.canary.destination.subset = None;
        facts.canary.destination.host = Host::resolve("api.example.com", "shop");
        assert_eq!(
            told(check(&facts)),
            [
                "refuse: there is no Service shop/reviews: the pods of stable v1 cannot be determined (try: kubectl get services -n shop)",
                "warn: api.example.com is no Service of this cluster: its pods cannot be looked at, and only requests tell whether it works",
            ]
        );
    }
}
