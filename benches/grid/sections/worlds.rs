//! Disturbed worlds around healthy canaries.

use std::fmt::Write;

use jiff::SignedDuration;
use kubectl_canary::plan::{HumanDuration, Options};
use kubectl_canary::simulate::{
    Disturbance, DurationModel, Lag, Outage, Overload, PastOutage, Scenario, SlowStart, Warmup,
};
use kubectl_canary::verdict::sequential::Policy;

use super::axes::{endings, minutes, scenario};
use crate::cell::{
    Rule, after_waiting, amount, per_second, percent, plan, summary, usual_plan, with_policy,
    without_history,
};
use crate::goals::Goals;

fn disturbances() -> Vec<(String, Disturbance)> {
    let none = Disturbance::default;
    let mut list = vec![("none".to_owned(), none())];
    for rho in [1e-4, 1e-3, 3e-3] {
        let noise = Some(rho);
        list.push((
            format!("rate drawn anew each scrape, correlation {rho}"),
            Disturbance { noise, ..none() },
        ));
    }
    for size in [3.0, 50.0] {
        let clusters = Some(size);
        list.push((
            format!("errors in geometric clusters of mean {size}"),
            Disturbance { clusters, ..none() },
        ));
    }
    list.push((
        "other rules send as much again to stable, which never fails".to_owned(),
        Disturbance {
            alongside: Some(1.0),
            ..none()
        },
    ));
    list.push((
        "an outage of 30 s of 50 % before the rollout".to_owned(),
        Disturbance {
            past_outage: Some(PastOutage {
                lasted: 30.0,
                rate: 0.5,
            }),
            ..none()
        },
    ));
    let drift = Some(0.5);
    list.push((
        "common drift, log sd 0.5 over 5 min".to_owned(),
        Disturbance { drift, ..none() },
    ));
    for (lag, late) in [
        (None, ""),
        (Some(Lag::Stable), ", stable's counters a scrape late"),
        (Some(Lag::Canary), ", canary's counters a scrape late"),
    ] {
        for (lasts, rate) in [(60.0, 0.05), (60.0, 0.5), (300.0, 0.2)] {
            let outage = Some(Outage {
                start: (15.0, 300.0),
                lasts,
                rate,
            });
            let name = format!("shared outage, {lasts} s of {} %{late}", percent(rate));
            list.push((
                name,
                Disturbance {
                    outage,
                    lag,
                    ..none()
                },
            ));
        }
        if lag.is_some() {
            let name = format!("no outage{late}");
            list.push((name, Disturbance { lag, ..none() }));
        }
    }
    for unreached in [1e-3, 1e-2] {
        list.push((
            format!("{} % of all requests reach no upstream", percent(unreached)),
            Disturbance {
                unreached: Some(unreached),
                ..none()
            },
        ));
    }
    list.push((
        "0.1 % reach no upstream, the canary gets 90 % of its weight".to_owned(),
        Disturbance {
            unreached: Some(1e-3),
            realised: Some(0.9),
            ..none()
        },
    ));
    for seconds in [2.0, 15.0, 20.0] {
        list.push((
            format!("successes take {seconds} s, failures none"),
            Disturbance {
                response_time: Some(seconds),
                ..none()
            },
        ));
    }
    for sd in [0.1, 0.3] {
        let pods = Some(sd);
        list.push((
            format!("pods that differ, log sd {sd}"),
            Disturbance { pods, ..none() },
        ));
    }
    list
}

