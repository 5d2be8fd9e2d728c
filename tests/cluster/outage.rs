//! The mesh refuses the rollback, because its webhook is away.

use kubectl_canary::rollout::EventKind;
use serde_json::json;

use crate::app::App;
use crate::stack::Stack;

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_rollback_that_the_webhook_refuses_is_tried_until_it_works() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "refused").await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    let mut driver = app.rollout("--steps 20:60s,100").launch();
    driver.until_flowing_at("20").await;

    let istiod = stack.stop("istiod").await;
    app.behave("v2", json!({"errors": 0.5})).await;
    let manual = |event: &EventKind| {
        matches!(event, EventKind::Retrying { manual: Some(manual), attempt: 3.., .. }
            if manual.contains("kubectl canary abort reviews"))
    };
    driver.until(manual).await;
    assert_ne!(app.spec().await, before);

    istiod.start().await;
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(10));
    assert!(
        ended.stderr.contains("kubectl canary abort reviews"),
        "{}",
        ended.stderr
    );
    app.is_restored_to(&before).await;
    app.finish().await;
}
