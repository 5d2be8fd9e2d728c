//! Shapes of routes, rules and workloads as others have them, each with what `plan` has to say of it.

use std::time::Duration;

use kubectl_canary::{Signals, commands};
use serde_json::{Value, json};

use crate::harness::{start, with_flags};
use crate::wild::{
    assert_not_said, assert_said, plan, routes, said, service, split, tickets, troubles,
    virtual_service, world,
};

fn to_stable() -> Value {
    json!([{"destination": {"host": "tickets", "subset": "v1"}}])
}

/// The DestinationRule of the tickets with this changed.
async fn ruled(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let shop = tickets(json!([{"route": split("tickets")}]), |stage| {
        stage.edit("destinationrules", "w", "tickets", "setup", change);
    })
    .await;
    troubles(&shop, "w", "tickets", &[]).await
}

#[tokio::test(start_paused = true)]
async fn subsets_of_a_wildcard_are_those_of_each_of_its_hosts() {
    let said = ruled(|rule| rule["spec"]["host"] = "*.w.svc.cluster.local".into()).await;
    assert_not_said(&said, "no DestinationRule defines");
    assert_not_said(&said, "selects no pod");
}

#[tokio::test(start_paused = true)]
async fn a_rule_for_some_callers_defines_nothing_for_the_others() {
    let only_web = |rule: &mut Value| {
        rule["spec"]["workloadSelector"] = json!({"matchLabels": {"app": "web"}})
    };
    let said = ruled(only_web).await;
    assert_said(
        &said,
        &[
            "refuse no DestinationRule defines subset v1",
            "DestinationRule w/tickets is for callers with app=web only (spec.workloadSelector)",
        ],
    );
    // And where there is another one for all, those callers may lack the canary.
    let shop = tickets(json!([{"route": split("tickets")}]), |stage| {
        let mut rule = stage.object("destinationrules", "w", "tickets").unwrap();
        only_web(&mut rule);
        rule["metadata"] = json!({"namespace": "w", "name": "web"});
        rule["spec"]["subsets"].as_array_mut().unwrap().pop();
        stage.apply(rule);
    })
    .await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_not_said(&said, "no DestinationRule defines");
    assert_said(
        &said,
        &[
            "warn callers with app=web in namespace w use only DestinationRule w/web",
            "no subset v2",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn versions_in_places_are_not_told_apart_by_pods() {
    let said = ruled(|rule| {
        for (subset, cluster) in [(0, "east"), (1, "west")] {
            rule["spec"]["subsets"][subset]["labels"] =
                json!({"topology.istio.io/cluster": cluster});
        }
    })
    .await;
    assert_said(
        &said,
        &[
            "refuse canary v2 of tickets.w.svc.cluster.local is selected by topology.istio.io/cluster",
        ],
    );
    assert_not_said(&said, "selects no pod");
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_a_wider_one_before_it_hides_is_named() {
    let path = |path: &str| json!([{"uri": {"prefix": path}}]);
    for (first, second) in [
        (path("/api"), path("/api/v2")),
        (json!([{"uri": {"regex": ".*"}}]), path("/x")),
        (
            json!([{"headers": {"x": {"exact": "1"}}}]),
            json!([{"headers": {"x": {"exact": "1"}}, "port": 80}]),
        ),
    ] {
        let http = json!([
            {"name": "wide", "match": first, "route": to_stable()},
            {"name": "split", "match": second, "route": split("tickets")},
            {"name": "rest", "route": to_stable()},
        ]);
        let shop = tickets(http, |_| {}).await;
        let said = troubles(&shop, "w", "tickets", &[]).await;
        assert_said(
            &said,
            &[
                "refuse http[split] of virtualservice w/tickets never gets a request: http[wide] before it",
                "(try: http[split] before http[wide]: ",
            ],
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_prefix_of_everything_counts_as_no_match() {
    let all = json!([{"uri": {"prefix": "/"}}]);
    let http = json!([
        {"name": "narrow", "match": [{"uri": {"prefix": "/x"}}], "route": split("tickets")},
        {"name": "rest", "match": all, "route": to_stable()},
    ]);
    let shop = tickets(http, |stage| {
        routes(
            stage,
            "w",
            "old",
            json!([{"match": all, "route": to_stable()}]),
        );
    })
    .await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_said(
        &said,
        &["refuse virtualservice w/old also has host w.example at gateway"],
    );
    assert_said(
        &said,
        &["warn http[rest] matches every request and keeps sending to v1"],
    );
}

#[tokio::test(start_paused = true)]
async fn rules_that_have_left_stable_already_do_not_keep_sending_to_it() {
    let mut moved = split("tickets");
    (moved[0]["weight"], moved[1]["weight"]) = (0.into(), 100.into());
    let http = json!([
        {"name": "testers", "match": [{"headers": {"x": {"exact": "1"}}}], "route": moved},
        {"name": "primary", "route": split("tickets")},
    ]);
    let shop = tickets(http, |stage| {
        stage.edit("virtualservices", "w", "tickets", "setup", |vs| {
            vs["spec"]["hosts"] = json!(["tickets"]);
            vs["spec"].as_object_mut().unwrap().remove("gateways");
        });
        let demand = stage.traffic().demand("tickets.w.svc.cluster.local");
        demand.per_second(60.0).through("testers", 0.5);
    })
    .await;
    let said = troubles(
        &shop,
        "w",
        "tickets",
        &["--canary", "v2", "--route", "primary"],
    )
    .await;
    assert_not_said(&said, "keeps sending to v1");
    // What the other rule gives the canary is by its weights.
    let said = troubles(&shop, "w", "tickets", &["--canary", "v2"]).await;
    assert_not_said(&said, "of the requests at a weight");
}

#[tokio::test(start_paused = true)]
async fn a_delegate_needs_a_root_that_reaches_it() {
    let root = |http: Value| {
        virtual_service(
            "w",
            "edge",
            json!({"hosts": ["w.example"], "gateways": ["istio-system/public"], "http": http}),
        )
    };
    let delegating =
        json!({"name": "t", "match": [{"uri": {"prefix": "/t"}}], "delegate": {"name": "tickets"}});
    let shop = tickets(json!([{"route": split("tickets")}]), |stage| {
        stage.edit("virtualservices", "w", "tickets", "setup", |vs| {
            vs["spec"].as_object_mut().unwrap().remove("hosts");
            vs["spec"].as_object_mut().unwrap().remove("gateways");
        });
    })
    .await;
    let nobody = "refuse virtualservice w/tickets has no hosts, and no other delegates to it";
    assert_said(&troubles(&shop, "w", "tickets", &[]).await, &[nobody]);
    let all = json!({"name": "all", "match": [{"uri": {"prefix": "/"}}], "route": to_stable()});
    shop.world.apply(root(json!([all, delegating])));
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_said(
        &said,
        &[
            "refuse http[t] of virtualservice w/edge, which delegates to w/tickets, never gets a request: http[all]",
        ],
    );
    shop.world.apply(root(json!([delegating, all])));
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_not_said(&said, nobody);
    assert_not_said(&said, "never gets a request");
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_answers_for_both_versions_is_told() {
    let fault = json!({"abort": {"percentage": {"value": 100}, "httpStatus": 503}});
    let shop = tickets(json!([{"route": split("tickets"), "fault": fault}]), |_| {}).await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_said(
        &said,
        &[
            "warn http[0] of virtualservice w/tickets aborts 100 % of its requests (spec.http[].fault.abort)",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_port_that_the_service_does_not_have_is_refused() {
    let mut targets = split("tickets");
    for target in targets.as_array_mut().unwrap() {
        target["destination"]["port"] = json!({"number": 8080});
    }
    let shop = tickets(json!([{"route": targets}]), |_| {}).await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_said(
        &said,
        &["refuse Service w/tickets has no port 8080", "only 80"],
    );
}

#[tokio::test(start_paused = true)]
async fn versions_of_one_name_are_started_as_printed() {
    let shop = world(|stage| {
        for namespace in ["w", "w2"] {
            service(stage, namespace, "tickets");
        }
        routes(
            stage,
            "w",
            "tickets",
            json!([{"route": [
                {"destination": {"host": "tickets"}, "weight": 100},
                {"destination": {"host": "tickets.w2.svc.cluster.local"}, "weight": 0},
            ]}]),
        );
    })
    .await;
    let view = plan(&shop, "w", "tickets", &[]).await.unwrap();
    let full = "tickets.w2.svc.cluster.local";
    let next = format!("kubectl canary start tickets -n w --canary {full}");
    assert_eq!(view.next, Some(next));
    assert!(
        plan(&shop, "w", "tickets", &["--canary", full])
            .await
            .is_ok()
    );
    let error = plan(&shop, "w", "tickets", &["--canary", "tickets"])
        .await
        .unwrap_err();
    assert!(
        error.to_string().ends_with(
            "(try: --canary with one of tickets.w.svc.cluster.local, tickets.w2.svc.cluster.local)"
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_there_twice_is_named_without_being_asked_for() {
    let to = |host: &str, subset: &str, weight: i64| json!({"destination": {"host": host, "subset": subset}, "weight": weight});
    let full = "tickets.w.svc.cluster.local";
    let shop = tickets(
        json!([{"route": [to("tickets", "v1", 60), to(full, "v1", 40), to("tickets", "v2", 0)]}]),
        |_| {},
    )
    .await;
    let error = plan(&shop, "w", "tickets", &[]).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("http[0] of virtualservice w/tickets sends to v1 twice"),
        "{error}"
    );
}

/// Pods of these kinds without a version label, and what is said of them.
async fn made_by(kind: Option<&str>, labels: Value) -> Vec<String> {
    let shop = tickets(json!([{"route": split("tickets")}]), |stage| {
        stage.edit("destinationrules", "w", "tickets", "setup", |rule| {
            rule["spec"]["subsets"][0]["labels"] = json!({"track": "v1"});
            rule["spec"]["subsets"][1]["labels"] = json!({"track": "v2"});
        });
        for name in stage.names("pods", "w") {
            stage.edit("pods", "w", &name, "setup", |pod| {
                let metadata = &mut pod["metadata"];
                let version = metadata["labels"]["version"].as_str().unwrap().to_owned();
                metadata["labels"] = json!({"app": "tickets", "track": version});
                for (key, value) in labels.as_object().unwrap() {
                    metadata["labels"][key] = value.clone();
                }
                match kind {
                    Some(kind) => metadata["ownerReferences"][0]["kind"] = kind.into(),
                    None => metadata["ownerReferences"] = Value::Null,
                }
            });
        }
    })
    .await;
    troubles(&shop, "w", "tickets", &[]).await
}

#[tokio::test(start_paused = true)]
async fn a_label_is_put_where_the_pods_are_made() {
    for (kind, labels, fix) in [
        (
            Some("StatefulSet"),
            json!({}),
            "kubectl patch statefulset tickets-v1-6f7 -n w -p ",
        ),
        (
            Some("DaemonSet"),
            json!({}),
            "kubectl patch daemonset tickets-v1-6f7 -n w -p ",
        ),
        (
            Some("ReplicaSet"),
            json!({"rollouts-pod-template-hash": "6f7"}),
            "kubectl patch rollout tickets-v1 -n w --type merge -p ",
        ),
        (
            Some("ReplicationController"),
            json!({"deploymentconfig": "tickets"}),
            "kubectl patch deploymentconfig tickets -n w -p ",
        ),
        (
            None,
            json!({}),
            "\"version\":\"v1\" where its pods are made",
        ),
    ] {
        let said = made_by(kind, labels).await;
        assert_said(
            &said,
            &["warn pods of stable v1 have no label version", fix],
        );
    }
}

#[tokio::test(start_paused = true)]
async fn tools_that_write_whole_objects_are_known_by_what_they_leave() {
    for (manager, map, mark, expected) in [
        (
            "configsync",
            "annotations",
            json!({"configmanagement.gke.io/managed": "enabled"}),
            "refuse Config Sync owns",
        ),
        (
            "fleetagent",
            "annotations",
            json!({"objectset.rio.cattle.io/id": "shop", "meta.helm.sh/release-name": "shop"}),
            "refuse Fleet owns",
        ),
        (
            "kapp",
            "labels",
            json!({"kapp.k14s.io/app": "17"}),
            "refuse kapp owns",
        ),
        (
            "crossplane-kubernetes-provider",
            "labels",
            json!({"team": "shop"}),
            "refuse Crossplane owns",
        ),
        (
            "Terraform",
            "labels",
            json!({"team": "shop"}),
            "warn Terraform owns",
        ),
    ] {
        let shop = tickets(json!([{"route": split("tickets")}]), |stage| {
            stage.edit("virtualservices", "w", "tickets", manager, |vs| {
                vs["metadata"][map] = mark;
            });
        })
        .await;
        assert_said(&troubles(&shop, "w", "tickets", &[]).await, &[expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn argo_rollouts_marks_on_services_count_and_nothing_is_proposed_for_a_controllers_object() {
    let shop = tickets(json!([{"route": split("tickets")}]), |stage| {
        stage.edit("services", "w", "tickets", "setup", |service| {
            service["metadata"]["annotations"] =
                json!({"argo-rollouts.argoproj.io/managed-by-rollouts": "tickets"});
        });
    })
    .await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_said(
        &said,
        &[
            "refuse Argo Rollouts sets the weights of virtualservice w/tickets",
            "of Service w/tickets",
        ],
    );
    let shop = tickets(json!([{"route": to_stable()}]), |stage| {
        stage.edit("virtualservices", "w", "tickets", "setup", |vs| {
            vs["metadata"]["ownerReferences"] = json!([{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": "t", "uid": "1", "controller": true}]);
        });
    })
    .await;
    let error = plan(&shop, "w", "tickets", &[])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("KServe owns virtualservice w/tickets"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_entry_that_is_kept_from_the_routes_is_told() {
    let shop = tickets(
        json!([{"route": [{"destination": {"host": "tickets"}, "weight": 100}, {"destination": {"host": "old.example.com"}, "weight": 0}]}]),
        |stage| {
            stage.apply(json!({
                "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
                "metadata": {"namespace": "ext", "name": "old"},
                "spec": {"hosts": ["old.example.com"], "exportTo": ["."], "resolution": "DNS", "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]},
            }));
        },
    )
    .await;
    let said = said(&plan(&shop, "w", "tickets", &[]).await.unwrap().findings);
    assert_said(
        &said,
        &[
            "warn old.example.com is a host of ServiceEntry ext/old only, which is not exported to namespace w (spec.exportTo)",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_takes_no_lease_is_an_error_and_not_asked_for_ever() {
    // The routes are there, and their namespace is gone: the server answers 404 to every new object.
    let shop = tickets(json!([{"route": split("tickets")}]), |_| {}).await;
    let mut args = start(with_flags(["--canary", "v2"]));
    args.rollout.name = Some("tickets".into());
    let started = shop.act("alice@desk", Signals::none(), async |context| {
        "w".clone_into(&mut context.namespace);
        commands::start(context, &args).await
    });
    // Asked at once again and again no virtual time passes, so a real thread has to end it.
    let world = shop.world.clone();
    let (ended, told) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if told.recv_timeout(Duration::from_secs(20)).is_err() {
            eprintln!("{} calls", world.calls().len());
            std::process::abort();
        }
    });
    let error = started.await.unwrap_err().to_string();
    ended.send(()).unwrap();
    watchdog.join().unwrap();
    assert!(
        error.contains("create lease kubectl-canary-tickets"),
        "{error}"
    );
}
