//! A Prometheus-compatible backend, and what it is asked.

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::error::MetricsError;
use super::query_result::QueryResult;

/// One instant query. What it means must not depend on when it arrives, so it names its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// PromQL.
    pub text: String,
    /// The time it is evaluated at.
    pub at: Timestamp,
    /// How long the answer may take, from the first byte sent to the last byte read.
    pub within: Duration,
}

/// Answers instant queries: Prometheus itself, a proxy in front of it, or a simulated one.
pub trait MetricSource: Send + Sync {
    /// Asks one query.
    ///
    /// # Errors
    /// Every way of not answering has a name in [`MetricsError`]; none takes longer than `query.within`.
    fn ask<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<QueryResult, MetricsError>>;

    /// Its address, as messages show it.
    fn name(&self) -> String;
}

impl Query {
    /// The evaluation time as Prometheus reads it: seconds, with the fraction whole seconds would lose.
    pub(crate) fn time(&self) -> String {
        let milliseconds = self.at.as_millisecond();
        format!(
            "{}.{:03}",
            milliseconds.div_euclid(1000),
            milliseconds.rem_euclid(1000)
        )
    }

    /// What Prometheus is told to spend at most, so that it stops working once the client has given up.
    pub(crate) fn timeout(&self) -> String {
        format!("{}ms", self.within.as_millis().max(1))
    }

    /// Name and value of every parameter.
    pub(crate) fn parameters(&self) -> [(&'static str, String); 3] {
        [
            ("query", self.text.clone()),
            ("time", self.time()),
            ("timeout", self.timeout()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_query_keeps_its_fraction() {
        let query = Query {
            text: "x[1m]".into(),
            at: Timestamp::from_millisecond(1_700_000_000_250).unwrap(),
            within: Duration::from_secs(5),
        };
        assert_eq!(query.time(), "1700000000.250");
        assert_eq!(query.timeout(), "5000ms");
    }
}
