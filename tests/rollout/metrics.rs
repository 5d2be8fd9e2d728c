//! No data is never good news, and a blip is no bad news either.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::plan::{OnStuck, Options};
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Phase, Reason, Unusable};
use kubectl_canary::sandbox::{PrometheusFault, Rule, fixtures};

use crate::harness::{Shop, brisk, brisk_with};

const NO_METRICS: Outcome = Outcome::RolledBack(Cause::NoMetrics);

/// Short, with a grace of 20 s and a deadline of 2 m for a step.
fn impatient() -> Options {
    Options {
        metrics_grace: Some("20s".parse().unwrap()),
        step_timeout: Some("2m".parse().unwrap()),
        ..brisk_with("10:10s,50,100")
    }
}

fn break_prometheus(shop: &Shop, fault: PrometheusFault) {
    shop.world.faults().prometheus(Rule::new(fault));
}

/// How often the trouble was told.
fn told_unavailable(shop: &Shop) -> usize {
    let told = shop.told().into_iter();
    told.filter(|event| matches!(event, EventKind::MetricsUnavailable { .. }))
        .count()
}

#[tokio::test(start_paused = true)]
async fn whatever_is_wrong_with_prometheus_promotes_nothing_and_ends_after_the_grace() {
    for fault in [
        PrometheusFault::Down,
        PrometheusFault::Answer { code: 502 },
        PrometheusFault::Answer { code: 404 },
        PrometheusFault::ExecutionError,
        PrometheusFault::Malformed,
        PrometheusFault::Partial,
        PrometheusFault::Empty,
        PrometheusFault::Hang,
        PrometheusFault::Slow(Duration::from_secs(30)),
    ] {
        let shop = Shop::open().await;
        let driver = shop.start(impatient());
        let trouble = async {
            shop.until_weight(10).await;
            break_prometheus(&shop, fault.clone());
            shop.world.clock().now()
        };
        let (finish, since) = tokio::join!(driver, trouble);
        let finish = finish.unwrap();
        assert_eq!(finish.outcome, NO_METRICS, "{fault:?}: {:#?}", shop.told());
        shop.assert_restored();
        assert_eq!(shop.climbed(), ["10"], "{fault:?}");
        let took = finish.at.duration_since(since).as_secs();
        assert!((20..40).contains(&took), "{fault:?} took {took} s");
        assert!(
            matches!(
                &finish.reasons[..],
                [Reason::NoMetrics { .. }, Reason::MetricsUnusable(_)]
            ),
            "{:?}",
            finish.reasons
        );
        assert!(told_unavailable(&shop) <= 2, "{fault:?}: not on every look");
    }
}

