//! What a forecast says, as tables.

use super::{AnalysisKind, Forecast, HumanDuration, OnStuck, Options, Percent, Plan};
use crate::verdict::sequential::{Preset, Traffic};

fn plan(options: Options, scrape: u32) -> Plan {
    Plan::measured(options, HumanDuration::seconds(scrape)).unwrap()
}

fn forecast(per_second: f64, failure_rate: f64, options: Options, scrape: u32) -> Forecast {
    let traffic = Traffic {
        per_second,
        failure_rate,
    };
    Forecast::of(&plan(options, scrape), traffic, 0, 1000).unwrap()
}

#[test]
fn the_whole_way_takes_what_simulation_took() {
    // Medians of simulated rollouts in seconds.
    for (per_second, failure_rate, expected) in [
        (1.0, 0.001, 1823.0),
        (10.0, 0.001, 393.0),
        (10.0, 0.01, 548.0),
        (100.0, 0.001, 243.0),
        (1_000.0, 0.001, 223.0),
    ] {
        let total = forecast(per_second, failure_rate, Options::default(), 15).total;
        let ours = total.unwrap().signed().as_secs_f64();
        assert!(
            (ours / expected - 1.0).abs() < 0.34,
            "{ours} for {expected}"
        );
    }
}

#[test]
fn a_broken_canary_costs_what_a_scrape_lets_through() {
    for (per_second, scrape, steps, expected) in [
        (1_000.0, 15, "1,10,50,100", 100.0),
        (1_000.0, 1, "1,10,50,100", 10.0),
        (10_000.0, 5, "0.1,10,50,100", 50.0),
        (0.1, 15, "1,10,50,100", 3.0),
    ] {
        let options = Options {
            steps: Some(steps.parse().unwrap()),
            ..Options::default()
        };
        let broken = forecast(per_second, 0.001, options, scrape).broken;
        assert!(
            (broken / expected - 1.0).abs() < 0.35,
            "{broken} for {expected}"
        );
    }
}

#[test]
fn a_smaller_first_step_is_advised_where_it_spares_much() {
    let smaller = |per_second, shared| {
        let traffic = Traffic {
            per_second,
            failure_rate: 0.001,
        };
        Forecast::of(&plan(Options::default(), 15), traffic, 0, shared)
            .unwrap()
            .smaller
    };
    assert_eq!(smaller(100.0, 1000), None);
    let advised = smaller(1_000.0, 1000).unwrap();
    assert_eq!(advised.steps.to_string(), "0.4,10,50,100");
    assert!(!advised.fine_weights);
    assert!(smaller(1_000.0, 100).unwrap().fine_weights);
    assert_eq!(
        smaller(1e5, 100).unwrap().steps.to_string(),
        "0.1,10,50,100"
    );
}

#[test]
fn each_preset_says_what_it_would_overlook() {
    let forecast = forecast(200.0, 0.005, Options::default(), 1);
    let words: Vec<_> = forecast
        .presets
        .iter()
        .map(|preset| {
            let overlooks = (preset.overlooks.unwrap() * 1e4).round() / 100.0;
            (preset.preset, preset.chosen, overlooks)
        })
        .collect();
    assert_eq!(
        words,
        [
            (Preset::Careful, true, 0.8),
            (Preset::Quick, false, 1.75),
            (Preset::Quicker, false, 2.75)
        ]
    );
    let totals: Vec<_> = forecast.presets.iter().filter_map(|p| p.total).collect();
    assert!(
        totals[0] > totals[1] && totals[1] >= totals[2],
        "{totals:?}"
    );
}

#[test]
fn too_little_traffic_is_said_with_what_helps() {
    let idle = |options: Options| {
        let plan = plan(options, 15);
        let traffic = Traffic {
            per_second: 1.0 / 6.0,
            failure_rate: 0.001,
        };
        let forecast = Forecast::of(&plan, traffic, 0, 100).unwrap();
        (forecast.total, forecast.finding(&plan))
    };
    let (total, finding) = idle(Options::default());
    let finding = finding.unwrap();
    assert_eq!(total, None);
    assert_eq!(
        finding.what,
        "10 req/min is too little for a verdict at 50 % within 1h"
    );
    assert_eq!(
        finding.fix.as_deref(),
        Some("--step-timeout 5h or --tolerance 2%")
    );
    let wider = Options {
        tolerance: Some("2".parse().unwrap()),
        ..Options::default()
    };
    assert!(idle(wider).1.is_none(), "the advice must help");
    assert!(finding.why.unwrap().contains("hold there"));
    let impatient = Options {
        on_inconclusive: Some(OnStuck::Rollback),
        ..Options::default()
    };
    let finding = idle(impatient).1.unwrap();
    assert!(finding.fix.unwrap().ends_with(" or --on-inconclusive hold"));
}

#[test]
fn plain_limits_wait_for_requests_alone() {
    let options = Options {
        analysis: Some(AnalysisKind::Threshold),
        ..Options::default()
    };
    let forecast = forecast(10.0, 0.001, options, 15);
    let seconds: Vec<_> = forecast
        .steps
        .iter()
        .map(|step| step.takes.unwrap().signed().as_secs())
        .collect();
    assert_eq!(seconds, [1010, 110, 70]);
    assert!(forecast.presets.is_empty());
}

#[test]
fn a_step_at_which_nobody_is_judged_takes_its_time_and_costs_nothing() {
    let options = Options {
        steps: Some("mirror:10:2m,1,10,50,100".parse().unwrap()),
        ..Options::default()
    };
    let mirroring = forecast(1_000.0, 0.001, options, 15);
    let plain = forecast(1_000.0, 0.001, Options::default(), 15);
    assert_eq!(mirroring.broken_at, Percent::whole(1));
    assert!((mirroring.broken - plain.broken).abs() < 1e-9);
    assert!(!mirroring.steps[0].judged);
    let first = mirroring.steps[0].takes.unwrap().signed();
    assert_eq!(first.as_secs(), 130);
    let rest = mirroring.total.unwrap().signed() - first;
    assert_eq!(rest, plain.total.unwrap().signed());
    let smaller = mirroring.smaller.unwrap().steps.to_string();
    assert!(smaller.ends_with(",0.4,10,50,100"), "{smaller}");
}

#[test]
fn nothing_is_forecast_from_nothing() {
    let traffic = Traffic {
        per_second: 0.0,
        failure_rate: 0.0,
    };
    assert_eq!(
        Forecast::of(&plan(Options::default(), 15), traffic, 0, 100),
        None
    );
}
