//! The scene in which peers were measured: a canary at 1 % of 200 requests a second, scraped each
//! second, and what it costs the users when it fails, or how long it takes when it does not.
//!
//! A case is several runs with the product's defaults. The pods are older than the warm-up when the
//! first weight is set, as those of a canary are that somebody deployed before shifting traffic to it.
//! Beside each case stands what the simulation of the same plan predicts.

mod case;
mod prediction;
mod run;
mod scraper;
mod table;

use crate::figures::Figures;
use crate::stack::Stack;

use case::CASES;
use prediction::Prediction;
use run::{Ended, Run};
use table::Row;

/// The names by which cases are chosen.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Measures the cases that `is_chosen` says, as often as each says unless told otherwise, and prints a
/// table of them.
pub(crate) async fn measure(
    stack: &Stack,
    figures: &mut Figures,
    is_chosen: impl Fn(&str) -> bool,
    times: Option<u64>,
) {
    let mut rows = Vec::new();
    for case in CASES.iter().filter(|case| is_chosen(case.name)) {
        let runs = run::all(stack, case, times.unwrap_or(case.runs)).await;
        let name = |what| format!("scene {}: {what}", case.name);
        figures.add(
            name("first weight to end"),
            "s",
            &Run::seconds(&runs),
            case.goal,
        );
        figures.add(name("failed requests"), "", &Run::failed(&runs), case.peers);
        let promoted = runs
            .iter()
            .filter(|run| run.ended == Ended::Promoted)
            .count();
        figures.add(
            name("promoted"),
            "",
            &[promoted as f64],
            format!("of {} runs", runs.len()),
        );
        rows.push(Row {
            case,
            prediction: Prediction::of(case),
            runs,
        });
    }
    println!("{}", table::of(&rows));
}
