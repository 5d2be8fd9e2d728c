//! The world as a whole, under a paused clock.

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DynamicObject, Patch, PatchParams, WatchEvent, WatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::setup::Setup;
use super::{ApiFault, Denial, PrometheusFault, Rule, World};
use crate::clock::Clock;
use crate::sandbox::fixtures;
use crate::sandbox::traffic::Sampling;

fn origin() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn shop() -> World {
    let world = World::new(Clock::starting_at(origin()));
    world.set(fixtures::shop);
    world.traffic().sampling(Sampling::exact());
    world
}

fn services(world: &World) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    Api::namespaced_with(world.client("shop"), "shop", &ApiResource::from_gvk(&kind))
}

async fn shift(world: &World, canary: i64) -> kube::Result<DynamicObject> {
    let patch: json_patch::Patch = serde_json::from_value(json!([
        {"op": "add", "path": "/spec/http/0/route/0/weight", "value": 100 - canary},
        {"op": "add", "path": "/spec/http/0/route/1/weight", "value": canary},
    ]))
    .unwrap();
    services(world)
        .patch(
            "reviews",
            &PatchParams::apply("canary-rollout"),
            &Patch::Json::<()>(patch),
        )
        .await
}

async fn sleep(seconds: f64) {
    tokio::time::sleep(std::time::Duration::from_secs_f64(seconds)).await;
}

/// Asks Prometheus through the service proxy.
async fn ask(world: &World, query: &str) -> kube::Result<Value> {
    let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let path = format!(
        "/api/v1/namespaces/istio-system/services/http:prometheus:9090/proxy/api/v1/query?query={query}"
    );
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    world.client("shop").request(request).await
}

