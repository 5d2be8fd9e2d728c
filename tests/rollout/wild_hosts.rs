//! Hosts, rules and Services as others spell, export and define them.

use kubectl_canary::sandbox::Setup;
use serde_json::{Value, json};

use crate::harness::Shop;
use crate::wild::{
    assert_not_said, assert_said, begin_and_abort, on_mesh, one_split, service, split, subsets,
    tickets, troubles,
};

/// What `plan` finds of the tickets with this changed.
async fn found(change: impl FnOnce(&mut Setup<'_>)) -> Vec<String> {
    let shop = tickets(one_split(), change).await;
    troubles(&shop, "w", "tickets", &["--canary", "v2"]).await
}

fn edit_routes(stage: &mut Setup<'_>, change: impl FnOnce(&mut Value)) {
    stage.edit("virtualservices", "w", "tickets", "setup", |vs| {
        change(&mut vs["spec"]);
    });
}

fn edit_rule(stage: &mut Setup<'_>, change: impl FnOnce(&mut Value)) {
    stage.edit("destinationrules", "w", "tickets", "setup", |rule| {
        change(&mut rule["spec"]);
    });
}

fn edit_service(stage: &mut Setup<'_>, name: &str, change: impl FnOnce(&mut Value)) {
    stage.edit("services", "w", name, "setup", change);
}

/// A second rule for the tickets, younger or older than the first by its name, as both are made at once.
fn another_rule(stage: &mut Setup<'_>, name: &str, spec: Value) {
    stage.apply(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"namespace": "w", "name": name}, "spec": spec,
    }));
}

/// Names that a resolver takes for the Service of the tickets, and Istio does not.
const MISSPELLED: [(&str, &str); 6] = [
    ("Tickets", "letter by letter"),
    ("Tickets.w.svc.cluster.local", "letter by letter"),
    ("tickets.w.svc.Cluster.Local", "letter by letter"),
    ("tickets.", "the dot at the end"),
    ("tickets.w.svc.cluster.local.", "the dot at the end"),
    ("tickets.w", "only names without a dot"),
];

