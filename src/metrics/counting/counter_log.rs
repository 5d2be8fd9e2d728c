//! Counters as they were scraped, divided into intervals.
//!
//! # Intervals
//!
//! A *target* is what Prometheus scrapes (a proxy); all its series are sampled at the same moments. Targets
//! are scraped at different phases, so no single moment lies between two samples of all series. An interval
//! therefore has one end per target: with `watermark` the end of the last interval, each awaited target gives
//! all it has up to and including its **first sample after `watermark`**, and the latest of these samples is
//! the new watermark. The interval is complete as soon as every awaited target has one new sample, without
//! waiting for more of a faster target: what it has beyond its end belongs to the next interval. So
//!
//! * every increase of every series is in exactly one interval,
//! * an interval is at least one scrape interval long (the longest one among the targets),
//! * and where intervals begin and end follows from the timestamps alone. Asking often, rarely or again
//!   after a crash gives the same intervals, which is what makes the evidence repeatable.
//!
//! Awaited are the targets of the counted reporter which reported steadily by `watermark` and whose next
//! sample is not overdue. A target is overdue when it has none for one and a half of its own scrape
//! intervals while others go on: a proxy that went away or missed a scrape must not hold up the verdict. If
//! it comes back, what it counted meanwhile goes into an interval after its return.
//!
//! Counters may have been summed over proxies before they are stored. A sum falls when one of its proxies goes
//! away, by an amount that is not known, so nothing of that target is counted between the two samples.
//!
//! Which of an answer's samples belong to the counter that was read before is said in
//! [`replicas`](super::replicas): several Prometheis may take turns in answering.
//!
//! The one assumption: a sample can be read no later than half a scrape interval (the shortest there is) after its
//! timestamp. If Prometheus is slower, no request is lost or doubled, but the intervals may differ between two
//! drivers. Everything below that asks what was there at a time therefore asks only for what must have been
//! readable by then.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::interval::{Bin, Interval};
use super::interval_end::{Awaited, IntervalEnds};
use super::replicas::{Continuation, CounterSample};
use super::target::{ScrapeTarget, target_name};
use super::versions::{Reporter, SeriesOwner};
use super::warning::MetricsWarning;
use crate::metrics::source::{Labels, QueryResult, Series};

/// How far before its beginning a log takes samples, to know which targets and series were there already.
///
/// A fixed stretch rather than "whatever the first answer holds": otherwise two logs of the same time,
/// begun by answers of different length, would differ. It is the time Prometheus itself looks back for a
/// series that is still alive.
pub(crate) const LEAD: SignedDuration = SignedDuration::from_mins(5);

/// An answer always overlaps what was counted before by this.
pub(crate) const OVERLAP: SignedDuration = SignedDuration::from_mins(2);

/// A counter that was reset has counted for a scrape at most. One that stands at more than this afterwards,
/// and at so many times what it ever gained, lost only a part: it is a sum, whatever its labels say.
const MOST_AT_ONCE: f64 = 100.0;
const MOST_GAIN: f64 = 10.0;

/// The series of one query, across all its answers.
#[derive(Debug)]
pub(crate) struct CounterLog {
    since: Timestamp,
    watermark: Option<Timestamp>,
    /// Whose reports were counted last, and the watermark since when.
    counted: Option<(Reporter, Timestamp)>,
    pub(crate) targets: Vec<ScrapeTarget>,
    names: HashMap<Labels, usize>,
    series: HashMap<Labels, Track>,
}

#[derive(Debug)]
struct Track {
    target: usize,
    bin: Option<Bin>,
    /// The newest sample that was taken, whether it was a count or not.
    seen: Option<Timestamp>,
    /// The last one that was taken for a count.
    last: Option<CounterSample>,
    /// When it was reset last.
    reset: Option<Timestamp>,
    /// The most that it gained between two samples.
    gain: f64,
    pending: VecDeque<Increase>,
}

#[derive(Debug)]
struct Increase {
    from: Timestamp,
    to: Timestamp,
    by: f64,
}

/// What was found while an answer was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intake {
    /// Series that are counted for a version.
    pub(crate) series: usize,
    /// New samples that are no counter's value: NaN, infinite or negative.
    pub(crate) dropped: usize,
}

impl Intake {
    /// What is worth knowing of it.
    pub(crate) fn warning(self) -> Option<MetricsWarning> {
        let samples = self.dropped;
        (samples > 0).then_some(MetricsWarning::SamplesLeftOut { samples })
    }
}

/// The largest number up to which a sample counts every single one: 2^53.
const MOST_COUNTED: f64 = 9_007_199_254_740_992.0;

/// Whether a counter can have this value.
fn is_count(value: f64) -> bool {
    (0.0..=MOST_COUNTED).contains(&value)
}

