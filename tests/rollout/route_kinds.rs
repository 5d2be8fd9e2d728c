//! The shapes that routes have: kinds, delegates, totals, and steps finer than a total.

use std::time::Duration;

use kubectl_canary::Signals;
use kubectl_canary::commands::{self, Abort, Promote, Start};
use kubectl_canary::istio::VirtualService;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{Cause, Outcome, Rollout};
use kubectl_canary::sandbox::{ApiFault, Rule, Setup, fixtures};
use serde_json::{Value, json};

use crate::harness::{Shop, brisk, brisk_with, start};

/// The shop whose VirtualService has this spec.
async fn shop_with(spec: Value) -> Shop {
    Shop::open_with(|stage| put(stage, &spec)).await
}

fn put(stage: &mut Setup<'_>, spec: &Value) {
    stage.edit("virtualservices", "shop", "reviews", "setup", |vs| {
        vs["spec"] = spec.clone();
    });
}

fn two(stable: i64, canary: i64) -> Value {
    json!([
        {"destination": {"host": "reviews", "subset": "v1", "port": {"number": 80}}, "weight": stable},
        {"destination": {"host": "reviews.shop.svc.cluster.local", "subset": "v2", "port": {"number": 80}}, "weight": canary},
    ])
}

fn tcp(stable: i64, canary: i64) -> Value {
    json!({"hosts": ["reviews"], "tcp": [{"match": [{"port": 31400}], "route": two(stable, canary)}]})
}

/// The shop whose callers open connections instead of sending requests.
async fn with_connections(spec: Value) -> Shop {
    Shop::open_with(|stage| {
        put(stage, &spec);
        stage
            .traffic()
            .demand(fixtures::REVIEWS)
            .per_second(50.0)
            .over_tcp();
    })
    .await
}

fn no_wait(options: Options) -> Start {
    Start {
        no_wait: true,
        ..start(options)
    }
}

