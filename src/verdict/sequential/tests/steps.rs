//! When a step is left, held, given up or gone back from.

use super::rollout::{Rollout, at, policy};
use crate::verdict::analysis::{Analysis, Decision, Verdict};
use crate::verdict::sequential::{AnalysisState, Hold};

#[test]
fn a_healthy_canary_goes_on_when_its_time_is_over() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    for _ in 0..3 {
        let decision = rollout.see((13_500, 13), (1500, 1));
        assert!(matches!(decision, Decision::Stay(Verdict::Healthy, _)));
    }
    let decision = rollout.see((13_500, 13), (1500, 1));
    assert!(matches!(decision, Decision::Advance(_)), "{decision:?}");
}

#[test]
fn both_versions_failing_at_once_holds_and_resets_the_promise() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    for _ in 0..8 {
        let decision = rollout.see((1350, 400), (150, 45));
        assert!(matches!(
            decision,
            Decision::Stay(Verdict::NotEnoughData, _)
        ));
        assert_eq!(
            rollout.analysis.evidence().state,
            AnalysisState::Held(Hold::Incident)
        );
    }
}

#[test]
fn no_traffic_is_never_good_news() {
    let mut rollout = Rollout::at_step(0.01, 0.1);
    for _ in 0..239 {
        let decision = rollout.see((0, 0), (0, 0));
        assert!(matches!(
            decision,
            Decision::Stay(Verdict::NotEnoughData, _)
        ));
    }
    let decision = rollout.see((0, 0), (0, 0));
    assert!(
        matches!(decision, Decision::Inconclusive(_)),
        "{decision:?}"
    );
}

#[test]
fn a_canary_without_its_share_is_held() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    for _ in 0..20 {
        let decision = rollout.see((1500, 1), (0, 0));
        assert!(!matches!(decision, Decision::Advance(_)));
    }
    let evidence = rollout.analysis.evidence();
    assert_eq!(evidence.state, AnalysisState::Held(Hold::NotItsShare));
    // What its weight says it should have had is no bound on what it did.
    assert_eq!(evidence.metrics[0].upper, None);
}

#[test]
fn a_canary_whose_traffic_disappears_in_mid_step_is_held() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    rollout.step(0.1, Some(0.5), 3600);
    for _ in 0..100 {
        rollout.see((1350, 1), (150, 0));
    }
    for _ in 0..3 {
        rollout.see((1480, 1), (20, 0));
    }
    assert_eq!(
        rollout.analysis.evidence().state,
        AnalysisState::Held(Hold::NotItsShare)
    );
}

#[test]
fn an_incident_of_stable_alone_lets_the_fix_pass() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    let decisions: Vec<_> = (0..8).map(|_| rollout.see((1350, 400), (150, 0))).collect();
    assert!(
        matches!(decisions[1], Decision::Stay(Verdict::NotEnoughData, _)),
        "at first it may be both: {decisions:#?}"
    );
    assert!(
        matches!(decisions[7], Decision::Advance(_)),
        "{decisions:#?}"
    );
}

#[test]
fn an_incident_stops_the_deadline() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    for _ in 0..300 {
        let decision = rollout.see((1350, 300), (150, 33));
        assert!(matches!(decision, Decision::Stay(..)), "{decision:?}");
    }
}

#[test]
fn time_without_samples_does_not_count_towards_the_deadline() {
    let mut rollout = Rollout::at_step(0.5, 1.0);
    for _ in 0..20 {
        // Ten minutes of nothing, and then too little for a verdict.
        let mut window = rollout.window((1, 0), (1, 0));
        rollout.now += 600;
        window.end = at(rollout.now);
        let decision = rollout.analysis.observe(&window);
        assert!(matches!(decision, Decision::Stay(..)), "{decision:?}");
    }
    for _ in 0..240 {
        if matches!(rollout.see((1, 0), (1, 0)), Decision::Inconclusive(_)) {
            return;
        }
    }
    panic!("an hour of samples is no verdict");
}

