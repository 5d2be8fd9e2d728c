//! What becomes of a rollout when pods of the canary come and go.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::Signals;
use kubectl_canary::driver::Finish;
use kubectl_canary::plan::{AnalysisKind, HumanDuration, Options};
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Phase, Reason};
use kubectl_canary::sandbox::{ApiFault, Denial, PrometheusFault, Rule, Setup};
use serde_json::json;

use crate::harness::{Shop, brisk, brisk_with, start};

const DOWN: Outcome = Outcome::RolledBack(Cause::CanaryDown);

/// All pods of the canary go away, and no new ones are started.
fn kill(stage: &mut Setup<'_>) {
    stage.pods("shop", "version=v2").delete();
}

/// The pods of the canary.
fn canary_pods(stage: &Setup<'_>) -> Vec<String> {
    let mut names = stage.names("pods", "shop");
    names.retain(|name| name.starts_with("reviews-v2"));
    names
}

/// Metrics that say nothing for as long as these tests take.
async fn scraped_rarely() -> Shop {
    Shop::open_with(|stage| {
        stage.scrapes().every(SignedDuration::from_secs(15));
    })
    .await
}

/// A long step at 50 %.
fn halfway() -> Options {
    Options {
        interval: Some("5s".parse().unwrap()),
        ..brisk_with("50:10m,100")
    }
}

