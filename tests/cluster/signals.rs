//! Ctrl-C and SIGTERM.

use std::time::{Duration, Instant};

use crate::app::App;
use crate::stack::Stack;

/// From the signal to safe traffic and the end of the process.
const PROMISED: Duration = Duration::from_secs(7);

async fn takes_the_traffic_back_on(signal: &str, name: &str) {
    let stack = Stack::open().await;
    let app = App::start(&stack, name).await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    let mut driver = app.rollout("--steps 20:60s,100").launch();
    driver.until_flowing_at("20").await;
    let sent = Instant::now();
    driver.signal(signal);
    let ended = driver.end().await;
    println!("SIG{signal} to the end: {:?}", sent.elapsed());
    assert_eq!(ended.code, Some(11));
    assert!(sent.elapsed() < PROMISED, "{:?}", sent.elapsed());
    app.is_restored_to(&before).await;
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn sigterm_restores_the_original_spec() {
    takes_the_traffic_back_on("TERM", "sigterm").await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn ctrl_c_restores_the_original_spec() {
    takes_the_traffic_back_on("INT", "ctrl-c").await;
}
