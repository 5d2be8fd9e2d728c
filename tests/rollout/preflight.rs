//! What is found before anything moves: by `plan`, and again by `start`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubectl_canary::clock::Clock;
use kubectl_canary::cluster::{Cluster, DryRun};
use kubectl_canary::commands::{self, CommandError, Environment, PlanArgs, RolloutArgs};
use kubectl_canary::engine::Signals;
use kubectl_canary::plan::{Level, Options, PlanFile};
use kubectl_canary::record::{Event, Outcome};
use kubectl_canary::report::PlanView;
use kubectl_canary::sandbox::{ApiFault, Denial, PrometheusFault, Rule};
use serde_json::{Value, json};

use crate::stage::{Shop, brisk, brisk_with};

async fn plan(shop: &Shop, options: Options) -> Result<PlanView, CommandError> {
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
        schema: false,
    };
    shop.act("alice@desk", Signals::none(), async |environment| {
        commands::plan(environment, &args).await
    })
    .await
}

/// What a plan finds at this level, without the reasons.
async fn found(shop: &Shop, level: Level) -> Vec<String> {
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
async fn start_refuses(shop: &Shop, what: &str) {
    let error = shop.start(brisk()).await.unwrap_err();
    assert!(matches!(error, CommandError::Preflight(_)), "{error}");
    assert!(error.to_string().contains(what), "{error}");
    shop.assert_restored();
    assert!(shop.patches().is_empty());
}

/// Changes something that stands around the VirtualService.
fn edit(shop: &Shop, plural: &str, name: &str, change: impl FnOnce(&mut Value)) {
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
    assert_eq!(calls[0].len(), 13, "{:#?}", calls[0]);
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
        "virtualservice shop/legacy answers for reviews.shop.svc.cluster.local in the mesh too",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_namespace_is_looked_at_where_that_is_allowed_and_else_it_is_said() {
    let shop = Shop::open_with(|stage| {
        stage.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "legacy"}}));
        stage.apply(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"namespace": "legacy", "name": "old"},
            "spec": {"hosts": ["shop.example.com"], "gateways": ["shop/shop"], "http": [{"route": [{"destination": {"host": "old"}}]}]},
        }));
        stage.apply(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"namespace": "legacy", "name": "override"},
            "spec": {"host": "reviews.shop.svc.cluster.local", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
        }));
    })
    .await;
    let other = "virtualservice legacy/old answers for shop.example.com at gateway shop/shop too (spec.hosts, spec.gateways)";
    let unknown = "callers in namespace legacy go by DestinationRule legacy/override alone for reviews.shop.svc.cluster.local, which defines no subset v2 (spec.subsets)";
    assert_eq!(found(&shop, Level::Refuse).await, [other]);
    assert!(found(&shop, Level::Warn).await.contains(&unknown.into()));
    start_refuses(&shop, other).await;

    // With a Role of the namespace alone a rollout starts, and what was not looked at is said.
    for resource in ["virtualservices", "destinationrules"] {
        shop.world.deny(Denial::of("list", resource).everywhere());
    }
    let before = shop.world.calls().len();
    assert!(found(&shop, Level::Refuse).await.is_empty());
    let lists = |call: &&kubectl_canary::sandbox::Call| {
        call.verb == "list" && call.path.contains("networking.istio.io")
    };
    assert_eq!(shop.world.calls()[before..].iter().filter(lists).count(), 4);
    let limit = "virtualservices and destinationrules were looked at in namespace shop alone";
    assert!(found(&shop, Level::Ok).await.contains(&limit.into()));
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    let warned = shop.warnings();
    assert!(!warned.concat().contains("all namespaces"), "{warned:?}");
}

#[tokio::test(start_paused = true)]
async fn a_subset_that_only_the_root_namespace_defines_is_found_by_every_command() {
    let shop = Shop::open_with(|stage| {
        stage.delete("destinationrules", "shop", "reviews");
        stage.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}}));
        stage.apply(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"namespace": "istio-system", "name": "reviews"},
            "spec": {"host": "reviews.shop.svc.cluster.local", "subsets": [
                {"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}},
            ]},
        }));
    })
    .await;
    assert!(found(&shop, Level::Refuse).await.is_empty());
    let args = kubectl_canary::commands::Start {
        no_wait: true,
        ..crate::stage::start(brisk_with("10,100"))
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    let finish = shop.resume("bob@desk").await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
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
        warned
            .iter()
            .any(|text| text.contains("header x-myval")
                && text.contains("one and the same user flips")),
        "{warned:?}"
    );
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
    let what = "port 80 of Service shop/reviews is \"tcp-web\" (spec.ports[0].name), which Istio takes for TCP";
    assert!(found(&shop, Level::Warn).await.contains(&what.into()));
}

