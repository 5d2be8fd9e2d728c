//! What was counted between two ends in a [counter log](super::counter_log), and for which version.

use std::collections::HashMap;

use jiff::Timestamp;

use super::versions::{Reporter, SeriesOwner};

/// What the increases of a series are counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bin {
    pub(crate) reporter: Reporter,
    pub(crate) owner: SeriesOwner,
    /// Set by the classifier: failed or not, or a bucket of a histogram.
    pub(crate) bin: usize,
}

/// What was counted between two watermarks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Interval {
    /// End of the interval before.
    pub(crate) start: Timestamp,
    /// The newest sample in this interval.
    pub(crate) end: Timestamp,
    /// No request in this interval is older. Earlier than `start` where targets are scraped at other phases.
    pub(crate) opened: Timestamp,
    /// Whose reports were counted.
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
