//! What the verdict makes of traffic on which a rule of thumb goes wrong, and of its own past.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubectl_canary::rollout::{Cause, Event, EventKind, Reason};
use kubectl_canary::verdict;
use kubectl_canary::verdict::sequential::{AnalysisState, Evidence, Hold};
use serde_json::{Value, json};

use crate::app::App;
use crate::meddler::{Meddler, Mischief};
use crate::stack::Stack;

/// Requests a second.
const RATE: f64 = 200.0;

/// How long requests flow before a rollout, so that there is something to compare with.
const WATCHED: Duration = Duration::from_secs(5);

/// `start reviews` with a verdict by evidence: ten seconds a step, pods as old as they like.
///
/// Failures alone: after seconds of a past, one stall of a machine on which everything runs at once makes
/// any bound on durations of a millisecond wide.
fn judged(prometheus: &str, words: &str) -> String {
    let preset = "--preset quick --warmup 0s --ignore-latency";
    format!("start reviews {preset} --prometheus {prometheus} {words}")
}

fn direct(stack: &Stack, words: &str) -> String {
    judged(&stack.description.prometheus.url, words)
}

fn looked(event: &EventKind) -> Option<&Evidence> {
    match event {
        EventKind::Analyzed { evidence, .. } => evidence.as_deref(),
        _ => None,
    }
}

fn is_bad_news(event: &EventKind) -> bool {
    matches!(
        event,
        EventKind::Regressed { .. } | EventKind::RolledBack { .. }
    )
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn an_outage_of_both_versions_is_waited_for_and_is_not_the_canarys_fault() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "shared").await;
    let _load = app.load().rate(RATE).start();
    tokio::time::sleep(WATCHED).await;
    let rollout = app.canary(&direct(&stack, "--steps 20,100"));
    let mut driver = rollout.patient(Duration::from_secs(180)).launch();
    driver.until_flowing_at("20").await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    for version in ["v1", "v2"] {
        app.behave(version, json!({"errors": 0.5})).await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    for version in ["v2", "v1"] {
        app.behave(version, json!({})).await;
    }

    let held = |event: &EventKind| {
        looked(event).is_some_and(|evidence| evidence.state == AnalysisState::Held(Hold::Incident))
    };
    driver.until(held).await;
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.steps(), ["20", "100"]);
    assert!(!ended.told(is_bad_news), "{:?}", ended.events);
    let reasons = |event: &EventKind| match event {
        EventKind::Analyzed { reasons, .. } => reasons.iter().any(|reason| {
            let hold = Hold::Incident;
            *reason == Reason::Analysis(verdict::AnalysisReason::OnHold { hold })
        }),
        _ => false,
    };
    assert!(ended.told(reasons), "{:?}", ended.events);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_whose_series_never_appear_is_never_promoted() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "unseen").await;
    let before = app.spec().await;
    let load = app.load().rate(RATE).start();
    let meddler = Meddler::start(&stack).await;
    meddler.turn(Mischief::NoCanary);
    tokio::time::sleep(WATCHED).await;
    let words = judged(
        &meddler.url,
        "--steps 20,100 --dwell 5s --step-timeout 15s --on-inconclusive rollback",
    );
    let ended = app.canary(&words).run().await;
    assert_eq!(ended.code, Some(12));
    assert_eq!(ended.steps(), ["20"], "no data is never good news");
    let back = |event: &EventKind| {
        matches!(
            event,
            EventKind::RolledBack {
                cause: Cause::Inconclusive,
                ..
            }
        )
    };
    assert!(ended.told(back), "{:?}", ended.events);
    for words in ["inconclusive", "gets less traffic than its weight promises"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert!(
        !ended.stderr.contains("at most"),
        "no bound without a request: {}",
        ended.stderr
    );
    app.is_restored_to(&before).await;
    // It was there and answered all along; only nobody could see it.
    assert!(load.stop().await.answered("v2") > 100);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_that_never_fails_beside_a_stable_that_does_is_promoted() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "flawless").await;
    let chance = json!({"errors": 0.02, "spread": {"random": 7}});
    app.behave("v1", chance).await;
    let load = app.load().rate(RATE).start();
    tokio::time::sleep(WATCHED).await;
    let mut driver = app.canary(&direct(&stack, "--steps 20,50,100")).launch();
    driver.until_flowing_at("20").await;
    // The driver tells what it sees when it renews its lease.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let status = app.canary("status reviews").run().await;
    let ended = driver.end().await;
    let sent = load.stop().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.steps(), ["20", "50", "100"]);
    assert!(sent.failed() > 0, "stable fails: {sent:?}");
    for words in [
        "Driver:   running, seen ",
        "Evidence: v2 0 of ",
        "error rate is at most 1.5x v1's + ",
    ] {
        assert!(status.stdout.contains(words), "{}", status.stdout);
    }
    app.finish().await;
}

