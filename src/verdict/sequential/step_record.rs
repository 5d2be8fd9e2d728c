//! What has been seen of the present step.

use jiff::{SignedDuration, Timestamp};

use super::realised_share::RealisedShare;
use crate::verdict::analysis::StepContext;
use crate::verdict::{Counts, PROPAGATION, Window};

/// Canary requests that must have been seen: in any step, and in the last before 100 %.
pub const LEAST: u64 = 5;
pub const LEAST_LAST: u64 = 20;
/// Part of its nominal requests that the canary must have got before it is promoted on them.
const SHARE: f64 = 0.7;

/// Cleared trips in a step after which it holds.
const DISPUTED_AFTER: u32 = 3;

/// The present step: its counts and its clocks, which only windows advance.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRecord {
    /// As it began.
    pub context: StepContext,
    /// The step began again after a retreat from 100 %.
    pub half_open: bool,
    /// The canary has more traffic than in the step before.
    pub rose: bool,
    /// The canary's share in the step before, 0 to 1; 0 of the first.
    share_before: f64,
    /// When the weights were last set, by the beginning or a resume.
    pub since: Timestamp,
    /// Time that counts towards the deadline.
    pub counted: SignedDuration,
    /// What stable did in this step.
    pub stable: Counts,
    /// What the canary did in this step.
    pub canary: Counts,
    /// Canary requests by smoothed exposure.
    pub exposed: f64,
    /// What it lately got of what its weight promises.
    pub realised: RealisedShare,
    /// Windows since the weights were last set.
    pub windows: u32,
    /// Trips that were cleared in this step.
    pub resumes: u32,
}

impl StepRecord {
    /// A step that begins, after the step `before`.
    pub fn new(context: StepContext, before: Option<&Self>, half_open: bool) -> Self {
        Self {
            context,
            half_open,
            rose: before.is_some_and(|step| step.context.share < context.share),
            share_before: before.map_or(0.0, |step| step.context.share),
            since: context.began,
            counted: SignedDuration::ZERO,
            stable: Counts::default(),
            canary: Counts::default(),
            exposed: 0.0,
            realised: RealisedShare::default(),
            windows: 0,
            resumes: 0,
        }
    }

    /// Counts a window. `exposed` is its smoothed canary exposure.
    pub fn count(&mut self, window: &Window, exposed: f64) {
        self.stable += window.stable;
        self.canary += window.canary;
        self.exposed += exposed;
        if self.is_settled(window) {
            self.realised.note_lately(window);
        }
        self.windows += 1;
    }

    /// The canary's share over the time of a window, by the weights: in the window in which the step began,
    /// those of the step before held at first.
    ///
    /// Where the weight was lowered it is the lower one, as if that had held all along: the canary then has the
    /// fewer requests expected of it, and is not taken to lack any.
    pub fn share_over(&self, window: &Window) -> f64 {
        let whole = window.length().as_secs_f64();
        let after = window.end.duration_since(self.since).as_secs_f64();
        if whole <= 0.0 || after >= whole {
            return window.share;
        }
        let part = after.max(0.0) / whole;
        part * window.share + (1.0 - part) * self.share_before.min(window.share)
    }

    /// Whether every proxy had followed the weights by the time of the oldest request of a window.
    pub fn is_settled(&self, window: &Window) -> bool {
        window.lies_after(self.since.saturating_add(PROPAGATION).unwrap_or(self.since))
    }

    /// The weights are restored at `now` after a trip that was cleared; the dwell starts again.
    pub fn resume(&mut self, now: Timestamp) {
        self.since = now;
        self.windows = 0;
        self.resumes += 1;
    }

    /// So many trips of this step were cleared that another would settle nothing.
    pub fn is_disputed(&self) -> bool {
        self.resumes >= DISPUTED_AFTER
    }

    /// The dwell is over.
    pub fn dwelt(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) >= self.context.dwell
    }

    /// The canary's requests are enough to promote on.
    pub fn served(&self) -> bool {
        let least = if self.last() { LEAST_LAST } else { LEAST };
        self.canary.requests >= least && self.got_its_share()
    }

    /// The canary's requests are about those that were bet on, so that a bound rests on what it did and
    /// not on what its weight says.
    pub fn got_its_share(&self) -> bool {
        self.canary.requests > 0 && self.canary.requests as f64 >= SHARE * self.exposed
    }

    /// All traffic is on the canary.
    pub fn alone(&self) -> bool {
        self.context.share >= 1.0
    }

    /// The next step, if any, leaves nothing on stable.
    pub fn last(&self) -> bool {
        self.context.next_share.is_none_or(|share| share >= 1.0)
    }
}
