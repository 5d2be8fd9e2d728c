//! What the analysis does, told window by window.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::dispersion::Dispersion;
use super::history::Past;
use super::{History, Hold, Policy, Preset, Sequential, State, Subject};
use crate::verdict::{Analysis, Counts, Decision, Slow, StepContext, Verdict, Window};

const SCRAPE: i64 = 15;

/// An analysis and the time it has reached.
struct Rollout {
    analysis: Sequential,
    now: i64,
    share: f64,
}

fn policy() -> Policy {
    Policy {
        warmup: SignedDuration::ZERO,
        ..Preset::Careful.policy(SignedDuration::from_secs(SCRAPE))
    }
}

fn history() -> History {
    History {
        failures: Past {
            bad: 200,
            requests: 200_000,
            dispersion: Dispersion::POISSON,
        },
        slow: Vec::new(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn counts((requests, failures): (u64, u64)) -> Counts {
    Counts { requests, failures }
}

impl Rollout {
    fn new(policy: Policy, history: &History) -> Self {
        Self {
            analysis: Sequential::new(policy, history),
            now: 0,
            share: 0.0,
        }
    }

    fn at_step(share: f64, next_share: f64) -> Self {
        let mut rollout = Self::new(policy(), &history());
        rollout.step(share, Some(next_share), 60);
        rollout
    }

    fn step(&mut self, share: f64, next_share: Option<f64>, dwell: i64) {
        self.share = share;
        self.analysis.begin_step(StepContext {
            share,
            next_share,
            began: at(self.now),
            dwell: SignedDuration::from_secs(dwell),
        });
    }

    fn window(&mut self, stable: (u64, u64), canary: (u64, u64)) -> Window {
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

    fn see(&mut self, stable: (u64, u64), canary: (u64, u64)) -> Decision {
        let window = self.window(stable, canary);
        self.analysis.observe(&window)
    }

    fn total(&self) -> f64 {
        self.analysis.evidence().evidence
    }
}

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
fn a_regression_trips_and_is_confirmed_by_a_healthy_stable() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    rollout.see((1350, 1), (150, 0));
    assert!(matches!(
        rollout.see((1350, 1), (150, 40)),
        Decision::Trip(_)
    ));
    assert_eq!(rollout.analysis.evidence().state, State::Confirming);
    rollout.share = 0.0;
    assert!(matches!(
        rollout.see((1500, 2), (3, 1)),
        Decision::Rollback(_)
    ));
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
        State::Held(Hold::Incident)
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
            State::Held(Hold::Incident)
        );
    }
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
        State::Held(Hold::Disputed)
    );
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
    assert_eq!(
        rollout.analysis.evidence().state,
        State::Held(Hold::NotItsShare)
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
fn silence_is_data_loss_after_three_scrapes() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    rollout.see((1350, 1), (150, 0));
    let soon = rollout.analysis.silent(at(rollout.now + 45));
    assert!(matches!(soon, Decision::Stay(Verdict::NotEnoughData, _)));
    let late = rollout.analysis.silent(at(rollout.now + 46));
    assert!(matches!(
        late,
        Decision::Stay(Verdict::MetricsUnavailable, _)
    ));
    assert_eq!(
        rollout.analysis.evidence().state,
        State::Held(Hold::DataLoss)
    );
    rollout.see((1350, 1), (150, 0));
    assert_eq!(rollout.analysis.evidence().state, State::Comparing);
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
        State::Held(Hold::Overload)
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
        stable_pods: Vec::new(),
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

#[test]
fn a_stored_analysis_goes_on_as_if_nothing_had_happened() {
    let mut rollout = Rollout::at_step(0.1, 0.5);
    for _ in 0..3 {
        rollout.see((1350, 1), (150, 1));
    }
    let stored = serde_json::to_string(&rollout.analysis).unwrap();
    let mut restored: Sequential = serde_json::from_str(&stored).unwrap();
    let window = rollout.window((1350, 1), (150, 30));
    assert_eq!(restored.observe(&window), rollout.analysis.observe(&window));
    // JSON may lose the last bit of a number.
    let gap = restored.evidence().evidence - rollout.total();
    assert!(gap.abs() < 1e-12, "{gap}");
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

proptest! {
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
