//! Queries of the user's own: bounds, counters that are compared, and what happens without data.

use jiff::SignedDuration;
use kubectl_canary::Signal;
use kubectl_canary::metrics::GuardGap;
use kubectl_canary::plan::{OnSignal, OnStuck, Options, PlanFile, SampleFrom};
use kubectl_canary::rollout::{Cause, EventKind, GuardProblem, Outcome, Phase, Reason};
use kubectl_canary::sandbox::{PrometheusFault, Rule};
use kubectl_canary::verdict::Verdict;

use crate::harness::{Shop, brisk_with, signals, start};
use crate::metrics::limited;

const REGRESSED: Outcome = Outcome::RolledBack(Cause::Regression);
const QUEUE: &str = r#"max(queue_length{namespace="{{namespace}}",pod=~"{{canary.pods}}"})"#;

/// A series of an application's own: from now on this value every second, for two hours.
fn measure(shop: &Shop, labels: &[(&str, &str)], value: impl Fn(i64) -> Option<f64>) {
    let now = shop.world.clock().now();
    let samples = (-1_800..7_200).map(|second| {
        let at = now + SignedDuration::from_secs(second);
        (at, value(second))
    });
    let labels = labels.iter().copied();
    shop.world.scrapes().have(labels, samples);
}

/// How long the canary's queue is.
fn queue(shop: &Shop, value: impl Fn(i64) -> Option<f64>) {
    let pod = "reviews-v2-5d4fc9c7b-x2k9z";
    let labels = [
        ("__name__", "queue_length"),
        ("namespace", "shop"),
        ("pod", pod),
    ];
    measure(shop, &labels, value);
    // Of a pod that is not the canary's.
    let labels = [
        ("__name__", "queue_length"),
        ("namespace", "shop"),
        ("pod", "reviews-v20-0"),
    ];
    measure(shop, &labels, |_| Some(1e6));
}

fn with_guard(steps: &str, guard: &str) -> Options {
    Options {
        guard: vec![guard.parse().unwrap()],
        warmup: Some("0s".parse().unwrap()),
        ..brisk_with(steps)
    }
}

fn bounded(more: &str) -> String {
    format!("{{name: queue, query: '{QUEUE}', max: 100{more}}}")
}

