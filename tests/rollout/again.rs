//! The same command once more: a job that ran twice never moves the traffic back.

use std::time::Duration;

use kubectl_canary::commands::{self, PlanArgs, Promote, Start};
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{LAST, Outcome};
use kubectl_canary::{CommandError, Signals};
use serde_json::json;

use crate::harness::{Result, Shop, brisk, brisk_with, start};

fn to(canary: &str) -> Options {
    Options {
        canary: Some(canary.into()),
        ..brisk_with("50,100")
    }
}

fn from(stable: &str) -> Options {
    Options {
        stable: Some(stable.into()),
        ..brisk_with("50,100")
    }
}

/// Fails unless it was refused by the preflight with words on the way back.
#[track_caller]
fn assert_refused(started: Result) {
    let Err(error @ CommandError::Preflight(_)) = started else {
        panic!("{started:?}");
    };
    let text = error.to_string();
    assert!(
        text.contains("would shift the traffic back to v1"),
        "{text}"
    );
    assert!(text.contains("(try: --canary v1 to roll out v1"), "{text}");
}

/// Fails unless there was nothing to do, and nothing was done.
#[track_caller]
fn assert_already(shop: &Shop, patches: usize, started: Result) {
    let finish = started.unwrap();
    assert_eq!(finish.outcome, Outcome::AlreadyPromoted);
    assert_eq!(finish.exposure.to_string(), "100 %");
    assert_eq!(finish.rollout.canary.to_string(), "v2");
    assert_eq!(shop.patches().len(), patches);
}

