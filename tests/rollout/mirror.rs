//! Shadow traffic before the first percent.

use kubectl_canary::commands::Start;
use kubectl_canary::engine::Signals;
use kubectl_canary::plan::{OnDrift, Options};
use kubectl_canary::record::{Cause, EventKind, Outcome};
use serde_json::json;

use crate::stage::{Shop, brisk_with, start};

fn begin(steps: &str) -> Start {
    Start {
        no_wait: true,
        ..start(brisk_with(steps))
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_mirrored_first_and_never_with_the_first_percent() {
    let shop = Shop::open().await;
    let begun = shop.start_as("ci@runner", begin("mirror:12.5%,10,100"), Signals::none());
    begun.await.unwrap();
    let rule = &shop.spec()["http"][0];
    assert_eq!(rule["mirror"], json!({"host": "reviews", "subset": "v2"}));
    assert_eq!(rule["mirrorPercentage"], json!({"value": 12.5}));
    assert_eq!(shop.weights(), [100, 0]);
    shop.assert_whole();
    shop.promote("bob@desk").await.unwrap();
    let rule = &shop.spec()["http"][0];
    assert_eq!(rule.get("mirror").or(rule.get("mirrorPercentage")), None);
    assert_eq!(shop.weights(), [90, 10]);
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_nobody_moved_on_from_is_taken_away() {
    let shop = Shop::open().await;
    let begun = shop.start_as("ci@runner", begin("mirror:10%,10,100"), Signals::none());
    begun.await.unwrap();
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn the_mirror_takes_its_time_and_says_that_it_is_not_judged() {
    let shop = Shop::open().await;
    let finish = shop
        .start(brisk_with("mirror:10%:20s,10,100"))
        .await
        .unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    assert_eq!(shop.climbed(), ["0", "10", "100"]);
    let passed = shop.told().into_iter().find_map(|event| match event {
        EventKind::StepPassed { reasons, .. } => Some(reasons),
        _ => None,
    });
    assert_eq!(
        passed.unwrap(),
        ["10 % were mirrored; answers that reach nobody are not judged"]
    );
    let first = shop.when(|event| matches!(event, EventKind::StepStarted { .. }));
    let second = shop.when(|event| matches!(event, EventKind::StepStarted { step: 2, .. }));
    let took = second.duration_since(first).as_secs();
    assert!((20..30).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_fails_after_the_mirror_is_rolled_back() {
    let shop = Shop::open().await;
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails(0.5);
    let finish = shop.start(brisk_with("mirror:10%,10,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    assert_eq!(shop.climbed(), ["0", "10"]);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_there_already_is_not_taken_over() {
    let shop = Shop::open_with(|stage| {
        stage.edit("virtualservices", "shop", "reviews", "setup", |vs| {
            vs["spec"]["http"][0]["mirrors"] = json!([{"destination": {"host": "recorder"}}]);
        });
    })
    .await;
    let refused = shop.start(brisk_with("mirror:10%,100")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "virtualservice shop/reviews: http[primary] has a mirror already, and a step that mirrors would take its place (try: steps without mirror, or remove `mirror` from the route first)"
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_mirror_in_mid_run_is_noticed_and_stays() {
    let shop = Shop::open().await;
    let options = Options {
        on_drift: Some(OnDrift::Stop),
        ..brisk_with("mirror:10%:1m,100")
    };
    let driver = shop.start(options);
    let editor = async {
        shop.until(|shop| shop.spec()["http"][0].get("mirror").is_some())
            .await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        shop.edit(|vs| vs["spec"]["http"][0]["mirror"] = json!({"host": "recorder"}));
    };
    let (finish, ()) = tokio::join!(driver, editor);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::Drifted);
    assert_eq!(
        finish.reasons,
        [
            "argocd changed the routes: http[primary] does not mirror 10 % of its requests to the canary, as this rollout set"
        ]
    );
    shop.abort("bob@desk").await.unwrap();
    assert_eq!(
        shop.spec()["http"][0]["mirror"],
        json!({"host": "recorder"})
    );
    assert_eq!(shop.annotation("rollout"), None);
}
