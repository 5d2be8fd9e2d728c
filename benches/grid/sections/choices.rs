//! What can be chosen, and latency.

use std::fmt::Write;

use kubectl_canary::plan::{Forecast, Options, Plan};
use kubectl_canary::simulate::{DurationModel, Scenario};
use kubectl_canary::verdict::sequential::{Preset, Traffic};

use super::axes::{WORSE, endings, minutes, scenario};
use crate::cell::{Rule, amount, per_second, percent, plan, summary, usual_plan};
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
                for scrape in [15, 5, 1] {
                    let plan = sampled(rps, scrape, advised);
                    let mine = summary(Rule::Ours, &scenario, &plan, runs);
                    if advised && scrape == 5 && rps == 10_000.0 && name == WORSE[4].0 {
                        let flagger = summary(Rule::Flagger, &scenario, &usual_plan(), runs);
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
        let plan = sampled(rps, 5, false);
        let mine = summary(Rule::Ours, &scenario(rps, 0.001), &plan, runs);
        goals.fast(rps, &mine);
        let _ = writeln!(
            page,
            "| {} | {} % | {} |",
            per_second(rps),
            percent(mine.promoted.share),
            minutes(mine.seconds_to_promote.unwrap_or_default().median)
        );
    }
    page
}

/// The usual steps, or those that `plan` advises for this traffic.
fn sampled(rps: f64, scrape: u32, advised: bool) -> Plan {
    let usual = plan(Options::default(), scrape);
    let traffic = Traffic {
        per_second: rps,
        failure_rate: 0.001,
    };
    // Of 1,000 parts, so that a small step is not too fine for the weights.
    let advice = Forecast::of(&usual, traffic, 0, 1_000).and_then(|forecast| forecast.smaller);
    match advice {
        Some(smaller) if advised => Plan {
            steps: smaller.steps,
            ..usual
        },
        _ => usual,
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
        let options = Options {
            preset: Some(preset),
            ..Options::default()
        };
        let plan = plan(options, 1);
        let _ = write!(page, "| {name} |");
        for added in [0.0, 0.005, 0.01, 0.02, 0.05, 0.2] {
            let scenario = Scenario {
                added,
                ..scenario(200.0, 0.005)
            };
            let mine = summary(Rule::Ours, &scenario, &plan, runs);
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
                latency: Some(DurationModel {
                    median_ms: 40.0,
                    spread: 0.8,
                    slowdown,
                    jitter: 0.02,
                }),
                ..scenario(rps, 0.001)
            };
            let mine = summary(Rule::Ours, &scenario, &usual_plan(), runs);
            let _ = write!(page, " {} |", endings(&mine));
        }
        page.push('\n');
    }
    page
}
