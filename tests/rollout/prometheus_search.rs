//! Where the metrics are, if nobody says so: found among the Services of the cluster.

use kubectl_canary::commands::{self, Analyze, PlanArgs, RolloutArgs};
use kubectl_canary::plan::{AddressSource, Level, Options};
use kubectl_canary::report::{AnalysisView, Layout, View};
use kubectl_canary::rollout::{EventKind, Outcome};
use kubectl_canary::sandbox::{Denial, PrometheusFault, Rule, Setup};
use kubectl_canary::verdict::Verdict;
use kubectl_canary::{CommandError, Signals};
use serde_json::{Value, json};

use crate::harness::{Shop, brisk, start};
use crate::preflight::plan;

/// kube-prometheus-stack as its chart names it.
const STACK: &str = "monitoring/kube-prometheus-stack-prometheus:9090";
const DEFAULT: &str = "istio-system/prometheus:9090";

fn service(namespace: &str, name: &str, labels: &Value, port: (&str, u16)) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {
            "type": "ClusterIP", "selector": {"app": name},
            "ports": [{"name": port.0, "port": port.1, "targetPort": port.1, "protocol": "TCP"}],
        },
    })
}

/// A Service of this name with a Prometheus of the mesh behind it.
fn stand(stage: &mut Setup<'_>, at: (&str, &str), port: (&str, u16), faults: &[PrometheusFault]) {
    let (namespace, name) = at;
    stage.apply(json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
    }));
    stage.apply(service(namespace, name, &json!({}), port));
    stage.prometheus_behind(namespace, name, "", faults);
}

fn stack(stage: &mut Setup<'_>, faults: &[PrometheusFault]) {
    let at = ("monitoring", "kube-prometheus-stack-prometheus");
    stand(stage, at, ("http-web", 9090), faults);
}

