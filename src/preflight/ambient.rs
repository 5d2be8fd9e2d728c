//! Ambient mode: without a waypoint, HTTP traffic is neither split nor counted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::host_conflicts::is_on_mesh;
use super::{Facts, Version};
use crate::istio::RouteKind;
use crate::plan::Finding;

const MODE: &str = "istio.io/dataplane-mode";
const WAYPOINT: &str = "istio.io/use-waypoint";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    // A gateway is an Envoy: it splits and counts whatever is behind it.
    if !facts.kinds.contains(&RouteKind::Http) || !is_on_mesh(facts) {
        return Vec::new();
    }
    let [stable, canary] = facts.versions();
    let found = of(facts, stable);
    let same = stable.destination.host == canary.destination.host;
    match found {
        Some(found) if same => vec![found],
        found => found.into_iter().chain(of(facts, canary)).collect(),
    }
}

/// Whether a pod runs without a proxy of its own; a sidecar may stand among the init containers.
pub(crate) fn is_bare(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else {
        return true;
    };
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let mut containers = spec.containers.iter().chain(init);
    !containers.any(|container| container.name == "istio-proxy")
}

fn of(facts: &Facts, version: &Version) -> Option<Finding> {
    let nothing = BTreeMap::new();
    let namespace = version.namespace();
    let of_namespace = facts.namespaces.get(namespace).unwrap_or(&nothing);
    let is_ambient = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref().unwrap_or(&nothing);
        let mode = labels.get(MODE).or(of_namespace.get(MODE));
        is_bare(pod) && mode.is_some_and(|mode| mode == "ambient")
    };
    if !version.pods().iter().any(is_ambient) {
        return None;
    }
    let service = version.service.as_ref();
    let of_service = service
        .and_then(|service| service.metadata.labels.as_ref())
        .unwrap_or(&nothing);
    let waypoint = of_service.get(WAYPOINT).or(of_namespace.get(WAYPOINT));
    if waypoint.is_some_and(|waypoint| waypoint != "none") {
        return None;
    }
    let name = version
        .destination
        .host
        .service()
        .map_or_else(|| version.destination.host.as_str(), |(name, _)| name);
    Some(Finding::refuse(
        format!(
            "Service {} is in ambient mode without a waypoint (label {WAYPOINT})",
            version.service_name()
        ),
        "ztunnel does not split HTTP traffic by weight and counts connections only",
        format!(
            "istioctl waypoint apply -n {namespace}, then: kubectl label service {name} -n {namespace} {WAYPOINT}=waypoint"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::VirtualService;
    use crate::preflight::test_facts::{facts, told};
    use serde_json::json;

    fn ambient() -> Facts {
        let mut facts = facts();
        for version in [&mut facts.stable, &mut facts.canary] {
            for pod in version.pods.iter_mut().flatten() {
                let containers = &mut pod.spec.as_mut().unwrap().containers;
                containers.retain(|container| container.name != "istio-proxy");
            }
        }
        let labels = BTreeMap::from([(MODE.to_owned(), "ambient".to_owned())]);
        facts.namespaces.insert("shop".into(), labels);
        facts
    }

    #[test]
    fn without_a_waypoint_it_is_refused() {
        assert_eq!(
            told(check(&ambient())),
            [
                "refuse: Service shop/reviews is in ambient mode without a waypoint (label istio.io/use-waypoint): ztunnel does not split HTTP traffic by weight and counts connections only (try: istioctl waypoint apply -n shop, then: kubectl label service reviews -n shop istio.io/use-waypoint=waypoint)"
            ]
        );
    }

    #[test]
    fn a_waypoint_a_sidecar_or_a_gateway_will_do() {
        let mut of_namespace = ambient();
        let labels = of_namespace.namespaces.get_mut("shop").unwrap();
        labels.insert(WAYPOINT.into(), "waypoint".into());
        assert!(check(&of_namespace).is_empty());

        let mut of_service = ambient();
        let service = of_service.stable.service.as_mut().unwrap();
        service.metadata.labels = Some(BTreeMap::from([(WAYPOINT.into(), "own".into())]));
        of_service.canary.service = of_service.stable.service.clone();
        assert!(check(&of_service).is_empty());

        let mut with_sidecars = facts();
        with_sidecars.namespaces = ambient().namespaces;
        assert!(check(&with_sidecars).is_empty());

        let mut at_gateway = ambient();
        at_gateway.change_spec(|spec| spec["gateways"] = json!(["shop"]));
        assert!(check(&at_gateway).is_empty());
    }

    #[test]
    fn of_a_delegate_the_root_decides() {
        let mut facts = ambient();
        facts.change_spec(|spec| {
            let spec = spec.as_object_mut().unwrap();
            spec.remove("hosts");
            spec.remove("gateways");
        });
        assert!(check(&facts).is_empty(), "nobody knows its root");
        for (gateways, refused) in [(json!(["shop"]), false), (json!(["mesh", "shop"]), true)] {
            let root = json!({
                "metadata": {"namespace": "shop", "name": "root", "uid": "2"},
                "spec": {
                    "hosts": ["shop.example.com"], "gateways": gateways,
                    "http": [{"delegate": {"name": "reviews", "namespace": "shop"}}],
                },
            });
            facts.other_routes = vec![VirtualService::new(root).unwrap()];
            assert_eq!(!check(&facts).is_empty(), refused);
        }
    }

    #[test]
    fn a_pod_may_stay_out_of_it() {
        let mut facts = ambient();
        for version in [&mut facts.stable, &mut facts.canary] {
            for pod in version.pods.iter_mut().flatten() {
                let labels = pod.metadata.labels.as_mut().unwrap();
                labels.insert(MODE.into(), "none".into());
            }
        }
        assert!(check(&facts).is_empty());
    }
}
