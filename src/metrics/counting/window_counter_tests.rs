//! What a counter of requests promises, on a small Prometheus made of lines.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::requests::Requests;
use super::versions::{ServiceKey, Targets, VersionSelector};
use super::warning::MetricsWarning;
use super::window_counter::{Counted, WindowCounter};
use crate::metrics::source::{Labels, QueryResult, Series};
use crate::verdict::{Counts, Window};

/// When the counters of these tests begin, in seconds.
const SINCE: i64 = 1_700_000_000;

fn at(second: f64) -> Timestamp {
    Timestamp::from_millisecond(SINCE * 1000 + (second * 1000.0).round() as i64).unwrap()
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

/// `instance reporter workload code`
fn labels(text: &str) -> Labels {
    let parts: Vec<&str> = text.split(' ').collect();
    [
        ("__name__", "istio_requests_total"),
        ("job", "envoy"),
        ("instance", parts[0]),
        ("reporter", parts[1]),
        ("destination_workload", parts[2]),
        ("response_code", parts[3]),
        ("destination_service_name", "reviews"),
        ("destination_service_namespace", "shop"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Samples of one series: (second after the beginning, value).
type Line<'a> = (&'a str, &'a [(f64, f64)]);

/// The answer to one query. What is there before the beginning was sampled twice before that.
fn answer(lines: &[Line<'_>]) -> QueryResult {
    let series = lines.iter().map(|(text, samples)| {
        let first = samples.first().filter(|(time, _)| *time < 0.0);
        let earlier = first
            .into_iter()
            .flat_map(|(time, value)| [(time - 30.0, *value), (time - 15.0, *value)]);
        Series {
            labels: labels(text),
            samples: earlier
                .chain(samples.iter().copied())
                .map(|(time, value)| (at(time), value))
                .collect(),
        }
    });
    QueryResult {
        series: series.collect(),
        warnings: Vec::new(),
    }
}

fn requests() -> WindowCounter<Requests> {
    WindowCounter::new(targets(), at(0.0), Requests::default())
}

fn look(lines: &[Line<'_>]) -> Counted<Window> {
    requests().take(&answer(lines), |_| 0.1)
}

/// Windows as (start, end, stable, canary), requests and failures.
type Row = (f64, f64, (u64, u64), (u64, u64));

fn rows(windows: &[Window]) -> Vec<Row> {
    let second = |time: Timestamp| (time.as_millisecond() - SINCE * 1000) as f64 / 1000.0;
    let pair = |counts: Counts| (counts.requests, counts.failures);
    windows
        .iter()
        .map(|w| {
            (
                second(w.start),
                second(w.end),
                pair(w.stable),
                pair(w.canary),
            )
        })
        .collect()
}

#[test]
fn windows_hold_what_was_counted_between_two_scrapes() {
    let seen = look(&[
        (
            "a source v1 200",
            &[(-5., 100.), (10., 190.), (25., 280.), (40., 370.)],
        ),
        (
            "a source v1 503",
            &[(-5., 1.), (10., 1.), (25., 3.), (40., 3.)],
        ),
        (
            "a source v2 200",
            &[(-5., 0.), (10., 10.), (25., 20.), (40., 29.)],
        ),
        ("a source v2 0", &[(40., 1.)]),
    ]);
    assert_eq!(
        rows(&seen.windows),
        [(10., 25., (92, 2), (10, 0)), (25., 40., (90, 0), (10, 1))]
    );
    let quality = seen.quality;
    assert_eq!(quality.warnings, []);
    assert_eq!(quality.scrape_interval, Some(SignedDuration::from_secs(15)));
    assert_eq!(quality.newest.canary, Some(at(40.)));
    assert_eq!(quality.versions_apart, Some(SignedDuration::ZERO));
    assert_eq!(quality.series, 4);
    assert!(quality.is_sound(at(80.)) && !quality.is_sound(at(86.)));
}

#[test]
fn a_restart_counts_from_zero() {
    let seen = look(&[(
        "a source v1 200",
        &[(-5., 100.), (10., 190.), (25., 7.), (40., 17.)],
    )]);
    assert_eq!(
        rows(&seen.windows),
        [(10., 25., (7, 0), (0, 0)), (25., 40., (10, 0), (0, 0))]
    );
}

#[test]
fn a_new_series_counts_from_zero_only_where_its_target_was_seen_before() {
    let steady = [
        (-5., 0.),
        (10., 0.),
        (25., 10.),
        (40., 20.),
        (55., 30.),
        (70., 40.),
    ];
    let seen = look(&[
        ("a source v1 200", &steady),
        // New on a proxy that was scraped without it.
        (
            "a source v2 500",
            &[(25., 4.), (40., 5.), (55., 5.), (70., 5.)],
        ),
        // New with its proxy: who knows since when it counts.
        (
            "b source v2 200",
            &[(24., 1000.), (39., 1003.), (54., 1006.), (69., 1009.)],
        ),
    ]);
    assert_eq!(
        rows(&seen.windows),
        [
            (10., 25., (10, 0), (4, 4)),
            (25., 40., (10, 0), (1, 1)),
            // The new proxy takes part once it is certainly there, with all it has counted since.
            (40., 55., (10, 0), (0, 0)),
            (55., 70., (10, 0), (9, 0)),
        ]
    );
}

#[test]
fn proxies_at_other_phases_and_intervals_give_every_request_once() {
    let fast: Vec<(f64, f64)> = (-2..=12)
        .map(|n| (f64::from(n) * 5.0 + 1.0, f64::from(n + 2)))
        .collect();
    let slow = [
        (-25., 0.),
        (-10., 0.),
        (5., 10.),
        (20., 20.),
        (35., 30.),
        (50., 40.),
        (65., 50.),
    ];
    let seen = look(&[("a source v1 200", &fast), ("b source v1 200", &slow)]);
    assert_eq!(
        rows(&seen.windows),
        [
            (5., 20., (11, 0), (0, 0)),
            (20., 35., (13, 0), (0, 0)),
            (35., 50., (13, 0), (0, 0)),
            (50., 65., (13, 0), (0, 0)),
        ]
    );
}

#[test]
fn a_proxy_that_went_away_holds_nobody_up_and_loses_nothing() {
    let fast: Vec<(f64, f64)> = (-1..=8)
        .map(|n| (f64::from(n) * 15.0, f64::from(n + 1) * 10.0))
        .collect();
    let seen = look(&[
        ("a source v1 200", &fast),
        (
            "b source v2 200",
            &[(-10., 0.), (5., 5.), (20., 10.), (95., 40.), (110., 45.)],
        ),
    ]);
    assert_eq!(
        rows(&seen.windows),
        [
            (15., 30., (10, 0), (5, 0)),
            (30., 45., (10, 0), (0, 0)),
            (45., 60., (10, 0), (0, 0)),
            (60., 75., (10, 0), (0, 0)),
            (75., 90., (10, 0), (0, 0)),
            (90., 105., (10, 0), (0, 0)),
            (105., 120., (10, 0), (35, 0)),
        ]
    );
}

#[test]
fn the_callers_view_is_taken_and_never_added_to_the_other() {
    let steady = [(-5., 0.), (10., 10.), (25., 20.)];
    let both = look(&[
        ("a source v1 200", &steady),
        ("p destination v1 200", &steady),
        ("q destination v2 200", &steady),
    ]);
    assert_eq!(rows(&both.windows), [(10., 25., (10, 0), (0, 0))]);
    assert_eq!(both.quality.warnings, []);

    let one = look(&[
        ("p destination v1 200", &steady),
        ("q destination v2 200", &steady),
    ]);
    assert_eq!(rows(&one.windows), [(10., 25., (10, 0), (10, 0))]);
    assert_eq!(one.quality.warnings, [MetricsWarning::OnlyDestination]);
}

#[test]
fn a_dead_canary_is_found_among_the_unknown() {
    let seen = look(&[
        ("a source v1 200", &[(-5., 0.), (10., 0.), (25., 9000.)]),
        ("a source unknown 503", &[(25., 1000.)]),
    ]);
    assert_eq!(rows(&seen.windows), [(10., 25., (9090, 90), (910, 910))]);
}

#[test]
fn nothing_is_taken_from_a_partial_answer() {
    let lines: [Line<'_>; 1] = [("a source v1 200", &[(-5., 0.), (10., 1.), (25., 5.)])];
    let mut counter = requests();
    let mut partial = answer(&lines);
    partial
        .warnings
        .push("store-2: context deadline exceeded".into());
    let seen = counter.take(&partial, |_| 0.1);
    assert!(seen.windows.is_empty() && seen.quality.partial);
    assert!(!seen.quality.is_sound(at(30.)));
    let seen = counter.take(&answer(&lines), |_| 0.1);
    assert_eq!(rows(&seen.windows), [(10., 25., (4, 0), (0, 0))]);
}

#[test]
fn samples_that_are_no_counts_are_left_out_once_and_said() {
    let lines: [Line<'_>; 1] = [(
        "a source v1 200",
        &[(-5., 0.), (10., 1.), (25., f64::NAN), (40., 5.), (55., -1.)],
    )];
    let mut counter = requests();
    let seen = counter.take(&answer(&lines), |_| 0.1);
    assert_eq!(
        rows(&seen.windows),
        [
            (10., 25., (0, 0), (0, 0)),
            (25., 40., (4, 0), (0, 0)),
            (40., 55., (0, 0), (0, 0))
        ]
    );
    let left_out = MetricsWarning::SamplesLeftOut { samples: 2 };
    assert_eq!(seen.quality.warnings, [left_out]);
    assert!(
        counter
            .take(&answer(&lines), |_| 0.1)
            .quality
            .warnings
            .is_empty()
    );
}

#[test]
fn metrics_that_are_no_counts_any_more_go_stale() {
    let lines: [Line<'_>; 1] = [(
        "a source v1 200",
        &[
            (-5., 0.),
            (10., 1.),
            (25., f64::NAN),
            (40., f64::NAN),
            (55., f64::NAN),
            (70., f64::NAN),
        ],
    )];
    let mut counter = requests();
    let seen = counter.take(&answer(&lines), |_| 0.1);
    assert_eq!(seen.quality.newest.stable, Some(at(10.)));
    assert!(seen.quality.is_sound(at(54.)) && !seen.quality.is_sound(at(56.)));
}

#[test]
fn without_any_series_there_is_no_window_and_no_good_news() {
    let seen = look(&[]);
    assert!(seen.windows.is_empty());
    assert_eq!(seen.quality.newest.overall, None);
    assert!(!seen.quality.is_sound(at(0.)));
}

#[test]
fn a_window_has_the_weight_in_force_at_its_end_and_steps_count_from_their_beginning() {
    let lines: [Line<'_>; 2] = [
        (
            "a source v1 200",
            &[(-5., 0.), (10., 10.), (25., 20.), (40., 30.), (55., 40.)],
        ),
        (
            "b source v2 200",
            &[(-9., 0.), (6., 10.), (21., 20.), (36., 30.), (51., 40.)],
        ),
    ];
    let mut counter = requests();
    let began = at(22.);
    let share = |time: Timestamp| if time >= began { 0.5 } else { 0.1 };
    let seen = counter.take(&answer(&lines), share);
    let shares: Vec<f64> = seen.windows.iter().map(|window| window.share).collect();
    assert_eq!(shares, [0.5, 0.5, 0.5]);
    // The second starts at 25, but holds b's requests from 21 on.
    let of_step: Vec<_> = seen
        .windows
        .iter()
        .filter(|w| w.lies_after(began))
        .collect();
    assert_eq!(of_step.len(), 1);
    let counted = (of_step[0].stable.requests, of_step[0].canary.requests);
    assert_eq!(counted, (10, 10));
}

#[test]
fn questions_reach_back_far_enough_and_not_without_end() {
    let mut counter = requests();
    assert_eq!(counter.range(at(1.)).as_secs(), 302);
    assert_eq!(counter.range(at(3600.)).as_secs(), 3901);
    counter.take(
        &answer(&[(
            "a source v1 200",
            &[(-35., 0.), (10., 1.), (55., 2.), (100., 3.)],
        )]),
        |_| 0.1,
    );
    assert_eq!(counter.range(at(101.)).as_secs(), 182);
    assert_eq!(counter.range(at(1e9)).as_hours(), 7 * 24);
    assert!(counter.query(counter.range(at(101.))).ends_with("[182s]"));
}

/// A proxy and its counters, as they are scraped.
#[derive(Clone, Debug)]
struct Proxy {
    interval: f64,
    phase: f64,
    /// How many seconds late a sample can be read.
    lag: f64,
    born: f64,
    dies: f64,
    missed: Vec<usize>,
    counters: Vec<Counter>,
}

#[derive(Clone, Debug)]
struct Counter {
    kind: usize,
    born: f64,
    resets: f64,
    rate: u64,
}

const KINDS: [&str; 7] = [
    "source v1 200",
    "source v1 503",
    "source v2 200",
    "source v2 0",
    "source unknown 503",
    "destination v1 200",
    "source v3 200",
];

const END: f64 = 400.0;

impl Proxy {
    fn times(&self) -> Vec<f64> {
        (0..)
            .map(|n| {
                (
                    n,
                    -300.0
                        + 1.0
                        + (self.phase * (self.interval - 1.0)).floor()
                        + n as f64 * self.interval,
                )
            })
            .take_while(|(_, time)| *time < END.min(self.dies))
            .filter(|(n, time)| *time >= self.born && !self.missed.contains(n))
            .map(|(_, time)| time)
            .collect()
    }
}

impl Counter {
    fn value(&self, time: f64) -> Option<f64> {
        // After a restart it counts again, at a pace that makes both small and large values.
        let from = if time >= self.resets {
            self.resets
        } else {
            -1000.0
        };
        (time >= self.born).then(|| ((time - from.max(self.born)) * self.rate as f64 / 7.0).floor())
    }
}

/// What Prometheus answers at `now` about the last `range` seconds.
fn ask(proxies: &[Proxy], now: f64, range: f64) -> QueryResult {
    let mut series = Vec::new();
    for (index, proxy) in proxies.iter().enumerate() {
        let times = proxy.times();
        for counter in &proxy.counters {
            let samples: Vec<_> = times
                .iter()
                .filter(|time| **time > now - range && **time + proxy.lag <= now)
                .filter_map(|time| Some((at(*time), counter.value(*time)?)))
                .collect();
            if !samples.is_empty() {
                let text = format!("p{index} {}", KINDS[counter.kind]);
                series.push(Series {
                    labels: labels(&text),
                    samples,
                });
            }
        }
    }
    QueryResult {
        series,
        ..answer(&[])
    }
}

fn counter() -> impl Strategy<Value = Counter> {
    let born = prop_oneof![Just(-1000.0), -300.0..END];
    let resets = prop_oneof![3 => Just(1e9), 1 => -300.0..END];
    (0..KINDS.len(), born, resets, 0_u64..200).prop_map(|(kind, born, resets, rate)| Counter {
        kind,
        born,
        resets,
        rate,
    })
}

fn proxy() -> impl Strategy<Value = Proxy> {
    (
        prop_oneof![Just(5.0), Just(15.0), Just(30.0)],
        0.0..1.0_f64,
        0.0..2.4_f64,
        prop_oneof![3 => Just(-1000.0), 1 => -300.0..END],
        prop_oneof![3 => Just(1e9), 1 => 0.0..END],
        proptest::collection::vec(0_usize..100, 0..4),
        proptest::collection::vec(counter(), 1..5),
    )
        .prop_map(|(interval, phase, lag, born, dies, missed, mut counters)| {
            counters.sort_by_key(|counter| counter.kind);
            counters.dedup_by_key(|counter| counter.kind);
            Proxy {
                interval,
                phase,
                lag,
                born,
                dies,
                missed,
                counters,
            }
        })
}

/// The share in these tests changes a few times.
fn share(time: Timestamp) -> f64 {
    match (time.as_second() - SINCE) / 100 {
        ..1 => 0.01,
        1 => 0.1,
        2 => 0.5,
        _ => 1.0,
    }
}

proptest! {
    #[test]
    fn windows_do_not_depend_on_when_one_looks(
        proxies in proptest::collection::vec(proxy(), 1..5),
        mut looks in proptest::collection::vec(0.0..END, 0..60),
    ) {
        looks.sort_by(f64::total_cmp);
        looks.push(END + 60.0);
        let mut often = requests();
        let mut seen = Vec::new();
        for now in looks {
            let range = often.range(at(now)).as_secs_f64();
            seen.extend(often.take(&ask(&proxies, now, range), share).windows);
        }
        let mut once = requests();
        let range = once.range(at(END + 60.0)).as_secs_f64();
        let whole = once.take(&ask(&proxies, END + 60.0, range), share).windows;
        prop_assert_eq!(rows(&seen), rows(&whole));
        prop_assert_eq!(&seen, &whole);
        let mut watermark = None;
        for window in &whole {
            prop_assert!(window.start < window.end);
            prop_assert!(window.stable.failures <= window.stable.requests);
            prop_assert!(window.canary.failures <= window.canary.requests);
            prop_assert!(watermark.is_none_or(|watermark| watermark == window.start));
            watermark = Some(window.end);
        }
    }

    #[test]
    fn every_request_is_counted_once(
        mut proxies in proptest::collection::vec(proxy(), 1..5),
        mut looks in proptest::collection::vec(0.0..END, 0..30),
    ) {
        // Proxies that are there from the beginning to the end, with gaps; counters that rest at the end,
        // so that what is still to come is nothing.
        for proxy in &mut proxies {
            proxy.born = -1000.0;
            proxy.dies = 1e9;
            let missed = 330.0..550.0;
            proxy.missed.retain(|n| missed.contains(&(*n as f64 * proxy.interval)));
            for counter in &mut proxy.counters {
                counter.born = -1000.0;
                counter.kind = counter.kind.min(4);
            }
            proxy.counters.dedup_by_key(|counter| counter.kind);
        }
        let rest = END - 200.0;
        let proxies_until = |now: f64, range: f64| {
            let mut answer = ask(&proxies, now, range);
            for series in &mut answer.series {
                let index: usize = series.labels["instance"][1..].parse().unwrap();
                let counter = proxies[index].counters.iter().find(|counter| {
                    labels(&format!("p{index} {}", KINDS[counter.kind])) == series.labels
                }).unwrap();
                for (time, value) in &mut series.samples {
                    if *time >= at(rest) {
                        *value = counter.value(rest).unwrap();
                    }
                }
            }
            answer
        };
        // Between the beginning and its first sample after it nobody is counted.
        let mut expected = 0.0;
        for proxy in &proxies {
            for counter in &proxy.counters {
                let values: Vec<f64> = proxy.times().into_iter().filter(|time| *time > 0.0)
                    .map(|time| counter.value(time.min(rest)).unwrap()).collect();
                expected += values.windows(2)
                    .map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] })
                    .sum::<f64>();
            }
        }
        looks.sort_by(f64::total_cmp);
        looks.push(END + 60.0);
        let mut counter = requests();
        let mut windows = Vec::new();
        for now in looks {
            let range = counter.range(at(now)).as_secs_f64();
            windows.extend(counter.take(&proxies_until(now, range), share).windows);
        }
        let counted: u64 = windows.iter().map(|w| w.stable.requests + w.canary.requests).sum();
        prop_assert_eq!(counted as f64, expected);
    }
}

/// Labels of a sum over proxies: by a recording rule, or as it is federated.
fn summed(text: &str, instance: &str) -> Labels {
    let mut labels = labels(text);
    labels.insert("instance".into(), instance.into());
    labels
}

/// Three gateways, summed; one of them goes away. Whatever it had counted is neither a reset nor requests.
#[test]
fn a_sum_that_loses_a_proxy_counts_nothing_at_that_scrape() {
    for instance in ["", "prometheus-federate:9090"] {
        let line = |workload_and_code: &str, values: [f64; 5]| Series {
            labels: summed(&format!("x source {workload_and_code}"), instance),
            samples: (-2..)
                .zip([values[0], values[0]].into_iter().chain(values))
                .map(|(scrape, value)| (at(15.0 * f64::from(scrape) + 1.0), value))
                .collect(),
        };
        let answer = QueryResult {
            series: vec![
                line("v1 200", [90_000.0, 90_900.0, 60_900.0, 61_800.0, 62_700.0]),
                line("v2 200", [900.0, 1_000.0, 700.0, 800.0, 900.0]),
                line("v2 503", [3.0, 3.0, 4.0, 4.0, 5.0]),
            ],
            warnings: Vec::new(),
        };
        let counted = requests().take(&answer, |_| 0.1);
        let seen = rows(&counted.windows);
        let counts: Vec<_> = seen.iter().map(|row| (row.2, row.3)).collect();
        assert_eq!(
            counts,
            [
                ((900, 0), (100, 0)),
                ((0, 0), (0, 0)),
                ((900, 0), (100, 0)),
                ((900, 0), (101, 1)),
            ],
            "{instance:?}: {seen:?}"
        );
        assert!(counted.quality.warnings.contains(&MetricsWarning::Sums));
    }
}

/// A proxy that restarts counts from zero, and that is what it has counted.
#[test]
fn a_proxy_that_restarts_is_no_sum() {
    let counted = look(&[
        (
            "a source v1 200",
            &[
                (-1.0, 9_000.0),
                (14.0, 9_900.0),
                (29.0, 450.0),
                (44.0, 1_350.0),
            ],
        ),
        (
            "a source v2 200",
            &[(-1.0, 900.0), (14.0, 1_000.0), (29.0, 50.0), (44.0, 150.0)],
        ),
    ]);
    let counts: Vec<_> = rows(&counted.windows).iter().map(|row| row.2.0).collect();
    assert_eq!(counts.last_chunk(), Some(&[450, 900]), "{counts:?}");
    assert!(!counted.quality.warnings.contains(&MetricsWarning::Sums));
}

/// One of several replicas of Prometheus behind a Service.
#[derive(Clone, Debug)]
struct Replica {
    /// When it scrapes, every 15 s.
    phase: f64,
    /// By how many seconds what it says of a moment is older.
    behind: f64,
    /// Since when it has samples.
    since: f64,
}

/// A counter on one proxy that two replicas scrape: what it stands at in the beginning, how fast it grows,
/// when it is reset, and when it comes to rest.
#[derive(Clone, Debug)]
struct Scraped {
    kind: usize,
    start: f64,
    rate: f64,
    resets: f64,
    rests: f64,
}

impl Scraped {
    fn value(&self, time: f64) -> f64 {
        let time = time.min(self.rests);
        match time < self.resets {
            true => (self.start + (time + 1000.0) * self.rate).floor(),
            false => ((time - self.resets) * self.rate).floor(),
        }
    }

    /// What it counts between two times.
    fn growth(&self, from: f64, to: f64) -> f64 {
        if from < self.resets && self.resets <= to.min(self.rests) {
            return self.value(self.resets - 1e-6) - self.value(from) + self.value(to);
        }
        self.value(to) - self.value(from)
    }
}

impl Replica {
    fn answer(&self, counters: &[Scraped], now: f64, range: f64) -> QueryResult {
        let times = (-100..100).map(|n| f64::from(n) * 15.0 + self.phase);
        let from = (now - range).max(self.since);
        let times: Vec<f64> = times.filter(|time| *time > from && *time <= now).collect();
        let series = counters.iter().map(|counter| Series {
            labels: labels(&format!("a {}", KINDS[counter.kind])),
            samples: times
                .iter()
                .map(|time| (at(*time), counter.value(time - self.behind)))
                .collect(),
        });
        QueryResult {
            series: series.filter(|series| !series.samples.is_empty()).collect(),
            ..answer(&[])
        }
    }
}

/// What is counted while these replicas answer in turn, at these times.
fn counted_from(replicas: &[Replica], counters: &[Scraped], looks: &[(f64, usize)]) -> f64 {
    let mut counter = requests();
    let mut requests = 0;
    for (now, replica) in looks {
        let range = counter.range(at(*now)).as_secs_f64();
        let answer = replicas[replica % replicas.len()].answer(counters, *now, range);
        let windows = counter.take(&answer, share).windows;
        requests += windows
            .iter()
            .map(|w| w.stable.requests + w.canary.requests)
            .sum::<u64>();
    }
    requests as f64
}

#[test]
fn a_second_replica_that_is_behind_or_new_invents_nothing_and_true_resets_count() {
    let replica = |phase, behind, since| Replica {
        phase,
        behind,
        since,
    };
    let old = |behind| replica(7.0, behind, -1e9);
    let counter = |start, resets| Scraped {
        kind: 2,
        start,
        rate: 4.0,
        resets,
        rests: 300.0,
    };
    // A look every 5 s, now at the one and now at the other.
    let turns: Vec<_> = (0..80)
        .map(|n| (f64::from(n) * 5.0, (n as usize * 7 / 3) % 2))
        .collect();
    for (second, counter, expected) in [
        (old(0.0), counter(0.0, 1e9), 1170.0..=1200.0),
        (old(10.0), counter(0.0, 1e9), 1130.0..=1200.0),
        (old(40.0), counter(2_665.0, 1e9), 1130.0..=1200.0),
        (old(100.0), counter(50_000.0, 1e9), 1130.0..=1200.0),
        (
            replica(7.0, 0.0, 150.0),
            counter(2_665.0, 1e9),
            1130.0..=1200.0,
        ),
        (
            replica(7.0, 20.0, 150.0),
            counter(2_665.0, 1e9),
            1130.0..=1200.0,
        ),
        // What came between the last scrape and the reset is nobody's.
        (old(0.0), counter(9_000.0, 131.0), 1060.0..=1200.0),
        (old(20.0), counter(9_000.0, 131.0), 1060.0..=1200.0),
    ] {
        let replicas = [replica(0.0, 0.0, -1e9), second];
        let counted = counted_from(&replicas, &[counter], &turns);
        assert!(
            expected.contains(&counted),
            "{counted} of {expected:?} with {replicas:?}"
        );
    }
}

fn replica() -> impl Strategy<Value = Replica> {
    let since = prop_oneof![2 => Just(-1e9), 1 => 0.0..END];
    let behind = prop_oneof![1 => Just(0.0), 2 => 0.0..60.0];
    (0.0..15.0, behind, since).prop_map(|(phase, behind, since)| Replica {
        phase: f64::floor(phase),
        behind: f64::floor(behind),
        since,
    })
}

fn scraped() -> impl Strategy<Value = Scraped> {
    // One that is reset was high before, so that it does not stand as high again.
    let history = prop_oneof![(0.0..5_000.0, Just(1e9)), (Just(50_000.0), 0.0..END),];
    (0..5_usize, history, 0.0..20.0).prop_map(|(kind, (start, resets), rate)| Scraped {
        kind,
        start: f64::floor(start),
        rate,
        resets,
        rests: END - 200.0,
    })
}

proptest! {
    #[test]
    fn replicas_that_take_turns_never_invent_a_request(
        mut replicas in proptest::collection::vec(replica(), 1..4),
        mut counters in proptest::collection::vec(scraped(), 1..4),
        looks in proptest::collection::vec((0.0..END, 0_usize..4), 0..60),
    ) {
        counters.sort_by_key(|counter| counter.kind);
        counters.dedup_by_key(|counter| counter.kind);
        // One that was there all the time has the last word.
        replicas.push(Replica { phase: 3.0, behind: 0.0, since: -1e9 });
        let mut looks = looks;
        looks.sort_by(|a, b| a.0.total_cmp(&b.0));
        looks.push((END + 60.0, replicas.len() - 1));
        let counted = counted_from(&replicas, &counters, &looks);
        let grown = |from: f64| counters.iter().map(|counter| counter.growth(from, END)).sum::<f64>();
        prop_assert!(counted <= grown(-60.0), "{} of at most {}", counted, grown(-60.0));
        // What a new replica has no sample for is given up where nobody asks before the range has passed it.
        let all_old = replicas.iter().all(|replica| replica.since < 0.0);
        if all_old && counters.iter().all(|counter| counter.resets > END) {
            prop_assert!(counted >= grown(90.0), "{} of at least {}", counted, grown(90.0));
        }
    }
}
