//! A canary that is not in the route yet, and what becomes of it.

use kubectl_canary::Signals;
use kubectl_canary::plan::{OnDrift, Options};
use kubectl_canary::rollout::{Cause, EventKind, Outcome};
use serde_json::{Value, json};

use crate::harness::{Shop, begin, brisk_with, signals};

/// A route that knows stable only, without a weight; a redirect beside it.
fn lone() -> Value {
    json!([
        {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/"}},
        {"name": "primary", "timeout": "5s", "route": [
            {"destination": {"host": "reviews", "subset": "v1", "port": {"number": 80}}, "headers": {"request": {"set": {"x": "y"}}}},
        ]},
    ])
}

fn adding(steps: &str) -> Options {
    Options {
        add_destination: true,
        ..brisk_with(steps)
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_flag_the_error_names_it() {
    let shop = Shop::with_routes(lone()).await;
    let refused = shop.start(brisk_with("1,100")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no route of virtualservice shop/reviews holds two versions to shift between; it sends to v1 only (try: --add-destination with --canary v2, or kubectl canary plan reviews -n shop, which prints what to apply)"
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_promoted_canary_stays_in_the_route() {
    let shop = Shop::with_routes(lone()).await;
    let finish = shop.start(adding("10,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    let mut expected = lone();
    expected[1]["route"][0]["weight"] = json!(0);
    expected[1]["route"].as_array_mut().unwrap().push(
        json!({"destination": {"host": "reviews", "subset": "v2", "port": {"number": 80}}, "weight": 100}),
    );
    assert_eq!(shop.spec()["http"], expected);
    assert_eq!(shop.patches().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_fails_is_taken_out_again() {
    let shop = Shop::with_routes(lone()).await;
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails(0.5);
    let finish = shop.start(adding("10,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    assert_eq!(shop.spec().to_string(), shop.before.to_string());
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn whoever_dies_an_abort_takes_the_canary_out() {
    let shop = Shop::with_routes(lone()).await;
    let begun = shop.start_as("ci@runner", begin(adding("10,100")), Signals::none());
    begun.await.unwrap();
    assert_eq!(shop.spec()["http"][1]["route"][0]["weight"], 90);
    assert_eq!(shop.spec()["http"][1]["route"][1]["weight"], 10);
    shop.assert_whole();
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_lone_destination_without_a_weight_is_told_as_having_everything() {
    let shop = Shop::with_routes(lone()).await;
    let begun = shop.start_as("ci@runner", begin(adding("10,100")), Signals::none());
    begun.await.unwrap();
    shop.abort("bob@desk").await.unwrap();
    let told: Vec<_> = shop
        .told()
        .into_iter()
        .filter_map(|event| match event {
            EventKind::StepStarted { routes, .. } | EventKind::RolledBack { routes, .. } => {
                Some((routes[0].before.clone(), routes[0].after.clone()))
            }
            _ => None,
        })
        .collect();
    let all = vec![Some(100), None];
    let tenth = vec![Some(90), Some(10)];
    assert_eq!(told, [(all.clone(), tenth.clone()), (tenth, all)]);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_rollout_with_an_added_canary_is_resumed_and_promoted_by_others() {
    let shop = Shop::with_routes(lone()).await;
    let begun = shop.start_as("ci@runner", begin(adding("10,50,100")), Signals::none());
    begun.await.unwrap();
    shop.promote("bob@desk").await.unwrap();
    assert_eq!(shop.spec()["http"][1]["route"][1]["weight"], 50);
    let finish = shop.resume("carol@desk").await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
}

#[tokio::test(start_paused = true)]
async fn only_the_route_that_is_named_gets_the_canary() {
    let lone = || json!([{"destination": {"host": "reviews", "subset": "v1"}}]);
    let routes = json!([
        {"match": [{"headers": {"cookie": {"regex": "^(.*?;)?(email=[^;]*@some-company-name.com)(;.*)?$"}}}], "route": [
            {"destination": {"host": "reviews", "subset": "v1"}, "weight": 50},
            {"destination": {"host": "reviews", "subset": "v2"}, "weight": 50},
        ]},
        {"route": lone()},
    ]);
    let shop = Shop::with_routes(routes.clone()).await;
    let only = |route: &str| Options {
        stable: Some("v1".into()),
        canary: Some("v2".into()),
        route: vec![route.into()],
        ..adding("10,100")
    };
    let begun = shop.start_as("ci@runner", begin(only("http[1]")), Signals::none());
    begun.await.unwrap();
    assert_eq!(shop.spec()["http"][0], routes[0]);
    assert_eq!(shop.spec()["http"][1]["route"].as_array().unwrap().len(), 2);
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
    let both = Options {
        route: Vec::new(),
        ..only("")
    };
    let begun = shop.start_as("ci@runner", begin(both), Signals::none());
    begun.await.unwrap();
    assert_eq!(
        shop.spec()["http"][0]["route"],
        routes[0]["route"],
        "it has more than the step"
    );
    assert_eq!(shop.spec()["http"][1]["route"][1]["weight"], 10);
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn somebody_who_takes_the_canary_out_is_noticed() {
    for (policy, outcome) in [
        (OnDrift::Stop, Outcome::Drifted),
        (OnDrift::Rollback, Outcome::RolledBack(Cause::Drift)),
        (OnDrift::Reassert, Outcome::Promoted),
    ] {
        let shop = Shop::with_routes(lone()).await;
        let options = Options {
            on_drift: Some(policy),
            ..adding("10:1m,100")
        };
        let driver = shop.start(options);
        let editor = async {
            shop.until(|shop| shop.annotation("rollout").is_some())
                .await;
            shop.edit(|vs| vs["spec"]["http"] = lone());
        };
        let (finish, ()) = tokio::join!(driver, editor);
        assert_eq!(
            finish.unwrap().outcome,
            outcome,
            "{policy:?}: {:#?}",
            shop.told()
        );
        if policy != OnDrift::Reassert {
            assert_eq!(shop.spec(), shop.before);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_at_any_moment_leaves_no_trace() {
    for moment in 0..12 {
        let shop = Shop::with_routes(lone()).await;
        let (tell, signals) = signals();
        let driver = shop.start_with(adding("10,50,100:1m"), signals);
        let hand = async {
            tokio::time::sleep(std::time::Duration::from_millis(moment * 1_700)).await;
            tell.send(kubectl_canary::Signal::Interrupt).unwrap();
        };
        let (finish, ()) = tokio::join!(driver, hand);
        if let Ok(finish) = finish {
            assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Signal));
        }
        shop.assert_restored();
    }
}
