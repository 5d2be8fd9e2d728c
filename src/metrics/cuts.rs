//! Where a [tape](super::tape) is cut into rounds: whose samples a round waits for, and which side is
//! counted.

use std::collections::HashMap;

use jiff::Timestamp;

use super::istio::{Party, Side};
use super::tape::Tape;
use super::target::{Target, USUAL_INTERVAL};

/// Up to which sample each target gives, by its index.
pub(super) type Cuts = HashMap<usize, Timestamp>;

pub(super) enum Awaited {
    /// Everybody who is awaited has a new sample: up to where each gives, and those that went away.
    All(Cuts),
    /// Somebody's sample is still to come.
    Incomplete,
    /// Nobody is there who could be waited for.
    Nobody,
}

impl Tape {
    pub(super) fn side_at(&self, time: Timestamp) -> Option<Side> {
        self.side_where(|target, first| target.pace(time).is_some_and(|pace| first <= pace.sure))
    }

    /// The side to count, of the parties that are there: as `is_there` says of a target and its first sample.
    pub(super) fn side_where(&self, is_there: impl Fn(&Target, Timestamp) -> bool) -> Option<Side> {
        let has = |side, party| {
            let firsts = |target: &Target| target.first_of.get(&(side, party)).copied();
            self.targets
                .iter()
                .any(|target| firsts(target).is_some_and(|first| is_there(target, first)))
        };
        let has_versions = |side| has(side, Party::Stable) || has(side, Party::Canary);
        if has_versions(Side::Source) {
            Some(Side::Source)
        } else if has_versions(Side::Destination) {
            Some(Side::Destination)
        } else if has(Side::Source, Party::Unknown) {
            Some(Side::Source)
        } else {
            has(Side::Destination, Party::Unknown).then_some(Side::Destination)
        }
    }

    /// Which targets the round after `after` waits for, and up to which sample each gives.
    pub(super) fn awaited(&self, side: Side, after: Timestamp) -> Awaited {
        // Anybody's sample shows that time went on.
        let front = self.front();
        let mut cuts = HashMap::new();
        let mut left = HashMap::new();
        let mut is_complete = true;
        for (index, target) in self.targets.iter().enumerate() {
            let Some(pace) = target.pace(after) else {
                continue;
            };
            let is_reporting = target.since(side).is_some_and(|since| since <= pace.sure);
            if !is_reporting || !pace.is_steady() {
                continue;
            }
            let due = pace.due();
            match target.first_after(after) {
                Some(next) if next <= due => {
                    cuts.insert(index, next);
                }
                // What it had before it went away is whole.
                Some(_) => {
                    left.insert(index, after);
                }
                None if front.is_some_and(|front| front > due) => {
                    left.insert(index, after);
                }
                None => is_complete = false,
            }
        }
        match (is_complete, cuts.is_empty()) {
            (false, _) => Awaited::Incomplete,
            (true, true) => Awaited::Nobody,
            (true, false) => {
                cuts.extend(left);
                Awaited::All(cuts)
            }
        }
    }

    /// Who reports first after a time at which nobody did, at the beginning or after a gap.
    ///
    /// It counts once its next sample is there as well: then no other can turn up that was earlier.
    pub(super) fn first_comer(&self, side: Option<Side>, after: Timestamp) -> Option<(Side, Cuts)> {
        let sides = match side {
            Some(side) => vec![side],
            None => vec![Side::Source, Side::Destination],
        };
        let comers: Vec<_> = sides
            .iter()
            .flat_map(|side| {
                let targets = self.targets.iter().enumerate();
                targets.filter_map(|(index, target)| {
                    // What it was sampled for before it reported for this side does not count.
                    let since = target.since(*side)?;
                    let first = if since > after {
                        since
                    } else {
                        target.first_after(after)?
                    };
                    Some((first, *side, index))
                })
            })
            .collect();
        let (first, side) = comers
            .iter()
            .map(|(first, side, _)| (*first, *side))
            .min()?;
        let cuts: Cuts = comers
            .iter()
            .filter(|(time, of, _)| *time == first && *of == side)
            .map(|(time, _, index)| (*index, *time))
            .collect();
        let is_long_ago = |front: Timestamp| front.duration_since(first) > USUAL_INTERVAL;
        let is_certain = cuts
            .keys()
            .any(|index| self.targets[*index].first_after(first).is_some());
        (is_certain || self.front().is_some_and(is_long_ago)).then_some((side, cuts))
    }
}