#[tokio::test(start_paused = true)]
async fn encryption_that_the_canarys_proxies_refuse_is_refused() {
    let shop = Shop::open().await;
    let asked = |shop: &Shop| {
        let calls = shop.world.calls().into_iter();
        calls
            .filter(|call| call.path.contains("peerauthentications"))
            .count()
    };
    shop.world.apply(json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"namespace": "shop", "name": "default"}, "spec": {"mtls": {"mode": "STRICT"}},
    }));
    assert!(found(&shop, Level::Refuse).await.is_empty());
    assert_eq!(asked(&shop), 0, "where nobody can disagree nobody is asked");
    edit(&shop, "destinationrules", "reviews", |rule| {
        rule["spec"]["subsets"][1]["trafficPolicy"] = json!({"tls": {"mode": "DISABLE"}});
    });
    start_refuses(
        &shop,
        "DestinationRule shop/reviews (spec.subsets[1].trafficPolicy.tls.mode: DISABLE) sends plain text to canary v2, PeerAuthentication shop/default (spec.mtls.mode: STRICT) takes mutual TLS alone",
    )
    .await;
    assert_eq!(asked(&shop), 1);
    shop.world.deny(Denial::of("list", "peerauthentications"));
    let unread = "cannot list peerauthentications in namespace shop";
    let warned = found(&shop, Level::Warn).await;
    assert!(
        warned.iter().any(|text| text.starts_with(unread)),
        "{warned:?}"
    );
    assert!(found(&shop, Level::Refuse).await.is_empty());
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
            "the newest sample of istio-system/prometheus:9090 is 40s ahead of the clock here",
        ),
        (
            40,
            "the newest sample of istio-system/prometheus:9090 is 40s old, and it scrapes every 1s",
        ),
    ] {
        let now: Timestamp = shop.world.clock().now();
        let mut observer = |_: &Event| {};
        let environment = Environment {
            cluster: Cluster::new(
                shop.world.client_as("alice@desk", "shop"),
                Duration::from_secs(10),
            ),
            namespace: "shop".into(),
            clock: Clock::starting_at(now + SignedDuration::from_secs(ahead)),
            actor: "alice@desk".into(),
            run: "run".into(),
            observer: &mut observer,
            signals: Signals::none(),
        };
        let args = PlanArgs {
            rollout: RolloutArgs {
                name: Some("reviews".into()),
                options: brisk(),
                ..RolloutArgs::default()
            },
            ..PlanArgs::default()
        };
        let view = commands::plan(&environment, &args).await.unwrap();
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
        Some("the step at 50 % could not be written")
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
    let Err(CommandError::NothingToShift { proposal, .. }) = plan(&shop, brisk()).await else {
        panic!("there is nothing to shift");
    };
    let error = shop.start(brisk()).await.unwrap_err().to_string();
    assert!(
        error.ends_with("what to apply: kubectl canary plan reviews -n shop"),
        "{error}"
    );
    shop.assert_restored();
    for object in proposal.list()["items"].as_array().unwrap() {
        shop.world.apply(object.clone());
    }
    let view = plan(&shop, brisk()).await.unwrap();
    assert_eq!((&*view.stable, &*view.canary), ("v1", "v2"));
    assert!(!view.refused, "{:#?}", view.findings);
}

/// Something that is not as it should be, and what is said of it.
struct Concern {
    changed: fn(&Shop),
    level: Level,
    what: &'static str,
    fix: &'static str,
}

