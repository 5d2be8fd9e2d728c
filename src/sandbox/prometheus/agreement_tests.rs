//! Raw samples and increases that the server adds up, held against one another.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use proptest::prelude::*;

use super::answer::Question;
use super::storage::{Labels, Storage};
use crate::cluster::Cluster;
use crate::metrics::{
    Collector, MetricsReading, PrometheusAccess, PrometheusAddress, ServiceKey, ServiceSource,
    Targets, VersionSelector,
};
use crate::sandbox::api::route::QueryParams;
use crate::verdict::{Counts, Window};

/// A multiple of every step in these tests, in seconds.
const SINCE: i64 = 1_700_000_010;
/// Nothing is counted before and after these seconds, so that what lies at the edges is nothing.
const ACTIVE: (f64, f64) = (60.0, 300.0);
const END: f64 = 460.0;
const LONG_AGO: f64 = -1000.0;

fn at(second: f64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds(second)).unwrap()
}

fn milliseconds(second: f64) -> i64 {
    SINCE * 1000 + (second * 1000.0).round() as i64
}

fn targets() -> Targets {
    let selector = |workload: &str| VersionSelector {
        services: BTreeSet::from([ServiceKey {
            name: "reviews".into(),
            namespace: "shop".into(),
        }]),
        workloads: BTreeSet::from([workload.to_owned()]),
        ..VersionSelector::default()
    };
    Targets::new(selector("v1"), selector("v2")).unwrap()
}

const KINDS: [(&str, &str); 4] = [("v1", "200"), ("v1", "503"), ("v2", "200"), ("v2", "0")];