/// Runs `options`; once `holds`, and some seconds later, has something happen to the world. How the rollout
/// ended, and after what time since.
async fn struck(
    shop: &Shop,
    options: Options,
    holds: impl Fn(&Shop) -> bool,
    strike: impl FnOnce(&mut Setup<'_>),
) -> (Finish, Duration) {
    let driver = shop.start(options);
    let striking = async {
        shop.until(holds).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        shop.world.set(strike);
        shop.world.clock().now()
    };
    let (finish, at) = tokio::join!(driver, striking);
    let finish = finish.unwrap();
    let took = finish.at.duration_since(at);
    (finish, took.unsigned_abs())
}

fn is_at(weight: i64) -> impl Fn(&Shop) -> bool {
    move |shop| shop.weights()[1] == weight
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_dies_halfway_is_rolled_back_before_the_metrics_know() {
    type Strike = fn(&mut Setup<'_>);
    let strikes: [(Strike, Reason); 3] = [
        (
            kill,
            Reason::CanaryDown {
                pods: 0,
                crashing: false,
            },
        ),
        (
            |stage| stage.pods("shop", "version=v2").ready(false),
            Reason::CanaryDown {
                pods: 2,
                crashing: false,
            },
        ),
        (
            |stage| stage.pods("shop", "version=v2").crash(),
            Reason::CanaryDown {
                pods: 2,
                crashing: true,
            },
        ),
    ];
    for (strike, reason) in strikes {
        let shop = scraped_rarely().await;
        let (finish, took) = struck(&shop, halfway(), is_at(50), strike).await;
        assert_eq!(finish.outcome, DOWN, "{:#?}", shop.told());
        assert_eq!(finish.reasons, [reason]);
        assert!(took < Duration::from_secs(2), "{took:?}");
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_may_not_be_watched_are_listed() {
    let shop = scraped_rarely().await;
    shop.world.deny(Denial::of("watch", "pods"));
    let (finish, took) = struck(&shop, halfway(), is_at(50), kill).await;
    assert_eq!(finish.outcome, DOWN, "{:#?}", shop.told());
    assert!(took < Duration::from_secs(3), "{took:?}");
    shop.assert_restored();
    let mut calls = shop.world.calls();
    calls.retain(|call| call.verb == "watch" && call.path.ends_with("/pods"));
    assert_eq!(calls.len(), 1, "it is not tried again");
}

#[tokio::test(start_paused = true)]
async fn pods_that_may_not_even_be_listed_any_more_end_nothing() {
    let shop = Shop::open().await;
    let (finish, _) = struck(&shop, brisk_with("10:20s,100"), is_at(10), |stage| {
        stage.deny(Denial::of_resource("pods"));
        stage.end_watches();
    })
    .await;
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_loses_one_of_two_pods_is_not_down() {
    let shop = Shop::open().await;
    let (finish, _) = struck(&shop, brisk_with("10,50:20s,100"), is_at(50), |stage| {
        let pods = canary_pods(stage);
        assert_eq!(pods.len(), 2);
        stage.delete("pods", "shop", &pods[0]);
    })
    .await;
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_ready_again_when_they_are_listed_are_not_down() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("50:20s,100"));
    let trouble = async {
        shop.until_weight(50).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let from = shop.world.calls().len();
        // Two events, of which the first is late when it is read.
        for ready in [false, true] {
            shop.world
                .set(|stage| stage.pods("shop", "version=v2").ready(ready));
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        let mut calls = shop.world.calls().split_off(from);
        calls.retain(|call| call.path.ends_with("/pods"));
        let verbs: Vec<_> = calls.into_iter().map(|call| call.verb).collect();
        assert_eq!(verbs, ["list", "watch"]);
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    assert_eq!(
        finish.unwrap().outcome,
        Outcome::Promoted,
        "{:#?}",
        shop.told()
    );
}

#[tokio::test(start_paused = true)]
async fn watches_that_break_or_expire_miss_no_death() {
    let unavailable = ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    };
    let breaks: [(&str, Option<ApiFault>); 5] = [
        ("ended", None),
        ("expired", Some(ApiFault::Gone)),
        ("ended at once", Some(ApiFault::EndWatch)),
        ("unavailable", Some(unavailable)),
        ("without an answer", Some(ApiFault::Hang { applied: false })),
    ];
    for (name, fault) in breaks {
        let shop = scraped_rarely().await;
        let driver = shop.start(halfway());
        let trouble = async {
            shop.until_weight(50).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            if let Some(fault) = fault {
                shop.world.faults().api(Rule::new(fault).on("watch"));
            }
            shop.world.set(|stage| {
                stage.end_watches();
                stage.compact();
            });
            tokio::time::sleep(Duration::from_secs(13)).await;
            shop.world.set(kill);
            shop.world.clock().now()
        };
        let (finish, at) = tokio::join!(driver, trouble);
        let finish = finish.unwrap();
        assert_eq!(finish.outcome, DOWN, "{name}: {:#?}", shop.told());
        // A call without an answer takes its ten seconds before it is made again.
        let took = finish.at.duration_since(at);
        assert!(took < SignedDuration::from_secs(13), "{name}: {took:?}");
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_death_during_an_outage_of_the_api_is_known_as_soon_as_it_answers() {
    let shop = scraped_rarely().await;
    let (finish, took) = struck(&shop, halfway(), is_at(50), |stage| {
        let until = stage.now() + SignedDuration::from_secs(20);
        let reset = Rule::new(ApiFault::Reset { applied: false });
        stage.faults().api(reset.of("pods").until(until));
        stage.end_watches();
        kill(stage);
    })
    .await;
    assert_eq!(finish.outcome, DOWN, "{:#?}", shop.told());
    assert!((20..=22).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_dies_at_a_gate_or_in_a_pause_is_rolled_back() {
    for phase in [Phase::Waiting, Phase::Paused] {
        let shop = scraped_rarely().await;
        let is_there = |shop: &Shop| shop.rollout().is_some_and(|rollout| rollout.phase == phase);
        let pause = async {
            if phase == Phase::Paused {
                shop.until_weight(50).await;
                shop.pause("bob@desk").await.unwrap();
            }
        };
        let options = match phase {
            Phase::Waiting => brisk_with("50:pause,100"),
            _ => halfway(),
        };
        let ((finish, took), ()) = tokio::join!(struck(&shop, options, is_there, kill), pause);
        assert_eq!(finish.outcome, DOWN, "{phase:?}: {:#?}", shop.told());
        assert!(took < Duration::from_secs(2), "{phase:?}: {took:?}");
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_dies_while_prometheus_hangs_is_rolled_back_at_once() {
    let shop = Shop::open().await;
    let hanging = |shop: &Shop| {
        is_at(50)(shop) && {
            shop.world
                .faults()
                .prometheus(Rule::new(PrometheusFault::Hang));
            true
        }
    };
    let (finish, took) = struck(&shop, brisk_with("50:10m,100"), hanging, kill).await;
    assert_eq!(finish.outcome, DOWN, "{:#?}", shop.told());
    assert!(took < Duration::from_secs(2), "{took:?}");
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_dies_while_a_step_cannot_be_written_is_rolled_back() {
    let shop = scraped_rarely().await;
    let unavailable = ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    };
    // The second step cannot be written; the rollback can.
    let rule = Rule::new(unavailable).on("patch").after(1).times(4);
    shop.world.faults().api(rule);
    let is_retrying = |shop: &Shop| {
        let told = shop.told();
        told.iter()
            .any(|event| matches!(event, EventKind::Retrying { attempt: 4, .. }))
    };
    let (finish, _) = struck(&shop, brisk_with("10,50:10m,100"), is_retrying, kill).await;
    assert_eq!(finish.outcome, DOWN, "{:#?}", shop.told());
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_dies_while_only_testers_reach_it_gets_no_request_of_users() {
    let shop = Shop::open().await;
    let options = Options {
        testers: Some("cookie:^tester$".parse().unwrap()),
        ..brisk_with("10,100")
    };
    let (finish, _) = struck(&shop, options, |shop| shop.rollout().is_some(), kill).await;
    assert_eq!(finish.outcome, DOWN, "{:#?}", shop.told());
    assert_eq!(shop.climbed(), ["0"]);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_is_resumed_with_a_dead_canary_is_rolled_back() {
    let shop = scraped_rarely().await;
    let args = kubectl_canary::commands::Start {
        no_wait: true,
        ..start(halfway())
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    shop.world
        .set(|stage| stage.pods("shop", "version=v2").ready(false));
    let from = shop.world.clock().now();
    let finish = shop.resume("bob@desk").await.unwrap();
    assert_eq!(finish.outcome, DOWN, "{:#?}", shop.told());
    assert!(finish.at.duration_since(from) < SignedDuration::from_secs(2));
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_canary_outside_the_cluster_is_judged_by_the_metrics_alone() {
    let shop = Shop::with_routes(json!([{"name": "primary", "route": [
        {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100},
        {"destination": {"host": "reviews.example.com"}, "weight": 0},
    ]}]))
    .await;
    shop.world.apply(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"namespace": "shop", "name": "outside"},
        "spec": {"hosts": ["reviews.example.com"], "resolution": "DNS"},
    }));
    // No request of it succeeds here, which is not known from its pods.
    let finish = shop.start(brisk()).await.unwrap();
    let regressed = Outcome::RolledBack(Cause::Regression);
    assert_eq!(finish.outcome, regressed, "{:#?}", shop.told());
}

/// How long a canary that fails 4 % of its requests is borne, from when it begins to.
async fn borne(young: bool) -> Duration {
    let shop = Shop::open_with(|stage| {
        let started = stage.now() - SignedDuration::from_hours(1);
        for pod in canary_pods(stage) {
            stage.edit("pods", "shop", &pod, "kubelet", |pod| {
                pod["status"]["startTime"] = json!(started.to_string());
            });
        }
    })
    .await;
    let options = Options {
        analysis: Some(AnalysisKind::Sequential),
        min_requests: None,
        warmup: Some(HumanDuration::minutes(1)),
        ..brisk_with("10:10m,100")
    };
    // Its first requests are long ago by then.
    let has_served = |shop: &Shop| {
        let since = shop.rollout().map(|rollout| rollout.since);
        let served = since.map(|since| shop.world.clock().now().duration_since(since));
        is_at(10)(shop) && served.is_some_and(|served| served > SignedDuration::from_secs(90))
    };
    let (finish, took) = struck(&shop, options, has_served, |stage| {
        let now = stage.now();
        let canary = stage.traffic().version("shop", "reviews-v2");
        canary.fails_from(now, 0.04);
        if young {
            let first = &canary_pods(stage)[0];
            let mut pod = stage.object("pods", "shop", first).unwrap();
            pod["metadata"] = json!({
                "namespace": "shop", "name": "reviews-v2-added",
                "labels": pod["metadata"]["labels"],
                "ownerReferences": pod["metadata"]["ownerReferences"],
            });
            pod["status"]["startTime"] = json!(now.to_string());
            pod["status"]["podIP"] = json!("10.244.9.9");
            stage.apply(pod);
        }
    })
    .await;
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    took
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_an_autoscaler_adds_is_given_room_to_warm_up() {
    let (old, young) = (borne(false).await, borne(true).await);
    assert!(old < Duration::from_secs(30), "{old:?}");
    assert!(young > Duration::from_secs(60), "{young:?}");
}
