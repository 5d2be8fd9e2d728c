//! A status that rises in a sum of others.

use jiff::SignedDuration;

use super::rollout::{at, policy};
use crate::verdict::sequential::dispersion::Dispersion;
use crate::verdict::sequential::history::Past;
use crate::verdict::sequential::{History, Sequential};
use crate::verdict::{Analysis, Counts, Decision, OfStatus, StatusCode, StepContext, Window};

const NOT_FOUND: StatusCode = StatusCode::Grpc(5);
const INTERNAL: StatusCode = StatusCode::Grpc(13);

/// A service that answers a fifth of its calls with `NOT_FOUND`, as it always did.
fn history(statuses: bool) -> History {
    let past = Past {
        bad: 40_000,
        requests: 200_000,
        dispersion: Dispersion::POISSON,
    };
    History {
        failures: past,
        slow: Vec::new(),
        statuses: statuses.then_some((NOT_FOUND, past)).into_iter().collect(),
        operations: Vec::new(),
        refusals: None,
        longest: SignedDuration::ZERO,
        lately: [0; 2],
        recalled: false,
    }
}

/// Which of an hour of windows trips, if one does: a tenth of 100 calls a second are the canary's, and each
/// window has these statuses, of failures and of refusals.
fn first_trip(history: &History, failed: &[OfStatus], refused: &[OfStatus]) -> Option<usize> {
    let mut analysis = Sequential::new(policy(), history);
    analysis.begin_step(StepContext {
        share: 0.1,
        next_share: Some(0.5),
        began: at(0),
        dwell: SignedDuration::from_mins(120),
    });
    (1..240).find(|&index| {
        let decision = analysis.observe(&Window {
            start: at(15 * (index as i64 - 1)),
            end: at(15 * index as i64),
            share: 0.1,
            stable: Counts {
                requests: 1_350,
                failures: failed.iter().map(|of| of.stable).sum(),
            },
            canary: Counts {
                requests: 150,
                failures: failed.iter().map(|of| of.canary).sum(),
            },
            failed_with: failed.to_vec(),
            refused_with: Some(refused.to_vec()),
            ..Window::default()
        });
        matches!(decision, Decision::Trip(_))
    })
}

fn of(status: StatusCode, stable: u64, canary: u64) -> OfStatus {
    OfStatus {
        status,
        stable,
        canary,
    }
}

/// A fifth of all calls is not found, and `internal` of the canary's 150 fail with `INTERNAL` besides.
fn trips(statuses: bool, internal: u64) -> Option<usize> {
    let failed = [of(NOT_FOUND, 270, 30), of(INTERNAL, 0, internal)];
    first_trip(&history(statuses), &failed, &[])
}

/// A service that nothing is known of refuses a tenth of stable's requests, and these of the canary's 150.
fn trips_unknown(refused: u64) -> Option<usize> {
    let refused = [of(StatusCode::Http(404), 135, refused)];
    first_trip(&History::unknown(), &[], &refused)
}

#[test]
fn a_new_status_is_found_under_a_common_one() {
    assert_eq!(
        trips(false, 6),
        None,
        "24 % beside 20 % is within the margin"
    );
    assert!(trips(true, 6).is_some_and(|window| window <= 2));
    assert_eq!(trips(true, 0), None, "equal versions");
}

#[test]
fn refusals_are_compared_without_a_history_too() {
    assert!(trips_unknown(150).is_some_and(|window| window <= 3));
    assert_eq!(trips_unknown(15), None, "callers err alike on both");
}
