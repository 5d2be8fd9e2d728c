//! Trips, what confirms them and what clears them.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::rollout::{Rollout, counts, history, policy};
use crate::verdict::analysis::{Analysis, Decision, Verdict};
use crate::verdict::sequential::dispersion::Dispersion;
use crate::verdict::sequential::history::Past;
use crate::verdict::sequential::{AnalysisState, History, Hold, Policy, Subject};
use crate::verdict::{Slow, Window};

#[test]
fn a_regression_trips_and_is_confirmed_by_a_healthy_stable() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    rollout.see((1350, 1), (150, 0));
    assert!(matches!(
        rollout.see((1350, 1), (150, 40)),
        Decision::Trip(_)
    ));
    assert_eq!(rollout.analysis.evidence().state, AnalysisState::Confirming);
    rollout.share = 0.0;
    assert!(matches!(
        rollout.see((1500, 2), (3, 1)),
        Decision::Rollback(_)
    ));
}

/// The weights change ten seconds into the window, so a third of 1 % is all that the canary can have got.
#[test]
fn the_window_in_which_a_step_begins_is_compared_by_the_share_over_its_time() {
    let see = |canary| {
        let mut rollout = Rollout::new(policy(), &history());
        rollout.now = 10;
        rollout.step(0.01, Some(0.1), 60);
        rollout.now = 0;
        rollout.see((149_500, 150), canary)
    };
    let decision = see((500, 6));
    assert!(matches!(decision, Decision::Trip(_)), "{decision:?}");
    // What is missing of that may be requests that do not follow the weights, and then stable fails more.
    let decision = see((250, 5));
    assert!(matches!(decision, Decision::Stay(..)), "{decision:?}");
}

#[test]
fn an_outage_that_stable_shows_a_scrape_later_is_no_regression() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    rollout.see((1350, 1), (150, 0));
    assert!(matches!(
        rollout.see((1350, 1), (150, 45)),
        Decision::Trip(_)
    ));
    rollout.share = 0.0;
    assert!(matches!(
        rollout.see((1500, 450), (2, 0)),
        Decision::Resume(_)
    ));
    assert!(rollout.total() < 1e-9, "as before the disputed windows");
    rollout.share = 0.1;
    let decision = rollout.see((1350, 1), (150, 0));
    assert!(matches!(decision, Decision::Stay(..)));
    assert_eq!(
        rollout.analysis.evidence().state,
        AnalysisState::Held(Hold::Incident)
    );
}

#[test]
fn what_a_late_counter_leaves_behind_after_an_outage_is_taken_back() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    // The canary's counters are a scrape late; the last of them is too little to trip.
    for (stable, canary) in [(56, 0), (60, 8), (70, 7), (65, 8), (0, 7)] {
        let decision = rollout.see((130, stable), (15, canary));
        assert!(matches!(decision, Decision::Stay(..)), "{decision:?}");
    }
    assert!(rollout.total() > policy().confirm());
    rollout.see((137, 0), (15, 0));
    assert!(rollout.total() < 0.0, "{}", rollout.total());
}

#[test]
fn three_cleared_trips_hold_the_step() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    for _ in 0..3 {
        rollout.share = 0.1;
        // Back to the usual, so that the outage before is forgotten.
        for _ in 0..40 {
            rollout.see((13_500, 13), (1500, 1));
        }
        let tripped = rollout.see((1350, 1), (150, 60));
        assert!(matches!(tripped, Decision::Trip(_)), "{tripped:?}");
        rollout.share = 0.0;
        assert!(matches!(
            rollout.see((1500, 600), (2, 0)),
            Decision::Resume(_)
        ));
    }
    rollout.share = 0.1;
    for _ in 0..40 {
        let decision = rollout.see((13_500, 13), (1500, 1));
        assert!(!matches!(decision, Decision::Advance(_)));
    }
    assert_eq!(
        rollout.analysis.evidence().state,
        AnalysisState::Held(Hold::Disputed)
    );
}

