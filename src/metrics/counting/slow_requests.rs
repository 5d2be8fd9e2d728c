//! What is counted of durations: how many requests took longer than a bound.
//!
//! Buckets are counters too, so their increases are exact at the bounds Istio has, and nothing is
//! interpolated. A quantile would be a guess between two bounds, and could not be tested as a count.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::interval::Interval;
use super::unattributed::ShareOfWindow;
use super::versions::{Reporter, SeriesOwner, Targets, label, quoted};
use super::window_counter::{Classifier, SumPart};
use crate::metrics::source::Labels;
use crate::verdict::{Counts, Slow};

/// Istio's histogram of durations, in milliseconds.
const METRIC: &str = "istio_request_duration_milliseconds_bucket";

/// The most series that one query adds up.
const MOST_AT_ONCE: usize = 3_000;

/// The bin of all requests; a bound's bucket has the bin behind its place among the bounds.
const ALL: usize = 0;

/// Requests of both versions that were slower than each of some bounds.
#[derive(Debug)]
pub(super) struct SlowRequests {
    bounds: Vec<f64>,
    present: BTreeSet<(Reporter, SeriesOwner, usize)>,
}

/// Slow requests between two sample timestamps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SlowWindow {
    /// Timestamp of the newest sample before the window.
    pub start: Timestamp,
    /// Timestamp of the newest sample in the window.
    pub end: Timestamp,
    /// One entry for each bound that the proxies have a bucket for.
    pub slow: Vec<Slow>,
}

impl SlowRequests {
    /// Those slower than each of `bounds` (milliseconds).
    ///
    /// A bound without a bucket of its own is left out of the windows: what lies between two buckets is
    /// not known.
    pub fn new(bounds: Vec<f64>) -> Self {
        Self {
            bounds,
            present: BTreeSet::new(),
        }
    }

    fn buckets(&self) -> Vec<String> {
        let bounds = self.bounds.iter().map(|bound| spellings(*bound));
        bounds.chain([r"\+Inf".to_owned()]).collect()
    }
}

fn matcher(buckets: &[String]) -> String {
    format!(",le=~\"{}\"", quoted(&buckets.join("|")))
}

impl Classifier for SlowRequests {
    type Window = SlowWindow;

    /// Only the buckets that are needed, since a histogram has twenty.
    fn query(&self, targets: &Targets, range: SignedDuration) -> String {
        targets.query(METRIC, &matcher(&self.buckets()), range)
    }

    fn parts(&self, _: &Targets, series: usize) -> Vec<SumPart<'_>> {
        let at_once = (MOST_AT_ONCE / series.max(1)).max(1);
        let buckets = self.buckets();
        let parts = buckets.chunks(at_once).map(|buckets| SumPart {
            metric: METRIC,
            more: matcher(buckets),
            dropped: &["response_code", "grpc_response_status"],
            kept: &["le"],
            operations: None,
            newest: false,
        });
        parts.collect()
    }

    fn bin(
        &mut self,
        _: &Targets,
        (reporter, owner): (Reporter, SeriesOwner),
        labels: &Labels,
    ) -> Option<usize> {
        let bin = bin(labels, &self.bounds)?;
        self.present.insert((reporter, owner, bin));
        Some(bin)
    }

    fn window(&mut self, interval: &Interval, _: ShareOfWindow) -> SlowWindow {
        let bounds = self.bounds.iter().enumerate();
        let slow = bounds.filter_map(|(place, bound)| {
            let bin = place + 1;
            let is_known = |owner| {
                let has = |bin| self.present.contains(&(interval.reporter, owner, bin));
                // Without its bucket every request would look slow.
                has(bin) || !has(ALL)
            };
            let counts = |owner| {
                let requests = interval.sum(owner, ALL);
                Counts {
                    requests,
                    failures: requests.saturating_sub(interval.sum(owner, bin)),
                }
            };
            (is_known(SeriesOwner::Stable) && is_known(SeriesOwner::Canary)).then(|| Slow {
                bound_ms: *bound,
                stable: counts(SeriesOwner::Stable),
                canary: counts(SeriesOwner::Canary),
            })
        });
        SlowWindow {
            start: interval.start,
            end: interval.end,
            slow: slow.collect(),
        }
    }
}

