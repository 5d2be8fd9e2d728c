//! What the verdict promises, held against seeded rollouts at 1, 100 and 10 000 requests per second.
//!
//! A small part of `cargo bench --bench grid`, which measures the same promises over the whole grid.

use kubectl_canary::driver::analysis;
use kubectl_canary::plan::{HumanDuration, Options, Plan};
use kubectl_canary::simulate::{
    Disturbance, Lag, Outage, RunSummary, Scenario, Simulator, Warmup, simulate_many,
};
use kubectl_canary::verdict::sequential::History;

const SEED: u64 = 20_260_101;

/// The default plan with this much warm-up.
fn plan(warmup: HumanDuration) -> Plan {
    let options = Options {
        warmup: Some(warmup),
        ..Options::default()
    };
    Plan::resolve(options).unwrap()
}

/// `runs` rollouts of a scenario, all from the printed seed.
fn rollouts(scenario: &Scenario, plan: &Plan, runs: usize) -> RunSummary {
    println!("seed {SEED}: {scenario:?}");
    let simulator = Simulator {
        plan,
        scenario,
        canary_age: 0.0,
    };
    RunSummary::of(&simulate_many(runs, SEED, 2, |seed| {
        simulator.run(
            seed,
            |world| analysis(plan, &History::from_windows(&world.history())),
            &mut |_| {},
        )
    }))
}

fn scenario(requests_per_second: f64) -> Scenario {
    Scenario {
        requests_per_second,
        ..Scenario::default()
    }
}

/// At most this many of the rollouts.
#[track_caller]
fn at_most(times: usize, share: f64, runs: usize) {
    let count = (share * runs as f64).round() as usize;
    assert!(count <= times, "{count} of {runs}");
}

#[test]
fn equal_versions_are_promoted_in_time_and_not_rolled_back() {
    // A step that lasts a minute ends with the first scrape after it: three of them take four minutes.
    for (per_second, minutes, runs) in [(1.0, 40.0, 25), (100.0, 10.0, 100), (1e4, 4.0, 100)] {
        let table = rollouts(&scenario(per_second), &plan(HumanDuration::ZERO), runs);
        // At 0.1 % the chance of two in a hundred is half a percent.
        at_most(1, table.rolled_back.share, runs);
        let stuck = if per_second < 10.0 { runs / 4 } else { 1 };
        at_most(stuck, 1.0 - table.promoted.share, runs);
        let median = table.seconds_to_promote.unwrap_or_default().median / 60.0;
        assert!(median <= minutes, "{median} min at {per_second}");
    }
}

#[test]
fn a_worse_canary_is_not_promoted_and_does_little_harm() {
    // Requests per second, points worse, and the excess failures allowed, about 1.5 times what was
    // measured over the whole grid.
    let table = [
        (1.0, 0.05, 14.0),
        (1.0, 1.0, 6.0),
        (100.0, 0.01, 15.0),
        (100.0, 0.05, 9.0),
        (100.0, 1.0, 21.0),
        (1e4, 0.01, 44.0),
        (1e4, 0.05, 188.0),
        (1e4, 1.0, 1_500.0),
    ];
    for (per_second, added, excess) in table {
        let runs = 30;
        let scenario = Scenario {
            added,
            ratio: if added == 1.0 { 0.0 } else { 1.0 },
            ..scenario(per_second)
        };
        let table = rollouts(&scenario, &plan(HumanDuration::ZERO), runs);
        at_most(0, table.promoted.share, runs);
        // At one request a second the hour of a step may pass before there is a verdict.
        let undecided = if per_second < 10.0 { 2 } else { 1 };
        at_most(undecided, 1.0 - table.rolled_back.share, runs);
        assert!(table.excess.mean <= excess, "{}", table.excess.mean);
    }
}

#[test]
fn a_shared_outage_is_not_the_canarys_fault_whoever_counts_late() {
    for per_second in [1.0, 10.0, 100.0, 1e4] {
        for lag in [None, Some(Lag::Stable), Some(Lag::Canary)] {
            let scenario = Scenario {
                disturbance: Disturbance {
                    outage: Some(Outage {
                        start: (15.0, 300.0),
                        lasts: 60.0,
                        rate: 0.5,
                    }),
                    lag,
                    ..Disturbance::default()
                },
                ..scenario(per_second)
            };
            let runs = if per_second < 10.0 { 10 } else { 40 };
            at_most(
                0,
                rollouts(&scenario, &plan(HumanDuration::ZERO), runs)
                    .rolled_back
                    .share,
                runs,
            );
        }
    }
}

