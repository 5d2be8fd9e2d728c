//! The last windows, kept until it is clear that no lag of the counters explains them (section 4).

use std::collections::VecDeque;

use super::alignment::{Alignment, Disputed, realigned};
use super::metric::Metric;
use super::policy::Policy;
use super::regression::{Regression, combine};
use super::traffic_split::MetricCounts;
use super::warmup::Warmth;

/// Windows that a trip puts in dispute.
const DISPUTED: usize = 3;

/// A window as each metric saw it, with the state before.
#[derive(Clone, Debug, PartialEq)]
struct Snapshot {
    before: Vec<Option<Regression>>,
    tallies: Vec<MetricCounts>,
    warmth: Warmth,
}

/// The windows in dispute and the one before them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confirmation {
    moments: VecDeque<Snapshot>,
}

impl Confirmation {
    /// Keeps a window that is about to be bet on.
    pub fn record(&mut self, metrics: &[Metric], tallies: &[MetricCounts], warmth: Warmth) {
        // The oldest one's buffers are used again.
        let mut moment = if self.moments.len() > DISPUTED {
            self.moments.pop_front()
        } else {
            None
        }
        .unwrap_or_else(|| Snapshot {
            before: Vec::new(),
            tallies: Vec::new(),
            warmth,
        });
        moment.before.clear();
        moment
            .before
            .extend(metrics.iter().map(|m| m.regression.clone()));
        moment.tallies.clear();
        moment.tallies.extend_from_slice(tallies);
        moment.warmth = warmth;
        self.moments.push_back(moment);
    }

    /// The least evidence in nats over all alignments, metrics combined in each. `after` is the
    /// window after the trip.
    pub fn least(&self, metrics: &[Metric], after: &[MetricCounts], policy: &Policy) -> f64 {
        Alignment::ALL
            .into_iter()
            .map(|alignment| {
                combine(metrics.iter().enumerate().map(|(i, metric)| {
                    (metric.weight, self.one(i, metric, after, policy, alignment))
                }))
            })
            .fold(f64::INFINITY, f64::min)
    }

    fn one(
        &self,
        index: usize,
        metric: &Metric,
        after: &[MetricCounts],
        policy: &Policy,
        alignment: Alignment,
    ) -> f64 {
        let Some((first, before)) = self.snapshot(index) else {
            return 0.0;
        };
        let stable = |at: usize| {
            let moment = self.moments.get(at);
            moment.map_or(after[index].stable, |m| m.tallies[index].stable)
        };
        let windows: Vec<Disputed> = (first..self.moments.len())
            .filter_map(|at| {
                Some(Disputed {
                    tally: self.moments[at].tallies[index],
                    terms: metric.terms(policy, self.moments[at].warmth)?,
                    earlier: at.checked_sub(1).map(stable),
                    later: Some(stable(at + 1)),
                })
            })
            .collect();
        realigned(before, &windows, alignment)
    }

    /// The first disputed window in which a metric was bet on, and its state before.
    fn snapshot(&self, index: usize) -> Option<(usize, &Regression)> {
        let oldest = self.moments.len().saturating_sub(DISPUTED);
        (oldest..self.moments.len())
            .find_map(|at| self.moments[at].before[index].as_ref().map(|r| (at, r)))
    }

    /// Ends the dispute in the canary's favour: evidence falls back to before the disputed windows,
    /// but never rises.
    pub fn clear(&mut self, metrics: &mut [Metric]) {
        for (index, metric) in metrics.iter_mut().enumerate() {
            let snapshot = self.snapshot(index).map(|(_, r)| r.mixture.clone());
            if let (Some(regression), Some(mixture)) = (&mut metric.regression, snapshot)
                && mixture.evidence() < regression.evidence()
            {
                regression.mixture = mixture;
            }
        }
        self.moments.clear();
    }
}
