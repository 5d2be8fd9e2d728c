//! Which weights a rollout sets, and that it sets nothing else.

use std::time::Duration;

use kubectl_canary::Signals;
use kubectl_canary::commands::Start;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{EventKind, Outcome};
use serde_json::{Value, json};

use crate::harness::{Shop, brisk, brisk_with, start};

fn two(stable: Value, canary: Value) -> Value {
    let mut targets = json!([
        {"destination": {"host": "reviews", "subset": "v1"}},
        {"destination": {"host": "reviews", "subset": "v2"}},
    ]);
    for (index, weight) in [stable, canary].into_iter().enumerate() {
        if !weight.is_null() {
            targets[index]["weight"] = weight;
        }
    }
    targets
}

fn no_wait(options: Options) -> Start {
    Start {
        no_wait: true,
        ..start(options)
    }
}

#[tokio::test(start_paused = true)]
async fn steps_below_the_canarys_share_are_passed_over() {
    let shop =
        Shop::with_routes(json!([{"name": "primary", "route": two(json!(80), json!(20))}])).await;
    let driver = shop.start(brisk());
    let finish = driver.await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    assert_eq!(shop.climbed(), ["50", "100"]);
    let skipped = shop.told().into_iter().find_map(|event| match event {
        EventKind::Planned { steps, .. } => Some(steps),
        _ => None,
    });
    let skipped = skipped.unwrap();
    let skipped = skipped.iter().filter(|step| step.skipped);
    let skipped: Vec<_> = skipped.map(|step| step.exposure.to_string()).collect();
    assert_eq!(skipped, ["1 %", "10 %"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_equal_to_the_canarys_share_is_judged_before_the_next() {
    let shop =
        Shop::with_routes(json!([{"name": "primary", "route": two(json!(75), json!(25))}])).await;
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails(0.3);
    let finish = shop.start(brisk_with("25,50,100")).await.unwrap();
    assert!(matches!(finish.outcome, Outcome::RolledBack(_)));
    assert_eq!(shop.climbed(), ["25"]);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn abort_goes_back_to_the_share_the_canary_had() {
    let shop =
        Shop::with_routes(json!([{"name": "primary", "route": two(json!(80), json!(20))}])).await;
    shop.start_as("ci@runner", no_wait(brisk()), Signals::none())
        .await
        .unwrap();
    assert_eq!(shop.weights(), [50, 50]);
    let finish = shop.abort("bob@desk").await.unwrap().unwrap();
    assert_eq!(finish.exposure.to_string(), "20 %");
    assert_eq!(shop.weights(), [80, 20]);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn several_routes_move_in_one_patch() {
    let shop = Shop::with_routes(json!([
        {"name": "mobile", "match": [{"headers": {"x-app": {"exact": "mobile"}}}], "route": two(json!(50), json!(0)), "retries": {"attempts": 2}},
        {"name": "static", "match": [{"uri": {"prefix": "/static"}}], "redirect": {"uri": "/"}},
        {"name": "primary", "route": two(json!(100), json!(0))},
    ]))
    .await;
    let finish = shop
        .start_as("ci@runner", no_wait(brisk_with("10,100")), Signals::none())
        .await;
    assert_eq!(finish.unwrap().outcome, Outcome::StepSet);
    let spec = shop.spec();
    assert_eq!(spec["http"][0]["route"], two(json!(45), json!(5)));
    assert_eq!(spec["http"][2]["route"], two(json!(90), json!(10)));
    assert_eq!(spec["http"][1], shop.before["http"][1]);
    assert_eq!(shop.patches().len(), 1);
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_third_destination_keeps_its_share() {
    let mut targets = two(json!(60), json!(10));
    targets
        .as_array_mut()
        .unwrap()
        .insert(1, json!({"destination": {"host": "legacy"}, "weight": 30}));
    let shop = Shop::with_routes(json!([{"name": "primary", "route": targets}])).await;
    let options = Options {
        stable: Some("v1".into()),
        canary: Some("v2".into()),
        ..brisk_with("50,100")
    };
    shop.start_as("ci@runner", no_wait(options), Signals::none())
        .await
        .unwrap();
    assert_eq!(shop.weights(), [35, 30, 35]);
    shop.promote("ci@runner").await.unwrap();
    assert_eq!(shop.weights(), [0, 30, 70]);
}

#[tokio::test(start_paused = true)]
async fn a_weight_that_was_absent_is_absent_again_after_a_rollback() {
    let shop =
        Shop::with_routes(json!([{"name": "primary", "route": two(json!(100), Value::Null)}]))
            .await;
    assert_eq!(shop.before["http"][0]["route"][1].get("weight"), None);
    shop.start_as("ci@runner", no_wait(brisk()), Signals::none())
        .await
        .unwrap();
    assert_eq!(shop.weights(), [99, 1]);
    shop.abort("ci@runner").await.unwrap();
    shop.assert_restored();
    assert_eq!(shop.spec().to_string(), shop.before.to_string());
}

#[tokio::test(start_paused = true)]
async fn an_object_without_annotations_is_rolled_out_and_back() {
    let shop = Shop::open().await;
    assert_eq!(shop.object()["metadata"].get("annotations"), None);
    let finish = shop.start_as("ci@runner", no_wait(brisk()), Signals::none());
    finish.await.unwrap();
    assert!(shop.annotation("rollout").is_some());
    shop.abort("ci@runner").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn foreign_annotations_and_labels_stay_as_they_are() {
    let shop = Shop::open_with(|stage| {
        stage.edit("virtualservices", "shop", "reviews", "helm", |vs| {
            vs["metadata"]["annotations"] =
                json!({"meta.helm.sh/release-name": "shop", "a~b/c": "d"});
            vs["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
        });
    })
    .await;
    let labels = shop.object()["metadata"]["labels"].clone();
    shop.start(brisk()).await.unwrap();
    let object = shop.object();
    assert_eq!(object["metadata"]["labels"], labels);
    assert_eq!(object["metadata"]["annotations"]["a~b/c"], "d");
    assert_eq!(
        object["metadata"]["annotations"]["meta.helm.sh/release-name"],
        "shop"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rollout_changes_weights_and_nothing_else_at_any_time() {
    let shop = Shop::open().await;
    let without_weights = |mut spec: Value| {
        for target in spec["http"][0]["route"].as_array_mut().unwrap() {
            target["weight"] = 0.into();
        }
        spec
    };
    let expected = without_weights(shop.before.clone());
    let driver = shop.start(brisk());
    let watcher = async {
        for _ in 0..100 {
            assert_eq!(without_weights(shop.spec()), expected);
            assert_eq!(shop.weights().iter().sum::<i64>(), 100);
            shop.assert_whole();
            tokio::time::sleep(Duration::from_millis(313)).await;
        }
    };
    let (finish, ()) = tokio::join!(driver, watcher);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn the_canary_never_gets_more_than_the_step_asks() {
    let shop =
        Shop::with_routes(json!([{"name": "primary", "route": two(json!(29), json!(0))}])).await;
    shop.start_as(
        "ci@runner",
        no_wait(brisk_with("10,50,100")),
        Signals::none(),
    )
    .await
    .unwrap();
    assert_eq!(
        shop.weights(),
        [27, 2],
        "2 of 29 is 6.9 %, 3 would be 10.3 %"
    );
    shop.promote("ci@runner").await.unwrap();
    assert_eq!(shop.weights(), [15, 14]);
    shop.promote("ci@runner").await.unwrap();
    assert_eq!(shop.weights(), [0, 29]);
}