#[test]
fn trouble_at_full_weight_goes_back_to_a_comparison() {
    let mut rollout = Rollout::at_step(0.5, 1.0);
    for _ in 0..4 {
        rollout.see((750, 1), (750, 1));
    }
    rollout.step(1.0, None, 300);
    assert!(matches!(
        rollout.see((0, 0), (1500, 2)),
        Decision::Stay(Verdict::Healthy, _)
    ));
    assert!(matches!(
        rollout.see((0, 0), (1500, 300)),
        Decision::Retreat(_)
    ));
    rollout.step(0.5, Some(1.0), 60);
    // Stable fails as much: the world, not the canary.
    for _ in 0..4 {
        let decision = rollout.see((750, 150), (750, 150));
        assert!(matches!(decision, Decision::Stay(..)), "{decision:?}");
    }
    let mut last = rollout.see((75_000, 75), (75_000, 75));
    for _ in 0..40 {
        if matches!(last, Decision::Advance(_)) {
            return;
        }
        last = rollout.see((75_000, 75), (75_000, 75));
    }
    panic!("never back to 100 %: {last:?}");
}

#[test]
fn stable_failing_with_each_increase_sends_the_canary_back_and_ends_without_a_verdict() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    for attempt in 0..3 {
        let mut healthy = rollout.see((13_500, 13), (1500, 1));
        for _ in 0..40 {
            if matches!(healthy, Decision::Advance(_)) {
                break;
            }
            healthy = rollout.see((13_500, 13), (1500, 1));
        }
        assert!(matches!(healthy, Decision::Advance(_)), "attempt {attempt}");
        rollout.step(0.5, Some(1.0), 60);
        assert!(matches!(
            rollout.see((7_500, 1200), (7_500, 1200)),
            Decision::Stay(..)
        ));
        let worse = rollout.see((7_500, 1200), (7_500, 1200));
        assert!(matches!(worse, Decision::Retreat(_)), "{worse:?}");
        rollout.step(0.1, Some(0.5), 60);
    }
    let mut last = rollout.see((13_500, 13), (1500, 1));
    for _ in 0..20 {
        last = rollout.see((13_500, 13), (1500, 1));
    }
    assert!(matches!(last, Decision::Inconclusive(_)), "{last:?}");
    assert_eq!(
        rollout.analysis.evidence().state,
        AnalysisState::Held(Hold::Overload)
    );
}

#[test]
fn an_incident_long_after_an_increase_is_nobodys_fault() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    rollout.step(0.5, Some(1.0), 600);
    for _ in 0..9 {
        rollout.see((7_500, 7), (7_500, 7));
    }
    for _ in 0..10 {
        let decision = rollout.see((7_500, 1200), (7_500, 1200));
        assert!(matches!(decision, Decision::Stay(..)), "{decision:?}");
    }
}

#[test]
fn a_quiet_bake_ends_the_rollout() {
    let mut rollout = Rollout::at_step(0.5, 1.0);
    rollout.see((750, 1), (750, 1));
    rollout.step(1.0, None, 60);
    for _ in 0..3 {
        assert!(matches!(rollout.see((0, 0), (1500, 1)), Decision::Stay(..)));
    }
    assert!(matches!(
        rollout.see((0, 0), (1500, 1)),
        Decision::Advance(_)
    ));
}

#[test]
fn a_small_step_is_left_on_little_evidence_where_little_can_happen() {
    let policy = policy();
    let table = [
        (0.1, 1.0, 1.0 / (0.1 * 0.1)),
        (0.1, 1500.0, 0.066_666_666_666_666_67),
        (0.1, 1e6, 0.05),
        (0.5, 1e6, 0.01),
        (0.5, 0.0, 1.0),
    ];
    for (next, per_window, expected) in table {
        let floor = policy.blast_floor(next, per_window);
        assert!(
            (floor - expected).abs() < 1e-9,
            "{next} {per_window}: {floor}"
        );
    }
}
