//! Connections that are lost without a word.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::commands::{self, Glance};
use kubectl_canary::driver::Finish;
use kubectl_canary::rollout::{Cause, Outcome, Phase};
use kubectl_canary::sandbox::{ApiFault, PrometheusFault, Rule};
use kubectl_canary::{CommandError, Signal, Signals};

use crate::harness::{Shop, brisk_with, signals};

/// How late what others do may be seen.
const LATEST: SignedDuration = SignedDuration::from_secs(10);

/// From now on watches of this resource begin and are never heard of again.
fn silence(shop: &Shop, resource: &str) {
    let rule = Rule::new(ApiFault::SilentWatch).on("watch").of(resource);
    shop.world.faults().api(rule);
    shop.world.set(|stage| stage.end_watches());
}

/// A rollout that waits at a gate behind a silent watch; after `seconds` there, `act` is done elsewhere. How
/// the driver ended, and how long after that.
async fn at_the_gate(
    shop: &Shop,
    seconds: u64,
    act: impl AsyncFnOnce(&Shop),
) -> (Finish, SignedDuration) {
    // Both are large, and a test's stack is not.
    let driver = Box::pin(shop.start(brisk_with("10:pause,100")));
    let acting = Box::pin(async {
        shop.until(|shop| {
            shop.rollout()
                .is_some_and(|rollout| rollout.phase == Phase::Waiting)
        })
        .await;
        silence(shop, "virtualservices");
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        act(shop).await;
        shop.world.clock().now()
    });
    let both = async { tokio::join!(driver, acting) };
    let both = tokio::time::timeout(Duration::from_secs(600), both).await;
    let (finish, at) = both.expect("the driver sees it");
    let finish = finish.unwrap();
    let took = finish.at.duration_since(at);
    (finish, took)
}

#[tokio::test(start_paused = true)]
async fn a_promote_elsewhere_is_seen_although_the_watch_is_silent() {
    // At any moment between two reads.
    for seconds in 20..26 {
        let shop = Shop::open().await;
        let (finish, took) = at_the_gate(&shop, seconds, async |shop| {
            shop.promote("bob@desk").await.unwrap();
        })
        .await;
        assert_eq!(finish.outcome, Outcome::Promoted);
        assert!(took <= LATEST, "{took:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_elsewhere_is_seen_although_the_watch_is_silent_and_a_read_hangs() {
    for seconds in 20..26 {
        let shop = Shop::open().await;
        let (finish, took) = at_the_gate(&shop, seconds, async |shop| {
            shop.abort("bob@desk").await.unwrap();
            let lost = Rule::new(ApiFault::Hang { applied: false }).on("get");
            let lost = lost.of("virtualservices").times(1);
            shop.world.faults().api(lost);
        })
        .await;
        assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Request));
        assert!(took <= LATEST, "{took:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_elsewhere_is_seen_although_the_watch_is_silent_and_the_metrics_hang() {
    for seconds in 20..26 {
        let shop = Shop::open().await;
        let (finish, took) = at_the_gate(&shop, seconds, async |shop| {
            let hang = Rule::new(PrometheusFault::Hang);
            shop.world.faults().prometheus(hang);
            let lost = Rule::new(ApiFault::Hang { applied: false }).on("get");
            let lost = lost.of("virtualservices").by("alice@desk").times(1);
            shop.world.faults().api(lost);
            shop.abort("bob@desk").await.unwrap();
        })
        .await;
        assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Request));
        assert!(took <= LATEST, "{took:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_costs_one_read_every_few_seconds_and_no_other_watch() {
    let shop = Shop::open().await;
    let (finish, _) = at_the_gate(&shop, 300, async |shop| {
        let calls = shop.world.calls();
        let of_object = |verb| {
            let is = |call: &&kubectl_canary::sandbox::Call| {
                call.verb == verb && call.path.contains("virtualservices")
            };
            calls.iter().filter(is).count()
        };
        let reads = of_object("get");
        assert!((30..=80).contains(&reads), "{reads} reads in five minutes");
        let watches = of_object("watch");
        assert!(watches <= 4, "{watches} watches in five minutes");
        shop.abort("bob@desk").await.unwrap();
    })
    .await;
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Request));
}

