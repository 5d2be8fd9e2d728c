//! An operation that only the canary breaks, and operations that the versions do not share as their weights say.

use jiff::SignedDuration;

use super::rollout::{Rollout, at, counts, history, policy};
use crate::verdict::sequential::dispersion::Dispersion;
use crate::verdict::sequential::history::Past;
use crate::verdict::sequential::{FailingOperation, History, Sequential, Subject};
use crate::verdict::{Analysis, Decision, OfOperation, StepContext, Window};

type Requests = (u64, u64);

fn past(bad: u64, requests: u64) -> Past {
    Past {
        bad,
        requests,
        dispersion: Dispersion::POISSON,
    }
}

/// Requests and failures of stable and the canary in an operation.
fn of(operation: Option<&str>, stable: Requests, canary: Requests) -> OfOperation {
    OfOperation {
        operation: operation.map(str::to_owned),
        stable: counts(stable),
        canary: counts(canary),
    }
}

fn at_ten_percent(history: &History) -> Sequential {
    let mut analysis = Sequential::new(policy(), history);
    analysis.begin_step(StepContext {
        share: 0.1,
        next_share: Some(0.5),
        began: at(0),
        dwell: SignedDuration::from_mins(120),
    });
    analysis
}

fn window(index: i64, operations: Vec<OfOperation>) -> Window {
    let mut window = Window {
        start: at(15 * (index - 1)),
        end: at(15 * index),
        share: 0.1,
        ..Window::default()
    };
    for of in &operations {
        window.stable += of.stable;
        window.canary += of.canary;
    }
    window.operations = operations;
    window
}

/// Nine in ten requests are searches, a twentieth of which fails as ever.
fn shop() -> History {
    History {
        failures: past(10_000, 200_000),
        operations: vec![
            (None, past(1_000, 14_000)),
            (Some("checkout".into()), past(0, 4_000)),
            (Some("search".into()), past(9_000, 182_000)),
        ],
        ..history()
    }
}

/// When it trips that one of the canary's three checkouts of a window fails, and so many of its 137 searches.
fn first_trip(history: &History, searches: u64) -> Option<(u64, Sequential)> {
    let mut analysis = at_ten_percent(history);
    let trips = (1..240).find(|index| {
        let operations = vec![
            of(None, (90, 5), (10, 0)),
            of(Some("checkout"), (27, 0), (3, 1)),
            of(Some("search"), (1_230, 61), (137, searches)),
        ];
        let decision = analysis.observe(&window(*index, operations));
        matches!(decision, Decision::Trip(_))
    })?;
    Some((trips as u64, analysis))
}

#[test]
fn a_broken_operation_is_found_under_many_failures_of_others_and_named() {
    let plain = History {
        operations: Vec::new(),
        ..shop()
    };
    assert!(first_trip(&plain, 7).is_none(), "a failure more of 150");
    let checkout = Some("checkout".to_owned());
    for (searches, is_named) in [(7, false), (1, true)] {
        let (trips, analysis) = first_trip(&shop(), searches).unwrap();
        assert!(trips <= 5, "{trips}");
        let failing = FailingOperation {
            operation: checkout.clone(),
            stable: counts((27 * trips, 0)),
            canary: counts((3 * trips, trips)),
        };
        let evidence = analysis.evidence();
        // Where searches fail more often it is not most of what fails.
        assert_eq!(evidence.operation, Some(failing).filter(|_| is_named));
        let operation = checkout.clone();
        assert_eq!(evidence.leader, Subject::FailedIn { operation });
    }
}

/// One in eight exports fails on both versions, and four in five of them are the canary's although it has a tenth
/// of the weight.
#[test]
fn an_operation_that_asks_the_canary_more_often_is_no_failure_of_its() {
    let history = History {
        failures: past(1_000, 200_000),
        operations: vec![
            (None, past(0, 192_000)),
            (Some("export".into()), past(1_000, 8_000)),
        ],
        ..history()
    };
    let mut analysis = at_ten_percent(&history);
    for index in 1..=400 {
        let export = of(
            Some("export"),
            (1, u64::from(index % 8 == 0)),
            (4, u64::from(index % 2 == 0)),
        );
        analysis.observe(&window(index, vec![of(None, (1_350, 0), (150, 0)), export]));
        let of_exports = analysis.metrics.iter().filter(|metric| {
            metric.subject
                == Subject::FailedIn {
                    operation: Some("export".into()),
                }
        });
        for metric in of_exports {
            let evidence = metric.evidence();
            assert!(evidence < 2.0, "{evidence} after {index} windows");
        }
    }
}

#[test]
fn without_operations_nothing_is_weighed_otherwise() {
    let mut with = at_ten_percent(&history());
    let mut plain = Rollout::at_step(0.1, 0.5);
    for index in 1..20 {
        let operations = vec![of(Some("search"), (1_350, 1), (150, 1))];
        with.observe(&window(index, operations));
        plain.see((1_350, 1), (150, 1));
    }
    assert_eq!(with.evidence().evidence, plain.analysis.evidence().evidence);
}
