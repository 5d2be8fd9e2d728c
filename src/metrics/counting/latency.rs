//! How many requests took longer than a bound: the same ledger over histogram buckets.
//!
//! Buckets are counters too, so their increases are exact at the bounds Istio has, and nothing is
//! interpolated. A quantile would be a guess between two bounds, and could not be tested as a count.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::counter_log::CounterLog;
use super::interval::{Bin, Interval};
use super::quality::Quality;
use super::versions::{Reporter, SeriesOwner, Targets, label, quoted};
use super::window_counter::range;
use crate::metrics::source::Labels;
use crate::metrics::source::QueryResult;
use crate::verdict::Counts;

/// Istio's histogram of durations, in milliseconds.
const METRIC: &str = "istio_request_duration_milliseconds_bucket";

/// Where all requests are booked; a bound's bucket stands one behind its place among the bounds.
const ALL: usize = 0;

/// Counts the slow requests of both versions from a moment on.
///
/// Its windows are those of a [`WindowCounter`](super::Ledger) of the same beginning wherever the proxies report
/// durations along with requests, as Istio's do.
#[derive(Debug)]
pub struct LatencyCounter {
    targets: Targets,
    bounds: Vec<f64>,
    since: Timestamp,
    log: CounterLog,
    present: BTreeSet<(Reporter, SeriesOwner, usize)>,
}

/// What both versions did in one window, seen through one bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slower {
    /// The bound in milliseconds.
    pub bound: f64,
    /// Requests of the stable version; its `failures` are those slower than the bound.
    pub stable: Counts,
    /// The same of the canary.
    pub canary: Counts,
}

/// Slow requests between two sample timestamps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyWindow {
    /// Timestamp of the newest sample before the window.
    pub start: Timestamp,
    /// Timestamp of the newest sample in the window.
    pub end: Timestamp,
    /// The canary's share in force at its end.
    pub share: f64,
    /// One entry for each bound that the proxies have a bucket for.
    pub bounds: Vec<Slower>,
}

/// The windows that became complete with one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyObservation {
    /// Oldest first; empty if no scrape came, or if the answer was partial.
    pub windows: Vec<LatencyWindow>,
    /// How far they can be trusted.
    pub quality: Quality,
}

impl LatencyCounter {
    /// A ledger that counts what is slower than each of `bounds` (milliseconds) after `since`.
    ///
    /// A bound without a bucket of its own is left out of the windows: what lies between two buckets is
    /// not known.
    pub fn new(targets: Targets, since: Timestamp, bounds: Vec<f64>) -> Self {
        Self {
            targets,
            bounds,
            since,
            log: CounterLog::new(since),
            present: BTreeSet::new(),
        }
    }

    /// The query to ask at `now`: only the buckets that are needed, since a histogram has twenty.
    pub fn query(&self, now: Timestamp) -> String {
        self.query_over(self.range(now))
    }

    /// The query that reaches back this far.
    pub(crate) fn query_over(&self, range: SignedDuration) -> String {
        let mut buckets: Vec<String> = self.bounds.iter().map(|bound| spellings(*bound)).collect();
        buckets.push(r"\+Inf".to_owned());
        let matcher = format!(",le=~\"{}\"", quoted(&buckets.join("|")));
        self.targets.query_with(METRIC, &matcher, range)
    }

    /// How far the question at `now` must reach back; as for requests.
    pub fn range(&self, now: Timestamp) -> SignedDuration {
        range(&self.log, self.since, now)
    }

    /// Takes an answer and gives the windows that became complete with it.
    pub fn take(
        &mut self,
        answer: &QueryResult,
        share_at: impl Fn(Timestamp) -> f64,
    ) -> LatencyObservation {
        let mut warnings = answer.warnings.clone();
        let mut windows = Vec::new();
        let mut series = 0;
        let partial = answer.is_partial();
        if !partial {
            let (targets, bounds, present) = (&self.targets, &self.bounds, &mut self.present);
            let intake = self.log.take(answer, |labels| {
                let (reporter, owner) = targets.owner(labels)?;
                let bin = bin(labels, bounds)?;
                present.insert((reporter, owner, bin));
                Some(Bin {
                    reporter,
                    owner,
                    bin,
                })
            });
            series = intake.series;
            warnings.extend(intake.remark());
            while let Some(interval) = self.log.next_interval() {
                windows.push(self.window(&interval, share_at(interval.end)));
            }
        }
        LatencyObservation {
            windows,
            quality: Quality::of(&self.log, warnings, partial, 0, series),
        }
    }

    fn window(&self, interval: &Interval, share: f64) -> LatencyWindow {
        let bounds = self.bounds.iter().enumerate().filter_map(|(place, bound)| {
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
            (is_known(SeriesOwner::Stable) && is_known(SeriesOwner::Canary)).then(|| Slower {
                bound: *bound,
                stable: counts(SeriesOwner::Stable),
                canary: counts(SeriesOwner::Canary),
            })
        });
        LatencyWindow {
            start: interval.start,
            end: interval.end,
            share,
            bounds: bounds.collect(),
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
    use crate::metrics::source::Series;

    fn targets() -> Targets {
        let arm = |version: &str| VersionSelector {
            services: BTreeSet::from([ServiceKey {
                name: "reviews".into(),
                namespace: "shop".into(),
            }]),
            versions: BTreeSet::from([version.to_owned()]),
            ..VersionSelector::default()
        };
        Targets::new(arm("v1"), arm("v2")).unwrap()
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
            infos: Vec::new(),
            query: String::new(),
            at: at(100),
        }
    }

    #[test]
    fn slow_requests_are_all_less_those_in_the_bucket() {
        let mut ledger = LatencyCounter::new(targets(), at(0), vec![100.0, 250.0, 333.0]);
        let seen = ledger.take(
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
            seen.windows[1].bounds,
            [
                Slower {
                    bound: 100.0,
                    stable: counts(100, 20),
                    canary: counts(10, 6)
                },
                Slower {
                    bound: 250.0,
                    stable: counts(100, 1),
                    canary: counts(10, 0)
                },
            ]
        );
        assert_eq!(seen.quality.series, 6);
    }

    #[test]
    fn a_bound_without_a_bucket_is_left_out_rather_than_all_slow() {
        let mut ledger = LatencyCounter::new(targets(), at(0), vec![100.0]);
        let seen = ledger.take(
            &answer(&[
                ("v1", "100", [0., 0., 0., 80., 160.]),
                ("v1", "+Inf", [0., 0., 0., 100., 200.]),
                ("v2", "+Inf", [0., 0., 0., 10., 20.]),
            ]),
            |_| 0.1,
        );
        assert!(seen.windows.iter().all(|window| window.bounds.is_empty()));
    }

    #[test]
    fn the_query_names_the_buckets_in_every_spelling() {
        let ledger = LatencyCounter::new(targets(), at(0), vec![0.5, 100.0, 1_800_000.0]);
        let query = ledger.query(at(0));
        assert!(
            query.contains(r#",le=~"0\\.5|100|100\\.0|1800000|1800000\\.0|1\\.8e\\+06|\\+Inf"}["#),
            "{query}"
        );
    }
}