/// The sum of a vector's values.
fn total(answer: &Value) -> f64 {
    answer["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| series["value"][1].as_str().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[tokio::test(start_paused = true)]
async fn traffic_follows_the_weights_a_moment_after_they_are_set() {
    let world = shop();
    world.traffic().version("shop", "reviews-v2").fails(0.1);
    shift(&world, 50).await.unwrap();
    sleep(100.08).await;
    let canary = r#"istio_requests_total{reporter="source",destination_version="v2"}"#;
    assert_eq!(total(&ask(&world, canary).await.unwrap()), 9992.0);
    sleep(1.0).await;
    let failed = r#"sum by (response_code) (istio_requests_total{reporter="destination",response_code=~"5.."})"#;
    let failed = total(&ask(&world, failed).await.unwrap());
    assert!((failed - 1009.0).abs() <= 1.0, "{failed}");
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_scrapes_passes_in_no_time_and_ranges_hold_raw_samples() {
    let world = shop();
    let began = std::time::Instant::now();
    sleep(3600.0).await;
    let answer = ask(&world, r#"up{namespace="istio-system"}[1m]"#)
        .await
        .unwrap();
    let samples = answer["data"]["result"][0]["values"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(samples, 60);
    let count = ask(&world, "count by (reporter) (istio_requests_total)")
        .await
        .unwrap();
    assert_eq!(count["data"]["result"].as_array().unwrap().len(), 2);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_crash_on_the_agenda_happens_at_its_own_time() {
    let world = shop();
    shift(&world, 50).await.unwrap();
    world.at(origin() + SignedDuration::from_secs(10), |stage| {
        stage.pods("shop", "version=v2").crash();
    });
    sleep(20.5).await;
    let unreached = r#"istio_requests_total{response_flags="UH"}"#;
    let answer = ask(&world, unreached).await.unwrap();
    // From 10.08 s to the scrape at 20 s, 100 requests a second.
    assert_eq!(total(&answer), 992.0);
    let metric = &answer["data"]["result"][0]["metric"];
    assert_eq!(metric["destination_workload"], "unknown");
    assert_eq!(metric["destination_service"], fixtures::REVIEWS);
    let deployment = world.object("deployments", "shop", "reviews-v2").unwrap();
    assert_eq!(deployment["status"]["readyReplicas"], 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_503_does_not_tell_whether_the_patch_was_applied() {
    for applied in [false, true] {
        let world = shop();
        let fault = ApiFault::Answer {
            code: 503,
            retry_after: None,
            applied,
        };
        world.faults().api(Rule::new(fault).on("patch").times(1));
        let error = shift(&world, 10).await.unwrap_err();
        assert!(matches!(error, kube::Error::Api(status) if status.code == 503));
        let object = world.object("virtualservices", "shop", "reviews").unwrap();
        let weight = &object["spec"]["http"][0]["route"][1]["weight"];
        assert_eq!(*weight, json!(if applied { 10 } else { 0 }));
        shift(&world, 20).await.unwrap();
        let calls = world.calls();
        let statuses: Vec<Option<u16>> = calls.iter().map(|call| call.status).collect();
        assert_eq!(statuses, [Some(503), Some(200)]);
        assert!(calls[0].is_write() && calls[0].body.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_call_hangs_until_the_caller_gives_up() {
    let world = shop();
    let fault = ApiFault::Hang { applied: true };
    world.faults().api(Rule::new(fault).times(1));
    let patience = std::time::Duration::from_secs(5);
    assert!(
        tokio::time::timeout(patience, shift(&world, 10))
            .await
            .is_err()
    );
    assert_eq!(world.calls()[0].status, None);
    let object = world.object("virtualservices", "shop", "reviews").unwrap();
    assert_eq!(object["spec"]["http"][0]["route"][1]["weight"], 10);
}

#[tokio::test(start_paused = true)]
async fn without_istiod_every_write_of_a_virtual_service_fails() {
    let world = shop();
    let up = origin() + SignedDuration::from_secs(10);
    world.faults().istiod_down(|rule| rule.until(up));
    let error = shift(&world, 10).await.unwrap_err().to_string();
    assert!(error.contains("failed calling webhook"), "{error}");
    assert!(services(&world).get("reviews").await.is_ok());
    sleep(10.0).await;
    assert!(shift(&world, 10).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn rights_can_be_denied() {
    let world = shop();
    world.deny(Denial::of("patch", "virtualservices"));
    let kube::Error::Api(status) = shift(&world, 10).await.unwrap_err() else {
        panic!("no status");
    };
    assert_eq!(status.code, 403);
    assert_eq!(
        status.message,
        "virtualservices.networking.istio.io \"reviews\" is forbidden: User \"sandbox\" cannot patch \
         resource \"virtualservices\" in API group \"networking.istio.io\" in the namespace \"shop\""
    );
}

#[tokio::test(start_paused = true)]
async fn prometheus_can_be_wrong_in_many_ways() {
    let world = shop();
    sleep(10.0).await;
    let query = r#"istio_requests_total{reporter="destination"}"#;
    let with = async |fault: PrometheusFault| {
        world.faults().prometheus(Rule::new(fault).times(1));
        ask(&world, query).await
    };
    let count = |answer: &Value| answer["data"]["result"].as_array().unwrap().len();
    assert_eq!(count(&ask(&world, query).await.unwrap()), 3);
    assert_eq!(count(&with(PrometheusFault::Empty).await.unwrap()), 0);
    let partial = with(PrometheusFault::Partial).await.unwrap();
    assert_eq!(count(&partial), 2);
    assert_eq!(partial["warnings"].as_array().unwrap().len(), 1);
    let nan = with(PrometheusFault::NotANumber).await.unwrap();
    assert_eq!(nan["data"]["result"][0]["value"][1], "NaN");
    let missing = PrometheusFault::Missing {
        label: "destination_version".to_owned(),
        value: "v1".to_owned(),
    };
    assert_eq!(count(&with(missing).await.unwrap()), 0);
    let late = PrometheusFault::Late {
        label: "destination_version".to_owned(),
        value: "v1".to_owned(),
    };
    assert_eq!(total(&with(late).await.unwrap()), 1800.0);
    for broken in [
        PrometheusFault::Down,
        PrometheusFault::Malformed,
        PrometheusFault::ExecutionError,
    ] {
        assert!(with(broken).await.is_err());
    }
    world
        .scrapes()
        .stop_between(origin() + SignedDuration::from_secs(11), Timestamp::MAX);
    sleep(60.0).await;
    let stale = ask(&world, &format!("{query}[2m]")).await.unwrap();
    let values = stale["data"]["result"][0]["values"].as_array().unwrap();
    assert_eq!(values.last().unwrap()[0], 1_767_225_610);
    assert_eq!(total(&ask(&world, "vector(1)").await.unwrap()), 1.0);
    assert!(ask(&world, "rate(x[1m])").await.is_err());
}

#[tokio::test]
async fn prometheus_answers_on_its_own_port_too() {
    let world = shop();
    let served = world.serve().await.unwrap();
    let url = format!("{}/api/v1/query", served.prometheus_url());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = reqwest::Client::new()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("query=vector(1)")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(answer.contains(r#""resultType":"vector""#), "{answer}");
}

/// The first line of a watch from this version, and whether there is another.
async fn watch_from(world: &World, version: &str) -> (WatchEvent<DynamicObject>, bool) {
    let params = WatchParams::default();
    let services = services(world);
    let mut events = std::pin::pin!(services.watch(&params, version).await.unwrap());
    let first = events.next().await.unwrap().unwrap();
    let patience = std::time::Duration::from_secs(5);
    let next = tokio::time::timeout(patience, events.next()).await;
    (first, matches!(next, Ok(Some(_)) | Err(_)))
}

#[tokio::test(start_paused = true)]
async fn a_watch_hears_of_events_on_the_agenda_and_can_be_ended() {
    let world = shop();
    let at = |second| origin() + SignedDuration::from_secs(second);
    let edit = |stage: &mut Setup<'_>| {
        stage.edit(
            "virtualservices",
            "shop",
            "reviews",
            "argocd-controller",
            |vs| {
                vs["spec"]["http"][0]["route"][1]["weight"] = json!(5);
            },
        );
    };
    world.at(at(30), edit);
    world.at(at(31), |stage| stage.end_watches());
    let object = world.object("virtualservices", "shop", "reviews").unwrap();
    let version = object["metadata"]["resourceVersion"].as_str().unwrap();
    let (first, more) = watch_from(&world, version).await;
    assert!(matches!(first, WatchEvent::Modified(_)));
    assert!(!more, "the watch was ended");
    assert_eq!(world.clock().now(), at(31));
    let owner = &world.object("virtualservices", "shop", "reviews").unwrap()["metadata"]["managedFields"]
        [1]["manager"];
    assert_eq!(owner, "argocd-controller");
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_before_a_compaction_is_gone() {
    let world = shop();
    let object = world.object("virtualservices", "shop", "reviews").unwrap();
    let version = object["metadata"]["resourceVersion"].as_str().unwrap();
    world.set(|stage| stage.compact());
    let (first, more) = watch_from(&world, version).await;
    assert!(matches!(first, WatchEvent::Error(status) if status.code == 410));
    assert!(!more);
}

#[tokio::test(start_paused = true)]
async fn a_month_of_sleep_is_caught_up_with_at_once() {
    let world = shop();
    let began = std::time::Instant::now();
    sleep(30.0 * 86_400.0).await;
    assert_eq!(
        total(&ask(&world, "count by (job) (up)").await.unwrap()),
        6.0
    );
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn only_the_versions_that_are_served_are_found() {
    let world = shop();
    world.set(|stage| stage.serve_istio_versions(&["v1beta1"]));
    let error = services(&world).get("reviews").await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 404));
    let groups = world.client("shop").list_api_groups().await.unwrap();
    let istio = groups
        .groups
        .iter()
        .find(|group| group.name == "networking.istio.io")
        .unwrap();
    assert_eq!(istio.versions.len(), 1);
}
