//! The moments between which the server adds up.

use jiff::{SignedDuration, Timestamp};

use super::versions::Reporter;

/// The moments between which the server adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) reporter: Reporter,
    /// Seconds between two moments, which are multiples of it since 1970.
    pub(super) step: i64,
    /// How many series of requests there were.
    pub(super) series: usize,
    /// Whether they are sums over proxies.
    pub(super) are_sums: bool,
}

impl Grid {
    pub(super) fn step(self) -> SignedDuration {
        SignedDuration::from_secs(self.step)
    }

    /// How long after a moment everything that was scraped until then can be read.
    pub(super) fn settled(self) -> SignedDuration {
        (self.step() / 2).min(SignedDuration::from_secs(2))
    }

    /// The last moment up to `time`.
    pub(super) fn at_most(self, time: Timestamp) -> Timestamp {
        let seconds = time.as_second().div_euclid(self.step) * self.step;
        Timestamp::from_second(seconds).unwrap_or(time)
    }

    /// The first moment from `time` on.
    pub(super) fn at_least(self, time: Timestamp) -> Timestamp {
        let last = self.at_most(time);
        match last == time {
            true => time,
            false => last.saturating_add(self.step()).unwrap_or(time),
        }
    }
}
