//! The analysis that a plan asks for, and what it has to know of the past.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{CommandError, Environment};
use crate::metrics::{Books, MetricSource, MetricsError, Observation, Targets, USUAL_BOUNDS};
use crate::plan::{AnalysisKind, HumanDuration, Plan};
use crate::verdict::sequential::{History, Sequential, Traffic};
use crate::verdict::{Analysis, Guarded, Limits, ThresholdGate, Window};

/// How far the stable version's past is looked at.
pub(super) const PAST: SignedDuration = SignedDuration::from_mins(30);
/// A scrape is stored a little after the moment it is dated, so the newest one may be missing from the
/// past that a start sees and be there for whoever replays it. Before this it has settled.
const SETTLED: SignedDuration = SignedDuration::from_millis(500);
/// How many scrapes of durations are looked at.
const SCRAPES_OF_DURATIONS: i32 = 120;
/// How far ahead of ours the clock of Prometheus is looked for.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// The longest that Prometheus may take for it.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// What the stable version did before the rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Before {
    /// Its rate and noise, for the sequential analysis.
    pub history: History,
    /// Requests per second and failure rate, for a forecast.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traffic: Option<Traffic>,
    /// How often it was scraped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scrape: Option<HumanDuration>,
    /// How many series there were.
    pub series: usize,
}

/// Reads the half hour before `until`. The same moment always yields the same past, so that a run
/// that is resumed starts from what the first one knew.
///
/// Durations have fourteen buckets for each series of requests, so they are only looked at as far
/// back as is needed to choose among them.
///
/// # Errors
/// If the metrics do not answer.
pub(super) async fn before(
    metrics: &dyn MetricSource,
    targets: &Targets,
    until: Timestamp,
    durations: bool,
) -> Result<Before, MetricsError> {
    let until = until - SETTLED;
    let requests = look(
        metrics,
        Books::new(targets.clone(), until - PAST, Vec::new()),
        until,
    )
    .await?;
    let mut history = History::from_windows(&requests.windows);
    let scrape = requests.quality.scrape_interval;
    if durations && let Some(scrape) = scrape {
        let since = until - (scrape * SCRAPES_OF_DURATIONS).min(PAST);
        let books = Books::new(targets.clone(), since, USUAL_BOUNDS.to_vec());
        history.slow = History::from_windows(&look(metrics, books, until).await?.windows).slow;
    }
    Ok(Before {
        history,
        traffic: traffic(&requests.windows),
        scrape: scrape.map(HumanDuration::from),
        series: requests.quality.series,
    })
}

/// What the metrics have of late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    /// The newest sample there is, by Prometheus' clock, which may be ahead of the one here.
    pub newest: Option<Timestamp>,
    /// Whether the versions' own proxies report.
    pub callees_report: bool,
}

/// What the metrics have of late.
///
/// # Errors
/// If the metrics do not answer.
pub(super) async fn recent(
    metrics: &dyn MetricSource,
    targets: &Targets,
    now: Timestamp,
) -> Result<Recent, MetricsError> {
    let mut books = Books::with_shadows(targets.clone(), now, Vec::new());
    // Asked as of now, Prometheus would keep to itself what its clock calls later.
    let answers = books.ask(metrics, now + AHEAD, DEADLINE).await?;
    let seen = books.take(&answers, |_| 0.0);
    books.take_shadows(&answers, |_| 0.0);
    Ok(Recent {
        newest: seen.quality.newest.overall,
        callees_report: books.callees_report(),
    })
}

async fn look(
    metrics: &dyn MetricSource,
    mut books: Books,
    until: Timestamp,
) -> Result<Observation, MetricsError> {
    let answers = books.ask(metrics, until, DEADLINE).await?;
    // Whatever share the canary had meanwhile: the past is of the stable version alone.
    Ok(books.take(&answers, |_| 0.0))
}

fn traffic(windows: &[Window]) -> Option<Traffic> {
    let (first, last) = (windows.first()?, windows.last()?);
    let seconds = last.end.duration_since(first.start).as_secs_f64();
    let mut stable = crate::verdict::Counts::default();
    let mut canary = crate::verdict::Counts::default();
    for window in windows {
        stable += window.stable;
        canary += window.canary;
    }
    (seconds > 0.0).then(|| Traffic {
        per_second: (stable.requests + canary.requests) as f64 / seconds,
        failure_rate: stable.failure_rate().unwrap_or(0.0),
    })
}

/// Whether a plan's analysis weighs durations.
pub(super) fn weighs_durations(plan: &Plan) -> bool {
    plan.judgement.analysis == AnalysisKind::Sequential && !plan.judgement.ignore_latency
}

/// The analysis of a plan, knowing the past.
pub(super) fn analysis(plan: &Plan, history: &History) -> Box<dyn Analysis> {
    let judgement = plan.judgement;
    let limits = |max_error_rate, margin| Limits {
        max_error_rate,
        margin,
        min_requests: judgement.min_requests,
    };
    match (judgement.analysis, judgement.max_error_rate) {
        (AnalysisKind::Threshold, rate) => {
            let rate = rate.map_or(1.0, |rate| rate.share());
            Box::new(ThresholdGate::new(limits(rate, judgement.margin.share())))
        }
        (AnalysisKind::Sequential, None) => Box::new(Sequential::new(plan.policy(), history)),
        (AnalysisKind::Sequential, Some(rate)) => Box::new(Guarded::new(
            Box::new(Sequential::new(plan.policy(), history)),
            ThresholdGate::new(limits(rate.share(), 1.0)),
        )),
    }
}

/// The books of a rollout from `since` on.
pub(super) fn books(plan: &Plan, targets: Targets, since: Timestamp, bounds: Vec<f64>) -> Books {
    if plan.mirrors() {
        Books::with_shadows(targets, since, bounds)
    } else {
        Books::new(targets, since, bounds)
    }
}

/// The past of a rollout under way: that before it began.
pub(super) async fn past_of(
    environment: &Environment<'_>,
    plan: &Plan,
    targets: &Targets,
    began: Timestamp,
) -> Result<History, CommandError> {
    if plan.judgement.analysis == AnalysisKind::Threshold {
        return Ok(History::unknown());
    }
    let metrics = environment.metrics(&plan.prometheus)?;
    // Without an answer nothing is known, and the analysis is the more careful for it.
    Ok(
        before(metrics.as_ref(), targets, began, weighs_durations(plan))
            .await
            .map_or_else(|_| History::unknown(), |before| before.history),
    )
}
