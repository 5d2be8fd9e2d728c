//! A cluster that does not show everything, or not soon: `plan` says what it could not see, and goes on
//! with the rest.

use std::time::Duration;

use kubectl_canary::plan::{Finding, Level, Options};
use kubectl_canary::rollout::Outcome;
use kubectl_canary::sandbox::{ApiFault, Denial, Rule};
use serde_json::json;
use tokio::time::Instant;

use crate::harness::{Shop, brisk, with_flags};
use crate::preflight::{plan, start_refuses};
use crate::size::shop_among;

/// Within this a plan is there, whatever the cluster is like.
const SOON: Duration = Duration::from_secs(10);

fn slow(shop: &Shop, seconds: u64) {
    let delay = ApiFault::Slow(Duration::from_secs(seconds));
    shop.world.faults().api(Rule::new(delay));
}

/// Only objects, not Prometheus behind the API server.
fn slow_objects(shop: &Shop, seconds: u64) {
    let delay = ApiFault::Slow(Duration::from_secs(seconds));
    for resource in [
        "virtualservices",
        "destinationrules",
        "services",
        "pods",
        "horizontalpodautoscalers",
        "selfsubjectaccessreviews",
    ] {
        shop.world
            .faults()
            .api(Rule::new(delay.clone()).of(resource));
    }
}

/// What a plan finds, which takes less than ten seconds.
async fn found_soon(shop: &Shop, options: Options) -> Vec<Finding> {
    let began = Instant::now();
    let view = plan(shop, options).await.unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    view.findings
}

/// A line each of what is not as it should be.
fn trouble(findings: &[Finding]) -> Vec<String> {
    let found = findings.iter().filter(|found| found.level != Level::Ok);
    found
        .map(|found| format!("{:?} {}", found.level, found.what))
        .collect()
}

