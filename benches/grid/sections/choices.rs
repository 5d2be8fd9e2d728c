//! What can be chosen, and latency.

use std::fmt::Write;

use jiff::SignedDuration;
use kubectl_canary::simulate::{Latency, Route, Scenario};
use kubectl_canary::verdict::sequential::{Policy, Preset, Traffic};

use super::axes::{WORSE, minutes, scenario};
use crate::cell::{Rule, amount, careful, ours, per_second, percent, table};
use crate::goals::Goals;

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
