//! Other VirtualServices that answer for the same host, and how far this one reaches.
//!
//! Inside the mesh only one VirtualService is in force for a host, and Istio leaves undefined which.
//! At a gateway several are merged, in an order that must not be relied on: what matches everything stands
//! last, and of two such rules one never gets a request.

use super::facts::Facts;
use super::role::listed;
use crate::istio::{Export, Host, MESH, VirtualService};
use crate::plan::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<_> = facts
        .other_routes
        .iter()
        .filter_map(|other| conflict(facts, other))
        .collect();
    findings.extend(reach(facts));
    findings.extend(misspelled(facts));
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
    // The name of a gateway does not show in which namespace its pods are.
    !is_only_mesh(vs) || Export::of_object(vs.raw()).reaches(namespace)
}

/// The namespaces of the gateways that the routes are bound to, and the gateways themselves.
pub(super) fn gateways(vs: &VirtualService) -> Vec<(String, String)> {
    let bound = vs.gateways().into_iter();
    let named = bound.filter_map(|name| Some((name.split_once('/')?.0.to_owned(), name)));
    named.collect()
}

fn conflict(facts: &Facts, other: &VirtualService) -> Option<Finding> {
    let vs = &facts.vs;
    let hosts = other.hosts();
    // Whatever istiod makes of capitals, to a proxy they are the same host.
    let is_one = |host: &Host, other: &Host| {
        host == other || host.as_str().eq_ignore_ascii_case(other.as_str())
    };
    let shared_hosts: Vec<Host> = vs
        .hosts()
        .into_iter()
        .filter(|host| hosts.iter().any(|other| is_one(host, other)))
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
    let meet = || Export::of_object(vs.raw()).meets(&Export::of_object(other.raw()));
    if ours.contains(MESH) && theirs.contains(MESH) && meet() {
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

/// Whom the weights do not reach, as the object is not exported to them.
fn reach(facts: &Facts) -> Option<Finding> {
    let vs = &facts.vs;
    let export = Export::of_object(vs.raw());
    // Of a delegate it says which roots may hand on to it, not who follows its weights.
    if vs.hosts().is_empty() || export.is_everywhere() {
        return None;
    }
    let field = facts.mesh.route_export_field();
    if export.is_nowhere() {
        return Some(Finding::refuse(
            format!(
                "virtualservice {} is exported to no namespace ({field})",
                vs.full_name()
            ),
            "neither callers nor gateways follow its weights",
            format!(
                "spec.exportTo: [\"*\"]: kubectl edit virtualservice {} -n {}",
                vs.name(),
                vs.namespace()
            ),
        ));
    }
    let named = listed(&export.namespaces());
    let beyond = gateways(vs)
        .into_iter()
        .filter(|(home, _)| !export.reaches(home));
    let beyond: Vec<_> = beyond.map(|(_, gateway)| gateway).collect();
    let beyond: Vec<_> = beyond.iter().map(String::as_str).collect();
    let of_gateways = format!("gateway {}, unless its pods are there", listed(&beyond));
    let who = match (vs.gateways().contains(MESH), beyond.is_empty()) {
        (false, true) => return None,
        (true, true) => "callers in other namespaces ignore its weights".to_owned(),
        (true, false) => {
            format!("callers in other namespaces ignore its weights, and so does {of_gateways}")
        }
        (false, false) => format!("its weights are ignored by {of_gateways}"),
    };
    Some(Finding::warn(
        format!(
            "virtualservice {} is exported to {named} only ({field})",
            vs.full_name()
        ),
        who,
        "spec.exportTo: [\"*\"], if they should use them",
    ))
}

/// Hosts that look like a version's Service to a person and not to Istio, so that callers of the Service do
/// not follow the weights.
fn misspelled(facts: &Facts) -> Vec<Finding> {
    let vs = &facts.vs;
    if !vs.gateways().contains(MESH) {
        return Vec::new();
    }
    let services = facts.versions().map(|version| {
        let service = version.destination.host.service();
        service.map(|(name, namespace)| (name.to_owned(), namespace.to_owned()))
    });
    let hosts = vs.hosts().into_iter().filter_map(|host| {
        let meant = host.lookalike(vs.namespace())?;
        services
            .contains(&Some(meant.clone()))
            .then_some((host, meant))
    });
    let hosts = hosts.filter(|(_, (name, namespace))| {
        let full = vs.resolve(&format!("{name}.{namespace}.svc.cluster.local"));
        !vs.hosts().contains(&full)
    });
    hosts
        .map(|(host, (name, namespace))| {
            Finding::warn(
                format!(
                    "host {host} of virtualservice {} is not Service {namespace}/{name} to Istio (spec.hosts)",
                    vs.full_name()
                ),
                format!(
                    "{}, so that callers of the Service may not follow its weights",
                    host.no_service_because()
                ),
                format!(
                    "{} in spec.hosts: kubectl edit virtualservice {} -n {}",
                    written_out(vs, &name, &namespace),
                    vs.name(),
                    vs.namespace()
                ),
            )
        })
        .collect()
}

/// A Service's name in full, in the cluster's domain.
pub(super) fn written_out(vs: &VirtualService, name: &str, namespace: &str) -> String {
    let own = vs.resolve("x");
    format!(
        "{name}.{namespace}.svc.{}",
        own.domain().unwrap_or_default()
    )
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
