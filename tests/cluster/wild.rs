//! Scenes of ordinary clusters in which a verdict was wrong once.
//!
//! Stable breaks first, callers go past the routes, other rules send to the same Service, an answer takes
//! longer than a step's first look: none of it is the canary's doing, and none of it hides what is.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::app::{App, Owner};
use crate::meddler::{Meddler, Mischief};
use crate::program::Program;
use crate::stack::Stack;

/// Requests a second.
const RATE: f64 = 200.0;

/// How long requests flow before a rollout, so that there is something to compare with.
const WATCHED: Duration = Duration::from_secs(5);

/// `start reviews` with a verdict by evidence on failures, ten seconds a step.
fn start(app: &App, words: &str) -> Program {
    start_from(app, &app.stack.description.prometheus.url, words)
}

/// The same with another Prometheus.
fn start_from(app: &App, prometheus: &str, words: &str) -> Program {
    // Durations are left aside: one stall of a machine on which everything runs at once would decide.
    let flags = "--preset quick --ignore-latency";
    app.canary(&format!(
        "start reviews {flags} --prometheus {prometheus} {words}"
    ))
}

/// Puts other rules into the route, the one that is shifted last.
async fn reroute(app: &App, before: &[Value], last: Value) {
    let http: Vec<_> = before.iter().cloned().chain([last]).collect();
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": app.namespace},
        "spec": {
            "hosts": [app.host()],
            "gateways": [app.stack.description.gateway.name],
            "http": http,
        },
    });
    app.stack
        .apply(&object)
        .await
        .expect("the webhook takes it");
}

fn split() -> Value {
    json!({"name": "primary", "route": [to("v1", 100), to("v2", 0)]})
}

fn to(subset: &str, weight: u32) -> Value {
    json!({"destination": {"host": "reviews", "port": {"number": 80}, "subset": subset}, "weight": weight})
}

/// A rule for the requests with a header, all to one subset.
fn lane(header: &str, subset: &str) -> Value {
    json!({
        "name": header,
        "match": [{"headers": {header: {"exact": "yes"}}}],
        "route": [to(subset, 100)],
    })
}

/// Defines the subsets of these versions, and how the pods of each are reached.
async fn subsets(app: &App, versions: &[&str], policy: Option<Value>) {
    let subset = |version: &&str| match &policy {
        None => json!({"name": version, "labels": {"version": version}}),
        Some(policy) => {
            json!({"name": version, "labels": {"version": version}, "trafficPolicy": policy})
        }
    };
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "reviews", "namespace": app.namespace},
        "spec": {"host": "reviews", "subsets": versions.iter().map(subset).collect::<Vec<_>>()},
    });
    let applied = app.stack.apply(&object).await;
    applied.expect("the webhook takes it");
}

