//! The cases side by side, in markdown.

use std::fmt::Write;

use kubectl_canary::simulate::Spread;

use super::case::Case;
use super::prediction::Prediction;
use super::run::{Ended, Run};
use crate::figures::median;

/// A case, measured and predicted.
pub(super) struct Row<'a> {
    pub(super) case: &'a Case,
    pub(super) runs: Vec<Run>,
    pub(super) prediction: Prediction,
}

/// The table of all rows.
pub(super) fn of(rows: &[Row<'_>]) -> String {
    let mut text = String::from(
        "Median (least to most) as measured, median (95 %) as simulated. Seconds from the first weight \
         to restored weights, or to 100 %.\n\n\
         | case | flags | promoted / rolled back | simulated | seconds | simulated | failed on the canary \
         | simulated | at most | goal | peers |\n|--|--|--|--|--|--|--|--|--|--|--|\n",
    );
    for row in rows {
        let _ = writeln!(text, "{}", row.line());
    }
    text
}

impl Row<'_> {
    fn line(&self) -> String {
        let Row {
            case,
            runs,
            prediction: Prediction(predicted),
        } = self;
        let count = |ended| runs.iter().filter(|run| run.ended == ended).count();
        let reached = runs.iter().map(|run| run.reached).fold(0.0, f64::max);
        let flags = match case.flags {
            "" => "none".to_owned(),
            flags => format!("`{flags}`"),
        };
        let cells = [
            case.what.to_owned(),
            flags,
            format!(
                "{} / {} of {}",
                count(Ended::Promoted),
                count(Ended::RolledBack),
                runs.len()
            ),
            format!(
                "{:.1} / {:.1} %",
                100.0 * predicted.promoted.share,
                100.0 * predicted.rolled_back.share
            ),
            measured(&Run::seconds(runs), 1),
            simulated(predicted.seconds, 1),
            measured(&Run::failed(runs), 0),
            simulated(predicted.failed, 0),
            format!("{reached} %"),
            case.goal.to_owned(),
            case.peers.to_owned(),
        ];
        format!("| {} |", cells.join(" | "))
    }
}

fn measured(values: &[f64], digits: usize) -> String {
    // A run without an end in time has no number, and is seen in the counts.
    let values: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| !value.is_nan())
        .collect();
    if values.is_empty() {
        return "-".to_owned();
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let median = median(&values);
    format!("**{median:.digits$}** ({least:.digits$} to {most:.digits$})")
}

fn simulated(spread: Spread, digits: usize) -> String {
    format!(
        "{:.digits$} ({:.digits$} to {:.digits$})",
        spread.median, spread.low, spread.high
    )
}
