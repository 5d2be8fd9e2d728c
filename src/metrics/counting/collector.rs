//! Requests and slow requests together.
//!
//! Both are asked for at the same moment, so their windows are the same wherever the proxies report
//! durations along with requests. Requests lead: where durations do not answer, or not for a window,
//! its requests still count and its durations say nothing.
//!
//! Of a few series the raw samples are read, of many what the server adds up ([`MetricsReading`]).

use std::time::Duration;

use futures::future::{OptionFuture, join};
use jiff::Timestamp;

use super::quality::Observation;
use super::reading::{Method, MetricsReading};
use super::requests::Requests;
use super::slow_requests::SlowRequests;
use super::summed_counter::SummedCounter;
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
    /// Whether the same samples serve both.
    is_one_answer: bool,
}

/// What is counted of the answers.
#[derive(Debug)]
struct Counters {
    requests: AnyCounter<Requests>,
    slow: Option<AnyCounter<SlowRequests>>,
}

/// Counts from samples, or from what the server added up.
#[derive(Debug)]
enum AnyCounter<C> {
    Samples(Box<WindowCounter<C>>),
    Increases(Box<SummedCounter<C>>),
}

/// The answers to the queries of one moment.
#[derive(Debug)]
pub struct Answers {
    users: SideAnswer,
    /// Of mirrored requests, unless the same samples serve both.
    mirrored: Option<SideAnswer>,
}

#[derive(Debug)]
struct SideAnswer {
    requests: QueryResult,
    slow: Option<Result<QueryResult, MetricsError>>,
}

impl Answers {
    /// How many samples of requests there are.
    pub fn samples(&self) -> usize {
        let series = self.users.requests.series.iter();
        series.map(|series| series.samples.len()).sum()
    }

    /// Time of the oldest sample of requests.
    pub fn oldest(&self) -> Option<Timestamp> {
        let series = self.users.requests.series.iter();
        let firsts = series.filter_map(|series| series.samples.first());
        firsts.map(|(time, _)| *time).min()
    }

    /// Parts of one time as one.
    pub fn joined(parts: Vec<Self>) -> Option<Self> {
        let mut parts = parts.into_iter();
        let mut all = parts.next()?;
        for part in parts {
            all.users.requests.add(part.users.requests);
            if let (Some(Ok(slow)), Some(Ok(more))) = (&mut all.users.slow, part.users.slow) {
                slow.add(more);
            }
        }
        Some(all)
    }

    /// Whether requests may be missing.
    pub fn is_partial(&self) -> bool {
        self.users.requests.is_partial()
    }
}

impl Collector {
    /// Counts what happens after `since`, and what was slower than `bounds` (milliseconds); without bounds
    /// only requests.
    pub fn new(
        targets: Targets,
        since: Timestamp,
        bounds: Vec<f64>,
        reading: &MetricsReading,
    ) -> Self {
        Self {
            users: Counters::new(targets, since, bounds, (reading.users, reading)),
            mirrored: None,
            is_one_answer: true,
        }
    }

    /// The same for a rollout that mirrors requests: what becomes of the copies is counted as well.
    pub fn with_mirrored(
        targets: Targets,
        since: Timestamp,
        bounds: Vec<f64>,
        reading: &MetricsReading,
    ) -> Self {
        let callees = targets.clone().seen_by_callees();
        let mirrored = Counters::new(callees, since, bounds.clone(), (reading.mirrored, reading));
        let of_both_sides = Method::Samples(None);
        Self {
            mirrored: Some(mirrored),
            is_one_answer: (reading.users, reading.mirrored) == (of_both_sides, of_both_sides),
            ..Self::new(targets, since, bounds, reading)
        }
    }

