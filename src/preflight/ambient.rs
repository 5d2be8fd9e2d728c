//! Ambient mode: without a waypoint, HTTP traffic is neither split nor counted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::Value;

use super::facts::Source;
use super::host_conflicts::is_on_mesh;
use super::{Facts, Version};
use crate::istio::RouteKind;
use crate::plan::Finding;

const MODE: &str = "istio.io/dataplane-mode";
const WAYPOINT: &str = "istio.io/use-waypoint";
const WAYPOINT_NAMESPACE: &str = "istio.io/use-waypoint-namespace";
const WAYPOINT_FOR: &str = "istio.io/waypoint-for";
/// Of the Gateways that Istio makes waypoints of.
const CLASS: &str = "istio-waypoint";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    // A gateway is an Envoy: it splits and counts whatever is behind it.
    if !facts.kinds.contains(&RouteKind::Http) || !is_on_mesh(facts) {
        return Vec::new();
    }
    let is_ambient = |version: &&Version| {
        version
            .pods()
            .iter()
            .any(|pod| takes_part(facts, version, pod))
    };
    match facts.versions().iter().any(is_ambient) {
        true => facts
            .asked
            .iter()
            .filter_map(|asked| of(facts, asked))
            .collect(),
        false => Vec::new(),
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

/// Whether no pod of a version is in the mesh: neither has it a proxy nor does ztunnel carry its requests.
pub(super) fn is_outside(facts: &Facts, version: &Version) -> bool {
    let mut pods = version.pods().iter();
    // Where the labels of its namespace could not be read, it may be.
    let is_unread = facts.unread.iter().any(|unread| {
        unread.source == Source::Namespaces && unread.namespace == version.namespace()
    });
    !is_unread
        && !version.pods().is_empty()
        && pods.all(|pod| is_bare(pod) && !takes_part(facts, version, pod))
}

/// Whether ztunnel carries a pod's requests.
fn takes_part(facts: &Facts, version: &Version, pod: &Pod) -> bool {
    let of_namespace = facts.namespaces.get(version.namespace());
    let of_namespace = of_namespace.and_then(|labels| labels.get(MODE));
    let own = pod.metadata.labels.as_ref();
    let mode = own.and_then(|labels| labels.get(MODE)).or(of_namespace);
    is_bare(pod) && mode.is_some_and(|mode| mode == "ambient")
}

/// The waypoint that a Service's own labels, or else its namespace's, name: namespace and name.
pub(crate) fn waypoint_of(
    service: &Service,
    namespaces: &BTreeMap<String, BTreeMap<String, String>>,
) -> Option<(String, String)> {
    let home = service.metadata.namespace.as_deref().unwrap_or_default();
    let own = service.metadata.labels.as_ref();
    let holders = own.into_iter().chain(namespaces.get(home));
    let mut named = holders.filter_map(|labels| Some((labels, labels.get(WAYPOINT)?)));
    let (labels, name) = named.next().filter(|(_, name)| *name != "none")?;
    let namespace = labels.get(WAYPOINT_NAMESPACE).map_or(home, String::as_str);
    Some((namespace.to_owned(), name.clone()))
}

fn of(facts: &Facts, asked: &Service) -> Option<Finding> {
    let namespace = asked.metadata.namespace.as_deref().unwrap_or_default();
    let service = asked.metadata.name.as_deref().unwrap_or_default();
    let why = "ztunnel does not split HTTP traffic by weight and counts connections only";
    let Some((home, name)) = waypoint_of(asked, &facts.namespaces) else {
        return Some(Finding::refuse(
            format!(
                "Service {namespace}/{service} is in ambient mode without a waypoint (label {WAYPOINT})"
            ),
            why,
            format!(
                "istioctl waypoint apply -n {namespace}, then: kubectl label service {service} -n {namespace} {WAYPOINT}=waypoint"
            ),
        ));
    };
    let named = format!("waypoint {home}/{name} of Service {namespace}/{service}");
    let Some(gateway) = facts.waypoints.get(&format!("{home}/{name}"))? else {
        return Some(Finding::refuse(
            format!("{named} (label {WAYPOINT}) does not exist"),
            why,
            format!("istioctl waypoint apply -n {home} --name {name}"),
        ));
    };
    let class = gateway.pointer("/spec/gatewayClassName");
    let class = class.and_then(Value::as_str).unwrap_or_default();
    if class != CLASS {
        return Some(Finding::warn(
            format!("{named} is a Gateway of class {class} (spec.gatewayClassName)"),
            format!("Istio's waypoints are of class {CLASS}; {why}"),
            format!("istioctl waypoint apply -n {home} --name {name}"),
        ));
    }
    let labels = gateway.pointer("/metadata/labels");
    let takes = labels.and_then(|labels| labels.get(WAYPOINT_FOR)?.as_str());
    let takes = takes.filter(|takes| matches!(*takes, "workload" | "none"))?;
    Some(Finding::refuse(
        format!("{named} takes no requests to Services (label {WAYPOINT_FOR}: {takes})"),
        why,
        format!(
            "kubectl label gateways.gateway.networking.k8s.io {name} -n {home} --overwrite {WAYPOINT_FOR}=service"
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
        of_service.asked[0].metadata.labels =
            Some(BTreeMap::from([(WAYPOINT.into(), "own".into())]));
        assert!(check(&of_service).is_empty());

        let mut with_sidecars = facts();
        with_sidecars.namespaces = ambient().namespaces;
        assert!(check(&with_sidecars).is_empty());

        let mut at_gateway = ambient();
        at_gateway.change_spec(|spec| spec["gateways"] = json!(["shop"]));
        assert!(check(&at_gateway).is_empty());
    }

    #[test]
    fn a_waypoint_that_is_named_has_to_be_there_and_to_take_requests_to_services() {
        let mut facts = ambient();
        let labels = facts.namespaces.get_mut("shop").unwrap();
        labels.insert(WAYPOINT.into(), "main".into());
        labels.insert(WAYPOINT_NAMESPACE.into(), "infra".into());
        let mut found = |gateway: Option<Value>| {
            facts.waypoints = BTreeMap::from([("infra/main".to_owned(), gateway)]);
            told(check(&facts))
        };
        let named = "waypoint infra/main of Service shop/reviews";
        let starts = |told: Vec<String>, level: &str, rest: &str| {
            let expected = format!("{level}: {named} {rest}");
            assert!(
                told.len() == 1 && told[0].starts_with(&expected),
                "{told:?}"
            );
        };
        starts(
            found(None),
            "refuse",
            "(label istio.io/use-waypoint) does not exist",
        );
        let gateway = |class: &str, labels: Value| {
            Some(json!({"metadata": {"labels": labels}, "spec": {"gatewayClassName": class}}))
        };
        starts(
            found(gateway("istio", json!({}))),
            "warn",
            "is a Gateway of class istio",
        );
        let only = json!({WAYPOINT_FOR: "workload"});
        starts(
            found(gateway(CLASS, only)),
            "refuse",
            "takes no requests to Services",
        );
        for labels in [json!({}), json!({WAYPOINT_FOR: "all"})] {
            assert!(found(gateway(CLASS, labels)).is_empty());
        }
    }

    #[test]
    fn a_service_may_refuse_the_waypoint_of_its_namespace() {
        let mut facts = ambient();
        let labels = facts.namespaces.get_mut("shop").unwrap();
        labels.insert(WAYPOINT.into(), "waypoint".into());
        let none = BTreeMap::from([(WAYPOINT.to_owned(), "none".to_owned())]);
        facts.asked[0].metadata.labels = Some(none);
        assert_eq!(check(&facts).len(), 1);
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
