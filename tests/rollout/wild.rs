//! Namespaces as others have them: a few objects in a line each, and what `plan` says of them.

use kubectl_canary::commands::{self, Abort, PlanArgs, RolloutArgs};
use kubectl_canary::plan::{Finding, Level};
use kubectl_canary::report::PlanView;
use kubectl_canary::rollout::{Cause, Outcome};
use kubectl_canary::sandbox::Setup;
use kubectl_canary::{CommandError, Signals};
use serde_json::{Value, json};

use crate::harness::{Shop, begin, with_flags};

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

/// One rule with the split of the tickets, and no match.
pub fn one_split() -> Value {
    json!([{"route": split("tickets")}])
}

/// Makes a spec answer for the tickets in the mesh, and at no gateway.
pub fn on_mesh(spec: &mut Value) {
    spec["hosts"] = json!(["tickets"]);
    spec.as_object_mut().unwrap().remove("gateways");
}

/// Tickets with two versions, their subsets, and these rules at the public gateway.
pub async fn tickets(http: Value, change: impl FnOnce(&mut Setup<'_>)) -> Shop {
    world(|stage| {
        service(stage, "w", "tickets");
        subsets(stage, "w", "tickets", "tickets");
        routes(stage, "w", "tickets", http);
        change(stage);
    })
    .await
}

/// `start NAME -n NAMESPACE --no-wait` with these flags, to a first step of 10 %, and `abort`: what moved is the
/// weights alone, and then all is as it was. Returns the spec between the two.
pub async fn begin_and_abort(shop: &Shop, namespace: &str, name: &str, flags: &[&str]) -> Value {
    let object = || {
        shop.world
            .object("virtualservices", namespace, name)
            .unwrap()
    };
    let without_weights = |mut spec: Value| {
        for kind in ["http", "tls", "tcp"] {
            let rules = spec.get_mut(kind).and_then(Value::as_array_mut);
            let rules = rules.into_iter().flatten();
            let targets = rules.filter_map(|rule| rule.get_mut("route")?.as_array_mut());
            for target in targets.flatten() {
                target.as_object_mut().unwrap().remove("weight");
            }
        }
        spec
    };
    // A rollout keeps its lease there.
    let home = json!({"name": namespace});
    shop.world
        .apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": home}));
    let before = object()["spec"].clone();
    let mut args = begin(with_flags(
        flags.iter().copied().chain(["--steps", "10,50,100"]),
    ));
    args.rollout.name = Some(name.into());
    let started = shop.act("alice@desk", Signals::none(), async |context| {
        namespace.clone_into(&mut context.namespace);
        commands::start(context, &args).await
    });
    started.await.unwrap();
    let meanwhile = object()["spec"].clone();
    assert_ne!(meanwhile, before, "something moves");
    assert_eq!(
        without_weights(meanwhile.clone()),
        without_weights(before.clone())
    );
    let aborted = shop.act("alice@desk", Signals::none(), async |context| {
        namespace.clone_into(&mut context.namespace);
        commands::abort(context, &Abort::of(name)).await
    });
    let outcome = aborted.await.unwrap().finish().unwrap().outcome;
    assert_eq!(outcome, Outcome::RolledBack(Cause::Request));
    let after = object();
    assert_eq!(after["spec"], before);
    let rollout = &after["metadata"]["annotations"]["kubectl-canary.dev/rollout"];
    assert!(rollout.is_null(), "{rollout}");
    meanwhile
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

/// Fails if one of the lines has this in it.
#[track_caller]
pub fn assert_not_said(said: &[String], part: &str) {
    assert!(said.iter().all(|line| !line.contains(part)), "{said:#?}");
}
