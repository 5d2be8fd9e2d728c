//! Both counters as one: requests, and how many of them were slow.
//!
//! The two are asked at the same moment, so their windows are the same wherever the proxies report
//! durations along with requests. Requests lead: where durations do not answer, or not for a window,
//! its requests still count and its durations say nothing.

use std::time::Duration;

use futures::future;
use jiff::{SignedDuration, Timestamp};

use super::quality::Observation;
use super::requests::Requests;
use super::slow_requests::SlowRequests;
use super::versions::Targets;
use super::warning::MetricsWarning;
use super::window_counter::{Counted, WindowCounter};
use crate::metrics::source::{MetricSource, MetricsError, Query, QueryResult};
use crate::verdict::Window;

/// The bounds of Istio's histogram of durations, in milliseconds, beyond which nobody waits.
pub const USUAL_BOUNDS: [f64; 14] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0,
    30_000.0,
];

/// What both versions did, from a moment on.
#[derive(Debug)]
pub struct Collector {
    requests: WindowCounter<Requests>,
    slow: Option<WindowCounter<SlowRequests>>,
    /// The same answers, read as the versions' own proxies saw it.
    shadow: Option<Box<Self>>,
}

/// The answers of one look.
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
    /// Books that count what happens after `since`, and what was slower than `bounds` (milliseconds);
    /// without bounds only requests.
    pub fn new(targets: Targets, since: Timestamp, bounds: Vec<f64>) -> Self {
        let has_durations = targets.counted().has_durations() && !bounds.is_empty();
        let slow = has_durations
            .then(|| WindowCounter::new(targets.clone(), since, SlowRequests::new(bounds)));
        Self {
            requests: WindowCounter::new(targets, since, Requests::default()),
            slow,
            shadow: None,
        }
    }

    /// The same for a rollout that mirrors requests: what becomes of the copies is counted as well, from
    /// the same answers.
    pub fn with_shadows(targets: Targets, since: Timestamp, bounds: Vec<f64>) -> Self {
        let shadow = Self::new(targets.clone().seen_by_callees(), since, bounds.clone());
        Self {
            shadow: Some(Box::new(shadow)),
            ..Self::new(targets, since, bounds)
        }
    }

    /// How far the question at `now` reaches back.
    pub fn range(&self, now: Timestamp) -> SignedDuration {
        let own = self.requests.range(now);
        self.shadow
            .as_ref()
            .map_or(own, |shadow| own.max(shadow.range(now)))
    }

    /// How far the question about durations at `now` reaches back.
    fn range_of_durations(&self, now: Timestamp) -> Option<SignedDuration> {
        let own = self.slow.as_ref()?.range(now);
        let shadow = self.shadow.as_ref();
        let shadow = shadow.and_then(|shadow| shadow.range_of_durations(now));
        Some(shadow.map_or(own, |shadow| own.max(shadow)))
    }

    /// Asks for what has come since the last look: one query, or two at the same time.
    ///
    /// # Errors
    /// If requests cannot be had; durations alone failing is no error.
    pub async fn ask(
        &self,
        source: &dyn MetricSource,
        now: Timestamp,
        within: Duration,
    ) -> Result<Answers, MetricsError> {
        let query = |text| Query {
            text,
            at: now,
            within,
        };
        let requests = query(self.requests.query(self.range(now)));
        let (Some(slow), Some(range)) = (&self.slow, self.range_of_durations(now)) else {
            let requests = source.ask(&requests).await?;
            return Ok(Answers {
                requests,
                slow: None,
            });
        };
        let slow = query(slow.query(range));
        let (requests, slow) = future::join(source.ask(&requests), source.ask(&slow)).await;
        Ok(Answers {
            requests: requests?,
            slow: Some(slow),
        })
    }

    /// Takes the answers and gives the windows that became complete with them.
    pub fn take(&mut self, answers: &Answers, share_at: impl Fn(Timestamp) -> f64) -> Observation {
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
            (Some(_), Some(Err(error))) => quality.warnings.push(MetricsWarning::NoDurations {
                why: error.to_string(),
            }),
            _ => {}
        }
        Observation {
            windows,
            shadows: Vec::new(),
            quality,
        }
    }

    /// Takes the same answers as the versions' own proxies saw it; nothing unless requests are mirrored.
    ///
    /// `share_at` tells the part of what both versions got that the copies are at a time.
    pub fn take_shadows(
        &mut self,
        answers: &Answers,
        share_at: impl Fn(Timestamp) -> f64,
    ) -> Vec<Window> {
        match &mut self.shadow {
            Some(shadow) => shadow.take(answers, share_at).windows,
            None => Vec::new(),
        }
    }

    /// Whether any of the versions' own proxies has reported, as far as the answers so far tell.
    pub fn callees_report(&self) -> bool {
        let shadow = self.shadow.as_ref();
        shadow.is_some_and(|shadow| shadow.requests.has_series())
    }
}