fn labels(proxy: usize, (workload, code): (&str, &str)) -> Labels {
    let instance = format!("10.0.0.{proxy}:15020");
    [
        ("__name__", "istio_requests_total"),
        ("job", "envoy"),
        ("instance", &instance),
        ("reporter", "source"),
        ("destination_workload", workload),
        ("response_code", code),
        ("destination_service_name", "reviews"),
        ("destination_service_namespace", "shop"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

#[derive(Clone, Debug)]
struct Proxy {
    interval: f64,
    phase: f64,
    born: f64,
    dies: f64,
    missed: Vec<i32>,
    counters: Vec<Scraped>,
}

#[derive(Clone, Debug)]
struct Scraped {
    kind: usize,
    start: f64,
    born: f64,
    resets: f64,
    rate: u32,
}

impl Scraped {
    fn value(&self, time: f64) -> Option<f64> {
        let active = |time: f64| time.clamp(ACTIVE.0, ACTIVE.1);
        let per_second = f64::from(self.rate) / 7.0;
        let from = if time >= self.resets {
            self.resets
        } else {
            self.born
        };
        let start = if time >= self.resets { 0.0 } else { self.start };
        let counted = (active(time) - active(from)) * per_second;
        (time >= self.born).then(|| start + counted.floor())
    }
}

/// What Prometheus has of these proxies if it scrapes them so many seconds later.
fn scraped(proxies: &[Proxy], later: f64) -> Storage {
    let mut storage = Storage::new(SignedDuration::from_hours(1));
    for (index, proxy) in proxies.iter().enumerate() {
        let scrapes = (-40..).map(|n| {
            let time = f64::from(n) * proxy.interval + (proxy.phase * proxy.interval).floor();
            (n, time + later)
        });
        let scrapes: Vec<_> = scrapes.take_while(|(_, time)| *time < END).collect();
        for counter in &proxy.counters {
            let mut samples = Vec::new();
            for (n, time) in &scrapes {
                let is_there = *time >= proxy.born && *time < proxy.dies;
                let value = counter.value(*time);
                let value = value.filter(|_| is_there && !proxy.missed.contains(n));
                // A series that is not there any more is marked as stale.
                if value.is_some()
                    || samples
                        .last()
                        .is_some_and(|(_, last)| Option::is_some(last))
                {
                    samples.push((milliseconds(*time), value));
                }
            }
            storage.insert(labels(index, KINDS[counter.kind]), samples);
        }
    }
    storage
}

/// Prometheus as a driver asks it.
fn source(storage: &Arc<Storage>) -> ServiceSource {
    let storage = Arc::clone(storage);
    let service = tower::service_fn(move |request: Request<Body>| {
        let query = QueryParams::parse(request.uri().query().unwrap_or_default());
        let question = Question {
            storage: &storage,
            now: at(END),
            interval: 15_000,
            faults: &[],
        };
        let (status, body) = question.answer("api/v1/query", &query);
        let response = Response::builder().status(status);
        let response = response.body(Body::from(body.into_bytes())).unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    let PrometheusAddress::Service(address) = "mon/prom:9090".parse().unwrap() else {
        panic!("a Service");
    };
    let client = kube::Client::new(service, "default");
    let cluster = Cluster::new(client.clone(), Duration::from_secs(5));
    ServiceSource::new(
        client,
        &address,
        PrometheusAccess::default(),
        Arc::new(cluster),
    )
    .expect("no login is needed")
}

/// All windows of looks at these times, each at one of several replicas.
async fn windows(
    replicas: &[Arc<Storage>],
    reading: &MetricsReading,
    looks: &[(f64, usize)],
) -> Vec<Window> {
    let mut collector = Collector::new(targets(), at(0.0), Vec::new(), reading);
    let mut windows = Vec::new();
    for (now, replica) in looks {
        let source = source(&replicas[replica % replicas.len()]);
        let asked = collector.ask(&source, at(*now), Duration::from_secs(5));
        let answers = asked.await.unwrap();
        windows.extend(collector.take(&answers, |_| 0.1).windows);
    }
    windows
}

fn total(windows: &[Window]) -> [u64; 4] {
    let (mut stable, mut canary) = (Counts::default(), Counts::default());
    for window in windows {
        stable += window.stable;
        canary += window.canary;
    }
    [
        stable.requests,
        stable.failures,
        canary.requests,
        canary.failures,
    ]
}

/// Counted from raw samples in one look, and from increases in these.
fn both(proxies: &[Proxy], looks: &[f64]) -> [[u64; 4]; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let storage = [Arc::new(scraped(proxies, 0.0))];
        let raw = windows(&storage, &MetricsReading::default(), &[(END, 0)]).await;
        let looks: Vec<_> = looks.iter().chain([&END]).map(|now| (*now, 0)).collect();
        let added_up = windows(&storage, &MetricsReading::adding_up(15, false), &looks).await;
        [total(&raw), total(&added_up)]
    })
}

/// What these proxies counted of each version until they were gone: requests and failures.
fn growth(proxies: &[Proxy]) -> [u64; 4] {
    let mut growth = [0; 4];
    for proxy in proxies {
        let end = proxy.dies.min(END);
        for counter in &proxy.counters {
            let value = |time: f64| counter.value(time).unwrap_or_default();
            let before = value(end.min(counter.resets.next_down())) - counter.start;
            let after = if counter.resets <= end {
                value(end)
            } else {
                0.0
            };
            let (requests, of_all) = ((before.max(0.0) + after) as u64, counter.kind & !1);
            growth[of_all] += requests;
            growth[of_all + 1] += requests * (counter.kind as u64 & 1);
        }
    }
    growth
}

fn counter() -> impl Strategy<Value = Scraped> {
    let past = prop_oneof![(0.0..5_000.0, Just(LONG_AGO)), (Just(0.0), 0.0..ACTIVE.1),];
    let resets = prop_oneof![2 => Just(1e9), 1 => 130.0..ACTIVE.1];
    (0..KINDS.len(), past, resets, 0_u32..200).prop_map(|(kind, (start, born), resets, rate)| {
        Scraped {
            kind,
            start: f64::floor(start),
            born,
            resets: if resets > born { resets } else { 1e9 },
            rate,
        }
    })
}

fn proxy() -> impl Strategy<Value = Proxy> {
    (
        prop_oneof![Just(5.0), Just(15.0), Just(30.0)],
        0.0..1.0_f64,
        prop_oneof![2 => Just(LONG_AGO), 1 => 0.0..ACTIVE.1],
        prop_oneof![2 => Just(1e9), 1 => 100.0..ACTIVE.1],
        proptest::collection::vec(0..30, 0..4),
        proptest::collection::vec(counter(), 1..4),
    )
        .prop_map(|(interval, phase, born, dies, missed, mut counters)| {
            counters.sort_by_key(|counter| counter.kind);
            counters.dedup_by_key(|counter| counter.kind);
            // A proxy that always has something to show.
            counters[0].born = LONG_AGO;
            Proxy {
                interval,
                phase,
                born,
                dies,
                missed,
                counters,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Where every proxy is there from the beginning and scraped once a step: to the request, through resets,
    /// series that are new, proxies that go away and scrapes that are missed.
    #[test]
    fn both_ways_count_the_same_of_proxies_that_were_there(
        mut proxies in proptest::collection::vec(proxy(), 1..5),
        mut looks in proptest::collection::vec(0.0..END, 0..12),
    ) {
        // One that never goes away shows that time goes on.
        proxies[0].dies = 1e9;
        for proxy in &mut proxies {
            (proxy.interval, proxy.born) = (15.0, LONG_AGO);
        }
        looks.sort_by(f64::total_cmp);
        let [raw, added_up] = both(&proxies, &looks);
        prop_assert_eq!(raw, added_up);
    }

    /// Neither way; the raw one may be the lower, as it takes a series that was away for long for a new one.
    #[test]
    fn no_more_is_counted_than_there_was(
        mut proxies in proptest::collection::vec(proxy(), 1..5),
        mut looks in proptest::collection::vec(0.0..END, 0..12),
    ) {
        (proxies[0].born, proxies[0].dies) = (LONG_AGO, 1e9);
        looks.sort_by(f64::total_cmp);
        let there_was = growth(&proxies);
        for counted in both(&proxies, &looks) {
            for (counted, there_was) in counted.into_iter().zip(there_was) {
                prop_assert!(counted <= there_was, "{} of {}", counted, there_was);
            }
        }
    }

    #[test]
    fn replicas_that_take_turns_add_up_to_no_more_than_there_was(
        mut proxies in proptest::collection::vec(proxy(), 1..4),
        later in 0.0..40.0_f64,
        looks in proptest::collection::vec((0.0..END, 0..2_usize), 0..20),
    ) {
        let mut growth = 0.0;
        for proxy in &mut proxies {
            (proxy.born, proxy.dies) = (LONG_AGO, 1e9);
            for counter in &mut proxy.counters {
                (counter.born, counter.resets) = (LONG_AGO, 1e9);
                growth += counter.value(END).unwrap() - counter.value(0.0).unwrap();
            }
        }
        let mut looks = looks;
        looks.sort_by(|a, b| a.0.total_cmp(&b.0));
        looks.push((END, 0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let counted = runtime.block_on(async {
            let replicas = [0.0, later.floor()].map(|later| Arc::new(scraped(&proxies, later)));
            windows(&replicas, &MetricsReading::adding_up(15, false), &looks).await
        });
        let [stable, _, canary, _] = total(&counted);
        prop_assert!((stable + canary) as f64 <= growth, "{} of {}", stable + canary, growth);
    }
}

/// Many callers: the server adds up, and the wire carries a dozen rows.
#[tokio::test]
async fn many_series_are_added_up_and_few_are_read() {
    let counter = |kind, rate| Scraped {
        kind,
        start: 100.0,
        born: LONG_AGO,
        resets: 1e9,
        rate,
    };
    let proxy = |n: usize| Proxy {
        interval: 15.0,
        phase: (n % 15) as f64 / 15.0,
        born: LONG_AGO,
        dies: 1e9,
        missed: Vec::new(),
        counters: vec![counter(0, 70), counter(2, 7), counter(3, 1)],
    };
    for (callers, is_added_up) in [(20, false), (200, true)] {
        let proxies: Vec<_> = (0..callers).map(proxy).collect();
        let storage = [Arc::new(scraped(&proxies, 0.0))];
        let deadline = Duration::from_secs(5);
        let prometheus = source(&storage[0]);
        let chosen =
            MetricsReading::choose(&prometheus, &targets(), at(0.0), false, deadline).await;
        let chosen = chosen.unwrap();
        let step = SignedDuration::from_secs(15);
        let expected = is_added_up.then_some((step, 3 * callers));
        assert_eq!(chosen.added_up(), expected);
        let looks: Vec<_> = (0..31)
            .map(|n| (f64::from(n) * 15.0, 0))
            .chain([(END, 0)])
            .collect();
        let read = windows(&storage, &MetricsReading::default(), &[(END, 0)]).await;
        let counted = windows(&storage, &chosen, &looks).await;
        assert_eq!(total(&read), total(&counted));
        let requests = total(&counted);
        assert_eq!(requests[0], 2_400 * callers as u64);
    }
}
