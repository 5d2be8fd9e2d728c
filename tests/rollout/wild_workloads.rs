//! Workloads as others scale, inject and own them.

use kubectl_canary::sandbox::{Denial, Setup};
use serde_json::{Value, json};

use crate::wild::{assert_not_said, assert_said, begin_and_abort, one_split, tickets, troubles};

/// What `plan` finds of the tickets with this changed.
async fn found(change: impl FnOnce(&mut Setup<'_>)) -> Vec<String> {
    let shop = tickets(one_split(), change).await;
    troubles(&shop, "w", "tickets", &["--canary", "v2"]).await
}

/// The pods of a version.
fn pods_of(stage: &Setup<'_>, version: &str) -> Vec<String> {
    let mut names = stage.names("pods", "w");
    names.retain(|name| name.contains(&format!("-{version}-")));
    names
}

fn edit_pods(stage: &mut Setup<'_>, version: &str, change: impl Fn(&mut Value)) {
    for name in pods_of(stage, version) {
        stage.edit("pods", "w", &name, "setup", &change);
    }
}

/// A workload of the canary that has no pod.
fn without_pods(stage: &mut Setup<'_>, kind: &str, replicas: u32) {
    for name in pods_of(stage, "v2") {
        stage.delete("pods", "w", &name);
    }
    let labels = json!({"app": "tickets", "version": "v2"});
    stage.apply(json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"namespace": "w", "name": "tickets-v2"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app"}]}},
        },
    }));
}

fn autoscaler(stage: &mut Setup<'_>, most: u32, owner: Value) {
    stage.apply(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "w", "name": "keda-hpa-tickets-v2", "ownerReferences": owner},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "tickets-v2"},
            "minReplicas": 1, "maxReplicas": most, "metrics": [],
        },
    }));
}

fn keda() -> Value {
    json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "queue", "uid": "1", "controller": true}])
}

#[tokio::test(start_paused = true)]
async fn a_canary_at_no_replicas_is_named_with_the_command_that_scales_it() {
    for kind in ["Deployment", "StatefulSet"] {
        let said = found(|stage| without_pods(stage, kind, 0)).await;
        let kind = kind.to_lowercase();
        let what =
            format!("refuse {kind} w/tickets-v2 of canary v2 has 0 replicas (spec.replicas)");
        let fix = format!("(try: kubectl scale {kind} tickets-v2 -n w --replicas=2)");
        assert_said(&said, &[&what, &fix]);
        assert_not_said(&said, "selects no pod");
    }
    let said = found(|stage| without_pods(stage, "Deployment", 3)).await;
    assert_said(
        &said,
        &[
            "refuse deployment w/tickets-v2 of canary v2 wants 3 pods and has none",
            "(try: kubectl describe deployment tickets-v2 -n w)",
        ],
    );
    // Whose Deployments may not be seen is told what can be.
    let said = found(|stage| {
        without_pods(stage, "Deployment", 0);
        stage.deny(Denial::of("list", "deployments"));
    })
    .await;
    assert_said(
        &said,
        &["refuse canary v2 of tickets.w.svc.cluster.local selects no pod"],
    );
}

#[tokio::test(start_paused = true)]
async fn replicas_are_asked_of_whoever_keeps_them() {
    let at_none = |owner: Value| {
        found(move |stage| {
            without_pods(stage, "Deployment", 0);
            autoscaler(stage, 5, owner);
        })
    };
    // Kubernetes' own leaves a workload at 0 alone, and what was scaled by hand in peace above its least.
    assert_said(
        &at_none(json!([])).await,
        &["(try: kubectl scale deployment tickets-v2 -n w --replicas=2)"],
    );
    let patch = "(try: kubectl patch scaledobject queue -n w --type merge -p '{\"spec\":{\"minReplicaCount\":2}}')";
    assert_said(&at_none(keda()).await, &["has 0 replicas", patch]);
    let with_one = |owner: Value| {
        found(move |stage| {
            let name = pods_of(stage, "v2").remove(0);
            stage.delete("pods", "w", &name);
            autoscaler(stage, 1, owner);
        })
    };
    let few = "warn canary v2 has 1 ready pod, stable v1 has 2";
    let patch = "(try: kubectl patch hpa keda-hpa-tickets-v2 -n w -p '{\"spec\":{\"minReplicas\":2,\"maxReplicas\":2}}')";
    assert_said(&with_one(json!([])).await, &[few, patch]);
    let patch = "(try: kubectl patch scaledobject queue -n w --type merge -p '{\"spec\":{\"minReplicaCount\":2,\"maxReplicaCount\":2}}')";
    assert_said(&with_one(keda()).await, &[few, patch]);
}

#[tokio::test(start_paused = true)]
async fn a_canary_without_a_sidecar_is_told_and_refused_where_only_mutual_tls_is_sent() {
    fn bare(stage: &mut Setup<'_>, version: &str) {
        stage.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "w"}}));
        edit_pods(stage, version, |pod| {
            pod["metadata"]["labels"]["sidecar.istio.io/inject"] = "false".into();
            pod["spec"]["containers"] = json!([{"name": "app", "image": "app"}]);
        });
    }
    fn mutual(stage: &mut Setup<'_>) {
        stage.edit("destinationrules", "w", "tickets", "setup", |rule| {
            rule["spec"]["trafficPolicy"] = json!({"tls": {"mode": "ISTIO_MUTUAL"}});
        });
    }
    let told = "warn pods of canary v2 have no sidecar, those of stable v1 have";
    let sent = "sends mutual TLS to canary v2, whose pods have no sidecar";
    let said = found(|stage| bare(stage, "v2")).await;
    assert_said(&said, &[told]);
    assert_not_said(&said, sent);
    let said = found(|stage| {
        bare(stage, "v2");
        mutual(stage);
    })
    .await;
    assert_said(
        &said,
        &[
            "refuse DestinationRule w/tickets (spec.trafficPolicy.tls.mode: ISTIO_MUTUAL)",
            sent,
        ],
    );
    // Both: as today.
    let said = found(|stage| {
        bare(stage, "v1");
        bare(stage, "v2");
    })
    .await;
    assert_not_said(&said, told);
    // Ztunnel carries the requests of the one, a sidecar those of the other.
    let said = found(|stage| {
        bare(stage, "v2");
        mutual(stage);
        edit_pods(stage, "v2", |pod| {
            pod["metadata"]["labels"]["istio.io/dataplane-mode"] = "ambient".into();
        });
    })
    .await;
    assert_not_said(&said, "no sidecar");
}

#[tokio::test(start_paused = true)]
async fn pods_of_whatever_controller_are_shifted_and_restored() {
    for (kind, version) in [
        ("StatefulSet", "apps/v1"),
        ("DaemonSet", "apps/v1"),
        ("Rollout", "argoproj.io/v1alpha1"),
        ("Revision", "serving.knative.dev/v1"),
        ("Job", "batch/v1"),
        ("CloneSet", "apps.kruise.io/v1alpha1"),
    ] {
        let shop = tickets(one_split(), |stage| {
            edit_pods(stage, "v2", |pod| {
                pod["metadata"]["ownerReferences"][0]["kind"] = kind.into();
                pod["metadata"]["ownerReferences"][0]["apiVersion"] = version.into();
            });
        })
        .await;
        begin_and_abort(&shop, "w", "tickets", &["--canary", "v2"]).await;
    }
}