/// The evidence at the last look, and the time of the newest sample that it rests on.
fn last_look(events: &[Event]) -> (Evidence, Timestamp) {
    let found = events.iter().rev().find_map(|event| match &event.event {
        EventKind::Analyzed {
            evidence: Some(evidence),
            sample_age_millis: Some(age),
            ..
        } => {
            let age = SignedDuration::from_millis(i64::try_from(*age).ok()?);
            Some((evidence.as_ref().clone(), event.at - age))
        }
        _ => None,
    });
    found.expect("it looked")
}

/// What `analyze` makes of the rollout's past up to a time.
async fn replayed(app: &App, to: Timestamp) -> Evidence {
    let ended = app
        .canary(&format!("analyze reviews --to {to} -o json"))
        .run()
        .await;
    let view: Value = serde_json::from_str(&ended.stdout).expect("analyze prints JSON");
    serde_json::from_value(view["evidence"].clone()).expect("there is evidence")
}

/// The same code over the same samples: nothing but the decimals of JSON may differ.
#[track_caller]
fn assert_same(replayed: &Evidence, lived: &Evidence) {
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{replayed:#?}\n{lived:#?}");
    near(replayed.evidence, lived.evidence);
    assert_eq!(
        (replayed.stable, replayed.canary),
        (lived.stable, lived.canary)
    );
    assert_eq!(replayed.metrics.len(), lived.metrics.len());
    for (replayed, lived) in replayed.metrics.iter().zip(&lived.metrics) {
        assert_eq!(replayed.subject, lived.subject);
        near(replayed.evidence, lived.evidence);
        assert_eq!(replayed.upper, lived.upper);
    }
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_replay_has_the_evidence_of_the_runs_that_lived_through_it_killed_or_not() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "replayed").await;
    for (version, seed) in [("v1", 1), ("v2", 2)] {
        let chance = json!({"errors": 0.01, "spread": {"random": seed}});
        app.behave(version, chance).await;
    }
    let load = app.load().rate(RATE).start();
    tokio::time::sleep(WATCHED).await;
    let words = direct(&stack, "--steps 10,50:pause,100");
    let mut driver = app.canary(&words).launch();
    driver.until_flowing_at("10").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (lived, to) = last_look(&driver.events());
    driver.kill().await;
    assert!(lived.canary.requests > 0 && lived.evidence != 0.0);
    assert_same(&replayed(&app, to).await, &lived);

    let resumed = app.canary("resume reviews --leave-at-gate").run().await;
    assert_eq!(resumed.code, Some(13));
    let (lived, to) = last_look(&resumed.events);
    assert!(lived.stable.failures > 0, "there is something to replay");
    assert_same(&replayed(&app, to).await, &lived);
    drop(load);
    app.finish().await;
}

/// A lost route or a broken login: no failure by any rule, and no user is served.
#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_that_answers_404_to_everything_is_rolled_back() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "notfound").await;
    app.behave("v2", json!({"errors": 1.0, "failure": {"status": 404}}))
        .await;
    let before = app.spec().await;
    let _load = app.load().rate(RATE).start();
    tokio::time::sleep(WATCHED).await;
    let words = direct(&stack, "--steps 10,100 --dwell 5s");
    let ended = app.canary(&words).run().await;
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    assert_eq!(ended.steps(), ["10"]);
    let blamed = "from 4xx responses";
    assert!(ended.stderr.contains(blamed), "{}", ended.stderr);
    app.is_restored_to(&before).await;
    app.finish().await;
}