/// Those of `findings` that are there without any fault, less what `without` begins with.
fn rest<'f>(findings: &'f [Finding], without: &str) -> Vec<&'f str> {
    let what = findings.iter().map(|found| &*found.what);
    what.filter(|what| !what.starts_with(without)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_slow_api_server_is_seen_as_a_fast_one() {
    let shop = Shop::open().await;
    let fast = plan(&shop, brisk()).await.unwrap().findings;
    slow_objects(&shop, 2);
    let found = found_soon(&shop, brisk()).await;
    assert_eq!(trouble(&found), trouble(&fast));
    // What is told of the samples has their age.
    let prometheus = "istio-system/prometheus";
    assert_eq!(rest(&found, prometheus), rest(&fast, prometheus));
}

#[tokio::test(start_paused = true)]
async fn what_a_plan_has_no_time_for_is_said_and_the_rest_is_there() {
    let shop = Shop::open().await;
    let fast = plan(&shop, brisk()).await.unwrap().findings;
    slow(&shop, 2);
    let found = found_soon(&shop, brisk()).await;
    let metrics = "there was not enough time to read the metrics in istio-system/prometheus:9090";
    let told = trouble(&found);
    assert_eq!(told.len(), trouble(&fast).len() + 1, "{told:#?}");
    assert!(told[0].starts_with(&format!("Warn {metrics}")), "{told:#?}");
    assert_eq!(
        rest(&found, metrics),
        rest(&fast, "istio-system/prometheus")
    );
    shop.world.faults().clear();
    slow(&shop, 4);
    let found = found_soon(&shop, brisk()).await;
    let told = trouble(&found);
    let pods = "Refuse cannot list pods of app=reviews in namespace shop: no response within";
    assert!(told.iter().any(|told| told.starts_with(pods)), "{told:#?}");
    assert!(
        rest(&found, "cannot").contains(&"may patch and watch virtualservices in namespace shop"),
        "{found:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_what_a_plan_does_not_wait_for() {
    let shop = Shop::open().await;
    let delay = ApiFault::Slow(Duration::from_secs(4));
    for verb in ["get", "list", "create"] {
        let rule = Rule::new(delay.clone()).on(verb).until(shop.after(25));
        shop.world.faults().api(rule);
    }
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn a_start_does_not_begin_without_what_it_needs() {
    let shop = Shop::open().await;
    let hang = || Rule::new(ApiFault::Hang { applied: false }).on("list");
    for (resource, what) in [
        ("pods", "cannot list pods of app=reviews in namespace shop"),
        (
            "destinationrules",
            "cannot list destinationrules in namespace shop",
        ),
    ] {
        shop.world.faults().clear();
        shop.world.faults().api(hang().of(resource));
        let found = found_soon(&shop, brisk()).await;
        let told = trouble(&found);
        let refused = format!("Refuse {what}");
        assert!(
            told.iter().any(|told| told.starts_with(&refused)),
            "{told:#?}"
        );
        start_refuses(&shop, what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_rights_elsewhere_a_slow_cluster_is_seen_as_far_as_one_may() {
    let shop = Shop::open().await;
    for resource in ["virtualservices", "destinationrules"] {
        shop.world.deny(Denial::of("list", resource).everywhere());
    }
    let fast = plan(&shop, brisk()).await.unwrap().findings;
    slow_objects(&shop, 2);
    let found = found_soon(&shop, brisk()).await;
    let limit = "virtualservices and destinationrules were checked only in namespace shop";
    assert!(found.iter().any(|found| found.what == limit), "{found:#?}");
    assert_eq!(trouble(&found), trouble(&fast));
}

#[tokio::test(start_paused = true)]
async fn of_a_large_slow_cluster_the_namespaces_that_matter_are_seen() {
    let shop = shop_among(2_000).await;
    slow_objects(&shop, 2);
    let found = found_soon(&shop, brisk()).await;
    let mut told = trouble(&found);
    assert!(
        !told.iter().any(|told| told.starts_with("Refuse")),
        "{told:#?}"
    );
    told.retain(|told| told.contains("cannot"));
    assert_eq!(told.len(), 2, "{told:#?}");
    for (told, plural) in told.iter().zip(["virtualservices", "destinationrules"]) {
        let expected = format!("Warn cannot list {plural} in all namespaces: no response within");
        assert!(told.starts_with(&expected), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn companions_are_read_beside_the_lead() {
    let shop = Shop::open_with(|stage| {
        stage.apply(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"namespace": "shop", "name": "edge"},
            "spec": {"hosts": ["shop.example.com"], "gateways": ["istio-system/public"], "http": [{"route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
            ]}]},
        }));
    })
    .await;
    let options = || brisk().or(with_flags(["--also", "edge"]));
    let fast = plan(&shop, options()).await.unwrap().findings;
    slow_objects(&shop, 2);
    let found = found_soon(&shop, options()).await;
    assert_eq!(trouble(&found), trouble(&fast));
    let prometheus = "istio-system/prometheus";
    assert_eq!(rest(&found, prometheus), rest(&fast, prometheus));
}

#[tokio::test(start_paused = true)]
async fn whichever_half_of_the_reads_is_forbidden_each_is_said_and_the_rest_is_found() {
    let reads = [
        ("list", "virtualservices"),
        ("list", "destinationrules"),
        ("get", "services"),
        ("list", "pods"),
        ("list", "horizontalpodautoscalers"),
        ("get", "services/proxy"),
    ];
    let halves = (0_u32..1 << reads.len()).filter(|half| half.count_ones() == 3);
    let whole = {
        let shop = Shop::open().await;
        plan(&shop, brisk()).await.unwrap().findings
    };
    let may = rest(&whole, "istio-system");
    let may: Vec<_> = may.iter().filter(|what| what.starts_with("may")).collect();
    assert_eq!(may.len(), 3, "{whole:#?}");
    for half in halves {
        let shop = Shop::open().await;
        let is_forbidden = |index: &usize| half & (1 << index) != 0;
        for index in (0..reads.len()).filter(is_forbidden) {
            let (verb, resource) = reads[index];
            shop.world.deny(Denial::of(verb, resource));
        }
        let found = found_soon(&shop, brisk()).await;
        let told = trouble(&found);
        for (index, (verb, resource)) in reads.iter().enumerate() {
            // Nobody asks for the pods of a Service that is not to be seen, or for metrics of pods that are not.
            let depends_on: &[usize] = match *resource {
                "pods" => &[2],
                "services/proxy" => &[1, 2, 3],
                _ => &[],
            };
            if depends_on.iter().any(is_forbidden) {
                continue;
            }
            let word = match *resource {
                "services" => "get service ".to_owned(),
                "services/proxy" => "prometheus".to_owned(),
                resource => format!("list {resource}"),
            };
            let is_told = told.iter().any(|told| told.contains(&word));
            assert_eq!(
                is_told,
                is_forbidden(&index),
                "{verb} {resource}: {told:#?}"
            );
        }
        for what in &may {
            let is_there = found.iter().any(|found| found.what == **what);
            assert!(is_there, "{what}: {found:#?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_aggregated_api_server_that_is_down_concerns_nobody() {
    let shop = Shop::open().await;
    let whole = plan(&shop, brisk()).await.unwrap().findings;
    // Whoever asks what the server has, gets no answer; that includes the groups of others.
    let down = ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    };
    shop.world.faults().api(Rule::new(down).of(""));
    assert_eq!(
        trouble(&plan(&shop, brisk()).await.unwrap().findings),
        trouble(&whole)
    );
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    let calls = shop.world.calls();
    let asked_what_there_is = calls
        .iter()
        .filter(|call| call.status == Some(503) || ["/api", "/apis"].contains(&&*call.path));
    assert_eq!(asked_what_there_is.count(), 0);
}
