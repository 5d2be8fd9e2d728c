//! The numbers that a plan's sequential analysis goes by.

use jiff::SignedDuration;

use super::Plan;
use crate::verdict::sequential::{Policy, Tolerance};

/// The part of the chance of a false rollback that the guards on counters have together.
const GUARDS_PART: f64 = 0.2;

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
        if self.compared_guards() > 0 {
            policy.false_rollback *= 1.0 - GUARDS_PART;
        }
        policy.dwell = self.dwell.signed();
        policy.deadline = self.step_timeout.signed();
        policy.warmup = judgement.warmup.signed();
        policy
    }

    /// The same for each guard on counters, which share their part equally: all bounds add up to the preset's.
    pub fn guard_policy(&self) -> Policy {
        let guards = self.compared_guards().max(1) as f64;
        let whole = self.judgement.preset.policy(self.judgement.scrape.signed());
        Policy {
            false_rollback: whole.false_rollback * GUARDS_PART / guards,
            ..self.policy()
        }
    }

    fn compared_guards(&self) -> usize {
        let guards = self.guards.iter();
        guards.filter(|guard| guard.is_compared()).count()
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Options, Plan};

    #[test]
    fn guards_on_counters_share_the_chance_of_a_false_rollback() {
        let counters = |n| {
            let guard =
                r#"{name: q, bad: 'a{p=~"{{version.pods}}"}', total: 'b{p=~"{{version.pods}}"}'}"#;
            guard.replace('q', &format!("q{n}")).parse().unwrap()
        };
        for (compared, comparison, each) in
            [(0, 0.01, 0.002), (1, 0.008, 0.002), (4, 0.008, 0.0005)]
        {
            let mut guard: Vec<_> = (0..compared).map(counters).collect();
            guard.push("bound: up <= 1".parse().unwrap());
            let plan = Plan::resolve(Options {
                guard,
                ..Options::default()
            });
            let plan = plan.unwrap();
            let is_near = |a: f64, b: f64| (a - b).abs() < 1e-12;
            assert!(
                is_near(plan.policy().false_rollback, comparison),
                "{compared}"
            );
            assert!(
                is_near(plan.guard_policy().false_rollback, each),
                "{compared}"
            );
        }
    }

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
