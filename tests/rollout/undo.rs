//! After 100 %: the weights of before the last promotion, at once.

use std::time::Duration;

use kubectl_canary::commands::{self, Start, Status, StatusAnswer};
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{Cause, EventKind, Outcome};
use kubectl_canary::sandbox::{ApiFault, Rule};
use kubectl_canary::{CommandError, Signals};
use serde_json::json;

use crate::harness::{Shop, brisk, brisk_with, start};

fn away() -> ApiFault {
    ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    }
}

async fn promoted() -> Shop {
    let shop = Shop::open().await;
    shop.start(brisk_with("50,100")).await.unwrap();
    assert_eq!(shop.weights(), [0, 100]);
    shop
}

/// The commands that `status` names.
async fn next(shop: &Shop) -> Vec<String> {
    let args = Status {
        name: Some("reviews".into()),
        ..Status::default()
    };
    let answer = shop
        .act("bob@desk", Signals::none(), async |context| {
            commands::status(context, &args, None).await
        })
        .await;
    match answer.unwrap() {
        StatusAnswer::One(row) => row.next,
        StatusAnswer::Many(_) => panic!("one was asked for"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_promotion_is_undone_from_another_machine_to_the_last_byte() {
    let shop = promoted().await;
    assert_eq!(next(&shop).await, ["kubectl canary undo reviews -n shop"]);
    let finish = shop.undo("bob@desk").await.unwrap().unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Undo));
    assert_eq!(finish.exposure.to_string(), "0 %");
    assert!(finish.rollback.unwrap() < Duration::from_secs(1));
    shop.assert_restored();
    let told = shop.told();
    assert!(told.iter().any(|event| matches!(event, EventKind::RolledBack { cause: Cause::Undo, routes, .. } if routes.len() == 1)));
    let last = shop.annotation("last").unwrap();
    assert!(
        last.contains(r#""cause":"undo""#) && last.contains("bob@desk"),
        "{last}"
    );
    assert!(!next(&shop).await[0].contains("undo"));
    // Once more there is nothing to do.
    let patches = shop.patches().len();
    assert_eq!(shop.undo("carol@desk").await.unwrap(), None);
    assert_eq!(shop.patches().len(), patches);
}

#[tokio::test(start_paused = true)]
async fn the_share_that_the_canary_had_and_an_added_destination_are_as_they_were() {
    let shop = Shop::with_routes(json!([{"name": "primary", "route": [
        {"destination": {"host": "reviews", "subset": "v1"}, "weight": 80},
        {"destination": {"host": "reviews", "subset": "v2"}, "weight": 20},
    ]}]))
    .await;
    shop.start(brisk_with("50,100")).await.unwrap();
    let finish = shop.undo("bob@desk").await.unwrap().unwrap();
    assert_eq!(finish.exposure.to_string(), "20 %");
    shop.assert_restored();

    let shop = Shop::with_routes(json!([{"name": "primary", "route": [
        {"destination": {"host": "reviews", "subset": "v1"}},
    ]}]))
    .await;
    let options = Options {
        canary: Some("v2".into()),
        add_destination: true,
        ..brisk_with("50,100")
    };
    shop.start(options).await.unwrap();
    assert_eq!(shop.weights(), [0, 100]);
    shop.undo("bob@desk").await.unwrap().unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn there_is_nothing_to_undo_without_a_promotion() {
    let shop = Shop::open().await;
    let text = shop.undo("bob@desk").await.unwrap_err().to_string();
    assert_eq!(
        text,
        "nothing to undo: virtualservice shop/reviews has no record of a promotion (try: kubectl canary status reviews -n shop)"
    );
    let args = Start {
        no_wait: true,
        ..start(brisk())
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    let before = shop.object();
    let error = shop.undo("bob@desk").await.unwrap_err();
    assert!(matches!(error, CommandError::UnderWay { .. }), "{error}");
    assert_eq!(shop.object(), before);
    shop.abort("bob@desk").await.unwrap();
    let text = shop.undo("bob@desk").await.unwrap_err().to_string();
    assert!(text.starts_with("nothing to undo: the last rollout of virtualservice shop/reviews ended otherwise: rolled back: on request"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_has_changed_since_is_not_written_over_and_the_way_by_hand_is_said() {
    let shop = promoted().await;
    shop.set_weights(30, 70);
    let before = shop.object();
    let text = shop.undo("bob@desk").await.unwrap_err().to_string();
    assert!(
        text.contains("is not as the promotion of v2 left it: http[primary] has weights 30/70"),
        "{text}"
    );
    assert!(
        text.contains("kubectl patch virtualservice reviews -n shop --type=json"),
        "{text}"
    );
    assert_eq!(shop.object(), before);

    let shop = promoted().await;
    shop.edit(|vs| vs["spec"]["http"][0]["route"][0]["destination"]["subset"] = "v3".into());
    let before = shop.object();
    let text = shop.undo("bob@desk").await.unwrap_err().to_string();
    assert!(
        text.contains("is not as the promotion of v2 left it"),
        "{text}"
    );
    assert!(
        text.contains("kubectl edit virtualservice reviews -n shop"),
        "{text}"
    );
    assert_eq!(shop.object(), before);

    // Weights that are back already are taken for what they are.
    let shop = promoted().await;
    shop.set_weights(100, 0);
    shop.undo("bob@desk").await.unwrap().unwrap();
    shop.assert_restored();
    assert!(shop.annotation("last").unwrap().contains("undo"));
}

#[tokio::test(start_paused = true)]
async fn what_changes_between_the_look_and_the_write_is_not_written_over() {
    let shop = promoted().await;
    let slow = Rule::new(away()).on("patch").of("virtualservices").times(1);
    shop.world.faults().api(slow);
    let other = async {
        let seen = || {
            shop.world
                .calls()
                .iter()
                .any(|call| call.verb == "patch" && call.user == "bob@desk")
        };
        while !seen() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        shop.set_weights(50, 50);
    };
    let (undone, ()) = tokio::join!(shop.undo("bob@desk"), other);
    let text = undone.unwrap_err().to_string();
    assert!(
        text.contains("changed while its promotion was undone"),
        "{text}"
    );
    assert_eq!(shop.weights(), [50, 50]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_and_a_server_that_is_away_are_outlasted() {
    let lost = ApiFault::Reset { applied: true };
    for fault in [
        away(),
        lost,
        ApiFault::Reset { applied: false },
        ApiFault::WebhookDown,
    ] {
        let shop = promoted().await;
        shop.world
            .faults()
            .api(Rule::new(fault).on("patch").times(2));
        let finish = shop.undo("bob@desk").await.unwrap().unwrap();
        assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Undo));
        shop.assert_restored();
    }
    let shop = promoted().await;
    shop.world
        .faults()
        .api(Rule::new(away()).on("get").times(3));
    shop.undo("bob@desk").await.unwrap().unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_refuses_for_good_is_a_rollback_that_failed() {
    let shop = promoted().await;
    shop.world
        .faults()
        .api(Rule::new(ApiFault::WebhookDenies("no".into())).on("patch"));
    let error = shop.undo("bob@desk").await.unwrap_err();
    assert!(
        matches!(error, CommandError::RollbackFailed { .. }),
        "{error}"
    );
    assert_eq!(shop.weights(), [0, 100]);
}
