//! What a rollout adds to a route for a time, and the shapes that no source above has.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kubectl_canary::rollout::EventKind;
use serde_json::{Value, json};

use super::RATE;
use super::shares::{SETTLED, answered_next, assert_share, between, settled_at};
use crate::app::App;
use crate::stack::Stack;

const VERSIONS: [&str; 2] = ["v1", "v2"];

/// The application's VirtualService with another list of HTTP rules.
async fn with_rules(app: &App, http: Value) {
    let change = json!({"spec": {"http": http}});
    let services = app.stack.virtual_services(&app.namespace);
    let patch = Patch::Merge(change);
    let changed = services
        .patch("reviews", &PatchParams::default(), &patch)
        .await;
    changed.expect("Istio's webhook takes it");
}

fn destination(host: &str, subset: Option<&str>) -> Value {
    match subset {
        Some(subset) => json!({"host": host, "port": {"number": 80}, "subset": subset}),
        None => json!({"host": host, "port": {"number": 80}}),
    }
}

async fn answers_at_the_backends(app: &App, lasting: Duration) -> super::shares::Answers {
    app.take_counts().await;
    tokio::time::sleep(lasting).await;
    let versions = app.counts().await.versions.into_iter();
    versions
        .map(|(version, count)| (version, count.ok + count.failed))
        .collect()
}

