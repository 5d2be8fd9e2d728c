//! Requests and slow requests together.
//!
//! Both are asked for at the same moment, so their windows are the same wherever the proxies report
//! durations along with requests. Requests lead: where durations do not answer, or not for a window,
//! its requests still count and its durations say nothing.

use std::time::Duration;

use futures::future::{OptionFuture, join};
use jiff::Timestamp;

use super::quality::Observation;
use super::requests::Requests;
use super::slow_requests::SlowRequests;
use super::versions::Targets;
use super::warning::MetricsWarning;
use super::window_counter::{Classifier, Counted, WindowCounter};
use crate::metrics::source::{MetricSource, MetricsError, Query, QueryResult};
use crate::verdict::Window;

/// The bounds of Istio's histogram of durations, in milliseconds, up to the longest that callers wait for.
pub const USUAL_BOUNDS: [f64; 14] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0,
    30_000.0,
];

/// What both versions did, from a moment on.
#[derive(Debug)]
pub struct Collector {
    users: Counters,
    /// The same answers as the versions' own proxies report them, mirrored requests included.
    mirrored: Option<Counters>,
}

/// What is counted of the answers.
#[derive(Debug)]
struct Counters {
    requests: WindowCounter<Requests>,
    slow: Option<WindowCounter<SlowRequests>>,
}

/// The answers to the queries of one moment.
#[derive(Debug)]
pub struct Answers {
    requests: QueryResult,
    slow: Option<Result<QueryResult, MetricsError>>,
}

impl Answers {
    /// How many samples of requests there are.
    pub fn samples(&self) -> usize {
        let series = self.requests.series.iter();
        series.map(|series| series.samples.len()).sum()
    }

    /// Time of the oldest sample of requests.
    pub fn oldest(&self) -> Option<Timestamp> {
        let series = self.requests.series.iter();
        let firsts = series.filter_map(|series| series.samples.first());
        firsts.map(|(time, _)| *time).min()
    }

    /// Whether requests may be missing.
    pub fn is_partial(&self) -> bool {
        self.requests.is_partial()
    }
}

impl Collector {
    /// Counts what happens after `since`, and what was slower than `bounds` (milliseconds); without bounds
    /// only requests.
    pub fn new(targets: Targets, since: Timestamp, bounds: Vec<f64>) -> Self {
        Self {
            users: Counters::new(targets, since, bounds),
            mirrored: None,
        }
    }

    /// The same for a rollout that mirrors requests: what becomes of the copies is counted as well, from
    /// the same answers.
    pub fn with_mirrored(targets: Targets, since: Timestamp, bounds: Vec<f64>) -> Self {
        let mirrored = Counters::new(targets.clone().seen_by_callees(), since, bounds.clone());
        Self {
            mirrored: Some(mirrored),
            ..Self::new(targets, since, bounds)
        }
    }

    /// Asks for what has come since the last answers: one query, or two at the same time.
    ///
    /// # Errors
    /// If requests cannot be had; durations alone failing is no error.
    pub async fn ask(
        &self,
        source: &dyn MetricSource,
        now: Timestamp,
        within: Duration,
    ) -> Result<Answers, MetricsError> {
        let (users, mirrored) = (&self.users, self.mirrored.as_ref());
        let mirrored_requests = mirrored.map(|mirrored| &mirrored.requests);
        let mirrored_slow = mirrored.and_then(|mirrored| mirrored.slow.as_ref());
        let requests = query(&users.requests, mirrored_requests, now, within);
        let slow = users.slow.as_ref();
        let slow = slow.map(|slow| query(slow, mirrored_slow, now, within));
        let slow_answer = OptionFuture::from(slow.as_ref().map(|slow| source.ask(slow)));
        let (requests, slow) = join(source.ask(&requests), slow_answer).await;
        Ok(Answers {
            requests: requests?,
            slow,
        })
    }

    /// Takes the answers and gives the windows that became complete with them.
    ///
    /// `share_at` tells the canary's share of users' requests at a time, 0 to 1.
    pub fn take(&mut self, answers: &Answers, share_at: impl Fn(Timestamp) -> f64) -> Observation {
        self.users.take(answers, share_at)
    }

    /// Takes the same answers as the versions' own proxies report them; nothing unless requests are mirrored.
    ///
    /// `share_at` tells the part of what both versions got that the copies are at a time, 0 to 1.
    pub fn take_mirrored(
        &mut self,
        answers: &Answers,
        share_at: impl Fn(Timestamp) -> f64,
    ) -> Vec<Window> {
        match &mut self.mirrored {
            Some(mirrored) => mirrored.take(answers, share_at).windows,
            None => Vec::new(),
        }
    }

    /// Whether any of the versions' own proxies has reported, as far as the answers so far tell.
    pub fn callees_report(&self) -> bool {
        let mirrored = self.mirrored.as_ref();
        mirrored.is_some_and(|mirrored| mirrored.requests.has_series())
    }
}

impl Counters {
    fn new(targets: Targets, since: Timestamp, bounds: Vec<f64>) -> Self {
        let has_durations = targets.counted().has_durations() && !bounds.is_empty();
        let slow = has_durations
            .then(|| WindowCounter::new(targets.clone(), since, SlowRequests::new(bounds)));
        Self {
            requests: WindowCounter::new(targets, since, Requests::default()),
            slow,
        }
    }

    fn take(&mut self, answers: &Answers, share_at: impl Fn(Timestamp) -> f64) -> Observation {
        let Counted {
            mut windows,
            mut quality,
        } = self.requests.take(&answers.requests, &share_at);
        match (&mut self.slow, &answers.slow) {
            (Some(counter), Some(Ok(answer))) => {
                let slow = counter.take(answer, &share_at).windows;
                for window in &mut windows {
                    let same = slow
                        .iter()
                        .find(|slow| slow.start == window.start && slow.end == window.end);
                    window.slow = same.map(|same| same.slow.clone()).unwrap_or_default();
                }
            }
            (Some(_), Some(Err(error))) => quality
                .warnings
                .push(MetricsWarning::NoDurations { why: error.what() }),
            (Some(_) | None, _) => {}
        }
        Observation {
            windows,
            mirrored: Vec::new(),
            quality,
        }
    }
}

/// One query that reaches back far enough for both counters, which read the same series.
fn query<C: Classifier>(
    users: &WindowCounter<C>,
    mirrored: Option<&WindowCounter<C>>,
    now: Timestamp,
    within: Duration,
) -> Query {
    let own = users.range(now);
    let range = mirrored.map_or(own, |mirrored| own.max(mirrored.range(now)));
    Query {
        text: users.query(range),
        at: now,
        within,
    }
}