/// Disturbed worlds around equal versions.
pub fn disturbed(runs: usize, goals: &mut Goals) -> String {
    let mut page = String::from(
        "\n## A healthy canary in a disturbed world\n\nRolled back in percent, the worst cell of 1 to 10,000 \
         requests per second and 0.1 and 1 %. Pods that differ are a real difference.\n\n\
         | disturbance | kubectl canary | worst at | without a history | Flagger | Argo |\n|--|--|--|--|--|--|\n",
    );
    let plan = usual_plan();
    for (name, disturbance) in disturbances() {
        let (mut mine, mut bare, mut flagger, mut argo) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
        let mut worst = String::from("-");
        for rps in [1.0, 10.0, 100.0, 1_000.0, 10_000.0] {
            for stable in [0.001, 0.01] {
                let scenario = Scenario {
                    disturbance: disturbance.clone(),
                    ..scenario(rps, stable)
                };
                let share = |rule, runs| summary(rule, &scenario, &plan, runs).rolled_back.share;
                let ours = share(Rule::Ours, runs);
                goals.disturbed(&name, rps, stable, ours);
                if ours > mine {
                    mine = ours;
                    worst = format!("{} req/s, {} %", per_second(rps), percent(stable));
                }
                bare = bare.max(
                    without_history(&scenario, &plan, runs / 2)
                        .rolled_back
                        .share,
                );
                flagger = flagger.max(share(Rule::Flagger, runs / 4));
                argo = argo.max(share(Rule::Argo, runs / 4));
            }
        }
        let _ = writeln!(
            page,
            "| {name} | **{}** | {worst} | {} | {} | {} |",
            percent(mine),
            percent(bare),
            percent(flagger),
            percent(argo)
        );
    }
    page
}

/// A canary that errs while it is young, with and without the warm-up.
pub fn warmup(runs: usize) -> String {
    let mut page = String::from(
        "\n## A canary that errs 5 points more in its first 30 s\n\n| req/s | warm-up | rolled back |\n|--|--|--|\n",
    );
    for rps in [100.0, 1_000.0, 10_000.0] {
        for warmup in [0, 30] {
            let scenario = Scenario {
                disturbance: Disturbance {
                    warmup: Some(Warmup {
                        lasts: 30.0,
                        added: 0.05,
                    }),
                    ..Disturbance::default()
                },
                ..scenario(rps, 0.001)
            };
            let options = Options {
                warmup: Some(HumanDuration::seconds(warmup)),
                ..Options::default()
            };
            let mine = summary(Rule::Ours, &scenario, &plan(options, 15), runs);
            let _ = writeln!(
                page,
                "| {} | {warmup} s | {} % |",
                per_second(rps),
                percent(mine.rolled_back.share)
            );
        }
    }
    page
}

/// What a rollout enters: a canary that has never served, a stable that is broken, a past with an outage.
pub fn entry(runs: usize) -> String {
    let mut page = String::from(
        "\n## What a rollout enters\n\nWith the default warm-up, and pods that have waited five minutes for their \
         first request. Rolled back / promoted in percent (median minutes).\n\n\
         | world | 10 req/s | 100 req/s | 1,000 req/s |\n|--|--|--|--|\n",
    );
    let usual = Disturbance::default;
    let past_outage = Some(PastOutage {
        lasted: 30.0,
        rate: 0.5,
    });
    let latency = Some(DurationModel {
        median_ms: 40.0,
        spread: 0.8,
        slowdown: 1.0,
        jitter: 0.02,
    });
    let cases = [
        (
            "errs 5 points more in its first 30 s",
            None,
            0.0,
            Disturbance {
                warmup: Some(Warmup {
                    lasts: 30.0,
                    added: 0.05,
                }),
                ..usual()
            },
        ),
        (
            "three times slower at first, fading over 2 min",
            latency,
            0.0,
            Disturbance {
                slow_start: Some(SlowStart {
                    factor: 3.0,
                    lasts: 120.0,
                }),
                ..usual()
            },
        ),
        (
            "a sound canary beside a stable that began to fail 20 %",
            None,
            0.0,
            Disturbance {
                broken_stable: Some(0.2),
                ..usual()
            },
        ),
        (
            "+1 point, after an outage of 30 s in the past",
            None,
            0.01,
            Disturbance {
                past_outage,
                ..usual()
            },
        ),
    ];
    let plan = plan(
        Options {
            warmup: Some(HumanDuration::seconds(30)),
            ..Options::default()
        },
        15,
    );
    for (name, latency, added, disturbance) in cases {
        let _ = write!(page, "| {name} |");
        for rps in [10.0, 100.0, 1_000.0] {
            let scenario = Scenario {
                added,
                latency,
                disturbance: disturbance.clone(),
                ..scenario(rps, 0.001)
            };
            let mine = after_waiting(300.0, &scenario, &plan, runs);
            let _ = write!(page, " {} |", endings(&mine));
        }
        page.push('\n');
    }
    page
}

