//! A scrape target: when it was sampled, and when it is overdue.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Included, Unbounded};

use jiff::{SignedDuration, Timestamp};

use super::versions::{Reporter, SeriesOwner, label};
use crate::metrics::source::Labels;

/// After this time any target would have been sampled again.
pub(crate) const USUAL_INTERVAL: SignedDuration = SignedDuration::from_secs(60);

/// Added to what a target may be late, for timestamps that are not exact.
const JITTER: SignedDuration = SignedDuration::from_millis(500);

/// Prometheus forgets a series that was not sampled for so long.
const LONGEST_GAP: SignedDuration = SignedDuration::from_mins(5);

/// How many spacings the estimate of a scrape interval rests on.
const SPACINGS: usize = 5;

/// How many sample times are kept for it: their ends, and one that may not be certain yet.
const KEPT: usize = SPACINGS + 2;

/// One thing that Prometheus scrapes: all its series are sampled at the same moments.
#[derive(Debug, Default)]
pub(crate) struct ScrapeTarget {
    /// Sample times: the last few up to the watermark, and all after it.
    pub(crate) samples: BTreeSet<Timestamp>,
    pub(crate) first: Option<Timestamp>,
    /// Up to where its samples are in an interval, and so were certainly readable then.
    pub(crate) taken: Option<Timestamp>,
    /// Whether it is no proxy but a sum of several, by its name.
    is_sum: bool,
    /// Whether it fell as only a sum does.
    lost_a_part: bool,
    /// When any of its series fell because a proxy of the sum had gone.
    falls: BTreeSet<Timestamp>,
    /// The first and the newest sample of the series of an owner.
    pub(crate) first_of: HashMap<(Reporter, SeriesOwner), Timestamp>,
    pub(crate) newest_of: HashMap<(Reporter, SeriesOwner), Timestamp>,
}

impl ScrapeTarget {
    /// The target that series of this name belong to.
    pub(crate) fn named(name: &Labels) -> Self {
        Self {
            is_sum: is_sum(name),
            ..Self::default()
        }
    }

    /// Notes that one of its series fell, and whether it still stands too high to have begun anew.
    pub(crate) fn note_fall(&mut self, time: Timestamp, stands_high: bool) {
        if self.is_sum || stands_high {
            self.falls.insert(time);
        }
        self.lost_a_part |= stands_high;
    }

    /// Whether it is a sum, by its name or by how it fell.
    pub(crate) fn is_sum(&self) -> bool {
        self.is_sum || self.lost_a_part
    }

    /// Whether what is counted between two samples is known: of a sum that lost a part it is not.
    pub(crate) fn is_known(&self, from: Timestamp, to: Timestamp) -> bool {
        let mut lost = self.falls.range((Excluded(from), Included(to)));
        lost.next().is_none()
    }

    /// Drops sample times up to `watermark` that no later interval needs.
    pub(crate) fn prune(&mut self, watermark: Timestamp) {
        let forgotten = watermark.saturating_sub(LONGEST_GAP).unwrap_or(watermark);
        self.falls = self.falls.split_off(&forgotten);
        let keep = self.samples.range(..=watermark).rev().nth(KEPT).copied();
        if let Some(keep) = keep {
            self.samples = self.samples.split_off(&keep);
        }
    }

    /// Its first sample after `time`.
    pub(crate) fn first_after(&self, time: Timestamp) -> Option<Timestamp> {
        let mut later = self.samples.range((Excluded(time), Unbounded));
        later.next().copied()
    }

    /// Notes a sample of a series of this owner.
    pub(crate) fn note(&mut self, owner: (Reporter, SeriesOwner), time: Timestamp) {
        let first = self.first_of.entry(owner).or_insert(time);
        *first = (*first).min(time);
        let newest = self.newest_of.entry(owner).or_insert(time);
        *newest = (*newest).max(time);
    }

    /// Since when it has series of this reporter.
    pub(crate) fn since(&self, reporter: Reporter) -> Option<Timestamp> {
        let firsts = self.first_of.iter().filter(|((of, _), _)| *of == reporter);
        firsts.map(|(_, first)| *first).min()
    }

