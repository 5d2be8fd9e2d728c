//! Labels that Kiali and Istio's metrics go by.

use std::collections::BTreeSet;

use super::{Facts, Version};
use crate::istio::template_owner;
use crate::plan::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    facts.versions().into_iter().filter_map(of).collect()
}

fn of(version: &Version) -> Option<Finding> {
    let lacks = |key: &str| {
        let bare = version.pods().iter().filter(|pod| {
            let labels = pod.metadata.labels.as_ref();
            labels.is_none_or(|labels| !labels.contains_key(key))
        });
        bare.map(template_owner).collect::<BTreeSet<_>>()
    };
    let missing: Vec<_> = ["app", "version"]
        .into_iter()
        .map(|key| (key, lacks(key)))
        .filter(|(_, workloads)| !workloads.is_empty())
        .collect();
    // Where some have a template, that is where labels stay.
    let owner = missing.first()?.1.last()?.clone();
    let (role, destination) = (version.role, &version.destination);
    let keys: Vec<_> = missing.iter().map(|(key, _)| *key).collect();
    let labels: Vec<_> = keys
        .iter()
        .map(|key| {
            let value = match *key {
                "app" => destination.host.short().to_owned(),
                _ => destination.to_string(),
            };
            format!("\"{key}\":\"{value}\"")
        })
        .collect();
    Some(Finding::warn(
        format!(
            "pods of {role} {destination} have no label {}",
            keys.join(" and no label ")
        ),
        "Kiali does not show them as a version, and destination_version is unknown in the metrics",
        match owner {
            Some((kind, name)) => format!(
                "kubectl patch {kind} {name} -n {}{} -p '{{\"spec\":{{\"template\":{{\"metadata\":{{\"labels\":{{{}}}}}}}}}}}', which restarts its pods",
                version.namespace(),
                // Only kinds of Kubernetes' own and OpenShift's know more than that.
                if kind == "rollout" {
                    " --type merge"
                } else {
                    ""
                },
                labels.join(",")
            ),
            None => format!(
                "{} where its pods are made (metadata.labels)",
                labels.join(", ")
            ),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::test_facts::{facts, told};

    #[test]
    fn missing_labels_come_with_the_patch() {
        let mut facts = facts();
        for pod in facts.canary.pods.iter_mut().flatten() {
            pod.metadata.labels.as_mut().unwrap().remove("version");
        }
        for pod in facts.stable.pods.iter_mut().flatten() {
            let labels = pod.metadata.labels.as_mut().unwrap();
            labels.remove("version");
            labels.remove("app");
        }
        assert_eq!(
            told(check(&facts)),
            [
                "warn: pods of stable v1 have no label app and no label version: Kiali does not show them as a version, and destination_version is unknown in the metrics (try: kubectl patch deployment reviews-v1 -n shop -p '{\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"app\":\"reviews\",\"version\":\"v1\"}}}}}', which restarts its pods)",
                "warn: pods of canary v2 have no label version: Kiali does not show them as a version, and destination_version is unknown in the metrics (try: kubectl patch deployment reviews-v2 -n shop -p '{\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"version\":\"v2\"}}}}}', which restarts its pods)",
            ]
        );
    }

    #[test]
    fn pods_with_both_labels_are_fine() {
        assert!(check(&facts()).is_empty());
    }
}
