//! Whether a driver is running, read from its lease.

use jiff::Timestamp;
use serde::Serialize;

use super::phrase::{self, Versions};
use super::{Tone, age, reason_text};
use crate::cluster::LeaseStatus;
use crate::rollout::DriverReport;

/// What one look at the lease told.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DriverStatus {
    /// Who has the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// When it was renewed last, by the holder's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewed: Option<Timestamp>,
    /// Whether that is no longer ago than a lease lasts, by this machine's clock.
    pub alive: bool,
    /// What it saw last, at most a renewal old while it is alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look: Option<DriverReport>,
}

impl DriverStatus {
    /// What `status` means at `now` for run `run`.
    pub fn of(status: LeaseStatus, run: Option<&str>, now: Timestamp) -> Self {
        let look = status.look.as_deref().and_then(DriverReport::read);
        Self {
            alive: status.is_live(now),
            look: look.filter(|look| run == Some(&look.run)),
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
        let warnings = self.look.iter().flat_map(|look| &look.warnings);
        warnings.map(ToString::to_string)
    }

    /// What was seen last, in words.
    pub(super) fn seen(&self, versions: &Versions, now: Timestamp) -> Option<String> {
        let look = self.look.as_ref()?;
        let verdict = phrase::so_far(look.verdict);
        let verdict = match reason_text::joined(&look.reasons, versions) {
            Some(reasons) => format!("{verdict}: {reasons}"),
            None => verdict.to_owned(),
        };
        Some(phrase::clauses([
            Some(versions.counts(look.tally, look.shadow)),
            Some(verdict),
            Some(format!("{} ago", age(now.duration_since(look.at)))),
        ]))
    }
}
