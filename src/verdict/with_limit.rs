//! An absolute limit beside the comparison: both must be content.

use super::analysis::{Analysis, Decision, StepContext};
use super::window::Window;
use crate::verdict::sequential::{ErrorLimit, Evidence};

/// Compares with stable, and besides holds the canary to a limit of its own.
pub struct WithLimit {
    comparison: Box<dyn Analysis>,
    limit: ErrorLimit,
}

impl WithLimit {
    /// `comparison`, and `limit` beside it.
    pub fn new(comparison: Box<dyn Analysis>, limit: ErrorLimit) -> Self {
        Self { comparison, limit }
    }
}

impl Analysis for WithLimit {
    fn begin_step(&mut self, step: StepContext) {
        self.comparison.begin_step(step);
        self.limit.begin_step(step);
    }

    fn observe(&mut self, window: &Window) -> Decision {
        let compared = self.comparison.observe(window);
        // Without traffic for the canary the comparison is confirming, and the limit has nothing to say.
        let limited = if window.share > 0.0 {
            self.limit.observe(window)
        } else {
            return compared;
        };
        match (compared, limited) {
            (compared @ (Decision::Rollback(_) | Decision::Trip(_)), _) => compared,
            (_, Decision::Rollback(reasons)) => Decision::Rollback(reasons),
            (Decision::Advance(_), Decision::Stay(verdict, reasons)) => {
                Decision::Stay(verdict, reasons)
            }
            (compared, _) => compared,
        }
    }

    fn evidence(&self) -> Option<Evidence> {
        self.comparison.evidence()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::analysis::Verdict;
    use crate::verdict::sequential::{History, Policy, Preset, Sequential};
    use crate::verdict::window::Counts;
    use jiff::{SignedDuration, Timestamp};

    struct Says(Decision);

    impl Analysis for Says {
        fn begin_step(&mut self, _: StepContext) {}

        fn observe(&mut self, _: &Window) -> Decision {
            self.0.clone()
        }

        fn evidence(&self) -> Option<Evidence> {
            let mut process = Sequential::new(policy(), &History::unknown());
            process.begin_step(step());
            Some(process.evidence())
        }
    }

    fn policy() -> Policy {
        Preset::Careful.policy(SignedDuration::from_secs(15))
    }

    fn step() -> StepContext {
        StepContext {
            share: 0.1,
            next_share: None,
            began: Timestamp::UNIX_EPOCH,
            dwell: SignedDuration::ZERO,
        }
    }

    #[test]
    fn the_evidence_is_that_of_the_comparison() {
        let comparison = Says(Decision::Advance(Vec::new()));
        let expected = comparison.evidence();
        assert!(expected.is_some());
        let (limit, _) = ErrorLimit::new(0.01, 100, policy(), &History::unknown());
        assert_eq!(
            WithLimit::new(Box::new(comparison), limit).evidence(),
            expected
        );
    }

    fn decide(comparison: Decision, share: f64, requests: u64, failures: u64) -> Decision {
        let (limit, _) = ErrorLimit::new(0.01, 100, policy(), &History::unknown());
        let mut both = WithLimit::new(Box::new(Says(comparison)), limit);
        both.begin_step(step());
        both.observe(&Window {
            share,
            stable: Counts {
                requests: 900,
                failures: 0,
            },
            canary: Counts { requests, failures },
            ..Window::default()
        })
    }

    #[test]
    fn both_must_be_content() {
        let why = Vec::new;
        let stay = Decision::Stay(Verdict::NotEnoughData, why());
        for (compared, share, requests, failures, expected) in [
            (Decision::Advance(why()), 0.1, 200, 0, "Advance"),
            (Decision::Advance(why()), 0.1, 99, 0, "Stay"),
            // Over the limit, and it may still be chance.
            (Decision::Advance(why()), 0.1, 200, 3, "Stay"),
            (Decision::Advance(why()), 0.1, 200, 40, "Rollback"),
            (stay.clone(), 0.1, 200, 40, "Rollback"),
            (stay, 0.1, 200, 0, "Stay"),
            (Decision::Trip(why()), 0.1, 200, 9, "Trip"),
            (Decision::Resume(why()), 0.0, 200, 40, "Resume"),
        ] {
            let decided = format!("{:?}", decide(compared, share, requests, failures));
            assert!(decided.starts_with(expected), "{decided}");
        }
    }
}
