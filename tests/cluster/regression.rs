//! A canary that is worse, in each way that a canary can be.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kubectl_canary::rollout::{Cause, EventKind};
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
    app.until_served(100, 0).await;
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

    // The pods are replaced by ones that never become ready.
    let annotation = json!({"kubectl-canary.stack/ready-after": "never"});
    let change = json!({"spec": {"template": {"metadata": {"annotations": annotation}}}});
    stack
        .api("apps/v1", "Deployment", &app.namespace)
        .patch("reviews-v2", &PatchParams::default(), &Patch::Merge(change))
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

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_that_dies_at_50_percent_is_rolled_back_within_two_seconds() {
    let stack = Stack::open().await;
    for round in 1..=3 {
        let app = App::start(&stack, &format!("dies{round}")).await;
        let before = app.spec().await;
        let _load = app.load().rate(80.0).start();
        // The metrics are looked at too seldom to know of it in time.
        let words = "start reviews --analysis threshold --interval 15s --steps 50:60s,100";
        let mut driver = app.canary(words).launch();
        driver
            .until(|event| matches!(event, EventKind::StepStarted { .. }))
            .await;
        app.until_served(50, 50).await;
        tokio::time::sleep(Duration::from_secs(2)).await;

        let died = Timestamp::now();
        let change = json!({"spec": {"replicas": 0}});
        stack
            .api("apps/v1", "Deployment", &app.namespace)
            .patch("reviews-v2", &PatchParams::default(), &Patch::Merge(change))
            .await
            .unwrap();
        let down = |event: &EventKind| {
            matches!(
                event,
                EventKind::RolledBack {
                    cause: Cause::CanaryDown,
                    ..
                }
            )
        };
        let took = driver.until(down).await.at.duration_since(died);
        assert!(
            took < SignedDuration::from_secs(2),
            "{took:?} in round {round}"
        );
        assert_eq!(driver.end().await.code, Some(10));
        app.is_restored_to(&before).await;
        app.finish().await;
    }
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_smoke_test_that_fails_before_50_percent_rolls_back_to_the_exact_spec() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "smoke-test").await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    let mut driver = app
        .rollout("--steps 10,50,100")
        .with(
            "--before-step",
            "sleep 2; test $KUBECTL_CANARY_WEIGHT -lt 50",
        )
        .launch();
    driver
        .until(|event| matches!(event, EventKind::HookStarted { step: 2, .. }))
        .await;
    app.until_served(90, 10).await;
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    assert_eq!(ended.steps(), ["10"]);
    let failed = |event: &EventKind| {
        matches!(
            event,
            EventKind::RolledBack {
                cause: Cause::HookFailed,
                ..
            }
        )
    };
    assert!(ended.told(failed), "{:?}", ended.events);
    app.is_restored_to(&before).await;
    app.until_served(100, 0).await;
    app.finish().await;
}