#[tokio::test(start_paused = true)]
async fn a_destination_that_only_a_resolver_would_find_is_refused_with_the_name_to_write() {
    for (written, why) in MISSPELLED {
        let shop = tickets(json!([{"route": split(written)}]), |_| {}).await;
        let said = troubles(&shop, "w", "tickets", &[]).await;
        assert_said(
            &said,
            &[
                "refuse ",
                " is no host of the mesh (spec.http[].route[].destination.host): Istio ",
                why,
                "(try: host: tickets.w.svc.cluster.local instead of ",
            ],
        );
        assert_not_said(&said, "no DestinationRule defines");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_for_a_name_that_only_a_resolver_would_find_is_named() {
    for (written, why) in MISSPELLED {
        let said = found(|stage| edit_rule(stage, |spec| spec["host"] = written.into())).await;
        assert_said(
            &said,
            &[
                "refuse no DestinationRule defines subset v2 of tickets.w.svc.cluster.local",
                "DestinationRule w/tickets is for ",
                "(spec.host), which is another host: Istio ",
                why,
                "(try: host: tickets.w.svc.cluster.local in spec.host: kubectl edit destinationrule tickets -n w)",
            ],
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_of_the_routes_that_only_a_resolver_would_find_is_told_in_the_mesh() {
    for (written, why) in MISSPELLED {
        let said = found(|stage| {
            edit_routes(stage, |spec| {
                on_mesh(spec);
                spec["hosts"] = json!([written]);
            });
        })
        .await;
        let is_not = "of virtualservice w/tickets is not Service w/tickets to Istio (spec.hosts)";
        let fix = "(try: tickets.w.svc.cluster.local in spec.hosts: ";
        assert_said(&said, &["warn host ", is_not, why, fix]);
        // Where the name stands as well as Istio has it, nobody misses it.
        let said = found(|stage| {
            edit_routes(stage, |spec| {
                on_mesh(spec);
                spec["hosts"] = json!([written, "tickets"]);
            });
        })
        .await;
        assert_not_said(&said, is_not);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_at_a_gateway_is_the_same_in_capitals() {
    let said = found(|stage| {
        stage.apply(crate::wild::virtual_service(
            "w",
            "old",
            json!({"hosts": ["W.Example"], "gateways": ["istio-system/public"], "http": one_split()}),
        ));
    })
    .await;
    assert_said(
        &said,
        &["refuse virtualservice w/old also has host w.example at gateway istio-system/public"],
    );
}

#[tokio::test(start_paused = true)]
async fn short_and_full_names_of_a_service_are_two_versions_of_one_host() {
    let shop = tickets(
        json!([{"route": [
            {"destination": {"host": "tickets", "subset": "v1"}, "weight": 100},
            {"destination": {"host": "tickets.w.svc.cluster.local", "subset": "v2"}, "weight": 0},
        ]}]),
        |_| {},
    )
    .await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_not_said(&said, "refuse ");
    begin_and_abort(&shop, "w", "tickets", &["--canary", "v2"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_subset_is_the_whole_service() {
    let said = found(|stage| {
        edit_routes(stage, |spec| {
            spec["http"][0]["route"][0]["destination"]["subset"] = "".into();
        });
    })
    .await;
    assert_not_said(&said, "no DestinationRule defines");
    assert_said(
        &said,
        &[
            "refuse 2 pods are in both versions",
            "(try: a subset for tickets as well (spec.http[].route[].destination.subset), ",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn routes_that_are_exported_to_no_namespace_shift_nothing() {
    for is_mesh in [false, true] {
        let said = found(|stage| {
            stage.remove_webhook();
            edit_routes(stage, |spec| {
                if is_mesh {
                    on_mesh(spec);
                }
                spec["exportTo"] = json!(["~"]);
            });
        })
        .await;
        assert_said(
            &said,
            &[
                "refuse virtualservice w/tickets is exported to no namespace (spec.exportTo)",
                "(try: spec.exportTo: [\"*\"]: kubectl edit virtualservice tickets -n w)",
            ],
        );
    }
}

#[tokio::test(start_paused = true)]
async fn routes_that_a_gateway_elsewhere_does_not_see_are_told() {
    for (export, gateway, is_said) in [
        (json!(["."]), "istio-system/public", true),
        (json!([".", "web"]), "istio-system/public", true),
        (json!([".", "istio-system"]), "istio-system/public", false),
        (json!(["."]), "w/own", false),
        (json!([]), "istio-system/public", false),
        (json!(["*"]), "istio-system/public", false),
    ] {
        let said = found(|stage| {
            edit_routes(stage, |spec| {
                spec["exportTo"] = export.clone();
                spec["gateways"] = json!([gateway]);
            });
        })
        .await;
        let told =
            "its weights are ignored by gateway istio-system/public, unless its pods are there";
        match is_said {
            true => assert_said(
                &said,
                &["warn virtualservice w/tickets is exported to w ", told],
            ),
            false => assert_not_said(&said, "is exported to"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_nobody_sees_and_one_that_is_not_seen_at_home_are_told() {
    let exported = async |export: Value, is_mesh: bool| {
        found(|stage| {
            stage.remove_webhook();
            if is_mesh {
                edit_routes(stage, on_mesh);
            }
            edit_rule(stage, |spec| spec["exportTo"] = export);
        })
        .await
    };
    for is_mesh in [false, true] {
        let said = exported(json!(["~"]), is_mesh).await;
        let nowhere =
            "refuse DestinationRule w/tickets is exported to no namespace (spec.exportTo)";
        assert_said(&said, &[nowhere, "every request to them fails (503)"]);
    }
    assert_said(
        &exported(json!(["web"]), true).await,
        &[
            "warn DestinationRule w/tickets is exported to web only (spec.exportTo)",
            "callers in namespace w do not see its subsets",
        ],
    );
    // Those who follow the routes see it.
    let said = exported(json!(["istio-system"]), false).await;
    assert_not_said(&said, "DestinationRule w/tickets is");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_exported_to_those_who_follow_the_routes_is_told() {
    let exported = async |export: &str, is_mesh: bool| {
        found(|stage| {
            if is_mesh {
                edit_routes(stage, on_mesh);
            }
            edit_service(stage, "tickets", |service| {
                service["metadata"]["annotations"] =
                    json!({"networking.istio.io/exportTo": export});
            });
        })
        .await
    };
    for is_mesh in [false, true] {
        assert_said(
            &exported("~", is_mesh).await,
            &[
                "refuse Service w/tickets is exported to no namespace (annotation networking.istio.io/exportTo)",
                "(try: kubectl annotate service tickets -n w --overwrite networking.istio.io/exportTo='*')",
            ],
        );
        assert_not_said(&exported("*", is_mesh).await, "is exported to");
    }
    assert_said(
        &exported(".", true).await,
        &[
            "warn Service w/tickets is exported to w only",
            "callers in other namespaces",
        ],
    );
    assert_said(
        &exported("., web", false).await,
        &[
            "warn Service w/tickets is exported to w and web only",
            "gateway istio-system/public",
        ],
    );
    assert_not_said(&exported(".,istio-system", false).await, "is exported to");
}

#[tokio::test(start_paused = true)]
async fn what_the_mesh_config_exports_of_services_counts() {
    let said = found(|stage| {
        stage.apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "istio-system", "name": "istio"},
            "data": {"mesh": "defaultServiceExportTo: ['.']"},
        }));
        edit_routes(stage, on_mesh);
    })
    .await;
    assert_said(
        &said,
        &[
            "warn Service w/tickets is exported to w only (the mesh config's defaultServiceExportTo)",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_subset_that_is_defined_twice_is_the_first_one_and_told() {
    let said = found(|stage| {
        edit_rule(stage, |spec| {
            let subsets = spec["subsets"].as_array_mut().unwrap();
            subsets.push(json!({"name": "v2", "labels": {"version": "v3"}}));
        });
    })
    .await;
    assert_said(
        &said,
        &[
            "warn DestinationRule w/tickets defines subset v2 twice: version=v2, then version=v3 (spec.subsets)",
            "Istio goes by the first",
            "kubectl edit destinationrule tickets -n w",
        ],
    );
    assert_not_said(&said, "selects no pod");
    let v3 = json!({"host": "tickets", "subsets": [{"name": "v2", "labels": {"version": "v3"}}]});
    // The older one counts, whatever it is called.
    let younger = found(|stage| another_rule(stage, "zz", v3.clone())).await;
    assert_said(
        &younger,
        &[
            "warn subset v2 of tickets.w.svc.cluster.local is defined twice: version=v2 by DestinationRule w/tickets, then version=v3 by w/zz",
            "Istio goes by the older rule",
        ],
    );
    assert_not_said(&younger, "selects no pod");
    let shop = tickets(one_split(), |_| {}).await;
    shop.world.set(|stage| another_rule(stage, "a", v3));
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_not_said(&said, "selects no pod");
    // The same twice is no matter.
    let v2 = json!({"host": "tickets", "subsets": [{"name": "v2", "labels": {"version": "v2"}}]});
    assert_not_said(&found(|stage| another_rule(stage, "zz", v2)).await, "twice");
}

#[tokio::test(start_paused = true)]
async fn rules_that_are_exported_apart_are_not_merged() {
    let said = found(|stage| {
        edit_routes(stage, on_mesh);
        edit_rule(stage, |spec| {
            spec["subsets"].as_array_mut().unwrap().pop();
        });
        let v2 = json!([{"name": "v2", "labels": {"version": "v2"}}]);
        let spec = json!({"host": "tickets", "exportTo": ["."], "subsets": v2});
        another_rule(stage, "zz", spec);
    })
    .await;
    assert_said(
        &said,
        &[
            "callers in namespace w use only DestinationRule w/zz",
            "defines no subset v1",
        ],
    );
    assert_said(
        &said,
        &["warn DestinationRule w/zz is not exported to all namespaces"],
    );
}

/// The tickets and their next version behind a Service of its own.
async fn next_service(spec: Value) -> Shop {
    tickets(
        json!([{"route": [
            {"destination": {"host": "tickets"}, "weight": 100},
            {"destination": {"host": "tickets-next"}, "weight": 0},
        ]}]),
        |stage| {
            stage.apply(json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"namespace": "w", "name": "tickets-next"}, "spec": spec,
            }));
        },
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_another_name_is_told_from_one_without_a_selector() {
    let named = |host: &str| json!({"type": "ExternalName", "externalName": host, "ports": [{"name": "http", "port": 80}]});
    let shop = next_service(named("tickets.bank.svc.cluster.local")).await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_said(
        &said,
        &[
            "refuse Service w/tickets-next is another name of tickets.bank.svc.cluster.local (spec.externalName)",
            "(try: host: tickets.bank.svc.cluster.local instead of tickets-next.w.svc.cluster.local: ",
        ],
    );
    assert_not_said(&said, "selects no pods");
    let shop = next_service(named("next.example.com")).await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_said(
        &said,
        &["warn Service w/tickets-next is another name of next.example.com, a host outside"],
    );
    begin_and_abort(&shop, "w", "tickets", &["--canary", "tickets-next"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_headless_service_is_told_where_sidecars_follow_the_routes() {
    let headless = |is_mesh: bool| {
        found(move |stage| {
            if is_mesh {
                edit_routes(stage, on_mesh);
            }
            edit_service(stage, "tickets", |service| {
                service["spec"]["clusterIP"] = "None".into();
            });
        })
    };
    let told = "warn Service w/tickets is headless (spec.clusterIP: None)";
    assert_said(&headless(true).await, &[told, "whatever the weights"]);
    assert_not_said(&headless(false).await, told);
}

#[tokio::test(start_paused = true)]
async fn a_canarys_service_of_several_other_ports_needs_one_in_the_route() {
    let ports = json!([{"name": "http", "port": 8080}, {"name": "http-admin", "port": 9090}]);
    let shop =
        next_service(json!({"selector": {"app": "tickets", "version": "v2"}, "ports": ports}))
            .await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    let told = "Service w/tickets-next of canary tickets-next has ports 8080, 9090, of which the route names none";
    assert_said(&said, &[told, "requests to 80 fail there (503)"]);
    let said = found(|stage| {
        service(stage, "w", "other");
        subsets(stage, "w", "other", "other");
        edit_service(stage, "tickets", |service| service["spec"]["ports"] = ports);
    })
    .await;
    assert_not_said(&said, "of which the route names none");
}
