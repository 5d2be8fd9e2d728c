//! Whether either version could carry everything: the canary at the end, stable on the way back.

use std::collections::BTreeSet;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use super::{Facts, Version};
use crate::istio::template_owner;
use crate::plan::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let (stable, canary) = (&facts.stable, &facts.canary);
    let ready = |version: &Version| version.workloads().ready;
    let (of_stable, of_canary) = (ready(stable), ready(canary));
    // Without any ready pod there is nothing to compare, and it is refused elsewhere.
    if of_stable == 0 || of_canary == 0 {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if of_canary < of_stable && ceiling(facts, canary) < of_stable {
        findings.push(Finding::warn(
            format!(
                "canary {} has {of_canary} ready {}, stable {} has {of_stable}",
                canary.destination,
                pods(of_canary),
                stable.destination
            ),
            format!(
                "at 100 % each would get {} times the load of a stable pod today",
                ratio(of_stable, of_canary)
            ),
            scale(facts, canary, of_stable),
        ));
    }
    if of_stable < of_canary && ceiling(facts, stable) < of_canary {
        findings.push(Finding::warn(
            format!(
                "stable {} has {of_stable} ready {}, canary {} has {of_canary}",
                stable.destination,
                pods(of_stable),
                canary.destination
            ),
            format!("after a rollback {of_stable} would get the load of {of_canary}"),
            scale(facts, stable, of_canary),
        ));
    }
    if let Some(autoscaler) = autoscaler(facts, stable) {
        let least = least(autoscaler);
        if least < of_stable {
            let name = autoscaler.metadata.name.as_deref().unwrap_or_default();
            let namespace = stable.namespace();
            findings.push(Finding::warn(
                format!(
                    "HorizontalPodAutoscaler {namespace}/{name} may shrink stable {} from {of_stable} pods to {least} (spec.minReplicas)",
                    stable.destination
                ),
                format!("it scales down as traffic leaves; a rollback would send everything to {least} at once"),
                format!("{} until the rollout has ended", at_least(autoscaler, of_stable)),
            ));
        }
    }
    findings
}

fn pods(count: usize) -> &'static str {
    if count == 1 { "pod" } else { "pods" }
}

/// `1.5`, or `3` where it comes out even.
fn ratio(many: usize, few: usize) -> String {
    if many.is_multiple_of(few) {
        (many / few).to_string()
    } else {
        format!("{:.1}", many as f64 / few as f64)
    }
}

/// Who scales a version's workload.
fn autoscaler<'f>(facts: &'f Facts, version: &Version) -> Option<&'f HorizontalPodAutoscaler> {
    let mut names = version.workloads().names;
    names.extend(version.empty.iter().map(|workload| workload.name.clone()));
    facts.autoscalers.iter().find(|autoscaler| {
        autoscaler.metadata.namespace.as_deref() == Some(version.namespace())
            && names.contains(&autoscaler.spec.scale_target_ref.name)
    })
}

/// The fewest pods that an autoscaler leaves; one, where it does not say.
fn least(autoscaler: &HorizontalPodAutoscaler) -> usize {
    usize::try_from(autoscaler.spec.min_replicas.unwrap_or(1)).unwrap_or(0)
}

/// The most pods that a version can have without anybody doing something.
fn ceiling(facts: &Facts, version: &Version) -> usize {
    let most = autoscaler(facts, version)
        .and_then(|autoscaler| usize::try_from(autoscaler.spec.max_replicas).ok());
    most.unwrap_or(0).max(version.workloads().ready)
}

/// The command by which an autoscaler keeps at least so many pods. What KEDA has made of a ScaledObject it makes
/// again, so that one is to be changed.
fn at_least(autoscaler: &HorizontalPodAutoscaler, pods: usize) -> String {
    let metadata = &autoscaler.metadata;
    let (name, namespace) = (metadata.name.as_deref(), metadata.namespace.as_deref());
    let (name, namespace) = (name.unwrap_or_default(), namespace.unwrap_or_default());
    let most = usize::try_from(autoscaler.spec.max_replicas).unwrap_or(0);
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let keda = owners.iter().find(|owner| owner.kind == "ScaledObject");
    let (what, least_field, most_field) = match keda {
        Some(owner) => (
            format!("scaledobject {} -n {namespace} --type merge", owner.name),
            "minReplicaCount",
            "maxReplicaCount",
        ),
        None => (
            format!("hpa {name} -n {namespace}"),
            "minReplicas",
            "maxReplicas",
        ),
    };
    let more = match most < pods {
        true => format!(",\"{most_field}\":{pods}"),
        false => String::new(),
    };
    format!("kubectl patch {what} -p '{{\"spec\":{{\"{least_field}\":{pods}{more}}}}}'")
}