/// The spec with the two weights exchanged, and nothing else.
fn promoted(before: &str) -> String {
    before
        .replace("\"weight\":100", "\"weight\":-")
        .replace("\"weight\":0", "\"weight\":100")
        .replace("\"weight\":-", "\"weight\":0")
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn testers_reach_the_canary_first_and_their_rule_is_gone_after_promote_and_abort() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "testers").await;
    let before = app.spec().await;
    let testers = app.load().rate(100.0).header("x-canary", "1").start();
    let others = app.load().rate(200.0).start();

    // Aborted while the testers alone are on the canary.
    let words = "--match header:x-canary=1 --steps 20:4s,100";
    let begun = app.rollout(&format!("{words} --no-wait")).run().await;
    assert_eq!(begun.code, Some(0));
    assert!(app.spec().await.contains("kubectl-canary-"));
    tokio::time::sleep(SETTLED).await;
    let shares = [("testers", 1.0), ("others", 0.0)];
    let answers = answered_next([&testers, &others]).await;
    for ((who, share), answers) in shares.into_iter().zip(answers) {
        assert_share(who, &answers, VERSIONS, share);
    }
    assert_eq!(app.canary("abort reviews").run().await.code, Some(0));
    app.is_restored_to(&before).await;

    // Promoted, with both kinds under way.
    let mut driver = app.rollout(words).launch();
    settled_at(&mut driver, "20").await;
    let shares = [("testers at 20 %", 1.0), ("others at 20 %", 0.2)];
    let answers = answered_next([&testers, &others]).await;
    for ((who, share), answers) in shares.into_iter().zip(answers) {
        assert_share(who, &answers, VERSIONS, share);
    }
    assert_eq!(driver.end().await.code, Some(0));
    for load in [testers, others] {
        assert_eq!(load.stop().await.failed(), 0, "rules come and go unnoticed");
    }
    assert_eq!(app.spec().await, promoted(&before));
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_user_of_the_canary_stays_there_while_others_are_divided_by_weight() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "kept").await;
    let before = app.spec().await;
    let only = |version: &str| std::collections::BTreeMap::from([(version.to_owned(), 200)]);
    // Neither keeps what is set; one comes with the cookie of another rollout.
    let others = app.load().rate(100.0).start();
    let late = app.load().rate(100.0).header("cookie", "canary=last-week");
    let late = late.start();
    let words = "--sticky cookie=canary,5m --steps 10:120s,100";
    let mut driver = app.rollout(words).launch();
    settled_at(&mut driver, "10").await;
    let answers = answered_next([&others, &late]).await;
    for (who, answers) in ["no cookie", "an old one"].into_iter().zip(answers) {
        assert_share(who, &answers, VERSIONS, 0.1);
    }
    let mut user = app.load().user();
    let mut asked = 0;
    while user.cookie.is_none() {
        user.ask(1).await;
        asked += 1;
        assert!(asked < 300, "10 % of the requests get one");
    }
    println!("{:?} after {asked} requests", user.cookie);
    assert_eq!(user.ask(200).await, only("v2"));
    let run: Value = serde_json::from_str(&app.annotation("rollout").await.unwrap()).unwrap();
    let pair = format!("canary={}", run["run"].as_str().unwrap());
    assert_eq!(user.cookie, Some(pair));

    assert_eq!(app.canary("abort reviews").run().await.code, Some(0));
    assert_eq!(driver.end().await.code, Some(11));
    app.is_restored_to(&before).await;
    tokio::time::sleep(SETTLED).await;
    assert_eq!(user.ask(200).await, only("v1"));

    // The next rollout does not know the cookie, and keeps its own users while the weights rise.
    let words = "--sticky cookie=canary,5m --steps 10:8s,50:10s,100";
    let mut driver = app.rollout(words).launch();
    settled_at(&mut driver, "10").await;
    let old = user.cookie.clone();
    while user.cookie == old {
        user.ask(1).await;
    }
    assert_eq!(user.ask(200).await, only("v2"));
    settled_at(&mut driver, "50").await;
    assert_eq!(user.ask(200).await, only("v2"));
    let answers = answered_next([&others]).await;
    assert_share("others at 50 %", &answers[0], VERSIONS, 0.5);
    assert_eq!(driver.end().await.code, Some(0));
    assert_eq!(user.ask(200).await, only("v2"));
    for load in [others, late] {
        assert_eq!(load.stop().await.failed(), 0, "rules come and go unnoticed");
    }
    assert_eq!(app.spec().await, promoted(&before));
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn mirrored_requests_reach_the_canary_and_nobody_waits_for_their_answers() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "shadow").await;
    let load = app.load().rate(RATE).start();
    // Nobody reports what becomes of a copy here, so there is no verdict on this step.
    let words = "--steps mirror:10%:5s,50,100 --on-inconclusive promote";
    let mut driver = app.rollout(words).launch();
    settled_at(&mut driver, "0").await;
    let earlier = load.so_far();
    let answers = answers_at_the_backends(&app, Duration::from_secs(3)).await;
    let answered = between(&earlier, &load.so_far());
    assert_eq!(
        answered.get("v2"),
        None,
        "callers hear stable alone: {answered:?}"
    );
    // Copies come on top of the requests that stable answers: 10 in 110.
    assert_share("mirrored", &answers, VERSIONS, 10.0 / 110.0);
    assert_eq!(driver.end().await.code, Some(0));
    assert_eq!(load.stop().await.failed(), 0);
    assert!(!app.spec().await.contains("mirror"), "{}", app.spec().await);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_thousandth_of_the_requests_runs_on_a_larger_total_that_is_gone_in_the_end() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "fine").await;
    let before = app.spec().await;
    let load = app.load().rate(500.0).start();
    let words = "--fine-weights --steps 0.1,100 --no-wait";
    assert_eq!(app.rollout(words).run().await.code, Some(0));
    app.until_served(999, 1).await;
    let answers = answers_at_the_backends(&app, Duration::from_secs(6)).await;
    assert_share("0.1 %", &answers, VERSIONS, 0.001);
    assert_eq!(app.canary("abort reviews").run().await.code, Some(0));
    app.is_restored_to(&before).await;
    assert_eq!(app.rollout(words).run().await.code, Some(0));
    assert_eq!(
        app.canary("promote reviews --full").run().await.code,
        Some(0)
    );
    app.until_served(0, 100).await;
    assert_eq!(load.stop().await.failed(), 0);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_that_is_added_shares_the_traffic_and_leaves_with_an_abort() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "lone").await;
    let lone = json!([{"name": "primary", "route": [{"destination": destination("reviews", Some("v1"))}]}]);
    with_rules(&app, lone).await;
    let before = app.spec().await;
    let load = app.load().rate(RATE).start();
    let refused = app.rollout("--steps 20,100").run().await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .stderr
            .contains("--add-destination with --canary v2"),
        "{}",
        refused.stderr
    );
    let mut driver = app.rollout("--add-destination --steps 20:60s,100").launch();
    settled_at(&mut driver, "20").await;
    let answers = answers_at_the_backends(&app, Duration::from_secs(2)).await;
    assert_share("20 %", &answers, VERSIONS, 0.2);
    assert_eq!(app.canary("abort reviews").run().await.code, Some(0));
    assert_eq!(driver.end().await.code, Some(11));
    app.is_restored_to(&before).await;
    assert_eq!(load.stop().await.failed(), 0);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_delegate_is_shifted_by_the_name_of_its_root() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "delegate").await;
    // The root keeps the host and the gateway; what it hands on has neither.
    let delegate = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "reviews-routes", "namespace": app.namespace},
        "spec": {"http": [{"name": "primary", "route": [
            {"destination": destination("reviews", Some("v1")), "weight": 100},
            {"destination": destination("reviews", Some("v2")), "weight": 0},
        ]}]},
    });
    stack.apply(&delegate).await.unwrap();
    with_rules(
        &app,
        json!([{"name": "to-reviews", "delegate": {"name": "reviews-routes"}}]),
    )
    .await;
    let root = app.spec().await;
    let load = app.load().rate(RATE).start();
    let mut driver = app.rollout("--steps 20:4s,100").launch();
    settled_at(&mut driver, "20").await;
    let answers = answers_at_the_backends(&app, Duration::from_secs(2)).await;
    assert_share("20 %", &answers, VERSIONS, 0.2);
    assert_eq!(driver.end().await.code, Some(0));
    assert_eq!(load.stop().await.failed(), 0);
    assert_eq!(app.spec().await, root, "the root is not touched");
    let shifted = stack
        .virtual_services(&app.namespace)
        .get("reviews-routes")
        .await
        .unwrap();
    assert_eq!(shifted.data["spec"]["http"][0]["route"][1]["weight"], 100);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn two_services_by_short_and_full_name_are_two_versions() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "hosts").await;
    for version in VERSIONS {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("reviews-{version}"), "namespace": app.namespace},
            "spec": {
                "selector": {"app": "reviews", "version": version},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            },
        });
        stack.apply(&service).await.unwrap();
    }
    let full = format!("reviews-v2.{}.svc.cluster.local", app.namespace);
    let rules = json!([{"route": [
        {"destination": destination("reviews-v1", None), "weight": 100},
        {"destination": destination(&full, None), "weight": 0},
    ]}]);
    with_rules(&app, rules).await;
    let admin = &stack.description.gateway.admin;
    let cluster = |version: &str| {
        let namespace = &app.namespace;
        format!("80||reviews-{version}.{namespace}.svc.cluster.local")
    };
    stack.await_route(admin, &cluster("v1")).await;
    for version in VERSIONS {
        stack.await_endpoints(admin, &cluster(version), 1).await;
    }
    let before = app.spec().await;
    let load = app.load().rate(RATE).start();
    let mut driver = app.rollout("--steps 20:4s,100").launch();
    settled_at(&mut driver, "20").await;
    let answers = answers_at_the_backends(&app, Duration::from_secs(2)).await;
    assert_share("20 %", &answers, VERSIONS, 0.2);
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(0));
    let named = |event: &EventKind| matches!(event, EventKind::Planned { stable, canary, .. } if stable == "reviews-v1" && canary == "reviews-v2");
    assert!(ended.told(named), "{:?}", ended.events);
    assert_eq!(load.stop().await.failed(), 0);
    assert_ne!(app.spec().await, before);
    assert!(
        app.spec().await.contains(&full),
        "names stay as they were written"
    );
    app.finish().await;
}
