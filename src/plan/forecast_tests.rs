//! What a forecast says, as tables.

use jiff::SignedDuration;

use super::{AnalysisKind, Forecast, HumanDuration, OnStuck, Options, Percent, Plan, RemedyChange};
use crate::verdict::sequential::dispersion::Dispersion;
use crate::verdict::sequential::history::Past;
use crate::verdict::sequential::{History, Preset, Subject, Traffic};

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
        // Means of simulated rollouts.
        (1_000.0, 15, "1,10,50,100", 106.6),
        (1_000.0, 1, "1,10,50,100", 14.9),
        (10_000.0, 5, "0.1,10,50,100", 57.0),
        (0.1, 15, "1,10,50,100", 7.2),
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
            (Preset::Careful, true, 1.25),
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
        Some("--preset quicker or --step-timeout 5h")
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

#[test]
fn what_helps_reaches_what_it_promises() {
    let plan = plan(Options::default(), 15);
    for (per_second, failure_rate) in [(0.1, 0.001), (1.0 / 6.0, 0.001), (0.5, 0.0), (1.0, 0.01)] {
        let traffic = Traffic {
            per_second,
            failure_rate,
        };
        let forecast = Forecast::of(&plan, traffic, 0, 100).unwrap();
        println!(
            "{per_second}: {:?} {:#?}",
            forecast.total, forecast.remedies
        );
        assert!(forecast.remedies.len() >= 2, "{forecast:#?}");
        assert!(forecast.remedies.is_sorted_by_key(|remedy| remedy.total));
        for remedy in &forecast.remedies {
            let (plan, traffic) = match &remedy.change {
                RemedyChange::Flag { flag } => (with_flag(flag), traffic),
                RemedyChange::SyntheticRequests { per_second: more } => {
                    let per_second = per_second + more;
                    (
                        plan.clone(),
                        Traffic {
                            per_second,
                            ..traffic
                        },
                    )
                }
            };
            let then = Forecast::of(&plan, traffic, 0, 100).unwrap().total;
            assert_eq!(then, Some(remedy.total), "{remedy:?}");
            assert!(forecast.total.is_none_or(|now| remedy.total < now));
        }
    }
    for per_second in [2.0, 100.0, 1e4] {
        let busy = forecast(per_second, 0.001, Options::default(), 15);
        assert!(busy.remedies.is_empty(), "{per_second}: {busy:#?}");
    }
}

#[test]
fn what_fails_on_mirrored_requests_fails_for_nobody() {
    let options = Options {
        steps: Some("mirror:10:2m,1,10,50,100".parse().unwrap()),
        ..Options::default()
    };
    let plan = plan(options, 15);
    let quiet = Past {
        bad: 200,
        requests: 200_000,
        dispersion: Dispersion::POISSON,
    };
    let history = History {
        failures: quiet,
        refusals: Some(quiet),
        ..History::unknown()
    };
    let traffic = Traffic {
        per_second: 100.0,
        failure_rate: 0.001,
    };
    let forecast = Forecast::of(&plan, traffic, 0, 1000).unwrap();
    let now = SignedDuration::ZERO;
    let known = forecast.clone().with_power(&plan, &history, now);
    let subjects: Vec<_> = known
        .power
        .iter()
        .map(|power| power.subject.clone())
        .collect();
    assert_eq!(subjects, [Subject::Failures, Subject::Refusals]);
    let caught = known.power[0].example.unwrap();
    assert_eq!((caught.excess, caught.bad), (0.01, 0.0));
    assert!(caught.after < HumanDuration::minutes(5), "{caught:?}");
    let unknown = forecast.with_power(&plan, &History::unknown(), now);
    assert!(
        unknown.power.is_empty(),
        "nothing is said of an unknown rate"
    );
}

/// The default plan with this flag.
fn with_flag(flag: &str) -> Plan {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }
    let words = std::iter::once("plan").chain(flag.split(' '));
    let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
    plan(line.options, 15)
}
