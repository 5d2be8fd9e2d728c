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
    Answers, Collector, Flaw, MetricSource, MetricsError, MetricsWarning, Observation, Targets,
    USUAL_BOUNDS,
};
use crate::plan::{AnalysisKind, HumanDuration, Plan};
use crate::rollout::Rollout;
use crate::verdict::sequential::{History, Traffic};
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
/// The longest that Prometheus may take for an answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest that it may take for all that lies further back than the least: without it one is only
/// a little less certain.
const FURTHER: Duration = Duration::from_secs(5);

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
    /// What limits what the durations show, where they were read.
    pub warnings: Vec<MetricsWarning>,
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
    let reader = Reader {
        metrics,
        targets,
        until: past.until - SETTLED,
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
        if let Some(seen) = seen {
            let of_durations = History::from_windows(&seen.windows);
            // How long requests take matters also where it is not judged: they are counted when they end.
            history.longest = of_durations.longest;
            if durations {
                history.slow = of_durations.slow;
                warnings = seen.quality.warnings;
            }
        }
    }
    Ok(Baseline {
        traffic: reader.traffic(&requests.windows, &history),
        history,
        scrape: scrape.map(HumanDuration::from),
        series: requests.quality.series,
        depth: depth.into(),
        warnings,
    })
}

/// The past of a rollout, as far as the metrics still have it.
pub async fn past_of(
    context: &Context<'_>,
    rollout: &Rollout,
    targets: &Targets,
    past: PastTime,
) -> Result<History, CommandError> {
    let plan = &rollout.plan;
    if plan.judgement.analysis == AnalysisKind::Threshold {
        return Ok(History::unknown());
    }
    let metrics = context.metrics_of(rollout)?;
    let before = before(metrics.as_ref(), targets, past, plan).await;
    // Without an answer nothing is known, and the analysis is the more careful for it.
    Ok(before.map_or_else(|_| History::unknown(), |before| before.history))
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
    let mut collector = Collector::with_mirrored(targets.clone(), now, Vec::new());
    // Asked as of our now, a Prometheus whose clock is ahead would leave out its newest samples.
    let answers = collector.ask(metrics, now + AHEAD, DEADLINE).await?;
    let seen = of_the_past(&mut collector, &answers);
    collector.take_mirrored(&answers, |_| 0.0);
    Ok(Freshness {
        newest: seen.quality.newest.overall,
        callees_report: collector.callees_report(),
        flaw: seen.quality.flaw,
        warnings: seen.quality.warnings,
    })
}

/// Whatever share the canary had meanwhile: the past is of the stable version alone.
fn of_the_past(collector: &mut Collector, answers: &Answers) -> Observation {
    collector.take(answers, |_| 0.0)
}

struct Reader<'a> {
    metrics: &'a dyn MetricSource,
    targets: &'a Targets,
    until: Timestamp,
}

impl Reader<'_> {
    /// Books of what happened since so long before the end.
    fn collector(&self, back: SignedDuration, bounds: Vec<f64>) -> Collector {
        Collector::new(self.targets.clone(), self.until - back, bounds)
    }

    /// What is in the books until the end.
    async fn ask(&self, collector: &Collector) -> Result<Answers, MetricsError> {
        collector.ask(self.metrics, self.until, DEADLINE).await
    }

    /// Requests and failures, and how far back they were read.
    async fn requests(
        &self,
        query: Lookback,
    ) -> Result<(Observation, SignedDuration), MetricsError> {
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

    async fn durations(&self, back: SignedDuration) -> Result<Observation, MetricsError> {
        let mut collector = self.collector(back, USUAL_BOUNDS.to_vec());
        let answers = self.ask(&collector).await?;
        Ok(of_the_past(&mut collector, &answers))
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
