//! The counters of the pods themselves, read through the API server.

use jiff::SignedDuration;
use kubectl_canary::rollout::EventKind;
use serde_json::json;

use crate::app::App;
use crate::stack::Stack;

/// Nothing listens there.
const NO_PROMETHEUS: &str = "--prometheus http://127.0.0.1:9";

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_that_fails_everything_at_1_percent_is_off_long_before_a_scrape_of_15_seconds() {
    let stack = Stack::open().await;
    for round in 1..=3 {
        let app = App::start(&stack, &format!("pods{round}")).await;
        app.behave("v2", json!({"errors": 1.0})).await;
        let before = app.spec().await;
        let load = app.load().rate(200.0).start();
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        let ended = app
            .canary("start reviews --sample pods --warmup 0s --steps 1,100")
            .run()
            .await;
        let sent = load.stop().await;
        assert_eq!(ended.code, Some(10), "{:?}", ended.events);
        let at = |is: fn(&EventKind) -> bool| {
            let event = ended.events.iter().find(|event| is(&event.event));
            event.expect("it was told").at
        };
        let first = at(|event| matches!(event, EventKind::StepStarted { .. }));
        let off = at(|event| {
            matches!(
                event,
                EventKind::Tripped { .. } | EventKind::RolledBack { .. }
            )
        });
        let took = off.duration_since(first);
        let done = at(|event| matches!(event, EventKind::RolledBack { .. })).duration_since(first);
        println!(
            "round {round}: off after {took:?}, rolled back after {done:?}, {} failed requests",
            sent.failed()
        );
        // Some 3 s on a quiet machine, of which a busy one may make more.
        assert!(took <= SignedDuration::from_secs(8), "{took:?}");
        assert!(sent.failed() <= 24, "{sent:?}");
        app.is_restored_to(&before).await;
        app.finish().await;
    }
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn without_any_prometheus_the_pods_tell_a_good_canary_from_a_bad_one() {
    let stack = Stack::open().await;
    for (name, errors, code) in [("podsgood", 0.0, 0), ("podsbad", 0.5, 10)] {
        let app = App::start(&stack, name).await;
        app.behave("v2", json!({"errors": errors})).await;
        let load = app.load().rate(200.0).start();
        let words = format!(
            "start reviews --sample pods --warmup 0s --steps 20,100 --dwell 5s {NO_PROMETHEUS}"
        );
        let ended = app.canary(&words).run().await;
        load.stop().await;
        assert_eq!(ended.code, Some(code), "{name}: {:?}", ended.events);
        app.finish().await;
    }
}
