//! The last analysis of a driver, for `status` on other machines.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::{Event, EventKind};
use super::reason::Reason;
use super::record::{Unreadable, read_record};
use super::version_counts::VersionCounts;
use crate::metrics::MetricsWarning;
use crate::verdict::Verdict;

/// The last analysis of a driver. It stands on the driver's Lease and is written when that is renewed
/// anyway, so that it costs no request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriverReport {
    /// The format's version.
    pub version: u32,
    /// The run.
    pub run: String,
    /// When.
    pub at: Timestamp,
    /// What is known.
    pub verdict: Verdict,
    /// What was counted since the step began.
    pub step_counts: VersionCounts,
    /// The same of mirrored requests; `null` where none are mirrored.
    pub mirror_counts: Option<VersionCounts>,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What limits what the metrics show.
    pub warnings: Vec<MetricsWarning>,
}

impl DriverReport {
    /// The version of the format that this binary writes, and the newest that it reads.
    pub const VERSION: u32 = 1;

    /// The report of an event, if that is an analysis.
    pub fn of(event: &Event) -> Option<Self> {
        let EventKind::Analyzed {
            verdict,
            step_counts,
            mirror_counts,
            reasons,
            warnings,
            ..
        } = &event.event
        else {
            return None;
        };
        Some(Self {
            version: Self::VERSION,
            run: event.run.clone(),
            at: event.at,
            verdict: *verdict,
            step_counts: *step_counts,
            mirror_counts: *mirror_counts,
            reasons: reasons.clone(),
            warnings: warnings.clone(),
        })
    }

    /// The annotation's text.
    pub fn to_annotation(&self) -> String {
        serde_json::to_string(self).expect("a report is plain data with string keys")
    }

    /// Reads the annotation's text.
    ///
    /// # Errors
    /// If it is damaged or of a newer version. Nothing depends on it but what is shown.
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        read_record(text, Self::VERSION)
    }
}
