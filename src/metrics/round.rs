//! What was counted between two cuts of a [tape](super::tape), and for whom.

use std::collections::HashMap;

use jiff::Timestamp;

use super::istio::{Party, Side};

/// Where a series' increases are booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Booking {
    pub(super) side: Side,
    pub(super) party: Party,
    /// Which of the things counted: failures or not, or a bucket of a histogram.
    pub(super) slot: usize,
}

/// What was counted between two edges.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Round {
    /// End of the round before.
    pub(super) start: Timestamp,
    /// The newest sample in this round.
    pub(super) end: Timestamp,
    /// No request in this round is older. Earlier than `start` where targets are scraped at other phases.
    pub(super) opened: Timestamp,
    /// The side that was counted.
    pub(super) side: Side,
    pub(super) sums: HashMap<(Party, usize), f64>,
}

impl Round {
    pub(super) fn sum(&self, party: Party, slot: usize) -> u64 {
        // Counters count whole requests; what is not whole comes from the float, not from the proxy.
        self.sums
            .get(&(party, slot))
            .map_or(0, |sum| sum.round() as u64)
    }
}
