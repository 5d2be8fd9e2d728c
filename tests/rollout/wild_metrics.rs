//! Metrics as others have them: labels removed, grouped, copied or of several clusters.

use std::collections::BTreeMap;

use kubectl_canary::CommandError;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Reason, Unusable};
use kubectl_canary::sandbox::{PrometheusFault, Rule, Setup};

use crate::harness::{Shop, brisk_with, with_flags};
use crate::preflight::plan;

type SeriesLabels = BTreeMap<String, String>;

fn relabelled(label: &str, value: Option<&str>) -> Rule<PrometheusFault> {
    Rule::new(PrometheusFault::Relabelled {
        label: label.into(),
        value: value.map(str::to_owned),
    })
}

fn copied(label: &str) -> Rule<PrometheusFault> {
    Rule::new(PrometheusFault::Copied {
        label: label.into(),
        values: vec!["a".into(), "b".into()],
    })
}

/// Short, with a grace of 20 s.
fn impatient() -> Options {
    Options {
        metrics_grace: Some("20s".parse().unwrap()),
        ..brisk_with("10:10s,100")
    }
}

fn refusal(error: CommandError) -> String {
    match error {
        CommandError::Preflight(findings) => findings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
        other => panic!("not refused by the preflight: {other}"),
    }
}

/// A shop whose series are stored with these labels; of a canary that fails, if so.
async fn relabelled_shop(
    labels: impl Fn(SeriesLabels) -> Vec<SeriesLabels> + Send + Sync + 'static,
    fails: f64,
) -> Shop {
    Shop::open_with(|stage| {
        stage.scrapes().relabel(move |own| labels(own.clone()));
        stage.traffic().version("shop", "reviews-v2").fails(fails);
    })
    .await
}

/// The series, and the same under other values of these labels.
fn and_as(own: SeriesLabels, others: &[(&str, &str)]) -> Vec<SeriesLabels> {
    let mut copy = own.clone();
    for (label, value) in others {
        copy.remove(*label);
        if !value.is_empty() {
            copy.insert((*label).to_owned(), (*value).to_owned());
        }
    }
    vec![own, copy]
}

async fn failing_shop() -> Shop {
    let shop = Shop::open().await;
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails(0.2);
    shop
}

