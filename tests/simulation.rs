//! What the verdict promises, held against seeded rollouts at 1, 100 and 10 000 requests per second.
//!
//! A small part of `cargo bench --bench grid`, which measures the same promises over the whole grid.

use jiff::SignedDuration;
use kubectl_canary::driver::analysis;
use kubectl_canary::plan::{Forecast, HumanDuration, Options, Plan};
use kubectl_canary::simulate::{
    Disturbance, DurationModel, Lag, Outage, RunSummary, Scenario, SimulatedOperation,
    SimulatedWorld, Simulator, Warmup, simulate_many,
};
use kubectl_canary::verdict::Analysis;
use kubectl_canary::verdict::sequential::{History, Sequential, Traffic};

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

/// Rollouts that are judged by a guard's counters alone, which do what requests do in the scenario.
fn guarded(scenario: &Scenario, runs: usize) -> RunSummary {
    let guard = |name| {
        let text = r#"{name: NAME, bad: 'a{w="{{version.workload}}"}', total: 'b{w="{{version.workload}}"}'}"#;
        text.replace("NAME", name).parse().unwrap()
    };
    let plan = Plan::resolve(Options {
        warmup: Some(HumanDuration::ZERO),
        guard: vec![guard("orders"), guard("payments")],
        ..Options::default()
    });
    let plan = plan.unwrap();
    println!("seed {SEED}: {scenario:?}");
    let simulator = Simulator {
        plan: &plan,
        scenario,
        canary_age: 0.0,
    };
    let analysis_of = |world: &mut SimulatedWorld<'_>| -> Box<dyn Analysis> {
        let history = History {
            refusals: None,
            ..History::from_windows(&world.history())
        };
        Box::new(Sequential::new(plan.guard_policy(), &history))
    };
    RunSummary::of(&simulate_many(runs, SEED, 2, |seed| {
        simulator.run(seed, analysis_of, &mut |_| {})
    }))
}