#[test]
fn noisier_counts_than_independent_errors_are_no_regression() {
    let none = Disturbance::default;
    for (per_second, disturbance) in [
        (
            100.0,
            Disturbance {
                noise: Some(1e-3),
                ..none()
            },
        ),
        (
            1e4,
            Disturbance {
                noise: Some(1e-3),
                ..none()
            },
        ),
        (
            100.0,
            Disturbance {
                clusters: Some(3.0),
                ..none()
            },
        ),
        (
            1e4,
            Disturbance {
                clusters: Some(3.0),
                ..none()
            },
        ),
        (
            100.0,
            Disturbance {
                drift: Some(0.5),
                ..none()
            },
        ),
        (
            1e4,
            Disturbance {
                drift: Some(0.5),
                ..none()
            },
        ),
    ] {
        let scenario = Scenario {
            disturbance,
            ..scenario(per_second)
        };
        let runs = 50;
        at_most(
            1,
            rollouts(&scenario, &plan(HumanDuration::ZERO), runs)
                .rolled_back
                .share,
            runs,
        );
    }
}

#[test]
fn a_canary_that_errs_while_it_starts_gets_the_room_it_is_given() {
    let scenario = Scenario {
        disturbance: Disturbance {
            warmup: Some(Warmup {
                lasts: 30.0,
                added: 0.05,
            }),
            ..Disturbance::default()
        },
        ..scenario(1e4)
    };
    let warm = plan(HumanDuration::seconds(30));
    let runs = 20;
    at_most(0, rollouts(&scenario, &warm, runs).rolled_back.share, runs);
    at_most(
        0,
        1.0 - rollouts(&scenario, &plan(HumanDuration::ZERO), runs)
            .rolled_back
            .share,
        runs,
    );
}

/// Ordinary conditions in which the counters say less than they seem to.
#[test]
fn what_feeds_the_test_does_not_blame_a_healthy_canary() {
    let none = Disturbance::default;
    let worlds = [
        Disturbance {
            unreached: Some(0.001),
            ..none()
        },
        Disturbance {
            unreached: Some(0.001),
            realised: Some(0.9),
            ..none()
        },
        Disturbance {
            response_time: Some(15.0),
            ..none()
        },
    ];
    for disturbance in worlds {
        for per_second in [100.0, 1e3, 1e4] {
            let scenario = Scenario {
                stable: 0.005,
                disturbance: disturbance.clone(),
                ..scenario(per_second)
            };
            let runs = 60;
            let table = rollouts(&scenario, &plan(HumanDuration::ZERO), runs);
            at_most(1, table.rolled_back.share, runs);
        }
    }
}

/// Requests that are counted late do not hide a canary that fails.
#[test]
fn a_worse_canary_among_slow_successes_is_found() {
    let scenario = Scenario {
        added: 0.02,
        disturbance: Disturbance {
            response_time: Some(15.0),
            ..Disturbance::default()
        },
        ..scenario(1e3)
    };
    let table = rollouts(&scenario, &plan(HumanDuration::ZERO), 30);
    at_most(0, table.promoted.share, 30);
    assert!(table.rolled_back.share > 0.95, "{:?}", table.rolled_back);
}

/// `--max-error-rate` at twice what both versions fail.
#[test]
fn an_absolute_limit_keeps_the_bound() {
    let options = Options {
        max_error_rate: Some("1".parse().unwrap()),
        warmup: Some(HumanDuration::ZERO),
        ..Options::default()
    };
    let plan = Plan::resolve(options).unwrap();
    for per_second in [10.0, 100.0, 1e3] {
        let scenario = Scenario {
            stable: 0.005,
            ..scenario(per_second)
        };
        let runs = 100;
        let table = rollouts(&scenario, &plan, runs);
        at_most(2, table.rolled_back.share, runs);
        let worse = Scenario {
            added: 0.05,
            ..scenario
        };
        let table = rollouts(&worse, &plan, 30);
        at_most(0, table.promoted.share, 30);
    }
}
