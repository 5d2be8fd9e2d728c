//! What is found before anything moves: by `plan`, and again by `start`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubectl_canary::clock::Clock;
use kubectl_canary::cluster::{Cluster, DryRun};
use kubectl_canary::commands::{self, PlanArgs, RolloutArgs};
use kubectl_canary::plan::{AnalysisKind, Finding, Level, Options, PlanFile};
use kubectl_canary::report::PlanView;
use kubectl_canary::rollout::{Event, Outcome};
use kubectl_canary::sandbox::{ApiFault, Denial, PrometheusFault, Rule};
use kubectl_canary::{CommandError, Context, Signals};
use serde_json::{Value, json};

use crate::harness::{Shop, brisk, brisk_with};

pub async fn plan(shop: &Shop, options: Options) -> Result<PlanView, CommandError> {
    plan_with(shop, options, DryRun::None).await
}

async fn plan_with(
    shop: &Shop,
    options: Options,
    dry_run: DryRun,
) -> Result<PlanView, CommandError> {
    let args = PlanArgs {
        rollout: RolloutArgs {
            name: Some("reviews".into()),
            options,
            ..RolloutArgs::default()
        },
        dry_run,
    };
    shop.act("alice@desk", Signals::none(), async |context| {
        commands::plan(context, &args).await
    })
    .await
}

/// What a plan finds at this level, without the reasons.
pub async fn found(shop: &Shop, level: Level) -> Vec<String> {
    let view = plan(shop, brisk()).await.unwrap();
    assert_eq!(
        view.refused,
        view.findings
            .iter()
            .any(|found| found.level == Level::Refuse)
    );
    let findings = view.findings.into_iter();
    findings
        .filter(|finding| finding.level == level)
        .map(|finding| finding.what)
        .collect()
}

/// `start` refuses what `plan` refused, and nothing has moved.
pub async fn start_refuses(shop: &Shop, what: &str) {
    let error = shop.start(brisk()).await.unwrap_err();
    assert!(matches!(error, CommandError::Preflight(_)), "{error}");
    assert!(error.to_string().contains(what), "{error}");
    shop.assert_restored();
    assert!(shop.patches().is_empty());
}

/// Changes something that stands around the VirtualService.
pub fn edit(shop: &Shop, plural: &str, name: &str, change: impl FnOnce(&mut Value)) {
    shop.world.edit(plural, "shop", name, "setup", change);
}