impl CounterLog {
    pub(crate) fn new(since: Timestamp) -> Self {
        Self {
            since,
            watermark: None,
            counted: None,
            targets: Vec::new(),
            names: HashMap::new(),
            series: HashMap::new(),
        }
    }

    /// Takes the new samples of an answer. `classify` says where a series belongs; it is asked once a series.
    pub(crate) fn take(
        &mut self,
        answer: &QueryResult,
        mut classify: impl FnMut(&Labels) -> Option<Bin>,
    ) -> Intake {
        let mut intake = Intake::default();
        // All sample times first: whether a series is new on a target that is not must not depend on the
        // order in which an answer lists them.
        for series in &answer.series {
            self.note_times(series, &mut classify);
        }
        for series in &answer.series {
            let dropped = self.note_values(series);
            let is_counted = self
                .series
                .get(&series.labels)
                .is_some_and(|track| track.bin.is_some());
            if is_counted {
                intake.series += 1;
                intake.dropped += dropped;
            }
        }
        intake
    }

    fn note_times(&mut self, series: &Series, classify: &mut impl FnMut(&Labels) -> Option<Bin>) {
        let horizon = self.horizon();
        if !self.series.contains_key(&series.labels) {
            let name = target_name(&series.labels);
            let targets = &mut self.targets;
            let target = *self.names.entry(name).or_insert_with_key(|name| {
                targets.push(ScrapeTarget::named(name));
                targets.len() - 1
            });
            let track = Track {
                target,
                bin: classify(&series.labels),
                seen: None,
                last: None,
                reset: None,
                gain: 0.0,
                pending: VecDeque::new(),
            };
            self.series.insert(series.labels.clone(), track);
        }
        let track = &self.series[&series.labels];
        let target = &mut self.targets[track.target];
        let known = track.seen;
        let fresh = |time: &Timestamp| *time >= horizon && known.is_none_or(|known| *time > known);
        for (time, value) in series.samples.iter().filter(|(time, _)| fresh(time)) {
            target.first = Some(target.first.map_or(*time, |first| first.min(*time)));
            target.samples.insert(*time);
            // A sample that is not a count shows that there was a scrape, not that anything is known of
            // the owner: metrics in which all are like that go stale.
            if let Some(bin) = track.bin.filter(|_| is_count(*value)) {
                target.note((bin.reporter, bin.owner), *time);
            }
        }
    }

    fn note_values(&mut self, series: &Series) -> usize {
        let horizon = self.horizon();
        let covered = self.covered();
        let Some(track) = self.series.get_mut(&series.labels) else {
            return 0;
        };
        let target = &mut self.targets[track.target];
        let mut dropped = 0;
        let mut own: Vec<CounterSample> = Vec::new();
        for &(time, value) in &series.samples {
            if is_count(value) {
                own.push((time, value));
            }
            let seen = track.seen;
            if time < horizon || seen.is_some_and(|seen| time <= seen) {
                continue;
            }
            track.seen = Some(time);
            if !is_count(value) {
                dropped += 1;
                continue;
            }
            let increase = match track.last {
                Some(last @ (from, before)) => {
                    let after_reset = track
                        .reset
                        .is_some_and(|reset| time.duration_since(reset) <= OVERLAP);
                    let growth =
                        Continuation::of(&own[..own.len() - 1], last, (time, value), after_reset);
                    if let Continuation::Reset(_) = growth {
                        track.reset = Some(time);
                    }
                    let by = match growth {
                        Continuation::Grown(by) | Continuation::Reset(by) => by,
                        Continuation::Behind | Continuation::Unanchored if from >= covered => {
                            continue;
                        }
                        // It was away for long, and so was all that could be compared with.
                        Continuation::Unanchored if seen == Some(from) && value >= before => {
                            value - before
                        }
                        Continuation::Unanchored if seen == Some(from) => value,
                        // What another replica had is forgotten; this one begins here.
                        Continuation::Behind | Continuation::Unanchored => 0.0,
                    };
                    if value < before {
                        let plausible = MOST_AT_ONCE.max(MOST_GAIN * track.gain);
                        target.note_fall(time, track.gain > 0.0 && value > plausible);
                    }
                    Some(Increase { from, to: time, by })
                }
                // Absent before and here now: it counted from zero if its target was scraped without it.
                None => target
                    .samples
                    .range(..time)
                    .next_back()
                    .copied()
                    .or(target.first.filter(|first| *first < time))
                    .map(|from| Increase {
                        from,
                        to: time,
                        by: value,
                    }),
            };
            track.last = Some((time, value));
            let gained = increase.as_ref().map_or(0.0, |increase| increase.by);
            track.gain = track.gain.max(gained);
            if track.bin.is_some() {
                track
                    .pending
                    .extend(increase.filter(|increase| increase.by > 0.0));
            }
        }
        dropped
    }

