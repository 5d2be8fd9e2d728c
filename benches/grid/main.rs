//! Measures the verdict over a grid of traffic, failure rates and disturbances, beside the rules of
//! peers, and writes `docs/verdict.md`.
//!
//! `cargo bench --bench grid` takes a few minutes; `-- --runs 200` is coarser and faster and writes
//! nothing.

mod cell;
mod goals;
mod peers;
mod sections;

use std::process::ExitCode;
use std::time::Instant;

use goals::Goals;
use kubectl_canary::number::grouped;

/// Rollouts in a cell, unless told otherwise.
const RUNS: usize = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` starts benches too; there the numbers are tested elsewhere.
        return ExitCode::SUCCESS;
    }
    let asked = arguments
        .iter()
        .position(|argument| argument == "--runs")
        .and_then(|at| arguments.get(at + 1))
        .and_then(|runs| runs.parse().ok());
    let page = measure(asked.unwrap_or(RUNS));
    println!("{page}");
    if asked.is_none() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verdict.md");
        if let Err(error) = std::fs::write(path, page) {
            eprintln!("failed to write docs/verdict.md: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(runs: usize) -> String {
    let began = Instant::now();
    let mut goals = Goals::default();
    let mut sections = String::new();
    let mut add = |name: &str, section: String| {
        eprintln!("{name}: {:.0} s", began.elapsed().as_secs_f64());
        sections.push_str(&section);
    };
    add("healthy", sections::healthy(4 * runs, &mut goals));
    add("regressed", sections::regressed(runs, &mut goals));
    add("disturbed", sections::disturbed(runs, &mut goals));
    add("margin", sections::margin(2 * runs, &mut goals));
    add("sampling", sections::sampling(runs / 4, &mut goals));
    add("presets", sections::presets(runs / 2));
    add("latency", sections::latency(runs / 4));
    add("warmup", sections::warmup(runs / 2));
    add("entry", sections::entry(runs / 2));
    add("overload", sections::overload(runs / 4));
    add("bake", sections::bake(runs / 2));
    format!("{}{}{sections}", head(runs), goals.page())
}

fn head(runs: usize) -> String {
    format!(
        "# The verdict, measured\n\n\
         Written by `cargo bench --bench grid`; do not edit. All numbers are simulated: the machine that \
         decides real rollouts runs the default plan (1, 10, 50 and 100 %, a minute a step at least, no bake) \
         with the careful preset and without warm-up unless said otherwise. Requests are Poisson, scrapes \
         come every 15 s from a random moment on, and the metrics are queried every 5 s, as `kubectl canary \
         simulate` does it. What is known of stable's history is what a rollout reads: windows of its \
         requests and failures, its pods not told apart.\n\n\
         {runs} rollouts for each cell of worse canaries and of disturbances, four times as many of equal \
         versions, twice as many on the margin, a quarter or half of them elsewhere and for peers; the seeds \
         of a cell count up from {}. A rollout without a verdict ends with the plan's step timeout: an hour \
         at a step, eight hours on the margin, six hours for Wald's test, which never promotes.\n\n\
         The peers' rules are modelled, not their tools, and take the place of the analysis in the same \
         machine: Flagger as documented (every minute 99 % of the last minute, five failed checks over the \
         rollout) and tuned (every scrape, one failed check), Argo Rollouts' documented template (every five \
         minutes 95 % by `irate`, more than three failures, steps of ten minutes) and tuned (every scrape \
         99 % of the last minute, one failure, steps of a minute), Kayenta's judge (ten minutes a step, Mann \
         and Whitney at 98 %). Rates are percent of requests; \"points\" are percentage points.\n",
        cell::SEED,
        runs = grouped(runs as u64)
    )
}
