//! What a user's counters did between the moments of a grid.
//!
//! The counters are read at every multiple of a step, which is the same for whoever reads them and whenever:
//! a driver that takes over comes to the same windows. What a series holds when it is first seen was counted
//! since the moment before, as a counter with labels is born with its first event; one that falls was reset.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};

use crate::metrics::source::{Labels, QueryResult};
use crate::plan::CounterPair;
use crate::verdict::{Counts, Window};

/// The answers to both queries of a guard, of stable and of the canary.
pub(super) type PairAnswers = [[QueryResult; 2]; 2];

/// The counters of one guard.
#[derive(Debug)]
pub(super) struct EventCounts {
    pair: CounterPair,
    /// In whole seconds.
    step: SignedDuration,
    /// Up to where they are in a window.
    watermark: Timestamp,
    /// Whether what the counters had before is known.
    is_begun: bool,
    /// The last value of each series, by version and query.
    last: [[HashMap<Labels, f64>; 2]; 2],
    /// What is in no window yet, since no sample of one version came with it.
    pending: [[f64; 2]; 2],
    /// Whether the canary is expected to have any.
    needs_canary: bool,
}

/// The grid's moment at a time, or the last before it.
fn on_grid(time: Timestamp, step: SignedDuration) -> Timestamp {
    let second = time.as_second();
    let second = second - second.rem_euclid(step.as_secs().max(1));
    Timestamp::from_second(second).unwrap_or(time)
}

impl EventCounts {
    /// What is counted after `since`.
    pub(super) fn new(pair: CounterPair, since: Timestamp, step: SignedDuration) -> Self {
        let step = SignedDuration::from_secs(step.as_secs().max(1));
        Self {
            pair,
            step,
            watermark: on_grid(since, step),
            is_begun: false,
            last: Default::default(),
            pending: Default::default(),
            needs_canary: true,
        }
    }

    /// The same of stable alone, from an earlier moment on.
    pub(super) fn of_stable_since(&self, since: Timestamp) -> Self {
        Self {
            needs_canary: false,
            ..Self::new(self.pair, since, self.step)
        }
    }

    /// What to ask of a query at `now`: its values at all moments that are not in a window yet, and that of
    /// the last one that is.
    pub(super) fn question(&self, query: &str, now: Timestamp) -> String {
        let back = now.duration_since(self.watermark).as_secs().max(0) + 1;
        format!("({query})[{back}s:{}s]", self.step.as_secs())
    }

