//! Older clusters, a cluster without Istio's webhook, and one with several revisions of istiod.

use kubectl_canary::rollout::Outcome;
use kubectl_canary::sandbox::Setup;
use serde_json::{Value, json};

use crate::harness::{Shop, brisk};
use crate::preflight::plan;

/// What a plan finds in the shop with this about it, and the calls that were answered.
async fn seen(change: impl FnOnce(&mut Setup<'_>)) -> (Vec<String>, Vec<String>) {
    let shop = Shop::open_with(change).await;
    let view = plan(&shop, brisk()).await.unwrap();
    let calls = shop.world.calls().into_iter();
    let answered = calls.filter(|call| call.status.is_some_and(|status| status < 400));
    (
        view.findings.into_iter().map(|found| found.what).collect(),
        answered
            .map(|call| format!("{} {}", call.verb, call.path))
            .collect(),
    )
}

#[tokio::test(start_paused = true)]
async fn each_version_that_alone_is_served_does_for_everything() {
    let (usual, _) = seen(|_| {}).await;
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let serve = |stage: &mut Setup<'_>| stage.serve_istio_versions(&[version]);
        let (found, calls) = seen(serve).await;
        assert_eq!(found, usual, "{version}");
        let path = format!("list /apis/networking.istio.io/{version}/destinationrules");
        assert!(calls.contains(&path), "{calls:#?}");

        let shop = Shop::open_with(serve).await;
        let finish = shop.start(brisk()).await.unwrap();
        assert_eq!(finish.outcome, Outcome::Promoted, "{version}");
        assert_eq!(shop.weights(), [0, 100], "{version}");

        let shop = Shop::open_with(serve).await;
        let driver = shop.start(brisk());
        let abort = async {
            shop.until_weight(1).await;
            shop.abort("bob@desk").await.unwrap().unwrap().outcome
        };
        let (finish, outcome) = tokio::join!(driver, abort);
        assert!(
            matches!(outcome, Outcome::RolledBack(_)),
            "{version}: {outcome:?}"
        );
        assert!(finish.is_ok(), "{version}: {finish:?}");
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn the_version_that_is_served_is_found_once() {
    let (_, calls) = seen(|stage| stage.serve_istio_versions(&["v1beta1"])).await;
    assert!(!calls.is_empty());
    let shop = Shop::open_with(|stage| stage.serve_istio_versions(&["v1beta1"])).await;
    plan(&shop, brisk()).await.unwrap();
    let calls = shop.world.calls();
    let vain = calls.iter().filter(|call| call.status == Some(404));
    assert_eq!(vain.count(), 1, "{calls:#?}");
}

#[tokio::test(start_paused = true)]
async fn without_the_webhook_of_istio_what_it_would_have_refused_is_there_and_does_no_harm() {
    let (usual, _) = seen(|_| {}).await;
    let odd = |stage: &mut Setup<'_>| {
        stage.remove_webhook();
        let to = |targets: Value| json!({"hosts": ["odd"], "http": [{"route": targets}]});
        for (index, spec) in [
            json!({}),
            json!({"hosts": []}),
            json!({"hosts": ["odd"]}),
            json!({"hosts": ["odd"], "http": [{}]}),
            json!({"hosts": ["odd", "odd"], "http": []}),
            to(json!([])),
            to(json!([{}])),
            to(json!([{"destination": {}}])),
            to(json!([{"destination": {"host": ""}}])),
            to(json!([{"destination": {"host": "reviews", "subset": "v1"}, "weight": -1}])),
            to(json!([{"destination": {"host": "x"}, "weight": 0}])),
        ]
        .into_iter()
        .enumerate()
        {
            stage.apply(json!({
                "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
                "metadata": {"namespace": "shop", "name": format!("odd-{index}")}, "spec": spec,
            }));
        }
        for (name, spec) in [("none", json!({})), ("empty", json!({"host": ""}))] {
            stage.apply(json!({
                "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
                "metadata": {"namespace": "shop", "name": name}, "spec": spec,
            }));
        }
    };
    let (mut found, _) = seen(odd).await;
    // One of them does send to the service, and that is named.
    found.retain(|what| !what.contains("odd-"));
    assert_eq!(found, usual);
    let shop = Shop::open_with(odd).await;
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn revisions_and_tags_of_istiod_change_nothing_in_what_is_read() {
    let (usual, calls) = seen(|_| {}).await;
    let (found, with_revisions) = seen(|stage| {
        for revision in ["1-29-0", "1-30-1"] {
            stage.apply(json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"namespace": "istio-system", "name": format!("istiod-{revision}"), "labels": {"app": "istiod", "istio.io/rev": revision}},
                "spec": {"replicas": 1, "selector": {"matchLabels": {"istio.io/rev": revision}}, "template": {
                    "metadata": {"labels": {"app": "istiod", "istio.io/rev": revision}},
                    "spec": {"containers": [{"name": "discovery", "image": "pilot"}]},
                }},
            }));
            stage.apply(json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"namespace": "istio-system", "name": format!("istiod-{revision}"), "labels": {"istio.io/rev": revision, "istio.io/tag": "prod"}},
                "spec": {"selector": {"app": "istiod", "istio.io/rev": revision}, "ports": [{"name": "https-webhook", "port": 443}]},
            }));
        }
        for (plural, name) in [("namespaces", "shop"), ("virtualservices", "reviews"), ("destinationrules", "reviews")] {
            let namespace = if plural == "namespaces" { "" } else { "shop" };
            stage.edit(plural, namespace, name, "setup", |object| {
                object["metadata"]["labels"]["istio.io/rev"] = json!("prod");
            });
        }
        for (index, name) in stage.names("pods", "shop").into_iter().enumerate() {
            stage.edit("pods", "shop", &name, "setup", |pod| {
                let revision = ["1-29-0", "1-30-1"][index % 2];
                pod["metadata"]["labels"]["istio.io/rev"] = json!(revision);
                pod["metadata"]["labels"]["service.istio.io/canonical-revision"] = pod["metadata"]["labels"]["version"].clone();
            });
        }
    })
    .await;
    assert_eq!(found, usual);
    assert_eq!(with_revisions, calls);
}
