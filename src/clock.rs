//! The one source of "now".
//!
//! Everything that chooses takes a [`Timestamp`] as an argument; only the thin edges hold a [`Clock`].
//! Under tokio's paused clock a virtual hour passes in milliseconds and every wall-clock time in the
//! record follows it, because a virtual clock is an origin plus tokio's own elapsed time.

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
    },
}

impl Clock {
    /// A clock that reads `origin` now and follows tokio's clock from here on.
    pub fn starting_at(origin: Timestamp) -> Self {
        Self::Virtual {
            origin,
            since: Instant::now(),
        }
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Virtual { origin, since } => {
                let elapsed = SignedDuration::try_from(since.elapsed())
                    .expect("a run is shorter than 292 billion years");
                *origin + elapsed
            }
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
}
