//! A Prometheus that is away, fails, or does not tell the whole truth.

use std::time::Duration;

use kubectl_canary::rollout::{Cause, EventKind};

use crate::app::App;
use crate::meddler::{Meddler, Mischief};
use crate::stack::{Sample, Stack};

fn direct(stack: &Stack) -> String {
    format!("--prometheus {}", stack.description.prometheus.url)
}

fn blind(event: &EventKind) -> bool {
    matches!(event, EventKind::MetricsUnavailable { .. })
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_prometheus_that_comes_back_within_the_grace_harms_nobody() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "blip").await;
    let _load = app.load().rate(200.0).start();
    let words = format!(
        "--steps 20:6s,50,100 --metrics-grace 60s {}",
        direct(&stack)
    );
    let mut driver = app.rollout(&words).launch();
    driver.until_flowing_at("20").await;
    let prometheus = stack.stop("prometheus").await;
    driver.until(blind).await;
    prometheus.start().await;
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.told(|event| matches!(event, EventKind::MetricsBack { .. })));
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_prometheus_that_stays_away_takes_the_traffic_back() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "away").await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    let words = format!("--steps 20:60s,100 --metrics-grace 3s {}", direct(&stack));
    let mut driver = app.rollout(&words).launch();
    driver.until_flowing_at("20").await;
    let prometheus = stack.stop("prometheus").await;
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(12));
    app.is_restored_to(&before).await;

    let refused = app.rollout(&words).run().await;
    assert_eq!(refused.code, Some(4), "without metrics nothing is begun");
    app.is_restored_to(&before).await;
    prometheus.start().await;
    scrapes_again(&stack).await;
    app.finish().await;
}

/// After its start Prometheus takes up to five seconds until it scrapes.
async fn scrapes_again(stack: &Stack) {
    let fresh = "count(time() - timestamp(up) < 2)";
    let is_fresh = |samples: &[Sample]| !samples.is_empty();
    let seen = stack
        .query_until(fresh, Duration::from_secs(10), is_fresh)
        .await;
    assert!(is_fresh(&seen), "nothing was scraped");
}

/// A rollout whose metrics turn bad at 20 % and stay so.
async fn comes_to_no_verdict_with(mischief: Mischief, name: &str) {
    let stack = Stack::open().await;
    let app = App::start(&stack, name).await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    let meddler = Meddler::start(&stack).await;
    let words = format!(
        "--steps 20:60s,50,100 --metrics-grace 3s --prometheus {}",
        meddler.url
    );
    let mut driver = app.rollout(&words).launch();
    driver.until_flowing_at("20").await;
    meddler.turn(mischief);
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(12));
    assert!(ended.told(blind), "{:?}", ended.events);
    let back = |event: &EventKind| {
        matches!(
            event,
            EventKind::RolledBack {
                cause: Cause::NoMetrics,
                ..
            }
        )
    };
    assert!(ended.told(back), "{:?}", ended.events);
    assert_eq!(ended.steps(), ["20"], "no data is never good news");
    app.is_restored_to(&before).await;
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn samples_that_are_no_numbers_are_no_good_news() {
    comes_to_no_verdict_with(Mischief::NotANumber, "nan").await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn half_an_answer_is_no_good_news() {
    comes_to_no_verdict_with(Mischief::Half, "half").await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn an_error_is_no_good_news() {
    comes_to_no_verdict_with(Mischief::Error, "error").await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn an_answer_without_series_is_no_good_news() {
    comes_to_no_verdict_with(Mischief::Empty, "empty").await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn silence_is_no_good_news() {
    comes_to_no_verdict_with(Mischief::Silence, "silence").await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_log_in_page_is_no_good_news() {
    comes_to_no_verdict_with(Mischief::Page, "page").await;
}
