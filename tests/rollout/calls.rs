//! Which calls a rollout makes, one after the other.

use std::time::Duration;

use kubectl_canary::Signals;
use kubectl_canary::plan::Options;
use kubectl_canary::sandbox::Call;

use crate::harness::{Shop, brisk, brisk_with, start};

/// `patch virtualservices/reviews 200`, without what stands before the resource.
fn spoken(call: &Call) -> String {
    let path = call
        .path
        .rsplit("/namespaces/")
        .next()
        .unwrap_or(&call.path);
    let path = path.split_once('/').map_or(path, |(_, rest)| rest);
    let answer = call
        .status
        .map_or("without an answer".to_owned(), |status| status.to_string());
    format!("{} {path} {answer}", call.verb)
}

/// The calls from the `from`th on.
fn since(shop: &Shop, from: usize) -> Vec<String> {
    shop.world.calls()[from..].iter().map(spoken).collect()
}

/// Straight to 100 %.
fn unanalyzed() -> Options {
    Options {
        unanalyzed: true,
        ..brisk_with("100")
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_makes_one_patch_a_step_and_keeps_two_watches() {
    let shop = Shop::open().await;
    shop.start(brisk()).await.unwrap();
    let calls = since(&shop, 0);
    let patches: Vec<_> = calls
        .iter()
        .filter(|call| call.starts_with("patch"))
        .collect();
    assert_eq!(patches, ["patch virtualservices/reviews 200"; 4]);
    let watches: Vec<_> = calls
        .iter()
        .filter(|call| call.starts_with("watch"))
        .collect();
    let [object, pods] = watches[..] else {
        panic!("{watches:?}");
    };
    assert!(object.ends_with("virtualservices 200"), "{object}");
    assert_eq!(pods, "watch pods 200");
    let lists = calls.iter().filter(|call| *call == "list pods 200").count();
    assert!(
        (2..=4).contains(&lists),
        "the one of the preflight, the watch's, and where it was silent: {lists}"
    );
    let gets = calls
        .iter()
        .filter(|call| *call == "get virtualservices/reviews 200")
        .count();
    assert!(
        (1..=5).contains(&gets),
        "the one of the preflight, and where the watch was silent: {gets}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_preflight_asks_before_the_first_patch() {
    let shop = Shop::open().await;
    shop.start(unanalyzed()).await.unwrap();
    assert_eq!(
        since(&shop, 0),
        [
            "get virtualservices/reviews 200",
            "list apis/networking.istio.io/v1/virtualservices 200",
            "list apis/networking.istio.io/v1/destinationrules 200",
            "get services/reviews 200",
            "list horizontalpodautoscalers 200",
            "create apis/authorization.k8s.io/v1/selfsubjectaccessreviews 201",
            "create apis/authorization.k8s.io/v1/selfsubjectaccessreviews 201",
            "create apis/authorization.k8s.io/v1/selfsubjectaccessreviews 201",
            "create apis/authorization.k8s.io/v1/selfsubjectaccessreviews 201",
            "create apis/authorization.k8s.io/v1/selfsubjectaccessreviews 201",
            "create apis/authorization.k8s.io/v1/selfsubjectaccessreviews 201",
            "get configmaps/istio 200",
            "list pods 200",
            "get services/http:prometheus:9090/proxy/api/v1/query 200",
            "get services/http:prometheus:9090/proxy/api/v1/query 200",
            "get services/http:prometheus:9090/proxy/api/v1/query 200",
            "get services/http:prometheus:9090/proxy/api/v1/query 200",
            "get services/http:prometheus:9090/proxy/api/v1/query 200",
            "get services/http:prometheus:9090/proxy/api/v1/query 200",
            "get leases/kubectl-canary-reviews 404",
            "create leases 201",
            "patch virtualservices/reviews 200",
            "get leases/kubectl-canary-reviews 200",
            "update leases/kubectl-canary-reviews 200",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_step_is_one_patch_and_then_only_prometheus_and_the_lease_are_asked() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk());
    let counting = async {
        shop.until_weight(1).await;
        let from = shop.world.calls().len();
        shop.until_weight(10).await;
        since(&shop, from)
    };
    let calls = tokio::select! {
        calls = counting => calls,
        ended = driver => panic!("{ended:?}"),
    };
    let query = "get services/http:prometheus:9090/proxy/api/v1/query 200";
    let lease = "update leases/kubectl-canary-reviews 200";
    let (mut looks, mut renewals, mut reads) = (0, 0, 0);
    let others: Vec<_> = calls
        .iter()
        .filter(|call| {
            looks += usize::from(*call == query);
            renewals += usize::from(*call == lease);
            let is_read = call.starts_with("get virtual")
                || call.contains("pods")
                || call.contains("services/reviews");
            let is_read = is_read && !call.starts_with("patch");
            reads += usize::from(is_read);
            *call != query && *call != lease && !is_read
        })
        .collect();
    assert_eq!(others, ["patch virtualservices/reviews 200"]);
    assert!((5..=8).contains(&looks), "a look a second: {looks}");
    assert!(renewals <= 2, "a renewal in five seconds: {renewals}");
    assert!(reads <= 3, "a read after four seconds of silence: {reads}");
}

#[tokio::test(start_paused = true)]
async fn abort_is_a_get_a_patch_and_a_get() {
    let shop = Shop::open().await;
    let args = kubectl_canary::commands::Start {
        no_wait: true,
        ..start(brisk())
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    let from = shop.world.calls().len();
    shop.abort("bob@desk").await.unwrap();
    assert_eq!(
        since(&shop, from),
        [
            "get virtualservices/reviews 200",
            "patch virtualservices/reviews 200",
            "get virtualservices/reviews 200",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn pause_and_promote_are_a_get_and_a_patch() {
    let shop = Shop::open().await;
    let args = kubectl_canary::commands::Start {
        no_wait: true,
        ..start(brisk())
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    for command in ["pause", "promote", "promote", "promote"] {
        let from = shop.world.calls().len();
        match command {
            "pause" => shop.pause("bob@desk").await.unwrap(),
            _ => shop.promote("bob@desk").await.unwrap(),
        };
        assert_eq!(
            since(&shop, from),
            [
                "get virtualservices/reviews 200",
                "patch virtualservices/reviews 200"
            ],
            "{command}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_write_names_its_field_manager() {
    let shop = Shop::open().await;
    shop.start(brisk()).await.unwrap();
    let calls = shop.world.calls();
    let writes = calls
        .iter()
        .filter(|call| call.is_write() && !call.path.contains("selfsubjectaccessreviews"));
    for call in writes {
        assert!(
            call.query.contains("fieldManager=canary-rollout"),
            "{call:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_waits_at_a_gate_costs_little() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10:pause,100"));
    let _ = tokio::time::timeout(Duration::from_secs(30), driver).await;
    let calls = shop.world.calls();
    let vs = calls
        .iter()
        .filter(|call| call.path.contains("virtualservices") && call.verb != "watch")
        .count();
    assert!(
        (4..=11).contains(&vs),
        "two of the preflight, the step, the gate, and a read every four seconds: {vs}"
    );
}
