//! A trip, and what becomes of it: the machine with an analysis that follows a script.

use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use kubectl_canary::istio::{VirtualService, select_versions};
use kubectl_canary::metrics::{Newest, Observation, Quality};
use kubectl_canary::plan::{Exposure, OnStuck, Options, Percent, Plan};
use kubectl_canary::rollout::{
    Action, Cause, EventKind, Machine, Outcome, Phase, Reason, Rollout, Segment, StopAt,
};
use kubectl_canary::verdict::{self, Analysis, Counts, Decision, StepContext, Verdict, Window};
use serde_json::json;

/// What an analysis was told, in order.
type Heard = Arc<Mutex<Vec<String>>>;

/// Says what stands in its script, window after window, and then that all is well.
struct Script {
    lines: std::vec::IntoIter<Decision>,
    heard: Heard,
}

impl Analysis for Script {
    fn begin_step(&mut self, step: StepContext) {
        let at = (step.share * 100.0).round();
        self.heard.lock().unwrap().push(format!("step {at}"));
    }

    fn observe(&mut self, window: &Window) -> Decision {
        let end = window.end.as_second();
        self.heard.lock().unwrap().push(format!("{end}"));
        self.lines.next().unwrap_or_else(stay)
    }
}

fn why() -> Vec<verdict::AnalysisReason> {
    vec![verdict::AnalysisReason::TooFewCanaryRequests {
        requests: 1,
        needed: 2,
    }]
}

