//! A driver whose connections to the API server are lost without a word.

use std::time::{Duration, Instant};

use kubectl_canary::rollout::EventKind;

use crate::app::App;
use crate::call_proxy::CallProxy;
use crate::stack::Stack;
use crate::wire::Wire;

/// How late what others do may be seen, and the time that a process takes to end.
const LATEST: Duration = Duration::from_secs(12);

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn what_others_do_at_a_gate_is_seen_within_seconds_of_a_lost_watch() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "silence").await;
    let _load = app.load().rate(200.0).start();
    for (command, code) in [("abort reviews", 11), ("promote reviews --full", 0)] {
        let wire = Wire::before(&stack.description.kubeconfig.admin).await;
        let mut driver = app
            .rollout("--steps 20:pause,100")
            .with_kubeconfig(wire.kubeconfig())
            .launch();
        driver
            .until(|event| matches!(event, EventKind::Waiting { .. }))
            .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        wire.lose_connections();
        let done = app.canary(command).run().await;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let began = Instant::now();
        let ended = driver.end().await;
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(began.elapsed() < LATEST, "after {:?}", began.elapsed());
    }
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn what_others_do_at_a_gate_is_seen_within_seconds_although_every_watch_is_swallowed() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "muted").await;
    let _load = app.load().rate(200.0).start();
    for (command, code) in [("abort reviews", 11), ("promote reviews --full", 0)] {
        let proxy = CallProxy::open(&stack).await;
        let mut driver = app
            .rollout("--steps 20:pause,100")
            .with_kubeconfig(proxy.kubeconfig())
            .launch();
        driver
            .until(|event| matches!(event, EventKind::Waiting { .. }))
            .await;
        proxy.mute_watches();
        let done = app.canary(command).run().await;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let began = Instant::now();
        let ended = driver.end().await;
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(began.elapsed() < LATEST, "after {:?}", began.elapsed());
    }
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn connections_that_are_lost_again_and_again_stop_no_rollout() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "lossy").await;
    let _load = app.load().rate(200.0).start();
    let wire = Wire::before(&stack.description.kubeconfig.admin).await;
    let driver = app
        .rollout("--steps 20,50,100")
        .with_kubeconfig(wire.kubeconfig())
        .launch();
    let losing = async {
        loop {
            tokio::time::sleep(Duration::from_secs(4)).await;
            wire.lose_connections();
        }
    };
    let ended = tokio::select! {
        ended = driver.end() => ended,
        () = losing => unreachable!("it goes on for ever"),
    };
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    app.finish().await;
}
