//! Services that callers do not know, and those whose requests no weight divides.

use k8s_openapi::api::core::v1::Service;

use super::ambient::{is_bare, is_outside};
use super::facts::Facts;
use super::host_conflicts::{gateways, is_on_mesh};
use super::role::listed;
use super::version::Version;
use crate::istio::{Export, MESH};
use crate::plan::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let found = facts.versions().into_iter().flat_map(|version| {
        let service = version.service.as_ref();
        let found = service.map(|service| {
            [
                export(facts, version, service),
                headless(facts, version, service),
            ]
        });
        found.into_iter().flatten().flatten()
    });
    for finding in found {
        // Two subsets of one Service are said once.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings.extend(without_sidecar(facts));
    findings
}

/// A Service that is not exported to everybody who follows the routes.
fn export(facts: &Facts, version: &Version, service: &Service) -> Option<Finding> {
    let (vs, name) = (&facts.vs, version.service_name());
    let (export, field) = facts.mesh.service_export(service);
    let (namespace, short) = name.split_once('/')?;
    let fix = format!(
        "kubectl annotate service {short} -n {namespace} --overwrite networking.istio.io/exportTo='*'"
    );
    if export.is_nowhere() {
        return Some(Finding::refuse(
            format!("Service {name} is exported to no namespace ({field})"),
            "Istio makes it known to no proxy, so requests to it fail (503)",
            fix,
        ));
    }
    let follows = Export::of_object(vs.raw());
    let on_mesh = vs.hosts().is_empty() || vs.gateways().contains(MESH);
    let beyond = gateways(vs)
        .into_iter()
        .filter(|(home, _)| !export.reaches(home));
    let beyond: Vec<_> = beyond.map(|(_, gateway)| gateway).collect();
    let beyond: Vec<_> = beyond.iter().map(String::as_str).collect();
    let what = format!(
        "Service {name} is exported to {} only ({field})",
        listed(&export.namespaces())
    );
    if on_mesh && !export.covers(&follows) {
        let others = facts
            .versions()
            .into_iter()
            .filter_map(|version| version.service.as_ref());
        let mut others = others.map(|other| facts.mesh.service_export(other).0);
        // What is known to fewer than the other version is broken by the rollout, not today.
        let is_shared = others.all(|other| export.covers(&other));
        return Some(match is_shared {
            true => Finding::warn(
                what,
                "callers in other namespaces do not know it, so their requests fail (503)",
                fix,
            ),
            false => Finding::refuse(
                what,
                "callers in other namespaces know only the other version, so a part of their requests would fail (503)",
                fix,
            ),
        });
    }
    (!beyond.is_empty()).then(|| {
        Finding::warn(
            what,
            format!("gateway {} does not know it, unless its pods are there, so its requests fail (503)", listed(&beyond)),
            fix,
        )
    })
}

/// A canary outside of the mesh beside a stable version inside.
fn without_sidecar(facts: &Facts) -> Option<Finding> {
    let [stable, canary] = facts.versions();
    let inside = !stable.pods().is_empty() && !stable.pods().iter().any(is_bare);
    (inside && is_outside(facts, canary)).then(|| {
        Finding::warn(
            format!(
                "pods of canary {} have no sidecar, those of stable {} have",
                canary.destination, stable.destination
            ),
            "no policy of the mesh is enforced there, and its requests are counted by callers only",
            "sidecar.istio.io/inject: \"true\" among the labels of its pods, or istio-injection=enabled at its namespace",
        )
    })
}

/// A headless Service. A sidecar sends what is meant for it to the address that the caller has looked up
/// (ORIGINAL_DST), whatever subset a route has chosen; a gateway goes by the weights.
fn headless(facts: &Facts, version: &Version, service: &Service) -> Option<Finding> {
    let spec = service.spec.as_ref()?;
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    (is_headless && is_on_mesh(facts)).then(|| {
        Finding::warn(
            format!("Service {} is headless (spec.clusterIP: None)", version.service_name()),
            "a sidecar sends each request to the pod whose address its caller looked up, whatever the weights",
            "a Service with a cluster IP as host and destination, or PILOT_ENABLE_EDS_FOR_HEADLESS_SERVICES=true in istiod",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::VirtualService;
    use crate::preflight::test_facts::{facts, told};
    use serde_json::{Value, json};

    fn found(exports: [Option<&str>; 2], spec: Value) -> Vec<String> {
        let mut facts = facts();
        facts.vs = VirtualService::new(json!({
            "metadata": {"namespace": "shop", "name": "reviews", "uid": "1"}, "spec": spec,
        }))
        .unwrap();
        for (version, export) in [&mut facts.stable, &mut facts.canary]
            .into_iter()
            .zip(exports)
        {
            let annotations =
                export.map(|export| ("networking.istio.io/exportTo".to_owned(), export.to_owned()));
            let service = version.service.as_mut().unwrap();
            service.metadata.annotations = Some(annotations.into_iter().collect());
        }
        told(check(&facts))
    }

    #[test]
    fn who_does_not_know_a_service_is_told() {
        let mesh = || json!({"hosts": ["reviews"]});
        let at = |gateway: &str| json!({"hosts": ["shop.example"], "gateways": [gateway]});
        for (export, spec, expected) in [
            (
                "~",
                at("shop/x"),
                "refuse: Service shop/reviews is exported to no namespace (annotation networking.istio.io/exportTo): Istio makes it known to no proxy, so requests to it fail (503)",
            ),
            (
                ".",
                mesh(),
                "warn: Service shop/reviews is exported to shop only (annotation networking.istio.io/exportTo): callers in other namespaces do not know it, so their requests fail (503)",
            ),
            (
                "., web",
                mesh(),
                "warn: Service shop/reviews is exported to shop and web only",
            ),
            (
                ".",
                at("edge/x"),
                "warn: Service shop/reviews is exported to shop only (annotation networking.istio.io/exportTo): gateway edge/x does not know it, unless its pods are there, so its requests fail (503)",
            ),
        ] {
            let told = found([Some(export); 2], spec);
            assert!(
                told.len() == 1 && told[0].starts_with(expected),
                "{told:#?}"
            );
        }
        for (export, spec) in [
            ("*", mesh()),
            (".", at("shop/x")),
            (".", json!({"hosts": ["reviews"], "exportTo": ["."]})),
        ] {
            assert_eq!(
                found([Some(export); 2], spec),
                Vec::<String>::new(),
                "{export}"
            );
        }
        let told = found([None, Some(".")], mesh());
        assert!(
            told[0].starts_with("refuse: Service shop/reviews is exported to shop only"),
            "{told:#?}"
        );
    }
}
