//! A canary that is well.

use std::time::Duration;

use kubectl_canary::rollout::EventKind;
use serde_json::Value;

use crate::app::App;
use crate::stack::Stack;

/// Requests a second.
const RATE: f64 = 300.0;

/// How long after a step's PATCH the proxies may still route as before; a tenth of it is usual.
const SETTLED: Duration = Duration::from_millis(700);

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_healthy_canary_reaches_100_percent_and_its_share_follows_each_weight() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "healthy").await;
    let load = app.load().rate(RATE).start();
    // Through the API server's service proxy, as it is by default.
    let prometheus = &stack.description.prometheus.service;
    let words = format!("--steps 1:7s,10:4s,50,100 --bake 3s --prometheus {prometheus}");
    let mut driver = app.rollout(&words).launch();

    for (weight, share, seconds) in [
        ("1", 0.01, 5),
        ("10", 0.1, 2),
        ("50", 0.5, 2),
        ("100", 1.0, 1),
    ] {
        driver
            .until(|event| {
                matches!(event, EventKind::StepStarted { exposure, .. } if exposure.share().to_string() == weight)
            })
            .await;
        tokio::time::sleep(SETTLED).await;
        app.take_counts().await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let counts = app.counts().await.versions;
        let of = |version: &str| counts.get(version).map_or(0, |count| count.ok) as f64;
        let (all, canary) = (of("v1") + of("v2"), of("v2"));
        // Five standard deviations of a fair draw: one run in a million misses them.
        let slack = 5.0 * (all * share * (1.0 - share)).sqrt();
        println!(
            "{weight} %: {canary} of {all}, {:.1} expected, give or take {slack:.1}",
            all * share
        );
        assert!(all > 0.9 * RATE * seconds as f64, "{counts:?}");
        assert!((canary - all * share).abs() <= slack, "{counts:?}");
    }

    let ended = driver.end().await;
    let sent = load.stop().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.steps(), ["1", "10", "50", "100"]);
    assert_eq!(sent.failed(), 0, "shifting weights fails nobody: {sent:?}");
    let spec: Value = serde_json::from_str(&app.spec().await).unwrap();
    assert_eq!(spec["http"][0]["route"][0]["weight"], 0);
    assert_eq!(spec["http"][0]["route"][1]["weight"], 100);
    assert_eq!(app.annotation("rollout").await, None);
    assert!(app.annotation("last").await.unwrap().contains("promoted"));
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn results_go_to_stdout_and_the_story_to_stderr() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "output").await;
    let load = app.load().rate(RATE).start();
    let ended = app.rollout("--steps 50,100 -o json").run().await;
    assert_eq!(ended.code, Some(0));
    let summary: Value =
        serde_json::from_str(&ended.stdout).expect("stdout holds JSON and no more");
    assert_eq!(summary["outcome"]["kind"], "promoted");
    assert_eq!(summary["exitCode"], 0);
    assert_eq!(summary["namespace"], app.namespace);
    assert!(
        summary["totalCounts"]["canary"]["requests"]
            .as_u64()
            .unwrap()
            > 0
    );
    for line in ["step 1/2", "traffic", "step 2/2", "promoted"] {
        assert!(ended.stderr.contains(line), "no {line}: {}", ended.stderr);
    }
    // The file was read line by line as JSON already.
    assert!(ended.told(|event| matches!(event, EventKind::Planned { .. })));
    assert!(ended.told(|event| matches!(event, EventKind::Finished { .. })));
    drop(load);
    app.finish().await;
}
