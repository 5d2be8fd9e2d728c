//! The roads of a canary that is well.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::Signals;
use kubectl_canary::commands::{Drive, Promote};
use kubectl_canary::plan::{Exposure, OnStuck, Options, Percent};
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Phase};

use crate::harness::{Shop, brisk, brisk_with, start};

fn step_at(percent: u32) -> impl Fn(&EventKind) -> bool {
    move |event| matches!(event, EventKind::StepStarted { exposure, .. } if *exposure == Exposure::Share(Percent::whole(percent)))
}

fn finished(event: &EventKind) -> bool {
    matches!(event, EventKind::Finished { .. })
}

#[tokio::test(start_paused = true)]
async fn a_healthy_canary_reaches_100_percent() {
    let shop = Shop::open().await;
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    assert_eq!(shop.weights(), [0, 100]);
    assert_eq!(shop.annotation("rollout"), None);
    assert!(shop.annotation("last").unwrap().contains("promoted"));
    assert_eq!(shop.climbed(), ["1", "10", "50", "100"]);
}

#[tokio::test(start_paused = true)]
async fn every_step_lasts_at_least_its_dwell() {
    let shop = Shop::open().await;
    shop.start(brisk()).await.unwrap();
    let starts: Vec<_> = [1, 10, 50, 100].map(|step| shop.when(step_at(step))).into();
    for pair in starts.windows(2) {
        let lasted = pair[1].duration_since(pair[0]);
        assert!(lasted >= SignedDuration::from_secs(5), "{lasted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_windows_of_a_step_do_not_pass_the_next() {
    // Two proxies that are scraped half a second apart: a round that began in the old step ends in it
    // only after the new one has begun.
    let shop = Shop::open().await;
    let options = Options {
        interval: Some("200ms".parse().unwrap()),
        min_requests: Some(1),
        dwell: Some("3s".parse().unwrap()),
        ..brisk()
    };
    shop.start(options).await.unwrap();
    let passed: Vec<_> = shop
        .told()
        .into_iter()
        .filter_map(|event| match event {
            EventKind::StepPassed { step_counts, .. } => Some(step_counts.canary.requests),
            _ => None,
        })
        .collect();
    assert_eq!(passed.len(), 3);
    assert!(passed.iter().all(|requests| *requests > 0), "{passed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_bake_watches_the_canary_at_100_percent() {
    for options in [
        Options {
            bake: Some("30s".parse().unwrap()),
            ..brisk()
        },
        brisk_with("1,10,50,100:30s"),
    ] {
        let shop = Shop::open().await;
        let driver = shop.start(options);
        let during = async {
            shop.until_weight(100).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert!(shop.rollout().is_some(), "the rollout is not over yet");
        };
        let (finish, ()) = tokio::join!(driver, during);
        assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
        let baked = shop.when(finished).duration_since(shop.when(step_at(100)));
        assert!(baked >= SignedDuration::from_secs(30), "{baked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_holds_keeps_its_weight_so_long() {
    let shop = Shop::open().await;
    let finish = shop.start(brisk_with("1,10:5m,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    let held = shop
        .when(step_at(100))
        .duration_since(shop.when(step_at(10)));
    assert!(held >= SignedDuration::from_mins(5), "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn a_gate_waits_until_somebody_else_promotes() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10,50:pause,100"));
    let other = async {
        shop.until(|shop| {
            shop.rollout()
                .is_some_and(|rollout| rollout.phase == Phase::Waiting)
        })
        .await;
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(shop.weights(), [50, 50]);
        shop.promote("bob@desk").await.unwrap()
    };
    let (finish, promoted) = tokio::join!(driver, other);
    assert_eq!(promoted.outcome, Outcome::Promoted);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(shop.weights(), [0, 100]);
    assert_eq!(shop.rollout(), None);
}

#[tokio::test(start_paused = true)]
async fn a_gate_in_the_middle_opens_to_the_next_step_and_the_driver_follows() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10:pause,50,100"));
    let other = async {
        shop.until(|shop| {
            shop.rollout()
                .is_some_and(|rollout| rollout.phase == Phase::Waiting)
        })
        .await;
        let promoted = shop.promote("bob@desk").await.unwrap();
        assert_eq!(promoted.outcome, Outcome::StepSet);
        assert_eq!(shop.weights(), [50, 50]);
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    let by: Vec<_> = shop
        .told()
        .into_iter()
        .filter_map(|event| match event {
            EventKind::Promoted { by, .. } => Some(by),
            _ => None,
        })
        .collect();
    assert_eq!(
        by,
        ["bob@desk", "bob@desk"],
        "said by bob and by the driver"
    );
}

#[tokio::test(start_paused = true)]
async fn a_gate_at_100_percent_waits_too() {
    let shop = Shop::open().await;
    let args = kubectl_canary::commands::Start {
        drive: Drive {
            leave_at_gate: true,
            ..Default::default()
        },
        ..start(brisk_with("100:pause"))
    };
    let finish = shop
        .start_as("alice@desk", args, Signals::none())
        .await
        .unwrap();
    assert_eq!(finish.outcome, Outcome::Held, "{:#?}", shop.told());
    assert_eq!(shop.rollout().unwrap().phase, Phase::Waiting);
    assert_eq!(
        shop.promote("alice@desk").await.unwrap().outcome,
        Outcome::Promoted
    );
    assert_eq!(shop.rollout(), None);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_leaves_at_a_gate_holds_the_weight() {
    let shop = Shop::open().await;
    let args = kubectl_canary::commands::Start {
        drive: Drive {
            leave_at_gate: true,
            ..Default::default()
        },
        ..start(brisk_with("10,50:pause,100"))
    };
    let finish = shop
        .start_as("alice@desk", args, Signals::none())
        .await
        .unwrap();
    assert_eq!(finish.outcome, Outcome::Held);
    assert_eq!(shop.weights(), [50, 50]);
    assert_eq!(shop.rollout().unwrap().phase, Phase::Waiting);
    let promoted = shop.promote("bob@desk").await.unwrap();
    assert_eq!(promoted.outcome, Outcome::Promoted);
    assert_eq!(shop.weights(), [0, 100]);
}

#[tokio::test(start_paused = true)]
async fn pausing_at_a_gate_does_not_open_it() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10:pause,100"));
    let other = async {
        shop.until(|shop| {
            shop.rollout()
                .is_some_and(|rollout| rollout.phase == Phase::Waiting)
        })
        .await;
        shop.pause("bob@desk").await.unwrap();
        let refused = shop.resume("bob@desk").await.unwrap_err();
        assert!(refused.to_string().contains("not paused"), "{refused}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(shop.rollout().unwrap().phase, Phase::Waiting);
        shop.abort("bob@desk").await.unwrap();
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::RolledBack(Cause::Request));
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_drives_the_steps_itself() {
    let shop = Shop::open().await;
    let args = kubectl_canary::commands::Start {
        no_wait: true,
        ..start(brisk())
    };
    let finish = shop
        .start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    assert_eq!(finish.outcome, Outcome::StepSet);
    let mut seen = vec![shop.weights()[1]];
    for outcome in [Outcome::StepSet, Outcome::StepSet, Outcome::Promoted] {
        let promoted = shop.promote("ci@runner").await.unwrap();
        assert_eq!(promoted.outcome, outcome);
        seen.push(shop.weights()[1]);
    }
    assert_eq!(seen, [1, 10, 50, 100]);
    assert_eq!(shop.rollout(), None);
    let over = shop.promote("ci@runner").await.unwrap_err();
    assert_eq!(
        over.to_string(),
        "no rollout is in progress on virtualservice shop/reviews (try: kubectl canary start reviews -n shop)"
    );
}

#[tokio::test(start_paused = true)]
async fn promote_can_wait_for_the_verdict_of_its_step() {
    let shop = Shop::open().await;
    let args = kubectl_canary::commands::Start {
        no_wait: true,
        ..start(brisk())
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    let judged = |step| move |event: &EventKind| matches!(event, EventKind::StepPassed { step: passed, .. } if *passed == step);
    for (outcome, weight, least) in [
        // The step that `start` left is judged as well.
        (Outcome::StepPassed, 10, 10),
        (Outcome::StepPassed, 50, 5),
        (Outcome::Promoted, 100, 0),
    ] {
        let began = shop.world.clock().now();
        let finish = shop.promote_and_wait("ci@runner").await.unwrap();
        assert_eq!(finish.outcome, outcome, "{:#?}", shop.told());
        assert_eq!(shop.weights()[1], weight);
        let took = shop.world.clock().now().duration_since(began).as_secs();
        assert!((least..least + 9).contains(&took), "{weight}: {took} s");
    }
    for step in 1..=3 {
        let times = shop
            .told()
            .iter()
            .filter(|event| judged(step)(event))
            .count();
        assert_eq!(times, 1, "step {step}");
    }
    assert_eq!(shop.climbed(), ["1", "1", "10", "50", "100"]);
    assert_eq!(shop.rollout(), None);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_start_left_alone_is_rolled_back_where_it_fails() {
    let shop = Shop::open().await;
    let args = kubectl_canary::commands::Start {
        no_wait: true,
        ..start(brisk_with("10,50,100"))
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails(0.3);
    let finish = shop.promote_and_wait("ci@runner").await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    assert!(
        !shop.climbed().contains(&"50".to_owned()),
        "{:?}",
        shop.climbed()
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn without_a_verdict_a_step_is_set_and_not_passed() {
    let shop = Shop::open().await;
    let options = Options {
        on_inconclusive: Some(OnStuck::Promote),
        min_requests: Some(1_000_000),
        step_timeout: Some("20s".parse().unwrap()),
        ..brisk_with("10,50,100")
    };
    let args = kubectl_canary::commands::Start {
        no_wait: true,
        ..start(options)
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    let finish = shop.promote_and_wait("ci@runner").await.unwrap();
    assert_eq!(finish.outcome, Outcome::StepSet, "{:#?}", shop.told());
    assert_eq!(shop.weights(), [50, 50]);
}

#[tokio::test(start_paused = true)]
async fn promote_full_gives_the_canary_everything_at_once() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("1:10m,50,100"));
    let other = async {
        shop.until_weight(1).await;
        let full = Promote {
            full: true,
            ..Promote::default()
        };
        shop.promote_with("bob@desk", full).await.unwrap()
    };
    let (finish, promoted) = tokio::join!(driver, other);
    assert_eq!(promoted.outcome, Outcome::Promoted);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(shop.weights(), [0, 100]);
    assert_eq!(shop.rollout(), None);
}

#[tokio::test(start_paused = true)]
async fn promote_ends_a_bake_early_beside_its_driver() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("50,100:30m"));
    let other = async {
        shop.until_weight(100).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        shop.promote("bob@desk").await.unwrap()
    };
    let (finish, promoted) = tokio::join!(driver, other);
    assert_eq!(promoted.outcome, Outcome::Promoted);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(shop.rollout(), None);
}
