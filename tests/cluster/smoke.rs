//! That the stack is what the other tests take it for.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::app::{App, Count};
use crate::load::{Outcome, connections};
use crate::stack::{Sample, Stack, samples};

/// A scrape every second, and one more for good measure.
const SCRAPED: Duration = Duration::from_secs(5);

/// Values by two labels of theirs.
fn by(samples: &[Sample], first: &str, second: &str) -> BTreeMap<(String, String), u64> {
    let label = |sample: &Sample, name| sample.labels.get(name).cloned().unwrap_or_default();
    samples
        .iter()
        .map(|sample| {
            (
                (label(sample, first), label(sample, second)),
                sample.value as u64,
            )
        })
        .collect()
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn client_backends_and_prometheus_count_the_same() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "agree").await;
    app.behave("v2", json!({"errors": 0.1})).await;
    app.set_weights(80, 20).await.unwrap();

    let sent = app
        .load()
        .rate(200.0)
        .lasting(Duration::from_secs(5))
        .run()
        .await;

    let v1_ok = sent.count("v1", Outcome::Status(200));
    let v2_ok = sent.count("v2", Outcome::Status(200));
    let v2_failed = sent.count("v2", Outcome::Status(500));
    println!("client: v1 {v1_ok}, v2 {v2_ok}, v2 failed {v2_failed}");
    assert_eq!(sent.total(), 1000, "{sent:?}");
    assert_eq!(v1_ok + v2_ok + v2_failed, 1000, "{sent:?}");
    // 200 are expected; five standard deviations are 63.
    assert!((137..=263).contains(&sent.answered("v2")), "{sent:?}");
    assert_eq!(v2_failed, sent.answered("v2") / 10, "the share is exact");

    let counted = app.counts().await;
    let count = |ok, failed| Count {
        ok,
        failed,
        connections: 0,
    };
    assert_eq!(counted.versions["v1"], count(v1_ok, 0));
    assert_eq!(counted.versions["v2"], count(v2_ok, v2_failed));
    let pods: Vec<_> = counted.pods.keys().collect();
    assert_eq!(
        counted.pods.values().map(|count| count.ok).sum::<u64>(),
        v1_ok + v2_ok
    );
    assert_eq!(pods.len(), 4, "two pods of each version: {pods:?}");

    // The one answer that told the application is ready is in there too.
    let expected = BTreeMap::from([
        (("v1".to_owned(), "200".to_owned()), v1_ok + 1),
        (("v2".to_owned(), "200".to_owned()), v2_ok),
        (("v2".to_owned(), "500".to_owned()), v2_failed),
    ]);
    for name in ["requests_total", "request_duration_milliseconds_count"] {
        let query = format!(
            "sum by (destination_version, response_code) (istio_{name}{{reporter='source', \
             destination_service='{}', source_workload='istio-ingressgateway', \
             destination_workload=~'reviews-v[12]'}})",
            app.service(),
        );
        let seen = stack
            .query_until(&query, SCRAPED, |seen| {
                by(seen, "destination_version", "response_code") == expected
            })
            .await;
        assert_eq!(
            by(&seen, "destination_version", "response_code"),
            expected,
            "{name}"
        );
    }
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn the_webhook_refuses_a_negative_weight() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "webhook").await;
    let error = app.patch_weights(json!(101), json!(-1)).await.unwrap_err();
    assert_eq!(code(&error), Some(400), "{error}");
    assert!(error.to_string().contains("denied the request"), "{error}");
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn without_istiod_no_weight_can_be_written() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "istiod").await;
    let istiod = stack.stop("istiod").await;
    let error = app.set_weights(0, 100).await.unwrap_err();
    assert_eq!(code(&error), Some(500), "{error}");
    assert!(
        error.to_string().contains("failed calling webhook"),
        "{error}"
    );
    // The gateway goes on with what it has.
    assert_eq!(app.load().requests(20).run().await.answered("v1"), 20);

    istiod.start().await;
    app.set_weights(0, 100).await.unwrap();
    let sent = app.load().requests(20).run().await;
    assert_eq!(sent.answered("v2"), 20, "{sent:?}");
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_restored_weight_takes_the_traffic_away_at_once() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "restore").await;
    app.behave("v2", json!({"errors": 1.0})).await;
    app.set_weights(50, 50).await.unwrap();
    let running = app.load().rate(200.0).start();
    while running.so_far().failed() < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let written = SystemTime::now();
    app.set_weights(100, 0).await.unwrap();
    let sent = running.stop().await;

    let last = sent.last_answer["v2"];
    assert_eq!(sent.last_failure, Some(last), "{sent:?}");
    assert!(
        sent.first_failure.is_some_and(|first| first < written),
        "{sent:?}"
    );
    let late = last.duration_since(written).unwrap_or_default();
    println!("the last request on the canary ended {late:?} after the write was begun");
    assert!(late < Duration::from_secs(1), "{late:?}");
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_client_inside_the_mesh_follows_the_route_for_the_service() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "internal").await;
    // The subsets' names are not the versions, so nothing can be told by them.
    for object in [
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": "reviews-groups", "namespace": app.namespace},
            "spec": {"host": "reviews", "subsets": [
                {"name": "safe-group", "labels": {"version": "v1"}},
                {"name": "risky-group", "labels": {"version": "v2"}},
            ]},
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "reviews-internal", "namespace": app.namespace},
            "spec": {"hosts": ["reviews"], "http": [
                {
                    "name": "forced",
                    "match": [{"headers": {"x-group": {"exact": "risky"}}}],
                    "route": [{"destination": {"host": "reviews", "port": {"number": 80}, "subset": "risky-group"}}],
                },
                {
                    "name": "primary",
                    "route": [
                        {"destination": {"host": "reviews", "port": {"number": 80}, "subset": "safe-group"}, "weight": 100},
                        {"destination": {"host": "reviews", "port": {"number": 80}, "subset": "risky-group"}, "weight": 0},
                    ],
                },
            ]},
        }),
    ] {
        stack.apply(&object).await.unwrap();
    }
    let client = &stack.description.client;
    let cluster = format!("80|risky-group|{}", app.service());
    stack.await_route(&client.admin, &cluster).await;
    let load = || app.internal_load().rate(200.0).requests(100);
    let sent = load().run().await;
    assert_eq!(sent.count("v1", Outcome::Status(200)), 100, "{sent:?}");
    let forced = load().header("x-group", "risky").run().await;
    assert_eq!(forced.count("v2", Outcome::Status(200)), 100, "{forced:?}");

    let query = format!(
        "sum by (destination_version, destination_workload) (istio_requests_total{{\
         reporter='source', source_workload='{}', destination_service='{}'}})",
        client.workload,
        app.service(),
    );
    let expected = BTreeMap::from([
        (("v1".to_owned(), "reviews-v1".to_owned()), 100),
        (("v2".to_owned(), "reviews-v2".to_owned()), 100),
    ]);
    let labels = ("destination_version", "destination_workload");
    let seen = stack
        .query_until(&query, SCRAPED, |seen| {
            by(seen, labels.0, labels.1) == expected
        })
        .await;
    assert_eq!(by(&seen, labels.0, labels.1), expected);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn failures_arrive_as_they_were_asked_for() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "failures").await;
    let load = || app.load().rate(200.0).requests(20);

    // Not 14: Istio's own default retries an unavailable gRPC server.
    app.behave("v1", json!({"errors": 0.5, "failure": {"grpc": 13}}))
        .await;
    let grpc = load().grpc().run().await;
    assert_eq!(grpc.count("v1", Outcome::Status(200)), 10, "{grpc:?}");
    assert_eq!(grpc.count("v1", Outcome::Grpc(13)), 10, "{grpc:?}");

    app.behave("v1", json!({"errors": 1.0, "failure": "reset"}))
        .await;
    let reset = load().run().await;
    assert_eq!((reset.failed(), reset.answered("v1")), (20, 0), "{reset:?}");

    app.behave("v1", json!({"latency_ms": 300})).await;
    let begun = SystemTime::now();
    let slow = load().run().await;
    let took = begun.elapsed().unwrap();
    assert_eq!(slow.count("v1", Outcome::Status(200)), 20, "{slow:?}");
    // One after the other they would take six seconds.
    assert!(
        (Duration::from_millis(395)..Duration::from_secs(3)).contains(&took),
        "{took:?}"
    );

    let query = format!(
        "sum by (request_protocol, grpc_response_status) \
         (istio_requests_total{{reporter='source', destination_version='v1', \
         destination_service='{}'}})",
        app.service(),
    );
    let labels = ("request_protocol", "grpc_response_status");
    let seen = stack
        .query_until(&query, SCRAPED, |seen| {
            seen.iter().map(|sample| sample.value).sum::<f64>() >= 61.0
        })
        .await;
    let seen = by(&seen, labels.0, labels.1);
    assert_eq!(
        seen.get(&("grpc".to_owned(), "0".to_owned())),
        Some(&10),
        "{seen:?}"
    );
    assert_eq!(
        seen.get(&("grpc".to_owned(), "13".to_owned())),
        Some(&10),
        "{seen:?}"
    );
    assert_eq!(
        seen.get(&("http".to_owned(), String::new())),
        Some(&41),
        "{seen:?}"
    );
    let reset = format!(
        "sum(istio_requests_total{{reporter='source', response_code='503', response_flags!='-', \
         destination_version='v1', destination_service='{}'}})",
        app.service(),
    );
    assert_eq!(stack.query(&reset).await[0].value, 20.0);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn connections_are_counted_by_the_pod_they_reached() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "tcp").await;
    let address = &stack.description.gateway.tcp[1];
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let route = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "echo", "namespace": app.namespace},
        "spec": {
            "hosts": ["*"],
            "gateways": [stack.description.gateway.name],
            "tcp": [{"match": [{"port": port}], "route": [
                {"destination": {"host": "reviews", "port": {"number": 9000}, "subset": "v1"}, "weight": 80},
                {"destination": {"host": "reviews", "port": {"number": 9000}, "subset": "v2"}, "weight": 20},
            ]}],
        },
    });
    stack.apply(&route).await.unwrap();
    let cluster = format!("9000|v2|{}", app.service());
    let gateway = &stack.description.gateway;
    stack.await_route(&gateway.admin, &cluster).await;

    let opened = connections(address, 100).await;
    println!("client: {opened:?}");
    let of = |version: &str| opened.get(&Some(version.to_owned())).copied().unwrap_or(0);
    assert_eq!(of("v1") + of("v2"), 100, "{opened:?}");
    assert!((5..=45).contains(&of("v2")), "{opened:?}");
    let counted = app.counts().await;
    assert_eq!(counted.versions["v1"].connections, of("v1"));
    assert_eq!(counted.versions["v2"].connections, of("v2"));
    for name in ["opened", "closed"] {
        let query = format!(
            "sum by (destination_version, destination_workload) \
             (istio_tcp_connections_{name}_total{{reporter='source', destination_service='{}'}})",
            app.service(),
        );
        let expected = BTreeMap::from([
            (("v1".to_owned(), "reviews-v1".to_owned()), of("v1")),
            (("v2".to_owned(), "reviews-v2".to_owned()), of("v2")),
        ]);
        let labels = ("destination_version", "destination_workload");
        let seen = stack
            .query_until(&query, SCRAPED, |seen| {
                by(seen, labels.0, labels.1) == expected
            })
            .await;
        assert_eq!(by(&seen, labels.0, labels.1), expected, "{name}");
    }
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn the_api_server_leads_to_prometheus_and_knows_who_asks() {
    let stack = Stack::open().await;
    let (namespace, service) = stack
        .description
        .prometheus
        .service
        .split_once('/')
        .unwrap();
    let path = format!(
        "/api/v1/namespaces/{namespace}/services/{service}/proxy/api/v1/query?query=vector(1)"
    );
    let request = || http::Request::get(&path).body(Vec::new()).unwrap();
    let answer = stack.client.request_text(request()).await.unwrap();
    assert_eq!(
        samples(&serde_json::from_str(&answer).unwrap())[0].value,
        1.0
    );

    let dev = stack.dev_client().await;
    let error = dev.request_text(request()).await.unwrap_err();
    assert_eq!(code(&error), Some(403), "{error}");
    let error = Api::<Pod>::namespaced(dev, "shop")
        .list(&ListParams::default())
        .await
        .unwrap_err();
    assert_eq!(code(&error), Some(403), "{error}");
}
