//! What is measured, section by section; each returns its part of the page.

use std::fmt::Write;

use jiff::SignedDuration;
use kubectl_canary::simulate::{
    Disturbance, Lag, Latency, Outage, Overload, Route, Scenario, Warmup,
};
use kubectl_canary::verdict::sequential::{Policy, Preset, Traffic};

use crate::cell::{Rule, amount, careful, ours, per_second, percent, table, without_history};
use crate::goals::Goals;

const TRAFFIC: [f64; 6] = [1.0 / 6.0, 1.0, 10.0, 100.0, 1_000.0, 10_000.0];
const STABLE: [f64; 3] = [0.0001, 0.001, 0.01];
/// Name, factor and addition of each regression.
const WORSE: [(&str, f64, f64); 5] = [
    ("doubled", 2.0, 0.0),
    ("+1", 1.0, 0.01),
    ("+5", 1.0, 0.05),
    ("50 %", 0.0, 0.5),
    ("100 %", 0.0, 1.0),
];

fn scenario(requests_per_second: f64, stable: f64) -> Scenario {
    Scenario {
        requests_per_second,
        stable,
        ..Scenario::default()
    }
}

fn minutes(seconds: f64) -> String {
    if seconds == 0.0 {
        "-".to_owned()
    } else {
        format!("{:.1}", seconds / 60.0)
    }
}

/// Equal versions.
pub fn healthy(runs: usize, goals: &mut Goals) -> String {
    let mut page = String::from(
        "\n## Equal versions\n\nRolled back / promoted, in percent; minutes to a promotion (median).\n\n\
         | req/s | stable | kubectl canary | minutes | Flagger | tuned | Argo | tuned | Kayenta |\n\
         |--|--|--|--|--|--|--|--|--|\n",
    );
    for rps in TRAFFIC {
        for stable in STABLE {
            let scenario = scenario(rps, stable);
            let route = Route::default();
            let mine = table(Rule::Ours, &scenario, &route, runs);
            goals.equal(rps, stable, &mine);
            let _ = write!(
                page,
                "| {} | {} % | **{}** / {} | {} |",
                per_second(rps),
                percent(stable),
                percent(mine.rolled_back.share),
                percent(mine.promoted.share),
                minutes(mine.seconds_to_promote.median)
            );
            for rule in [
                Rule::Flagger,
                Rule::FlaggerTuned,
                Rule::Argo,
                Rule::ArgoTuned,
                Rule::Kayenta,
            ] {
                let theirs = table(rule, &scenario, &route, runs);
                let _ = write!(
                    page,
                    " {} / {} |",
                    percent(theirs.rolled_back.share),
                    percent(theirs.promoted.share)
                );
            }
            page.push('\n');
        }
    }
    page
}

/// Worse canaries.
pub fn regressed(runs: usize, goals: &mut Goals) -> String {
    let mut page = String::from(
        "\n## Worse canaries\n\nRolled back / promoted in percent, and the mean of excess failed requests \
         (canary requests times what its rate exceeds stable's by). *Wald* is the sequential test that \
         knows both rates, on the same scrapes and at least a minute a step.\n\n\
         | req/s | stable | canary | back / promoted | excess | Wald | ratio | Flagger: promoted, excess | \
         Argo: promoted, excess | Kayenta: promoted, excess |\n|--|--|--|--|--|--|--|--|--|--|\n",
    );
    for rps in TRAFFIC {
        for stable in STABLE {
            for (name, ratio, added) in WORSE {
                let scenario = Scenario {
                    ratio,
                    added,
                    ..scenario(rps, stable)
                };
                let route = Route::default();
                let mine = table(Rule::Ours, &scenario, &route, runs);
                let wald = table(Rule::Wald, &scenario, &route, runs);
                let flagger = table(Rule::Flagger, &scenario, &route, runs / 4);
                let argo = table(Rule::Argo, &scenario, &route, runs / 4);
                let kayenta = table(Rule::Kayenta, &scenario, &route, runs / 4);
                let times = mine.excess.mean / wald.excess.mean;
                goals.worse(rps, stable, name, [&mine, &wald, &flagger, &argo, &kayenta]);
                let _ = write!(
                    page,
                    "| {} | {} % | {name} | {} / {} | **{}** | {} | {} |",
                    per_second(rps),
                    percent(stable),
                    percent(mine.rolled_back.share),
                    percent(mine.promoted.share),
                    amount(mine.excess.mean),
                    amount(wald.excess.mean),
                    if mine.rolled_back.share >= 0.9 {
                        format!("{times:.1}")
                    } else {
                        "-".to_owned()
                    },
                );
                for theirs in [flagger, argo, kayenta] {
                    let _ = write!(
                        page,
                        " {}, {} |",
                        percent(theirs.promoted.share),
                        amount(theirs.excess.mean)
                    );
                }
                page.push('\n');
            }
        }
    }
    page
}

