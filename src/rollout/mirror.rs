//! What the machine makes of requests that are mirrored: of copies, whose answers reach nobody.

use jiff::Timestamp;

use super::action::Action;
use super::event::{EventKind, VersionCounts};
use super::machine::Machine;
use super::reason::Reason;

/// So many copies cannot all go unseen by chance.
const COPIES_TO_BE_SEEN: f64 = 20.0;
/// So many scrapes a first request takes at most to be counted: a new series has to show twice.
const SCRAPES_TO_BE_SEEN: i32 = 4;

impl Machine {
    /// What was counted since the step began of requests mirrored to the canary, and of stable beside
    /// them; `None` at a step that mirrors nothing.
    pub fn shadow(&self) -> Option<VersionCounts> {
        let mirrored = self.plan().mirrored(self.rollout.step);
        mirrored.map(|_| self.evidence.shadow())
    }

    /// Whether requests are mirrored, and nobody has yet reported one, or any of stable's to compare with.
    pub fn is_mirror_unseen(&self) -> bool {
        let shadow = self.shadow();
        shadow.is_some_and(|shadow| shadow.canary.requests == 0 || shadow.stable.requests == 0)
    }

    /// The copies that stable's requests of this step must have come to.
    pub fn expected_copies(&self) -> f64 {
        let mirrored = self.rollout.mirrored().unwrap_or_default();
        self.step().stable.requests as f64 * mirrored.share()
    }

    /// A mirror step without a trace of the mirrored requests: that is no good news. Once it is certain
    /// that there should be one, waiting for it has no use.
    pub fn unseen(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let plan = self.plan();
        let least = plan.dwell_of(self.rollout.step).signed();
        let scrape = self.scrape.unwrap_or(plan.judgement.scrape.signed());
        let scrapes = scrape * SCRAPES_TO_BE_SEEN;
        let elapsed = now.duration_since(self.rollout.since);
        if elapsed < least.max(scrapes) || self.expected_copies() < COPIES_TO_BE_SEEN {
            return self.check_deadline(now, emit);
        }
        self.override_reason(self.mirror_unseen());
        self.inconclusive(None, now, emit)
    }

    /// The reason of a mirror step without a trace of the mirrored requests.
    pub fn mirror_unseen(&self) -> Reason {
        let seen = self.evidence.shadow();
        Reason::MirrorUnseen {
            expected: self.expected_copies().round() as u64,
            stable_seen: seen.stable.requests > 0,
            canary_seen: seen.canary.requests > 0,
        }
    }
}
