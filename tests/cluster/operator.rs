//! A second person beside a driver that lives.

use std::time::Duration;

use kubectl_canary::rollout::EventKind;

use crate::app::App;
use crate::stack::Stack;

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn pause_promote_and_resume_work_beside_the_driver() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "beside").await;
    let _load = app.load().rate(200.0).start();
    let mut driver = app.rollout("--steps 20,50:pause,100").launch();
    driver.until_flowing_at("20").await;

    assert_eq!(app.canary("pause reviews").run().await.code, Some(0));
    driver
        .until(|event| matches!(event, EventKind::Paused { .. }))
        .await;
    let paused = app.spec().await;
    // Longer than the step would have taken.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(app.spec().await, paused);

    let second = app.rollout("--steps 30,100").run().await;
    assert_eq!(second.code, Some(5), "another start is refused");
    assert!(second.stderr.contains("held by"), "{}", second.stderr);

    assert_eq!(app.canary("resume reviews").run().await.code, Some(0));
    driver
        .until(|event| matches!(event, EventKind::Resumed { .. }))
        .await;
    driver
        .until(|event| matches!(event, EventKind::Waiting { .. }))
        .await;
    let promoted = app.canary("promote reviews").run().await;
    assert_eq!(promoted.code, Some(0));
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(app.annotation("rollout").await, None);
    let spec: serde_json::Value = serde_json::from_str(&app.spec().await).unwrap();
    assert_eq!(spec["http"][0]["route"][1]["weight"], 100);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn an_abort_beside_the_driver_ends_the_driver_too() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "abort").await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    let mut driver = app.rollout("--steps 20:60s,100").launch();
    driver.until_flowing_at("20").await;
    let aborted = app.canary("abort reviews").run().await;
    assert_eq!(aborted.code, Some(0));
    app.is_restored_to(&before).await;
    assert_eq!(driver.end().await.code, Some(11));
    let again = app.canary("abort reviews").run().await;
    assert_eq!(again.code, Some(0), "aborting twice is no error");
    app.is_restored_to(&before).await;
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_pipeline_takes_the_steps_by_itself() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "pipeline").await;
    let _load = app.load().rate(200.0).start();
    let first = app.rollout("--steps 20,50,100 --no-wait").run().await;
    assert_eq!(first.code, Some(0));
    assert_eq!(first.steps(), ["20"]);
    let next = app.canary("promote reviews --wait").run().await;
    assert_eq!(next.code, Some(0), "50 % has passed");
    let full = app.canary("promote reviews --full").run().await;
    assert_eq!(full.code, Some(0));
    assert_eq!(app.annotation("rollout").await, None);
    assert!(app.annotation("last").await.unwrap().contains("promoted"));
    app.finish().await;
}