#[tokio::test(start_paused = true)]
async fn a_tcp_route_is_shifted_and_judged_by_its_connections() {
    let shop = with_connections(tcp(100, 0)).await;
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    assert_eq!(shop.spec(), tcp(0, 100));
    assert!(
        finish.total_counts.unwrap().canary.requests > 50,
        "{:?}",
        finish.total_counts
    );
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_breaks_connections_is_rolled_back() {
    let shop = with_connections(tcp(100, 0)).await;
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails(0.5);
    let finish = shop.start(brisk_with("20,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    assert!(finish.total_counts.unwrap().canary.failures > 0);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_tls_route_is_shifted_too_and_resumed_by_its_connections() {
    let tls = |stable, canary| json!({"hosts": ["reviews"], "tls": [{"match": [{"port": 443, "sniHosts": ["reviews"]}], "route": two(stable, canary)}]});
    let shop = with_connections(tls(100, 0)).await;
    let begun = shop.start_as("ci@runner", no_wait(brisk_with("20,100")), Signals::none());
    begun.await.unwrap();
    assert_eq!(shop.spec(), tls(80, 20));
    let finish = shop.resume("bob@desk").await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    assert_eq!(shop.spec(), tls(0, 100));
}

#[tokio::test(start_paused = true)]
async fn kinds_are_chosen_by_name_and_move_together() {
    let spec = |http: [i64; 2], tcp: [i64; 2]| {
        json!({
            "hosts": ["reviews"],
            "http": [{"route": two(http[0], http[1]), "timeout": "5s"}, {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/"}}],
            "tcp": [{"route": two(tcp[0], tcp[1])}],
        })
    };
    let shop = shop_with(spec([100, 0], [10, 0])).await;
    let begun = shop.start_as("ci@runner", no_wait(brisk_with("10,100")), Signals::none());
    begun.await.unwrap();
    assert_eq!(shop.spec(), spec([90, 10], [9, 1]));
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
    let only_tcp = Options {
        route: vec!["tcp[0]".into()],
        ..brisk_with("10,100")
    };
    let begun = shop.start_as("ci@runner", no_wait(only_tcp), Signals::none());
    begun.await.unwrap();
    assert_eq!(shop.spec(), spec([100, 0], [9, 1]));
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

/// A root that hands `/reviews` on to the VirtualService `reviews`, which has neither hosts nor gateways.
async fn delegated() -> Shop {
    Shop::open_with(|stage| {
        put(
            stage,
            &json!({"http": [{"name": "primary", "route": two(100, 0)}]}),
        );
        stage.apply(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"namespace": "shop", "name": "root"},
            "spec": {"hosts": ["reviews"], "http": [{"name": "to-reviews", "delegate": {"name": "reviews"}}]},
        }));
    })
    .await
}

fn of_root(options: Options) -> Start {
    let mut args = start(options);
    args.rollout.name = Some("root".into());
    args
}

#[tokio::test(start_paused = true)]
async fn a_rollout_of_the_root_changes_the_delegate() {
    let shop = delegated().await;
    let finish = shop.start_as("alice@desk", of_root(brisk()), Signals::none());
    assert_eq!(
        finish.await.unwrap().outcome,
        Outcome::Promoted,
        "{:#?}",
        shop.told()
    );
    assert_eq!(shop.weights(), [0, 100]);
    let root = shop
        .world
        .object("virtualservices", "shop", "root")
        .unwrap();
    assert_eq!(root["metadata"].get("annotations"), None);
}

#[tokio::test(start_paused = true)]
async fn commands_on_the_root_find_the_delegate() {
    let shop = delegated().await;
    let args = Start {
        no_wait: true,
        ..of_root(brisk_with("10:pause,50,100"))
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    assert_eq!(shop.weights(), [90, 10]);
    let weight = shop
        .act("bob@desk", Signals::none(), async |context| {
            let promote = Promote {
                name: "root".into(),
                ..Promote::default()
            };
            commands::promote(context, &promote).await
        })
        .await
        .map(|(_, finish)| finish.exposure.to_string());
    assert_eq!(weight.unwrap(), "50 %");
    let paused = shop
        .act("bob@desk", Signals::none(), async |context| {
            commands::pause(context, "vs/root").await
        })
        .await;
    assert_eq!(paused.unwrap().0.full_name(), "shop/reviews");
    for expected in [true, false] {
        let aborted = shop
            .act("bob@desk", Signals::none(), async |context| {
                commands::abort(context, &Abort::of("root")).await
            })
            .await;
        assert_eq!(aborted.unwrap().finish().is_some(), expected);
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn abort_on_the_root_asks_a_delegate_again_that_does_not_answer() {
    let shop = delegated().await;
    let args = Start {
        no_wait: true,
        ..of_root(brisk_with("10:pause,50,100"))
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    let down = Rule::new(ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    });
    // The root itself can be read.
    let delegate = down.on("get").containing("virtualservices/reviews");
    shop.world.faults().api(delegate.times(2));
    let aborted = shop.abort_with("bob@desk", Abort::of("root"), Signals::none());
    assert!(aborted.await.unwrap().finish().is_some());
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn steps_below_one_percent_run_on_a_larger_total_that_is_scaled_back() {
    let three = |weights: [i64; 3]| {
        let mut route = two(weights[0], weights[1]);
        route
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": {"host": "legacy"}, "weight": weights[2]}));
        json!({"hosts": ["reviews"], "http": [{"name": "primary", "route": route}]})
    };
    let options = || Options {
        stable: Some("v1".into()),
        canary: Some("v2".into()),
        fine_weights: true,
        ..brisk_with("0.1,50,100:1m")
    };
    let coarse = Options {
        fine_weights: false,
        ..options()
    };
    let shop = shop_with(three([80, 0, 20])).await;
    let refused = shop.start(coarse).await.unwrap_err().to_string();
    assert!(
        refused.contains("http[primary] has weights that sum to 80, too coarse for a step of 0.1 % (try: --fine-weights"),
        "{refused}"
    );
    shop.assert_restored();
    let driver = shop.start(options());
    let watcher = async {
        shop.until_weight(8).await;
        assert_eq!(shop.weights(), [7_992, 8, 2_000]);
        shop.until_weight(8_000).await;
        assert_eq!(shop.weights(), [0, 8_000, 2_000]);
    };
    let (finish, ()) = tokio::join!(driver, watcher);
    assert_eq!(
        finish.unwrap().outcome,
        Outcome::Promoted,
        "{:#?}",
        shop.told()
    );
    assert_eq!(shop.spec(), three([0, 80, 20]));
}

#[tokio::test(start_paused = true)]
async fn a_fine_rollout_is_aborted_to_the_original_scale() {
    let shop = shop_with(json!({"hosts": ["reviews"], "http": [{"route": two(7, 0)}]})).await;
    let options = Options {
        fine_weights: true,
        ..brisk_with("1,100")
    };
    let begun = shop.start_as("ci@runner", no_wait(options), Signals::none());
    begun.await.unwrap();
    assert_eq!(shop.weights(), [693, 7]);
    shop.assert_whole();
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn five_hundred_routes_move_in_one_patch_and_fit_the_state() {
    let rules: Vec<_> = (0..500)
        .map(|index| {
            json!({"match": [{"uri": {"prefix": format!("/{index}")}}], "route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": 90},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
                {"destination": {"host": "legacy"}, "weight": 10},
            ]})
        })
        .collect();
    let shop = shop_with(json!({"hosts": ["reviews"], "http": rules})).await;
    let options = Options {
        stable: Some("v1".into()),
        canary: Some("v2".into()),
        ..brisk_with("10,100")
    };
    let begun = shop.start_as("ci@runner", no_wait(options), Signals::none());
    begun.await.unwrap();
    assert_eq!(shop.patches().len(), 1);
    let state = shop.annotation("rollout").unwrap();
    assert!(state.len() < 8 * 1024, "{} bytes", state.len());
    let vs = VirtualService::new(shop.object()).unwrap();
    assert_eq!(Rollout::read(&vs).unwrap().unwrap().routes.len(), 500);
    shop.assert_whole();
    tokio::time::sleep(Duration::from_secs(1)).await;
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}
