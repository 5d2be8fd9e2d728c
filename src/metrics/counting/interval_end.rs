//! Where an interval of a [counter log](super::counter_log) ends: which targets' samples it waits for, and
//! whose reports are counted.

use std::collections::HashMap;

use jiff::Timestamp;

use super::counter_log::CounterLog;
use super::target::{ScrapeTarget, USUAL_INTERVAL};
use super::versions::{Reporter, SeriesOwner};

/// Up to which sample each target, by its index, is part of an interval.
pub(crate) type IntervalEnds = HashMap<usize, Timestamp>;

pub(crate) enum Awaited {
    /// Every awaited target has a new sample: where the interval ends for each, and for those that went away.
    All(IntervalEnds),
    /// At least one sample is still to come.
    Incomplete,
    /// There is no target to wait for.
    NoTarget,
}

impl CounterLog {
    pub(crate) fn reporter_at(&self, time: Timestamp) -> Option<Reporter> {
        self.reporter_where(|target, first| {
            target.pace(time).is_some_and(|pace| first <= pace.sure)
        })
    }

    /// Whose reports to count, of the owners that are there: as `is_there` says of a target and its first sample.
    pub(crate) fn reporter_where(
        &self,
        is_there: impl Fn(&ScrapeTarget, Timestamp) -> bool,
    ) -> Option<Reporter> {
        let has = |reporter, owner| {
            let firsts = |target: &ScrapeTarget| target.first_of.get(&(reporter, owner)).copied();
            self.targets
                .iter()
                .any(|target| firsts(target).is_some_and(|first| is_there(target, first)))
        };
        let has_versions =
            |reporter| has(reporter, SeriesOwner::Stable) || has(reporter, SeriesOwner::Canary);
        if has_versions(Reporter::Source) {
            Some(Reporter::Source)
        } else if has_versions(Reporter::Destination) {
            Some(Reporter::Destination)
        } else if has(Reporter::Source, SeriesOwner::Unknown) {
            Some(Reporter::Source)
        } else {
            has(Reporter::Destination, SeriesOwner::Unknown).then_some(Reporter::Destination)
        }
    }

    /// Which targets the interval after `after` waits for, and where it ends for each.
    pub(crate) fn awaited(&self, reporter: Reporter, after: Timestamp) -> Awaited {
        // A sample of any target shows that time went on.
        let newest_sample = self.newest_sample();
        let mut ends = HashMap::new();
        let mut left = HashMap::new();
        let mut is_complete = true;
        for (index, target) in self.targets.iter().enumerate() {
            let Some(pace) = target.pace(after) else {
                continue;
            };
            let is_reporting = target
                .since(reporter)
                .is_some_and(|since| since <= pace.sure);
            if !is_reporting || !pace.is_steady() {
                continue;
            }
            let due = pace.due();
            match target.first_after(after) {
                Some(next) if next <= due => {
                    ends.insert(index, next);
                }
                // What it had before it went away is whole.
                Some(_) => {
                    left.insert(index, after);
                }
                None if newest_sample.is_some_and(|newest_sample| newest_sample > due) => {
                    left.insert(index, after);
                }
                None => is_complete = false,
            }
        }
        match (is_complete, ends.is_empty()) {
            (false, _) => Awaited::Incomplete,
            (true, true) => Awaited::NoTarget,
            (true, false) => {
                ends.extend(left);
                Awaited::All(ends)
            }
        }
    }

    /// The target that reports first after a time without any, at the beginning or after a gap.
    ///
    /// It counts once its next sample is there as well: after that no earlier one can turn up.
    pub(crate) fn first_comer(
        &self,
        reporter: Option<Reporter>,
        after: Timestamp,
    ) -> Option<(Reporter, IntervalEnds)> {
        let reporters = match reporter {
            Some(reporter) => vec![reporter],
            None => vec![Reporter::Source, Reporter::Destination],
        };
        let comers: Vec<_> = reporters
            .iter()
            .flat_map(|reporter| {
                let targets = self.targets.iter().enumerate();
                targets.filter_map(|(index, target)| {
                    // Samples from before this reporter was seen in it do not count.
                    let since = target.since(*reporter)?;
                    let first = if since > after {
                        since
                    } else {
                        target.first_after(after)?
                    };
                    Some((first, *reporter, index))
                })
            })
            .collect();
        let (first, reporter) = comers
            .iter()
            .map(|(first, reporter, _)| (*first, *reporter))
            .min()?;
        let ends: IntervalEnds = comers
            .iter()
            .filter(|(time, of, _)| *time == first && *of == reporter)
            .map(|(time, _, index)| (*index, *time))
            .collect();
        let is_long_ago =
            |newest_sample: Timestamp| newest_sample.duration_since(first) > USUAL_INTERVAL;
        let is_certain = ends
            .keys()
            .any(|index| self.targets[*index].first_after(first).is_some());
        (is_certain || self.newest_sample().is_some_and(is_long_ago)).then_some((reporter, ends))
    }
}