const CONCERNS: [Concern; 9] = [
    Concern {
        changed: |shop| {
            shop.edit(|vs| {
                let main = vs["spec"]["http"][0].clone();
                let mut mobile = main.clone();
                mobile["name"] = json!("mobile");
                mobile["match"] = json!([{"uri": {"prefix": "/m"}}]);
                let mut rest = main;
                rest["route"] = json!([{"destination": {"host": "reviews", "subset": "v1"}}]);
                vs["spec"]["http"] = json!([mobile, rest]);
            });
        },
        level: Level::Warn,
        what: "http[primary] has no match and keeps sending to v1",
        fix: "--route with its name, and --add-destination where it lacks v2",
    },
    Concern {
        changed: |shop| {
            for pod in shop.world.set(|stage| stage.names("pods", "shop")) {
                edit(shop, "pods", &pod, |pod| {
                    pod["metadata"]["labels"]
                        .as_object_mut()
                        .unwrap()
                        .remove("app");
                });
            }
            edit(shop, "services", "reviews", |service| {
                service["spec"]["selector"] = json!({"pod-template-hash": "1"});
            });
        },
        level: Level::Refuse,
        what: "stable v1 of reviews.shop.svc.cluster.local selects no pod: pod-template-hash=1,version=v1",
        fix: "compare spec.subsets of DestinationRule shop/reviews with: kubectl get pods -n shop --show-labels",
    },
    Concern {
        changed: |shop| {
            shop.world
                .set(|stage| stage.pods("shop", "version=v2").ready(false));
        },
        level: Level::Refuse,
        what: "canary v2 of reviews.shop.svc.cluster.local has no ready pod (2 in all)",
        fix: "kubectl describe pods -n shop -l app=reviews,version=v2",
    },
    Concern {
        changed: |shop| {
            shop.world
                .set(|stage| stage.delete("services", "shop", "reviews"))
        },
        level: Level::Refuse,
        what: "there is no Service shop/reviews",
        fix: "kubectl get services -n shop",
    },
    Concern {
        changed: |shop| {
            edit(shop, "destinationrules", "reviews", |rule| {
                rule["spec"]["subsets"][1]
                    .as_object_mut()
                    .unwrap()
                    .remove("labels");
            });
        },
        level: Level::Refuse,
        what: "subset v2 of DestinationRule shop/reviews has no labels (spec.subsets[].labels)",
        fix: "labels that only its pods carry: kubectl edit destinationrule reviews -n shop",
    },
    Concern {
        changed: |shop| {
            shop.edit(|vs| {
                vs["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "apps"});
            });
        },
        level: Level::Refuse,
        what: "Flux owns virtualservice shop/reviews (label kustomize.toolkit.fluxcd.io/name: apps)",
        fix: "spec.ignore in Kustomization flux-system/apps (Flux 2.9), or: kubectl annotate virtualservice reviews -n shop kustomize.toolkit.fluxcd.io/reconcile=disabled, then --ignore-owner",
    },
    Concern {
        changed: |shop| {
            shop.edit(|vs| {
                vs["metadata"]["annotations"]["meta.helm.sh/release-name"] = json!("shop");
            });
        },
        level: Level::Warn,
        what: "Helm owns virtualservice shop/reviews (annotation meta.helm.sh/release-name: shop)",
        fix: "no helm upgrade shop until the rollout has ended; then its weights in the chart's values",
    },
    Concern {
        changed: |shop| {
            shop.edit(|vs| {
                vs["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
                    json!("{}");
            });
        },
        level: Level::Warn,
        what: "virtualservice shop/reviews was written by kubectl apply (annotation kubectl.kubernetes.io/last-applied-configuration)",
        fix: "no kubectl apply of it until the rollout has ended; then the weights of: kubectl get virtualservice reviews -n shop -o yaml",
    },
    Concern {
        changed: |_| {},
        level: Level::Warn,
        what: "canary v2 has 2 ready pods, stable v1 has 3",
        fix: "kubectl scale deployment reviews-v2 -n shop --replicas=3",
    },
];

#[tokio::test(start_paused = true)]
async fn every_concern_names_the_object_and_the_way_out() {
    for Concern {
        changed,
        level,
        what,
        fix,
    } in CONCERNS
    {
        let shop = Shop::open().await;
        changed(&shop);
        let view = plan(&shop, brisk()).await.unwrap();
        let found = view.findings.iter().find(|finding| finding.what == what);
        let Some(found) = found else {
            panic!("{what} is not among {:#?}", view.findings);
        };
        assert_eq!(
            (found.level, found.fix.as_deref()),
            (level, Some(fix)),
            "{what}"
        );
        for finding in view.findings {
            let is_whole = finding.why.is_some() && finding.fix.is_some();
            assert!(finding.level == Level::Ok || is_whole, "{finding:#?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pods_without_the_labels_that_kiali_goes_by_are_a_warning() {
    let shop = Shop::open().await;
    for pod in shop.world.set(|stage| stage.names("pods", "shop")) {
        edit(&shop, "pods", &pod, |pod| {
            let labels = pod["metadata"]["labels"].as_object_mut().unwrap();
            let version = labels.remove("version").unwrap();
            labels.insert("track".into(), version);
        });
    }
    edit(&shop, "destinationrules", "reviews", |rule| {
        for subset in rule["spec"]["subsets"].as_array_mut().unwrap() {
            subset["labels"] = json!({"track": subset["name"]});
        }
    });
    let warned = found(&shop, Level::Warn).await;
    for version in ["stable v1", "canary v2"] {
        let what = format!("pods of {version} have no label version");
        assert!(warned.contains(&what), "{warned:#?}");
    }
}