/// The command that gives a workload so many pods. An autoscaler takes those back that it does not want; one that
/// found 0 replicas leaves them alone, but for KEDA's.
pub(super) fn scale_to(
    facts: &Facts,
    version: &Version,
    (kind, name): (&str, &str),
    replicas: usize,
) -> String {
    let namespace = version.namespace();
    let by_hand = format!("kubectl scale {kind} {name} -n {namespace} --replicas={replicas}");
    let Some(autoscaler) = autoscaler(facts, version) else {
        return by_hand;
    };
    let owners = autoscaler
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default();
    let is_kedas = owners.iter().any(|owner| owner.kind == "ScaledObject");
    match version.empty.is_some() && !is_kedas {
        true => by_hand,
        false => at_least(autoscaler, replicas),
    }
}

fn scale(facts: &Facts, version: &Version, replicas: usize) -> String {
    let owners: BTreeSet<_> = version.pods().iter().map(template_owner).collect();
    let owners: Vec<_> = owners.into_iter().collect();
    match owners.as_slice() {
        // One of each node has no number that could be set.
        [Some((kind, name))] if *kind != "daemonset" => {
            scale_to(facts, version, (*kind, name.as_str()), replicas)
        }
        _ => format!("{replicas} pods"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::test_facts::{facts, told};
    use serde_json::json;

    fn with_pods(stable: usize, canary: usize) -> Facts {
        let mut facts = facts();
        facts.stable.pods.as_mut().unwrap().truncate(stable);
        facts.canary.pods.as_mut().unwrap().truncate(canary);
        facts
    }

    fn autoscaler(target: &str, least: i32, most: i32) -> HorizontalPodAutoscaler {
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": target},
            "spec": {"minReplicas": least, "maxReplicas": most, "scaleTargetRef": {"kind": "Deployment", "name": target}},
        }))
        .unwrap()
    }

    #[test]
    fn equal_versions_need_no_word() {
        assert!(check(&with_pods(3, 3)).is_empty());
        assert!(
            check(&with_pods(3, 0)).is_empty(),
            "that is refused elsewhere"
        );
    }

    #[test]
    fn the_smaller_version_is_named_with_numbers() {
        assert_eq!(
            told(check(&with_pods(3, 2))),
            [
                "warn: canary v2 has 2 ready pods, stable v1 has 3: at 100 % each would get 1.5 times the load of a stable pod today (try: kubectl scale deployment reviews-v2 -n shop --replicas=3)"
            ]
        );
        assert_eq!(
            told(check(&with_pods(1, 3))),
            [
                "warn: stable v1 has 1 ready pod, canary v2 has 3: after a rollback 1 would get the load of 3 (try: kubectl scale deployment reviews-v1 -n shop --replicas=3)"
            ]
        );
    }

    #[test]
    fn an_autoscaler_makes_up_for_it_and_takes_away() {
        let mut facts = with_pods(3, 1);
        facts.autoscalers = vec![
            autoscaler("reviews-v2", 1, 3),
            autoscaler("reviews-v1", 1, 5),
        ];
        assert_eq!(
            told(check(&facts)),
            [
                "warn: HorizontalPodAutoscaler shop/reviews-v1 may shrink stable v1 from 3 pods to 1 (spec.minReplicas): it scales down as traffic leaves; a rollback would send everything to 1 at once (try: kubectl patch hpa reviews-v1 -n shop -p '{\"spec\":{\"minReplicas\":3}}' until the rollout has ended)"
            ]
        );
        facts.autoscalers = vec![
            autoscaler("reviews-v2", 1, 3),
            autoscaler("reviews-v1", 3, 5),
        ];
        assert!(check(&facts).is_empty());
    }

    #[test]
    fn what_an_autoscaler_would_take_back_is_asked_of_it_or_of_keda() {
        let mut facts = with_pods(3, 1);
        let fix = |facts: &Facts| {
            told(check(facts))[0]
                .split_once("(try: ")
                .unwrap()
                .1
                .to_owned()
        };
        facts.autoscalers = vec![autoscaler("reviews-v2", 1, 2)];
        assert_eq!(
            fix(&facts),
            "kubectl patch hpa reviews-v2 -n shop -p '{\"spec\":{\"minReplicas\":3,\"maxReplicas\":3}}')"
        );
        let owner = json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "queue", "uid": "1"}]);
        facts.autoscalers[0].metadata.owner_references = serde_json::from_value(owner).unwrap();
        assert_eq!(
            fix(&facts),
            "kubectl patch scaledobject queue -n shop --type merge -p '{\"spec\":{\"minReplicaCount\":3,\"maxReplicaCount\":3}}')"
        );
    }
}
