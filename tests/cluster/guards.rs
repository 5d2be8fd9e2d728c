//! Queries of the user's own, put to a real Prometheus.

use std::time::Duration;

use kubectl_canary::rollout::{EventKind, GuardProblem, Reason};
use serde_json::json;

use crate::app::App;
use crate::program::Program;
use crate::stack::Stack;

const RATE: f64 = 200.0;

/// Until Prometheus has scraped the pods a few times.
const WATCHED: Duration = Duration::from_secs(5);

/// What the guard says of counters in which one version loses more than the other.
const ORDERS: &str = "{name: orders, interval: 1s, \
    bad: 'orders_total{namespace=\"{{namespace}}\",pod=~\"{{version.pods}}\",result=\"lost\"}', \
    total: 'orders_total{namespace=\"{{namespace}}\",workload=\"{{version.workload}}\"}'}";

const QUEUE: &str = "{name: queue, interval: 1s, onFailure: hold, max: 100, \
    query: 'max(order_queue_length{namespace=\"{{namespace}}\",pod=~\"{{canary.pods}}\"})'}";

/// Judged by evidence in steps of five seconds, with a guard.
fn guarded(app: &App, guard: &str) -> Program {
    let words = "--preset quick --warmup 0s --ignore-latency --steps 20,100 --dwell 5s";
    let rollout = app.canary(&format!("start reviews {words}"));
    rollout.with("--guard", guard)
}

fn said(event: &EventKind, what: impl Fn(&GuardProblem) -> bool) -> bool {
    let reasons = match event {
        EventKind::Analyzed { reasons, .. } | EventKind::Regressed { reasons, .. } => reasons,
        _ => return false,
    };
    let problem =
        |reason: &Reason| matches!(reason, Reason::Guard { problem, .. } if what(problem));
    reasons.iter().any(problem)
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn orders_that_are_lost_behind_a_good_answer_are_seen_by_their_counters_alone() {
    let stack = Stack::open().await;
    for (name, lost, code) in [("ordersgood", 0.0, 0), ("ordersbad", 0.2, 10)] {
        let app = App::start(&stack, name).await;
        app.behave("v2", json!({"lost_orders": lost})).await;
        let before = app.spec().await;
        let load = app.load().rate(RATE).start();
        tokio::time::sleep(WATCHED).await;
        let ended = guarded(&app, ORDERS).run().await;
        let sent = load.stop().await;
        assert_eq!(ended.code, Some(code), "{name}: {:#?}", ended.events);
        // Nothing that a proxy counts was amiss.
        assert_eq!(sent.failed(), 0, "{name}");
        let worse = |event: &EventKind| {
            said(event, |problem| {
                matches!(problem, GuardProblem::Worse { .. })
            })
        };
        assert_eq!(ended.told(worse), code == 10, "{name}: {:#?}", ended.events);
        if code == 10 {
            app.is_restored_to(&before).await;
        }
        app.finish().await;
    }
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_queue_that_is_too_long_holds_the_step_until_it_is_short_again() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "queue").await;
    app.behave("v2", json!({"queue": 500})).await;
    let load = app.load().rate(RATE).start();
    tokio::time::sleep(WATCHED).await;
    let mut driver = guarded(&app, QUEUE).launch();
    driver.until_flowing_at("20").await;
    let too_long = |event: &EventKind| {
        said(
            event,
            |problem| matches!(problem, GuardProblem::OverMax { value, .. } if *value == 500.0),
        )
    };
    driver.until(too_long).await;
    // Twice the dwell later it is still there.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let passed = |event: &EventKind| matches!(event, EventKind::StepPassed { .. });
    assert!(!driver.events().iter().any(|event| passed(&event.event)));
    app.behave("v2", json!({"queue": 5})).await;
    let ended = driver.end().await;
    load.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.events);
    assert!(ended.told(passed), "{:#?}", ended.events);
    app.finish().await;
}
