//! Rules as others write them: delegates, conditions, and whatever may stand beside the weights.

use kubectl_canary::sandbox::Setup;
use serde_json::{Value, json};

use crate::harness::Shop;
use crate::wild::{
    assert_not_said, assert_said, begin_and_abort, on_mesh, one_split, plan, split, tickets,
    troubles, virtual_service,
};

/// The tickets' routes are a delegate's; its root has this rule, and what delegates is `{"name": "tickets"}`.
async fn delegated(root: Value, http: Value, change: impl FnOnce(&mut Setup<'_>)) -> Shop {
    tickets(http, |stage| {
        stage.edit("virtualservices", "w", "tickets", "setup", |vs| {
            vs["spec"].as_object_mut().unwrap().remove("hosts");
            vs["spec"].as_object_mut().unwrap().remove("gateways");
        });
        let spec =
            json!({"hosts": ["w.example"], "gateways": ["istio-system/public"], "http": root});
        stage.apply(virtual_service("w", "edge", spec));
        change(stage);
    })
    .await
}

fn below(prefix: &str) -> Value {
    json!({"name": "t", "match": [{"uri": {"prefix": prefix}}], "delegate": {"name": "tickets"}})
}

#[tokio::test(start_paused = true)]
async fn a_delegate_that_does_not_exist_is_named_with_the_rule_that_leads_there() {
    let shop = tickets(json!([{"name": "t", "delegate": {"name": "gone"}}]), |_| {}).await;
    let error = plan(&shop, "w", "tickets", &[]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot get virtualservice w/gone, to which http[t] of virtualservice w/tickets delegates: not found, so that Istio ignores what delegates to it (try: a virtualservice that exists: kubectl edit virtualservice tickets -n w)"
    );
    let gone = json!({"name": "t", "match": [{"uri": {"prefix": "/t"}}], "delegate": {"name": "gone", "namespace": "x"}});
    let shop = tickets(json!([gone, {"route": split("tickets")}]), |_| {}).await;
    let told = "warn http[t] of virtualservice w/tickets delegates to x/gone, which does not exist";
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_said(
        &said,
        &[told, "its requests go by the next one that matches"],
    );
    begin_and_abort(&shop, "w", "tickets", &["--canary", "v2"]).await;
    // What may not be seen may be there.
    shop.world
        .deny(kubectl_canary::sandbox::Denial::of("list", "virtualservices").everywhere());
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_not_said(&said, "which does not exist");
}

#[tokio::test(start_paused = true)]
async fn what_istio_does_not_take_for_a_delegate_is_told() {
    let shop = delegated(json!([below("/t")]), one_split(), |_| {}).await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_not_said(&said, "refuse ");
    assert_not_said(&said, "delegates");
    // One with hosts.
    shop.world
        .edit("virtualservices", "w", "tickets", "setup", |vs| {
            vs["spec"]["hosts"] = json!(["tickets"]);
        });
    let said = troubles(&shop, "w", "edge", &[]).await;
    assert_said(
        &said,
        &[
            "warn http[t] of virtualservice w/edge delegates to w/tickets, which has hosts of its own (spec.hosts)",
            "(try: no spec.hosts: kubectl edit virtualservice tickets -n w)",
        ],
    );
    // One that its root does not see.
    let shop = delegated(
        json!([{"name": "t", "delegate": {"name": "tickets", "namespace": "w"}}]),
        one_split(),
        |stage| {
            let mut root = stage.object("virtualservices", "w", "edge").unwrap();
            root["metadata"] = json!({"namespace": "edge", "name": "edge"});
            stage.apply(root);
            stage.delete("virtualservices", "w", "edge");
            stage.edit("virtualservices", "w", "tickets", "setup", |vs| {
                vs["spec"]["exportTo"] = json!(["."]);
            });
        },
    )
    .await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_said(
        &said,
        &[
            "refuse virtualservice w/tickets is not exported to namespace edge of edge/edge, which delegates to it (spec.exportTo)",
            "(try: edge in spec.exportTo: kubectl edit virtualservice tickets -n w)",
        ],
    );
    // The delegate of a delegate.
    let shop = delegated(json!([below("/t")]), one_split(), |stage| {
        stage.edit("virtualservices", "w", "edge", "setup", |vs| {
            vs["spec"].as_object_mut().unwrap().remove("hosts");
        });
    })
    .await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_said(
        &said,
        &[
            "refuse http[t] of virtualservice w/edge delegates to w/tickets, but has no hosts itself",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_a_delegate_that_istio_ignores_is_told() {
    let own =
        |uri: Value| json!([{"name": "own", "match": [{"uri": uri}], "route": split("tickets")}]);
    for (uri, ignored) in [
        (json!({"prefix": "/t/new"}), false),
        (json!({"prefix": "/"}), true),
        (json!({"regex": "/t/.*"}), true),
    ] {
        let shop = delegated(json!([below("/t")]), own(uri.clone()), |_| {}).await;
        let said = troubles(&shop, "w", "tickets", &[]).await;
        let told = "refuse http[own] of virtualservice w/tickets matches what http[t] of virtualservice w/edge, which delegates to it, does not";
        match ignored {
            true => assert_said(&said, &[told, "kubectl edit virtualservice tickets -n w"]),
            false => assert_not_said(&said, told),
        }
    }
    // Some of them shift.
    let mut rules = own(json!({"prefix": "/"}));
    rules
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "rest", "route": split("tickets")}));
    let shop = delegated(json!([below("/t")]), rules, |_| {}).await;
    let said = troubles(&shop, "w", "tickets", &[]).await;
    assert_said(
        &said,
        &["warn http[own] of virtualservice w/tickets matches what "],
    );
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_asks_for_callers_of_another_gateway_never_gets_a_request() {
    let asking = |condition: Value| json!([{"name": "some", "match": [condition], "route": split("tickets")}]);
    let said = async |condition: Value, is_mesh: bool| {
        let shop = tickets(asking(condition), |stage| {
            stage.edit("virtualservices", "w", "tickets", "setup", |vs| {
                if is_mesh {
                    on_mesh(&mut vs["spec"]);
                }
            });
        })
        .await;
        troubles(&shop, "w", "tickets", &[]).await
    };
    let beyond = "refuse http[some] of virtualservice w/tickets matches only at mesh, which is not in spec.gateways";
    let found = said(json!({"gateways": ["mesh"]}), false).await;
    assert_said(
        &found,
        &[
            beyond,
            "(try: mesh in spec.gateways: kubectl edit virtualservice tickets -n w)",
        ],
    );
    // In another spelling it is the same gateway.
    for (gateway, is_mesh) in [
        ("mesh", true),
        ("public.istio-system.svc.cluster.local", false),
    ] {
        let found = said(json!({"gateways": [gateway]}), is_mesh).await;
        assert_not_said(&found, "which is not in spec.gateways");
    }
    for condition in [
        json!({"sourceLabels": {"app": "web"}}),
        json!({"sourceNamespace": "web"}),
    ] {
        let told = "warn http[some] of virtualservice w/tickets matches by sourceLabels or sourceNamespace, but is only at gateways";
        assert_said(&said(condition.clone(), false).await, &[told]);
        assert_not_said(&said(condition, true).await, told);
    }
}

/// A rule with the split and all of this.
fn with(more: Value) -> Value {
    let mut rule = json!({"name": "primary", "route": split("tickets")});
    for (key, value) in more.as_object().unwrap() {
        rule[key] = value.clone();
    }
    json!([rule])
}

#[tokio::test(start_paused = true)]
async fn whatever_stands_beside_the_weights_stays_as_it_is() {
    let target = |subset: &str, weight: Value, more: Value| {
        let mut target = json!({"destination": {"host": "tickets", "subset": subset}});
        if !weight.is_null() {
            target["weight"] = weight;
        }
        for (key, value) in more.as_object().unwrap() {
            target[key] = value.clone();
        }
        target
    };
    let many: Vec<Value> = (0..200)
        .map(|index| {
            json!({"name": format!("r{index}"), "match": [{"uri": {"prefix": format!("/r{index}/")}}], "route": split("tickets")})
        })
        .collect();
    let shapes = [
        with(
            json!({"match": [{"uri": {"prefix": "/a"}, "ignoreUriCase": true, "name": "x"}, {"method": {"exact": "GET"}}]}),
        ),
        with(json!({"headers": {"request": {"set": {"x": "1"}}, "response": {"remove": ["y"]}}})),
        with(json!({"rewrite": {"uriRegexRewrite": {"match": "/a/(.*)", "rewrite": "/\\1"}}})),
        with(json!({"rewrite": {"uri": "/b", "authority": "b.example"}, "timeout": "3s"})),
        with(
            json!({"retries": {"attempts": 3, "perTryTimeout": "1s", "retryOn": "5xx,reset", "retryRemoteLocalities": true}}),
        ),
        with(json!({"corsPolicy": {"allowOrigins": [{"regex": ".*"}], "maxAge": "24h"}})),
        with(json!({"fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 0.1}}}})),
        with(
            json!({"mirrors": [{"destination": {"host": "tickets", "subset": "v2"}, "percentage": {"value": 1.5}}]}),
        ),
        with(
            json!({"mirror": {"host": "tickets", "subset": "v2"}, "mirrorPercentage": {"value": 100}}),
        ),
        with(
            json!({"match": [{"headers": {"x": {"regex": "a|b"}}, "withoutHeaders": {"y": {}}, "queryParams": {"q": {"exact": "1"}}}]}),
        ),
        with(json!({"match": [{"port": 80}, {"port": 8443, "authority": {"prefix": "w."}}]})),
        with(json!({"match": []})),
        with(json!({"name": "n".repeat(253)})),
        // One of these fields is another company's.
        with(json!({"x-acme": {"owner": "tickets", "list": [1, null, {"a": 0.1}]}})),
        json!([{"route": [target("v1", 100.into(), json!({"headers": {"response": {"set": {"v": "1"}}}})), target("v2", 0.into(), json!({"headers": {"response": {"set": {"v": "2"}}}}))]}]),
        json!([{"route": [target("v1", 100.into(), json!({})), target("v2", Value::Null, json!({}))]}]),
        json!([{"route": [target("v2", 0.into(), json!({})), target("v1", 60.into(), json!({}))]}]),
        json!([{"route": [target("v1", 97.into(), json!({})), target("v2", 3.into(), json!({}))]}]),
        json!([{"route": [target("v1", 80.into(), json!({})), target("v2", 0.into(), json!({})), target("v0", 20.into(), json!({}))]}]),
        json!([
            {"match": [{"uri": {"exact": "/health"}}], "directResponse": {"status": 200, "body": {"string": "ok"}}},
            {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/new", "redirectCode": 308}},
            {"match": [{"uri": {"prefix": "/static"}}], "route": [{"destination": {"host": "files.cdn.svc.cluster.local"}}]},
            {"route": split("tickets")},
        ]),
        json!([
            {"match": [{"port": 80}], "route": split("tickets")},
            {"match": [{"port": 81}], "route": split("tickets.w.svc.cluster.local")},
        ]),
        Value::Array(many),
    ];
    for http in shapes {
        let shop = tickets(http.clone(), |stage| {
            stage.edit("destinationrules", "w", "tickets", "setup", |rule| {
                let subsets = rule["spec"]["subsets"].as_array_mut().unwrap();
                subsets.push(json!({"name": "v0", "labels": {"version": "v0"}}));
            });
        })
        .await;
        let spec = begin_and_abort(&shop, "w", "tickets", &["--canary", "v2"]).await;
        let rules = spec["http"].as_array().unwrap();
        let split = rules.iter().rev().find_map(|rule| rule["route"].as_array());
        let canary = split
            .unwrap()
            .iter()
            .find(|target| target["destination"]["subset"] == "v2");
        let weight = canary.unwrap()["weight"].as_i64().unwrap();
        assert!((6..=10).contains(&weight), "{weight} in {spec}");
    }
}

#[tokio::test(start_paused = true)]
async fn routes_of_other_protocols_beside_http_move_together() {
    let shop = tickets(one_split(), |stage| {
        stage.edit("virtualservices", "w", "tickets", "setup", |vs| {
            let sni = json!([{"port": 443, "sniHosts": ["w.example"]}]);
            vs["spec"]["tls"] = json!([{"match": sni, "route": split("tickets")}]);
            vs["spec"]["tcp"] = json!([{"match": [{"port": 5432}], "route": split("tickets")}]);
        });
    })
    .await;
    let spec = begin_and_abort(&shop, "w", "tickets", &["--canary", "v2"]).await;
    for kind in ["http", "tls", "tcp"] {
        assert_eq!(spec[kind][0]["route"][1]["weight"], 10, "{kind}");
    }
}
