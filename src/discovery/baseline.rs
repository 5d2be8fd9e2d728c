//! What the stable version did before a rollout, read back as far as it takes.
//!
//! The newest half hour first, then as much again, and so on until enough failures were seen. Every
//! question is bounded by what the ones before it showed, and all of them together by time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::context::Context;
use crate::error::CommandError;
use crate::metrics::{
    Answers, Collector, Flaw, MetricSource, MetricsError, MetricsReading, MetricsWarning,
    Observation, Targets, USUAL_BOUNDS,
};
use crate::plan::{AnalysisKind, HumanDuration, Plan};
use crate::rollout::Rollout;
use crate::verdict::sequential::{BaselineReach, BaselineRecord, History, Traffic};
use crate::verdict::{Counts, Window};

/// A scrape is stored a little after the moment it is dated, so the newest one may be missing from the
/// past that a start sees and be there for a replay. Before this it has settled.
const SETTLED: SignedDuration = SignedDuration::from_millis(500);
/// How many scrapes of durations are looked at.
const SCRAPES_OF_DURATIONS: i32 = 120;
/// The most samples to read: some ten megabytes of answers.
const MOST_SAMPLES: usize = 400_000;
/// How far ahead of ours the clock of Prometheus is looked for.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// How long Prometheus may take for an answer at least: before a rollout there is time.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest that it may take for all that lies further back than the least: without it one is only
/// a little less certain.
const FURTHER: Duration = Duration::from_secs(5);
/// Where the server adds up it shall not take longer for one question.
const ONE_QUESTION: Duration = Duration::from_millis(500);
/// And has at most this many moments in one.
const MOST_MOMENTS: u32 = 20;

/// What the stable version did before the rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// Its rate and noise, for the sequential analysis.
    pub history: History,
    /// Requests per second and failure rate, for a forecast.
    pub traffic: Option<Traffic>,
    /// How often it was scraped.
    pub scrape: Option<HumanDuration>,
    /// How many series there were.
    pub series: usize,
    /// How far back that is.
    pub depth: HumanDuration,
    /// How much of that the metrics have.
    pub covers: SignedDuration,
    /// What limits what the durations show, where they were read.
    pub warnings: Vec<MetricsWarning>,
    /// How the metrics are read.
    pub reading: MetricsReading,
}

impl Baseline {
    /// Completes it by what an earlier rollout knew of the service, if that tells more; and says what a later one
    /// is to know after `rollout`.
    pub fn complete(
        &mut self,
        record: Option<&BaselineRecord>,
        rollout: &Rollout,
    ) -> Option<BaselineRecord> {
        let reach = BaselineReach {
            covers: self.covers,
            scrape: self.scrape.map(HumanDuration::signed),
        };
        let tells_more = |record: &&BaselineRecord| {
            record.suits(reach) && !record.is_outdone_by(&self.history, reach)
        };
        match record.filter(tells_more) {
            Some(record) => {
                record.complete(&mut self.history);
                Some(record.clone())
            }
            None => {
                let host = rollout.stable.host.to_string();
                BaselineRecord::of(&self.history, reach, &host, rollout.began)
            }
        }
    }
}

/// How far a past is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Lookback {
    /// As [`History`] wants it.
    AsNeeded,
    /// As another command read it before.
    Exactly(SignedDuration),
}

impl Lookback {
    /// As it was for a rollout that is under way. One that does not say is of a version that always
    /// looked at the least.
    pub fn of(past: Option<HumanDuration>) -> Self {
        Self::Exactly(past.map_or(History::SHORTEST, HumanDuration::signed))
    }
}

/// The time before a moment, in which the weights were the same since another.
#[derive(Clone, Copy, Debug)]
pub struct PastTime {
    /// Its end.
    pub until: Timestamp,
    /// Since when the weights are at rest.
    pub rest: Timestamp,
    /// How far back it reaches.
    pub depth: Lookback,
}

