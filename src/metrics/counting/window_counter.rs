//! Answers in, windows out: requests and failures of both versions, each counted once.

use jiff::{SignedDuration, Timestamp};

use super::counter_log::{CounterLog, LEAD};
use super::interval::{Bin, Interval};
use super::quality::{Observation, Quality};
use super::unattributed::{Named, Unattributed};
use super::versions::{FailureRule, Reporter, SeriesOwner, Targets};
use crate::metrics::source::QueryResult;
use crate::verdict::{Counts, Window};

/// Where requests are booked that went well, and that failed.
const FINE: usize = 0;
const FAILED: usize = 1;

/// An answer always overlaps what was counted before by this, and by four scrapes if that is more.
const OVERLAP: SignedDuration = SignedDuration::from_mins(2);
const OVERLAP_SCRAPES: i32 = 4;

/// No question reaches back further: what Prometheus would have to read is bounded.
const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Counts the requests of both versions from a moment on, or their connections.
///
/// Its windows follow from the timestamps of the samples alone, not from when one looked: the same past
/// gives the same windows, in one answer or in many that overlap.
#[derive(Debug)]
pub struct WindowCounter {
    targets: Targets,
    rule: FailureRule,
    since: Timestamp,
    log: CounterLog,
    unattributed: Unattributed,
    windows: Vec<Booked>,
}

#[derive(Debug)]
struct Booked {
    window: Window,
    opened: Timestamp,
}

impl WindowCounter {
    /// A ledger that counts what happens after `since`, with the default rule of what failed.
    pub fn new(targets: Targets, since: Timestamp) -> Self {
        Self {
            targets,
            rule: FailureRule::default(),
            since,
            log: CounterLog::new(since),
            unattributed: Unattributed::default(),
            windows: Vec::new(),
        }
    }

    /// The same with another rule. To be set before the first answer: series are judged once.
    pub fn with_rule(self, rule: FailureRule) -> Self {
        Self { rule, ..self }
    }

    /// The query to ask at `now`.
    pub fn query(&self, now: Timestamp) -> String {
        self.query_over(self.range(now))
    }

    /// The query that reaches back this far.
    pub(crate) fn query_over(&self, range: SignedDuration) -> String {
        self.targets.query(self.targets.counted().metric(), range)
    }

    /// How far the question at `now` must reach back.
    ///
    /// The first one reaches five minutes before the beginning, to know what was there already; a later one
    /// overlaps the last window by two minutes or four scrapes, so that a sample that turned up late is not
    /// missed. After an outage it covers the whole of it.
    pub fn range(&self, now: Timestamp) -> SignedDuration {
        range(&self.log, self.since, now)
    }

    /// Takes an answer and gives the windows that became complete with it.
    ///
    /// `share_at` tells the canary's share in force at a time. A window in which it changed has the new one.
    /// Of a partial answer nothing is taken: a series that is missing from it would look like one without
    /// requests. The next whole answer brings what it held.
    pub fn take(
        &mut self,
        answer: &QueryResult,
        share_at: impl Fn(Timestamp) -> f64,
    ) -> Observation {
        let mut warnings: Vec<String> = answer.warnings.clone();
        let mut series = 0;
        let mut windows = Vec::new();
        let mut unknown_requests = 0;
        let partial = answer.is_partial();
        if !partial {
            let (targets, rule) = (&self.targets, &self.rule);
            let intake = self.log.take(answer, |labels| {
                let (reporter, owner) = targets.owner(labels)?;
                let bin = if targets.counted().is_failure(rule, labels) {
                    FAILED
                } else {
                    FINE
                };
                Some(Bin {
                    reporter,
                    owner,
                    bin,
                })
            });
            series = intake.series;
            warnings.extend(intake.remark());
            while let Some(interval) = self.log.next_interval() {
                let (window, unknown) = self.book(&interval, share_at(interval.end));
                unknown_requests += unknown;
                windows.push(window);
            }
        }
        let quality = Quality::of(&self.log, warnings, partial, unknown_requests, series);
        Observation {
            windows,
            shadows: Vec::new(),
            quality,
        }
    }

    fn book(&mut self, interval: &Interval, share: f64) -> (Window, u64) {
        let counts = |owner| {
            let failures = interval.sum(owner, FAILED);
            Counts {
                requests: interval.sum(owner, FINE) + failures,
                failures,
            }
        };
        let named = Named {
            stable: counts(SeriesOwner::Stable),
            canary: counts(SeriesOwner::Canary),
            unknown: counts(SeriesOwner::Unknown),
        };
        let (stable, canary) = self.unattributed.assign(named, share);
        let window = Window {
            start: interval.start,
            end: interval.end,
            opened: Some(interval.opened),
            share,
            stable,
            canary,
            by_callees: interval.reporter == Reporter::Destination,
            ..Window::default()
        };
        self.windows.push(Booked {
            window: window.clone(),
            opened: interval.opened,
        });
        (window, named.unknown.requests)
    }

    /// Whether there are series that are counted.
    pub(crate) fn has_series(&self) -> bool {
        self.log.reporter().is_some()
    }

    /// All windows so far, oldest first.
    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        self.windows.iter().map(|booked| &booked.window)
    }

    /// The windows without any request from before `began`, for what is counted of a step.
    ///
    /// A window that starts after `began` may still hold earlier requests, if one of several targets was
    /// scraped last before it; such a window is not among these.
    pub fn windows_since(&self, began: Timestamp) -> impl Iterator<Item = &Window> {
        self.windows
            .iter()
            .filter(move |booked| booked.window.start >= began && booked.opened >= began)
            .map(|booked| &booked.window)
    }

    /// What stable and canary did since `began`, in that order.
    pub fn counts_since(&self, began: Timestamp) -> (Counts, Counts) {
        let mut sums = (Counts::default(), Counts::default());
        for window in self.windows_since(began) {
            sums.0 += window.stable;
            sums.1 += window.canary;
        }
        sums
    }
}

/// How far a question at `now` must reach back; see [`WindowCounter::range`].
pub(crate) fn range(log: &CounterLog, since: Timestamp, now: Timestamp) -> SignedDuration {
    let overlap = log
        .scrape_interval()
        .map_or(OVERLAP, |interval| OVERLAP.max(interval * OVERLAP_SCRAPES));
    let past = match log.watermark() {
        Some(watermark) => now.duration_since(watermark) + overlap,
        None => now.duration_since(since) + LEAD,
    };
    // Whole seconds, rounded up: a sample at the very edge must be within.
    SignedDuration::from_secs(past.as_secs() + 1).clamp(OVERLAP, LONGEST)
}
