//! staff-service: inside the mesh, two Deployments with one selector, and no name that equals another.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::RATE;
use super::shares::{assert_share, settled_at};
use super::source::{Caller, Source};
use crate::stack::Stack;

/// The Service, the VirtualService's host and its destinations.
pub(super) const HOST: &str = "fleetman-staff-service.default.svc.cluster.local";

/// What the backends call the versions: the tags of their images.
pub(super) const SAFE_AND_RISKY: [&str; 2] = ["6-placeholder", "6"];

const WORKLOADS: &str = include_str!("objects/staff-service.yaml");
const FROM_90: &str = include_str!("objects/staff-90-10.yaml");
const FROM_100: &str = include_str!("objects/staff-100-0.yaml");

/// Enough a second for 1 % of it to be counted in eight seconds.
const HIGH_RATE: f64 = 500.0;

/// staff-service with these routes, as soon as the client's sidecar has the subset.
pub(super) async fn staff_service(
    stack: &Stack,
    name: &'static str,
    routes: &str,
    subset: &str,
) -> Source {
    let files = [WORKLOADS, routes];
    let source = Source::open(stack, ("default", name), Caller::Mesh(HOST), &files).await;
    let admin = &stack.description.client.admin;
    let cluster = format!("80|{subset}|{HOST}");
    stack.await_route(admin, &cluster).await;
    stack.await_endpoints(admin, &cluster, 1).await;
    source.answers().await;
    source
}

/// staff-service with 90/10 between `safe-group` and `risky-group`.
pub(super) async fn from_90(stack: &Stack) -> Source {
    let name = "a-set-of-routing-rules-we-can-call-this-anything";
    staff_service(stack, name, FROM_90, "risky-group").await
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_service_whose_names_all_differ_is_shifted_from_10_percent_to_100() {
    let stack = Stack::open().await;
    let source = from_90(&stack).await;
    let load = source.load().rate(RATE).start();
    let mut driver = source.rollout("--steps 1,10:5s,50:4s,100 -o json").launch();
    for (percentage, share, seconds) in [("10", 0.1, 4), ("50", 0.5, 2), ("100", 1.0, 1)] {
        settled_at(&mut driver, percentage).await;
        let answers = source.answered_for(Duration::from_secs(seconds)).await;
        assert_share(percentage, &answers, SAFE_AND_RISKY, share);
    }
    let ended = driver.end().await;
    let sent = load.stop().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.steps(), ["10", "50", "100"], "it has 1 % already");
    assert_eq!(source.weights("http", 0).await, [0, 100]);
    assert_eq!(sent.failed(), 0, "{sent:?}");

    // The metrics know workloads and labels, which are neither subsets nor tags.
    let summary: Value = serde_json::from_str(&ended.stdout).expect("stdout holds JSON");
    let judged = &summary["totalCounts"];
    for (version, role) in SAFE_AND_RISKY.into_iter().zip(["stable", "canary"]) {
        let (of, answered) = (judged[role]["requests"].as_u64(), sent.answered(version));
        println!("{role}: {of:?} judged of {answered} answered");
        let of = of.expect("it is a number");
        assert!(
            of * 2 > answered && of <= answered,
            "{role}: {of} of {answered}"
        );
    }
    let query = format!(
        "sum by (destination_workload, destination_version) \
         (istio_requests_total{{reporter='source', destination_service='{HOST}'}})"
    );
    let seen = stack.query(&query).await.into_iter();
    let seen: BTreeSet<_> = seen
        .map(|sample| {
            ["destination_workload", "destination_version"]
                .map(|label| sample.labels[label].clone())
        })
        .collect();
    let expected = [
        ["staff-service", "safe"],
        ["staff-service-risky-version", "risky"],
    ];
    for [workload, version] in expected {
        assert!(
            seen.contains(&[workload.into(), version.into()]),
            "{seen:?}"
        );
    }
    source.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn three_pods_are_enough_for_one_percent() {
    let stack = Stack::open().await;
    let name = "a-set-of-routing-rules-we-can-call-this-anything";
    let source = staff_service(&stack, name, FROM_100, "safe").await;
    let load = source.load().rate(HIGH_RATE).start();
    let mut driver = source.rollout("--steps 1:9s,10:4s,50,100").launch();
    for (percentage, share, seconds) in [
        ("1", 0.01, 8),
        ("10", 0.1, 3),
        ("50", 0.5, 2),
        ("100", 1.0, 1),
    ] {
        settled_at(&mut driver, percentage).await;
        let answers = source.answered_for(Duration::from_secs(seconds)).await;
        assert_share(percentage, &answers, SAFE_AND_RISKY, share);
        if percentage == "1" {
            let pods = source.counts().await.pods;
            println!("{pods:?}");
            assert_eq!(pods.len(), 3, "every pod answers: {pods:?}");
            let by_pods = pods.iter().filter(|(pod, _)| pod.contains("risky"));
            assert_eq!(by_pods.count(), 1, "{pods:?}");
        }
    }
    assert_eq!(driver.end().await.code, Some(0));
    assert_eq!(load.stop().await.failed(), 0);
    assert_eq!(source.weights("http", 0).await, [0, 100]);
    source.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn the_errors_of_the_risky_version_are_found_and_its_weight_is_10_again() {
    let stack = Stack::open().await;
    let source = from_90(&stack).await;
    source.behave("6", json!({"errors": 0.3})).await;
    let before = source.spec().await;
    let _load = source.load().rate(RATE).start();
    let ended = source.rollout("--steps 10,50,100").run().await;
    assert_eq!(ended.code, Some(10));
    source.is_as_it_was(&before).await;
    assert_eq!(source.weights("http", 0).await, [90, 10]);
    source.finish().await;
}