/// Exactly on the margin, promotion turned off.
pub fn margin(runs: usize, goals: &mut Goals) -> String {
    let mut page = String::from(
        "\n## Exactly on the margin, for eight hours\n\nThe canary fails 1.25 times stable and 0.01 points \
         more; nothing is promoted. At most 1 % may be rolled back.\n\n| req/s | stable | rolled back |\n|--|--|--|\n",
    );
    for rps in [1.0, 10.0, 100.0, 1_000.0] {
        for stable in [0.001, 0.01] {
            let scenario = Scenario {
                ratio: 1.25,
                added: 0.0001,
                ..scenario(rps, stable)
            };
            let route = Route {
                steps: vec![0.5, 0.6],
                limit: 8.0 * 3600.0,
                ..Route::default()
            };
            let policy = Policy {
                false_promotion: 0.0,
                deadline: SignedDuration::from_hours(9),
                ..careful(route.scrape)
            };
            let mine = ours(&scenario, &route, &policy, runs);
            goals.margin(rps, stable, &mine);
            let _ = writeln!(
                page,
                "| {} | {} % | {} % (95 %: {} to {}) |",
                per_second(rps),
                percent(stable),
                percent(mine.rolled_back.share),
                percent(mine.rolled_back.low),
                percent(mine.rolled_back.high)
            );
        }
    }
    page
}

