//! A stranger who has README.md and docs/tutorial.md and nothing else: what stands in their blocks is typed and
//! applied in its order, word by word but for the namespace and the images of this stack.

mod page;
mod shell;

use std::time::Duration;

use serde_json::json;

use page::{Page, documents, kinds};
use shell::Stranger;

/// Longer than a step takes.
const STEP: Duration = Duration::from_secs(15);

fn at(weights: &[(&str, i64)]) -> Vec<(String, i64)> {
    weights
        .iter()
        .map(|(subset, weight)| ((*subset).to_owned(), *weight))
        .collect()
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn the_readme_leads_to_a_first_rollout() {
    let stranger = Stranger::arrive("readme").await;
    let mut page = Page::open("README.md");
    for elsewhere in [
        "cargo run --release -- demo",
        "cargo install",
        "scripts/test",
    ] {
        page.next(elsewhere);
    }
    // What it takes for granted: a Service and the Deployment of version 1, as the tutorial has them.
    let there = documents(&Page::open("docs/tutorial.md").yaml[0]);
    for (kind, yaml) in &there {
        if ["Service", "Deployment"].contains(&kind.as_str()) {
            stranger.applies(yaml);
        }
    }
    let scaffold = page.says("kubectl canary scaffold");
    // One after the other: the subsets before a route that names them.
    let missing = stranger.types(&scaffold).await;
    assert_eq!(kinds(&missing), ["DestinationRule"]);
    let shown = kinds(&page.yaml[0]);
    assert_eq!(shown, ["Deployment", "DestinationRule", "VirtualService"]);
    stranger.applies(&page.yaml[0]);
    let missing = stranger.types(&scaffold).await;
    assert!(missing.contains("nothing is missing"), "{missing}");
    stranger.sees_pods_of("v1").await;
    stranger.sees_pods_of("v2").await;
    let load = stranger.load().await;

    let plan = stranger.types(&page.next("kubectl canary plan")).await;
    for step in ["1 %", "10 %", "50 %", "100 %"] {
        assert!(plan.contains(step), "{step}: {plan}");
    }
    let start = page.next("kubectl canary start");
    let (status, abort) = (
        page.next("kubectl canary status"),
        page.next("kubectl canary abort"),
    );
    let driver = stranger.begins(&start);
    stranger.until_weight("v2", 1).await;
    let status = stranger.types(&status).await;
    assert!(
        status.contains("99 %") && status.contains("1 %"),
        "{status}"
    );
    stranger.types(&abort).await;
    assert_eq!(stranger.route().await, at(&[("v1", 100), ("v2", 0)]));
    driver.ends(11).await;

    let promoted = stranger.types(&start).await;
    assert!(promoted.contains("promoted"), "{promoted}");
    assert_eq!(stranger.route().await, at(&[("v1", 0), ("v2", 100)]));
    stranger.types(&page.next("kubectl canary undo")).await;
    assert_eq!(stranger.route().await, at(&[("v1", 100), ("v2", 0)]));

    // The pipeline, and its step that runs whatever happened.
    stranger
        .types(&page.next("exec kubectl canary start"))
        .await;
    assert_eq!(stranger.weight("v2").await, 100);
    let cleanup = page.says("kubectl canary abort");
    let ended = stranger.types(&cleanup).await;
    assert!(ended.contains("job-1 has already ended"), "{ended}");
    assert_eq!(stranger.weight("v2").await, 100);
    page.ends();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report:?}");
    stranger.leaves().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn the_tutorial_leads_from_apply_to_the_release_after_the_next() {
    let stranger = Stranger::arrive("tutorial").await;
    let mut page = Page::open("docs/tutorial.md");
    stranger.applies(&page.yaml[0]);
    stranger.sees_pods_of("v1").await;
    let load = stranger.load().await;
    deploy_the_canary(&stranger, &mut page).await;
    shift(&stranger, &mut page).await;
    after_the_promotion(&stranger, &mut page).await;
    release_the_next(&stranger, &mut page).await;
    // Two names that take turns are another service's.
    for elsewhere in [
        "kubectl set image",
        "kubectl rollout status",
        "kubectl canary start",
    ] {
        let command = page.next(elsewhere);
        assert!(command.contains("green"), "{command}");
    }
    beside_a_controller(&stranger, &mut page).await;
    page.ends();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report:?}");
    stranger.leaves().await;
}