/// Adds a pod that behaves as another version to one of `replicas` pods, and gives each as many requests:
/// the backends know one behaviour for all pods of an image.
async fn add_pod(app: &App, version: &str, image: &str, replicas: usize) {
    let random = json!({"loadBalancer": {"simple": "RANDOM"}});
    subsets(app, &["v1", "v2"], Some(random)).await;
    let labels = json!({"app": "reviews", "version": version, "part": image});
    let one = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("reviews-{image}"), "namespace": app.namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "reviews", "image": format!("stack/reviews:{image}")}]},
            },
        },
    });
    app.stack.apply(&one).await.expect("it is a Deployment");
    let deployments = app.stack.api("apps/v1", "Deployment", &app.namespace);
    let own = format!("reviews-{version}");
    let more = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let scaled = deployments
        .patch(&own, &PatchParams::default(), &more)
        .await;
    scaled.expect("it is a Deployment");
    let admin = &app.stack.description.gateway.admin;
    let cluster = format!("80|{version}|{}", app.service());
    app.stack
        .await_endpoints(admin, &cluster, replicas + 1)
        .await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_hotfix_is_promoted_over_a_stable_version_that_has_begun_to_fail() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "hotfix").await;
    let load = app.load().rate(RATE).start();
    tokio::time::sleep(Duration::from_secs(25)).await;
    app.behave("v1", json!({"errors": 0.2})).await;
    tokio::time::sleep(WATCHED).await;
    let ended = start(&app, "--steps 20,100").run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.steps(), ["20", "100"]);
    let held = "v1 (stable) is failing: analysis on hold";
    assert!(ended.stderr.contains(held), "{}", ended.stderr);
    assert!(load.stop().await.failed() > 200);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn callers_past_the_weights_are_told_of_before_and_after_a_rollback() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "past").await;
    app.behave("v2", json!({"errors": 1.0})).await;
    let before = app.spec().await;
    let _outside = app.load().rate(RATE).start();
    // No rule is for the mesh, so its callers get both versions by turns.
    let inside = app.internal_load().rate(RATE / 2.0).start();
    // What the canary got counts only since the object was written, which was a moment ago.
    tokio::time::sleep(WATCHED + Duration::from_secs(10)).await;
    let planned = app.canary("plan reviews --preset quick").run().await;
    let share = " of the requests at a weight of 0 %";
    assert!(planned.stdout.contains(share), "{}", planned.stdout);
    let ended = start(&app, "--steps 10,100").run().await;
    assert_eq!(ended.code, Some(10));
    assert_eq!(ended.steps(), ["10"]);
    let reached = "callers that do not follow these routes still reach v2";
    assert!(ended.stderr.contains(reached), "{}", ended.stderr);
    app.is_restored_to(&before).await;
    assert!(inside.stop().await.answered("v2") > 100);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn rules_that_stay_on_stable_and_a_lane_without_pods_do_not_speak_against_the_canary() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "lanes").await;
    subsets(&app, &["v1", "v2", "preview"], None).await;
    let lanes = [lane("x-preview", "preview"), lane("x-static", "v1")];
    reroute(&app, &lanes, split()).await;
    let cluster = format!("80|preview|{}", app.service());
    let admin = &stack.description.gateway.admin;
    stack.await_route(admin, &cluster).await;
    let refused = app.load().rate(10.0).header("x-preview", "yes").start();
    let _fixed = app.load().rate(RATE).header("x-static", "yes").start();
    let _load = app.load().rate(RATE).start();
    tokio::time::sleep(WATCHED).await;
    let ended = start(&app, "--steps 10,50,100").run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.steps(), ["10", "50", "100"]);
    // What the lane refuses is nobody's failure.
    assert!(ended.stderr.contains("; 0 of "), "{}", ended.stderr);
    let refused = refused.stop().await;
    assert_eq!(refused.failed(), refused.total(), "{refused:?}");
    app.finish().await;
}