impl PastTime {
    /// The time before `until`, whatever the weights were.
    pub fn before(until: Timestamp) -> Self {
        Self {
            until,
            rest: Timestamp::MIN,
            depth: Lookback::AsNeeded,
        }
    }

    /// The time before a rollout began, as it was looked at when it did.
    pub fn of(rollout: &Rollout) -> Self {
        Self {
            rest: rollout.at_rest_since.unwrap_or(Timestamp::MIN),
            depth: Lookback::of(rollout.lookback),
            ..Self::before(rollout.began)
        }
    }
}

/// Reads the past. The same moment and depth always yield the same past, so that a run
/// that is resumed starts from what the first one knew.
///
/// Durations have fourteen buckets for each series of requests, so they are only looked at as far
/// back as is needed to choose among them.
///
/// # Errors
/// If the metrics do not answer. Where they do for the newest part, that is the past.
pub async fn before(
    metrics: &dyn MetricSource,
    targets: &Targets,
    past: PastTime,
    plan: &Plan,
) -> Result<Baseline, MetricsError> {
    let until = past.until - SETTLED;
    let within = patience(plan);
    let mut reading = Box::pin(MetricsReading::choose(
        metrics,
        targets,
        until,
        plan.mirrors(),
        within,
    ))
    .await?;
    if plan.judgement.analysis == AnalysisKind::Sequential {
        reading = Box::pin(reading.with_operations(metrics, targets, until, within)).await;
    }
    let reader = Reader {
        metrics,
        within,
        targets,
        until,
        reading: &reading,
    };
    let (requests, depth) = reader.requests(past.depth).await?;
    let mut history = History::from_windows_since(&requests.windows, past.rest);
    let scrape = requests.quality.scrape_interval;
    let mut warnings = Vec::new();
    let durations = plan.weighs_durations();
    let has_durations =
        plan.judgement.analysis == AnalysisKind::Sequential && targets.counted().has_durations();
    if let Some(scrape) = scrape.filter(|_| has_durations) {
        let back = (scrape * SCRAPES_OF_DURATIONS).min(History::SHORTEST);
        let seen = match reader.durations(back).await {
            Ok(seen) => Some(seen),
            Err(error) if durations => return Err(error),
            Err(_) => None,
        };
        if let Some((of_durations, seen)) = seen {
            // How long requests take matters also where it is not judged: they are counted when they end.
            history.longest = of_durations.longest;
            if durations {
                history.slow = of_durations.slow;
                warnings = seen;
            }
        }
    }
    Ok(Baseline {
        traffic: reader.traffic(&requests.windows, &history),
        history,
        scrape: scrape.map(HumanDuration::from),
        series: requests.quality.series,
        depth: depth.into(),
        covers: covered(&requests.windows),
        warnings,
        reading,
    })
}

/// How long one answer about the past may take.
fn patience(plan: &Plan) -> Duration {
    DEADLINE.max(plan.query_timeout.unsigned())
}

/// The past of a rollout, as far as the metrics still have it, and how they are read.
pub async fn past_of(
    context: &Context<'_>,
    rollout: &Rollout,
    targets: &Targets,
    past: PastTime,
) -> Result<(History, MetricsReading), CommandError> {
    let plan = &rollout.plan;
    let metrics = context.metrics_of(rollout)?;
    let metrics = metrics.as_ref();
    // Without an answer nothing is known, and the analysis is the more careful for it.
    if plan.judgement.analysis == AnalysisKind::Threshold {
        let until = past.until - SETTLED;
        let within = patience(plan);
        let reading = MetricsReading::choose(metrics, targets, until, plan.mirrors(), within).await;
        return Ok((History::unknown(), reading.unwrap_or_default()));
    }
    let record = rollout.baseline.as_ref();
    Ok(match before(metrics, targets, past, plan).await {
        Ok(mut before) => {
            before.complete(record, rollout);
            (before.history, before.reading)
        }
        Err(_) => (BaselineRecord::alone(record), MetricsReading::default()),
    })
}