async fn deploy_the_canary(stranger: &Stranger, page: &mut Page) {
    stranger.types(&page.next("kubectl canary scaffold")).await;
    let scaffolded = std::fs::read_to_string(stranger.folder.path().join("reviews-v2.yaml"));
    // What is there already is left out.
    assert_eq!(kinds(&scaffolded.expect("it was written")), ["Deployment"]);
    stranger
        .types(&page.next("kubectl apply -f reviews-v2.yaml"))
        .await;
    stranger.types(&page.next("kubectl rollout status")).await;
    stranger.sees_pods_of("v2").await;
    assert_eq!(stranger.route().await, at(&[("v1", 100), ("v2", 0)]));
    let plan = stranger.types(&page.next("kubectl canary plan")).await;
    for step in ["1 %", "10 %", "50 %", "100 %"] {
        assert!(plan.contains(step), "{step}: {plan}");
    }
    assert!(!plan.contains("\nrefuse "), "{plan}");
    assert_eq!(stranger.route().await, at(&[("v1", 100), ("v2", 0)]));
}

async fn shift(stranger: &Stranger, page: &mut Page) {
    let driver = stranger.begins(&page.next("kubectl canary start"));
    stranger.until_weight("v2", 1).await;
    let follower = stranger.begins(&page.next("kubectl canary status"));
    stranger.types(&page.next("kubectl canary pause")).await;
    let paused = stranger.route().await;
    let status = stranger
        .types("kubectl canary status reviews -n shop")
        .await;
    assert!(status.contains("paused"), "{status}");
    tokio::time::sleep(STEP).await;
    assert_eq!(stranger.route().await, paused);
    stranger
        .types("kubectl canary resume reviews -n shop")
        .await;
    stranger.types(&page.next("kubectl canary abort")).await;
    assert_eq!(stranger.route().await, at(&[("v1", 100), ("v2", 0)]));
    driver.ends(11).await;
    follower.ends(11).await;

    let driver = stranger.begins(&page.next("kubectl canary start"));
    stranger.until_weight("v2", 50).await;
    tokio::time::sleep(STEP).await;
    assert_eq!(stranger.route().await, at(&[("v1", 50), ("v2", 50)]));
    stranger.types(&page.next("kubectl canary promote")).await;
    let promoted = driver.ends(0).await;
    assert!(promoted.contains("promoted"), "{promoted}");
    assert_eq!(stranger.route().await, at(&[("v1", 0), ("v2", 100)]));
}

async fn after_the_promotion(stranger: &Stranger, page: &mut Page) {
    stranger.types(&page.next("kubectl canary undo")).await;
    assert_eq!(stranger.route().await, at(&[("v1", 100), ("v2", 0)]));
    // It was not wrong after all.
    stranger
        .types("kubectl canary start reviews -n shop --canary v2")
        .await;
    stranger.types(&page.next("kubectl scale")).await;
    assert_eq!(stranger.route().await, at(&[("v1", 0), ("v2", 100)]));
}

async fn release_the_next(stranger: &Stranger, page: &mut Page) {
    let scaffold = page.says("kubectl canary scaffold");
    let printed = stranger.types(&scaffold).await;
    assert_eq!(
        kinds(&printed),
        ["Deployment", "DestinationRule", "VirtualService"]
    );
    let (_, deployment) = documents(&printed)
        .into_iter()
        .find(|(kind, _)| kind == "Deployment")
        .expect("it is printed");
    let file = stranger.folder.path().join("reviews-v3.yaml");
    std::fs::write(file, deployment).expect("the folder is ours");
    stranger
        .types(&page.next("kubectl apply -f reviews-v3.yaml"))
        .await;
    stranger.types(&page.next("kubectl rollout status")).await;
    stranger
        .types(&page.next("kubectl patch destinationrule"))
        .await;
    stranger.types(&page.next("kubectl canary start")).await;
    assert_eq!(stranger.weight("v3").await, 100);
    assert_eq!(stranger.route().await.len(), 3);

    let route = stranger.route().await;
    let place = route
        .iter()
        .position(|(subset, _)| subset == "v1")
        .expect("it was first");
    let path = format!("/spec/http/0/route/{place}");
    let edit = page.next("kubectl edit virtualservice");
    stranger
        .edits(&edit, &json!([{"op": "remove", "path": path}]))
        .await;
    let edit = page.next("kubectl edit destinationrule");
    stranger
        .edits(&edit, &json!([{"op": "remove", "path": "/spec/subsets/0"}]))
        .await;
    stranger
        .types(&page.next("kubectl delete deployment"))
        .await;
    let mut left = stranger.route().await;
    left.sort();
    assert_eq!(left, at(&[("v2", 0), ("v3", 100)]));
}

async fn beside_a_controller(stranger: &Stranger, page: &mut Page) {
    let tracked =
        "argocd.argoproj.io/tracking-id=shop:networking.istio.io/VirtualService:shop/reviews";
    stranger
        .types(&format!(
            "kubectl annotate virtualservice reviews -n shop {tracked}"
        ))
        .await;
    let plan = page.says("kubectl canary plan reviews -n shop");
    let refused = stranger.begins(&plan).ends(4).await;
    assert!(refused.contains("ignoreDifferences"), "{refused}");
    stranger.types(&page.next("kubectl canary start")).await;
    assert_eq!(stranger.weight("v2").await, 100);
}
