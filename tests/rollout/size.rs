//! A large cluster: what is asked of the API server, and that what matters in it is still found.

use kubectl_canary::commands::{self, List};
use kubectl_canary::plan::Level;
use kubectl_canary::rollout::Outcome;
use kubectl_canary::sandbox::{ApiFault, Call, Rule, Setup};
use kubectl_canary::{Context, Signals};
use serde_json::{Value, json};

use crate::harness::{Shop, brisk};
use crate::preflight::{found, plan};

/// A VirtualService and a DestinationRule of a service of its own.
fn service(stage: &mut Setup<'_>, namespace: &str, name: &str) {
    let object = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": kind,
            "metadata": {"namespace": namespace, "name": name}, "spec": spec,
        })
    };
    stage.apply(object(
        "VirtualService",
        json!({"hosts": [name], "http": [{"route": [{"destination": {"host": name, "subset": "v1"}}]}]}),
    ));
    stage.apply(object(
        "DestinationRule",
        json!({"host": name, "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}),
    ));
}

/// The shop among so many others, in namespaces of 50.
pub async fn shop_among(others: usize) -> Shop {
    Shop::open_with(|stage| {
        for index in 0..others {
            service(stage, &format!("team-{}", index / 50), &format!("s{index}"));
        }
    })
    .await
}

fn lists<'c>(calls: &'c [Call], plural: &'c str) -> impl Iterator<Item = &'c Call> {
    calls
        .iter()
        .filter(move |call| call.verb == "list" && call.path.ends_with(plural))
}

#[tokio::test(start_paused = true)]
async fn every_list_is_read_in_pages_and_what_is_found_does_not_change() {
    let mut told = Vec::new();
    for (others, pages) in [(0, 1), (400, 2), (2_000, 5)] {
        let shop = shop_among(others).await;
        let view = plan(&shop, brisk()).await.unwrap();
        let calls = shop.world.calls();
        for plural in ["virtualservices", "destinationrules"] {
            let found = lists(&calls, plural).count();
            assert!((1..=pages).contains(&found), "{found} lists of {plural}");
        }
        for call in calls.iter().filter(|call| call.verb == "list") {
            let is_bounded = call.query.contains("limit=");
            assert!(is_bounded || call.path.ends_with("autoscalers"), "{call:?}");
        }
        told.push(view.findings);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_on_the_last_page_is_found() {
    let shop = Shop::open_with(|stage| {
        for index in 0..300 {
            service(stage, "team", &format!("s{index}"));
        }
        let host = "reviews.shop.svc.cluster.local";
        stage.apply(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"namespace": "zoo", "name": "last"},
            "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]},
        }));
    })
    .await;
    let refused = found(&shop, Level::Refuse).await;
    assert!(
        refused[0].starts_with("virtualservice zoo/last also has host reviews"),
        "{refused:?}"
    );
}

/// The rest of a list of VirtualServices cannot be had so many times.
fn forgets(shop: &Shop, times: u32) {
    let gone = ApiFault::Answer {
        code: 410,
        retry_after: None,
        applied: false,
    };
    let rule = Rule::new(gone).of("virtualservices").on("list");
    shop.world
        .faults()
        .api(rule.containing("continue=").times(times));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_the_server_forgets_midway_is_begun_anew_but_not_for_ever() {
    let shop = shop_among(1_100).await;
    let undisturbed = plan(&shop, brisk()).await.unwrap().findings;
    forgets(&shop, 2);
    assert_eq!(plan(&shop, brisk()).await.unwrap().findings, undisturbed);
    let before = shop.world.calls().len();
    forgets(&shop, 100);
    let warned = found(&shop, Level::Warn).await;
    assert!(
        warned
            .iter()
            .any(|what| what.starts_with("cannot list virtualservices in all namespaces")),
        "{warned:?}"
    );
    let calls = &shop.world.calls()[before..];
    // Three from the beginning and three that fail, then the namespace of the routes.
    assert_eq!(lists(calls, "virtualservices").count(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_rollouts_among_many_is_the_list_of_few() {
    let mut told = Vec::new();
    for others in [0, 400] {
        let shop = shop_among(others).await;
        shop.start(brisk()).await.unwrap();
        let args = List {
            all_namespaces: true,
            ..List::default()
        };
        let list = shop
            .act(
                "bob@desk",
                Signals::none(),
                async |context: &mut Context<'_>| commands::list(context, &args).await,
            )
            .await
            .unwrap();
        let names: Vec<_> = list.items.iter().map(|row| row.full_name()).collect();
        told.push(names);
    }
    assert_eq!(told, [["shop/reviews"], ["shop/reviews"]]);
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_large_service_are_read_in_pages() {
    let shop = Shop::open_with(|stage| {
        let name = stage
            .names("pods", "shop")
            .into_iter()
            .find(|name| name.contains("v1"));
        let pod = stage.object("pods", "shop", &name.unwrap()).unwrap();
        for index in 0..327 {
            let mut pod = pod.clone();
            pod["metadata"]["name"] = json!(format!("reviews-v1-more-{index}"));
            stage.apply(pod);
        }
    })
    .await;
    let view = plan(&shop, brisk()).await.unwrap();
    let calls = shop.world.calls();
    assert!(lists(&calls, "pods").count() >= 2);
    assert!(
        view.findings
            .iter()
            .any(|found| found.what == "canary v2 has 2 ready pods, stable v1 has 330"),
        "{:#?}",
        view.findings
    );
}

/// The shop with so many pods of each version.
async fn shop_of_pods(stable: usize, canary: usize) -> Shop {
    Shop::open_with(|stage| {
        for (version, there, wanted) in [("v1", 3, stable), ("v2", 2, canary)] {
            let names = stage.names("pods", "shop");
            let name = names.iter().find(|name| name.contains(version)).unwrap();
            let pod = stage.object("pods", "shop", name).unwrap();
            for index in there..wanted {
                let mut pod = pod.clone();
                pod["metadata"]["name"] = json!(format!("reviews-{version}-more-{index}"));
                stage.apply(pod);
            }
        }
    })
    .await
}

/// The pods are read page by page, once for the preflight and once for the watch, whatever the number of
/// steps.
#[tokio::test(start_paused = true)]
async fn a_service_of_two_thousand_pods_is_planned_and_rolled_out_with_a_bounded_number_of_lists() {
    for (stable, canary) in [(1_000, 1_000), (1_900, 100)] {
        let shop = shop_of_pods(stable, canary).await;
        let view = plan(&shop, brisk()).await.unwrap();
        let said: Vec<_> = view.findings.iter().map(|found| &*found.what).collect();
        for (version, pods) in [("stable v1", stable), ("canary v2", canary)] {
            let expected = format!("{version} has {pods} of {pods} pods ready");
            assert!(said.contains(&&*expected), "{said:#?}");
        }
        let planned = lists(&shop.world.calls(), "pods").count();
        assert!((2..=5).contains(&planned), "{planned} pages");
        let finish = shop.start(brisk()).await.unwrap();
        assert_eq!(finish.outcome, Outcome::Promoted);
        let calls = shop.world.calls();
        assert!(lists(&calls, "pods").all(|call| call.query.contains("limit=")));
        let in_all = lists(&calls, "pods").count() - planned;
        assert!(
            in_all <= 5 * planned,
            "{in_all} pages in a rollout, {planned} in a plan"
        );
    }
}
