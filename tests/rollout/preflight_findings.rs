//! What a preflight names, one thing after the other: the object, the field and the way out.

use kubectl_canary::Signals;
use kubectl_canary::plan::Level;
use kubectl_canary::rollout::Outcome;
use kubectl_canary::sandbox::Denial;
use serde_json::json;

use crate::harness::{Shop, brisk, brisk_with};
use crate::preflight::{edit, found, plan, start_refuses};

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
        what: "http[primary] matches every request and keeps sending to v1",
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
        fix: "labels that only its pods have: kubectl edit destinationrule reviews -n shop",
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
    let other = "virtualservice legacy/old also has host shop.example.com at gateway shop/shop (spec.hosts, spec.gateways)";
    let unknown = "callers in namespace legacy use only DestinationRule legacy/override for reviews.shop.svc.cluster.local, which defines no subset v2 (spec.subsets)";
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
    let limit = "virtualservices and destinationrules were checked only in namespace shop";
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
        ..crate::harness::start(brisk_with("10,100"))
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    let finish = shop.resume("bob@desk").await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
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
        "DestinationRule shop/reviews (spec.subsets[1].trafficPolicy.tls.mode: DISABLE) sends plain text to canary v2, PeerAuthentication shop/default (spec.mtls.mode: STRICT) accepts only mutual TLS",
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
