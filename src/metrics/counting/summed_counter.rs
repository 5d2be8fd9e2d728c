//! Increases that the server added up in, windows out.
//!
//! A window lies between two moments of a [`Grid`] and holds every sample after the first up to the second, so
//! every increase is in exactly one window, whenever and however often one asks. It is complete once samples show
//! that the time up to its end has been scraped: the newest is no older than a scrape and a half, or a later
//! moment has newer ones.
//!
//! # Against raw samples
//!
//! Over the same time as many requests are counted as from raw samples, or fewer, never more. Fewer where
//!
//! * a sample arrives after the moment it belongs to was asked for,
//! * a target had no sample for the five minutes before,
//! * a series of a proxy whose series vanished one by one comes back without a reset (it is taken for a new one, which
//!   is only right where the proxy begins it from zero, as Envoy does),
//! * the series are sums, and one falls or begins,
//! * another replica answers, which is seen by what its counters stood at: what it is behind is taken off.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::flaw::{Flaw, UnclaimedNames};
use super::grid::Grid;
use super::increase_query::{END, GAINED, KIND, NEWEST, START, SummedSeries, increases};
use super::interval::{Bin, Interval};
use super::mixed_stores::{MixedLabel, MixedStores};
use super::quality::{Newest, Quality, Readable};
use super::unattributed::ShareOfWindow;
use super::versions::{Reporter, SeriesOwner, Targets};
use super::warning::MetricsWarning;
use super::window_counter::{Classifier, Counted};
use crate::metrics::source::{Labels, Query, QueryResult};
use crate::verdict::PROPAGATION;

/// At most so many moments are asked for at once.
const MOST_STEPS: i64 = 20;
/// For so long what a replica is behind is taken off what it counts.
const BEHIND: SignedDuration = SignedDuration::from_mins(5);

/// Counts what both versions did between the moments of a grid.
#[derive(Debug)]
pub(super) struct SummedCounter<C> {
    targets: Targets,
    classifier: C,
    grid: Grid,
    copies: Option<MixedLabel>,
    /// The moment up to which everything is counted.
    watermark: Timestamp,
    bins: HashMap<Labels, Option<Bin>>,
    stores: MixedStores,
    unclaimed: UnclaimedNames,
    /// Whether both versions get requests by their weights.
    is_shared: bool,
    /// What the series stood at in all at the watermark, and what may be counted twice until when.
    ends: HashMap<Labels, f64>,
    behind: HashMap<Labels, (f64, Timestamp)>,
    newest: HashMap<SeriesOwner, Timestamp>,
}

/// What an answer says of one moment.
#[derive(Debug, Default)]
struct Moment {
    gained: Vec<(Labels, f64)>,
    start: HashMap<Labels, f64>,
    end: HashMap<Labels, f64>,
    newest: Vec<(Labels, Timestamp)>,
}

impl<C: Classifier> SummedCounter<C> {
    /// Counts what happens after the first moment from `since` on.
    pub fn new(
        targets: Targets,
        since: Timestamp,
        (grid, copies): (Grid, Option<MixedLabel>),
        classifier: C,
    ) -> Self {
        Self {
            targets,
            classifier,
            grid,
            copies,
            watermark: grid.at_least(since),
            bins: HashMap::new(),
            stores: MixedStores::default(),
            unclaimed: UnclaimedNames::default(),
            is_shared: false,
            ends: HashMap::new(),
            behind: HashMap::new(),
            newest: HashMap::new(),
        }
    }

    /// Up to where everything is counted.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Gives up what is not counted up to `time`.
    pub fn skip_to(&mut self, time: Timestamp) {
        self.watermark = self.watermark.max(time);
    }

    /// The questions about all moments after the last one counted up to `now`, oldest first.
    pub fn queries(&self, now: Timestamp, within: Duration) -> Vec<Query> {
        let settled = now.saturating_sub(self.grid.settled()).unwrap_or(now);
        self.between(self.watermark, self.grid.at_most(settled), within)
    }

