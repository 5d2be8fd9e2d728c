//! Routes as others have them: rules that stay on stable, callers that go past the weights.

use jiff::SignedDuration;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Reason};
use kubectl_canary::sandbox::Setup;
use kubectl_canary::sandbox::fixtures::REVIEWS;
use kubectl_canary::verdict::AnalysisReason;
use serde_json::{Value, json};

use crate::harness::{Shop, with_flags};
use crate::preflight::plan;

fn to(subset: &str, weight: i64) -> Value {
    json!({"destination": {"host": "reviews", "subset": subset}, "weight": weight})
}

fn split(name: &str) -> Value {
    json!({"name": name, "route": [to("v1", 100), to("v2", 0)]})
}

/// `http` behind `shop.example.com` at a gateway; nothing in the mesh.
fn at_gateway_only(stage: &mut Setup<'_>) {
    stage.edit("virtualservices", "shop", "reviews", "setup", |vs| {
        vs["spec"]["hosts"] = json!(["shop.example.com"]);
        vs["spec"]["gateways"] = json!(["shop"]);
    });
    stage.traffic().demand("shop.example.com").per_second(100.0);
    stage.traffic().demand(REVIEWS).per_second(100.0);
}

/// By evidence, in short steps.
fn flags(more: &[&str]) -> Options {
    let usual = "--preset quick --dwell 10s --interval 1s --on-inconclusive rollback";
    with_flags(usual.split(' ').chain(more.iter().copied()))
}

/// What `plan` finds.
async fn said(shop: &Shop, options: Options) -> Vec<String> {
    let plan = plan(shop, options).await.unwrap();
    plan.findings.iter().map(ToString::to_string).collect()
}

fn odd_shares(shop: &Shop) -> Vec<(f64, f64)> {
    let told = shop.told().into_iter();
    let reasons = told.filter_map(|event| match event {
        EventKind::Analyzed { reasons, .. } => Some(reasons),
        _ => None,
    });
    reasons
        .flatten()
        .filter_map(|reason| match reason {
            Reason::Analysis(AnalysisReason::OddShare { got, set }) => Some((got, set)),
            _ => None,
        })
        .collect()
}

/// The weights hold at a gateway alone, and callers in the mesh reach both versions as they like.
#[tokio::test(start_paused = true)]
async fn callers_that_do_not_follow_the_weights_are_told_before_meanwhile_and_after() {
    let shop = Shop::open_with(|stage| {
        at_gateway_only(stage);
        // After the first minute, which is history.
        let onset = stage.now() + SignedDuration::from_secs(80);
        let canary = stage.traffic().version("shop", "reviews-v2");
        canary.fails_from(onset, 0.5);
    })
    .await;
    let said = said(
        &shop,
        flags(&["--warmup", "0s", "--steps", "10:30s,50,100"]),
    )
    .await;
    let past = said
        .iter()
        .find(|said| said.contains("% of the requests at a weight of 0 %"));
    let fix = "(try: mesh in spec.gateways, and reviews.shop.svc.cluster.local in spec.hosts: kubectl edit virtualservice reviews -n shop)";
    assert!(past.is_some_and(|past| past.contains(fix)), "{said:#?}");
    let finish = shop
        .start(flags(&["--warmup", "0s", "--steps", "10:30s,50,100"]))
        .await
        .unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    assert!(
        finish.reasons.contains(&Reason::StillReached),
        "{finish:#?}"
    );
    let shares = odd_shares(&shop);
    assert!(
        shares
            .iter()
            .all(|(got, set)| *got > 0.2 && (set - 0.1).abs() < 1e-9)
            && !shares.is_empty(),
        "{shares:?}"
    );
}

