//! The one source of "now".
//!
//! Everything that chooses takes a [`Timestamp`] as an argument; only the thin edges hold a [`Clock`].
//! Under tokio's paused clock a virtual hour passes in milliseconds and every wall-clock time in the
//! record follows it, because a virtual clock is an origin plus tokio's own elapsed time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Tells the time, either the machine's or that of a virtual world.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's wall clock.
    System,
    /// `origin` plus what tokio's clock (which tests may pause) has advanced since `since`.
    Virtual {
        /// The wall-clock time at `since`.
        origin: Timestamp,
        /// The tokio instant that corresponds to `origin`.
        since: Instant,
        /// By how many milliseconds it was set forward since; shared by its clones.
        set: Arc<AtomicI64>,
    },
}

impl Clock {
    /// A clock that reads `origin` now and follows tokio's clock from here on.
    pub fn starting_at(origin: Timestamp) -> Self {
        Self::Virtual {
            origin,
            since: Instant::now(),
            set: Arc::default(),
        }
    }

    /// A clock of another machine: it shows the same, and is set for itself.
    #[must_use]
    pub fn apart(&self) -> Self {
        match self {
            Self::System => Self::System,
            Self::Virtual { origin, since, set } => Self::Virtual {
                origin: *origin,
                since: *since,
                set: Arc::new(AtomicI64::new(set.load(Ordering::Relaxed))),
            },
        }
    }

    /// Sets a virtual clock forward, or back, by whole milliseconds. The machine's own cannot be set.
    pub fn set_forward(&self, by: SignedDuration) {
        if let Self::Virtual { set, .. } = self {
            let millis = i64::try_from(by.as_millis()).expect("nobody sets a clock that far");
            set.fetch_add(millis, Ordering::Relaxed);
        }
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Virtual { origin, since, set } => {
                let elapsed = SignedDuration::try_from(since.elapsed())
                    .expect("a run is shorter than 292 billion years");
                let set = SignedDuration::from_millis(set.load(Ordering::Relaxed));
                *origin + elapsed + set
            }
        }
    }
}

/// By how much a clock differs at most from the time that passes before that counts as setting it.
const SLEWED: SignedDuration = SignedDuration::from_secs(1);

/// Notices that a clock was set, or that the machine slept: then durations between its readings are not
/// what passed for this process.
#[derive(Debug)]
pub struct ClockWatch {
    read: Timestamp,
    at: Instant,
}

impl ClockWatch {
    /// Begins with what `clock` reads now.
    pub fn begin(clock: &Clock) -> Self {
        Self {
            read: clock.now(),
            at: Instant::now(),
        }
    }

    /// By how much `clock` was set since the last question: forward, or back where it is negative. Zero where
    /// it only ran.
    pub fn set_by(&mut self, clock: &Clock) -> SignedDuration {
        let before = std::mem::replace(self, Self::begin(clock));
        let passed = SignedDuration::try_from(self.at - before.at).unwrap_or(SignedDuration::MAX);
        let by = self.read.duration_since(before.read).saturating_sub(passed);
        match by.abs() > SLEWED {
            true => by,
            false => SignedDuration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_follows_tokio_time() {
        let origin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Clock::starting_at(origin);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T01:00:00Z");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_moves_its_clones_and_no_other() {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let (clone, apart) = (clock.clone(), clock.apart());
        clone.set_forward(SignedDuration::from_secs(-90));
        assert_eq!(clock.now().to_string(), "2025-12-31T23:58:30Z");
        assert_eq!(apart.now().to_string(), "2026-01-01T00:00:00Z");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_noticed_once_and_one_that_runs_is_not() {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let mut watch = ClockWatch::begin(&clock);
        for (set, noticed) in [(0, 0), (3600, 3600), (0, 0), (-90, -90), (1, 0)] {
            tokio::time::sleep(Duration::from_secs(40)).await;
            clock.set_forward(SignedDuration::from_secs(set));
            assert_eq!(watch.set_by(&clock), SignedDuration::from_secs(noticed));
        }
    }
}
