//! staff-service whose users are bound to pods by a hash, and still meet both versions.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kubectl_canary::rollout::EventKind;
use serde_json::{Value, json};

use super::RATE;
use super::shares::{assert_share, settled_at};
use super::staff::{SAFE_AND_RISKY, from_90};
use crate::stack::Stack;

/// How long Envoy may take to have a changed load balancer.
const REBUILT: Duration = Duration::from_secs(1);

async fn one_user_meets_both(hash: Value, by: &str) {
    let stack = Stack::open().await;
    let source = from_90(&stack).await;
    let policy = json!({"spec": {"trafficPolicy": {"loadBalancer": {"consistentHash": hash}}}});
    let rules = stack.api(
        "networking.istio.io/v1",
        "DestinationRule",
        source.namespace,
    );
    let rule = "grouping-rules-for-our-photograph-canary-release";
    let hashed = rules
        .patch(rule, &PatchParams::default(), &Patch::Merge(policy))
        .await;
    hashed.expect("Istio's webhook takes it");
    tokio::time::sleep(REBUILT).await;

    // One user: one address, and one value of the header.
    let load = source.load().rate(RATE).header("x-myval", "alice").start();
    let warning = format!(
        "DestinationRule default/{rule} has session affinity by {by} (spec.trafficPolicy.loadBalancer.consistentHash)"
    );
    let why = "the same user switches between versions";
    let plan = source.canary("plan", "").run().await;
    assert_eq!(plan.code, Some(0));
    assert!(
        plan.stdout.contains(&warning) && plan.stdout.contains(why),
        "{}",
        plan.stdout
    );

    let mut driver = source.rollout("--steps 50:5s,100").launch();
    settled_at(&mut driver, "50").await;
    let answers = source.answered_for(Duration::from_secs(3)).await;
    assert_share("one user at 50 %", &answers, SAFE_AND_RISKY, 0.5);
    let pods = source.counts().await.pods;
    println!("{pods:?}");
    assert_eq!(
        pods.len(),
        2,
        "the hash holds within each version: {pods:?}"
    );
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(0));
    let warned =
        |event: &EventKind| matches!(event, EventKind::Warning { text } if text.contains(&warning));
    assert!(ended.told(warned), "{}", ended.stderr);
    assert_eq!(load.stop().await.failed(), 0);
    source.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn one_address_meets_both_versions_though_it_is_hashed() {
    one_user_meets_both(json!({"useSourceIp": true}), "source address").await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn one_value_of_a_header_meets_both_versions_though_it_is_hashed() {
    one_user_meets_both(json!({"httpHeaderName": "x-myval"}), "header x-myval").await;
}
