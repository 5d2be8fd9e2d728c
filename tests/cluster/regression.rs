//! A canary that is worse, in each way that a canary can be.

use kube::api::{DeleteParams, ListParams};
use kubectl_canary::record::{Cause, EventKind};
use serde_json::json;

use crate::app::App;
use crate::stack::Stack;

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_with_20_percent_errors_is_rolled_back_to_the_exact_spec() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "errors").await;
    app.behave("v2", json!({"errors": 0.2})).await;
    let before = app.spec().await;
    let load = app.load().rate(200.0).start();
    let url = format!(
        "--steps 10,50,100 --prometheus {}",
        stack.description.prometheus.url
    );
    let ended = app.rollout(&url).run().await;
    let sent = load.stop().await;
    assert_eq!(ended.code, Some(10));
    assert_eq!(ended.steps(), ["10"]);
    app.is_restored_to(&before).await;
    assert!(sent.failed() > 0, "{sent:?}");
    let sent = app.load().rate(200.0).requests(100).run().await;
    assert_eq!(sent.answered("v1"), 100, "{sent:?}");
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_that_never_answers_is_rolled_back() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "silent").await;
    app.behave("v2", json!({"errors": 1.0, "failure": "reset"}))
        .await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    let ended = app.rollout("--steps 10,100").run().await;
    assert_eq!(ended.code, Some(10));
    app.is_restored_to(&before).await;
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_whose_pods_stop_being_ready_is_rolled_back() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "unready").await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    let mut driver = app.rollout("--steps 10:60s,100").launch();
    driver.until_flowing_at("10").await;

    // New pods never become ready, and then there are only new ones.
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "reviews-v2", "namespace": app.namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "reviews", "version": "v2"}},
            "template": {
                "metadata": {
                    "labels": {"app": "reviews", "version": "v2"},
                    "annotations": {"kubectl-canary.stack/ready-after": "never"},
                },
                "spec": {"containers": [{"name": "reviews", "image": "stack/reviews:v2"}]},
            },
        },
    });
    stack.apply(&deployment).await.unwrap();
    let old = ListParams::default().labels("version=v2");
    let pods = stack.api("v1", "Pod", &app.namespace);
    pods.delete_collection(&DeleteParams::default().grace_period(0), &old)
        .await
        .unwrap();

    let ended = driver.end().await;
    assert_eq!(ended.code, Some(10));
    let down = |event: &EventKind| {
        matches!(
            event,
            EventKind::RolledBack {
                cause: Cause::CanaryDown | Cause::Regression,
                ..
            }
        )
    };
    assert!(ended.told(down), "{:?}", ended.events);
    app.is_restored_to(&before).await;
    app.finish().await;
}
