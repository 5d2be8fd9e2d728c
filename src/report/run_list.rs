//! The runs of an object, the newest first.

use std::io::{self, Write};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::run_words::{duration, tone_of};
use super::{Layout, RunReport, Table, Tone, View};
use crate::history::RunRecord;
use crate::plan::Exposure;
use crate::rollout::{Outcome, Reason, VersionCounts};

/// What `history` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunList {
    /// The format's version.
    pub version: u32,
    /// The VirtualService's namespace.
    pub namespace: String,
    /// The VirtualService's name.
    pub name: String,
    /// The runs, the newest first.
    pub items: Vec<RunRow>,
    #[serde(skip)]
    reports: Vec<RunReport>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunRow {
    /// The run.
    pub run: String,
    /// When its record begins.
    pub began: Timestamp,
    /// When it ended; `null` while it is under way.
    pub ended: Option<Timestamp>,
    /// The stable version, where the record knows it.
    pub stable: Option<String>,
    /// The canary, where the record knows it.
    pub canary: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why it ended so.
    pub reasons: Vec<Reason>,
    /// What the canary got last.
    pub exposure: Exposure,
    /// What was counted over all steps.
    pub total_counts: Option<VersionCounts>,
    /// Who drove it, in order.
    pub drivers: Vec<String>,
}

impl RunRow {
    pub(super) fn of(report: &RunReport) -> Self {
        Self {
            run: report.run.clone(),
            began: report.began,
            ended: report.ended,
            stable: report.stable.clone(),
            canary: report.canary.clone(),
            outcome: report.outcome,
            reasons: report.reasons.clone(),
            exposure: report.exposure,
            total_counts: report.total_counts,
            drivers: report.drivers.clone(),
        }
    }
}

impl RunList {
    /// The format's version.
    pub const VERSION: u32 = 1;

    /// The runs in these records of one object.
    pub(crate) fn of(namespace: &str, name: &str, records: &[RunRecord]) -> Self {
        let mut reports: Vec<_> = records.iter().map(RunReport::of).collect();
        reports.sort_by_key(|report| std::cmp::Reverse(report.began));
        Self {
            version: Self::VERSION,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            items: reports.iter().map(RunRow::of).collect(),
            reports,
        }
    }
}

impl View for RunList {
    fn names(&self) -> Vec<&str> {
        vec![&self.name]
    }

    fn show(&self, out: &mut dyn Write, layout: Layout) -> io::Result<()> {
        let mut titles = vec!["began", "took", "versions", "outcome", "run"];
        if layout.wide {
            titles.extend(["requests", "driven by"]);
        }
        let mut table = Table::new(titles)
            .without_headers(layout.without_headers)
            .in_colors(layout.palette);
        for report in &self.reports {
            let versions = report.versions();
            let mut cells = vec![
                report.began.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
                duration(report.took()),
                format!("{} -> {}", versions.stable, versions.canary),
                report.headline(),
                report.run.clone(),
            ];
            if layout.wide {
                let counts = report.total_counts;
                cells.push(counts.map_or_else(String::new, |counts| versions.requests(counts)));
                cells.push(report.drivers.join(", then "));
            }
            let tone = match tone_of(report) {
                Tone::Good => Tone::Plain,
                other => other,
            };
            table.row_in(tone, cells);
        }
        table.write(out, "")
    }
}