    /// How it was sampled up to `time`; `None` before its second sample.
    pub(crate) fn pace(&self, time: Timestamp) -> Option<Pace> {
        let mut last: Vec<Timestamp> = self
            .samples
            .range(..=time)
            .rev()
            .take(KEPT)
            .copied()
            .collect();
        last.reverse();
        let newest = *last.last()?;
        let all = spacings(&last);
        // The newest may not have been readable at `time`: what is concluded must not rest on it.
        let before = all.len().checked_sub(1).and_then(|end| median(&all[..end]));
        let margin = before.or_else(|| median(&all))? / 2;
        if time.duration_since(newest) < margin && self.taken.is_none_or(|taken| taken < newest) {
            last.pop();
        }
        let pace = Pace {
            newest,
            sure: *last.last()?,
            interval: median(&spacings(&last))?,
        };
        Some(pace)
    }
}

fn spacings(times: &[Timestamp]) -> Vec<SignedDuration> {
    let pairs = times.windows(2);
    pairs.map(|pair| pair[1].duration_since(pair[0])).collect()
}

/// The median of the last few, so that one missed scrape is no new interval.
fn median(spacings: &[SignedDuration]) -> Option<SignedDuration> {
    let mut last = spacings[spacings.len().saturating_sub(SPACINGS)..].to_vec();
    last.sort();
    last.get(last.len() / 2).copied()
}

/// How a target was sampled up to some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Its newest sample.
    pub(crate) newest: Timestamp,
    /// Its newest sample that must have been readable by then.
    pub(crate) sure: Timestamp,
    /// The usual time between two samples.
    pub(crate) interval: SignedDuration,
}

impl Pace {
    /// After how long without a sample it is overdue.
    pub(crate) fn patience(&self) -> SignedDuration {
        self.interval
            .saturating_add(self.interval / 2)
            .saturating_add(JITTER)
    }

    /// Whether it certainly reports: not so if its newest sample comes after a gap.
    pub(crate) fn is_steady(&self) -> bool {
        self.newest.duration_since(self.sure) <= self.patience()
    }

    /// Until when its next sample is awaited.
    pub(crate) fn due(&self) -> Timestamp {
        self.newest
            .saturating_add(self.patience())
            .unwrap_or(Timestamp::MAX)
    }
}

/// Labels that come from the scrape configuration.
pub(super) const SCRAPE: [&str; 12] = [
    "job",
    "instance",
    "namespace",
    "pod",
    "pod_name",
    "node",
    "cluster",
    "prometheus",
    "prometheus_replica",
    "replica",
    "region",
    "tenant_id",
];

/// The labels by which Prometheus tells one target from another.
///
/// With an `instance` these are the ones that come from the scrape configuration. Others may have been
/// added to the metric by a Telemetry resource (a path, a tenant), and would make each of their values look
/// like a target of its own. Without it, everything that Istio did not put there.
pub(crate) fn target_name(labels: &Labels) -> Labels {
    let has_instance = !label(labels, "instance").is_empty();
    labels
        .iter()
        .filter(|(name, _)| {
            if has_instance {
                SCRAPE.contains(&name.as_str())
            } else {
                !is_istio(name)
            }
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Whether a target so named is a sum over proxies, as a recording rule without `pod` and `instance` makes
/// it: such a counter falls when one of its proxies goes away, and that is no reset.
pub(super) fn is_sum(name: &Labels) -> bool {
    ["instance", "pod", "pod_name"]
        .iter()
        .all(|of_proxy| label(name, of_proxy).is_empty())
}

/// Whether a label is about the request rather than about the target.
pub(super) fn is_istio(name: &str) -> bool {
    name.starts_with("source_")
        || name.starts_with("destination_")
        || name.starts_with("request_")
        || matches!(
            name,
            "__name__"
                | "reporter"
                | "response_code"
                | "response_flags"
                | "grpc_response_status"
                | "connection_security_policy"
                | "le"
        )
}
