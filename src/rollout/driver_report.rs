//! What a driver saw last, for those who ask about it elsewhere.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::{Event, EventKind, VersionCounts};
use super::reason::Reason;
use crate::metrics::MetricsWarning;
use crate::verdict::Verdict;

/// The last look of a driver at the metrics. It stands on the driver's lease and is renewed with it, so
/// that it costs no request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriverReport {
    /// The run.
    pub run: String,
    /// When.
    pub at: Timestamp,
    /// What is known.
    pub verdict: Verdict,
    /// What was counted since the step began.
    pub tally: VersionCounts,
    /// What was counted of mirrored requests, where any are mirrored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<VersionCounts>,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What limits what the metrics show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<MetricsWarning>,
}

impl DriverReport {
    /// The look that an event tells of, if it does.
    pub fn of(event: &Event) -> Option<Self> {
        let EventKind::Looked {
            verdict,
            tally,
            shadow,
            reasons,
            warnings,
            ..
        } = &event.event
        else {
            return None;
        };
        Some(Self {
            run: event.run.clone(),
            at: event.at,
            verdict: *verdict,
            tally: *tally,
            shadow: *shadow,
            reasons: reasons.clone(),
            warnings: warnings.clone(),
        })
    }

    /// The annotation's text.
    pub fn to_annotation(&self) -> String {
        serde_json::to_string(self).expect("a look is plain data with string keys")
    }

    /// A look by its annotation; one that cannot be read is none, since nothing depends on it.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