/// What guards said in the analyses so far.
fn problems(shop: &Shop) -> Vec<GuardProblem> {
    let told = shop.told().into_iter();
    let reasons = told.flat_map(|event| match event {
        EventKind::Analyzed { reasons, .. } => reasons,
        _ => Vec::new(),
    });
    reasons
        .filter_map(|reason| match reason {
            Reason::Guard { problem, .. } => Some(problem),
            _ => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn guards_leave_a_prometheus_alone_as_long_as_it_says_too() {
    let shop = Shop::open().await;
    queue(&shop, |_| Some(12.0));
    let driver = shop.start(with_guard("10:10s,50,100", &bounded("")));
    let trouble = async {
        shop.until_weight(10).await;
        let fault = PrometheusFault::Limited { retry_after: 12 };
        let limit = Rule::new(fault).until(shop.after(10));
        shop.world.faults().prometheus(limit);
    };
    let (finish, ()) = tokio::join!(driver, trouble);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    // The counters once and the guard once.
    assert!(limited(&shop).len() <= 2, "{:?}", limited(&shop));
}

#[tokio::test(start_paused = true)]
async fn a_value_over_its_bound_rolls_back_and_a_single_one_does_not() {
    for (bad_for, outcome) in [(2, Outcome::Promoted), (600, REGRESSED)] {
        let shop = Shop::open().await;
        queue(&shop, |second| {
            Some(if (5..5 + bad_for).contains(&second) {
                153.0
            } else {
                12.0
            })
        });
        let options = with_guard("10:20s,100", &format!("queue: {QUEUE} <= 100"));
        let finish = shop.start(options).await.unwrap();
        assert_eq!(finish.outcome, outcome, "{:#?}", shop.told());
        if outcome == REGRESSED {
            shop.assert_restored();
            let why = GuardProblem::OverMax {
                value: 153.0,
                max: 100.0,
                times: 3,
                limit: 3,
            };
            let expected = Reason::Guard {
                guard: "queue".into(),
                problem: why,
            };
            assert_eq!(finish.reasons.first(), Some(&expected));
            let told = shop.told();
            assert!(told.iter().any(|event| matches!(event, EventKind::Regressed { reasons, .. } if reasons.contains(&expected))));
        }
    }
}

/// Pods answer no query; where they are sampled, Prometheus is still asked for the guards.
#[tokio::test(start_paused = true)]
async fn a_bound_holds_where_the_pods_are_sampled_too() {
    let shop = Shop::open().await;
    queue(&shop, |second| Some(if second < 5 { 12.0 } else { 153.0 }));
    let options = Options {
        sample: Some(SampleFrom::Pods),
        ..with_guard("10:20s,100", &bounded(""))
    };
    let finish = shop.start(options).await.unwrap();
    assert_eq!(finish.outcome, REGRESSED, "{:#?}", shop.told());
    let over = |problem: &GuardProblem| matches!(problem, GuardProblem::OverMax { .. });
    assert!(problems(&shop).iter().any(over), "{:#?}", shop.told());
}

#[tokio::test(start_paused = true)]
async fn while_the_canary_warms_up_a_value_out_of_bounds_only_holds() {
    let shop = Shop::open().await;
    queue(&shop, |second| Some(if second < 50 { 153.0 } else { 12.0 }));
    let options = Options {
        warmup: Some("1m".parse().unwrap()),
        ..with_guard("10,100", &bounded(""))
    };
    let began = shop.after(0);
    let finish = shop.start(options).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", finish.reasons);
    let passed = shop.when(|event| matches!(event, EventKind::StepPassed { .. }));
    assert!(passed.duration_since(began).as_secs() >= 49);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_holds_keeps_the_step_and_lets_go_when_it_recovers() {
    let shop = Shop::open().await;
    queue(&shop, |second| Some(if second < 90 { 153.0 } else { 12.0 }));
    let driver = shop.start(with_guard("10,100", &bounded(", onFailure: hold")));
    let look = async {
        shop.until_weight(10).await;
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert_eq!(shop.weights(), [90, 10], "held");
        let healthy = shop.told().iter().any(|event| {
            matches!(event, EventKind::Analyzed { verdict: Verdict::Healthy, reasons, .. }
                if reasons.iter().any(|reason| matches!(reason, Reason::Guard { .. })))
        });
        assert!(!healthy, "no step is healthy while a guard holds it");
        assert!(
            problems(&shop).iter().any(
                |problem| matches!(problem, GuardProblem::OverMax { times, .. } if *times > 3)
            ),
            "{:?}",
            problems(&shop)
        );
    };
    let (finish, ()) = tokio::join!(driver, look);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn no_policy_promotes_what_a_guard_holds() {
    let shop = Shop::open().await;
    queue(&shop, |_| Some(153.0));
    let driver = shop.start(Options {
        on_inconclusive: Some(OnStuck::Promote),
        step_timeout: Some("30s".parse().unwrap()),
        ..with_guard("10,100", &bounded(", onFailure: hold"))
    });
    let look = async {
        shop.until(|shop| {
            shop.rollout()
                .is_some_and(|rollout| rollout.phase == Phase::Waiting)
        })
        .await;
        assert_eq!(shop.weights(), [90, 10]);
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert_eq!(shop.weights(), [90, 10]);
        // A person may.
        shop.promote("bob@desk").await.unwrap();
    };
    let (finish, ()) = tokio::join!(driver, look);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn without_data_each_policy_does_what_it_says() {
    for missing in [None, Some(f64::NAN)] {
        for (policy, outcome) in [
            ("hold", Outcome::Promoted),
            ("rollback", Outcome::RolledBack(Cause::NoMetrics)),
            ("ignore", Outcome::Promoted),
        ] {
            let shop = Shop::open().await;
            queue(&shop, |second| match second {
                90.. => Some(12.0),
                _ => missing,
            });
            let began = shop.after(0);
            let options = with_guard("10,100", &bounded(&format!(", onNoData: {policy}")));
            let finish = shop.start(options).await.unwrap();
            assert_eq!(finish.outcome, outcome, "{policy}: {:#?}", finish.reasons);
            let why = match missing {
                None => GuardGap::NoSeries,
                Some(_) => GuardGap::NotANumber,
            };
            let expected = GuardProblem::NoData { why };
            match policy {
                "hold" => {
                    let passed = shop.when(|event| matches!(event, EventKind::StepPassed { .. }));
                    let after = passed.duration_since(began);
                    assert!(after.as_secs() >= 89, "{missing:?} {after}");
                    assert!(problems(&shop).contains(&expected), "{:?}", problems(&shop));
                }
                "rollback" => {
                    shop.assert_restored();
                    let is_said = |reason: &Reason| matches!(reason, Reason::Guard { guard, problem } if guard == "queue" && *problem == expected);
                    assert!(finish.reasons.iter().any(is_said), "{:?}", finish.reasons);
                }
                _ => assert_eq!(problems(&shop), []),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_refused_before_the_start_with_the_fix() {
    for (guard, what, fix) in [
        (
            "queue: queue_length <= 100",
            "guard queue: its query has 2 series: queue_length",
            "(try: sum(…), max(…)",
        ),
        (
            "queue: queue_length{pod=\"reviews-v20-0\"}[1m] <= 100",
            "guard queue: its query has 1 series",
            "no range at its end",
        ),
        (
            "queue: quantil(1, queue_length) <= 100",
            "guard queue: istio-system/prometheus:9090 rejects the query: invalid parameter \"query\": 1:1: parse error: unknown function with name \"quantil\": quantil(1, queue_length)",
            "Prometheus' own page /query",
        ),
        (
            r#"{name: queue, bad: 'a{w="{{version.workload}}"}[1m]', total: 'a{w="{{version.workload}}"}'}"#,
            "guard queue: istio-system/prometheus:9090 rejects the query",
            "Prometheus' own page /query",
        ),
    ] {
        let shop = Shop::open().await;
        queue(&shop, |_| Some(12.0));
        let error = shop.start(with_guard("10,100", guard)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(what) && text.contains(fix), "{text}");
        shop.assert_restored();
    }
}

/// Counters of orders: of stable 90 a second, of the canary 10, and this share of either goes wrong.
fn orders(shop: &Shop, stable: f64, canary: f64) {
    for (workload, pace, wrong) in [("reviews-v1", 90.0, stable), ("reviews-v2", 10.0, canary)] {
        let labels = [("__name__", "orders_total"), ("workload", workload)];
        measure(shop, &labels, |second| Some((second + 1_800) as f64 * pace));
        let labels = [("__name__", "orders_failed_total"), ("workload", workload)];
        // What never happened has no series.
        measure(shop, &labels, |second| {
            let failed = (second.max(0) as f64 * pace * wrong).floor();
            (failed > 0.0).then_some(failed)
        });
    }
}

const ORDERS: &str = r#"{name: orders, bad: 'orders_failed_total{workload="{{version.workload}}"}', total: 'sum(orders_total{workload="{{version.workload}}"})'}"#;

#[tokio::test(start_paused = true)]
async fn counters_of_ones_own_are_compared_as_failures_are() {
    for (stable, canary, outcome) in [
        (0.01, 0.01, Outcome::Promoted),
        (0.0, 0.0, Outcome::Promoted),
        (0.0, 0.3, REGRESSED),
        (0.1, 0.6, REGRESSED),
        // What both do is not the canary's.
        (0.5, 0.5, Outcome::Promoted),
    ] {
        let shop = Shop::open().await;
        orders(&shop, stable, canary);
        let finish = shop.start(with_guard("10:90s,100", ORDERS)).await.unwrap();
        let text = format!("{stable} {canary}: {:#?}", finish.reasons);
        assert_eq!(finish.outcome, outcome, "{text}");
        if outcome == REGRESSED {
            shop.assert_restored();
            let [
                Reason::Guard {
                    guard,
                    problem: GuardProblem::Worse { canary, .. },
                },
                ..,
            ] = &finish.reasons[..]
            else {
                panic!("{text}");
            };
            assert_eq!(guard, "orders");
            assert!(canary.failures > 0, "{text}");
            let requests = finish.total_counts.unwrap();
            assert_eq!(requests.canary.failures, 0, "no request failed");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_over_goes_on_with_the_guards() {
    for (guard, is_compared) in [(bounded(""), false), (ORDERS.to_owned(), true)] {
        let shop = Shop::open().await;
        queue(&shop, |second| Some(if second < 40 { 12.0 } else { 153.0 }));
        let now = shop.world.clock().now();
        orders(&shop, 0.0, 0.3);
        let (tell, heard) = signals();
        let options = Options {
            on_signal: Some(OnSignal::Hold),
            // Counters that are worse from the beginning shall not end it before.
            warmup: Some(if is_compared { "1m" } else { "0s" }.parse().unwrap()),
            ..with_guard("10:5m,100", &guard)
        };
        let driver = shop.start_as("alice@desk", start(options), heard);
        let leaves = async {
            shop.until_weight(10).await;
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            tell.send(Signal::Interrupt).unwrap();
        };
        let (left, ()) = tokio::join!(driver, leaves);
        assert_eq!(left.unwrap().outcome, Outcome::Held);
        assert_eq!(shop.rollout().unwrap().plan.guards.len(), 1);
        let finish = shop.resume("bob@desk").await.unwrap();
        assert_eq!(finish.outcome, REGRESSED, "{:#?}", finish.reasons);
        assert!(
            matches!(finish.reasons[0], Reason::Guard { .. }),
            "{:?}",
            finish.reasons
        );
        assert!(shop.world.clock().now().duration_since(now).as_secs() < 150);
        shop.assert_restored();
    }
}

/// The plan files of docs/metrics.md, with what their queries ask for.
#[tokio::test(start_paused = true)]
async fn the_guards_of_the_documentation_can_be_started() {
    let page = include_str!("../../docs/metrics.md");
    let files = page.split("```yaml\n").skip(1);
    let files = files.map(|rest| rest.split("```").next().unwrap());
    let mut count = 0;
    for file in files.filter(|file| file.contains("guards:")) {
        let mut options = PlanFile::parse(file).unwrap().spec;
        let shop = Shop::open().await;
        measure(
            &shop,
            &[
                ("__name__", "queue_length"),
                ("namespace", "shop"),
                ("pod", "reviews-v2-5d4fc9c7b-x2k9z"),
            ],
            |_| Some(12.0),
        );
        for (workload, pace) in [("reviews-v1", 90), ("reviews-v2", 10)] {
            let labels = [("__name__", "orders_total"), ("workload", workload)];
            measure(&shop, &labels, |second| {
                Some(((second + 1_800) * pace) as f64)
            });
        }
        // The world has no functions of histograms.
        options.guard.retain(|guard| guard.name != "render-p99");
        count += options.guard.len();
        let brisk = brisk_with("10,100");
        let finish = shop.start(brisk.or(options)).await.unwrap();
        assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", finish.reasons);
    }
    assert_eq!(count, 2);
}
