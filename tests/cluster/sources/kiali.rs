//! Somebody moves the weights in Kiali's dialog, which replaces the whole list of routes.

use std::time::Duration;

use kubectl_canary::rollout::EventKind;
use serde_json::json;

use super::RATE;
use super::shares::{SETTLED, assert_share};
use super::source::{Source, to};
use super::staff::{HOST, SAFE_AND_RISKY, from_90};
use crate::program::{Ended, Running};
use crate::stack::Stack;

/// What Kiali's dialog writes: one rule, without whatever else stood in it.
async fn drag_the_slider(source: &Source, safe: u64, risky: u64) {
    let route = [to(HOST, "safe-group", safe), to(HOST, "risky-group", risky)];
    source
        .edit("kiali", &json!({"spec": {"http": [{"route": route}]}}))
        .await;
}

/// A rollout with this policy that stands at 50 % with requests on the canary.
async fn at_50(source: &Source, policy: &str) -> Running {
    let words = format!("--steps 50:6s,100 --on-drift {policy}");
    let mut driver = source.rollout(&words).launch();
    driver.until_flowing_at("50").await;
    driver
}

fn names_kiali(ended: &Ended, expected: &str) {
    let named = |event: &EventKind| {
        matches!(event, EventKind::Drifted { manager, drift, .. }
            if manager == "kiali" && drift.to_string().contains(expected))
    };
    assert!(ended.told(named), "{:?}", ended.events);
    assert!(ended.stderr.contains("kiali"), "{}", ended.stderr);
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn weights_from_kiali_stop_the_rollout_and_stay() {
    let stack = Stack::open().await;
    let source = from_90(&stack).await;
    let before = source.spec().await;
    let _load = source.load().rate(RATE).start();
    let driver = at_50(&source, "stop").await;
    drag_the_slider(&source, 60, 40).await;
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(14));
    names_kiali(
        &ended,
        "http[0] has weights 60/40, this rollout knows 50/50",
    );
    assert_eq!(source.weights("http", 0).await, [60, 40]);
    tokio::time::sleep(SETTLED).await;
    let answers = source.answered_for(Duration::from_secs(2)).await;
    assert_share("Kiali's 40 %", &answers, SAFE_AND_RISKY, 0.4);
    // The way back is still known.
    assert_eq!(source.canary("abort", "").run().await.code, Some(0));
    source.is_as_it_was(&before).await;
    source.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn weights_from_kiali_are_rolled_back_if_the_policy_says_so() {
    let stack = Stack::open().await;
    let source = from_90(&stack).await;
    let before = source.spec().await;
    let _load = source.load().rate(RATE).start();
    let driver = at_50(&source, "rollback").await;
    drag_the_slider(&source, 60, 40).await;
    let ended = driver.end().await;
    names_kiali(&ended, "60/40");
    assert_eq!(ended.code, Some(14));
    source.is_as_it_was(&before).await;
    source.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn weights_from_kiali_are_set_again_if_the_policy_says_so() {
    let stack = Stack::open().await;
    let source = from_90(&stack).await;
    let _load = source.load().rate(RATE).start();
    let mut driver = at_50(&source, "reassert").await;
    drag_the_slider(&source, 100, 0).await;
    driver
        .until(|event| matches!(event, EventKind::Drifted { .. }))
        .await;
    tokio::time::sleep(SETTLED).await;
    let answers = source.answered_for(Duration::from_secs(2)).await;
    assert_share("50 % again", &answers, SAFE_AND_RISKY, 0.5);
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(0));
    names_kiali(&ended, "100/0");
    assert_eq!(source.weights("http", 0).await, [0, 100]);
    source.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_rule_that_kiali_replaced_by_another_is_named_and_left_alone() {
    let stack = Stack::open().await;
    let source = from_90(&stack).await;
    let named = json!([{"name": "photographs", "timeout": "5s", "route": source.spec().await["http"][0]["route"]}]);
    source
        .edit("tests", &json!({"spec": {"http": named}}))
        .await;
    let _load = source.load().rate(RATE).start();
    let driver = at_50(&source, "stop").await;
    drag_the_slider(&source, 60, 40).await;
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(14));
    names_kiali(
        &ended,
        "1 of the 1 chosen routes were deleted or send elsewhere now",
    );
    assert_eq!(source.weights("http", 0).await, [60, 40]);
    source.finish().await;
}