#[tokio::test(start_paused = true)]
async fn without_response_codes_nothing_starts() {
    let shop = failing_shop().await;
    shop.world
        .faults()
        .prometheus(relabelled("response_code", None));
    let refused = refusal(shop.start(impatient()).await.unwrap_err());
    assert!(
        refused.contains("has a readable response_code"),
        "{refused}"
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn response_codes_that_go_missing_are_metrics_that_are_unavailable() {
    let shop = failing_shop().await;
    let driver = shop.start(impatient());
    let trouble = async {
        shop.until_weight(10).await;
        shop.world
            .faults()
            .prometheus(relabelled("response_code", None));
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::NoMetrics));
    assert!(
        finish
            .reasons
            .contains(&Reason::MetricsUnusable(Unusable::NoCodes)),
        "{:?}",
        finish.reasons
    );
    shop.assert_restored();
}

/// Telemetry overrides group codes to spare series.
#[tokio::test(start_paused = true)]
async fn a_canary_whose_failures_are_grouped_as_5xx_is_rolled_back() {
    let shop = failing_shop().await;
    shop.world
        .faults()
        .prometheus(Rule::new(PrometheusFault::Grouped));
    let finish = shop.start(impatient()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
}

#[tokio::test(start_paused = true)]
async fn versions_are_told_apart_without_the_workload_label() {
    let shop = failing_shop().await;
    shop.world
        .faults()
        .prometheus(relabelled("destination_workload", None));
    let finish = shop.start(impatient()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    let told = shop.told().into_iter();
    let unavailable = told.filter(|event| matches!(event, EventKind::MetricsUnavailable { .. }));
    assert_eq!(unavailable.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pair_of_replicas_and_a_store_of_two_clusters_want_a_scope() {
    for (label, said) in [
        (
            "prometheus_replica",
            "has the same series under several values of prometheus_replica: a, b",
        ),
        ("cluster", "has series with several values of cluster: a, b"),
    ] {
        let shop = Shop::open().await;
        shop.world.faults().prometheus(copied(label));
        let refused = refusal(shop.start(impatient()).await.unwrap_err());
        assert!(refused.contains(said), "{refused}");
        let flag = format!("(try: --query-scope {label}=a");
        assert!(refused.contains(&flag), "{refused}");
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_scope_is_part_of_every_question_and_of_the_state() {
    let shop = Shop::open().await;
    let scoped = Options {
        query_scope: vec!["destination_cluster=Kubernetes".parse().unwrap()],
        ..impatient()
    };
    let none = Options {
        query_scope: vec!["destination_cluster=elsewhere".parse().unwrap()],
        ..impatient()
    };
    let driver = shop.start(scoped);
    let look = async {
        shop.until_weight(10).await;
        shop.rollout().unwrap().plan.query_scope
    };
    let (finish, scope) = tokio::join!(driver, look);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(scope[0].to_string(), "destination_cluster=Kubernetes");
    let shop = Shop::open().await;
    let finish = shop.start(none).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::NoMetrics));
}

/// A delay that was left on the route: every request carries the flag DI and was answered by its version.
#[tokio::test(start_paused = true)]
async fn requests_that_were_delayed_on_purpose_count() {
    let shop = failing_shop().await;
    shop.world
        .faults()
        .prometheus(relabelled("response_flags", Some("DI")));
    let finish = shop.start(impatient()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
}

/// Short, and by evidence.
fn by_evidence(words: &[&str]) -> Options {
    let usual = "--preset quick --dwell 10s --warmup 0s --interval 1s --steps 10,100";
    with_flags(usual.split(' ').chain(words.iter().copied()))
}

/// A lost route, a broken login: no failure by any rule, and no user is served.
#[tokio::test(start_paused = true)]
async fn a_canary_that_answers_404_to_everything_is_rolled_back() {
    for (flags, outcome) in [
        (&[][..], Outcome::RolledBack(Cause::Regression)),
        (&["--ignore-client-errors"][..], Outcome::Promoted),
    ] {
        let shop = Shop::open().await;
        shop.world
            .traffic()
            .version("shop", "reviews-v2")
            .fails(1.0)
            .failing_as("404", "-");
        let finish = shop.start(by_evidence(flags)).await.unwrap();
        assert_eq!(finish.outcome, outcome, "{flags:?}");
        if outcome != Outcome::Promoted {
            assert!(
                shop.told()
                    .iter()
                    .any(|event| matches!(event, EventKind::Regressed { reasons, .. }
                    if format!("{reasons:?}").contains("Refusals"))),
                "{:#?}",
                finish.reasons
            );
            shop.assert_restored();
        }
    }
}

/// Callers get things wrong, and hit both versions alike.
#[tokio::test(start_paused = true)]
async fn client_errors_of_both_versions_are_no_regression() {
    let shop = Shop::open_with(|stage| {
        for version in ["reviews-v1", "reviews-v2"] {
            stage
                .traffic()
                .version("shop", version)
                .fails(0.1)
                .failing_as("404", "-");
        }
    })
    .await;
    let finish = shop.start(by_evidence(&[])).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
}

/// Whatever gave the workloads other names than Istio does: both are told, before and meanwhile.
#[tokio::test(start_paused = true)]
async fn series_that_neither_version_claims_are_named() {
    let shop = Shop::open().await;
    shop.world
        .faults()
        .prometheus(relabelled("destination_workload", Some("reviews-7d9f")));
    let findings = plan(&shop, impatient()).await.unwrap().findings;
    let said = "has istio_requests_total of reviews-7d9f, and the pods are reviews-v1, reviews-v2";
    assert!(
        findings.iter().any(|finding| finding.what.ends_with(said)),
        "{findings:#?}"
    );
    let finish = shop.start(impatient()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::NoMetrics));
    let reasons = format!("{:?}", finish.reasons);
    assert!(reasons.contains("found: [\"reviews-7d9f\"]"), "{reasons}");
}

/// Every third request comes without a login, and the canary lets all of them in: meant, or a hole.
#[tokio::test(start_paused = true)]
async fn a_canary_that_refuses_nobody_any_more_waits_for_a_person() {
    for (flags, outcome) in [
        (&[][..], Outcome::RolledBack(Cause::Inconclusive)),
        (&["--ignore-client-errors"][..], Outcome::Promoted),
    ] {
        let shop = Shop::open_with(|stage| {
            let stable = stage.traffic().version("shop", "reviews-v1");
            stable.fails(0.3).failing_as("401", "-");
        })
        .await;
        let flags: Vec<_> = ["--on-inconclusive", "rollback"]
            .iter()
            .chain(flags)
            .copied()
            .collect();
        let finish = shop.start(by_evidence(&flags)).await.unwrap();
        assert_eq!(finish.outcome, outcome, "{:#?}", finish.reasons);
        let said = format!("{:?}", finish.reasons).contains("FewerRefusals");
        assert_eq!(said, outcome != Outcome::Promoted, "{:#?}", finish.reasons);
    }
}

/// Which statuses are failures is the plan's to say: here it is a canary that turns callers away.
#[tokio::test(start_paused = true)]
async fn what_counts_as_failed_can_be_said() {
    for (flags, outcome) in [
        (&[][..], Outcome::Promoted),
        (
            &["--failures", "5xx,0,429"][..],
            Outcome::RolledBack(Cause::Regression),
        ),
        (&["--failures", "5xx,0,grpc:13"][..], Outcome::Promoted),
    ] {
        let shop = Shop::open().await;
        let canary = ("shop", "reviews-v2");
        shop.world
            .traffic()
            .version(canary.0, canary.1)
            .fails(0.015)
            .failing_as("429", "-");
        let mut options = by_evidence(flags);
        options.steps = Some("50:2m,100".parse().unwrap());
        let finish = shop.start(options).await.unwrap();
        assert_eq!(finish.outcome, outcome, "{flags:?} {:#?}", finish.reasons);
    }
}

/// One job for all pods and one for the mesh, a target for each port, a sum under the metric's own name, a pair whose
/// label has another name: everything would count twice, and evidence with it.
#[tokio::test(start_paused = true)]
async fn a_proxy_that_is_scraped_twice_is_noticed() {
    type Stored = fn(SeriesLabels) -> Vec<SeriesLabels>;
    let cases: [(Stored, &str, &str); 7] = [
        (
            |own| and_as(own, &[("job", "istio-mesh")]),
            "job: istio-mesh, kubernetes-pods",
            "--query-scope job=istio-mesh",
        ),
        (
            |own| {
                let other = own["instance"].replace(":15020", ":15090");
                and_as(own, &[("job", "istio-mesh"), ("instance", &other)])
            },
            "job: istio-mesh, kubernetes-pods",
            "--query-scope job=istio-mesh",
        ),
        (
            |mut own| {
                own.remove("pod");
                let other = own["instance"].replace(":15020", ":15090");
                and_as(own, &[("job", "istio-mesh"), ("instance", &other)])
            },
            "job: istio-mesh, kubernetes-pods",
            "--query-scope job=istio-mesh",
        ),
        (
            |mut own| {
                own.insert("container".into(), "app".into());
                and_as(own, &[("container", "istio-proxy")])
            },
            "container: app, istio-proxy",
            "--query-scope container=app",
        ),
        (
            |own| {
                let other = own["instance"].replace(":15020", ":9102");
                and_as(own, &[("instance", &other)])
            },
            "instance: ",
            "one target for each proxy, at port 15020 or 15090",
        ),
        (
            |own| {
                let none = ["pod", "instance", "namespace"].map(|label| (label, ""));
                let of_rule = [none.as_slice(), &[("job", "")]].concat();
                and_as(own, &of_rule)
            },
            "job: kubernetes-pods, none",
            "--query-scope job=kubernetes-pods",
        ),
        (
            |mut own| {
                own.insert("ha_replica".into(), "a".into());
                and_as(own, &[("ha_replica", "b")])
            },
            "ha_replica: a, b",
            "--query-scope ha_replica=a",
        ),
    ];
    for (stored, values, fix) in cases {
        let shop = relabelled_shop(stored, 0.0).await;
        let refused = refusal(shop.start(impatient()).await.unwrap_err());
        let said = format!("has the same series under several values of {values}");
        assert!(refused.contains(&said), "{refused}");
        assert!(refused.contains(fix), "{refused}");
        shop.assert_restored();
    }
}

/// The scope that is advised settles it, and so does the word that all are meant.
#[tokio::test(start_paused = true)]
async fn a_scope_settles_which_of_two_jobs_counts() {
    for scope in ["job=istio-mesh", "job=*"] {
        let two_jobs = |own| and_as(own, &[("job", "istio-mesh")]);
        let shop = relabelled_shop(two_jobs, 0.0).await;
        let scoped = Options {
            query_scope: vec![scope.parse().unwrap()],
            ..impatient()
        };
        let finish = shop.start(scoped).await.unwrap();
        assert_eq!(finish.outcome, Outcome::Promoted, "{scope}");
    }
}

/// A job for each pod has each series once.
#[tokio::test(start_paused = true)]
async fn jobs_that_share_out_the_pods_are_no_copies() {
    let own_job = |mut own: SeriesLabels| {
        let job = own["pod"].clone();
        own.insert("job".into(), job);
        vec![own]
    };
    let shop = relabelled_shop(own_job, 0.0).await;
    let finish = shop.start(impatient()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn clusters_are_told_apart_by_the_labels_that_stores_give_them() {
    for label in [
        "k8s_cluster",
        "kubernetes_cluster",
        "cluster_id",
        "region",
        "datacenter",
    ] {
        let of_two = move |own: SeriesLabels| {
            let pod = format!("{}-there", own["pod"]);
            let mut all = and_as(own, &[("pod", &pod), (label, "there")]);
            all[0].insert(label.into(), "here".into());
            all
        };
        let shop = relabelled_shop(of_two, 0.0).await;
        let refused = refusal(shop.start(impatient()).await.unwrap_err());
        let said = format!("has series with several values of {label}: here, there");
        assert!(refused.contains(&said), "{refused}");
    }
}

/// Answers that name no version, divided by the weights, would make both versions look alike.
#[tokio::test(start_paused = true)]
async fn answers_that_name_no_version_are_no_verdict() {
    let named = [
        "destination_workload",
        "destination_version",
        "destination_canonical_revision",
    ];
    for value in ["unknown", "latest", ""] {
        for fails in [0.0, 0.1] {
            let nameless = move |mut own: SeriesLabels| {
                for label in named {
                    own.remove(label);
                    let is_workload = label == "destination_workload";
                    if own.contains_key("reporter") && !value.is_empty() {
                        let value = if is_workload { "unknown" } else { value };
                        own.insert(label.into(), value.into());
                    }
                }
                vec![own]
            };
            let shop = relabelled_shop(nameless, fails).await;
            let findings = plan(&shop, by_evidence(&[])).await.unwrap().findings;
            let said = "has istio_requests_total of no workload and no version, and the pods are reviews-v1, reviews-v2";
            let said = match value {
                "latest" => said.replace("no workload and no version", "version latest"),
                _ => said.to_owned(),
            };
            assert!(
                findings.iter().any(|finding| finding.what.ends_with(&said)),
                "{findings:#?}"
            );
            let options = by_evidence(&["--metrics-grace", "20s", "--on-inconclusive", "rollback"]);
            let finish = shop.start(options).await.unwrap();
            let outcome = Outcome::RolledBack(Cause::NoMetrics);
            assert_eq!(finish.outcome, outcome, "{value:?} {fails}");
            shop.assert_restored();
        }
    }
}

/// A failed call is 200 as any other; only its status tells.
#[tokio::test(start_paused = true)]
async fn grpc_without_its_status_does_not_start() {
    let open = async |keeps: bool| {
        Shop::open_with(|stage| {
            stage.scrapes().relabel(move |own| {
                let mut own = own.clone();
                if !keeps {
                    own.remove("grpc_response_status");
                }
                vec![own]
            });
            for version in ["reviews-v1", "reviews-v2"] {
                stage.traffic().version("shop", version).speaks_grpc();
            }
            stage.traffic().version("shop", "reviews-v2").fails(0.1);
        })
        .await
    };
    let shop = open(false).await;
    let refused = refusal(shop.start(impatient()).await.unwrap_err());
    assert!(
        refused.contains("no gRPC answer of istio_requests_total in istio-system/prometheus:9090 has a grpc_response_status"),
        "{refused}"
    );
    shop.assert_restored();
    let finish = open(true).await.start(by_evidence(&[])).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
}

#[tokio::test(start_paused = true)]
async fn labels_of_the_service_that_are_missing_are_named() {
    for label in ["destination_service_name", "destination_service_namespace"] {
        let without = move |mut own: SeriesLabels| {
            own.remove(label);
            vec![own]
        };
        let shop = relabelled_shop(without, 0.0).await;
        let findings = plan(&shop, impatient()).await.unwrap().findings;
        let said = format!(
            "no series of istio_requests_total in istio-system/prometheus:9090 has the label {label}"
        );
        assert!(
            findings.iter().any(|finding| finding.what == said),
            "{findings:#?}"
        );
    }
}

/// A slower canary would be promoted without a word.
#[tokio::test(start_paused = true)]
async fn requests_without_durations_are_said_before_the_start() {
    let no_buckets = |own: SeriesLabels| match own.contains_key("le") {
        true => Vec::new(),
        false => vec![own],
    };
    let said =
        "slow requests are not judged: there is no istio_request_duration_milliseconds_bucket";
    for (flags, expected) in [(&[][..], true), (&["--ignore-latency"][..], false)] {
        let shop = relabelled_shop(no_buckets, 0.0).await;
        let findings = plan(&shop, by_evidence(flags)).await.unwrap().findings;
        let is_said = findings.iter().any(|finding| finding.what == said);
        assert_eq!(is_said, expected, "{findings:#?}");
    }
}

/// Neither the status nor the protocol is left: only the port says that a failed call is 200 as any other.
#[tokio::test(start_paused = true)]
async fn grpc_is_known_by_its_port_where_no_label_says_it() {
    let open = async |port: &'static str, kept: &'static [&'static str]| {
        Shop::open_with(move |stage| {
            stage.scrapes().relabel(move |own| {
                let mut own = own.clone();
                for label in ["grpc_response_status", "request_protocol"] {
                    if !kept.contains(&label) {
                        own.remove(label);
                    }
                }
                vec![own]
            });
            stage.edit("services", "shop", "reviews", "setup", |service| {
                service["spec"]["ports"][0]["name"] = port.into();
            });
            for version in ["reviews-v1", "reviews-v2"] {
                stage.traffic().version("shop", version).speaks_grpc();
            }
            stage.traffic().version("shop", "reviews-v2").fails(0.1);
        })
        .await
    };
    for port in ["grpc", "grpc-reviews"] {
        let shop = open(port, &[]).await;
        let refused = refusal(shop.start(impatient()).await.unwrap_err());
        assert!(
            refused.contains("no gRPC answer of istio_requests_total in istio-system/prometheus:9090 has a grpc_response_status"),
            "{refused}"
        );
        shop.assert_restored();
    }
    let shop = open("grpc", &["grpc_response_status"]).await;
    let finish = shop.start(by_evidence(&[])).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    // Where nothing says gRPC, 200 is a success.
    let finish = open("http", &[]).await.start(by_evidence(&[])).await;
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
}

/// One request in fifty is a checkout, which only the canary fails, while searches fail as ever on both.
async fn shop_of_operations(checkout_fails: f64) -> Shop {
    Shop::open_with(move |stage| {
        for version in ["reviews-v1", "reviews-v2"] {
            let fails = match version {
                "reviews-v2" => checkout_fails,
                _ => 0.0,
            };
            let behaviour = stage.traffic().version("shop", version);
            behaviour.answers("search", 0.58, 0.05);
            behaviour.answers("browse", 0.4, 0.0);
            behaviour.answers("checkout", 0.02, fails);
        }
    })
    .await
}

fn said_of_operations(shop: &Shop) -> bool {
    let reasons = shop.told().into_iter().filter_map(|event| match event {
        EventKind::Regressed { reasons, .. } => Some(format!("{reasons:?}")),
        _ => None,
    });
    let reasons = reasons.collect::<String>();
    reasons.contains("FailedIn { operation: Some(\"checkout\") }")
}

/// A minute at each step, and an end where nothing is found.
fn for_operations(words: &[&str]) -> Options {
    let usual = "--steps 10:1m,100 --step-timeout 3m --on-inconclusive rollback --ignore-latency";
    let usual = usual.split(' ');
    let all: Vec<_> = usual.chain(words.iter().copied()).collect();
    let quick = ["--preset", "quick", "--warmup", "0s", "--interval", "1s"];
    with_flags(quick.into_iter().chain(all))
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_the_canary_breaks_is_found_by_the_label_that_names_it() {
    let regressed = Outcome::RolledBack(Cause::Regression);
    let broken = shop_of_operations(0.5).await;
    let finish = broken.start(for_operations(&[])).await.unwrap();
    assert_eq!(finish.outcome, regressed, "{:#?}", finish.reasons);
    assert!(said_of_operations(&broken), "{:#?}", broken.told());
    let healthy = shop_of_operations(0.0).await;
    let finish = healthy.start(for_operations(&[])).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", finish.reasons);
    // Where no label of that name is there, nothing tells operations apart.
    let plain = shop_of_operations(0.5).await;
    let options = for_operations(&["--operation-label", "route"]);
    let finish = plain.start(options).await.unwrap();
    assert_ne!(finish.outcome, regressed, "{:#?}", finish.reasons);
}

/// So many users of their own beside searches and checkouts, of which the canary fails half.
fn many_operations(stage: &mut Setup<'_>, users: u32) {
    for (version, fails) in [("reviews-v1", 0.0), ("reviews-v2", 0.5)] {
        let behaviour = stage.traffic().version("shop", version);
        for user in 0..users {
            behaviour.answers(&format!("/user/{user}"), 0.4 / f64::from(users), 0.0);
        }
        behaviour.answers("search", 0.56, 0.05);
        behaviour.answers("checkout", 0.04, fails);
    }
}

#[tokio::test(start_paused = true)]
async fn the_label_may_have_any_name_and_more_values_than_are_told_apart() {
    let shop = Shop::open_with(|stage| {
        stage.scrapes().relabel(|own| {
            let mut own = own.clone();
            if let Some(operation) = own.remove("request_operation") {
                own.insert("route".into(), operation);
            }
            vec![own]
        });
        many_operations(stage, 18);
    })
    .await;
    let options = for_operations(&["--operation-label", "route"]);
    let finish = shop.start(options).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    assert!(said_of_operations(&shop), "{:#?}", finish.reasons);
}

/// The canary is under the name of its ReplicaSet, and stable under its own.
#[tokio::test(start_paused = true)]
async fn the_workload_that_stands_in_the_canarys_place_is_named() {
    let of_replica_set = |mut own: SeriesLabels| {
        let workload = own.get_mut("destination_workload");
        if let Some(workload) = workload.filter(|workload| *workload == "reviews-v2") {
            *workload = "reviews-v2-7d9f".to_owned();
        }
        vec![own]
    };
    let shop = relabelled_shop(of_replica_set, 0.0).await;
    let flags = ["--step-timeout", "30s", "--on-inconclusive", "rollback"];
    let finish = shop.start(by_evidence(&flags)).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Inconclusive));
    let warnings: Vec<_> = finish.warnings.iter().map(ToString::to_string).collect();
    let said = "one version has no series, while the service has series of reviews-v2-7d9f, and the pods are reviews-v1, reviews-v2";
    assert!(
        warnings.iter().any(|warning| warning == said),
        "{warnings:?}"
    );
    // Other workloads of the service are no one's business while both versions have series.
    let finish = Shop::open().await.start(by_evidence(&[])).await.unwrap();
    assert!(finish.warnings.is_empty(), "{:?}", finish.warnings);
}

/// Nothing of either version, and what there is in its place.
#[tokio::test(start_paused = true)]
async fn requests_under_other_names_are_named_before_the_start() {
    type Stored = fn(SeriesLabels) -> Vec<SeriesLabels>;
    let cases: [(Stored, &str); 3] = [
        (
            |mut own| {
                for (label, value) in [
                    ("destination_service_name", "PassthroughCluster"),
                    ("destination_service_namespace", "unknown"),
                    ("destination_service", "10.0.0.1"),
                ] {
                    own.insert(label.into(), value.into());
                }
                vec![own]
            },
            "istio-system/prometheus:9090 has istio_requests_total of PassthroughCluster, and none of reviews",
        ),
        (
            |mut own| {
                own.insert("destination_service_name".into(), "Reviews".into());
                own.insert(
                    "destination_service".into(),
                    "Reviews.shop.svc.cluster.local".into(),
                );
                vec![own]
            },
            "istio-system/prometheus:9090 has istio_requests_total of Reviews, and the Service is reviews",
        ),
        (
            |mut own| {
                let side = match own.get("reporter").map(String::as_str) {
                    Some("source") => "outbound",
                    _ => "inbound",
                };
                own.insert("reporter".into(), side.into());
                vec![own]
            },
            "the label reporter of istio_requests_total in istio-system/prometheus:9090 is inbound, outbound",
        ),
    ];
    for (stored, said) in cases {
        let shop = relabelled_shop(stored, 0.0).await;
        let findings = plan(&shop, impatient()).await.unwrap().findings;
        assert!(
            findings.iter().any(|finding| finding.what == said),
            "{findings:#?}"
        );
    }
}
