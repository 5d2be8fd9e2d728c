//! An analysis with the time it has reached, to tell stories with.

use jiff::{SignedDuration, Timestamp};

use crate::verdict::analysis::{Analysis, Decision, StepContext};
use crate::verdict::sequential::dispersion::Dispersion;
use crate::verdict::sequential::history::Past;
use crate::verdict::sequential::{History, Policy, Preset, Sequential};
use crate::verdict::{Counts, Window};

pub(super) const SCRAPE: i64 = 15;

/// An analysis and the time it has reached.
pub(super) struct Rollout {
    pub(super) analysis: Sequential,
    pub(super) now: i64,
    pub(super) share: f64,
}

pub(super) fn policy() -> Policy {
    Policy {
        warmup: SignedDuration::ZERO,
        ..Preset::Careful.policy(SignedDuration::from_secs(SCRAPE))
    }
}

pub(super) fn history() -> History {
    History {
        failures: Past {
            bad: 200,
            requests: 200_000,
            dispersion: Dispersion::POISSON,
        },
        slow: Vec::new(),
        statuses: Vec::new(),
        operations: Vec::new(),
        refusals: None,
        longest: SignedDuration::ZERO,
        lately: [0; 2],
        recalled: false,
    }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn counts((requests, failures): (u64, u64)) -> Counts {
    Counts { requests, failures }
}

impl Rollout {
    pub(super) fn new(policy: Policy, history: &History) -> Self {
        Self {
            analysis: Sequential::new(policy, history),
            now: 0,
            share: 0.0,
        }
    }

    pub(super) fn at_step(share: f64, next_share: f64) -> Self {
        let mut rollout = Self::new(policy(), &history());
        rollout.step(share, Some(next_share), 60);
        rollout
    }

    pub(super) fn step(&mut self, share: f64, next_share: Option<f64>, dwell: i64) {
        self.share = share;
        self.analysis.begin_step(StepContext {
            share,
            next_share,
            began: at(self.now),
            dwell: SignedDuration::from_secs(dwell),
        });
    }

    pub(super) fn window(&mut self, stable: (u64, u64), canary: (u64, u64)) -> Window {
        let start = self.now;
        self.now += SCRAPE;
        Window {
            start: at(start),
            end: at(self.now),
            share: self.share,
            stable: counts(stable),
            canary: counts(canary),
            ..Window::default()
        }
    }

    pub(super) fn see(&mut self, stable: (u64, u64), canary: (u64, u64)) -> Decision {
        let window = self.window(stable, canary);
        self.analysis.observe(&window)
    }

    pub(super) fn total(&self) -> f64 {
        self.analysis.evidence().evidence
    }
}
