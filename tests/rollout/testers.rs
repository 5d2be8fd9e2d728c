//! Testers reach the canary before anybody else, by rules that come and go with the rollout.

use kubectl_canary::Signals;
use kubectl_canary::plan::{OnDrift, Options};
use kubectl_canary::rollout::{Cause, Outcome, Phase};
use serde_json::json;

use crate::harness::{Shop, begin, brisk_with, signals, two};

const EMAIL: &str = "cookie:^(.*?;)?(email=[^;]*@some-company-name.com)(;.*)?$";

fn matching(testers: &str, steps: &str) -> Options {
    Options {
        testers: Some(testers.parse().unwrap()),
        ..brisk_with(steps)
    }
}

/// Names of the HTTP rules, in order.
fn names(shop: &Shop) -> Vec<String> {
    let spec = shop.spec();
    let rules = spec["http"].as_array().unwrap().iter();
    rules
        .map(|rule| match rule["name"].as_str() {
            Some(name) if name.starts_with("kubectl-canary-") => "ours".to_owned(),
            Some(name) => name.to_owned(),
            None => "-".to_owned(),
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn testers_get_the_canary_before_the_first_percent() {
    let shop = Shop::open().await;
    let options = matching("header:x-canary=1", "10,100");
    let begun = shop.start_as("ci@runner", begin(options), Signals::none());
    begun.await.unwrap();
    let spec = shop.spec();
    assert_eq!(names(&shop), ["ours", "primary"]);
    assert_eq!(
        spec["http"][0]["match"],
        json!([{"headers": {"x-canary": {"exact": "1"}}}])
    );
    assert_eq!(
        spec["http"][0]["route"],
        json!([{"destination": {"host": "reviews", "subset": "v2"}}])
    );
    assert_eq!(spec["http"][0]["timeout"], "5s");
    assert_eq!(spec["http"][1], shop.before["http"][0], "nobody else moves");
    shop.assert_whole();
    shop.promote("ci@runner").await.unwrap();
    assert_eq!(names(&shop), ["ours", "primary"]);
    assert_eq!(shop.spec()["http"][1]["route"], two(90, 10));
    shop.promote("ci@runner").await.unwrap();
    assert_eq!(names(&shop), ["primary"]);
    assert_eq!(shop.spec()["http"][0]["route"], two(0, 100));
}

#[tokio::test(start_paused = true)]
async fn a_rollout_with_testers_is_driven_to_its_end_and_leaves_no_rule() {
    let shop = Shop::open().await;
    let rule = "kubectl-canary-run-of-alice-desk-0";
    shop.world
        .traffic()
        .demand(kubectl_canary::sandbox::fixtures::REVIEWS)
        .through(rule, 0.1);
    let finish = shop.start(matching(EMAIL, "10,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    assert_eq!(shop.climbed(), ["0", "10", "100"]);
    assert_eq!(names(&shop), ["primary"]);
    assert!(finish.total_counts.unwrap().canary.requests > 0);
}

#[tokio::test(start_paused = true)]
async fn every_chosen_route_gets_a_rule_of_its_own_right_above_it() {
    let shop = Shop::with_routes(json!([
        {"name": "mobile", "match": [{"headers": {"x-app": {"exact": "mobile"}}}, {"uri": {"prefix": "/m"}}], "rewrite": {"uri": "/"}, "route": two(50, 0)},
        {"name": "old", "match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/"}},
        {"name": "primary", "route": two(100, 0)},
    ]))
    .await;
    let begun = shop.start_as(
        "ci@runner",
        begin(matching(EMAIL, "10,100")),
        Signals::none(),
    );
    begun.await.unwrap();
    assert_eq!(names(&shop), ["ours", "mobile", "old", "ours", "primary"]);
    let cookie = json!({"regex": EMAIL.strip_prefix("cookie:").unwrap()});
    assert_eq!(
        shop.spec()["http"][0]["match"],
        json!([
            {"headers": {"x-app": {"exact": "mobile"}, "cookie": cookie}},
            {"uri": {"prefix": "/m"}, "headers": {"cookie": cookie}},
        ])
    );
    assert_eq!(shop.spec()["http"][0]["rewrite"], json!({"uri": "/"}));
    shop.assert_whole();
    // Somebody else's rule in between moves ours, and misleads nobody.
    shop.edit(|vs| {
        let rule = json!({"name": "new", "match": [{"uri": {"prefix": "/new"}}], "redirect": {"uri": "/"}});
        vs["spec"]["http"].as_array_mut().unwrap().insert(2, rule);
    });
    shop.promote("bob@desk").await.unwrap();
    assert_eq!(
        names(&shop),
        ["ours", "mobile", "new", "old", "ours", "primary"]
    );
    shop.edit(|vs| {
        vs["spec"]["http"].as_array_mut().unwrap().remove(2);
    });
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn testers_and_an_added_canary_go_together() {
    let lone = json!([{"name": "primary", "route": [{"destination": {"host": "reviews", "subset": "v1"}}]}]);
    let shop = Shop::with_routes(lone).await;
    let options = || Options {
        add_destination: true,
        ..matching("header:x-canary=1", "mirror:10%,10,100")
    };
    let begun = shop.start_as("ci@runner", begin(options()), Signals::none());
    begun.await.unwrap();
    assert_eq!(names(&shop), ["ours", "primary"]);
    assert_eq!(shop.spec()["http"][1]["route"], two(100, 0));
    shop.promote("ci@runner").await.unwrap();
    assert_eq!(
        shop.spec()["http"][1]["mirrorPercentage"],
        json!({"value": 10})
    );
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
    let finish = shop.start(options()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    assert_eq!(
        shop.spec()["http"],
        json!([{"name": "primary", "route": two(0, 100)}])
    );
}

#[tokio::test(start_paused = true)]
async fn a_regression_takes_the_rule_away_with_the_weights() {
    let shop = Shop::open().await;
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails(0.5);
    let finish = shop
        .start(matching("header:x-canary=1", "10,100"))
        .await
        .unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_trip_takes_the_rule_away_and_the_end_of_it_brings_it_back() {
    let shop = Shop::open().await;
    let options = matching("header:x-canary=1", "10,100");
    let begun = shop.start_as("ci@runner", begin(options), Signals::none());
    begun.await.unwrap();
    let vs = kubectl_canary::istio::VirtualService::new(shop.object()).unwrap();
    let rollout = shop.rollout().unwrap();
    let tripped = rollout.in_phase(Phase::Tripped, rollout.began);
    let without = tripped.desired_on(&vs).unwrap();
    assert!(
        without
            .difference(&vs)
            .unwrap()
            .to_string()
            .contains("rules kubectl-canary-")
    );
    assert_eq!(rollout.desired_on(&vs).unwrap().difference(&vs), None);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_somebody_removes_is_noticed() {
    for (policy, outcome) in [
        (OnDrift::Stop, Outcome::Drifted),
        (OnDrift::Rollback, Outcome::RolledBack(Cause::Drift)),
        (OnDrift::Reassert, Outcome::Promoted),
    ] {
        let shop = Shop::open().await;
        let options = Options {
            on_drift: Some(policy),
            ..matching("header:x-canary=1", "10:1m,100")
        };
        let driver = shop.start(options);
        let editor = async {
            shop.until(|shop| names(shop).len() == 2).await;
            shop.edit(|vs| {
                vs["spec"]["http"].as_array_mut().unwrap().remove(0);
            });
        };
        let (finish, ()) = tokio::join!(driver, editor);
        assert_eq!(
            finish.unwrap().outcome,
            outcome,
            "{policy:?}: {:#?}",
            shop.told()
        );
        assert_eq!(names(&shop), ["primary"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_at_any_moment_leaves_no_rule() {
    for moment in 0..12 {
        let shop = Shop::open().await;
        let (tell, signals) = signals();
        let options = matching("header:x-canary=1", "mirror:5%,10,100:1m");
        let driver = shop.start_with(options, signals);
        let hand = async {
            tokio::time::sleep(std::time::Duration::from_millis(moment * 1_900)).await;
            tell.send(kubectl_canary::Signal::Terminate).unwrap();
        };
        let (finish, ()) = tokio::join!(driver, hand);
        if let Ok(finish) = finish {
            assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Signal));
        }
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_looks_at_the_header_itself_is_refused() {
    let shop = Shop::with_routes(json!([
        {"name": "staff", "match": [{"headers": {"cookie": {"regex": "staff"}}}], "route": two(100, 0)},
    ]))
    .await;
    let refused = shop.start(matching(EMAIL, "10,100")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "virtualservice shop/reviews: http[staff] already matches on header cookie, so it cannot select testers (try: --match with another header, or --route without http[staff])"
    );
    shop.assert_restored();
}