/// What the metrics have of late.
#[derive(Clone, Debug)]
pub struct Freshness {
    /// The newest sample there is, by Prometheus' clock, which may be ahead of the one here.
    pub newest: Option<Timestamp>,
    /// Whether the versions' own proxies report.
    pub callees_report: bool,
    /// What keeps them from being used.
    pub flaw: Option<Flaw>,
    /// What limits what they show.
    pub warnings: Vec<MetricsWarning>,
}

/// What the metrics have of late.
///
/// # Errors
/// If the metrics do not answer.
pub async fn recent(
    metrics: &dyn MetricSource,
    targets: &Targets,
    now: Timestamp,
) -> Result<Freshness, MetricsError> {
    let reading = Box::pin(MetricsReading::choose(
        metrics, targets, now, false, DEADLINE,
    ))
    .await?;
    // Asked as of our now, a Prometheus whose clock is ahead would leave out its newest samples.
    let ahead = now + AHEAD;
    if let Some((step, _)) = reading.added_up() {
        let mut newest = None;
        for to in [reading.last_moment(ahead), reading.last_moment(now)] {
            let from = to - step;
            let mut collector = Collector::new(targets.clone(), from, Vec::new(), &reading);
            let answers = collector.ask_between(metrics, (from, to), DEADLINE).await?;
            let seen = of_the_past(&mut collector, &answers);
            let is_there = seen.quality.newest.overall.is_some();
            newest = Some(seen);
            if is_there {
                break;
            }
        }
        let seen = newest.expect("it was asked");
        return Ok(Freshness::of(seen, reading.callees_report()));
    }
    if !reading.is_of_all_samples() {
        let mut collector = Collector::new(targets.clone(), now, Vec::new(), &reading);
        let answers = collector.ask(metrics, ahead, DEADLINE).await?;
        let seen = of_the_past(&mut collector, &answers);
        return Ok(Freshness::of(seen, reading.callees_report()));
    }
    let mut collector = Collector::with_mirrored(targets.clone(), now, Vec::new(), &reading);
    let answers = collector.ask(metrics, ahead, DEADLINE).await?;
    let seen = of_the_past(&mut collector, &answers);
    collector.take_mirrored(&answers, |_| 0.0);
    Ok(Freshness::of(seen, collector.callees_report()))
}

impl Freshness {
    fn of(seen: Observation, callees_report: bool) -> Self {
        Self {
            newest: seen.quality.newest.overall,
            callees_report,
            flaw: seen.quality.flaw,
            warnings: seen.quality.warnings,
        }
    }
}

/// Whatever share the canary had meanwhile: the past is of the stable version alone.
fn of_the_past(collector: &mut Collector, answers: &Answers) -> Observation {
    collector.take(answers, |_| 0.0)
}

struct Reader<'a> {
    metrics: &'a dyn MetricSource,
    /// How long one answer may take.
    within: Duration,
    targets: &'a Targets,
    until: Timestamp,
    reading: &'a MetricsReading,
}

