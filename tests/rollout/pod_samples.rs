//! Rollouts that read the counters of both versions from their pods.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::driver::Finish;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{Cause, EventKind, Outcome};
use kubectl_canary::sandbox::{ApiFault, Denial, PrometheusFault, Rule, Setup};
use tokio::time::timeout;

use crate::harness::{Shop, with_flags};

const REGRESSED: Outcome = Outcome::RolledBack(Cause::Regression);

/// As users run it, with the pods' own counters.
fn sampled(more: &str) -> Options {
    let flags = "--sample pods --warmup 0s --on-inconclusive rollback --step-timeout 20m";
    with_flags(flags.split(' ').chain(more.split_whitespace()))
}

/// A Prometheus that has a past and shows nothing new for as long as these tests take.
async fn scraped_rarely(change: impl FnOnce(&mut Setup<'_>)) -> Shop {
    let shop = Shop::open_with(|stage| {
        stage.scrapes().every(SignedDuration::from_secs(15));
        change(stage);
    })
    .await;
    // The past is read back in scrapes of 15 s.
    tokio::time::sleep(Duration::from_secs(600)).await;
    shop
}

async fn without_prometheus() -> Shop {
    let shop = Shop::open().await;
    let down = Rule::new(PrometheusFault::Down);
    shop.world.faults().prometheus(down);
    shop
}

fn fails(shop: &Shop, errors: f64) {
    let now = shop.world.clock().now();
    let mut traffic = shop.world.traffic();
    traffic
        .version("shop", "reviews-v2")
        .fails_from(now, errors);
}

/// From the first weight to the end.
fn lasted(shop: &Shop, finish: &Finish) -> SignedDuration {
    let first = shop.when(|event| matches!(event, EventKind::StepStarted { .. }));
    finish.at.duration_since(first)
}

fn pod_reads(shop: &Shop) -> usize {
    let calls = shop.world.calls();
    let reads = calls
        .iter()
        .filter(|call| call.path.contains("/proxy/stats"));
    reads.count()
}

#[tokio::test(start_paused = true)]
async fn a_healthy_canary_is_promoted_without_any_prometheus() {
    let shop = without_prometheus().await;
    let finish = shop.start(sampled("--steps 10,50,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    let counts = finish.total_counts.unwrap();
    assert!(counts.canary.requests > 500, "{counts:?}");
    assert_eq!(counts.canary.failures + counts.stable.failures, 0);
    let took = lasted(&shop, &finish).as_secs();
    let reads = pod_reads(&shop) as i64;
    // Five pods, once a second.
    assert!(reads <= 5 * (took + 10), "{reads} reads in {took} s");
}

#[tokio::test(start_paused = true)]
async fn a_broken_canary_is_off_before_prometheus_has_scraped_it() {
    for with_history in [true, false] {
        let shop = match with_history {
            true => scraped_rarely(|_| {}).await,
            false => without_prometheus().await,
        };
        fails(&shop, 1.0);
        let finish = shop.start(sampled("--steps 1,100")).await.unwrap();
        assert_eq!(finish.outcome, REGRESSED, "{:#?}", shop.told());
        shop.assert_restored();
        let first = shop.when(|event| matches!(event, EventKind::StepStarted { .. }));
        let off = shop.when(|event| {
            matches!(
                event,
                EventKind::Tripped { .. } | EventKind::RolledBack { .. }
            )
        });
        let took = off.duration_since(first);
        let most = if with_history { 3 } else { 20 };
        assert!(
            took <= SignedDuration::from_secs(most),
            "{took:?} with history: {with_history}"
        );
        let traffic = shop.world.traffic();
        let failed = traffic.seen_at_source(|stream| stream.outcome.code != "200");
        assert!(!with_history || failed <= 8, "{failed} failed requests");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_answer_costs_evidence_and_nothing_else() {
    let shop = without_prometheus().await;
    let pods = shop.world.set(|stage| stage.names("pods", "shop"));
    let silent = pods.iter().find(|name| name.starts_with("reviews-v1"));
    let hang = Rule::new(ApiFault::Hang { applied: false }).of("pods/proxy");
    let hang = hang.containing(silent.unwrap());
    shop.world.faults().api(hang);
    let finish = shop.start(sampled("--steps 20,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    let counts = finish.total_counts.unwrap();
    assert_eq!(counts.canary.failures + counts.stable.failures, 0);
    let stable = counts.stable.requests as f64 / counts.canary.requests as f64;
    assert!(
        (1.5..4.0).contains(&stable),
        "two of three pods: {counts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_canary_whose_pods_fall_silent_is_not_promoted_for_its_silence() {
    let shop = without_prometheus().await;
    let driver = shop.start(sampled("--steps 20:10m,100 --metrics-grace 30s"));
    let silence = async {
        shop.until_weight(20).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let fault = ApiFault::Answer {
            code: 503,
            retry_after: None,
            applied: false,
        };
        let rule = Rule::new(fault).of("pods/proxy").containing("reviews-v2");
        shop.world.faults().api(rule);
    };
    let (finish, ()) = tokio::join!(driver, silence);
    let finish = finish.unwrap();
    assert_eq!(
        finish.outcome,
        Outcome::RolledBack(Cause::NoMetrics),
        "{:#?}",
        shop.told()
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn pods_that_restart_count_from_zero_and_no_request_is_made_up() {
    let shop = without_prometheus().await;
    let before = shop.world.traffic().seen_at_source(|_| true);
    let driver = shop.start(sampled("--steps 20:1m,100"));
    let restarts = async {
        shop.until_weight(20).await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(7)).await;
            shop.world.set(|stage| {
                stage.pods("shop", "app=reviews").restart();
            });
        }
    };
    let (finish, ()) = tokio::join!(driver, restarts);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    let counts = finish.total_counts.unwrap();
    let counted = counts.canary.requests + counts.stable.requests;
    let sent = shop.world.traffic().seen_at_source(|_| true) - before;
    assert!(counted <= sent, "{counted} of {sent}");
    assert!(counted * 10 > sent * 7, "{counted} of {sent}");
    assert_eq!(counts.canary.failures + counts.stable.failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_goes_on_with_the_pods_when_it_is_taken_over() {
    let shop = without_prometheus().await;
    let driver = shop.start(sampled("--steps 20:5m,100"));
    let _ = timeout(Duration::from_secs(20), driver).await;
    let stored = serde_json::to_value(&shop.rollout().unwrap().plan).unwrap();
    assert_eq!(stored["sample"], "pods");
    let reads = pod_reads(&shop);
    let resumed = shop.resume("bob@desk");
    let trouble = async {
        shop.until(|_| pod_reads(&shop) > reads + 100).await;
        fails(&shop, 0.5);
    };
    let (finish, ()) = tokio::join!(resumed, trouble);
    assert_eq!(finish.unwrap().outcome, REGRESSED, "{:#?}", shop.told());
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn without_the_right_it_does_not_start_and_says_which_it_is() {
    let shop = without_prometheus().await;
    shop.world.deny(Denial::of("get", "pods/proxy"));
    let error = shop.start(sampled("")).await.unwrap_err().to_string();
    for part in [
        "no pod of v1 shows its proxy's counters",
        "a Role in namespace shop with get on pods/proxy",
        "plan with the same arguments prints it",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(shop.weights(), [100, 0]);
}
