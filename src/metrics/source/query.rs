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

    /// How much of each version its answers are of.
    fn coverage(&self) -> Coverage {
        Coverage::default()
    }
}

/// Which part of the requests of each version is seen, each above 0 and up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    /// Of stable.
    pub stable: f64,
    /// Of the canary.
    pub canary: f64,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            stable: 1.0,
            canary: 1.0,
        }
    }
}

impl Coverage {
    /// The canary's share of what is seen, where it has `share` of all requests, 0 to 1.
    pub fn share(self, share: f64) -> f64 {
        let (canary, stable) = (share * self.canary, (1.0 - share) * self.stable);
        match canary + stable {
            all if all > 0.0 => canary / all,
            _ => share,
        }
    }
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
    fn the_share_of_a_sample_is_what_is_to_be_expected_in_it() {
        let whole = Coverage::default();
        let part = Coverage {
            stable: 0.2,
            ..whole
        };
        assert_eq!(
            [0.0, 0.1, 1.0].map(|share| whole.share(share)),
            [0.0, 0.1, 1.0]
        );
        assert_eq!([0.0, 1.0].map(|share| part.share(share)), [0.0, 1.0]);
        assert!((part.share(0.1) - 0.1 / (0.1 + 0.18)).abs() < 1e-9);
    }

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
