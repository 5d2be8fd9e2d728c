//! Other VirtualServices that answer for the same host, and how far this one reaches.
//!
//! Inside the mesh only one VirtualService is in force for a host, and Istio leaves undefined which.
//! At a gateway several are merged, in an order that must not be relied on: what matches everything stands
//! last, and of two such rules one never gets a request.

use std::collections::BTreeSet;

use super::facts::Facts;
use super::role::listed;
use crate::istio::{Host, MESH, VirtualService};
use crate::plan::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<_> = facts
        .other_routes
        .iter()
        .filter_map(|other| conflict(facts, other))
        .collect();
    findings.extend(reach(facts));
    findings
}

/// Whether proxies of the mesh itself follow the routes; for a delegate, where its root is known to
/// be on the mesh.
pub(super) fn is_on_mesh(facts: &Facts) -> bool {
    let vs = &facts.vs;
    if !vs.hosts().is_empty() {
        return vs.gateways().contains(MESH);
    }
    let hands_on = |root: &&VirtualService| {
        root.delegates()
            .iter()
            .any(|(_, delegate)| delegate.namespace == vs.namespace() && delegate.name == vs.name())
    };
    let mut roots = facts.other_routes.iter().filter(hands_on);
    roots.any(|root| root.gateways().contains(MESH))
}

/// Whether no gateway follows the routes.
pub(super) fn is_only_mesh(vs: &VirtualService) -> bool {
    !vs.hosts().is_empty() && vs.gateways().iter().all(|gateway| gateway == MESH)
}

/// Whether proxies in a namespace may follow the routes.
pub(super) fn is_seen_in(vs: &VirtualService, namespace: &str) -> bool {
    let exported = strings(vs, "exportTo");
    let own = namespace == vs.namespace();
    // The name of a gateway does not show in which namespace its pods are.
    !is_only_mesh(vs)
        || exported.is_empty()
        || exported
            .iter()
            .any(|name| *name == "*" || *name == namespace || (*name == "." && own))
}

fn strings<'v>(vs: &'v VirtualService, field: &str) -> Vec<&'v str> {
    let list = vs.spec().get(field).and_then(serde_json::Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_str)
        .collect()
}

/// Whether some namespace's proxies see both.
fn meet(one: &VirtualService, other: &VirtualService) -> bool {
    let seen_in = |vs: &VirtualService| -> Option<BTreeSet<String>> {
        let exported = strings(vs, "exportTo");
        // Everywhere, unless it says otherwise.
        if exported.is_empty() || exported.contains(&"*") {
            return None;
        }
        let here = |name: &str| match name {
            "." => vs.namespace().to_owned(),
            name => name.to_owned(),
        };
        Some(exported.into_iter().map(here).collect())
    };
    match (seen_in(one), seen_in(other)) {
        (Some(one), Some(other)) => !one.is_disjoint(&other),
        _ => true,
    }
}

fn conflict(facts: &Facts, other: &VirtualService) -> Option<Finding> {
    let vs = &facts.vs;
    let hosts = other.hosts();
    let shared_hosts: Vec<Host> = vs
        .hosts()
        .into_iter()
        .filter(|host| hosts.contains(host))
        .collect();
    let (ours, theirs) = (vs.gateways(), other.gateways());
    let shared: Vec<_> = ours.intersection(&theirs).collect();
    if shared_hosts.is_empty() || shared.is_empty() {
        return None;
    }
    let named: Vec<_> = shared_hosts.iter().map(Host::as_str).collect();
    let (object, name, namespace) = (other.full_name(), other.name(), other.namespace());
    let merge = format!(
        "move its rules into {}, then: kubectl delete virtualservice {name} -n {namespace}",
        vs.full_name()
    );
    // A gateway's pods are seldom in the namespaces that exportTo speaks of; the mesh's are.
    if ours.contains(MESH) && theirs.contains(MESH) && meet(vs, other) {
        return Some(Finding::refuse(
            format!(
                "virtualservice {object} also has host {} in the mesh (spec.hosts)",
                named.join(", ")
            ),
            "only one of the two is in effect there, and Istio does not define which",
            merge,
        ));
    }
    let shared: Vec<_> = shared
        .into_iter()
        .filter(|gateway| *gateway != MESH)
        .map(String::as_str)
        .collect();
    if shared.is_empty() {
        return None;
    }
    let what = format!(
        "virtualservice {object} also has host {} at gateway {} (spec.hosts, spec.gateways)",
        named.join(", "),
        shared.join(", ")
    );
    let catches_all = |vs: &VirtualService| {
        let mut routes = vs.routes().iter();
        routes.any(|route| vs.takes_everything(route.at))
    };
    Some(if catches_all(vs) && catches_all(other) {
        Finding::refuse(
            what,
            "both have a rule for every request, and only one of these gets any",
            merge,
        )
    } else {
        Finding::warn(
            what,
            "Istio merges the rules of both in an undefined order",
            merge,
        )
    })
}