    /// The questions about all moments after `from` up to `to`.
    pub fn between(&self, from: Timestamp, to: Timestamp, within: Duration) -> Vec<Query> {
        let mut queries = Vec::new();
        let mut at = from;
        while at < to {
            let left = (to.as_second() - at.as_second()) / self.grid.step;
            let steps = left.clamp(1, MOST_STEPS);
            at = at
                .saturating_add(self.grid.step() * i32::try_from(steps).unwrap_or(1))
                .unwrap_or(to);
            for part in self.classifier.parts(&self.targets, self.grid.series) {
                let selected = SummedSeries {
                    metric: part.metric,
                    more: &part.more,
                    dropped: part.dropped,
                    kept: part.kept,
                    operations: part.operations,
                    newest: part.newest,
                };
                queries.push(Query {
                    text: increases(&self.targets, selected, self.grid, steps),
                    at,
                    within,
                });
            }
        }
        queries
    }

    /// Takes an answer and gives the windows that became complete with it; where `until` is given it says up
    /// to where that is known already.
    pub fn take(
        &mut self,
        answer: &QueryResult,
        until: Option<Timestamp>,
        share_at: impl Fn(Timestamp) -> f64,
    ) -> Counted<C::Window> {
        let server = answer.warnings.iter().cloned();
        let mut warnings: Vec<_> = server.map(|text| MetricsWarning::Server { text }).collect();
        let partial = answer.is_partial();
        let mut windows = Vec::new();
        if !partial {
            let (moments, dropped) = self.moments(answer);
            if dropped > 0 {
                warnings.push(MetricsWarning::SamplesLeftOut { samples: dropped });
            }
            let end = until.unwrap_or_else(|| self.complete_until(&moments));
            let mut moments = moments;
            while let Ok(next) = self.watermark.checked_add(self.grid.step())
                && next <= end
            {
                let moment = moments.remove(&next).unwrap_or_default();
                let interval = self.interval(next, moment);
                let share = ShareOfWindow {
                    at_end: share_at(interval.end),
                    before: share_at(interval.opened - PROPAGATION),
                    beside: self.targets.beside_weights(),
                };
                self.is_shared = share.is_shared();
                windows.push(self.classifier.window(&interval, share));
                self.watermark = next;
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
        if self.grid.reporter == Reporter::Destination {
            warnings.push(MetricsWarning::OnlyDestination);
        }
        if self.grid.are_sums {
            warnings.push(MetricsWarning::Sums);
        }
        let quality = self.quality(warnings, partial, readable);
        if quality.flaw.is_some() {
            windows.clear();
        }
        Counted { windows, quality }
    }

    /// Whether there are series that are counted.
    pub fn has_series(&self) -> bool {
        !self.newest.is_empty()
    }

    /// The rows of an answer by their moments after the watermark, and how many were no counts.
    fn moments(&mut self, answer: &QueryResult) -> (BTreeMap<Timestamp, Moment>, usize) {
        let mut moments: BTreeMap<Timestamp, Moment> = BTreeMap::new();
        let mut dropped = 0;
        for series in &answer.series {
            let mut labels = series.labels.clone();
            let Some(kind) = labels.remove(KIND) else {
                continue;
            };
            self.classify(&labels);
            for &(time, value) in &series.samples {
                if time <= self.watermark || self.grid.at_most(time) != time {
                    continue;
                }
                if !value.is_finite() || value < 0.0 {
                    dropped += 1;
                    continue;
                }
                let moment = moments.entry(time).or_default();
                match kind.as_str() {
                    GAINED => moment.gained.push((labels.clone(), value)),
                    START => drop(moment.start.insert(labels.clone(), value)),
                    END => drop(moment.end.insert(labels.clone(), value)),
                    NEWEST => {
                        let time = Timestamp::from_millisecond((value * 1000.0).round() as i64);
                        moment
                            .newest
                            .extend(time.ok().map(|time| (labels.clone(), time)));
                    }
                    _ => {}
                }
            }
        }
        (moments, dropped)
    }

    fn classify(&mut self, labels: &Labels) {
        if self.bins.contains_key(labels) {
            return;
        }
        let owner = self.targets.owner(labels);
        let owner = owner.filter(|(reporter, _)| *reporter == self.grid.reporter);
        let bin = owner.and_then(|(reporter, owner)| {
            let bin = self
                .classifier
                .bin(&self.targets, (reporter, owner), labels)?;
            Some(Bin {
                reporter,
                owner,
                bin,
            })
        });
        match (bin, owner) {
            (Some(bin), _) => {
                self.stores.note(labels, self.targets.scope());
                let unit = self.targets.counted();
                self.unclaimed.note_counted(bin.owner, labels, unit);
            }
            (None, None) if self.targets.is_unclaimed(labels) => self.unclaimed.note(labels),
            (None, _) => {}
        }
        self.bins.insert(labels.clone(), bin);
    }

    /// The last moment whose samples are certainly all there.
    fn complete_until(&mut self, moments: &BTreeMap<Timestamp, Moment>) -> Timestamp {
        let patience = self.grid.step() + self.grid.step() / 2;
        let mut until = self.watermark;
        for (time, moment) in moments {
            let newest = moment.newest.iter().map(|(_, newest)| *newest).max();
            let Some(newest) = newest else {
                continue;
            };
            // What was scraped after a moment shows that the ones before it are over.
            let shown = match time.duration_since(newest) <= patience {
                true => *time,
                false => self.grid.at_most(newest),
            };
            until = until.max(shown);
            for (labels, newest) in &moment.newest {
                if let Some(Some(bin)) = self.bins.get(labels) {
                    let known = self.newest.entry(bin.owner).or_insert(*newest);
                    *known = (*known).max(*newest);
                }
            }
        }
        until
    }

    /// What was counted up to a moment since the one before.
    fn interval(&mut self, end: Timestamp, moment: Moment) -> Interval {
        let start = self.watermark;
        for (labels, stood) in &moment.start {
            // Of the same replica it is what it stood at in the answer before.
            let ahead = self.ends.get(labels).map_or(0.0, |end| end - stood);
            if ahead > 0.0 {
                let owed = self.behind.entry(labels.clone()).or_insert((0.0, end));
                *owed = (owed.0 + ahead, end);
            }
        }
        self.behind
            .retain(|_, (_, since)| end.duration_since(*since) <= BEHIND);
        let mut interval = Interval {
            start,
            end,
            // A target's last sample before `start` may be a scrape older.
            opened: start.saturating_sub(self.grid.step()).unwrap_or(start),
            reporter: self.grid.reporter,
            sums: HashMap::new(),
        };
        for (labels, gained) in moment.gained {
            let mut gained = gained;
            if let Some((owed, _)) = self.behind.get_mut(&labels) {
                let off = owed.min(gained);
                *owed -= off;
                gained -= off;
            }
            if let Some(Some(bin)) = self.bins.get(&labels) {
                *interval.sums.entry((bin.owner, bin.bin)).or_default() += gained;
            }
        }
        self.ends = moment.end;
        interval
    }

    fn quality(&self, warnings: Vec<MetricsWarning>, partial: bool, readable: Readable) -> Quality {
        let of = |owner| self.newest.get(&owner).copied();
        let (stable, canary) = (of(SeriesOwner::Stable), of(SeriesOwner::Canary));
        let counted = self.bins.values().flatten().count();
        let mixed = self.copies.clone().or_else(|| self.stores.mixed());
        let flaw = match counted {
            0 => self.unclaimed.against(&self.targets).map(Flaw::Unclaimed),
            _ if self.unclaimed.are_nameless() => {
                self.unclaimed.against(&self.targets).map(Flaw::Unclaimed)
            }
            _ => mixed.map(Flaw::Mixed).or(readable.flaw()),
        };
        Quality {
            newest: Newest {
                overall: self.newest.values().max().copied(),
                stable,
                canary,
            },
            scrape_interval: Some(self.grid.step()),
            warnings,
            partial,
            versions_apart: stable
                .zip(canary)
                .map(|(stable, canary)| stable.duration_since(canary).abs()),
            series: if counted == 0 { 0 } else { self.grid.series },
            flaw,
        }
    }
}
