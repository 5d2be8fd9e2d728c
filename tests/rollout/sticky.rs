//! Users of the canary stay on it while the weights rise: by a cookie and a rule that come and go with the shares.

use std::time::Duration;

use kubectl_canary::Signals;
use kubectl_canary::plan::{AnalysisKind, OnDrift, Options};
use kubectl_canary::rollout::{Cause, Outcome, Phase};
use serde_json::{Value, json};

use crate::harness::{Dice, Shop, begin, brisk_with, signals, two};
use crate::preflight::plan;

/// The rule of the first run that `Shop::start` makes.
const RULE: &str = "kubectl-canary-run-of-alice-desk-0";

fn sticky(steps: &str) -> Options {
    Options {
        sticky: Some("cookie=canary,30m".parse().unwrap()),
        ..brisk_with(steps)
    }
}

/// The same while answers of the canary set the cookie of this run.
fn with_cookie(stable: i64, canary: i64, run: &str) -> Value {
    let mut route = two(stable, canary);
    let text = format!("canary={run}; Max-Age=1800; Path=/; HttpOnly");
    route[1]["headers"] = json!({"response": {"add": {"set-cookie": text}}});
    route
}

fn rules(shop: &Shop) -> Vec<Value> {
    shop.spec()["http"].as_array().unwrap().clone()
}

/// Waits until the last route gives the canary this weight.
async fn until_weight(shop: &Shop, canary: i64) {
    let of_last = |shop: &Shop| rules(shop).last().unwrap()["route"][1]["weight"].as_i64();
    shop.until(|shop| of_last(shop) == Some(canary)).await;
}

