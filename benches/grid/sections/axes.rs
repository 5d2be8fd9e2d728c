//! The axes of the grid.

use kubectl_canary::simulate::{RunSummary, Scenario};

use crate::cell::percent;

/// Requests per second of the grid.
pub const TRAFFIC: [f64; 6] = [1.0 / 6.0, 1.0, 10.0, 100.0, 1_000.0, 10_000.0];
/// Failure rates of stable.
pub const STABLE: [f64; 3] = [0.0001, 0.001, 0.01];
/// Name, factor and addition of each regression.
pub const WORSE: [(&str, f64, f64); 5] = [
    ("doubled", 2.0, 0.0),
    ("+1", 1.0, 0.01),
    ("+5", 1.0, 0.05),
    ("50 %", 0.0, 0.5),
    ("100 %", 0.0, 1.0),
];

/// Equal versions.
pub fn scenario(requests_per_second: f64, stable: f64) -> Scenario {
    Scenario {
        requests_per_second,
        stable,
        ..Scenario::default()
    }
}

/// How often it was rolled back and promoted in percent, and the median minutes.
pub fn endings(summary: &RunSummary) -> String {
    format!(
        "{} / {} ({})",
        percent(summary.rolled_back.share),
        percent(summary.promoted.share),
        minutes(summary.seconds.median)
    )
}

/// Minutes, for a reader.
pub fn minutes(seconds: f64) -> String {
    if seconds == 0.0 {
        "-".to_owned()
    } else {
        format!("{:.1}", seconds / 60.0)
    }
}
