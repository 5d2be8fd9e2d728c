//! What can be wrong with Prometheus.

use std::time::Duration;

/// One thing that is wrong with Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub enum PrometheusFault {
    /// Nothing listens: the connection is refused, or the API server's proxy finds no endpoint.
    Down,
    /// It answers, but with this HTTP status and no JSON.
    Answer {
        /// The HTTP status.
        code: u16,
    },
    /// It has been asked too often (429), and wants to be left alone for so many seconds.
    Limited {
        /// What `Retry-After` says.
        retry_after: u32,
    },
    /// It answers that there is nothing.
    Empty,
    /// Every value is NaN.
    NotANumber,
    /// It gives the query up: HTTP 422, `execution`.
    ExecutionError,
    /// It answers with a warning and half of the series, as Thanos does for a partial response.
    Partial,
    /// The answer breaks off in the middle of its JSON.
    Malformed,
    /// The answer takes this long.
    Slow(Duration),
    /// The answer never comes.
    Hang,
    /// The series with this label are missing.
    Missing {
        /// The label's name.
        label: String,
        /// The label's value.
        value: String,
    },
    /// The label was removed, or has this value everywhere; series that become one are summed, as Istio's
    /// proxies do it.
    Relabelled {
        /// The label's name.
        label: String,
        /// Its value; `None` where it was removed.
        value: Option<String>,
    },
    /// Response codes are grouped as `2xx` and so on.
    Grouped,
    /// Every series is there once for each value of this label: stores without deduplication.
    Copied {
        /// The label's name.
        label: String,
        /// Its values.
        values: Vec<String>,
    },
    /// The series with this label are late by one scrape.
    Late {
        /// The label's name.
        label: String,
        /// The label's value.
        value: String,
    },
}
