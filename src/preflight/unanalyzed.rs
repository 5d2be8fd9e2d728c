//! A plan that moves all traffic without one analysis.

use crate::plan::{Finding, Plan};

/// That nothing is analyzed from step `first` on, unless that is `meant`.
pub fn unanalyzed(plan: &Plan, first: usize, meant: bool) -> Option<Finding> {
    let mut steps = first..plan.step_count();
    let is_judged = |step| plan.exposure(step).is_judged() && !plan.is_last(step);
    // Where it waits, it is watched.
    let waits = plan.steps.as_slice()[first..].iter().any(|step| step.pause);
    let is_watched = waits || !plan.bake.unsigned().is_zero();
    if meant || is_watched || steps.any(is_judged) {
        return None;
    }
    Some(Finding::refuse(
        "the plan moves all traffic at once, without any analysis",
        "a broken canary would fail every request until somebody notices",
        "--steps 1,10,50,100, or --bake 10m to analyze at 100 %, or --unanalyzed if that is meant",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Options;

    fn found(steps: &str, bake: Option<&str>, first: usize, meant: bool) -> bool {
        let plan = Plan::resolve(Options {
            steps: Some(steps.parse().unwrap()),
            bake: bake.map(|bake| bake.parse().unwrap()),
            ..Options::default()
        });
        unanalyzed(&plan.unwrap(), first, meant).is_some()
    }

    #[test]
    fn all_at_once_wants_to_be_spelled_out() {
        assert!(found("100", None, 0, false));
        assert!(found("1,10,50,100", None, 3, false), "it has 60 % already");
        assert!(!found("100", Some("5m"), 0, false));
        assert!(!found("100:pause", None, 0, false));
        assert!(!found("100", None, 0, true));
        assert!(!found("1,100", None, 0, false));
    }
}
