//! Namespaces as others have them: a few objects in a line each, and what `plan` says of them.

use kubectl_canary::commands::{self, PlanArgs, RolloutArgs};
use kubectl_canary::plan::{Finding, Level};
use kubectl_canary::report::PlanView;
use kubectl_canary::sandbox::Setup;
use kubectl_canary::{CommandError, Signals};
use serde_json::{Value, json};

use crate::harness::{Shop, with_flags};

/// A Service with the pods of two workloads, named after it: two of v1, two of v2.
pub fn service(stage: &mut Setup<'_>, namespace: &str, name: &str) {
    service_of(stage, namespace, name, &["v1", "v2"]);
}

/// A Service with two pods of each of these versions.
pub fn service_of(stage: &mut Setup<'_>, namespace: &str, name: &str, versions: &[&str]) {
    stage.apply(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }));
    for version in versions {
        for index in 0..2 {
            stage.apply(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "namespace": namespace, "name": format!("{name}-{version}-6f7-{index}"),
                    "labels": {"app": name, "version": version, "pod-template-hash": "6f7"},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-{version}-6f7"), "uid": "1", "controller": true}],
                },
                "spec": {"containers": [{"name": "app", "image": "app"}, {"name": "istio-proxy", "image": "proxy"}]},
                "status": {
                    "phase": "Running", "podIP": format!("10.9.{}.{index}", version.len()),
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }));
        }
    }
}

/// A DestinationRule with the subsets v1 and v2.
pub fn subsets(stage: &mut Setup<'_>, namespace: &str, name: &str, host: &str) {
    stage.apply(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"host": host, "subsets": [
            {"name": "v1", "labels": {"version": "v1"}},
            {"name": "v2", "labels": {"version": "v2"}},
        ]},
    }));
}

/// A VirtualService at the public gateway.
pub fn routes(stage: &mut Setup<'_>, namespace: &str, name: &str, http: Value) {
    stage.apply(virtual_service(
        namespace,
        name,
        json!({"hosts": [format!("{namespace}.example")], "gateways": ["istio-system/public"], "http": http}),
    ));
}

pub fn virtual_service(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    })
}

/// `v1` with 100 and `v2` with 0 of a host.
pub fn split(host: &str) -> Value {
    json!([
        {"destination": {"host": host, "subset": "v1"}, "weight": 100},
        {"destination": {"host": host, "subset": "v2"}, "weight": 0},
    ])
}

/// A world with this in it.
pub async fn world(change: impl FnOnce(&mut Setup<'_>)) -> Shop {
    Shop::open_with(change).await
}

/// `plan NAME -n NAMESPACE` with these flags.
pub async fn plan(
    shop: &Shop,
    namespace: &str,
    name: &str,
    flags: &[&str],
) -> Result<PlanView, CommandError> {
    let args = PlanArgs {
        rollout: RolloutArgs {
            name: Some(name.into()),
            options: with_flags(flags.iter().copied()),
            ..RolloutArgs::default()
        },
        ..PlanArgs::default()
    };
    shop.act("alice@desk", Signals::none(), async |context| {
        namespace.clone_into(&mut context.namespace);
        commands::plan(context, &args).await
    })
    .await
}

/// What `plan` finds that is not as it should be, a line each: `refuse what: why (try: fix)`.
pub async fn troubles(shop: &Shop, namespace: &str, name: &str, flags: &[&str]) -> Vec<String> {
    let view = plan(shop, namespace, name, flags).await.unwrap();
    said(&view.findings)
}

pub fn said(findings: &[Finding]) -> Vec<String> {
    let found = findings.iter().filter_map(|finding| match finding.level {
        Level::Refuse => Some(format!("refuse {finding}")),
        Level::Warn => Some(format!("warn {finding}")),
        Level::Ok => None,
    });
    found.collect()
}

/// Fails unless one of the lines has all of these in it.
#[track_caller]
pub fn assert_said(said: &[String], parts: &[&str]) {
    assert!(
        said.iter()
            .any(|line| parts.iter().all(|part| line.contains(part))),
        "{parts:?} is not in {said:#?}"
    );
}
