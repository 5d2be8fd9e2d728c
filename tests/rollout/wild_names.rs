//! Names as others write them: of gateways, hosts, routes and domains.

use kubectl_canary::CommandError;
use kubectl_canary::sandbox::{Denial, Setup};
use serde_json::{Value, json};

use crate::harness::Shop;
use crate::wild::{
    assert_said, plan, routes, service, service_of, split, subsets, troubles, virtual_service,
    world,
};

async fn refused(
    result: Result<kubectl_canary::report::PlanView, CommandError>,
) -> (String, Value) {
    match result {
        Err(error @ CommandError::NothingToShift { .. }) => {
            let text = error.to_string();
            let CommandError::NothingToShift { proposal, .. } = error else {
                unreachable!()
            };
            (text, proposal.list())
        }
        Err(error) => (error.to_string(), Value::Null),
        Ok(view) => panic!("{:#?}", view.findings),
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_at_a_gateway_is_seen_in_whatever_spelling() {
    for gateway in [
        "public.istio-system.svc.cluster.local",
        "public.istio-system",
        "istio-system/public",
    ] {
        let shop = world(|stage| {
            service(stage, "w10", "tickets");
            subsets(stage, "w10", "tickets", "tickets");
            stage.apply(virtual_service(
                "w10",
                "tickets-old",
                json!({"hosts": ["w10.example"], "gateways": [gateway], "http": [
                    {"route": [{"destination": {"host": "tickets", "subset": "v1"}}]},
                ]}),
            ));
            routes(
                stage,
                "w10",
                "tickets",
                json!([{"route": split("tickets")}]),
            );
        })
        .await;
        let said = troubles(&shop, "w10", "tickets", &[]).await;
        assert_said(
            &said,
            &[
                "refuse virtualservice w10/tickets-old also has host w10.example at gateway istio-system/public",
            ],
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_rule_without_a_match_is_merged_into_the_first() {
    let shop = world(|stage| {
        for name in ["backend", "backend-mgmt"] {
            service_of(stage, "w21", name, &["v1"]);
        }
        stage.apply(virtual_service(
            "w21",
            "backend",
            json!({"hosts": ["backend"], "http": [
                {"route": [{"destination": {"host": "backend.w21.svc.cluster.local"}, "weight": 50}]},
                {"route": [{"destination": {"host": "backend-mgmt.w21.svc.cluster.local"}, "weight": 50}]},
            ]}),
        ));
    })
    .await;
    let (error, list) = refused(plan(&shop, "w21", "backend", &[]).await).await;
    assert!(
        error.contains("it sends to backend only, as http[1] never gets a request: http[0] before it takes all of them (try: --add-destination with --canary backend-mgmt, or "),
        "{error}"
    );
    let object = &list["items"][0];
    assert_eq!(
        object["spec"]["http"],
        json!([{"route": [
            {"destination": {"host": "backend.w21.svc.cluster.local"}, "weight": 100},
            {"destination": {"host": "backend-mgmt.w21.svc.cluster.local"}, "weight": 0},
        ]}])
    );
    shop.world.apply(object.clone());
    let view = plan(&shop, "w21", "backend", &[]).await.unwrap();
    assert_eq!((&*view.stable, &*view.canary), ("backend", "backend-mgmt"));
    // What is tried instead works as well.
    let flags = ["--add-destination", "--canary", "backend-mgmt"];
    assert!(plan(&shop, "w21", "backend", &flags).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn weights_behind_a_rule_for_everything_are_refused() {
    let shop = world(|stage| {
        service(stage, "w21", "tickets");
        subsets(stage, "w21", "tickets", "tickets");
        routes(
            stage,
            "w21",
            "tickets",
            json!([
                {"name": "all", "match": [{"uri": {"prefix": "/"}}], "route": [{"destination": {"host": "tickets", "subset": "v1"}}]},
                {"name": "primary", "route": split("tickets")},
            ]),
        );
    })
    .await;
    let said = troubles(&shop, "w21", "tickets", &[]).await;
    assert_said(
        &said,
        &["refuse http[primary] of virtualservice w21/tickets never gets a request: http[all]"],
    );
}

#[tokio::test(start_paused = true)]
async fn two_ports_of_one_host_are_not_two_versions() {
    for weights in [[90, 10], [50, 50]] {
        let shop = world(|stage| {
            service_of(stage, "w35", "tickets", &["v1"]);
            let to = |port: u16, weight: i64| json!({"destination": {"host": "tickets", "port": {"number": port}}, "weight": weight});
            routes(stage, "w35", "tickets", json!([{"route": [to(80, weights[0]), to(81, weights[1])]}]));
        })
        .await;
        let (error, _) = refused(plan(&shop, "w35", "tickets", &[]).await).await;
        assert_eq!(
            error,
            "http[0] of virtualservice w35/tickets sends to tickets at ports 80 and 81, but versions are not told apart by port: neither pods nor metrics belong to one (try: a subset or a Service for each version)"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_istio_does_not_complete_is_written_out() {
    for written in ["tickets.w22", "tickets.w22.svc"] {
        let shop = world(|stage| {
            service(stage, "w22", "tickets");
            subsets(stage, "w22", "tickets", "tickets");
            routes(stage, "w22", "tickets", json!([{"route": split(written)}]));
        })
        .await;
        let view = plan(&shop, "w22", "tickets", &[]).await.unwrap();
        let said = crate::wild::said(&view.findings);
        assert_said(
            &said,
            &[
                "refuse ",
                "Istio completes only names without a dot",
                "(try: host: tickets.w22.svc.cluster.local instead of ",
                "kubectl edit virtualservice tickets -n w22)",
            ],
        );
        let text = format!("{:?}", view.findings);
        assert!(
            !text.contains("namespace: \\\"\\\"") && !text.contains("-n  "),
            "{text}"
        );
        assert!(!text.contains("no DestinationRule defines"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_name_of_another_namespace_is_told_where_the_service_is() {
    let shop = world(|stage| {
        service(stage, "bank", "tickets");
        subsets(stage, "bank", "tickets", "tickets");
        routes(
            stage,
            "edge",
            "tickets",
            json!([{"route": split("tickets")}]),
        );
    })
    .await;
    let said = troubles(&shop, "edge", "tickets", &[]).await;
    assert_said(
        &said,
        &[
            "refuse there is no Service edge/tickets",
            "host: tickets.bank.svc.cluster.local instead of tickets.edge.svc.cluster.local",
        ],
    );
}

/// A ServiceEntry with an endpoint for each of these versions.
fn entry(stage: &mut Setup<'_>, host: &str, versions: &[&str]) {
    let endpoint = |(index, version): (usize, &&str)| json!({"address": format!("10.244.9.{index}"), "labels": {"version": version}});
    let endpoints: Vec<_> = versions.iter().enumerate().map(endpoint).collect();
    stage.apply(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"namespace": "w18", "name": "bank"},
        "spec": {
            "hosts": [host], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC", "location": "MESH_EXTERNAL", "endpoints": endpoints,
        },
    }));
}

/// A split between v1 and v2 of a host that is no Service, with what `prepare` adds.
async fn external(host: &str, prepare: impl FnOnce(&mut Setup<'_>)) -> (Shop, Vec<String>) {
    let shop = world(|stage| {
        subsets(stage, "w18", "bank", host);
        let spec = json!({"hosts": [host], "http": [{"route": split(host)}]});
        stage.apply(virtual_service("w18", "bank", spec));
        prepare(stage);
    })
    .await;
    let view = plan(&shop, "w18", "bank", &[]).await.unwrap();
    let text = format!("{:?}", view.findings);
    assert!(
        !text.contains("Service of  ")
            && !text.contains("namespace \\\"\\\"")
            && !text.contains("-n  ")
            && !text.contains("-n)"),
        "{text}"
    );
    let said = crate::wild::said(&view.findings);
    (shop, said)
}

#[tokio::test(start_paused = true)]
async fn endpoints_of_a_host_outside_are_not_versions_and_the_sentences_have_no_holes() {
    for host in ["bank.example.org", "bank.w18.svc.cluster.local"] {
        let (_, said) = external(host, |stage| entry(stage, host, &["v1", "v2"])).await;
        let refused = format!("refuse v1 and v2 of {host} are not told apart by the metrics");
        let instead = "a ServiceEntry with a host of its own for each version";
        assert_said(&said, &[&refused, instead]);
        let of_host = format!(
            "warn {host} is no Service of this cluster, but a host of ServiceEntry w18/bank: "
        );
        let lines = said.iter().filter(|line| line.starts_with(&of_host));
        assert_eq!(lines.count(), 1, "{said:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_the_mesh_does_not_know_and_a_subset_without_an_endpoint_are_refused() {
    let (_, said) = external("bank.example.org", |_| {}).await;
    assert_said(
        &said,
        &["refuse no Service and no ServiceEntry has host bank.example.org"],
    );
    let (_, said) = external("bank.example.org", |stage| {
        entry(stage, "bank.example.org", &["v1", "v3"]);
    })
    .await;
    assert_said(
        &said,
        &[
            "refuse canary v2 of bank.example.org selects no endpoint of ServiceEntry w18/bank: version=v2: ",
            "kubectl edit serviceentry bank -n w18",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn of_service_entries_that_are_not_to_be_seen_nothing_is_claimed() {
    let (shop, _) = external("bank.example.org", |_| {}).await;
    shop.world
        .deny(Denial::of("list", "serviceentries").everywhere());
    let elsewhere = troubles(&shop, "w18", "bank", &[]).await;
    shop.world.deny(Denial::of("list", "serviceentries"));
    let nowhere = troubles(&shop, "w18", "bank", &[]).await;
    for said in [&elsewhere, &nowhere] {
        assert_said(
            said,
            &["warn bank.example.org is no Service of this cluster: "],
        );
    }
    assert_said(
        &nowhere,
        &[
            "warn cannot list serviceentries in namespace w18",
            "a Role in namespace w18 with list on serviceentries",
        ],
    );
    // Where every host is a Service, nobody asks for them.
    let before = shop.world.calls().len();
    plan(&shop, "shop", "reviews", &[]).await.unwrap();
    let calls = &shop.world.calls()[before..];
    assert!(
        calls
            .iter()
            .all(|call| !call.path.contains("serviceentries"))
    );
}

/// A mesh config with this in it, under this name.
fn mesh_config(stage: &mut Setup<'_>, name: &str, mesh: &str) {
    stage.delete("configmaps", "istio-system", "istio");
    stage.apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "istio-system", "name": name, "labels": {"istio.io/rev": "x"}},
        "data": {"mesh": mesh},
    }));
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_only_the_mesh_config_writes_out_is_the_clusters() {
    let mesh =
        "extensionProviders: [{name: otel, opentelemetry: {service: otel.obs.svc.corp.internal}}]";
    for name in ["istio", "istio-1-27"] {
        let shop = world(|stage| {
            mesh_config(stage, name, mesh);
            service(stage, "w48", "tickets");
            routes(
                stage,
                "w48",
                "tickets",
                json!([{"route": split("tickets")}]),
            );
        })
        .await;
        let said = troubles(&shop, "w48", "tickets", &[]).await;
        assert_said(
            &said,
            &["no DestinationRule defines subset v1 of tickets.w48.svc.corp.internal"],
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_mesh_config_exports_and_where_its_root_is_counts() {
    let shop = world(|stage| {
        service(stage, "w48", "tickets");
        subsets(
            stage,
            "mesh-root",
            "tickets",
            "tickets.w48.svc.cluster.local",
        );
        let spec = json!({"hosts": ["tickets"], "http": [{"route": split("tickets")}]});
        stage.apply(virtual_service("w48", "tickets", spec));
    })
    .await;
    let lacking = "no DestinationRule defines subset v1";
    assert_said(&troubles(&shop, "w48", "tickets", &[]).await, &[lacking]);
    shop.world
        .set(|stage| mesh_config(stage, "istio", "rootNamespace: mesh-root"));
    let said = troubles(&shop, "w48", "tickets", &[]).await;
    assert!(
        said.iter()
            .all(|line| !line.contains("w48 only") && !line.contains(lacking)),
        "{said:#?}"
    );
    let private = "rootNamespace: mesh-root\ndefaultVirtualServiceExportTo: ['.']\ndefaultDestinationRuleExportTo: ['.']";
    shop.world.set(|stage| mesh_config(stage, "istio", private));
    let said = troubles(&shop, "w48", "tickets", &[]).await;
    assert_said(
        &said,
        &[
            "warn virtualservice w48/tickets is exported to w48 only (spec.exportTo, or the mesh config's defaultVirtualServiceExportTo)",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_mesh_config_that_may_not_be_read_is_no_trouble_but_is_said() {
    let shop = Shop::open().await;
    let whole = troubles(&shop, "shop", "reviews", &[]).await;
    shop.world.deny(Denial::of("get", "configmaps"));
    assert_eq!(troubles(&shop, "shop", "reviews", &[]).await, whole);
    let view = plan(&shop, "shop", "reviews", &[]).await.unwrap();
    let what = "cannot get configmap istio-system/istio";
    let found = view
        .findings
        .iter()
        .find(|found| found.what.starts_with(what));
    assert_eq!(
        found.unwrap().fix.as_deref(),
        Some("a Role in namespace istio-system with get on configmaps")
    );
}

#[tokio::test(start_paused = true)]
async fn another_cluster_domain_is_the_one_that_the_hosts_have() {
    let shop = world(|stage| {
        service(stage, "w48", "tickets");
        subsets(stage, "w48", "tickets", "tickets.w48.svc.corp.internal");
        routes(
            stage,
            "w48",
            "tickets",
            json!([{"route": split("tickets")}]),
        );
    })
    .await;
    let said = troubles(&shop, "w48", "tickets", &[]).await;
    assert!(
        said.iter().all(|line| !line.contains("no DestinationRule")),
        "{said:#?}"
    );
    // And what is said of the host names it as it is.
    shop.world
        .edit("destinationrules", "w48", "tickets", "setup", |rule| {
            rule["spec"]["subsets"].as_array_mut().unwrap().pop();
        });
    let said = troubles(&shop, "w48", "tickets", &[]).await;
    assert_said(
        &said,
        &["no DestinationRule defines subset v2 of tickets.w48.svc.corp.internal"],
    );
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_plan_of_a_delegate_works_as_printed() {
    let shop = world(|stage| {
        service(stage, "w07", "tickets");
        subsets(stage, "w07", "tickets", "tickets");
        routes(
            stage,
            "w07",
            "edge",
            json!([
                {"name": "to tickets", "match": [{"uri": {"prefix": "/tickets"}}], "delegate": {"name": "tickets-routes", "namespace": "w07"}},
                {"name": "legal", "match": [{"uri": {"exact": "/imprint"}}], "redirect": {"uri": "/legal", "redirectCode": 301}},
                {"match": [{"uri": {"prefix": "/shop"}}], "delegate": {"name": "shop-routes"}},
            ]),
        );
        stage.apply(virtual_service(
            "w07",
            "tickets-routes",
            json!({"http": [
                {"match": [{"uri": {"prefix": "/tickets/api"}}], "route": split("tickets")},
                {"route": split("tickets")},
            ]}),
        ));
        stage.apply(virtual_service(
            "w07",
            "shop-routes",
            json!({"http": [{"route": [{"destination": {"host": "tickets", "subset": "v1"}}]}]}),
        ));
    })
    .await;
    let view = plan(&shop, "w07", "edge", &["--route", "to tickets"])
        .await
        .unwrap();
    assert_eq!(
        view.next.as_deref(),
        Some("kubectl canary start edge -n w07 --canary v2 --route 'to tickets'")
    );
    let again = plan(
        &shop,
        "w07",
        "edge",
        &["--route", "to tickets", "--canary", "v2"],
    )
    .await
    .unwrap();
    assert_eq!(
        (again.name.as_str(), again.routes.len()),
        ("tickets-routes", 2)
    );
    let (error, _) = refused(plan(&shop, "w07", "edge", &[]).await).await;
    assert!(
        error.contains("--route with one of 'to tickets', 'http[2]', or"),
        "{error}"
    );
}