    /// Whether a moment has come that is in no window yet.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        !self.is_begun || on_grid(now, self.step) > self.watermark
    }

    /// The windows up to `now`; `None` if a version has no series at all.
    pub(super) fn take(
        &mut self,
        answers: &PairAnswers,
        now: Timestamp,
        share_at: &dyn Fn(Timestamp) -> f64,
    ) -> Option<Vec<Window>> {
        let mut grown: BTreeMap<Timestamp, [Option<[f64; 2]>; 2]> = BTreeMap::new();
        for (version, queries) in answers.iter().enumerate() {
            for (query, answer) in queries.iter().enumerate() {
                for series in &answer.series {
                    let last = &mut self.last[version][query];
                    for (time, value) in &series.samples {
                        let is_known =
                            *time < self.watermark || *time == self.watermark && self.is_begun;
                        if is_known || !value.is_finite() || *value < 0.0 {
                            continue;
                        }
                        let before = last.insert(series.labels.clone(), *value);
                        if *time == self.watermark {
                            continue;
                        }
                        let more = match before {
                            Some(before) if *value >= before => value - before,
                            _ => *value,
                        };
                        let at = grown.entry(*time).or_default();
                        at[version].get_or_insert_default()[query] += more;
                    }
                }
            }
        }
        self.is_begun = true;
        let mut windows = Vec::new();
        for (end, versions) in grown {
            if end > now {
                break;
            }
            for (pending, more) in self.pending.iter_mut().zip(versions) {
                for (pending, more) in pending.iter_mut().zip(more.unwrap_or_default()) {
                    *pending += more;
                }
            }
            if versions[..self.needed()].iter().any(Option::is_none) {
                continue;
            }
            let [stable, canary] = std::mem::take(&mut self.pending).map(|seen| self.counts(seen));
            windows.push(Window {
                start: self.watermark,
                end,
                share: share_at(end),
                stable,
                canary,
                ..Window::default()
            });
            self.watermark = end;
        }
        let has_data = |queries: &[QueryResult; 2]| {
            let mut queries = queries.iter();
            queries.any(|answer| !answer.series.is_empty())
        };
        answers[..self.needed()]
            .iter()
            .all(has_data)
            .then_some(windows)
    }

    /// How many of the versions, stable first, have to have samples.
    fn needed(&self) -> usize {
        1 + usize::from(self.needs_canary)
    }

    fn counts(&self, [first, second]: [f64; 2]) -> Counts {
        let whole = |count: f64| count.round() as u64;
        let (first, second) = (whole(first), whole(second));
        // Two counters of one process are read at the same moment, and yet one may be ahead.
        let (failures, requests) = match self.pair {
            CounterPair::BadOfTotal => (first, second.max(first)),
            CounterPair::GoodOfTotal => (second.saturating_sub(first), second),
            CounterPair::BadAndGood => (first, first.saturating_add(second)),
        };
        Counts { requests, failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::source::Series;

    const STEP: SignedDuration = SignedDuration::from_secs(10);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Series of these values at these seconds.
    fn answer(series: &[&[(i64, f64)]]) -> QueryResult {
        let series = series.iter().enumerate().map(|(index, samples)| Series {
            labels: [("pod".to_owned(), index.to_string())].into(),
            samples: samples
                .iter()
                .map(|(time, value)| (at(*time), *value))
                .collect(),
        });
        QueryResult {
            series: series.collect(),
            warnings: Vec::new(),
        }
    }

    fn counted(windows: Vec<Window>) -> Vec<(i64, i64, [u64; 4])> {
        let windows = windows.into_iter();
        windows
            .map(|window| {
                let (stable, canary) = (window.stable, window.canary);
                (
                    window.start.as_second(),
                    window.end.as_second(),
                    [
                        stable.failures,
                        stable.requests,
                        canary.failures,
                        canary.requests,
                    ],
                )
            })
            .collect()
    }

    #[test]
    fn counters_are_counted_through_births_resets_and_gaps() {
        let mut counts = EventCounts::new(CounterPair::BadOfTotal, at(107), STEP);
        assert!(counts.is_due(at(107)));
        assert_eq!(counts.question("x", at(131)), "(x)[32s:10s]");
        let answers = [
            [
                // The second is born, the first reset.
                answer(&[&[(100, 50.0), (110, 52.0), (120, 1.0)], &[(120, 3.0)]]),
                answer(&[
                    &[(90, 0.0), (100, 500.0), (110, 600.0), (120, 20.0)],
                    &[(120, 4.0)],
                ]),
            ],
            // No sample at 110.
            [
                answer(&[]),
                answer(&[&[(100, 7.0), (120, 9.0), (130, f64::NAN)]]),
            ],
        ];
        let windows = counts.take(&answers, at(131), &|_| 0.1).unwrap();
        assert_eq!(counted(windows), [(100, 120, [6, 124, 0, 2])]);
        assert!(!counts.is_due(at(129)) && counts.is_due(at(130)));
        // What was read is not read again.
        let more = [
            [
                answer(&[&[(120, 1.0), (130, 1.0)]]),
                answer(&[&[(120, 20.0), (130, 30.0)]]),
            ],
            [answer(&[]), answer(&[&[(120, 9.0), (130, 10.0)]])],
        ];
        let windows = counts.take(&more, at(131), &|_| 0.1).unwrap();
        assert_eq!(counted(windows), [(120, 130, [0, 10, 0, 1])]);
        let nothing = [
            [answer(&[]), answer(&[&[(140, 30.0)]])],
            [answer(&[]), answer(&[])],
        ];
        assert_eq!(counts.take(&nothing, at(141), &|_| 0.1), None);
    }

    #[test]
    fn any_two_of_good_bad_and_total_say_the_same() {
        for (pair, first, second) in [
            (CounterPair::BadOfTotal, 2.0, 10.0),
            (CounterPair::GoodOfTotal, 8.0, 10.0),
            (CounterPair::BadAndGood, 2.0, 8.0),
        ] {
            let mut counts = EventCounts::new(pair, at(100), STEP);
            let version = || {
                [
                    answer(&[&[(100, 0.0), (110, first)]]),
                    answer(&[&[(100, 0.0), (110, second)]]),
                ]
            };
            let windows = counts.take(&[version(), version()], at(110), &|_| 0.5);
            assert_eq!(
                counted(windows.unwrap()),
                [(100, 110, [2, 10, 2, 10])],
                "{pair:?}"
            );
        }
    }
}