/// Callers in other namespaces do not follow weights that are not exported to them.
fn reach(facts: &Facts) -> Option<Finding> {
    let vs = &facts.vs;
    let exported = strings(vs, "exportTo");
    // Of a delegate it says which roots may hand on to it, not who follows its weights.
    let is_root = !vs.hosts().is_empty() && vs.gateways().contains(MESH);
    if exported.is_empty() || exported.contains(&"*") || !is_root {
        return None;
    }
    let named = exported.into_iter().map(|name| match name {
        "." => vs.namespace(),
        name => name,
    });
    let named: Vec<_> = named.collect();
    Some(Finding::warn(
        format!(
            "virtualservice {} is exported to {} only ({})",
            vs.full_name(),
            listed(&named),
            facts.mesh.route_export_field()
        ),
        "callers in other namespaces ignore its weights",
        "spec.exportTo: [\"*\"], if they should use them",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::test_facts::{facts, told};
    use serde_json::{Value, json};

    fn other(spec: Value) -> VirtualService {
        VirtualService::new(json!({
            "metadata": {"namespace": "shop", "name": "other", "uid": "2"}, "spec": spec,
        }))
        .unwrap()
    }

    fn found(spec: Value) -> Vec<String> {
        let mut facts = facts();
        facts.other_routes = vec![other(spec)];
        told(check(&facts))
    }

    fn rule(matches: bool) -> Value {
        let mut rule = json!({"route": [{"destination": {"host": "reviews"}}]});
        if matches {
            rule["match"] = json!([{"uri": {"prefix": "/x"}}]);
        }
        json!([rule])
    }

    #[test]
    fn the_same_host_in_the_mesh_is_refused() {
        assert_eq!(
            found(json!({"hosts": ["reviews.shop.svc.cluster.local"], "http": rule(true)})),
            [
                "refuse: virtualservice shop/other also has host reviews.shop.svc.cluster.local in the mesh (spec.hosts): only one of the two is in effect there, and Istio does not define which (try: move its rules into shop/reviews, then: kubectl delete virtualservice other -n shop)"
            ]
        );
    }

    #[test]
    fn the_same_host_at_a_gateway_is_refused_only_if_both_catch_everything() {
        let spec = |matches| json!({"hosts": ["shop.example.com"], "gateways": ["shop/shop"], "http": rule(matches)});
        assert_eq!(
            found(spec(true)),
            [
                "warn: virtualservice shop/other also has host shop.example.com at gateway shop/shop (spec.hosts, spec.gateways): Istio merges the rules of both in an undefined order (try: move its rules into shop/reviews, then: kubectl delete virtualservice other -n shop)"
            ]
        );
        assert_eq!(
            found(spec(false)),
            [
                "refuse: virtualservice shop/other also has host shop.example.com at gateway shop/shop (spec.hosts, spec.gateways): both have a rule for every request, and only one of these gets any (try: move its rules into shop/reviews, then: kubectl delete virtualservice other -n shop)"
            ]
        );
    }

    #[test]
    fn a_gateway_is_the_same_in_every_spelling() {
        for gateway in [
            "shop",
            "./shop",
            "shop/shop",
            "shop.shop",
            "shop.shop.svc.cluster.local",
        ] {
            let found = found(
                json!({"hosts": ["shop.example.com"], "gateways": [gateway], "http": rule(false)}),
            );
            assert!(
                found[0].contains("other also has host shop.example.com at gateway shop/shop "),
                "{gateway}: {found:?}"
            );
        }
    }

    #[test]
    fn others_go_their_own_way() {
        for spec in [
            json!({"hosts": ["ratings"], "http": rule(false)}),
            json!({"hosts": ["reviews"], "gateways": ["elsewhere"], "http": rule(false)}),
            json!({"hosts": ["shop.example.com"], "gateways": ["other/shop"], "http": rule(false)}),
            // A delegate has no hosts.
            json!({"http": rule(false)}),
        ] {
            assert_eq!(found(spec.clone()), Vec::<String>::new(), "{spec}");
        }
    }

    #[test]
    fn what_no_proxy_sees_together_is_no_conflict() {
        let mut facts = facts();
        facts.change_spec(|spec| spec["exportTo"] = json!(["."]));
        facts.other_routes = vec![other(
            json!({"hosts": ["reviews"], "exportTo": ["payments"], "http": rule(false)}),
        )];
        assert_eq!(
            told(check(&facts)),
            [
                "warn: virtualservice shop/reviews is exported to shop only (spec.exportTo): callers in other namespaces ignore its weights (try: spec.exportTo: [\"*\"], if they should use them)"
            ]
        );
    }
}