/// A lane for testers without any pod, static files, and the split: what of the service's requests can be
/// the canary's is only a part of the last.
#[tokio::test(start_paused = true)]
async fn beside_rules_that_stay_and_fail_the_canary_is_judged_by_its_own_requests() {
    for (fails, outcome) in [
        (0.0, Outcome::Promoted),
        (0.2, Outcome::RolledBack(Cause::Regression)),
    ] {
        let shop = Shop::open_with(|stage| {
            stage.edit("virtualservices", "shop", "reviews", "setup", |vs| {
                vs["spec"]["http"] = json!([
                    split("primary"),
                    {"name": "lane", "match": [{"headers": {"x-lane": {"exact": "1"}}}], "route": [to("v0", 100)]},
                    {"name": "static", "match": [{"uri": {"prefix": "/static"}}], "route": [to("v1", 100)]},
                ]);
            });
            stage.edit("destinationrules", "shop", "reviews", "setup", |rule| {
                let subsets = rule["spec"]["subsets"].as_array_mut().unwrap();
                subsets.push(json!({"name": "v0", "labels": {"version": "v0"}}));
            });
            let demand = stage.traffic().demand(REVIEWS);
            demand.through("lane", 0.03).through("static", 0.8);
            stage.traffic().version("shop", "reviews-v2").fails(fails);
        })
        .await;
        let options = "--warmup 0s --route primary --steps 10,50,100";
        let options: Vec<_> = options.split(' ').collect();
        let finish = shop.start(flags(&options)).await.unwrap();
        assert_eq!(finish.outcome, outcome, "{:#?}", shop.told());
        if fails == 0.0 {
            assert!(!odd_shares(&shop).is_empty(), "it is said all the same");
        } else {
            shop.assert_restored();
        }
    }
}

/// North-south and east-west: the same two versions in two objects.
#[tokio::test(start_paused = true)]
async fn another_object_that_divides_the_same_versions_is_named_with_the_flag() {
    let shop = Shop::open_with(|stage| {
        stage.apply(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"namespace": "shop", "name": "edge"},
            "spec": {"hosts": ["edge.example.com"], "gateways": ["shop"], "http": [split("edge")]},
        }));
    })
    .await;
    let of = async |more: &[&str]| {
        let mut said = said(&shop, flags(more)).await;
        said.retain(|said| said.contains("shop/edge"));
        said
    };
    let said = of(&["--steps", "10,100"]).await;
    assert!(
        said.iter()
            .any(|said| said.contains("(try: --also shop/edge, ")),
        "{said:#?}"
    );
    let said = of(&["--steps", "10,100", "--also", "edge"]).await;
    assert!(
        said.iter().all(|said| !said.contains("(try: --also")),
        "{said:#?}"
    );
}

/// The canary is the fix of what stable has just begun to do.
#[tokio::test(start_paused = true)]
async fn a_hotfix_passes_a_stable_that_is_broken() {
    let shop = Shop::open().await;
    let (now, end) = (shop.after(0), shop.after(24 * 3600));
    shop.world
        .traffic()
        .version("shop", "reviews-v1")
        .fails_between(now, end, 0.2);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let finish = shop
        .start(flags(&["--warmup", "0s", "--steps", "10,50,100"]))
        .await
        .unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
}

/// A canary that has waited long for its first request fails some of the first ones.
#[tokio::test(start_paused = true)]
async fn a_cold_canary_is_given_room_from_its_first_request_on() {
    for (warmup, outcome) in [
        ("0s", Outcome::RolledBack(Cause::Regression)),
        ("20s", Outcome::Promoted),
    ] {
        let shop = Shop::open_with(|stage| {
            for pod in stage.names("pods", "shop") {
                stage.edit("pods", "shop", &pod, "kubelet", |pod| {
                    pod["status"]["startTime"] = json!("2026-01-01T11:00:00Z");
                });
            }
        })
        .await;
        let (now, warm) = (shop.after(0), shop.after(12));
        shop.world
            .traffic()
            .version("shop", "reviews-v2")
            .fails_between(now, warm, 0.08);
        let options = flags(&["--steps", "20,50,100", "--warmup", warmup]);
        let finish = shop.start(options).await.unwrap();
        assert_eq!(finish.outcome, outcome, "{warmup}: {:#?}", shop.told());
    }
}

/// A pipeline rolls out, and the next job starts at once: what the canary of then got is not past the weights.
#[tokio::test(start_paused = true)]
async fn a_rollout_right_after_another_is_not_taken_for_callers_past_the_weights() {
    let shop = Shop::open().await;
    let first = shop
        .start(flags(&["--warmup", "0s", "--steps", "50,100"]))
        .await;
    assert_eq!(first.unwrap().outcome, Outcome::Promoted);
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    let said = said(&shop, flags(&["--warmup", "0s", "--steps", "50,100"])).await;
    assert!(
        said.iter()
            .all(|said| !said.contains("of the requests at a weight")),
        "{said:#?}"
    );
}