/// When Prometheus said that it is asked too often.
pub fn limited(shop: &Shop) -> Vec<jiff::Timestamp> {
    let calls = shop.world.calls().into_iter();
    let limited = calls.filter(|call| call.status == Some(429));
    let mut times: Vec<_> = limited.map(|call| call.at).collect();
    times.dedup();
    times
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_that_is_asked_too_often_is_left_alone_as_long_as_it_says() {
    let shop = Shop::open().await;
    let driver = shop.start(impatient());
    let trouble = async {
        shop.until_weight(10).await;
        let fault = PrometheusFault::Limited { retry_after: 12 };
        let until = shop.after(10);
        let limit = Rule::new(fault).until(until);
        shop.world.faults().prometheus(limit);
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(limited(&shop).len(), 1, "{:?}", limited(&shop));
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_that_wants_to_be_left_alone_for_long_is_asked_at_the_end_of_the_grace() {
    let shop = Shop::open().await;
    let driver = shop.start(impatient());
    let trouble = async {
        shop.until_weight(10).await;
        break_prometheus(&shop, PrometheusFault::Limited { retry_after: 3600 });
        shop.world.clock().now()
    };
    let (finish, since) = tokio::join!(driver, trouble);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, NO_METRICS);
    let took = finish.at.duration_since(since).as_secs();
    assert!((20..30).contains(&took), "{took} s");
    assert_eq!(limited(&shop).len(), 2, "{:?}", limited(&shop));
    let said = format!("{:?}", finish.reasons);
    assert!(said.contains("(Retry-After: 1h)"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_that_takes_its_time_is_waited_for_as_long_as_is_said() {
    for (timeout, outcome) in [(None, NO_METRICS), (Some("10s"), Outcome::Promoted)] {
        let shop = Shop::open().await;
        let options = Options {
            query_timeout: timeout.map(|timeout| timeout.parse().unwrap()),
            ..impatient()
        };
        break_prometheus(&shop, PrometheusFault::Slow(Duration::from_secs(7)));
        let finish = shop.start(options).await.unwrap();
        assert_eq!(finish.outcome, outcome, "{timeout:?}: {:#?}", shop.told());
    }
}

#[tokio::test(start_paused = true)]
async fn values_that_are_no_numbers_promote_nothing() {
    let shop = Shop::open().await;
    let driver = shop.start(impatient());
    let trouble = async {
        shop.until_weight(10).await;
        break_prometheus(&shop, PrometheusFault::NotANumber);
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    assert!(matches!(
        finish.unwrap().outcome,
        Outcome::RolledBack(Cause::NoMetrics | Cause::Inconclusive)
    ));
    assert_eq!(shop.climbed(), ["10"]);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn scrapes_that_stop_promote_nothing() {
    let shop = Shop::open().await;
    let (from, until) = (shop.after(2), shop.after(3600));
    shop.world.scrapes().stop_between(from, until);
    let finish = shop.start(impatient()).await.unwrap();
    assert_eq!(finish.outcome, NO_METRICS);
    assert_eq!(shop.climbed(), ["10"]);
    assert!(
        finish
            .reasons
            .iter()
            .any(|why| matches!(why, Reason::MetricsUnusable(Unusable::Stale { .. }))),
        "{:?}",
        finish.reasons
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_blip_shorter_than_the_grace_kills_nothing() {
    for fault in [
        PrometheusFault::Down,
        PrometheusFault::Empty,
        PrometheusFault::Partial,
        PrometheusFault::NotANumber,
        PrometheusFault::Hang,
    ] {
        let shop = Shop::open().await;
        let (from, until) = (shop.after(3), shop.after(18));
        shop.world
            .faults()
            .prometheus(Rule::new(fault.clone()).from(from).until(until));
        let finish = shop.start(impatient()).await.unwrap();
        assert_eq!(
            finish.outcome,
            Outcome::Promoted,
            "{fault:?}: {:#?}",
            shop.told()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_uses_up_no_grace() {
    let shop = Shop::open().await;
    let (from, until) = (shop.after(3), shop.after(18));
    shop.world
        .faults()
        .prometheus(Rule::new(PrometheusFault::Down).from(from).until(until));
    let clock = async {
        for (after, by) in [(8, 3600), (4, -3600)] {
            tokio::time::sleep(Duration::from_secs(after)).await;
            shop.clock.set_forward(SignedDuration::from_secs(by));
        }
    };
    let (finish, ()) = tokio::join!(shop.start(impatient()), clock);
    let outcome = finish.unwrap().outcome;
    assert_eq!(outcome, Outcome::Promoted, "{:#?}", shop.told());
}

#[tokio::test(start_paused = true)]
async fn a_blip_is_told_once_and_its_end_too() {
    let shop = Shop::open().await;
    let (from, until) = (shop.after(3), shop.after(15));
    shop.world
        .faults()
        .prometheus(Rule::new(PrometheusFault::Down).from(from).until(until));
    shop.start(impatient()).await.unwrap();
    assert_eq!(told_unavailable(&shop), 1);
    let back = shop.told().into_iter().find_map(|event| match event {
        EventKind::MetricsBack { after } => Some(after),
        _ => None,
    });
    assert!(back.unwrap().signed() >= SignedDuration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_long_trouble_is_told_again_once_a_minute() {
    let shop = Shop::open().await;
    let options = Options {
        metrics_grace: Some("150s".parse().unwrap()),
        ..impatient()
    };
    let driver = shop.start(options);
    let trouble = async {
        shop.until_weight(10).await;
        break_prometheus(&shop, PrometheusFault::Down);
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    assert_eq!(finish.unwrap().outcome, NO_METRICS);
    assert_eq!(told_unavailable(&shop), 3);
}

#[tokio::test(start_paused = true)]
async fn metrics_that_stay_away_follow_the_policy() {
    for (policy, outcome) in [
        (OnStuck::Rollback, NO_METRICS),
        (OnStuck::Promote, Outcome::Promoted),
        (OnStuck::Hold, Outcome::RolledBack(Cause::Request)),
    ] {
        let shop = Shop::open().await;
        let driver = shop.start(Options {
            on_no_metrics: Some(policy),
            ..impatient()
        });
        let trouble = async {
            shop.until_weight(10).await;
            break_prometheus(&shop, PrometheusFault::Down);
            if policy == OnStuck::Hold {
                tokio::time::sleep(Duration::from_secs(120)).await;
                assert_eq!(shop.rollout().unwrap().phase, Phase::Waiting);
                assert_eq!(shop.weights(), [90, 10]);
                shop.abort("bob@desk").await.unwrap();
            }
        };
        let (finish, ()) = tokio::join!(driver, trouble);
        assert_eq!(
            finish.unwrap().outcome,
            outcome,
            "{policy:?}: {:#?}",
            shop.told()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_traffic_at_all_follows_the_policy_at_the_steps_deadline() {
    for (policy, outcome) in [
        (OnStuck::Rollback, Outcome::RolledBack(Cause::Inconclusive)),
        (OnStuck::Promote, Outcome::Promoted),
        (OnStuck::Hold, Outcome::RolledBack(Cause::Request)),
    ] {
        let shop = Shop::open().await;
        shop.world
            .traffic()
            .demand(fixtures::REVIEWS)
            .per_second(0.0);
        let driver = shop.start(Options {
            on_inconclusive: Some(policy),
            ..impatient()
        });
        let began = shop.world.clock().now();
        let hold = async {
            if policy == OnStuck::Hold {
                tokio::time::sleep(Duration::from_secs(150)).await;
                assert_eq!(shop.rollout().unwrap().phase, Phase::Waiting);
                shop.abort("bob@desk").await.unwrap();
            }
        };
        let (finish, ()) = tokio::join!(driver, hold);
        let finish = finish.unwrap();
        assert_eq!(finish.outcome, outcome, "{policy:?}: {:#?}", shop.told());
        let took = finish.at.duration_since(began);
        assert!(
            took >= SignedDuration::from_mins(2),
            "{policy:?} took {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_without_series_never_passes() {
    for value in ["reviews-v2", "unknown"] {
        let shop = Shop::open().await;
        let faults = ["reviews-v2", value].map(|value| PrometheusFault::Missing {
            label: "destination_workload".into(),
            value: value.into(),
        });
        for fault in faults {
            break_prometheus(&shop, fault);
        }
        let finish = shop.start(impatient()).await.unwrap();
        assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Inconclusive));
        assert_eq!(shop.climbed(), ["10"]);
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_is_scraped_late_is_still_promoted() {
    let shop = Shop::open().await;
    break_prometheus(
        &shop,
        PrometheusFault::Late {
            label: "pod".into(),
            value: "reviews-v2".into(),
        },
    );
    let finish = shop.start(impatient()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn pods_are_watched_while_prometheus_does_not_answer() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk());
    let trouble = async {
        shop.until_weight(10).await;
        break_prometheus(&shop, PrometheusFault::Down);
        shop.world
            .set(|stage| stage.pods("shop", "version=v2").ready(false));
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    assert_eq!(
        finish.unwrap().outcome,
        Outcome::RolledBack(Cause::CanaryDown)
    );
    shop.assert_restored();
}