/// The shop whose mesh has no add-on of Istio's.
async fn without_addon(change: impl FnOnce(&mut Setup<'_>)) -> Shop {
    Shop::open_with(|stage| {
        stage.delete("services", "istio-system", "prometheus");
        change(stage);
    })
    .await
}

/// The Services that were asked for metrics.
fn asked(shop: &Shop) -> Vec<String> {
    let calls = shop.world.calls().into_iter();
    let mut asked: Vec<_> = calls
        .filter_map(|call| {
            let (_, rest) = call.path.split_once("/namespaces/")?;
            let (place, _) = rest.split_once("/proxy")?;
            Some(place.replace("/services/http", "").replacen(':', "/", 1))
        })
        .collect();
    asked.dedup();
    asked
}

fn lists_services(shop: &Shop) -> bool {
    let mut calls = shop.world.calls().into_iter();
    calls.any(|call| call.verb == "list" && call.path == "/api/v1/services")
}

async fn refusal(shop: &Shop) -> String {
    let error = shop.start(brisk()).await.unwrap_err();
    assert!(matches!(error, CommandError::Preflight(_)), "{error}");
    shop.assert_restored();
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn the_only_service_with_metrics_of_the_route_is_taken_and_said() {
    let shop = without_addon(|stage| {
        stack(stage, &[]);
        let other = ("shop", "team-prometheus");
        stand(stage, other, ("web", 9090), &[PrometheusFault::Empty]);
    })
    .await;
    let view = plan(&shop, brisk()).await.unwrap();
    assert_eq!(view.plan.prometheus, STACK);
    assert_eq!(view.prometheus_from, AddressSource::Discovery);
    let mut findings = view.findings.iter();
    let found = findings.find(|one| one.what.contains(STACK)).unwrap();
    assert_eq!(found.level, Level::Warn);
    assert_eq!(
        found.to_string(),
        format!(
            "metrics are read from {STACK}, found by its name: {DEFAULT} was not found: services \"prometheus\" not found (try: --prometheus {STACK})"
        )
    );
    let mut text = Vec::new();
    view.show(&mut text, Layout::default()).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains(&format!("metrics  {STACK} (found in the cluster)\n")),
        "{text}"
    );

    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    let said = shop.warnings();
    assert!(said.iter().any(|text| text.contains(STACK)), "{said:?}");
    let planned = shop.told().into_iter().find_map(|event| match event {
        EventKind::Planned { prometheus, .. } => Some(prometheus),
        _ => None,
    });
    assert_eq!(planned.as_deref(), Some(STACK));
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_over_asks_the_address_that_was_found() {
    let shop = without_addon(|stage| stack(stage, &[])).await;
    let args = kubectl_canary::commands::Start {
        no_wait: true,
        ..start(brisk())
    };
    shop.start_as("ci@runner", args, Signals::none())
        .await
        .unwrap();
    assert_eq!(shop.rollout().unwrap().plan.prometheus, STACK);
    // By now another one has the metrics as well.
    shop.world
        .set(|stage| stand(stage, ("b", "prometheus"), ("web", 9090), &[]));
    let from = shop.world.calls().len();
    let finish = shop.resume("bob@desk").await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    let calls = shop.world.calls().split_off(from);
    let others = calls.iter().filter(|call| {
        call.path.contains("/proxy/") && !call.path.contains("kube-prometheus-stack-prometheus")
    });
    assert_eq!(others.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn several_services_with_metrics_are_listed_and_nothing_starts() {
    let shop = without_addon(|stage| {
        stack(stage, &[]);
        stand(stage, ("thanos", "thanos-query"), ("http", 10902), &[]);
        stand(
            stage,
            ("old", "prometheus-server"),
            ("http", 80),
            &[PrometheusFault::Down],
        );
    })
    .await;
    let text = refusal(&shop).await;
    let both =
        format!("istio_requests_total of the route is in {STACK} and in thanos/thanos-query:10902");
    assert!(text.contains(&both), "{text}");
    let flags = format!("(try: --prometheus {STACK}, or --prometheus thanos/thanos-query:10902)");
    assert!(text.contains(&flags), "{text}");
    let options = Options {
        prometheus: Some("thanos/thanos-query:10902".into()),
        ..brisk()
    };
    assert_eq!(
        shop.start(options).await.unwrap().outcome,
        Outcome::Promoted
    );
}

#[tokio::test(start_paused = true)]
async fn the_default_address_wins_and_no_other_service_is_listed_or_asked() {
    let shop = Shop::open_with(|stage| stack(stage, &[])).await;
    let view = plan(&shop, brisk()).await.unwrap();
    assert_eq!(view.plan.prometheus, DEFAULT);
    assert_eq!(view.prometheus_from, AddressSource::Default);
    assert!(!lists_services(&shop));
    assert_eq!(asked(&shop), ["istio-system/prometheus:9090"]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_was_given_is_taken_at_its_word() {
    let shop = Shop::open_with(|stage| stack(stage, &[])).await;
    shop.world
        .faults()
        .prometheus(Rule::new(PrometheusFault::Empty));
    let options = || Options {
        prometheus: Some("monitoring/nowhere:9090".into()),
        ..brisk()
    };
    let view = plan(&shop, options()).await.unwrap();
    assert!(view.refused);
    assert_eq!(view.prometheus_from, AddressSource::Flag);
    assert!(!lists_services(&shop));
    assert_eq!(asked(&shop), ["monitoring/nowhere:9090"]);
    for (of_environment, expected) in [
        (true, AddressSource::Environment),
        (false, AddressSource::Flag),
    ] {
        let args = PlanArgs {
            rollout: RolloutArgs {
                name: Some("reviews".into()),
                options: options(),
                address_of_environment: of_environment,
                ..RolloutArgs::default()
            },
            ..PlanArgs::default()
        };
        let view = shop
            .act("alice@desk", Signals::none(), async |context| {
                commands::plan(context, &args).await
            })
            .await;
        assert_eq!(view.unwrap().prometheus_from, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_in_the_plan_file_is_said_to_be_from_there() {
    let shop = Shop::open_with(|stage| stack(stage, &[])).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(
        &mut file,
        format!("apiVersion: kubectl-canary.dev/v1\nkind: Rollout\nmetadata: {{name: reviews}}\nspec: {{prometheus: '{STACK}'}}\n").as_bytes(),
    )
    .unwrap();
    let args = PlanArgs {
        rollout: RolloutArgs {
            filename: Some(file.path().to_owned()),
            options: brisk(),
            ..RolloutArgs::default()
        },
        ..PlanArgs::default()
    };
    let view = shop
        .act("alice@desk", Signals::none(), async |context| {
            commands::plan(context, &args).await
        })
        .await
        .unwrap();
    assert_eq!(view.prometheus_from, AddressSource::File);
    assert_eq!(view.plan.prometheus, STACK);
}

#[tokio::test(start_paused = true)]
async fn what_was_tried_in_vain_is_told_with_each_reason() {
    let shop = without_addon(|stage| {
        stack(stage, &[PrometheusFault::Down]);
        stand(
            stage,
            ("a", "prometheus"),
            ("web", 9090),
            &[PrometheusFault::Empty],
        );
        stand(
            stage,
            ("b", "prometheus"),
            ("web", 9090),
            &[PrometheusFault::Hang],
        );
        stand(
            stage,
            ("c", "vmsingle-shop"),
            ("http", 8429),
            &[PrometheusFault::Answer { code: 404 }],
        );
    })
    .await;
    let began = tokio::time::Instant::now();
    let text = refusal(&shop).await;
    assert!(
        began.elapsed().as_secs() <= 3,
        "side by side: {:?}",
        began.elapsed()
    );
    for expected in [
        format!("{DEFAULT} was not found"),
        format!("{STACK} is unavailable: no endpoints available"),
        "a/prometheus:9090: no istio_requests_total of the route".into(),
        "b/prometheus:9090 did not answer within 3s".into(),
        "c/vmsingle-shop:8429: not found".into(),
        "(try: --prometheus URL or NAMESPACE/SERVICE:PORT)".into(),
    ] {
        assert!(text.contains(&expected), "{expected} in {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_list_services_well_known_names_are_tried() {
    for reachable in [true, false] {
        let shop = without_addon(|stage| {
            if reachable {
                stack(stage, &[]);
            }
        })
        .await;
        shop.world.deny(Denial::of("list", "services").everywhere());
        if reachable {
            let view = plan(&shop, brisk()).await.unwrap();
            assert_eq!(view.plan.prometheus, STACK);
            let warned = view
                .findings
                .iter()
                .find(|one| one.what.contains(STACK))
                .unwrap();
            assert!(warned.what.contains("a well-known name"), "{warned}");
            let why = warned.why.as_deref().unwrap();
            assert!(
                why.contains("services cannot be listed in all namespaces"),
                "{why}"
            );
        } else {
            let text = refusal(&shop).await;
            assert!(
                text.contains("cannot list services in all namespaces"),
                "{text}"
            );
            assert!(text.contains("monitoring/prometheus-server:80"), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_prefix_belongs_to_the_address() {
    for (at, port, prefix, expected) in [
        (
            ("vm", "vmselect-shop"),
            ("http", 8481),
            "/select/0/prometheus",
            "vm/vmselect-shop:8481/select/0/prometheus",
        ),
        (
            ("mimir", "mimir-nginx"),
            ("http-metric", 80),
            "/prometheus",
            "mimir/mimir-nginx:80/prometheus",
        ),
    ] {
        let shop = without_addon(|stage| {
            stand(stage, at, port, &[]);
            stage.prometheus_behind(at.0, at.1, prefix, &[]);
        })
        .await;
        let view = plan(&shop, brisk()).await.unwrap();
        assert_eq!(view.plan.prometheus, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_default_without_metrics_of_the_route_is_no_obstacle() {
    let shop = Shop::open_with(|stage| {
        stage.prometheus_behind("istio-system", "prometheus", "", &[PrometheusFault::Empty]);
        stack(stage, &[]);
    })
    .await;
    let view = plan(&shop, brisk()).await.unwrap();
    assert_eq!(view.plan.prometheus, STACK);
    // A service without traffic has none anywhere: then it stays as it was.
    shop.world
        .set(|stage| stack(stage, &[PrometheusFault::Empty]));
    let view = plan(&shop, brisk()).await.unwrap();
    assert_eq!(view.plan.prometheus, DEFAULT);
    assert_eq!(view.prometheus_from, AddressSource::Default);
    let told: Vec<_> = view.findings.iter().map(|one| one.to_string()).collect();
    let tried = format!("tried in its place: {STACK}: no istio_requests_total of the route");
    assert!(told.contains(&tried), "{told:?}");
}

/// `analyze reviews` of the last four minutes, at rest.
async fn analyze(shop: &Shop) -> Result<AnalysisView, CommandError> {
    let args = Analyze {
        rollout: RolloutArgs {
            name: Some("reviews".into()),
            ..RolloutArgs::default()
        },
        since: Some("4m".parse().unwrap()),
        ..Analyze::default()
    };
    shop.act("carol@gate", Signals::none(), async |context| {
        commands::analyze(context, &args, None).await
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn an_analysis_at_rest_finds_it_as_a_start_does() {
    let shop = without_addon(|stage| stack(stage, &[])).await;
    shop.set_weights(80, 20);
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    let view = analyze(&shop).await.unwrap();
    assert_eq!(view.verdict, Verdict::Healthy, "{view:#?}");
    assert_eq!(view.prometheus.as_deref(), Some(STACK));
    let mut text = Vec::new();
    view.show(&mut text, Layout::default()).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains(&format!("metrics  {STACK} (found in the cluster)\n")),
        "{text}"
    );

    shop.world
        .set(|stage| stand(stage, ("b", "prometheus"), ("web", 9090), &[]));
    let error = analyze(&shop).await.unwrap_err().to_string();
    assert!(
        error.contains(&format!(
            "(try: --prometheus b/prometheus:9090, or --prometheus {STACK})"
        )),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_analysis_at_rest_asks_no_other_where_the_default_address_has_metrics() {
    let shop = Shop::open_with(|stage| stack(stage, &[])).await;
    shop.set_weights(80, 20);
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    let view = analyze(&shop).await.unwrap();
    assert_eq!(view.verdict, Verdict::Healthy, "{view:#?}");
    assert!(!lists_services(&shop));
    assert_eq!(asked(&shop), [DEFAULT]);
}
