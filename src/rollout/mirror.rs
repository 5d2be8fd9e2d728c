//! What is known of a step that mirrors requests to the canary, whose answers reach no user. Pure.

use jiff::SignedDuration;

use super::reason::Reason;
use super::version_counts::VersionCounts;
use crate::plan::Percent;

/// So many mirrored requests cannot all go unseen by chance.
const COPIES_TO_BE_SEEN: f64 = 20.0;
/// Scrapes that a first request takes at most to be counted: a new series has to show twice.
const SCRAPES_TO_BE_SEEN: i32 = 4;

/// A step that mirrors requests, and what was counted since it began.
#[derive(Clone, Copy, Debug)]
pub struct MirrorStep {
    /// The part of the requests that is mirrored.
    pub share: Percent,
    /// What users sent.
    pub users: VersionCounts,
    /// What the versions' own proxies report: mirrored requests at the canary, users' at stable.
    pub mirror_counts: VersionCounts,
}

impl MirrorStep {
    /// Whether a version's own proxy reports nothing, so that there is nothing to compare.
    pub fn is_unseen(&self) -> bool {
        self.mirror_counts.canary.requests == 0 || self.mirror_counts.stable.requests == 0
    }

    /// The mirrored requests that stable's requests must have come to.
    pub fn expected(&self) -> f64 {
        self.users.stable.requests as f64 * self.share.share()
    }

    /// Whether reports should have come in by now, so that waiting for them has no use.
    pub fn is_overdue(
        &self,
        elapsed: SignedDuration,
        least: SignedDuration,
        scrape: SignedDuration,
    ) -> bool {
        elapsed >= least.max(scrape * SCRAPES_TO_BE_SEEN) && self.expected() >= COPIES_TO_BE_SEEN
    }

    /// Why nothing can be compared.
    pub fn unseen(&self) -> Reason {
        Reason::MirrorUnseen {
            expected: self.expected().round() as u64,
            stable_seen: self.mirror_counts.stable.requests > 0,
            canary_seen: self.mirror_counts.canary.requests > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Counts;

    #[test]
    fn reports_are_overdue_when_there_is_enough_to_report_and_time_to_scrape_it() {
        let seconds = SignedDuration::from_secs;
        for (requests, elapsed, overdue) in [(200, 20, true), (199, 20, false), (200, 19, false)] {
            let stable = Counts {
                requests,
                failures: 0,
            };
            let users = VersionCounts {
                stable,
                ..VersionCounts::default()
            };
            let step = MirrorStep {
                share: Percent::whole(10),
                users,
                mirror_counts: VersionCounts::default(),
            };
            let (least, scrape) = (seconds(10), seconds(5));
            assert_eq!(step.is_overdue(seconds(elapsed), least, scrape), overdue);
            assert!(step.is_unseen());
        }
    }
}