#[test]
fn a_guard_on_counters_rolls_no_equal_canary_back_and_finds_a_worse_one() {
    // Each of two has a tenth of the one in a hundred: of 300 rollouts two are one in 300.
    let runs = 100;
    let mut false_alarms = 0.0;
    for per_second in [1.0, 100.0, 1e4] {
        false_alarms += guarded(&scenario(per_second), runs).rolled_back.share;
    }
    at_most(2, false_alarms, runs);
    let outage = Scenario {
        disturbance: Disturbance {
            outage: Some(Outage {
                start: (15.0, 300.0),
                lasts: 60.0,
                rate: 0.5,
            }),
            lag: Some(Lag::Stable),
            ..Disturbance::default()
        },
        ..scenario(100.0)
    };
    at_most(0, guarded(&outage, 40).rolled_back.share, 40);
    let worse = Scenario {
        added: 0.05,
        ..scenario(100.0)
    };
    at_most(0, 1.0 - guarded(&worse, 30).rolled_back.share, 30);
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

/// The forecast for a healthy scenario, from the past that its first rollout sees.
fn forecast(healthy: &Scenario, plan: &Plan) -> (Forecast, History) {
    let scrape = plan.judgement.scrape.signed().as_secs_f64();
    let past = SimulatedWorld::new(healthy, scrape, SEED).history();
    let history = History::from_windows(&past);
    let traffic = Traffic {
        per_second: healthy.requests_per_second,
        failure_rate: healthy.stable,
    };
    let forecast = Forecast::of(plan, traffic, 0, 100).unwrap();
    let forecast = forecast.with_power(plan, &history, SignedDuration::ZERO);
    (forecast, history)
}

#[test]
fn a_worse_canary_is_caught_when_it_was_forecast_to_be() {
    let plan = plan(HumanDuration::ZERO);
    // The verdict comes a scrape after the canary's traffic is taken away.
    let confirmed = 15.0;
    for (per_second, stable) in [(10.0, 0.001), (100.0, 0.0), (100.0, 0.001), (100.0, 0.01)] {
        let healthy = Scenario {
            stable,
            ..scenario(per_second)
        };
        let (forecast, history) = forecast(&healthy, &plan);
        let failures = forecast.power[0].subject.clone();
        for added in [0.01, 0.02, 0.05] {
            let of_failures = (failures.clone(), added);
            let caught = forecast.detects(&plan, &history, SignedDuration::ZERO, of_failures);
            let Some(caught) = caught.filter(|_| added >= 1.5 * smallest(&forecast)) else {
                continue;
            };
            let worse = Scenario {
                added,
                ..healthy.clone()
            };
            let table = rollouts(&worse, &plan, 60);
            let ours = caught.after.signed().as_secs_f64() + confirmed;
            let median = table.seconds.median;
            println!(
                "+{added}: {ours} s for {median} s, {} for {}",
                caught.bad, table.excess.median
            );
            assert!(
                (0.5..2.0).contains(&(ours / median)),
                "{ours} s for {median} s"
            );
            let bad = caught.bad / table.excess.median;
            assert!(
                (0.33..3.0).contains(&bad),
                "{caught:?} for {}",
                table.excess.median
            );
        }
    }
}

#[test]
fn a_slower_canary_is_caught_when_it_was_forecast_to_be() {
    let plan = plan(HumanDuration::ZERO);
    for (per_second, slowdown) in [(10.0, 2.0), (100.0, 1.3), (100.0, 2.0), (1e3, 1.5)] {
        let latency = |slowdown| DurationModel {
            median_ms: 40.0,
            spread: 0.8,
            slowdown,
            jitter: 0.02,
        };
        let healthy = Scenario {
            latency: Some(latency(1.0)),
            ..scenario(per_second)
        };
        let (forecast, history) = forecast(&healthy, &plan);
        // The world's own model of who takes longer than a bound.
        let longer = |bound: f64, slowdown: f64| {
            let z = (bound / (40.0 * slowdown)).ln() / 0.8;
            1.0 / (1.0 + (1.702 * z).exp())
        };
        let caught = history.slow.iter().filter_map(|(bound, _)| {
            let of_bound = |subject| {
                serde_json::to_value(subject).unwrap()["boundMs"].as_f64() == Some(*bound)
            };
            let power = forecast
                .power
                .iter()
                .find(|power| of_bound(&power.subject))?;
            let excess = longer(*bound, slowdown) - longer(*bound, 1.0);
            let caught = (power.subject.clone(), excess);
            forecast.detects(&plan, &history, SignedDuration::ZERO, caught)
        });
        let first = caught.map(|caught| caught.after).min().unwrap();
        let slower = Scenario {
            latency: Some(latency(slowdown)),
            ..healthy.clone()
        };
        let table = rollouts(&slower, &plan, 40);
        let (ours, median) = (first.signed().as_secs_f64() + 15.0, table.seconds.median);
        println!("{slowdown} times at {per_second}: {ours} s for {median} s");
        assert!(
            (0.5..2.0).contains(&(ours / median)),
            "{ours} s for {median} s"
        );
    }
}

#[test]
fn the_smallest_regression_that_is_seen_is_where_half_of_them_are() {
    let plan = plan(HumanDuration::ZERO);
    for (per_second, stable) in [
        (0.2, 0.001),
        (1.0, 0.001),
        (10.0, 0.0),
        (10.0, 0.01),
        (100.0, 0.0),
        (100.0, 0.001),
        (1e3, 0.001),
        (1e3, 0.01),
    ] {
        let healthy = Scenario {
            stable,
            ..scenario(per_second)
        };
        let smallest = smallest(&forecast(&healthy, &plan).0);
        let caught = |times: f64| {
            let worse = Scenario {
                added: times * smallest,
                ..healthy.clone()
            };
            rollouts(&worse, &plan, 60).rolled_back.share
        };
        let (half, twice) = (caught(0.5), caught(2.0));
        println!("+{smallest}: {half} of half of it, {twice} of twice");
        assert!(half < 0.5, "{half} of +{}", 0.5 * smallest);
        assert!(twice > 0.8, "{twice} of +{}", 2.0 * smallest);
    }
}

/// The smallest excess of failures that is caught.
fn smallest(forecast: &Forecast) -> f64 {
    forecast.power[0].smallest.unwrap()
}

/// Rollouts of a scenario whose operations are told apart, or not.
fn by_operation(scenario: &Scenario, runs: usize, told_apart: bool) -> RunSummary {
    println!("seed {SEED}: {scenario:?}");
    let plan = plan(HumanDuration::ZERO);
    let simulator = Simulator {
        plan: &plan,
        scenario,
        canary_age: 0.0,
    };
    RunSummary::of(&simulate_many(runs, SEED, 2, |seed| {
        simulator.run(
            seed,
            |world| {
                let mut history = History::from_windows(&world.history());
                if !told_apart {
                    history.operations.clear();
                }
                analysis(&plan, &history)
            },
            &mut |_| {},
        )
    }))
}

fn operation(name: &str, part: f64, stable: f64, canary: f64) -> SimulatedOperation {
    SimulatedOperation {
        name: name.to_owned(),
        of_stable: part,
        of_canary: part,
        stable,
        canary,
    }
}

#[test]
fn an_operation_that_only_the_canary_breaks_is_found_much_sooner_where_a_label_names_it() {
    let runs = 60;
    let scenario = Scenario {
        operations: vec![
            operation("browse", 0.6, 0.02, 0.02),
            operation("search", 0.3, 0.01, 0.01),
            operation("cart", 0.085, 0.001, 0.001),
            operation("checkout", 0.015, 0.0, 0.3),
        ],
        ..scenario(100.0)
    };
    let [plain, strata] = [false, true].map(|told_apart| by_operation(&scenario, runs, told_apart));
    println!("plain {plain:#?}\nby operation {strata:#?}");
    // All together fail 2 % instead of 1.5 %, which is hardly beyond the margin.
    at_most(runs / 4, plain.rolled_back.share, runs);
    at_most(0, 1.0 - strata.rolled_back.share, runs);
    // Of a canary that is let through as many fail as the steps take; most of these are searches all the same.
    let [of_plain, of_strata] = [&plain, &strata].map(|table| table.excess.median);
    assert!(of_strata <= 10.0, "{of_strata}");
    assert!(of_strata * 4.0 < of_plain, "{of_strata} and {of_plain}");
}

#[test]
fn many_operations_of_equal_versions_are_not_rolled_back() {
    let runs = 200;
    let rates = [0.0, 0.0001, 0.001, 0.01, 0.2];
    let operations = (0..17).map(|n| {
        let part = 2.0_f64.powi(-(n % 9) - 1) / 2.0;
        let rate = rates[n as usize % rates.len()];
        operation(&format!("operation-{n}"), part, rate, rate)
    });
    let operations: Vec<_> = operations.collect();
    for clusters in [None, Some(10.0)] {
        let scenario = Scenario {
            operations: operations.clone(),
            disturbance: Disturbance {
                clusters,
                ..Disturbance::default()
            },
            ..scenario(100.0)
        };
        let table = by_operation(&scenario, runs, true);
        println!("{table:#?}");
        at_most(2, table.rolled_back.share, runs);
    }
}