#[tokio::test(start_paused = true)]
async fn without_names_the_way_back_is_refused_and_with_the_canary_it_is_done_already() {
    let shop = Shop::open().await;
    shop.start(brisk_with("50,100")).await.unwrap();
    assert_eq!(shop.weights(), [0, 100]);
    let patches = shop.patches().len();
    for _ in 0..2 {
        assert_refused(shop.start(brisk_with("50,100")).await);
        assert_already(&shop, patches, shop.start(to("v2")).await);
        assert_already(&shop, patches, shop.start(from("v1")).await);
        assert_eq!(shop.weights(), [0, 100]);
    }
    // Said in so many words, it goes back, with an analysis.
    let back = shop.start(to("v1")).await.unwrap();
    assert_eq!(back.outcome, Outcome::Promoted);
    assert_eq!(shop.weights(), [100, 0]);
    let again = shop.start(brisk_with("50,100")).await.unwrap_err();
    assert!(matches!(again, CommandError::Preflight(_)), "{again}");
    assert_eq!(
        shop.start(from("v1")).await.unwrap().outcome,
        Outcome::Promoted
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_promoted_by_hand_goes_back_only_if_that_is_said() {
    let shop = Shop::open().await;
    // Without a record nothing tells which of the two is the newer.
    shop.set_weights(0, 100);
    assert_already(&shop, 0, shop.start(to("v2")).await);
    shop.set_weights(100, 0);
    shop.start_as(
        "ci@runner",
        Start {
            no_wait: true,
            ..start(brisk())
        },
        Signals::none(),
    )
    .await
    .unwrap();
    shop.abort("bob@desk").await.unwrap();
    shop.set_weights(0, 100);
    let text = shop.start(brisk()).await.unwrap_err().to_string();
    assert!(
        text.contains("went from v1 to v2, and this one would shift the traffic back to v1"),
        "{text}"
    );
    // After an abort the same command is a new try.
    shop.set_weights(100, 0);
    assert_eq!(
        shop.start(brisk()).await.unwrap().outcome,
        Outcome::Promoted
    );
}

#[tokio::test(start_paused = true)]
async fn after_an_undo_the_same_command_is_a_new_try() {
    let shop = Shop::open().await;
    shop.start(to("v2")).await.unwrap();
    shop.undo("bob@desk").await.unwrap();
    assert_eq!(shop.weights(), [100, 0]);
    assert_eq!(
        shop.start(brisk_with("50,100")).await.unwrap().outcome,
        Outcome::Promoted
    );
    assert_eq!(shop.weights(), [0, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_asks_for_a_name() {
    let shop = Shop::open().await;
    shop.edit(|vs| vs["metadata"]["annotations"] = json!({LAST: r#"{"version":7}"#}));
    let text = shop.start(brisk()).await.unwrap_err().to_string();
    assert!(
        text.contains("it has version 7") && text.contains("--canary v2"),
        "{text}"
    );
    assert_eq!(
        shop.start(to("v2")).await.unwrap().outcome,
        Outcome::Promoted
    );
}

#[tokio::test(start_paused = true)]
async fn a_third_version_keeps_its_share_when_the_command_comes_again() {
    let target = |subset: &str, weight: i64| json!({"destination": {"host": "reviews", "subset": subset}, "weight": weight});
    let route = json!([target("v1", 70), target("v2", 0), {"destination": {"host": "legacy"}, "weight": 30}]);
    let shop = Shop::with_routes(json!([{"name": "primary", "route": route}])).await;
    shop.start(to("v2")).await.unwrap();
    assert_eq!(shop.weights(), [0, 70, 30]);
    let patches = shop.patches().len();
    assert_already(&shop, patches, shop.start(to("v2")).await);
    assert_eq!(shop.weights(), [0, 70, 30]);
}

#[tokio::test(start_paused = true)]
async fn of_two_routes_both_have_to_be_there_already() {
    let two = |name: &str, stable: i64, canary: i64| {
        json!({"name": name, "route": [
            {"destination": {"host": "reviews", "subset": "v1"}, "weight": stable},
            {"destination": {"host": "reviews", "subset": "v2"}, "weight": canary},
        ]})
    };
    let mut mobile = two("mobile", 100, 0);
    mobile["match"] = json!([{"headers": {"x-app": {"exact": "mobile"}}}]);
    let shop = Shop::with_routes(json!([mobile, two("primary", 100, 0)])).await;
    let only = |route: &str| Options {
        route: vec![route.into()],
        ..to("v2")
    };
    let promoted = async |options: Options| {
        // A run is named by its time.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let args = Start {
            no_wait: true,
            ..start(options)
        };
        let started = shop.start_as("ci@runner", args, Signals::none()).await;
        assert_eq!(started.unwrap().outcome, Outcome::StepSet);
        let full = Promote {
            full: true,
            ..Promote::default()
        };
        shop.promote_with("ci@runner", full).await.unwrap();
    };
    promoted(only("mobile")).await;
    assert_eq!(
        shop.start(only("mobile")).await.unwrap().outcome,
        Outcome::AlreadyPromoted
    );
    promoted(to("v2")).await;
    assert_eq!(
        shop.start(to("v2")).await.unwrap().outcome,
        Outcome::AlreadyPromoted
    );
    // Where the old version has left the routes, there is nothing to do either.
    shop.edit(|vs| {
        for rule in [0, 1] {
            vs["spec"]["http"][rule]["route"]
                .as_array_mut()
                .unwrap()
                .remove(0);
        }
    });
    assert_eq!(
        shop.start(to("v2")).await.unwrap().outcome,
        Outcome::AlreadyPromoted
    );
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_what_is_done_already_is_no_failure() {
    let shop = Shop::open().await;
    shop.start(to("v2")).await.unwrap();
    let plan = async |options: Options| {
        let args = PlanArgs {
            rollout: start(options).rollout,
            ..PlanArgs::default()
        };
        shop.act("ci@runner", Signals::none(), async |context| {
            commands::plan(context, &args).await
        })
        .await
        .unwrap()
    };
    let done = plan(to("v2")).await;
    assert!(!done.refused);
    assert_eq!(
        done.findings[0].what,
        "v2 of virtualservice shop/reviews already has all the traffic"
    );
    assert!(plan(brisk()).await.refused);
}