#[tokio::test(start_paused = true)]
async fn the_cookie_and_its_rule_come_with_the_first_share_and_go_at_100_percent() {
    let shop = Shop::open().await;
    let started = begin(sticky("mirror:10%,10,50,100"));
    let begun = shop.start_as("ci@runner", started, Signals::none());
    begun.await.unwrap();
    assert_eq!(rules(&shop).len(), 1, "copies are for nobody to keep");
    assert_eq!(rules(&shop)[0]["route"], two(100, 0));
    let run = shop.rollout().unwrap().run;
    for (stable, canary) in [(90, 10), (50, 50)] {
        shop.promote("ci@runner").await.unwrap();
        let [rule, route] = &rules(&shop)[..] else {
            panic!("{:#?}", rules(&shop));
        };
        assert_eq!(rule["name"], format!("kubectl-canary-{run}"));
        let pair = run.replace('-', "\\-");
        let regex = format!("(.*; ?)?canary={pair}(;.*)?");
        assert_eq!(
            rule["match"],
            json!([{"headers": {"cookie": {"regex": regex}}}])
        );
        assert_eq!(
            rule["route"],
            json!([{"destination": {"host": "reviews", "subset": "v2"}}])
        );
        assert_eq!(rule["timeout"], "5s");
        assert_eq!(rule.get("mirror"), None);
        assert_eq!(route["name"], "primary");
        assert_eq!(route["route"], with_cookie(stable, canary, &run));
        shop.assert_whole();
    }
    shop.promote("ci@runner").await.unwrap();
    assert_eq!(rules(&shop).len(), 1);
    assert_eq!(rules(&shop)[0]["route"], two(0, 100));
    shop.undo("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn an_abort_from_anywhere_leaves_the_bytes_that_were_there() {
    let headers = json!({"request": {"set": {"x-lane": "b"}}, "response": {"add": {"x-version": "v2"}, "remove": ["server"]}});
    let mut routes = json!([
        {"name": "mobile", "match": [{"headers": {"x-app": {"exact": "mobile"}}}, {"uri": {"prefix": "/m"}}], "mirror": {"host": "audit"}, "route": two(50, 0)},
        {"name": "old", "match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/"}},
        {"name": "primary", "route": two(80, 20)},
        {"name": "lone", "match": [{"uri": {"prefix": "/lone"}}], "route": [{"destination": {"host": "reviews", "subset": "v1"}}]},
    ]);
    routes[0]["route"][1]["headers"] = headers.clone();
    let shop = Shop::with_routes(routes).await;
    let options = Options {
        add_destination: true,
        stable: Some("v1".into()),
        canary: Some("v2".into()),
        testers: Some("header:x-canary=1".parse().unwrap()),
        ..sticky("testers,30,100")
    };
    let begun = shop.start_as("ci@runner", begin(options), Signals::none());
    begun.await.unwrap();
    shop.promote("ci@runner").await.unwrap();
    let found = rules(&shop);
    let name = |rule: &Value| rule["name"].as_str().unwrap_or("-").to_owned();
    let names: Vec<_> = found
        .iter()
        .map(|rule| match name(rule) {
            ours if ours.starts_with("kubectl-canary-") => "ours".to_owned(),
            theirs => theirs,
        })
        .collect();
    assert_eq!(
        names,
        ["ours", "mobile", "old", "ours", "primary", "ours", "lone"]
    );
    // Testers and users with the cookie, each in each of the route's cases.
    let blocks = found[0]["match"].as_array().unwrap();
    assert_eq!(blocks.len(), 4, "{blocks:#?}");
    assert_eq!(
        blocks[0]["headers"],
        json!({"x-app": {"exact": "mobile"}, "x-canary": {"exact": "1"}})
    );
    assert_eq!(blocks[1]["headers"]["x-app"], json!({"exact": "mobile"}));
    assert!(blocks[1]["headers"]["cookie"]["regex"].is_string());
    assert_eq!(blocks[3]["uri"], json!({"prefix": "/m"}));
    assert_eq!(
        found[0]["route"][0]["headers"], headers,
        "without the cookie"
    );
    let added = &found[6]["route"][1];
    assert_eq!(added["weight"], 30);
    assert!(added["headers"]["response"]["add"]["set-cookie"].is_string());
    let kept = &found[1]["route"][1]["headers"];
    assert_eq!(kept["response"]["add"]["x-version"], "v2");
    shop.assert_whole();
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_healthy_canary_is_promoted_though_its_users_give_it_more_than_its_weight() {
    let shop = Shop::open().await;
    shop.world
        .traffic()
        .demand(kubectl_canary::sandbox::fixtures::REVIEWS)
        .through(RULE, 0.4);
    let options = Options {
        analysis: Some(AnalysisKind::Sequential),
        warmup: Some("0s".parse().unwrap()),
        min_requests: None,
        ..sticky("10:60s,100")
    };
    let finish = shop.start(options).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    let counts = finish.total_counts.unwrap();
    let all = counts.stable.requests + counts.canary.requests;
    assert!(counts.canary.requests * 3 > all, "{counts:?}");
    let told = format!("{:?}", shop.told());
    assert!(!told.contains("OddShare"), "{told}");
    assert_eq!(shop.climbed(), ["10", "100"]);
    assert_eq!(rules(&shop).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_broken_canary_loses_its_users_in_the_write_that_takes_its_weight() {
    let shop = Shop::open().await;
    shop.world
        .traffic()
        .demand(kubectl_canary::sandbox::fixtures::REVIEWS)
        .through(RULE, 0.4);
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails(0.3);
    let options = Options {
        analysis: Some(AnalysisKind::Sequential),
        warmup: Some("0s".parse().unwrap()),
        min_requests: None,
        ..sticky("10:60s,100")
    };
    let driver = shop.start(options);
    let watcher = async {
        until_weight(&shop, 10).await;
        shop.until(|shop| {
            // At no moment is there a rule to a canary without a weight, or a cookie.
            let object = shop.object();
            let vs = kubectl_canary::istio::VirtualService::new(object).unwrap();
            let text = vs.spec().to_string();
            let [is_kept, has_cookie] = [RULE, "set-cookie"].map(|sign| text.contains(sign));
            let targets = &vs.spec()["http"].as_array().unwrap().last().unwrap()["route"];
            let has_weight = targets[1]["weight"] != 0;
            assert_eq!([is_kept, has_cookie], [has_weight; 2], "{text}");
            !has_weight
        })
        .await;
        shop.rollout()
    };
    let (finish, tripped) = tokio::join!(driver, watcher);
    assert_eq!(
        finish.unwrap().outcome,
        Outcome::RolledBack(Cause::Regression),
        "{:#?}",
        shop.told()
    );
    assert_eq!(tripped.map(|rollout| rollout.phase), Some(Phase::Tripped));
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn what_another_client_does_to_the_cookie_or_the_rule_is_noticed() {
    let rule_goes = |vs: &mut Value| {
        vs["spec"]["http"].as_array_mut().unwrap().remove(0);
    };
    let cookie_goes = |vs: &mut Value| {
        let canary = &mut vs["spec"]["http"][1]["route"][1];
        canary.as_object_mut().unwrap().remove("headers");
    };
    let cookie_lasts = |vs: &mut Value| {
        let canary = &mut vs["spec"]["http"][1]["route"][1];
        let text = "canary=run-of-alice-desk-0; Max-Age=99999";
        canary["headers"]["response"]["add"]["set-cookie"] = text.into();
    };
    let edits: [&dyn Fn(&mut Value); 3] = [&rule_goes, &cookie_goes, &cookie_lasts];
    for edit in edits {
        for (policy, outcome) in [
            (OnDrift::Stop, Outcome::Drifted),
            (OnDrift::Rollback, Outcome::RolledBack(Cause::Drift)),
            (OnDrift::Reassert, Outcome::Promoted),
        ] {
            let shop = Shop::open().await;
            let options = Options {
                on_drift: Some(policy),
                ..sticky("10:1m,100")
            };
            let driver = shop.start(options);
            let editor = async {
                until_weight(&shop, 10).await;
                shop.edit(edit);
            };
            let (finish, ()) = tokio::join!(driver, editor);
            let finish = finish.unwrap();
            assert_eq!(finish.outcome, outcome, "{policy:?}: {:#?}", shop.told());
            match policy {
                // What it is now is what the other client wants, until somebody decides.
                OnDrift::Stop => {
                    shop.abort("bob@desk").await.unwrap();
                    shop.assert_restored();
                }
                OnDrift::Rollback => shop.assert_restored(),
                OnDrift::Reassert => assert_eq!(rules(&shop)[0]["route"], two(0, 100)),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_of_another_client_beside_the_cookie_is_no_drift_and_stays() {
    let shop = Shop::open().await;
    let driver = shop.start(sticky("10:30s,50,100"));
    let editor = async {
        until_weight(&shop, 10).await;
        shop.edit(|vs| {
            let canary = &mut vs["spec"]["http"][1]["route"][1];
            canary["headers"]["response"]["add"]["x-lane"] = "b".into();
        });
        until_weight(&shop, 50).await;
        let copy = &rules(&shop)[0]["route"][0]["headers"];
        assert_eq!(copy, &json!({"response": {"add": {"x-lane": "b"}}}));
    };
    let (finish, ()) = tokio::join!(driver, editor);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    let mut expected = two(0, 100);
    expected[1]["headers"] = json!({"response": {"add": {"x-lane": "b"}}});
    assert_eq!(rules(&shop)[0]["route"], expected);
}

#[tokio::test(start_paused = true)]
async fn a_signal_at_any_moment_leaves_neither_rule_nor_cookie() {
    for moment in 0..12 {
        let shop = Shop::open().await;
        let (tell, signals) = signals();
        let driver = shop.start_with(sticky("10,50,100:1m"), signals);
        let hand = async {
            tokio::time::sleep(Duration::from_millis(moment * 1_900)).await;
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
async fn the_cookie_of_an_earlier_rollout_says_nothing_to_the_next() {
    let shop = Shop::open().await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let begun = shop.start_as("ci@runner", begin(sticky("10,100")), Signals::none());
        begun.await.unwrap();
        let regex = &rules(&shop)[0]["match"][0]["headers"]["cookie"]["regex"];
        seen.push(regex.as_str().unwrap().to_owned());
        shop.abort("bob@desk").await.unwrap();
        shop.assert_restored();
    }
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test(start_paused = true)]
async fn a_route_without_room_for_a_cookie_is_refused() {
    let with = |at: &str, value: Value| {
        let mut rule = json!({"name": "a", "route": two(100, 0)});
        let (parent, key) = at.rsplit_once('/').unwrap();
        rule.pointer_mut(parent).unwrap()[key] = value;
        rule
    };
    let sets = json!({"response": {"set": {"Set-Cookie": "a=b"}}});
    let adds = json!({"response": {"add": {"set-cookie": "a=b"}}});
    let removes = json!({"response": {"remove": ["SET-COOKIE"]}});
    let own = "already changes set-cookie in headers.response";
    let hollow = "has empty headers at its canary";
    for (rule, why) in [
        (
            with(
                "/match",
                json!([{"uri": {"prefix": "/"}}, {"headers": {"Cookie": {"regex": "x"}}}]),
            ),
            "already matches on header cookie",
        ),
        (with("/route/1/headers", sets.clone()), own),
        (with("/route/1/headers", adds), own),
        (with("/route/1/headers", removes.clone()), own),
        (with("/headers", sets), own),
        (with("/headers", removes), own),
        (with("/route/1/headers", json!({})), hollow),
        (with("/route/1/headers", json!({"response": {}})), hollow),
        (
            with("/route/1/headers", json!({"response": {"add": {}}})),
            hollow,
        ),
    ] {
        let shop = Shop::with_routes(json!([rule])).await;
        let refused = shop.start(sticky("10,100")).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "virtualservice shop/reviews: http[a] {why}, so --sticky cannot keep users on its canary (try: --route without http[a], or without --sticky)"
            )
        );
        shop.assert_restored();
        assert!(shop.patches().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_plan_says_what_becomes_of_the_share() {
    let shop = Shop::open().await;
    let view = plan(&shop, sticky("1,10,100")).await.unwrap();
    let told: Vec<_> = view.findings.iter().map(|found| &*found.what).collect();
    for expected in [
        "answers of v2 set cookie canary for 30m; requests with it go to v2 by a rule of its own until it has 100 %, a suspected regression or a rollback",
        "the share of v2 grows above its weight, as every request without the cookie may be its first: of users who keep cookies and send 10 requests it gets 9.6 % at 1 %, 65 % at 10 %",
    ] {
        assert!(told.contains(&expected), "{told:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whenever_the_driver_dies_abort_restores_the_bytes_and_resume_goes_on() {
    let mut dice = Dice::seeded(17);
    for round in 0..30 {
        let shop = Shop::open().await;
        let driver = shop.start(sticky("10,50,100:5s"));
        let lives = Duration::from_millis(dice.below(22_000));
        let _ = tokio::time::timeout(lives, driver).await;
        if shop.rollout().is_none() {
            continue;
        }
        if round % 2 == 0 {
            shop.abort("bob@desk").await.unwrap();
            shop.assert_restored();
        } else {
            let finish = shop.resume("bob@desk").await.unwrap();
            assert_eq!(finish.outcome, Outcome::Promoted, "round {round}");
            assert_eq!(rules(&shop)[0]["route"], two(0, 100));
        }
    }
}
