//! Whether a driver is running, read from its lease.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::phrase::{self, Versions};
use super::{Tone, age, reason_text};
use crate::cluster::LeaseStatus;
use crate::rollout::DriverReport;

/// What the Lease tells of the driver.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriverStatus {
    /// Who has the lease.
    pub holder: Option<String>,
    /// When it was renewed last, by the holder's clock.
    pub renewed: Option<Timestamp>,
    /// Whether that is no longer ago than a lease lasts, by this machine's clock.
    pub alive: bool,
    /// Its last analysis of this run, at most a renewal old while it is alive.
    pub report: Option<DriverReport>,
    /// Why its last analysis cannot be read, if there is one.
    pub report_error: Option<String>,
}

impl DriverStatus {
    /// What `status` means at `now` for run `run`.
    pub fn of(status: LeaseStatus, run: Option<&str>, now: Timestamp) -> Self {
        let report = status.report.as_deref().map(DriverReport::read);
        let (report, error) = match report.transpose() {
            Ok(report) => (report, None),
            Err(error) => (
                None,
                Some(format!("the driver's report cannot be read: {error}")),
            ),
        };
        Self {
            alive: status.is_live(now),
            report: report.filter(|report| run == Some(&report.run)),
            report_error: error,
            holder: status.holder,
            renewed: status.renewed,
        }
    }

    /// In words, and how they sound where the canary is `judged` only as long as a driver is alive.
    pub(super) fn words(&self, judged: bool, now: Timestamp) -> (Tone, String) {
        let ago = self.renewed.map(|renewed| age(now.duration_since(renewed)));
        let tone = match (self.alive, judged) {
            (true, _) => Tone::Good,
            (false, true) => Tone::Bad,
            (false, false) => Tone::Plain,
        };
        let absent = match (&self.holder, ago) {
            (Some(_), Some(ago)) if self.alive => {
                return (tone, format!("running, seen {ago} ago"));
            }
            (Some(_), Some(ago)) => format!("no driver for {ago}"),
            _ => "no driver".into(),
        };
        match judged {
            true => (
                tone,
                format!("ORPHANED: {absent}, no analysis, no automatic rollback"),
            ),
            false => (tone, absent),
        }
    }

    /// What limits what the metrics showed it, in words.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        let warnings = self.report.iter().flat_map(|report| &report.warnings);
        warnings.map(ToString::to_string)
    }

    /// What was seen last, in words.
    pub(super) fn seen(&self, versions: &Versions, now: Timestamp) -> Option<String> {
        let report = self.report.as_ref()?;
        let verdict = phrase::so_far(report.verdict);
        let verdict = match reason_text::joined(&report.reasons, versions) {
            Some(reasons) => format!("{verdict}: {reasons}"),
            None => verdict.to_owned(),
        };
        Some(phrase::clauses([
            Some(versions.counts(report.step_counts, report.mirror_counts)),
            Some(verdict),
            Some(format!("{} ago", age(now.duration_since(report.at)))),
        ]))
    }
}
