//! What happens to a canary that is not well.

use std::time::Duration;

use kubectl_canary::commands::Start;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Phase, Reason};
use kubectl_canary::sandbox::fixtures;
use kubectl_canary::{Signals, verdict};

use crate::harness::{Shop, brisk, brisk_with, start};

const REGRESSED: Outcome = Outcome::RolledBack(Cause::Regression);

/// From now on the canary fails this share of its requests.
fn break_canary(shop: &Shop, errors: f64) {
    let now = shop.world.clock().now();
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails_from(now, errors);
}

#[tokio::test(start_paused = true)]
async fn a_failing_canary_is_rolled_back_to_the_exact_spec() {
    let shop = Shop::open().await;
    break_canary(&shop, 0.2);
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, REGRESSED, "{:#?}", shop.told());
    shop.assert_restored();
    assert!(finish.total_counts.unwrap().canary.failures > 0);
    assert!(
        matches!(
            &finish.reasons[..],
            [Reason::Analysis(verdict::AnalysisReason::OverLimit { .. })]
        ),
        "{:?}",
        finish.reasons
    );
    assert_eq!(finish.exposure.to_string(), "0 %");
    let last = shop.annotation("last").unwrap();
    assert!(
        last.contains(r#""outcome":{"kind":"rolled-back","cause":"regression"}"#),
        "{last}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_regression_at_any_step_is_rolled_back() {
    for step in [1, 10, 50, 100] {
        let shop = Shop::open().await;
        let driver = shop.start(brisk_with("1,10,50,100:10m"));
        let trouble = async {
            shop.until_weight(step).await;
            break_canary(&shop, 0.5);
        };
        let (finish, ()) = tokio::join!(driver, trouble);
        let finish = finish.unwrap();
        assert_eq!(finish.outcome, REGRESSED, "at {step} %");
        shop.assert_restored();
        assert_eq!(shop.climbed().last(), Some(&step.to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_regression_during_a_gate_is_rolled_back() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("50:pause,100"));
    let trouble = async {
        shop.until(|shop| {
            shop.rollout()
                .is_some_and(|rollout| rollout.phase == Phase::Waiting)
        })
        .await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        break_canary(&shop, 0.3);
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    assert_eq!(finish.unwrap().outcome, REGRESSED);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_regression_during_a_pause_is_rolled_back() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10:1m,100"));
    let trouble = async {
        shop.until_weight(10).await;
        shop.pause("bob@desk").await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        break_canary(&shop, 0.3);
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    assert_eq!(finish.unwrap().outcome, REGRESSED);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_late_regression_while_baking_is_rolled_back_from_100_percent() {
    let shop = Shop::open().await;
    let driver = shop.start(Options {
        bake: Some("5m".parse().unwrap()),
        ..brisk()
    });
    let trouble = async {
        shop.until_weight(100).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        break_canary(&shop, 0.1);
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, REGRESSED);
    shop.assert_restored();
    let rolled_back = shop.told().into_iter().any(|event| {
        matches!(event, EventKind::RollingBack { exposure, .. } if exposure.to_string() == "100 %")
    });
    assert!(rolled_back);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_both_versions_is_held_and_not_blamed_on_the_canary() {
    for errors in [0.05, 0.3, 1.0] {
        let shop = Shop::open().await;
        let driver = shop.start(brisk_with("10:1m,100"));
        let trouble = async {
            shop.until_weight(10).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            let (from, until) = (shop.after(0), shop.after(20));
            shop.world
                .traffic()
                .demand(fixtures::REVIEWS)
                .fails_between(from, until, errors);
            tokio::time::sleep(Duration::from_secs(45)).await;
            assert_eq!(
                shop.weights(),
                [90, 10],
                "held, {errors}: {:#?}",
                shop.told().last()
            );
            shop.abort("bob@desk").await.unwrap();
        };
        let (finish, ()) = tokio::join!(driver, trouble);
        assert_eq!(finish.unwrap().outcome, Outcome::RolledBack(Cause::Request));
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_crashes_before_its_first_request_is_named_as_down() {
    let shop = Shop::open().await;
    // Nothing tells of its requests, as where the callers have no proxies.
    shop.world
        .faults()
        .prometheus(kubectl_canary::sandbox::Rule::new(
            kubectl_canary::sandbox::PrometheusFault::Missing {
                label: "destination_workload".into(),
                value: "reviews-v2".into(),
            },
        ));
    shop.world
        .faults()
        .prometheus(kubectl_canary::sandbox::Rule::new(
            kubectl_canary::sandbox::PrometheusFault::Missing {
                label: "destination_workload".into(),
                value: "unknown".into(),
            },
        ));
    let driver = shop.start(brisk_with("10,100"));
    let trouble = async {
        shop.until_weight(10).await;
        shop.world
            .set(|stage| stage.pods("shop", "version=v2").crash());
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::CanaryDown));
    assert_eq!(
        finish.reasons,
        [Reason::CanaryDown {
            pods: 2,
            crashing: true
        }]
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_canary_whose_pods_are_all_gone_is_rolled_back() {
    let shop = Shop::open().await;
    shop.world
        .faults()
        .prometheus(kubectl_canary::sandbox::Rule::new(
            kubectl_canary::sandbox::PrometheusFault::Missing {
                label: "destination_workload".into(),
                value: "unknown".into(),
            },
        ));
    let driver = shop.start(brisk_with("10:5m,100"));
    let trouble = async {
        shop.until_weight(10).await;
        shop.world
            .set(|stage| stage.pods("shop", "version=v2").delete());
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::CanaryDown));
    assert_eq!(
        finish.reasons,
        [Reason::CanaryDown {
            pods: 0,
            crashing: false
        }]
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn promote_and_wait_rolls_a_regression_back() {
    let shop = Shop::open().await;
    let args = Start {
        no_wait: true,
        ..start(brisk())
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    break_canary(&shop, 0.3);
    let finish = shop.promote_and_wait("ci@runner").await.unwrap();
    assert_eq!(finish.outcome, REGRESSED);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn failures_without_any_response_count_as_failures() {
    let shop = Shop::open().await;
    let now = shop.world.clock().now();
    {
        let mut traffic = shop.world.traffic();
        let canary = traffic.version("shop", "reviews-v2");
        canary.fails_from(now, 0.3).failing_as("0", "DC");
    }
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, REGRESSED);
    shop.assert_restored();
}
