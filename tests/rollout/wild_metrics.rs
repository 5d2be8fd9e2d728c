//! Metrics as others have them: labels removed, grouped, copied or of several clusters.

use kubectl_canary::CommandError;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Reason, Unusable};
use kubectl_canary::sandbox::{PrometheusFault, Rule};

use crate::harness::{Shop, brisk_with, with_flags};
use crate::preflight::plan;

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
