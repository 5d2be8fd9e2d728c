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
        refusals: None,
        longest: SignedDuration::ZERO,
    }
}

/// The window in which the canary trips, of an hour of them, if it does; a tenth of 100 calls a second
/// are its own, and `internal` of these 150 fail with `INTERNAL` in each.
fn trips(statuses: bool, internal: u64) -> Option<usize> {
    let mut analysis = Sequential::new(policy(), &history(statuses));
    analysis.begin_step(StepContext {
        share: 0.1,
        next_share: Some(0.5),
        began: at(0),
        dwell: SignedDuration::from_mins(120),
    });
    (1..240).find(|&index| {
        let (stable, canary) = (270, 30);
        let decision = analysis.observe(&Window {
            start: at(15 * (index as i64 - 1)),
            end: at(15 * index as i64),
            share: 0.1,
            stable: Counts {
                requests: 1_350,
                failures: stable,
            },
            canary: Counts {
                requests: 150,
                failures: canary + internal,
            },
            failed_with: vec![
                OfStatus {
                    status: NOT_FOUND,
                    stable,
                    canary,
                },
                OfStatus {
                    status: INTERNAL,
                    stable: 0,
                    canary: internal,
                },
            ],
            ..Window::default()
        });
        matches!(decision, Decision::Trip(_))
    })
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

/// The windows until a canary trips that answers so many of its 150 requests with 404, of a service that
/// nothing is known of; stable does so for a tenth of its own.
fn trips_unknown(refused: u64) -> Option<usize> {
    let mut analysis = Sequential::new(policy(), &History::unknown());
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
                failures: 0,
            },
            canary: Counts {
                requests: 150,
                failures: 0,
            },
            refused_with: Some(vec![OfStatus {
                status: StatusCode::Http(404),
                stable: 135,
                canary: refused,
            }]),
            ..Window::default()
        });
        matches!(decision, Decision::Trip(_))
    })
}

#[test]
fn refusals_are_compared_without_a_history_too() {
    assert!(trips_unknown(150).is_some_and(|window| window <= 3));
    assert_eq!(trips_unknown(15), None, "callers err alike on both");
}