    /// Asks for what has come since the last answers.
    ///
    /// # Errors
    /// If requests cannot be had; durations alone failing is no error.
    pub async fn ask(
        &self,
        source: &dyn MetricSource,
        now: Timestamp,
        within: Duration,
    ) -> Result<Answers, MetricsError> {
        let mirrored = self.mirrored.as_ref();
        let beside = mirrored.filter(|_| self.is_one_answer);
        let users = self.users.ask(beside, source, now, within);
        let apart = mirrored.filter(|_| !self.is_one_answer);
        let apart = OptionFuture::from(apart.map(|apart| apart.ask(None, source, now, within)));
        let (users, mirrored) = join(users, apart).await;
        Ok(Answers {
            users: users?,
            mirrored: mirrored.transpose()?,
        })
    }

    /// Asks for what the server adds up after `from` up to `to`, both of them moments of its grid.
    ///
    /// # Errors
    /// As [`Collector::ask`].
    pub async fn ask_between(
        &self,
        source: &dyn MetricSource,
        (from, to): (Timestamp, Timestamp),
        within: Duration,
    ) -> Result<Answers, MetricsError> {
        let requests = self.users.requests.queries_between(from, to, within);
        let slow = self.users.slow.as_ref();
        let slow = slow.map(|slow| ask_all(source, slow.queries_between(from, to, within)));
        let (requests, slow) = join(ask_all(source, requests), OptionFuture::from(slow)).await;
        Ok(Answers {
            users: SideAnswer {
                requests: requests?,
                slow,
            },
            mirrored: None,
        })
    }

    /// Takes the answers and gives the windows that became complete with them.
    ///
    /// `share_at` tells the canary's share of users' requests at a time, 0 to 1.
    pub fn take(&mut self, answers: &Answers, share_at: impl Fn(Timestamp) -> f64) -> Observation {
        self.users.take(&answers.users, share_at)
    }

    /// Takes the same answers as the versions' own proxies report them; nothing unless requests are mirrored.
    ///
    /// `share_at` tells the part of what both versions got that the copies are at a time, 0 to 1.
    pub fn take_mirrored(
        &mut self,
        answers: &Answers,
        share_at: impl Fn(Timestamp) -> f64,
    ) -> Vec<Window> {
        let answer = answers.mirrored.as_ref().unwrap_or(&answers.users);
        match &mut self.mirrored {
            Some(mirrored) => mirrored.take(answer, share_at).windows,
            None => Vec::new(),
        }
    }

    /// Whether any of the versions' own proxies has reported, as far as the answers so far tell.
    pub fn callees_report(&self) -> bool {
        let mirrored = self.mirrored.as_ref();
        mirrored.is_some_and(|mirrored| match &mirrored.requests {
            AnyCounter::Samples(counter) => counter.has_series(),
            AnyCounter::Increases(counter) => counter.has_series(),
        })
    }
}

impl Counters {
    fn new(
        targets: Targets,
        since: Timestamp,
        bounds: Vec<f64>,
        reading: (Method, &MetricsReading),
    ) -> Self {
        let has_durations = targets.counted().has_durations() && !bounds.is_empty();
        let slow = has_durations
            .then(|| AnyCounter::new(targets.clone(), since, SlowRequests::new(bounds), reading));
        Self {
            requests: AnyCounter::new(
                targets,
                since,
                Requests::of(reading.1.operations.clone()),
                reading,
            ),
            slow,
        }
    }

    /// Asks for requests and durations at the same time; `beside` are counters that read the same samples.
    async fn ask(
        &self,
        beside: Option<&Self>,
        source: &dyn MetricSource,
        now: Timestamp,
        within: Duration,
    ) -> Result<SideAnswer, MetricsError> {
        let requests = self
            .requests
            .queries(beside.map(|beside| &beside.requests), now, within);
        let of_slow = beside.and_then(|beside| beside.slow.as_ref());
        let slow = self
            .slow
            .as_ref()
            .map(|slow| slow.queries(of_slow, now, within));
        let slow_answer = OptionFuture::from(slow.map(|slow| ask_all(source, slow)));
        let (requests, slow) = join(ask_all(source, requests), slow_answer).await;
        Ok(SideAnswer {
            requests: requests?,
            slow,
        })
    }