#[test]
fn a_young_canary_gets_room() {
    let trips = |warmup| {
        let policy = Policy {
            warmup: SignedDuration::from_secs(warmup),
            ..policy()
        };
        let mut rollout = Rollout::new(policy, &history());
        rollout.step(0.1, Some(0.5), 60);
        (0..2).any(|_| matches!(rollout.see((1350, 1), (150, 9)), Decision::Trip(_)))
    };
    assert!(trips(0));
    assert!(!trips(30));
}

#[test]
fn without_a_history_the_first_window_is_the_baseline() {
    let mut rollout = Rollout::new(policy(), &History::unknown());
    rollout.step(0.1, Some(0.5), 60);
    let first = rollout.see((1350, 1), (150, 40));
    assert!(matches!(first, Decision::Stay(Verdict::NotEnoughData, _)));
    assert!(rollout.total().abs() < 1e-12);
    assert!(matches!(
        rollout.see((1350, 1), (150, 40)),
        Decision::Trip(_)
    ));
    rollout.share = 0.0;
    assert!(matches!(
        rollout.see((1500, 2), (0, 0)),
        Decision::Rollback(_)
    ));
}

#[test]
fn a_slower_canary_trips_on_latency_alone() {
    let slow_history = History {
        slow: vec![(
            250.0,
            Past {
                bad: 2000,
                requests: 200_000,
                dispersion: Dispersion::POISSON,
            },
        )],
        ..history()
    };
    let mut rollout = Rollout::new(policy(), &slow_history);
    rollout.step(0.5, Some(1.0), 60);
    let slow = Slow {
        bound_ms: 250.0,
        stable: counts((7500, 75)),
        canary: counts((7500, 300)),
    };
    let window = Window {
        slow: vec![slow],
        ..rollout.window((7500, 7), (7500, 7))
    };
    assert!(matches!(
        rollout.analysis.observe(&window),
        Decision::Trip(_)
    ));
    let evidence = rollout.analysis.evidence();
    let subject = Subject::SlowerThan { bound_ms: 250.0 };
    assert!(
        evidence
            .metrics
            .iter()
            .any(|m| m.subject == subject && m.evidence > 4.6)
    );
}

proptest! {
    /// A replay that shows every window twice comes to the same end.
    #[test]
    fn a_window_counts_once(
        windows in prop::collection::vec((100..5_000_u64, 0..3_u64, 10..500_u64, 0..8_u64), 1..20),
    ) {
        let mut once = Rollout::at_step(0.1, 0.5);
        let mut twice = Rollout::at_step(0.1, 0.5);
        for (stable, stable_bad, canary, canary_bad) in windows {
            let decision = once.see((stable, stable_bad), (canary, canary_bad));
            let window = twice.window((stable, stable_bad), (canary, canary_bad));
            prop_assert_eq!(&twice.analysis.observe(&window), &decision);
            let again = twice.analysis.observe(&window);
            prop_assert!(matches!(again, Decision::Stay(Verdict::NotEnoughData, _)));
            prop_assert_eq!(&once.analysis, &twice.analysis);
            if matches!(decision, Decision::Rollback(_)) {
                break;
            }
        }
    }

    /// Any run of windows: evidence stays a number, and neither a resume nor a review wins anything.
    #[test]
    fn evidence_is_always_a_number_and_never_won_by_a_resume(
        windows in prop::collection::vec(
            (0..1_000_000_000_u64, 0.0..1.0_f64, 0..1_000_000_000_u64, 0.0..1.0_f64),
            1..30,
        ),
        share in 0.001..0.999_f64,
    ) {
        let mut rollout = Rollout::at_step(share, 1.0);
        let mut highest_before_trip = rollout.total();
        for (stable, stable_bad, canary, canary_bad) in windows {
            let bad = |requests: u64, rate: f64| (requests, (requests as f64 * rate.powi(4)) as u64);
            let decision = rollout.see(bad(stable, stable_bad), bad(canary, canary_bad));
            prop_assert!(rollout.total().is_finite());
            match decision {
                Decision::Trip(_) => rollout.share = 0.0,
                Decision::Resume(_) => {
                    prop_assert!(rollout.total() <= highest_before_trip + 1e-9);
                    rollout.share = share;
                }
                Decision::Rollback(_) => break,
                _ => highest_before_trip = highest_before_trip.max(rollout.total()),
            }
        }
    }
}