impl Reader<'_> {
    /// Books of what happened since so long before the end.
    fn collector(&self, back: SignedDuration, bounds: Vec<f64>) -> Collector {
        Collector::new(
            self.targets.clone(),
            self.until - back,
            bounds,
            self.reading,
        )
    }

    /// What is in the books until the end.
    async fn ask(&self, collector: &Collector) -> Result<Answers, MetricsError> {
        collector.ask(self.metrics, self.until, self.within).await
    }

    /// Requests and failures, and how far back they were read.
    async fn requests(
        &self,
        query: Lookback,
    ) -> Result<(Observation, SignedDuration), MetricsError> {
        if let Some((step, _)) = self.reading.added_up() {
            return self.increases(query, step, Vec::new()).await;
        }
        let mut depth = match query {
            Lookback::AsNeeded => History::SHORTEST,
            Lookback::Exactly(depth) => depth.min(History::SHORTEST),
        };
        let mut collector = self.collector(depth, Vec::new());
        let newest = self.ask(&collector).await?;
        let seen = of_the_past(&mut collector, &newest);
        let limit = match (query, seen.quality.scrape_interval) {
            (Lookback::Exactly(depth), _) => depth,
            (Lookback::AsNeeded, Some(scrape)) => deepest(scrape),
            // Who was not scraped twice in half an hour has no past.
            (Lookback::AsNeeded, None) => depth,
        };
        let mut failures = failures(&seen);
        let mut samples = newest.samples();
        let mut reaches = self.reaches(&newest, depth);
        let mut parts = vec![newest];
        let deadline = Instant::now() + FURTHER;
        while depth < limit && reaches {
            let next = (depth * 2).min(limit);
            if let Lookback::AsNeeded = query {
                let expected = samples as f64 * next.div_duration_f64(depth);
                if failures >= History::ENOUGH || expected > MOST_SAMPLES as f64 {
                    break;
                }
            }
            let mut collector = self.collector(next, Vec::new());
            // What there is has to do where no more can be had.
            let left = deadline.saturating_duration_since(Instant::now());
            let asked = collector.ask(self.metrics, self.until - depth, left);
            let Ok(part) = asked.await else {
                break;
            };
            if part.is_partial() {
                break;
            }
            depth = next;
            failures += self::failures(&of_the_past(&mut collector, &part));
            samples += part.samples();
            reaches = self.reaches(&part, depth);
            parts.push(part);
        }
        if parts.len() == 1 {
            return Ok((seen, depth));
        }
        Ok((self.joined(depth, &parts), depth))
    }

    /// Whether there are samples from before `back`, as every answer brings them where there are any: else
    /// there is no more of a past.
    fn reaches(&self, part: &Answers, back: SignedDuration) -> bool {
        let oldest = part.oldest();
        oldest.is_some_and(|oldest| oldest <= self.until - back)
    }

    /// Parts of the past, newest first, as one.
    fn joined(&self, depth: SignedDuration, parts: &[Answers]) -> Observation {
        let mut collector = self.collector(depth, Vec::new());
        let mut windows = Vec::new();
        let mut quality = None;
        for part in parts.iter().rev() {
            let seen = of_the_past(&mut collector, part);
            windows.extend(seen.windows);
            // The newest tells how good the metrics are.
            quality = Some(seen.quality);
        }
        Observation {
            windows,
            mirrored: Vec::new(),
            quality: quality.expect("there is a newest part"),
        }
    }

    /// What durations were like, and what limits what they show.
    async fn durations(
        &self,
        back: SignedDuration,
    ) -> Result<(History, Vec<MetricsWarning>), MetricsError> {
        let bounds = USUAL_BOUNDS.to_vec();
        if let Some((step, _)) = self.reading.added_up() {
            // One window tells which bounds matter, and only these are looked at further.
            let (seen, _) = self
                .increases(Lookback::Exactly(step), step, bounds)
                .await?;
            let history = History::from_windows(&seen.windows);
            let chosen: Vec<f64> = history.slow.iter().map(|(bound, _)| *bound).collect();
            if chosen.is_empty() {
                return Ok((history, seen.quality.warnings));
            }
            let (seen, _) = self.increases(Lookback::AsNeeded, step, chosen).await?;
            let slow = History::from_windows(&seen.windows).slow;
            return Ok((History { slow, ..history }, seen.quality.warnings));
        }
        let mut collector = self.collector(back, bounds);
        let answers = self.ask(&collector).await?;
        let seen = of_the_past(&mut collector, &answers);
        Ok((History::from_windows(&seen.windows), seen.quality.warnings))
    }

    /// What the server adds up, the newest first, for as long as it may take.
    async fn increases(
        &self,
        lookback: Lookback,
        step: SignedDuration,
        bounds: Vec<f64>,
    ) -> Result<(Observation, SignedDuration), MetricsError> {
        let end = self.reading.last_moment(self.until);
        let limit = match lookback {
            Lookback::AsNeeded => end - History::SHORTEST,
            Lookback::Exactly(depth) => (end - step).min(self.until - depth),
        };
        let collector = Collector::new(self.targets.clone(), limit, bounds.clone(), self.reading);
        let (mut parts, mut from, mut moments) = (Vec::new(), end, 1);
        let began = Instant::now();
        while from - step >= limit {
            let asked = Instant::now();
            let to = from;
            let left = to.duration_since(limit).as_secs() / step.as_secs();
            let taken = i64::from(moments).min(left);
            from = to - SignedDuration::from_secs(step.as_secs() * taken);
            match collector
                .ask_between(self.metrics, (from, to), self.within)
                .await
            {
                Ok(part) if parts.is_empty() || part.samples() > 0 && !part.is_partial() => {
                    parts.push(part);
                }
                Err(error) if parts.is_empty() => return Err(error),
                Ok(_) | Err(_) => {
                    from = to;
                    break;
                }
            }
            if matches!(lookback, Lookback::AsNeeded) && began.elapsed() >= FURTHER {
                break;
            }
            let each = asked.elapsed() / u32::try_from(taken).unwrap_or(1);
            let more = ONE_QUESTION.as_millis() / each.as_millis().max(1);
            moments = u32::try_from(more)
                .unwrap_or(MOST_MOMENTS)
                .clamp(1, MOST_MOMENTS);
        }
        let depth = SignedDuration::from_secs(self.until.duration_since(from).as_secs() + 1);
        let mut collector = Collector::new(self.targets.clone(), from, bounds, self.reading);
        let answers = match Answers::joined(parts) {
            Some(answers) => answers,
            None => {
                collector
                    .ask_between(self.metrics, (from, from), self.within)
                    .await?
            }
        };
        Ok((of_the_past(&mut collector, &answers), depth))
    }

    /// Today's requests per second, and the failure rate of all that is known.
    fn traffic(&self, windows: &[Window], history: &History) -> Option<Traffic> {
        let recent = self.until - History::SHORTEST;
        let first = windows.partition_point(|window| window.start < recent);
        let windows = &windows[first..];
        let (first, last) = (windows.first()?, windows.last()?);
        let seconds = last.end.duration_since(first.start).as_secs_f64();
        let (mut stable, mut canary) = (Counts::default(), Counts::default());
        for window in windows {
            stable += window.stable;
            canary += window.canary;
        }
        let known = Counts {
            requests: history.failures.requests,
            failures: history.failures.bad,
        };
        (seconds > 0.0).then(|| Traffic {
            per_second: (stable.requests + canary.requests) as f64 / seconds,
            failure_rate: known.failure_rate().unwrap_or(0.0),
        })
    }
}

/// The time that windows, oldest first, are of.
fn covered(windows: &[Window]) -> SignedDuration {
    let (first, last) = (windows.first(), windows.last());
    first
        .zip(last)
        .map_or(SignedDuration::ZERO, |(first, last)| {
            last.end.duration_since(first.start)
        })
}

fn failures(seen: &Observation) -> u64 {
    let windows = seen.windows.iter();
    windows.map(|window| window.stable.failures).sum()
}

/// How far back is looked at most, in whole seconds.
fn deepest(scrape: SignedDuration) -> SignedDuration {
    let most = i32::try_from(History::MOST_WINDOWS).unwrap_or(i32::MAX);
    let scrapes = SignedDuration::from_secs(scrape.saturating_mul(most).as_secs());
    scrapes.clamp(History::SHORTEST, History::LONGEST)
}