#[tokio::test(start_paused = true)]
async fn reads_that_fail_are_no_storm() {
    let shop = Shop::open().await;
    let (finish, took) = at_the_gate(&shop, 60, async |shop| {
        let until = shop.after(120);
        let down = ApiFault::Answer {
            code: 503,
            retry_after: None,
            applied: false,
        };
        let down = Rule::new(down).of("virtualservices").until(until);
        shop.world.faults().api(down);
        let before = shop.world.calls().len();
        tokio::time::sleep(Duration::from_secs(121)).await;
        let calls = shop.world.calls();
        let of_object = calls[before..].iter();
        let count = of_object
            .filter(|call| call.path.contains("virtualservices"))
            .count();
        assert!(count < 60, "{count} calls in two minutes");
        shop.abort("bob@desk").await.unwrap();
    })
    .await;
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Request));
    assert!(took <= LATEST, "{took:#}");
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_the_object_is_not_there_ends_nothing() {
    let shop = Shop::open().await;
    let (finish, _) = at_the_gate(&shop, 30, async |shop| {
        let gone = Rule::new(ApiFault::NotFound)
            .on("get")
            .of("virtualservices");
        shop.world.faults().api(gone.times(1));
        tokio::time::sleep(Duration::from_secs(20)).await;
        shop.promote("bob@desk").await.unwrap();
    })
    .await;
    assert_eq!(finish.outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn pods_that_go_behind_a_silent_watch_are_missed_within_seconds() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("50:30m,100"));
    let striking = async {
        shop.until_weight(50).await;
        silence(&shop, "pods");
        tokio::time::sleep(Duration::from_secs(30)).await;
        // The metrics would tell of it too.
        let hang = Rule::new(PrometheusFault::Hang);
        shop.world.faults().prometheus(hang);
        shop.world
            .set(|stage| stage.pods("shop", "version=v2").delete());
        shop.world.clock().now()
    };
    let (finish, at) = tokio::join!(driver, striking);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::CanaryDown));
    let took = finish.at.duration_since(at);
    assert!(took <= SignedDuration::from_secs(15), "{took:#}");
}

#[tokio::test(start_paused = true)]
async fn whoever_follows_a_rollout_sees_its_end_although_the_watch_is_silent() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10:10m,100"));
    let following = async {
        shop.until_weight(10).await;
        silence(&shop, "virtualservices");
        let aborting = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            shop.abort("carol@desk").await.unwrap();
            shop.world.clock().now()
        };
        let following = shop.act("bob@desk", Signals::none(), async |context| {
            let ended = commands::follow(context, "reviews", None, None, &mut |_| Ok(())).await;
            (ended, context.clock.now())
        });
        tokio::join!(aborting, following)
    };
    let (_, (at, (ended, seen))) = tokio::join!(driver, following);
    assert_eq!(ended.unwrap(), Outcome::RolledBack(Cause::Request));
    assert!(
        seen.duration_since(at) <= LATEST,
        "{:#}",
        seen.duration_since(at)
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_follows_a_namespace_sees_changes_although_the_watch_falls_silent() {
    let shop = Shop::open().await;
    let (tell, queue) = signals();
    let mut seen = Vec::new();
    let looking = shop.act("bob@desk", queue, async |context| {
        let clock = context.clock.clone();
        commands::follow_all(context, false, false, &mut |glance| {
            if let Glance::One(..) = glance {
                seen.push(clock.now());
            }
            Ok(())
        })
        .await
    });
    let driving = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // This one is lost; the next is on another connection.
        let lost = Rule::new(ApiFault::SilentWatch).on("watch").times(1);
        shop.world.faults().api(lost.of("virtualservices"));
        shop.world.set(|stage| stage.end_watches());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let at = shop.world.clock().now();
        shop.start(brisk_with("10,100")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        tell.send(Signal::Interrupt).unwrap();
        at
    };
    let (ended, at) = tokio::join!(looking, driving);
    assert!(matches!(ended, Err(CommandError::Interrupted(_))));
    let first = seen.first().expect("it saw the rollout");
    assert!(first.duration_since(at) <= LATEST, "{first} after {at}");
}
