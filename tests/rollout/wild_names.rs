//! Names as others write them: of gateways, hosts, routes and domains.

use kubectl_canary::CommandError;
use serde_json::{Value, json};

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

#[tokio::test(start_paused = true)]
async fn endpoints_of_a_host_outside_are_not_versions_and_the_sentences_have_no_holes() {
    let shop = world(|stage| {
        subsets(stage, "w18", "bank", "bank.example.org");
        stage.apply(virtual_service(
            "w18",
            "bank",
            json!({"hosts": ["bank.example.org"], "http": [{"route": split("bank.example.org")}]}),
        ));
    })
    .await;
    let view = plan(&shop, "w18", "bank", &[]).await.unwrap();
    let said = crate::wild::said(&view.findings);
    assert_said(
        &said,
        &[
            "refuse v1 and v2 of bank.example.org are not told apart by the metrics",
            "a ServiceEntry with a host of its own for each version",
        ],
    );
    let of_host = "warn bank.example.org is no Service of this cluster: ";
    assert_eq!(
        said.iter().filter(|line| line.starts_with(of_host)).count(),
        1,
        "{said:#?}"
    );
    let text = format!("{:?}", view.findings);
    assert!(
        !text.contains("Service of  ")
            && !text.contains("namespace \\\"\\\"")
            && !text.contains("-n  ")
            && !text.contains("-n)"),
        "{text}"
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
