//! The numbers that a plan's sequential analysis goes by.

use jiff::SignedDuration;

use super::Plan;
use crate::verdict::sequential::{Policy, Tolerance};

impl Plan {
    /// The preset's policy with all that the plan says otherwise.
    pub fn policy(&self) -> Policy {
        let judgement = self.judgement;
        let mut policy = judgement.preset.policy(judgement.scrape.signed());
        if let Some(tolerance) = judgement.tolerance {
            policy.tolerance = Tolerance {
                early: tolerance.share(),
                late: tolerance.share(),
                widens_after: SignedDuration::ZERO,
            };
            policy.blast.excess = policy.blast.excess.max(tolerance.share());
        }
        policy.dwell = self.dwell.signed();
        policy.deadline = self.step_timeout.signed();
        policy.warmup = judgement.warmup.signed();
        policy
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Options, Plan};

    #[test]
    fn what_the_plan_says_wins_over_its_preset() {
        let options = Options {
            tolerance: Some("2".parse().unwrap()),
            dwell: Some("20s".parse().unwrap()),
            ..Options::default()
        };
        let policy = Plan::resolve(options).unwrap().policy();
        assert_eq!((policy.tolerance.early, policy.blast.excess), (0.02, 0.02));
        assert_eq!(policy.dwell.as_secs(), 20);
        assert_eq!(policy.deadline.as_secs(), 3600);
    }
}
