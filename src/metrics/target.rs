//! A scrape target: when it was sampled, and when it is overdue.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};

use jiff::{SignedDuration, Timestamp};

use super::answer::Labels;
use super::istio::{Party, Side, label};

/// What is assumed of a target that was sampled only once, where nothing better is known.
pub(super) const USUAL_INTERVAL: SignedDuration = SignedDuration::from_secs(60);

/// Added to what a target may be late, for timestamps that are not exact.
const JITTER: SignedDuration = SignedDuration::from_millis(500);

/// How many spacings the estimate of a scrape interval rests on.
const SPACINGS: usize = 5;

/// One thing that Prometheus scrapes: all its series are sampled at the same moments.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// Sample times: the last few up to the edge, and all after it.
    pub(super) samples: BTreeSet<Timestamp>,
    pub(super) first: Option<Timestamp>,
    /// Since when it reports for a side.
    pub(super) since: HashMap<Side, Timestamp>,
    pub(super) newest_of: HashMap<(Side, Party), Timestamp>,
}

impl Target {
    /// Lets go of sample times up to `edge` that no later round needs.
    pub(super) fn forget(&mut self, edge: Timestamp) {
        let keep = self.samples.range(..=edge).rev().nth(SPACINGS).copied();
        if let Some(keep) = keep {
            self.samples = self.samples.split_off(&keep);
        }
    }

    /// Its first sample after `time`.
    pub(super) fn first_after(&self, time: Timestamp) -> Option<Timestamp> {
        let mut later = self.samples.range((Excluded(time), Unbounded));
        later.next().copied()
    }

    /// The usual spacing of the last samples up to `time`: the median, so that one missed scrape is no
    /// new interval.
    pub(super) fn interval(&self, time: Timestamp) -> Option<SignedDuration> {
        let last: Vec<_> = self
            .samples
            .range(..=time)
            .rev()
            .take(SPACINGS + 1)
            .collect();
        let mut spacings: Vec<_> = last
            .windows(2)
            .map(|pair| pair[0].duration_since(*pair[1]))
            .collect();
        spacings.sort();
        spacings.get(spacings.len() / 2).copied()
    }
}

/// After how long without a sample a target of this interval is overdue.
pub(super) fn grace(interval: SignedDuration) -> SignedDuration {
    interval.saturating_add(interval / 2).saturating_add(JITTER)
}

/// The labels by which Prometheus tells one target from another.
///
/// With an `instance` these are the ones that come from the scrape configuration. Others may have been
/// added to the metric by a Telemetry resource (a path, a tenant), and would make each of their values look
/// like a target of its own. Without it, everything that Istio did not put there.
pub(super) fn target_name(labels: &Labels) -> Labels {
    const SCRAPE: [&str; 12] = [
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

/// Whether a label says something about the request rather than about who was scraped.
fn is_istio(name: &str) -> bool {
    name.starts_with("source_")
        || name.starts_with("destination_")
        || matches!(
            name,
            "__name__"
                | "reporter"
                | "request_protocol"
                | "response_code"
                | "response_flags"
                | "grpc_response_status"
                | "connection_security_policy"
                | "le"
        )
}
