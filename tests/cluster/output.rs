//! Nobody reads what the driver writes, while its traffic is real.

use std::time::{Duration, Instant};

use kubectl_canary::rollout::EventKind;
use serde_json::json;

use crate::app::App;
use crate::stack::Stack;

/// From a canary that breaks to the end of the process: scrapes, looks, and the wait for a reader.
const PROMISED: Duration = Duration::from_secs(30);

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_that_breaks_is_rolled_back_while_nobody_reads_stderr() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "unread").await;
    let before = app.spec().await;
    let load = app.load().rate(200.0).start();
    let mut driver = app.rollout("--steps 20:60s,100").unread().launch();
    driver.until_flowing_at("20").await;
    app.take_counts().await;
    let broke = Instant::now();
    app.behave("v2", json!({"errors": 0.5})).await;
    let back = |event: &EventKind| matches!(event, EventKind::RolledBack { .. });
    driver.until(back).await;
    println!("from the break to restored: {:?}", broke.elapsed());
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(10));
    assert!(broke.elapsed() < PROMISED, "{:?}", broke.elapsed());
    assert!(ended.stdout.contains("rolled back"), "{}", ended.stdout);
    app.is_restored_to(&before).await;
    app.until_served(100, 0).await;
    let failed = app.counts().await.versions["v2"].failed;
    println!("{failed} requests failed on v2 of {:?}", load.stop().await);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn sigterm_restores_the_original_spec_while_nobody_reads_stderr() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "unread-sigterm").await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    let mut driver = app.rollout("--steps 20:60s,100").unread().launch();
    driver.until_flowing_at("20").await;
    let sent = Instant::now();
    driver.signal("TERM");
    let back = |event: &EventKind| matches!(event, EventKind::RolledBack { .. });
    driver.until(back).await;
    println!("SIGTERM to restored: {:?}", sent.elapsed());
    let ended = driver.end().await;
    println!("SIGTERM to the end: {:?}", sent.elapsed());
    assert_eq!(ended.code, Some(11));
    assert!(
        sent.elapsed() < Duration::from_secs(7),
        "{:?}",
        sent.elapsed()
    );
    app.is_restored_to(&before).await;
    app.finish().await;
}