    /// The next complete interval; `None` until there are samples for it.
    pub(crate) fn next_interval(&mut self) -> Option<Interval> {
        loop {
            let is_first = self.watermark.is_none();
            let after = self.watermark.unwrap_or(self.since);
            let reporter = self.reporter_at(after);
            let (reporter, ends) =
                match reporter.map(|reporter| (reporter, self.awaited(reporter, after))) {
                    Some((reporter, Awaited::All(ends))) => (reporter, ends),
                    Some((_, Awaited::Incomplete)) => return None,
                    Some((_, Awaited::NoTarget)) | None => self.first_comer(reporter, after)?,
                };
            let end = ends.values().max().copied()?;
            let interval = self.close(reporter, after, end, &ends);
            for (index, end) in &ends {
                let taken = &mut self.targets[*index].taken;
                *taken = (*taken).max(Some(*end));
            }
            self.watermark = Some(end);
            self.prune(end);
            // The first interval reaches back before the beginning; it only finds the first watermark.
            if !is_first {
                return Some(interval);
            }
        }
    }

    /// The end of the last interval.
    pub(crate) fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    /// Whose reports are counted now, if there are any.
    ///
    /// The callers' come first, since only they show a version that does not answer.
    pub(crate) fn reporter(&self) -> Option<Reporter> {
        self.reporter_where(|_, _| true)
    }

    /// Time of the newest sample of an owner, of the reporter that is counted.
    pub(crate) fn newest_of(&self, owner: SeriesOwner) -> Option<Timestamp> {
        let key = (self.reporter()?, owner);
        let targets = self.targets.iter();
        targets
            .filter_map(|target| target.newest_of.get(&key))
            .max()
            .copied()
    }

    /// The longest scrape interval among the targets that still report.
    pub(crate) fn scrape_interval(&self) -> Option<SignedDuration> {
        let reporter = self.reporter()?;
        let reporting = || self.targets.iter().filter(|t| t.since(reporter).is_some());
        let newest_sample = reporting()
            .filter_map(|t| t.samples.last())
            .max()
            .copied()?;
        reporting()
            .filter_map(|target| {
                let pace = target.pace(Timestamp::MAX)?;
                let last = target.samples.last()?;
                (newest_sample.duration_since(*last) <= pace.patience()).then_some(pace.interval)
            })
            .max()
    }

    fn horizon(&self) -> Timestamp {
        self.since.saturating_sub(LEAD).unwrap_or(Timestamp::MIN)
    }

    /// Since when an answer has every sample, if it is of the replica that had them before.
    fn covered(&self) -> Timestamp {
        let watermark = self.watermark.unwrap_or(Timestamp::MIN);
        watermark.saturating_sub(OVERLAP).unwrap_or(Timestamp::MIN)
    }

    /// Whether anything that is counted is a sum over proxies.
    pub(crate) fn has_sums(&self) -> bool {
        let mut counted = self.series.values().filter(|track| track.bin.is_some());
        counted.any(|track| self.targets[track.target].is_sum())
    }

    /// The newest sample of any target.
    pub(crate) fn newest_sample(&self) -> Option<Timestamp> {
        let newest = self.targets.iter().filter_map(|t| t.samples.last());
        newest.max().copied()
    }

    /// Takes from every series what belongs to this interval.
    fn close(
        &mut self,
        reporter: Reporter,
        start: Timestamp,
        end: Timestamp,
        ends: &IntervalEnds,
    ) -> Interval {
        let mut interval = Interval {
            start,
            end,
            opened: start,
            reporter,
            sums: HashMap::new(),
        };
        let counted_since = match self.counted {
            Some((counted, since)) if counted == reporter => since,
            Some(_) | None => start,
        };
        self.counted = Some((reporter, counted_since));
        for track in self.series.values_mut() {
            let Some(bin) = track.bin else {
                continue;
            };
            // What the other reporter saw is dropped; a target without an end in this interval keeps all for
            // a later one.
            let limit = match (bin.reporter == reporter, ends.get(&track.target)) {
                (true, Some(end)) => *end,
                (true, None) => continue,
                (false, _) => end,
            };
            while track.pending.front().is_some_and(|next| next.to <= limit) {
                let Some(increase) = track.pending.pop_front() else {
                    break;
                };
                // What ended before this reporter was counted is in intervals of the other one.
                let is_new = increase.from >= self.since && increase.to > counted_since;
                let target = &self.targets[track.target];
                let is_known = || target.is_known(increase.from, increase.to);
                if bin.reporter == reporter && is_new && is_known() {
                    interval.opened = interval.opened.min(increase.from);
                    *interval.sums.entry((bin.owner, bin.bin)).or_default() += increase.by;
                }
            }
        }
        interval
    }

    /// Drops sample times that no later interval needs.
    fn prune(&mut self, watermark: Timestamp) {
        for target in &mut self.targets {
            target.prune(watermark);
        }
    }
}