/// A canary that exhausts what both versions share, and outages that only look so.
pub fn overload(runs: usize) -> String {
    let mut page = String::from(
        "\n## Damage through what both versions share\n\nFrom a share of 20 % on the canary's traffic makes both \
         versions fail, 15 % of all requests at a share of a half, following the load within the inertia. \
         Beside it, healthy canaries in an outage that has nothing to do with them. An hour a step at most. \
         *Without* holds until the incident passes; *with* goes back a step when stable begins to fail within \
         two minutes of an increase, and ends after the third time. Rolled back / promoted / no verdict in \
         percent; mean requests failed because of the canary; median minutes.\n\n\
         | req/s | what | without | damage | minutes | with | damage | minutes |\n|--|--|--|--|--|--|--|--|\n",
    );
    let greedy = |inertia| Disturbance {
        overload: Some(Overload {
            from_share: 0.2,
            at_full: 0.4,
            inertia,
        }),
        ..Disturbance::default()
    };
    let outage = |lasts, rate| Disturbance {
        outage: Some(Outage {
            start: (15.0, 300.0),
            lasts,
            rate,
        }),
        ..Disturbance::default()
    };
    let cases = [
        ("overload, inertia 5 s", greedy(5.0)),
        ("overload, inertia 30 s", greedy(30.0)),
        ("overload, inertia 120 s", greedy(120.0)),
        ("no overload, outage 60 s of 50 %", outage(60.0, 0.5)),
        ("no overload, outage 300 s of 20 %", outage(300.0, 0.2)),
    ];
    let plan = usual_plan();
    for rps in [10.0, 100.0, 1_000.0] {
        for (name, disturbance) in &cases {
            let scenario = Scenario {
                disturbance: disturbance.clone(),
                ..scenario(rps, 0.001)
            };
            let _ = write!(page, "| {} | {name} |", per_second(rps));
            for blame in [0, 2] {
                let policy = Policy {
                    blame: SignedDuration::from_mins(blame),
                    ..plan.policy()
                };
                let mine = with_policy(&scenario, &plan, &policy, runs);
                let _ = write!(
                    page,
                    " {} / {} / {} | {} | {} |",
                    percent(mine.rolled_back.share),
                    percent(mine.promoted.share),
                    percent(mine.inconclusive.share),
                    amount(mine.damage.mean),
                    minutes(mine.seconds.median)
                );
            }
            page.push('\n');
        }
    }
    page
}

/// Regressions that only show at 100 %, and outages there.
pub fn bake(runs: usize) -> String {
    let mut page = String::from(
        "\n## At 100 %\n\nTen minutes of bake, stable at 0.1 %. The outage hits both versions (20 % for 2 min).\n\n\
         | req/s | what | rolled back / promoted | excess failed |\n|--|--|--|--|\n",
    );
    let options = Options {
        bake: Some(HumanDuration::minutes(10)),
        ..Options::default()
    };
    let plan = plan(options, 15);
    for rps in [100.0, 1_000.0] {
        let outage = Disturbance {
            outage: Some(Outage {
                start: (600.0, 800.0),
                lasts: 120.0,
                rate: 0.2,
            }),
            ..Disturbance::default()
        };
        let cases = [
            ("equal", 0.0, 0.0, Disturbance::default()),
            ("shared outage", 0.0, 0.0, outage),
            ("+5 from 500 s on", 0.05, 500.0, Disturbance::default()),
        ];
        for (name, added, onset, disturbance) in cases {
            let scenario = Scenario {
                added,
                onset,
                disturbance,
                ..scenario(rps, 0.001)
            };
            let mine = summary(Rule::Ours, &scenario, &plan, runs);
            let _ = writeln!(
                page,
                "| {} | {name} | {} / {} | {} |",
                per_second(rps),
                percent(mine.rolled_back.share),
                percent(mine.promoted.share),
                amount(mine.excess.mean)
            );
        }
    }
    page
}
