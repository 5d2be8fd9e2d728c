//! What was counted of both versions over the same stretch of time.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status_code::StatusCode;

/// How long proxies take at most to follow weights that were set: until then requests still go by the
/// weights before.
pub const PROPAGATION: SignedDuration = SignedDuration::from_secs(5);

/// Requests of one version in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Requests answered or given up, failures included.
    pub requests: u64,
    /// Of these, the failed ones.
    pub failures: u64,
}

impl Counts {
    /// The share of failed requests, 0 to 1; `None` without a request.
    pub fn failure_rate(self) -> Option<f64> {
        (self.requests > 0).then(|| self.failures as f64 / self.requests as f64)
    }

    /// What came on top of `before`; counting that began again is all new.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        if self.requests < before.requests {
            return self;
        }
        Self {
            requests: self.requests - before.requests,
            failures: self.failures.saturating_sub(before.failures),
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures += other.failures;
    }
}

/// Requests slower than one bound of the latency histogram; here a "failure" is a slow request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Slow {
    /// The bucket bound in milliseconds, exactly as the histogram has it.
    pub bound_ms: f64,
    /// What the stable version did.
    pub stable: Counts,
    /// What the canary did.
    pub canary: Counts,
}

/// How many requests of each version were answered with a status.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfStatus {
    /// The status.
    pub status: StatusCode,
    /// Of the stable version.
    pub stable: u64,
    /// Of the canary.
    pub canary: u64,
}

/// What each version did with the requests of one operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OfOperation {
    /// The operation, as a label names it; `None` of all that are not told apart.
    pub operation: Option<String>,
    /// What the stable version did.
    pub stable: Counts,
    /// What the canary did.
    pub canary: Counts,
}

/// Counts of stable and canary between two sample timestamps.
///
/// The bounds are those of samples in Prometheus, not the moments of the analysis, so the
/// same past always yields the same windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Timestamp of the newest sample before the window.
    pub start: Timestamp,
    /// Timestamp of the newest sample in the window.
    pub end: Timestamp,
    /// The earliest moment that a request in the window may be from, where that is before `start`:
    /// several proxies are not scraped at the same moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Timestamp>,
    /// The canary's share of what stable and canary share, 0 to 1, as set during the window.
    pub share: f64,
    /// What the stable version did.
    pub stable: Counts,
    /// What the canary did.
    pub canary: Counts,
    /// Whether the versions' own proxies counted, to whom a copy of a request is one like any other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_callees: bool,
    /// The failures by their status, in order; those that reached no upstream have none.
    #[serde(default)]
    pub failed_with: Vec<OfStatus>,
    /// Answers of 400 to 499, which are no failures, by their status; `None` where statuses are not known.
    #[serde(default)]
    pub refused_with: Option<Vec<OfStatus>>,
    /// The requests by operation, without those that reached no upstream; empty where no label names one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<OfOperation>,
    /// Slow requests for each latency bound that was asked for; may be empty.
    #[serde(default)]
    pub slow: Vec<Slow>,
    /// Age of the youngest canary pod at the end of the window, if known; below the warm-up time the
    /// canary is given more room.
    #[serde(default)]
    pub canary_age: Option<SignedDuration>,
}

impl Window {
    /// Whether every request in the window is from `began` or later.
    pub fn lies_after(&self, began: Timestamp) -> bool {
        self.opened.unwrap_or(self.start) >= began
    }

    /// How long the window is.
    pub fn length(&self) -> SignedDuration {
        self.end.duration_since(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: u64, failures: u64) -> Counts {
        Counts { requests, failures }
    }

    #[test]
    fn what_came_on_top_is_the_difference_until_counting_begins_anew() {
        assert_eq!(counts(10, 3).since(counts(4, 1)), counts(6, 2));
        assert_eq!(counts(4, 1).since(counts(4, 1)), counts(0, 0));
        assert_eq!(counts(3, 2).since(counts(4, 1)), counts(3, 2));
        assert_eq!(counts(10, 0).since(counts(4, 1)), counts(6, 0));
    }

    #[test]
    fn nothing_has_no_rate() {
        assert_eq!(counts(0, 0).failure_rate(), None);
        assert_eq!(counts(4, 1).failure_rate(), Some(0.25));
    }

    #[test]
    fn a_window_lies_after_what_its_earliest_request_does() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let window = Window {
            start: at(10),
            end: at(15),
            opened: Some(at(8)),
            ..Window::default()
        };
        assert!(window.lies_after(at(8)));
        assert!(!window.lies_after(at(9)));
        assert_eq!(window.length(), SignedDuration::from_secs(5));
    }
}
