//! Whether there is anybody to take the requests.

use super::version::written;
use super::{Facts, Version};
use crate::plan::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    facts.versions().into_iter().filter_map(of).collect()
}

fn of(version: &Version) -> Option<Finding> {
    let (role, destination) = (version.role, &version.destination);
    let host = &destination.host;
    // A subset that is defined nowhere is said elsewhere.
    if version.pods.is_none() || version.lacks_subset() {
        return None;
    }
    if host.service().is_none() {
        return Some(Finding::warn(
            format!("{host} is no Service of this cluster"),
            "its pods cannot be looked at",
            "",
        ));
    }
    let namespace = version.namespace();
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
            format!("kubectl get services -n {namespace}"),
        ));
    };
    let labels = written(&selector);
    let workloads = version.workloads();
    let (ready, pods) = (workloads.ready, workloads.pods);
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
    use crate::istio::Host;
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
    fn a_host_without_a_service_is_told_from_one_outside() {
        let mut facts = facts();
        facts.stable.service = None;
        facts.canary.destination.subset = None;
        facts.canary.destination.host = Host::resolve("api.example.com", "shop");
        assert_eq!(
            told(check(&facts)),
            [
                "refuse: there is no Service shop/reviews: the pods of stable v1 cannot be determined (try: kubectl get services -n shop)",
                "warn: api.example.com is no Service of this cluster: its pods cannot be looked at",
            ]
        );
    }
}
