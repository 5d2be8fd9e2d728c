//! How far a start looks back at the stable version, and that nobody else sees another past.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{Outcome, Rollout};
use kubectl_canary::sandbox::{PrometheusFault, Rule};
use tokio::time::Instant;

use crate::harness::{Shop, start};

/// The shop after so many hours of scrapes 15 s apart, in which v1 failed this share.
async fn aged(hours: u64, errors: f64) -> Shop {
    let shop = Shop::open_with(|stage| {
        let scrapes = stage.scrapes();
        scrapes.keep(SignedDuration::from_hours(48));
        scrapes.every(SignedDuration::from_secs(15));
        let stable = stage.traffic().version("shop", "reviews-v1");
        stable.fails(errors);
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3600 * hours)).await;
    shop
}

/// The ranges of the requests that were asked for since call number `from`, in seconds.
fn ranges(shop: &Shop, from: usize) -> Vec<u64> {
    let calls = shop.world.calls();
    let queries = calls[from..].iter().map(|call| call.query.as_str());
    let requests = queries.filter(|query| query.contains("query=istio_requests_total"));
    let ranges = requests.filter_map(|query| {
        let (_, rest) = query.rsplit_once("%5B")?;
        rest.split_once("s%5D")?.0.parse().ok()
    });
    ranges.collect()
}

/// Starts a rollout and leaves it at its first step; what it then says of itself, and what it asked.
async fn begun(shop: &Shop) -> (Rollout, Vec<u64>, Duration) {
    // Durations are not judged, and asked for over half an hour at most.
    let mut args = start(Options {
        ignore_latency: true,
        ..Options::default()
    });
    args.no_wait = true;
    let (asked, at) = (shop.world.calls().len(), Instant::now());
    let begun = shop
        .start_as("alice@desk", args, kubectl_canary::Signals::none())
        .await;
    assert_eq!(begun.unwrap().outcome, Outcome::StepSet);
    let took = at.elapsed();
    (shop.rollout().unwrap(), ranges(shop, asked), took)
}

fn past(rollout: &Rollout) -> String {
    rollout.lookback.expect("it says so").to_string()
}

#[tokio::test(start_paused = true)]
async fn half_an_hour_is_enough_where_it_holds_enough_failures() {
    // 200 requests a second: 360 failures in half an hour.
    let shop = aged(3, 0.001).await;
    let (rollout, ranges, _) = begun(&shop).await;
    assert_eq!(past(&rollout), "30m");
    // The newest sample is looked for in a question of its own, and once requests stand beside the durations,
    // which tell how long they take even where that is not judged.
    let long: Vec<_> = ranges.iter().filter(|range| **range > 601).collect();
    assert_eq!(long.len(), 2, "{ranges:?}");
}

#[tokio::test(start_paused = true)]
async fn rare_failures_are_looked_for_further_back() {
    // 36 failures in half an hour.
    let shop = aged(6, 0.0001).await;
    let (rollout, ranges, _) = begun(&shop).await;
    assert_eq!(past(&rollout), "4h");
    let hours = |hours: f64| (3600.0 * hours) as u64 + 301;
    for range in [hours(0.5), hours(1.0), hours(2.0)] {
        assert!(ranges.contains(&range), "{ranges:?}");
    }
    assert!(!ranges.contains(&hours(4.0)), "{ranges:?}");
}

#[tokio::test(start_paused = true)]
async fn no_failure_at_all_is_looked_for_a_day_and_no_longer() {
    let shop = aged(26, 0.0).await;
    let (rollout, ranges, took) = begun(&shop).await;
    assert_eq!(past(&rollout), "24h");
    assert!(ranges.len() <= 9, "{ranges:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_past_that_is_short_is_asked_for_once() {
    let shop = Shop::open().await;
    let (rollout, ranges, _) = begun(&shop).await;
    assert_eq!(past(&rollout), "30m");
    assert_eq!(ranges.len(), 3, "{ranges:?}");
}

#[tokio::test(start_paused = true)]
async fn frequent_scrapes_are_not_read_for_a_day() {
    let shop = Shop::open().await;
    shop.world.scrapes().keep(SignedDuration::from_hours(6));
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    let (rollout, _, _) = begun(&shop).await;
    assert_eq!(past(&rollout), "1h40m", "6000 scrapes");
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_that_hangs_over_the_further_past_delays_nobody_for_long() {
    let shop = aged(6, 0.0001).await;
    // The newest part, the newest sample and half an hour more are answered; the next is not.
    let hang = Rule::new(PrometheusFault::Hang).containing("[3901s]");
    shop.world.faults().prometheus(hang);
    let (rollout, _, took) = begun(&shop).await;
    assert_eq!(past(&rollout), "1h");
    assert!(took < Duration::from_secs(15), "{took:?}");
}
