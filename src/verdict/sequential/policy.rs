//! What a rollout is willing to risk, and the presets that trade it for time (section 8).

use clap::ValueEnum;
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::block::Margin;

/// Slow requests that harm as much as a failed one.
const SLOW_PER_FAILED: f64 = 4.0;
/// Room for a canary that is warming up, as a share of requests.
const WARMUP_ROOM: f64 = 0.1;
/// The least excess of slow requests that is asked to be ruled out, as a share of requests.
const LEAST_TAIL: f64 = 0.005;

/// The numbers behind a verdict. [`Preset`] gives sensible ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Bound on the chance to roll back a canary within the margin, over the whole rollout.
    pub false_rollback: f64,
    /// Bound on the chance to rule an excess out that is there, for each step.
    pub false_promotion: f64,
    /// What is not worse, for failures.
    pub failures: Margin,
    /// What is not worse, for the share of slow requests.
    pub slow: Margin,
    /// What is not worse, for the share of answers of 400 to 499: those are the callers' mistakes, which
    /// hit both versions alike, and callers differ.
    pub refusals: Margin,
    /// Factor on the stable rate that promotion allows on top of its excess.
    pub promotion_ratio: f64,
    /// Excess that must be ruled out before a step is left.
    pub tolerance: Tolerance,
    /// The most that need not be ruled out of slow requests, as a share of requests.
    pub slow_tolerance: f64,
    /// What the next step may cost, which lets small steps pass on little evidence.
    pub blast: Blast,
    /// How long a step lasts at least.
    pub dwell: SignedDuration,
    /// How long a step waits for a verdict; time in an incident or without data does not count.
    pub deadline: SignedDuration,
    /// How soon after a weight increase an incident is put down to it, so that the canary goes back a
    /// step; zero turns it off.
    pub blame: SignedDuration,
    /// How long a young canary is given ten points of room; zero turns it off.
    pub warmup: SignedDuration,
    /// How often Prometheus scrapes.
    pub scrape: SignedDuration,
}

impl Margin {
    /// The margin of a canary that is warming up.
    pub fn with_room(self) -> Self {
        Self {
            offset: self.offset.max(WARMUP_ROOM),
            ..self
        }
    }
}

/// Excess over `promotion_ratio * stable` that must be ruled out, as shares of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// At the start of a step.
    pub early: f64,
    /// Once the step has lasted `widens_after`.
    pub late: f64,
    /// When the second takes over.
    pub widens_after: SignedDuration,
}

/// What a bad canary may do at the next step before it is caught.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blast {
    /// Excess over both versions together, as a share of requests.
    pub excess: f64,
    /// Failed requests in a scrape, were every canary request to fail.
    pub requests: f64,
}

/// How fast, at what price.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Detects a regression of 0.5 percentage points; at least 1m per step.
    #[default]
    Careful,
    /// Detects a regression of 1 percentage point; at least 10s per step.
    Quick,
    /// Detects a regression of 2 percentage points; at least 10s per step.
    Quicker,
}

impl Preset {
    /// The preset's policy for a scrape interval.
    ///
    /// A step lasts four scrapes and a minute with [`Preset::Careful`] (half a minute when scrapes
    /// are at most 5 s apart), ten seconds and two scrapes with the others.
    pub fn policy(self, scrape: SignedDuration) -> Policy {
        let steady = |share| Tolerance {
            early: share,
            late: share,
            widens_after: SignedDuration::ZERO,
        };
        let (tolerance, excess, least, scrapes, warmup) = match self {
            Self::Careful => {
                let least = match scrape <= SignedDuration::from_secs(5) {
                    true => 30,
                    false => 60,
                };
                let tolerance = Tolerance {
                    early: 0.0005,
                    late: 0.005,
                    widens_after: SignedDuration::from_secs(2 * least),
                };
                (tolerance, 0.005, least, 4, 30)
            }
            Self::Quick => (steady(0.01), 0.01, 10, 2, 10),
            Self::Quicker => (steady(0.02), 0.02, 10, 2, 10),
        };
        Policy {
            false_rollback: 0.01,
            false_promotion: 0.05,
            failures: Margin {
                ratio: 1.25,
                offset: 0.0001,
            },
            slow: Margin {
                ratio: 1.25,
                offset: 0.001,
            },
            refusals: Margin {
                ratio: 1.5,
                offset: 0.02,
            },
            promotion_ratio: 1.5,
            tolerance,
            slow_tolerance: 0.02,
            blast: Blast {
                excess,
                requests: 10.0,
            },
            dwell: SignedDuration::from_secs(least).max(scrape * scrapes),
            deadline: SignedDuration::from_mins(60),
            blame: SignedDuration::from_mins(2),
            warmup: SignedDuration::from_secs(warmup),
            scrape,
        }
    }
}

impl Policy {
    /// What a canary is judged by at its first requests.
    #[must_use]
    pub fn while_cold(mut self) -> Self {
        if !self.warmup.is_zero() {
            for margin in [&mut self.failures, &mut self.slow, &mut self.refusals] {
                *margin = margin.with_room();
            }
        }
        self
    }

    /// Evidence in nats at which the canary's traffic is taken away.
    pub fn trip(&self) -> f64 {
        -self.false_rollback.ln()
    }

    /// Evidence in nats that every alignment must keep for a rollback.
    pub fn confirm(&self) -> f64 {
        0.5 * self.trip()
    }

    /// The excess of slow requests to rule out beside one of failures, at a bound that a share `tail` of
    /// stable's requests exceed; all are shares of requests.
    ///
    /// It is as much as `tail`, so that the canary's tail is at most two and a half times as long. Of a tail
    /// that is hardly there more is asked than it is worth, and what was never seen has no measure.
    pub fn slow_excess(&self, failures: f64, tail: f64) -> f64 {
        let of_tail = match tail > 0.0 {
            true => tail.clamp(LEAST_TAIL.min(self.slow_tolerance), self.slow_tolerance),
            false => self.slow_tolerance,
        };
        (SLOW_PER_FAILED * failures).max(of_tail)
    }

    /// The excess to rule out, `elapsed` into a step.
    pub fn tolerance_after(&self, elapsed: SignedDuration) -> f64 {
        if elapsed < self.tolerance.widens_after {
            self.tolerance.early
        } else {
            self.tolerance.late
        }
    }

    /// The excess that may stay open because the next step is small: `excess / next_share`, or
    /// `requests / (next_share * per_window)` when that is more. At 1 or above nothing needs ruling
    /// out. `per_window` is the number of requests to both versions in a window.
    pub fn blast_floor(&self, next_share: f64, per_window: f64) -> f64 {
        let blended = self.blast.excess / next_share;
        if per_window > 0.0 {
            blended.max(self.blast.requests / (next_share * per_window))
        } else {
            1.0
        }
    }
}