#[tokio::test(start_paused = true)]
async fn a_shop_in_order_is_told_so() {
    let shop = Shop::open().await;
    let view = plan(&shop, brisk()).await.unwrap();
    let found: Vec<_> = view.findings.iter().map(|found| &*found.what).collect();
    assert_eq!(
        found,
        [
            "canary v2 has 2 ready pods, stable v1 has 3",
            "may patch and watch virtualservices in namespace shop",
            "may get, create and update leases in namespace shop",
            "may watch pods in namespace shop",
            "stable v1 has 3 of 3 pods ready",
            "canary v2 has 2 of 2 pods ready",
            "istio-system/prometheus:9090 has 4 series of the two versions, scraped every 1s, the newest sample 0s old",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_500_routes_makes_the_calls_of_a_plan_of_one() {
    let routes = |count: usize| -> Value {
        let route = |index| {
            json!({"name": format!("r{index}"), "match": [{"uri": {"prefix": format!("/{index}")}}], "route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": 80},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
                {"destination": {"host": "reviews", "subset": "v3"}, "weight": 20},
            ]})
        };
        (0..count).map(route).collect()
    };
    let mut calls = Vec::new();
    for count in [1, 500] {
        let shop = Shop::with_routes(routes(count)).await;
        let options = Options {
            stable: Some("v1".into()),
            canary: Some("v2".into()),
            ..brisk_with("5,100")
        };
        let view = plan(&shop, options).await.unwrap();
        assert_eq!(view.routes.len(), count);
        let made = shop.world.calls().into_iter();
        let mut made: Vec<_> = made
            .map(|call| format!("{} {}", call.verb, call.path))
            .collect();
        made.sort();
        calls.push(made);
    }
    assert_eq!(calls[0], calls[1]);
    assert_eq!(calls[0].len(), 19, "{:#?}", calls[0]);
}

#[tokio::test(start_paused = true)]
async fn a_subset_that_nobody_defines_is_refused_with_the_yaml() {
    let shop = Shop::open().await;
    edit(&shop, "destinationrules", "reviews", |rule| {
        rule["spec"]["subsets"].as_array_mut().unwrap().pop();
    });
    let view = plan(&shop, brisk()).await.unwrap();
    let first = &view.findings[0];
    assert_eq!(
        first.what,
        "no DestinationRule defines subset v2 of reviews.shop.svc.cluster.local (it defines v1)"
    );
    assert_eq!(
        first.snippet.as_deref(),
        Some("- labels:\n    version: v2\n  name: v2")
    );
    start_refuses(&shop, "no DestinationRule defines subset v2").await;
}

#[tokio::test(start_paused = true)]
async fn labels_that_select_nobody_and_subsets_that_overlap_are_refused() {
    let shop = Shop::open().await;
    edit(&shop, "destinationrules", "reviews", |rule| {
        rule["spec"]["subsets"][1]["labels"] = json!({"version": "v3"});
    });
    let nobody =
        "canary v2 of reviews.shop.svc.cluster.local selects no pod: app=reviews,version=v3";
    assert!(found(&shop, Level::Refuse).await.contains(&nobody.into()));
    start_refuses(&shop, nobody).await;
    edit(&shop, "destinationrules", "reviews", |rule| {
        rule["spec"]["subsets"][1]["labels"] = json!({"app": "reviews"});
    });
    start_refuses(&shop, "3 pods are in both versions").await;
}

#[tokio::test(start_paused = true)]
async fn another_virtual_service_for_the_host_is_refused() {
    let shop = Shop::open().await;
    shop.world.apply(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": "shop", "name": "legacy"},
        "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]},
    }));
    start_refuses(
        &shop,
        "virtualservice shop/legacy also has host reviews.shop.svc.cluster.local in the mesh",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_heals_is_refused_until_it_is_said_to_leave_weights_alone() {
    let shop = Shop::open().await;
    shop.edit(|vs| {
        vs["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] =
            json!("shop:networking.istio.io/VirtualService:shop/reviews");
    });
    start_refuses(&shop, "Argo CD owns virtualservice shop/reviews").await;
    let file = "{apiVersion: kubectl-canary.dev/v1, kind: Rollout, spec: {ignoreOwner: true}}";
    let told = PlanFile::parse(file).unwrap().spec;
    let finish = shop.start(brisk().or(told)).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    let warned = shop.warnings();
    assert!(
        warned.iter().any(|text| text.starts_with("Argo CD owns")),
        "{warned:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_bound_to_pods_are_a_warning_and_no_obstacle() {
    let shop = Shop::open().await;
    edit(&shop, "destinationrules", "reviews", |rule| {
        rule["spec"]["trafficPolicy"] =
            json!({"loadBalancer": {"consistentHash": {"httpHeaderName": "x-myval"}}});
    });
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    let warned = shop.warnings();
    assert!(
        warned.iter().any(|text| text.contains("header x-myval")
            && text.contains("the same user switches between versions")),
        "{warned:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn durations_that_cannot_be_read_are_a_warning_and_no_obstacle() {
    let shop = Shop::open().await;
    let fault = Rule::new(PrometheusFault::ExecutionError).containing("duration_milliseconds");
    shop.world.faults().prometheus(fault);
    let options = Options {
        analysis: Some(AnalysisKind::Sequential),
        min_requests: None,
        ..brisk()
    };
    let view = plan(&shop, options).await.unwrap();
    let expected = "slow requests are not judged: istio-system/prometheus:9090 could not evaluate the query (execution)";
    let warned = |finding: &&Finding| finding.what.starts_with(expected);
    let finding = view.findings.iter().find(warned);
    assert_eq!(finding.map(|finding| finding.level), Some(Level::Warn));
    let text = format!("{finding:?}");
    assert!(!text.contains("(try: "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn rights_that_are_missing_are_refused_or_done_without() {
    let shop = Shop::open().await;
    shop.world.deny(Denial::of("patch", "virtualservices"));
    start_refuses(
        &shop,
        "not allowed to patch virtualservices in namespace shop",
    )
    .await;
    shop.world.set(|stage| {
        stage.allow_all();
        stage.deny(Denial::of("list", "pods"));
    });
    start_refuses(&shop, "cannot list pods of app=reviews in namespace shop").await;
    shop.world.set(|stage| {
        stage.allow_all();
        stage.deny(Denial::of("list", "destinationrules"));
    });
    start_refuses(&shop, "cannot list destinationrules in namespace shop").await;
    shop.world.set(|stage| {
        stage.allow_all();
        stage.deny(Denial::of("get", "services/proxy"));
    });
    start_refuses(&shop, "services/proxy").await;
    shop.world.set(|stage| {
        stage.allow_all();
        stage.deny(Denial::of("list", "virtualservices"));
        stage.deny(Denial::of("list", "horizontalpodautoscalers"));
        stage.deny(Denial::of_resource("leases"));
    });
    let warned = found(&shop, Level::Warn).await.join("\n");
    for what in [
        "not allowed to get, create and update leases in namespace shop",
        "cannot list virtualservices in namespace shop",
        "cannot list horizontalpodautoscalers in namespace shop",
    ] {
        assert!(warned.contains(what), "{warned}");
    }
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_that_would_shrink_stable_is_a_warning() {
    let shop = Shop::open().await;
    shop.world.apply(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "shop", "name": "reviews-v1"},
        "spec": {"minReplicas": 1, "maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "reviews-v1"}},
    }));
    let what = "HorizontalPodAutoscaler shop/reviews-v1 may shrink stable v1 from 3 pods to 1 (spec.minReplicas)";
    assert!(found(&shop, Level::Warn).await.contains(&what.into()));
}

#[tokio::test(start_paused = true)]
async fn ambient_mode_needs_a_waypoint() {
    let shop = Shop::open().await;
    let pods = shop.world.set(|stage| stage.names("pods", "shop"));
    assert_eq!(pods.len(), 5);
    for pod in pods {
        edit(&shop, "pods", &pod, |pod| {
            pod["spec"]["containers"].as_array_mut().unwrap().pop();
        });
    }
    shop.world
        .edit("namespaces", "", "shop", "setup", |namespace| {
            namespace["metadata"]["labels"] = json!({"istio.io/dataplane-mode": "ambient"});
        });
    start_refuses(
        &shop,
        "Service shop/reviews is in ambient mode without a waypoint",
    )
    .await;
    edit(&shop, "services", "reviews", |service| {
        service["metadata"]["labels"]["istio.io/use-waypoint"] = json!("waypoint");
    });
    assert!(found(&shop, Level::Refuse).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_port_that_hides_requests_is_a_warning() {
    let shop = Shop::open().await;
    edit(&shop, "services", "reviews", |service| {
        service["spec"]["ports"][0]["name"] = json!("tcp-web");
    });
    let what = "port 80 of Service shop/reviews is \"tcp-web\" (spec.ports[0].name), which Istio treats as TCP";
    assert!(found(&shop, Level::Warn).await.contains(&what.into()));
}

#[tokio::test(start_paused = true)]
async fn prometheus_that_is_down_forbids_the_start() {
    let shop = Shop::open().await;
    shop.world
        .faults()
        .prometheus(Rule::new(PrometheusFault::Down));
    start_refuses(&shop, "istio-system/prometheus:9090").await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_differs_from_prometheus_is_noticed() {
    let shop = Shop::open().await;
    for (ahead, expected) in [
        (
            -40,
            "the newest sample of istio-system/prometheus:9090 is 40s ahead of the local clock",
        ),
        (
            40,
            "the newest sample of istio-system/prometheus:9090 is 40s old, and it scrapes every 1s",
        ),
    ] {
        let now: Timestamp = shop.world.clock().now();
        let mut observer = |_: &Event| {};
        let mut context = Context {
            cluster: Cluster::new(
                shop.world.client_as("alice@desk", "shop"),
                Duration::from_secs(10),
            ),
            namespace: "shop".into(),
            prometheus: Default::default(),
            clock: Clock::starting_at(now + SignedDuration::from_secs(ahead)),
            actor: "alice@desk".into(),
            run: "run".into(),
            observer: &mut observer,
            signals: Signals::none(),
            before_step: None,
        };
        let args = PlanArgs {
            rollout: RolloutArgs {
                name: Some("reviews".into()),
                options: brisk(),
                ..RolloutArgs::default()
            },
            ..PlanArgs::default()
        };
        let view = commands::plan(&mut context, &args).await.unwrap();
        let told = view.findings.iter().any(|finding| finding.what == expected);
        assert!(told, "{:#?}", view.findings);
    }
}

#[tokio::test(start_paused = true)]
async fn the_webhook_may_say_no_to_a_plan_before_anything_is_written() {
    let shop = Shop::open().await;
    let fault = ApiFault::WebhookDenies("configuration is invalid: weights are frozen".into());
    shop.world
        .faults()
        .api(Rule::new(fault).on("patch").after(2));
    let view = plan_with(&shop, brisk(), DryRun::Server).await.unwrap();
    assert!(view.refused);
    let of_server = view.findings.iter().filter(|finding| {
        finding.what.contains("the API server accepts") || finding.what.contains("frozen")
    });
    let levels: Vec<_> = of_server.map(|finding| finding.level).collect();
    assert_eq!(
        levels,
        [Level::Refuse, Level::Refuse, Level::Ok, Level::Ok],
        "{:#?}",
        view.findings
    );
    let refusal = &view.findings[0];
    assert_eq!(
        refusal.why.as_deref(),
        Some("the step at 50 % would be rejected")
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn one_subset_for_all_pods_is_answered_with_what_to_apply() {
    let shop = Shop::open_with(|stage| {
        stage.edit("destinationrules", "shop", "reviews", "setup", |rule| {
            rule["spec"]["subsets"] = json!([{"name": "all-pods", "labels": {"app": "reviews"}}]);
        });
        stage.edit("virtualservices", "shop", "reviews", "setup", |vs| {
            vs["spec"]["http"] = json!([{"route": [{"destination": {"host": "reviews", "subset": "all-pods"}}]}]);
        });
    })
    .await;
    let proposed = async || match plan(&shop, brisk()).await {
        Err(CommandError::NothingToShift { proposal, .. }) => proposal,
        other => panic!("there is nothing to shift: {other:?}"),
    };
    let error = shop.start(brisk()).await.unwrap_err().to_string();
    assert!(
        error.ends_with(", or kubectl canary plan reviews -n shop, which prints what to apply)"),
        "{error}"
    );
    shop.assert_restored();
    // A route must not name a subset before every proxy has it, so they come one after the other.
    for kind in ["DestinationRule", "VirtualService"] {
        let list = proposed().await.list();
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
        assert_eq!(list["items"][0]["kind"], kind);
        shop.world.apply(list["items"][0].clone());
    }
    let view = plan(&shop, brisk()).await.unwrap();
    assert_eq!((&*view.stable, &*view.canary), ("v1", "v2"));
    assert!(!view.refused, "{:#?}", view.findings);
}