/// Which of the things counted a bucket is.
fn bin(labels: &Labels, bounds: &[f64]) -> Option<usize> {
    match label(labels, "le") {
        "+Inf" => Some(ALL),
        le => {
            let le: f64 = le.parse().ok()?;
            let place = bounds.iter().position(|bound| *bound == le)?;
            Some(place + 1)
        }
    }
}

/// The ways a bound is written as a label: `100`, `100.0` (Prometheus 3), `1.8e+06` (Go, from a million).
fn spellings(bound: f64) -> String {
    let plain = format!("{bound}").replace('.', r"\.");
    let mut all = vec![plain.clone()];
    if bound.fract() == 0.0 {
        all.push(format!(r"{plain}\.0"));
    }
    if bound >= 1e6 {
        let scientific = format!("{bound:e}");
        if let Some((digits, power)) = scientific.split_once('e') {
            all.push(format!(r"{}e\+{power:0>2}", digits.replace('.', r"\.")));
        }
    }
    all.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::counting::versions::{ServiceKey, VersionSelector};
    use crate::metrics::counting::window_counter::WindowCounter;
    use crate::metrics::source::{QueryResult, Series};

    fn targets() -> Targets {
        let selector = |version: &str| VersionSelector {
            services: BTreeSet::from([ServiceKey {
                name: "reviews".into(),
                namespace: "shop".into(),
            }]),
            versions: BTreeSet::from([version.to_owned()]),
            ..VersionSelector::default()
        };
        Targets::new(selector("v1"), selector("v2")).unwrap()
    }

    fn counter(bounds: Vec<f64>) -> WindowCounter<SlowRequests> {
        WindowCounter::new(targets(), at(0), SlowRequests::new(bounds))
    }

    fn slow(bound_ms: f64, stable: Counts, canary: Counts) -> Slow {
        Slow {
            bound_ms,
            stable,
            canary,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn answer(lines: &[(&str, &str, [f64; 5])]) -> QueryResult {
        let series = lines.iter().map(|(version, le, values)| Series {
            labels: [
                ("instance", "a"),
                ("reporter", "source"),
                ("destination_service_name", "reviews"),
                ("destination_service_namespace", "shop"),
                ("destination_workload", "w"),
                ("destination_version", version),
                ("le", le),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            samples: (-2..).map(|n| at(n * 15 + 5)).zip(*values).collect(),
        });
        QueryResult {
            series: series.collect(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn slow_requests_are_all_less_those_in_the_bucket() {
        let mut counter = counter(vec![100.0, 250.0, 333.0]);
        let seen = counter.take(
            &answer(&[
                ("v1", "100.0", [0., 0., 0., 80., 160.]),
                ("v1", "250", [0., 0., 0., 99., 198.]),
                ("v1", "500", [0., 0., 0., 100., 200.]),
                ("v1", "+Inf", [0., 0., 0., 100., 200.]),
                ("v2", "100.0", [0., 0., 0., 4., 8.]),
                ("v2", "250", [0., 0., 0., 9., 19.]),
                ("v2", "+Inf", [0., 0., 0., 10., 20.]),
            ]),
            |_| 0.1,
        );
        let counts = |requests, failures| Counts { requests, failures };
        assert_eq!(seen.windows.len(), 2);
        assert_eq!(
            seen.windows[1].slow,
            [
                slow(100.0, counts(100, 20), counts(10, 6)),
                slow(250.0, counts(100, 1), counts(10, 0)),
            ]
        );
        assert_eq!(seen.quality.series, 6);
    }

    #[test]
    fn a_bound_without_a_bucket_is_left_out_rather_than_all_slow() {
        let mut counter = counter(vec![100.0]);
        let seen = counter.take(
            &answer(&[
                ("v1", "100", [0., 0., 0., 80., 160.]),
                ("v1", "+Inf", [0., 0., 0., 100., 200.]),
                ("v2", "+Inf", [0., 0., 0., 10., 20.]),
            ]),
            |_| 0.1,
        );
        assert!(seen.windows.iter().all(|window| window.slow.is_empty()));
    }

    #[test]
    fn the_query_names_the_buckets_in_every_spelling() {
        let counter = counter(vec![0.5, 100.0, 1_800_000.0]);
        let query = counter.query(SignedDuration::from_secs(60));
        assert!(
            query.contains(r#",le=~"0\\.5|100|100\\.0|1800000|1800000\\.0|1\\.8e\\+06|\\+Inf"}["#),
            "{query}"
        );
    }
}