    fn take(&mut self, answer: &SideAnswer, share_at: impl Fn(Timestamp) -> f64) -> Observation {
        let Counted {
            mut windows,
            mut quality,
        } = self.requests.take(&answer.requests, None, &share_at);
        let until = self.requests.complete_until();
        match (&mut self.slow, &answer.slow) {
            (Some(counter), Some(Ok(durations))) => {
                if durations.series.is_empty() && !answer.requests.series.is_empty() {
                    let why = "there is no istio_request_duration_milliseconds_bucket".to_owned();
                    quality.warnings.push(MetricsWarning::NoDurations { why });
                }
                let slow = counter.take(durations, until, &share_at).windows;
                for window in &mut windows {
                    let same = slow
                        .iter()
                        .find(|slow| slow.start == window.start && slow.end == window.end);
                    window.slow = same.map(|same| same.slow.clone()).unwrap_or_default();
                }
            }
            (Some(counter), Some(Err(error))) => {
                counter.give_up(until);
                quality
                    .warnings
                    .push(MetricsWarning::NoDurations { why: error.what() });
            }
            (Some(_) | None, _) => {}
        }
        Observation {
            windows,
            mirrored: Vec::new(),
            quality,
        }
    }
}

impl<C: Classifier> AnyCounter<C> {
    fn new(
        targets: Targets,
        since: Timestamp,
        classifier: C,
        (method, reading): (Method, &MetricsReading),
    ) -> Self {
        match method {
            Method::Samples(side) => {
                let counter = WindowCounter::new(targets.of_side(side), since, classifier);
                Self::Samples(Box::new(counter))
            }
            Method::Increases(grid) => {
                let of = (grid, reading.mixed.clone());
                Self::Increases(Box::new(SummedCounter::new(targets, since, of, classifier)))
            }
        }
    }

    /// What to ask, one after the other; of samples one query that reaches back far enough for both counters.
    fn queries(&self, beside: Option<&Self>, now: Timestamp, within: Duration) -> Vec<Query> {
        match self {
            Self::Samples(counter) => {
                let own = counter.range(now);
                let range = match beside {
                    Some(Self::Samples(beside)) => own.max(beside.range(now)),
                    Some(Self::Increases(_)) | None => own,
                };
                vec![Query {
                    text: counter.query(range),
                    at: now,
                    within,
                }]
            }
            Self::Increases(counter) => counter.queries(now, within),
        }
    }

    fn queries_between(&self, from: Timestamp, to: Timestamp, within: Duration) -> Vec<Query> {
        match self {
            Self::Samples(_) => Vec::new(),
            Self::Increases(counter) => counter.between(from, to, within),
        }
    }

    fn take(
        &mut self,
        answer: &QueryResult,
        until: Option<Timestamp>,
        share_at: impl Fn(Timestamp) -> f64,
    ) -> Counted<C::Window> {
        match self {
            Self::Samples(counter) => counter.take(answer, share_at),
            Self::Increases(counter) => counter.take(answer, until, share_at),
        }
    }

    /// Up to where increases are counted; durations are then known as far.
    fn complete_until(&self) -> Option<Timestamp> {
        match self {
            Self::Samples(_) => None,
            Self::Increases(counter) => Some(counter.watermark()),
        }
    }

    fn give_up(&mut self, until: Option<Timestamp>) {
        if let (Self::Increases(counter), Some(until)) = (self, until) {
            counter.skip_to(until);
        }
    }
}

/// The answers to several queries as one, asked one after the other to spare the server.
async fn ask_all(
    source: &dyn MetricSource,
    queries: Vec<Query>,
) -> Result<QueryResult, MetricsError> {
    let mut all = QueryResult {
        series: Vec::new(),
        warnings: Vec::new(),
    };
    for query in queries {
        all.add(source.ask(&query).await?);
    }
    Ok(all)
}
