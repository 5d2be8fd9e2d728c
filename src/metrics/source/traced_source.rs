//! Queries as `--verbose` shows them.

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::error::MetricsError;
use super::query::{Coverage, MetricSource, Query};
use super::query_result::QueryResult;

/// Takes a line for whoever wants to see what is asked.
pub(crate) type Tell = Arc<dyn Fn(String) + Send + Sync>;

/// Tells of each query that another source answers.
pub(crate) struct TracedSource {
    source: Box<dyn MetricSource>,
    tell: Tell,
}

impl TracedSource {
    /// Tells of what `source` is asked.
    pub(crate) fn new(source: Box<dyn MetricSource>, tell: Tell) -> Self {
        Self { source, tell }
    }
}

impl MetricSource for TracedSource {
    fn ask<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<QueryResult, MetricsError>> {
        async move {
            let begun = Instant::now();
            let answer = self.source.ask(query).await;
            let took = begun.elapsed().as_millis();
            // The query comes last: it is long.
            let how = match &answer {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            let (time, text) = (query.time(), &query.text);
            (self.tell)(format!("query: {how} in {took} ms at {time}: {text}"));
            answer
        }
        .boxed()
    }

    fn name(&self) -> String {
        self.source.name()
    }

    fn coverage(&self) -> Coverage {
        self.source.coverage()
    }
}
