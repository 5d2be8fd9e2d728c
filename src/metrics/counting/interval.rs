//! What was counted between two cuts of a [log](super::log), and for whom.

use std::collections::HashMap;

use jiff::Timestamp;

use super::versions::{Reporter, SeriesOwner};

/// Where a series' increases are booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bin {
    pub(crate) reporter: Reporter,
    pub(crate) owner: SeriesOwner,
    /// Which of the things counted: failures or not, or a bucket of a histogram.
    pub(crate) bin: usize,
}

/// What was counted between two edges.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Interval {
    /// End of the round before.
    pub(crate) start: Timestamp,
    /// The newest sample in this round.
    pub(crate) end: Timestamp,
    /// No request in this round is older. Earlier than `start` where targets are scraped at other phases.
    pub(crate) opened: Timestamp,
    /// The side that was counted.
    pub(crate) reporter: Reporter,
    pub(crate) sums: HashMap<(SeriesOwner, usize), f64>,
}

impl Interval {
    pub(crate) fn sum(&self, owner: SeriesOwner, bin: usize) -> u64 {
        // Counters count whole requests; what is not whole comes from the float, not from the proxy.
        self.sums
            .get(&(owner, bin))
            .map_or(0, |sum| sum.round() as u64)
    }
}
