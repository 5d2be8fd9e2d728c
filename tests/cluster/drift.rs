//! Somebody else who changes the weights in the middle of a rollout.

use kube::api::{Patch, PatchParams};
use kubectl_canary::rollout::EventKind;
use serde_json::json;

use crate::app::App;
use crate::stack::Stack;

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_foreign_edit_is_not_overwritten_and_its_manager_is_named() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "drift").await;
    let _load = app.load().rate(200.0).start();
    let mut driver = app.rollout("--steps 10:60s,100").launch();
    driver.until_flowing_at("10").await;

    let edit: json_patch::Patch = serde_json::from_value(json!([
        {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 60},
        {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": 40},
    ]))
    .unwrap();
    let manager = PatchParams {
        field_manager: Some("argocd-controller".into()),
        ..PatchParams::default()
    };
    stack
        .virtual_services(&app.namespace)
        .patch("reviews", &manager, &Patch::<()>::Json(edit))
        .await
        .unwrap();
    let edited = app.spec().await;

    let ended = driver.end().await;
    assert_eq!(ended.code, Some(14));
    assert!(
        ended.stderr.contains("argocd-controller"),
        "{}",
        ended.stderr
    );
    let named = |event: &EventKind| matches!(event, EventKind::Drifted { manager, .. } if manager == "argocd-controller");
    assert!(ended.told(named), "{:?}", ended.events);
    assert_eq!(app.spec().await, edited);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn an_edit_that_leaves_the_routes_alone_disturbs_nobody() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "label").await;
    let _load = app.load().rate(200.0).start();
    let mut driver = app.rollout("--steps 20,100").launch();
    driver.until_flowing_at("20").await;
    let label = json!({"metadata": {"labels": {"team": "reviews"}}, "spec": {"exportTo": ["*"]}});
    stack
        .virtual_services(&app.namespace)
        .patch("reviews", &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(0));
    let spec: serde_json::Value = serde_json::from_str(&app.spec().await).unwrap();
    assert_eq!(spec["exportTo"], json!(["*"]));
    assert_eq!(spec["http"][0]["route"][1]["weight"], 100);
    app.finish().await;
}
