//! What cannot be done is refused in one line that names the way out, and traffic stays untouched.

use kubectl_canary::Signals;
use kubectl_canary::commands::{self, RolloutArgs, Start};
use kubectl_canary::driver::Finish;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::Outcome;
use kubectl_canary::sandbox::{Denial, PrometheusFault, Rule};
use serde_json::json;

use crate::harness::{Result, Shop, brisk};

/// What `start NAME -n NAMESPACE` says with these options; traffic must be untouched.
async fn refused(shop: &Shop, namespace: &str, name: &str, options: Options) -> String {
    let args = Start {
        rollout: RolloutArgs {
            name: Some(name.into()),
            options,
            ..RolloutArgs::default()
        },
        ..Start::default()
    };
    let before = shop.object();
    let started = shop
        .act("alice@desk", Signals::none(), async |context| {
            context.namespace = namespace.into();
            commands::start(context, &args).await
        })
        .await;
    assert_eq!(shop.object(), before);
    match started {
        Ok((_, finish)) => panic!("it was not refused: {finish:?}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_comes_with_the_names_there_are() {
    let shop = Shop::open().await;
    for (namespace, name, expected) in [
        (
            "shop",
            "reviewz",
            "cannot get virtualservice shop/reviewz: not found (try: one of reviews)",
        ),
        (
            "shap",
            "reviews",
            "cannot get virtualservice shap/reviews: there is none in namespace shap (try: another --namespace or --context)",
        ),
        (
            "shop",
            "deployment/reviews",
            "\"deployment\" is not a VirtualService (try: vs/reviews)",
        ),
        (
            "shop",
            "Reviews!",
            "\"Reviews!\" is not a valid VirtualService name (try: kubectl get virtualservices)",
        ),
    ] {
        assert_eq!(refused(&shop, namespace, name, brisk()).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_or_route_comes_with_the_choices() {
    let shop = Shop::open().await;
    for (options, expected) in [
        (
            Options {
                canary: Some("v3".into()),
                ..brisk()
            },
            "no route of virtualservice shop/reviews sends to \"v3\" (try: --canary v1, v2, or --add-destination to add it)",
        ),
        (
            Options {
                route: vec!["secondary".into()],
                ..brisk()
            },
            "virtualservice shop/reviews has no route \"secondary\" (try: --route primary)",
        ),
        (
            Options {
                stable: Some("v1".into()),
                canary: Some("v1".into()),
                ..brisk()
            },
            "--stable and --canary are both v1 (try: two different versions)",
        ),
        (
            Options {
                interval: Some("10ms".parse().unwrap()),
                ..brisk()
            },
            "--interval 10ms is too short (try: 1s or more)",
        ),
    ] {
        assert_eq!(refused(&shop, "shop", "reviews", options).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_subset_that_no_destination_rule_defines_is_refused() {
    let shop = Shop::open_with(|stage| {
        stage.edit("destinationrules", "shop", "reviews", "setup", |rule| {
            rule["spec"]["subsets"].as_array_mut().unwrap().truncate(1);
        });
    })
    .await;
    assert_eq!(
        refused(&shop, "shop", "reviews", brisk()).await,
        "no DestinationRule defines subset v2 of reviews.shop.svc.cluster.local (it defines v1) (try: subset v2 with the labels of its pods in spec.subsets: kubectl edit destinationrule reviews -n shop; plan with the same arguments prints it)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_canary_without_a_ready_pod_is_refused() {
    let shop = Shop::open_with(|stage| stage.pods("shop", "version=v2").ready(false)).await;
    assert_eq!(
        refused(&shop, "shop", "reviews", brisk()).await,
        "canary v2 of reviews.shop.svc.cluster.local has no ready pod (2 in all) (try: kubectl describe pods -n shop -l app=reviews,version=v2)"
    );
}

#[tokio::test(start_paused = true)]
async fn versions_that_share_no_weight_are_refused() {
    let shop = Shop::with_routes(json!([{"name": "primary", "route": [
        {"destination": {"host": "reviews", "subset": "v1"}, "weight": 0},
        {"destination": {"host": "reviews", "subset": "v2"}},
        {"destination": {"host": "legacy"}, "weight": 100},
    ]}]))
    .await;
    let options = Options {
        stable: Some("v1".into()),
        canary: Some("v2".into()),
        ..brisk()
    };
    assert_eq!(
        refused(&shop, "shop", "reviews", options).await,
        "virtualservice shop/reviews: http[primary] gives v1 and v2 no weight, so there is nothing to shift (try: weight 100 for v1 and 0 for v2)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_total_too_coarse_for_the_first_step_is_refused() {
    let shop = Shop::with_routes(json!([{"name": "primary", "route": [
        {"destination": {"host": "reviews", "subset": "v1"}, "weight": 10},
        {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
    ]}]))
    .await;
    assert_eq!(
        refused(&shop, "shop", "reviews", brisk()).await,
        "virtualservice shop/reviews: http[primary] has weights that sum to 10, too coarse for a step of 1 % (try: --fine-weights, or a first step of 10 %)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_that_cannot_be_reached_is_refused() {
    let shop = Shop::open().await;
    shop.world
        .faults()
        .prometheus(Rule::new(PrometheusFault::Down));
    let text = refused(&shop, "shop", "reviews", brisk()).await;
    assert!(text.contains("istio-system/prometheus:9090"), "{text}");
    assert!(
        text.contains("(try: --prometheus URL or NAMESPACE/SERVICE:PORT)"),
        "{text}"
    );

    let shop = Shop::open().await;
    let options = Options {
        prometheus: Some("monitoring/thanos:9090".into()),
        ..brisk()
    };
    let text = refused(&shop, "shop", "reviews", options).await;
    assert!(
        text.contains("monitoring/thanos:9090 was not found"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_refused_with_the_right_that_is_missing() {
    for (verb, expected) in [
        (
            "patch",
            "not allowed to patch virtualservices in namespace shop (try: a Role in namespace shop with get, list, watch and patch on virtualservices; plan with the same arguments prints it)",
        ),
        (
            "watch",
            "not allowed to watch virtualservices in namespace shop (try: a Role in namespace shop with get, list, watch and patch on virtualservices; plan with the same arguments prints it)",
        ),
        (
            "get",
            "cannot get virtualservice shop/reviews: virtualservices.networking.istio.io \"reviews\" is forbidden: User \"alice@desk\" cannot get resource \"virtualservices\" in API group \"networking.istio.io\" in the namespace \"shop\" (try: a role that allows it, or another --context or --as)",
        ),
    ] {
        let shop = Shop::open().await;
        shop.world.deny(Denial::of(verb, "virtualservices"));
        assert_eq!(refused(&shop, "shop", "reviews", brisk()).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_goes_on_without_the_right_to_watch_pods_and_says_what_that_costs() {
    let shop = Shop::open().await;
    shop.world.deny(Denial::of("watch", "pods"));
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    let warnings = shop.warnings();
    let told = warnings.iter().any(|warning| {
        warning.starts_with("not allowed to watch pods in namespace shop: a canary that dies is ")
    });
    assert!(told, "{warnings:?}");
}

/// What each command that acts on a rollout says to this state annotation.
async fn said_to(state: &str) -> Vec<String> {
    let shop = Shop::open().await;
    shop.edit(|vs| vs["metadata"]["annotations"] = json!({"kubectl-canary.dev/rollout": state}));
    let before = shop.object();
    let text = |result: Result<Finish>| result.unwrap_err().to_string();
    let said = vec![
        text(shop.start(brisk()).await),
        text(shop.promote("bob@desk").await),
        text(shop.promote_and_wait("bob@desk").await),
        text(shop.pause("bob@desk").await),
        text(shop.resume("bob@desk").await),
        shop.abort("bob@desk").await.unwrap_err().to_string(),
    ];
    assert_eq!(shop.object(), before);
    said
}

#[tokio::test(start_paused = true)]
async fn a_damaged_state_is_named_by_every_command() {
    for (state, why) in [
        ("", "it ends too early at line 1 column 0"),
        ("{}", "it has no version"),
        (r#"{"version":1}"#, "missing field `run`"),
    ] {
        let expected = format!(
            "the rollout state on virtualservice shop/reviews is damaged: {why} (try: kubectl canary abort reviews -n shop, which prints how to restore the weights by hand)"
        );
        let mut said = said_to(state).await;
        let aborted = said.pop().unwrap();
        assert!(
            aborted.starts_with(&format!("rollback FAILED: {expected}; ")),
            "{aborted}"
        );
        for said in said {
            assert_eq!(said, expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_of_a_newer_version_is_left_to_the_newer_version() {
    let expected = "the rollout state on virtualservice shop/reviews has version 2, this kubectl canary reads up to 1 (try: the kubectl canary version that started the rollout)";
    let mut said = said_to(r#"{"version":2,"steps":"as nobody knows them"}"#).await;
    let aborted = said.pop().unwrap();
    for part in [
        expected,
        "(try: kubectl canary abort of the version that started the rollout)",
    ] {
        assert!(aborted.contains(part), "{aborted}");
    }
    for said in said {
        assert_eq!(said, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn commands_without_a_rollout_say_how_to_start_one() {
    let shop = Shop::open().await;
    let expected = "no rollout is in progress on virtualservice shop/reviews (try: kubectl canary start reviews -n shop)";
    let text = |result: Result<Finish>| result.unwrap_err().to_string();
    assert_eq!(text(shop.promote("bob@desk").await), expected);
    assert_eq!(text(shop.promote_and_wait("bob@desk").await), expected);
    assert_eq!(text(shop.pause("bob@desk").await), expected);
    assert_eq!(text(shop.resume("bob@desk").await), expected);
    assert_eq!(
        shop.abort("bob@desk").await.unwrap_err().to_string(),
        expected
    );
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
}
