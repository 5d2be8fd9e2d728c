//! Query results in, windows out: each request is counted once, whatever it is counted as.

use jiff::{SignedDuration, Timestamp};

use super::counter_log::{CounterLog, LEAD, OVERLAP};
use super::flaw::{Flaw, UnclaimedNames};
use super::interval::{Bin, Interval};
use super::mixed_stores::MixedStores;
use super::operations::Operations;
use super::quality::{Quality, Readable};
use super::unattributed::ShareOfWindow;
use super::versions::{Reporter, SeriesOwner, Targets};
use super::warning::MetricsWarning;
use crate::metrics::source::{Labels, QueryResult};
use crate::verdict::PROPAGATION;

/// An answer overlaps what was counted before by so many scrapes, if that is more than [`OVERLAP`].
const OVERLAP_SCRAPES: i32 = 4;

/// No query reaches back further, so that what Prometheus has to read is bounded.
const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What is added up by one query.
pub(super) struct SumPart<'a> {
    pub(super) metric: &'static str,
    /// Further matchers, each with a comma before it.
    pub(super) more: String,
    /// Labels of requests that do not matter, and one that does.
    pub(super) dropped: &'static [&'static str],
    pub(super) kept: &'static [&'static str],
    /// Operations that are added up each by itself.
    pub(super) operations: Option<&'a Operations>,
    /// Whether it asks for the newest samples too.
    pub(super) newest: bool,
}

/// What is counted of the series of one query.
pub(super) trait Classifier {
    /// What an interval comes to.
    type Window;

    /// The query over the last `range`.
    fn query(&self, targets: &Targets, range: SignedDuration) -> String;

    /// The bin that a series' increases belong to; `None` if they are not counted. It is asked once a
    /// series.
    fn bin(
        &mut self,
        targets: &Targets,
        owner: (Reporter, SeriesOwner),
        labels: &Labels,
    ) -> Option<usize>;

    /// What the server is asked to add up, in parts that take about as long where it has `series` series of
    /// requests.
    fn parts(&self, targets: &Targets, series: usize) -> Vec<SumPart<'_>>;

    /// Of how many series so far the labels tell a success from a failure.
    fn readable(&self) -> Readable {
        Readable::default()
    }

    /// What an interval comes to, at the canary's share that was in force.
    fn window(&mut self, interval: &Interval, share: ShareOfWindow) -> Self::Window;
}

/// Counts what both versions did from a moment on.
///
/// Its windows follow from the timestamps of the samples alone, not from when it was asked: the same time
/// gives the same windows, in one answer or in many that overlap. So two counters of the same beginning
/// have the same windows wherever the proxies report both counters, as Istio's do.
#[derive(Debug)]
pub(super) struct WindowCounter<C> {
    targets: Targets,
    classifier: C,
    since: Timestamp,
    log: CounterLog,
    stores: MixedStores,
    unclaimed: UnclaimedNames,
    /// Whether both versions get requests by their weights.
    is_shared: bool,
}

/// The windows that became complete with one answer, and how far they can be trusted.
#[derive(Debug)]
pub(super) struct Counted<W> {
    /// Oldest first; empty if no scrape came, or if the answer was partial.
    pub windows: Vec<W>,
    pub quality: Quality,
}

impl<C: Classifier> WindowCounter<C> {
    /// Counts what happens after `since`.
    pub fn new(targets: Targets, since: Timestamp, classifier: C) -> Self {
        Self {
            targets,
            classifier,
            since,
            log: CounterLog::new(since),
            stores: MixedStores::default(),
            unclaimed: UnclaimedNames::default(),
            is_shared: false,
        }
    }

    /// The query that reaches back this far.
    pub fn query(&self, range: SignedDuration) -> String {
        self.classifier.query(&self.targets, range)
    }

    /// How far the query at `now` must reach back.
    ///
    /// The first one reaches five minutes before the beginning, to know which series there were; a later one
    /// overlaps the last window by two minutes or four scrapes, so that a sample that turned up late is not
    /// missed. After an outage it covers the whole of it.
    pub fn range(&self, now: Timestamp) -> SignedDuration {
        let scrapes = self.log.scrape_interval();
        let overlap = scrapes.map_or(OVERLAP, |interval| OVERLAP.max(interval * OVERLAP_SCRAPES));
        let past = match self.log.watermark() {
            Some(watermark) => now.duration_since(watermark) + overlap,
            None => now.duration_since(self.since) + LEAD,
        };
        // Whole seconds, rounded up: a sample at the very watermark must be within.
        SignedDuration::from_secs(past.as_secs() + 1).clamp(OVERLAP, LONGEST)
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
    ) -> Counted<C::Window> {
        let server = answer.warnings.iter().cloned();
        let mut warnings: Vec<_> = server.map(|text| MetricsWarning::Server { text }).collect();
        let mut series = 0;
        let mut windows = Vec::new();
        let partial = answer.is_partial();
        if !partial {
            let (targets, classifier) = (&self.targets, &mut self.classifier);
            let (stores, unclaimed) = (&mut self.stores, &mut self.unclaimed);
            let intake = self.log.take(answer, |labels| {
                let Some((reporter, owner)) = targets.owner(labels) else {
                    if targets.is_unclaimed(labels) {
                        unclaimed.note(labels);
                    }
                    return None;
                };
                let bin = classifier.bin(targets, (reporter, owner), labels)?;
                stores.note(labels, targets.scope());
                unclaimed.note_counted(owner, labels, targets.counted());
                Some(Bin {
                    reporter,
                    owner,
                    bin,
                })
            });
            series = intake.series;
            warnings.extend(intake.warning());
            while let Some(interval) = self.log.next_interval() {
                let share = ShareOfWindow {
                    at_end: share_at(interval.end),
                    before: share_at(interval.opened - PROPAGATION),
                    beside: self.targets.beside_weights(),
                };
                self.is_shared = share.is_shared();
                windows.push(self.classifier.window(&interval, share));
            }
        }
        let readable = self.classifier.readable();
        if readable.only_partly() {
            warnings.push(MetricsWarning::SomeWithoutCode);
        }
        if self.is_shared {
            let unclaimed = self.unclaimed.in_place_of_one(&self.targets);
            warnings
                .extend(unclaimed.map(|unclaimed| MetricsWarning::OtherWorkloads { unclaimed }));
        }
        let quality = Quality {
            flaw: self.flaw(series, readable),
            ..Quality::of(&self.log, warnings, partial, series)
        };
        if quality.flaw.is_some() {
            // All of it would count as successes, or count for another cluster's canary.
            windows.clear();
        }
        Counted { windows, quality }
    }

    fn flaw(&self, series: usize, readable: Readable) -> Option<Flaw> {
        if series == 0 || self.unclaimed.are_nameless() {
            return self.unclaimed.against(&self.targets).map(Flaw::Unclaimed);
        }
        let mixed = self.stores.mixed().map(Flaw::Mixed);
        mixed.or(readable.flaw())
    }

    /// Whether there are series that are counted.
    pub fn has_series(&self) -> bool {
        self.log.reporter().is_some()
    }
}