/// A canary that fails for as long as its caches are empty, which is from its first request on and not
/// from the start of its pods.
async fn cold(name: &str, words: &str, (code, said): (i32, &str)) {
    let stack = Stack::open().await;
    let app = App::start(&stack, name).await;
    app.behave("v2", json!({"errors": 0.08})).await;
    let _load = app.load().rate(RATE).start();
    // Longer than the preset's warm-up of ten seconds.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let mut driver = start(&app, &format!("--steps 20,100 {words}")).launch();
    driver.until_flowing_at("20").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    app.behave("v2", json!({})).await;
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(code));
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_that_is_cold_at_its_first_requests_is_given_time_unless_none_is_wanted() {
    let warming_up = "v2 has only begun to serve: warming up";
    let default = cold("cold", "", (0, warming_up));
    let none = cold("chilled", "--warmup 0s", (10, "worse so far"));
    tokio::join!(default, none);
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn failures_that_come_long_before_the_successes_are_waited_out() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "late").await;
    for (version, seed) in [("v1", 1), ("v2", 2)] {
        let late = json!({
            "errors": 0.05, "spread": {"random": seed}, "latency_ms": 20_000, "fails_at_once": true
        });
        app.behave(version, late).await;
    }
    let load = app.load().rate(60.0).patience(Duration::from_secs(60));
    let load = load.start();
    tokio::time::sleep(Duration::from_secs(40)).await;
    // Durations tell how long to wait, so they are not left aside here.
    let words = format!(
        "start reviews --preset quick --warmup 0s --steps 20,100 --dwell 40s --prometheus {}",
        stack.description.prometheus.url
    );
    let ended = app
        .canary(&words)
        .patient(Duration::from_secs(240))
        .run()
        .await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.steps(), ["20", "100"]);
    let waited = "requests sent before the weights changed are still being answered";
    assert!(ended.stderr.contains(waited), "{}", ended.stderr);
    assert!(load.so_far().failed() > 0, "{:?}", load.so_far());
    drop(load);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn requests_that_reach_no_upstream_at_a_high_rate_are_not_the_canarys() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "unreached").await;
    subsets(&app, &["v1", "v2", "gone"], None).await;
    let mut last = split();
    last["route"] = json!([to("v1", 99), to("v2", 0), to("gone", 1)]);
    reroute(&app, &[], last).await;
    let gone = format!("80|gone|{}", app.service());
    let admin = &stack.description.gateway.admin;
    stack.await_route(admin, &gone).await;
    let load = app.load().rate(800.0).start();
    tokio::time::sleep(WATCHED).await;
    let words = "--steps 20,100 --stable v1 --canary v2";
    let ended = start(&app, words).run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.steps(), ["20", "100"]);
    let sent = load.stop().await;
    assert!(sent.failed() > 100, "{sent:?}");
    let unreached = format!(
        "istio_requests_total{{reporter='source', destination_service='{}', response_flags='UH', \
         destination_workload='unknown'}} > 100",
        app.service()
    );
    assert_eq!(
        stack.query(&unreached).await.len(),
        1,
        "they name no version"
    );
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn errors_of_grpc_are_seen_beside_far_more_answers_of_not_found() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "grpc").await;
    let not_found = |errors| json!({"errors": errors, "failure": {"grpc": 5}});
    app.behave("v1", not_found(0.2)).await;
    // Of five pods one gives INTERNAL to every fifth request: 20 % and 4 % of all.
    app.behave("v2", not_found(0.25)).await;
    app.behave("v2-broken", json!({"errors": 0.2, "failure": {"grpc": 13}}))
        .await;
    add_pod(&app, "v2", "v2-broken", 4).await;
    let before = app.spec().await;
    let _load = app.load().grpc().rate(RATE).start();
    tokio::time::sleep(2 * WATCHED).await;
    let ended = start(&app, "--steps 20,100 --warmup 0s").run().await;
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    assert_eq!(ended.steps(), ["20"]);
    app.is_restored_to(&before).await;
    app.finish().await;
}

/// A canary that fails half is found out in a scene in which it could not be seen.
async fn is_found_out(app: App, prometheus: &str) {
    app.behave("v2", json!({"errors": 0.5})).await;
    let before = app.spec().await;
    let _load = app.load().rate(RATE).start();
    tokio::time::sleep(WATCHED).await;
    let ended = start_from(&app, prometheus, "--steps 20,100").run().await;
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    assert_eq!(ended.steps(), ["20"]);
    let seen = "worse so far: regression evidence";
    assert!(ended.stderr.contains(seen), "{}", ended.stderr);
    app.is_restored_to(&before).await;
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_failing_canary_is_seen_behind_a_delay_that_was_left_in_the_route() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "delayed").await;
    let mut delayed = split();
    delayed["fault"] = json!({"delay": {"fixedDelay": "0.02s", "percentage": {"value": 100}}});
    reroute(&app, &[], delayed).await;
    is_found_out(app, &stack.description.prometheus.url).await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_failing_canary_is_seen_whoever_owns_its_pods() {
    let stack = Stack::open().await;
    for (name, owner) in [
        ("argo", Owner::Rollout),
        ("openshift", Owner::DeploymentConfig),
    ] {
        let app = App::start_owned(&stack, name, owner).await;
        is_found_out(app, &stack.description.prometheus.url).await;
    }
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_failing_canary_is_seen_in_series_that_name_no_workload() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "nameless").await;
    let meddler = Meddler::start(&stack).await;
    meddler.turn(Mischief::NoWorkload);
    is_found_out(app, &meddler.url).await;
}