fn stay() -> Decision {
    Decision::Stay(Verdict::NotEnoughData, why())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A rollout at its first step, 10 %, since second 0.
fn rollout() -> Rollout {
    let vs = VirtualService::new(json!({
        "metadata": {"namespace": "shop", "name": "reviews", "uid": "u-1"},
        "spec": {"http": [{"route": [
            {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100},
            {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
        ]}]},
    }))
    .unwrap();
    let options = Options {
        steps: Some("10,50,100:1m".parse().unwrap()),
        step_timeout: Some("10m".parse().unwrap()),
        ..Options::default()
    };
    let chosen = select_versions(&vs, None, None, &[], &[]).unwrap();
    Rollout::new(
        "run-1".into(),
        "alice@desk/1".into(),
        Plan::resolve(options).unwrap(),
        (chosen.stable, chosen.canary, chosen.splits),
        at(0),
    )
    .at_step(0, Phase::Progressing, at(0))
}

fn machine(rollout: Rollout, lines: Vec<Decision>) -> (Machine, Heard) {
    let heard = Heard::default();
    let script = Script {
        lines: lines.into_iter(),
        heard: Arc::clone(&heard),
    };
    (Machine::new(rollout, Box::new(script), StopAt::END), heard)
}

/// Windows of a second each, from `from` to `to`, as they are seen at `to`.
fn seen(from: i64, to: i64) -> Observation {
    let windows = (from..to).map(|second| Window {
        start: at(second),
        end: at(second + 1),
        share: 0.1,
        stable: Counts {
            requests: 90,
            failures: 0,
        },
        canary: Counts {
            requests: 10,
            failures: 1,
        },
        ..Window::default()
    });
    Observation {
        windows: windows.collect(),
        mirrored: Vec::new(),
        quality: Quality {
            newest: Newest {
                overall: Some(at(to)),
                stable: Some(at(to)),
                canary: Some(at(to)),
            },
            scrape_interval: Some(SignedDuration::from_secs(1)),
            warnings: Vec::new(),
            partial: false,
            versions_apart: None,
            series: 2,
            flaw: None,
        },
    }
}

fn look(machine: &mut Machine, observation: &Observation, second: i64) -> (Action, Vec<EventKind>) {
    let mut events = Vec::new();
    let action = machine.look(observation, at(second), &mut |event| events.push(event));
    (action, events)
}

/// The regression is what the action rolls back for.
fn assert_is_rollback(action: &Action) {
    assert!(
        matches!(
            action,
            Action::RollBack {
                cause: Cause::Regression,
                ..
            }
        ),
        "{action:?}"
    );
}

fn written(action: Action) -> Rollout {
    match action {
        Action::Write(next) => *next,
        other => panic!("nothing is written: {other:?}"),
    }
}

#[test]
fn a_trip_is_not_forgotten_over_the_next_windows_of_the_same_answer() {
    let (mut machine, _) = machine(
        rollout(),
        vec![stay(), Decision::Trip(why()), stay(), stay()],
    );
    let (action, _) = look(&mut machine, &seen(0, 4), 4);
    let next = written(action);
    assert_eq!(next.phase, Phase::Tripped);
    assert_eq!(next.exposure(), Exposure::NONE);
}

#[test]
fn a_certain_regression_is_final_whatever_comes_after_it() {
    let lines = vec![Decision::Rollback(why()), Decision::Advance(why())];
    let (mut machine, heard) = machine(rollout(), lines);
    let (action, events) = look(&mut machine, &seen(0, 3), 3);
    assert_eq!(
        action,
        Action::RollBack {
            cause: Cause::Regression,
            overwrite: false
        }
    );
    assert!(matches!(events.last(), Some(EventKind::Regressed { .. })));
    assert_eq!(
        *heard.lock().unwrap(),
        ["step 10", "1"],
        "nothing is asked any more"
    );
}

#[test]
fn a_regression_counts_even_where_the_answer_is_too_old_to_promote() {
    let (mut machine, _) = machine(rollout(), vec![Decision::Rollback(why())]);
    let (action, _) = look(&mut machine, &seen(0, 1), 60);
    assert_is_rollback(&action);

    let (mut machine, _) = self::machine(rollout(), vec![Decision::Advance(why())]);
    let (action, _) = look(&mut machine, &seen(0, 1), 60);
    assert_eq!(action, Action::Wait, "stale metrics promote nothing");
}

#[test]
fn a_cleared_trip_goes_on_with_the_step_it_had() {
    let lines = vec![Decision::Trip(why()), Decision::Resume(why()), stay()];
    let (mut machine, heard) = machine(rollout(), lines);
    let tripped = written(look(&mut machine, &seen(0, 1), 1).0);
    machine.set_state(tripped);
    assert_eq!(machine.step_counts().canary.requests, 10);
    let (action, _) = look(&mut machine, &seen(1, 2), 2);
    let cleared = written(action);
    assert_eq!((cleared.phase, cleared.step), (Phase::Progressing, 0));
    machine.set_state(cleared);
    let (action, _) = look(&mut machine, &seen(2, 4), 4);
    assert_eq!(action, Action::Wait);
    assert_eq!(
        *heard.lock().unwrap(),
        ["step 10", "1", "2", "3", "4"],
        "the step does not begin anew"
    );
    assert_eq!(
        machine.step_counts().canary.requests,
        30,
        "and what was counted while the weight was 0 is not in its step_counts"
    );
}

#[test]
fn a_trip_during_a_gate_leads_back_to_the_gate() {
    for held in [Phase::Waiting, Phase::Paused] {
        let lines = vec![Decision::Trip(why()), Decision::Resume(why())];
        let (mut machine, _) = machine(rollout().in_phase(held, at(0)), lines);
        let tripped = written(look(&mut machine, &seen(0, 1), 1).0);
        assert_eq!(tripped.phase, Phase::Tripped);
        machine.set_state(tripped);
        let cleared = written(look(&mut machine, &seen(1, 2), 2).0);
        assert_eq!(cleared.phase, held);
        assert_eq!(cleared.exposure(), Exposure::Share(Percent::whole(10)));
    }
}

#[test]
fn a_trip_that_nothing_clears_or_confirms_ends_in_a_rollback() {
    let (mut machine, _) = machine(rollout(), vec![Decision::Trip(why())]);
    let tripped = written(look(&mut machine, &seen(0, 1), 1).0);
    machine.set_state(tripped);
    assert_eq!(look(&mut machine, &seen(1, 2), 2).0, Action::Wait);
    let (action, _) = look(&mut machine, &seen(600, 601), 601);
    assert_is_rollback(&action);
    assert_eq!(
        machine.reasons(),
        [Reason::SuspicionTimedOut {
            after: "10m".parse().unwrap()
        }]
    );
}

#[test]
fn the_last_windows_of_a_step_do_not_pass_the_next() {
    let lines = vec![Decision::Advance(why()), Decision::Advance(why()), stay()];
    let (mut machine, heard) = machine(rollout(), lines);
    let next = written(look(&mut machine, &seen(0, 1), 3).0);
    assert_eq!(next.step, 1);
    machine.set_state(next);
    // A window that ends before the new weights were set comes late.
    let (action, _) = look(&mut machine, &seen(1, 2), 4);
    assert_eq!(action, Action::Wait);
    look(&mut machine, &seen(5, 6), 6);
    assert_eq!(
        *heard.lock().unwrap(),
        ["step 10", "1", "2", "step 50", "6"]
    );
}

#[test]
fn a_resumed_run_hears_the_same_steps_and_windows_as_the_first() {
    let mut resumed = rollout();
    for (weight, since) in [(0, 3), (10, 5), (50, 8), (10, 11), (50, 14)] {
        resumed.history.push(Segment {
            exposure: Exposure::Share(Percent::whole(weight)),
            since: at(since),
        });
    }
    resumed.step = 1;
    resumed.since = at(20);
    let (mut machine, heard) = machine(resumed, vec![]);
    let (action, _) = look(&mut machine, &seen(0, 16), 21);
    assert_eq!(action, Action::Wait);
    let expected = "step 10,1,2,3,4,5,6,7,8,step 50,9,10,11,step 10,12,13,14,step 50,15,16";
    assert_eq!(heard.lock().unwrap().join(","), expected);
    assert_eq!(
        machine.step_counts().canary.requests,
        20,
        "of the last stage only"
    );
    assert_eq!(machine.total_counts().unwrap().canary.requests, 160);
}

#[test]
fn a_deadline_counts_from_when_the_driver_took_over() {
    let mut resumed = rollout();
    resumed.since = at(1000);
    resumed.plan.on_inconclusive = OnStuck::Rollback;
    let (mut machine, _) = machine(resumed, vec![]);
    assert_eq!(look(&mut machine, &seen(998, 1001), 1001).0, Action::Wait);
    let (action, events) = look(&mut machine, &seen(1599, 1600), 1600);
    assert!(
        matches!(
            action,
            Action::RollBack {
                cause: Cause::Inconclusive,
                ..
            }
        ),
        "{action:?}"
    );
    let told = events.into_iter().find_map(|event| match event {
        EventKind::NoVerdict { reasons, .. } => Some(reasons),
        _ => None,
    });
    assert_eq!(
        told.unwrap(),
        [
            Reason::NoVerdict {
                after: Some("10m".parse().unwrap())
            },
            why()[0].clone().into(),
        ]
    );
}

#[test]
fn a_retreat_goes_back_one_step_and_begins_it_again() {
    let at_50 = rollout().at_step(1, Phase::Progressing, at(10));
    let (mut machine, heard) = machine(at_50, vec![stay(), Decision::Retreat(why())]);
    let back = written(look(&mut machine, &seen(9, 11), 11).0);
    assert_eq!((back.step, back.phase), (0, Phase::Progressing));
    machine.set_state(back);
    look(&mut machine, &seen(11, 12), 12);
    assert_eq!(
        *heard.lock().unwrap(),
        ["step 10", "10", "step 50", "11", "step 10", "12"]
    );
}

#[test]
fn what_a_step_came_to_is_said_once_however_often_it_is_tried() {
    let lines = vec![Decision::Advance(why()), Decision::Advance(why())];
    let (mut machine, _) = machine(rollout(), lines);
    let said = |events: &[EventKind]| {
        events
            .iter()
            .filter(|event| matches!(event, EventKind::StepPassed { .. }))
            .count()
    };
    let (first, events) = look(&mut machine, &seen(0, 1), 1);
    assert_eq!(said(&events), 1);
    let (again, events) = look(&mut machine, &seen(1, 2), 2);
    assert_eq!(said(&events), 0);
    assert_eq!(written(first).step, written(again).step);
}

#[test]
fn a_driver_that_leaves_at_gates_leaves_where_somebody_else_made_one() {
    let heard = Heard::default();
    let script = Script {
        lines: vec![].into_iter(),
        heard,
    };
    let stop_at = StopAt {
        after_step: None,
        leave_at_gate: true,
    };
    let waiting = rollout().in_phase(Phase::Waiting, at(1));
    let machine = Machine::new(waiting, Box::new(script), stop_at);
    assert_eq!(machine.after_write(), Action::Leave(Outcome::Held));
}

#[test]
fn copies_are_never_charged_to_users_where_only_callees_report() {
    let mut mirroring = rollout();
    mirroring.plan.steps = "mirror:10%,10,50,100".parse().unwrap();
    for (exposure, since) in [
        (Exposure::Mirror(Percent::whole(10)), 3),
        (Exposure::Share(Percent::whole(10)), 10),
    ] {
        mirroring.history.push(Segment {
            exposure,
            since: at(since),
        });
    }
    mirroring.step = 1;
    mirroring.since = at(10);
    let (mut machine, heard) = machine(mirroring, vec![]);
    let mut seen = seen(0, 15);
    for window in &mut seen.windows {
        window.by_callees = true;
    }
    // What the callees saw, copies included, is looked at beside it.
    seen.mirrored = seen.windows.clone();
    let (action, _) = look(&mut machine, &seen, 16);
    assert_eq!(action, Action::Wait);
    // Three seconds at 10 % before, then the three that are two seconds after it.
    assert_eq!(machine.total_counts().unwrap().canary.requests, 60);
    assert_eq!(machine.total_counts().unwrap().stable.requests, 15 * 90);
    assert_eq!(machine.step_counts().canary.requests, 30);
    let expected = "step 10,1,2,3,step 9,4,5,6,7,8,9,10,step 10,13,14,15";
    let heard = heard.lock().unwrap().join(",");
    assert_eq!(heard, expected);
}