fn disturbances() -> Vec<(String, Disturbance)> {
    let none = Disturbance::default;
    let mut list = vec![("none".to_owned(), none())];
    for rho in [1e-4, 1e-3] {
        let noise = Some(rho);
        list.push((
            format!("rate drawn anew each scrape, correlation {rho}"),
            Disturbance { noise, ..none() },
        ));
    }
    let clusters = Some(3.0);
    list.push((
        "errors in geometric clusters of mean 3".to_owned(),
        Disturbance { clusters, ..none() },
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
        "\n## A healthy canary in a disturbed world\n\nRolled back in percent, the worst cell of 1 to 10 000 \
         requests per second and 0.1 and 1 %. Pods that differ are a real difference.\n\n\
         | disturbance | kubectl canary | worst at | without a history | Flagger | Argo |\n|--|--|--|--|--|--|\n",
    );
    for (name, disturbance) in disturbances() {
        let (mut mine, mut bare, mut flagger, mut argo) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
        let mut worst = String::from("-");
        for rps in [1.0, 10.0, 100.0, 1_000.0, 10_000.0] {
            for stable in [0.001, 0.01] {
                let scenario = Scenario {
                    disturbance: disturbance.clone(),
                    ..scenario(rps, stable)
                };
                let route = Route::default();
                let share = |rule, runs| table(rule, &scenario, &route, runs).rolled_back.share;
                let ours = share(Rule::Ours, runs);
                goals.disturbed(&name, rps, stable, ours);
                if ours > mine {
                    mine = ours;
                    worst = format!("{} req/s, {} %", per_second(rps), percent(stable));
                }
                bare = bare.max(
                    without_history(&scenario, &route, runs / 2)
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
            let route = Route::default();
            let policy = Policy {
                warmup: SignedDuration::from_secs(warmup),
                ..careful(route.scrape)
            };
            let mine = ours(&scenario, &route, &policy, runs);
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

/// Scrape interval and first step.
pub fn sampling(runs: usize, goals: &mut Goals) -> String {
    let mut page = String::from(
        "\n## Sampling beats statistics\n\nMean excess failed requests by scrape interval and first step, \
         stable at 0.1 %; *advised* is the first step that the plan advises.\n\n\
         | req/s | canary | 15 s, 1 % | 5 s, 1 % | 1 s, 1 % | 15 s, advised | 5 s, advised | 1 s, advised |\n\
         |--|--|--|--|--|--|--|--|\n",
    );
    for rps in [1_000.0, 10_000.0] {
        for (name, ratio, added) in [WORSE[4], WORSE[2], WORSE[1]] {
            let scenario = Scenario {
                ratio,
                added,
                ..scenario(rps, 0.001)
            };
            let _ = write!(page, "| {} | {name} |", per_second(rps));
            for advised in [false, true] {
                for scrape in [15.0, 5.0, 1.0] {
                    let route = sampled(rps, scrape, advised);
                    let mine = table(Rule::Ours, &scenario, &route, runs);
                    if advised && scrape == 5.0 && rps == 10_000.0 && name == WORSE[4].0 {
                        let flagger = table(Rule::Flagger, &scenario, &Route::default(), runs);
                        goals.sampled(&mine, &flagger);
                    }
                    let _ = write!(page, " {} |", amount(mine.excess.mean));
                }
            }
            page.push('\n');
        }
    }
    page.push_str("\nEqual versions, 5 s scrapes:\n\n| req/s | promoted | minutes |\n|--|--|--|\n");
    for rps in [1_000.0, 10_000.0] {
        let route = sampled(rps, 5.0, false);
        let mine = table(Rule::Ours, &scenario(rps, 0.001), &route, runs);
        goals.fast(rps, &mine);
        let _ = writeln!(
            page,
            "| {} | {} % | {} |",
            per_second(rps),
            percent(mine.promoted.share),
            minutes(mine.seconds_to_promote.median)
        );
    }
    page
}

fn sampled(rps: f64, scrape: f64, advised: bool) -> Route {
    let policy = careful(scrape);
    let traffic = Traffic {
        per_second: rps,
        failure_rate: 0.001,
    };
    let first = if advised {
        traffic.first_step(0.01, &policy)
    } else {
        0.01
    };
    Route {
        steps: vec![first, 0.1, 0.5],
        scrape,
        dwell: policy.dwell.as_secs_f64(),
        ..Route::default()
    }
}

/// The presets.
pub fn presets(runs: usize) -> String {
    let mut page = String::from(
        "\n## Presets: what speed costs\n\n200 requests per second, 1 s scrapes, stable at 0.5 %. Rolled back / \
         promoted in percent (median seconds).\n\n| preset | equal | +0.5 | +1 | +2 | +5 | +20 |\n|--|--|--|--|--|--|--|\n",
    );
    for (name, preset) in [
        ("careful", Preset::Careful),
        ("quick", Preset::Quick),
        ("quicker", Preset::Quicker),
    ] {
        let _ = write!(page, "| {name} |");
        for added in [0.0, 0.005, 0.01, 0.02, 0.05, 0.2] {
            let policy = Policy {
                warmup: SignedDuration::ZERO,
                ..preset.policy(SignedDuration::from_secs(1))
            };
            let scenario = Scenario {
                added,
                ..scenario(200.0, 0.005)
            };
            let route = Route {
                scrape: 1.0,
                dwell: policy.dwell.as_secs_f64(),
                ..Route::default()
            };
            let mine = ours(&scenario, &route, &policy, runs);
            let _ = write!(
                page,
                " {} / {} ({:.0}) |",
                percent(mine.rolled_back.share),
                percent(mine.promoted.share),
                mine.seconds.median
            );
        }
        page.push('\n');
    }
    page
}

/// Slower canaries, judged by bucket counts alone.
pub fn latency(runs: usize) -> String {
    let mut page = String::from(
        "\n## Slower canaries\n\nLog-normal durations with a median of 40 ms, judged by the counts of four \
         histogram bounds beside equal failures of 0.1 %; each version's median wanders 2 % from scrape to \
         scrape. Rolled back / promoted in percent (median minutes).\n\n\
         | req/s | equal | 1.2 times | 1.5 times | 2 times | 5 times |\n|--|--|--|--|--|--|\n",
    );
    for rps in [10.0, 100.0, 1_000.0] {
        let _ = write!(page, "| {} |", per_second(rps));
        for slowdown in [1.0, 1.2, 1.5, 2.0, 5.0] {
            let scenario = Scenario {
                latency: Some(Latency {
                    median_ms: 40.0,
                    spread: 0.8,
                    slowdown,
                    jitter: 0.02,
                }),
                ..scenario(rps, 0.001)
            };
            let mine = table(Rule::Ours, &scenario, &Route::default(), runs);
            let _ = write!(
                page,
                " {} / {} ({}) |",
                percent(mine.rolled_back.share),
                percent(mine.promoted.share),
                minutes(mine.seconds.median)
            );
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
         Beside it, healthy canaries in an outage that has nothing to do with them. An hour at most. \
         *Without* holds until the incident passes; *with* goes back a step when stable begins to fail within \
         two minutes of an increase, and gives up after the third time. Rolled back / promoted / no verdict in \
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
    for rps in [10.0, 100.0, 1_000.0] {
        for (name, disturbance) in &cases {
            let scenario = Scenario {
                disturbance: disturbance.clone(),
                ..scenario(rps, 0.001)
            };
            let route = Route {
                limit: 3600.0,
                ..Route::default()
            };
            let _ = write!(page, "| {} | {name} |", per_second(rps));
            for blame in [0, 2] {
                let policy = Policy {
                    blame: SignedDuration::from_mins(blame),
                    ..careful(route.scrape)
                };
                let mine = ours(&scenario, &route, &policy, runs);
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
            let route = Route {
                bake: Some(600.0),
                ..Route::default()
            };
            let mine = table(Rule::Ours, &scenario, &route, runs);
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
