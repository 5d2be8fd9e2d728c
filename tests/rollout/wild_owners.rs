//! Objects that a controller has made or manages, as they are found in clusters.

use kubectl_canary::sandbox::Setup;
use serde_json::{Value, json};

use crate::wild::{assert_said, plan, routes, service, split, subsets, troubles, world};

async fn owned(metadata: Value) -> (crate::harness::Shop, Vec<String>) {
    let shop = world(|stage: &mut Setup<'_>| {
        service(stage, "w32", "tickets");
        subsets(stage, "w32", "tickets", "tickets");
        routes(
            stage,
            "w32",
            "tickets",
            json!([{"route": split("tickets")}]),
        );
        stage.edit("virtualservices", "w32", "tickets", "setup", |vs| {
            for (key, value) in metadata.as_object().unwrap() {
                vs["metadata"][key] = value.clone();
            }
        });
    })
    .await;
    let said = troubles(&shop, "w32", "tickets", &[]).await;
    (shop, said)
}

#[tokio::test(start_paused = true)]
async fn flaggers_own_routes_are_left_to_flagger() {
    let (shop, said) = owned(json!({
        "ownerReferences": [{"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "pay", "uid": "1", "controller": true, "blockOwnerDeletion": true}],
        "labels": {"app.kubernetes.io/managed-by": "flagger"},
        "annotations": {"helm.toolkit.fluxcd.io/driftDetection": "disabled", "kustomize.toolkit.fluxcd.io/reconcile": "disabled"},
    }))
    .await;
    assert_said(
        &said,
        &[
            "refuse Flagger owns virtualservice w32/tickets",
            "\"suspend\":true",
            "--ignore-owner",
        ],
    );
    let ignored = plan(&shop, "w32", "tickets", &["--ignore-owner"])
        .await
        .unwrap();
    assert!(
        !crate::wild::said(&ignored.findings)
            .iter()
            .any(|line| line.starts_with("refuse Flagger"))
    );
}

#[tokio::test(start_paused = true)]
async fn argo_cd_is_known_by_its_instance_label_alone() {
    let (_, said) = owned(json!({"labels": {"argocd.argoproj.io/instance": "shop"}})).await;
    assert_said(
        &said,
        &[
            "refuse Argo CD owns virtualservice w32/tickets",
            "in Application shop",
        ],
    );
}
