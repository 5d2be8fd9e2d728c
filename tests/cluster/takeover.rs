//! A driver that died without a word.

use kubectl_canary::rollout::EventKind;
use serde_json::Value;

use crate::app::App;
use crate::program::Running;
use crate::stack::Stack;

/// A rollout at 20 % whose driver is dead.
async fn orphan(mut driver: Running) {
    driver.until_flowing_at("20").await;
    driver.kill().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn abort_restores_the_exact_weights_of_a_driver_that_was_killed() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "killed").await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    orphan(app.rollout("--steps 20:60s,100").launch()).await;
    assert_ne!(app.spec().await, before);
    assert!(app.annotation("rollout").await.is_some());

    let aborted = app.canary("abort reviews").run().await;
    assert_eq!(aborted.code, Some(0));
    app.is_restored_to(&before).await;
    let took = aborted.events.iter().find_map(|event| match event.event {
        EventKind::RolledBack { took_millis, .. } => Some(took_millis),
        _ => None,
    });
    let took = took.expect("it says what it did");
    assert!(
        aborted
            .stderr
            .contains(&format!("restored and verified in {took}ms")),
        "{}",
        aborted.stderr
    );
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn resume_drives_on_to_the_end_after_the_driver_was_killed() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "resumed").await;
    let _load = app.load().rate(200.0).start();
    orphan(app.rollout("--steps 20,50,100").launch()).await;

    let resumed = app.canary("resume reviews").run().await;
    assert_eq!(resumed.code, Some(0));
    let steps = resumed.steps();
    assert_eq!(steps[steps.len() - 2..], ["50", "100"], "{steps:?}");
    let spec: Value = serde_json::from_str(&app.spec().await).unwrap();
    assert_eq!(spec["http"][0]["route"][1]["weight"], 100);
    assert_eq!(app.annotation("rollout").await, None);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_resumed_rollout_still_goes_back_to_the_weights_before_it_all() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "regressed").await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    orphan(app.rollout("--steps 20:60s,100").launch()).await;
    app.behave("v2", serde_json::json!({"errors": 0.5})).await;
    let resumed = app.canary("resume reviews").run().await;
    assert_eq!(resumed.code, Some(10));
    app.is_restored_to(&before).await;
    app.finish().await;
}
