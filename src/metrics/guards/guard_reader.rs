//! Asks the queries of a plan's guards, each at its own pace.

use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::event_counts::{EventCounts, PairAnswers};
use super::guard_reading::{GuardGap, GuardReading, GuardSeen, partial, single_value};
use crate::foreign_text::foreign_text;
use crate::metrics::counting::{Targets, VersionSelector};
use crate::metrics::source::{MetricSource, MetricsError, Query, QueryResult};
use crate::plan::{
    ComparedVersion, HumanDuration, MetricGuard, Plan, QueryTemplate, TemplateError,
    TemplateValues, VersionNames,
};
use crate::verdict::Window;

/// A sample is stored a little after the moment it is dated.
const SETTLED: SignedDuration = SignedDuration::from_secs(1);
/// The least that a range has to reach back for a rate.
const LEAST_WINDOW: SignedDuration = SignedDuration::from_mins(1);
const SCRAPES_OF_WINDOW: i32 = 4;
/// How far back stable's counters are read before a rollout.
const PAST: SignedDuration = SignedDuration::from_mins(30);

/// The guards of a rollout with what was read of them.
#[derive(Debug)]
pub struct GuardReader {
    guards: Vec<WatchedQuery>,
}

#[derive(Debug)]
struct WatchedQuery {
    interval: SignedDuration,
    asked: GuardQueries,
}

/// What a guard asks, with every placeholder in its place.
#[derive(Debug)]
enum GuardQueries {
    Value(String),
    Counters([[String; 2]; 2], Box<EventCounts>),
    /// What a placeholder should stand for is not known.
    Unknown(TemplateError),
}

/// The answers to the queries of one guard.
#[derive(Debug)]
pub struct GuardAnswers {
    guard: usize,
    at: Timestamp,
    answers: Result<Vec<QueryResult>, GuardGap>,
    /// For how long whoever answers asks to be left alone.
    wait: Option<Duration>,
}

impl GuardAnswers {
    /// A guard that cannot be asked.
    pub fn unasked(guard: usize, at: Timestamp, why: &TemplateError) -> Self {
        let message = foreign_text(&why.what);
        Self {
            guard,
            at,
            answers: Err(GuardGap::Unanswered { message }),
            wait: None,
        }
    }

    /// Which guard of the plan.
    pub fn guard(&self) -> usize {
        self.guard
    }

    /// For how long whoever answers asks to be left alone (`Retry-After`).
    pub fn wait(&self) -> Option<Duration> {
        self.wait
    }
}

impl GuardReader {
    /// What is counted after `since`.
    pub fn new(plan: &Plan, targets: &Targets, since: Timestamp) -> Self {
        let guards = plan.guards.iter();
        Self {
            guards: guards
                .map(|guard| WatchedQuery::new(guard, plan, targets, since))
                .collect(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.guards.len()
    }

    /// How often a guard is read.
    pub fn interval(&self, guard: usize) -> Duration {
        self.guards[guard].interval.unsigned_abs()
    }

    /// What to ask of a guard now; nothing where nothing new can have come.
    ///
    /// # Errors
    /// If a placeholder has nothing to stand for.
    pub fn questions(
        &self,
        guard: usize,
        now: Timestamp,
        within: Duration,
    ) -> Result<Vec<Query>, TemplateError> {
        let query = |text, at| Query { text, at, within };
        match &self.guards[guard].asked {
            GuardQueries::Unknown(why) => Err(why.clone()),
            GuardQueries::Value(text) => Ok(vec![query(text.clone(), now)]),
            GuardQueries::Counters(queries, counts) => {
                let now = now - SETTLED;
                if !counts.is_due(now) {
                    return Ok(Vec::new());
                }
                let texts = queries.iter().flatten();
                Ok(texts
                    .map(|text| query(counts.question(text, now), now))
                    .collect())
            }
        }
    }

    /// What one of them said; nothing where nothing was asked.
    pub fn take(
        &mut self,
        answers: GuardAnswers,
        share_at: &dyn Fn(Timestamp) -> f64,
    ) -> Option<GuardReading> {
        let GuardAnswers {
            guard, at, answers, ..
        } = answers;
        let seen = match answers {
            Err(gap) => GuardSeen::NoData(gap),
            Ok(answers) if answers.is_empty() => return None,
            Ok(answers) => match &mut self.guards[guard].asked {
                GuardQueries::Unknown(_) => return None,
                GuardQueries::Value(_) => match single_value(&answers[0]) {
                    Ok(value) => GuardSeen::Value(value),
                    Err(gap) => GuardSeen::NoData(gap),
                },
                GuardQueries::Counters(_, counts) => {
                    match answers.iter().find(|answer| answer.is_partial()) {
                        Some(answer) => GuardSeen::NoData(partial(answer)),
                        None => counts
                            .take(&of_both(answers)?, at - SETTLED, share_at)
                            .map_or(GuardSeen::NoData(GuardGap::NoSeries), GuardSeen::Counted),
                    }
                }
            },
        };
        Some(GuardReading { guard, at, seen })
    }

    /// What stable's counters of a guard did in the half hour before a rollout began; nothing where it
    /// compares none, or where they cannot be read.
    pub async fn past(
        &self,
        guard: usize,
        source: &dyn MetricSource,
        began: Timestamp,
        within: Duration,
    ) -> Vec<Window> {
        let GuardQueries::Counters([of_stable, _], counts) = &self.guards[guard].asked else {
            return Vec::new();
        };
        let mut past = counts.of_stable_since(began - PAST);
        let questions = of_stable.each_ref().map(|text| Query {
            text: past.question(text, began),
            at: began,
            within,
        });
        let asked = ask_guard(source, guard, began, questions.to_vec()).await;
        let windows = asked.answers.ok().and_then(|answers| {
            let stable = <[_; 2]>::try_from(answers).ok()?;
            past.take(&[stable, [NO_SERIES, NO_SERIES]], began, &|_| 0.0)
        });
        windows.unwrap_or_default()
    }
}

impl WatchedQuery {
    fn new(guard: &MetricGuard, plan: &Plan, targets: &Targets, since: Timestamp) -> Self {
        let scrape = plan.judgement.scrape.max(plan.interval);
        let interval = guard.interval.unwrap_or(scrape).signed();
        let usual = LEAST_WINDOW.max(plan.judgement.scrape.signed() * SCRAPES_OF_WINDOW);
        let values = values(targets, guard.window.map_or(usual, HumanDuration::signed));
        let rendered = |text: &str, version| QueryTemplate::parse(text)?.render(&values, version);
        let asked = match (guard.counters(), &guard.query) {
            (Some((pair, queries)), _) => {
                let of = |version| {
                    let [first, second] = queries;
                    Ok([rendered(first, version)?, rendered(second, version)?])
                };
                let both = of(ComparedVersion::Stable)
                    .and_then(|stable| Ok([stable, of(ComparedVersion::Canary)?]));
                both.map(|both| {
                    let counts = EventCounts::new(pair, since, interval);
                    GuardQueries::Counters(both, Box::new(counts))
                })
            }
            (None, query) => {
                // A plan has no guard without any query.
                let text = query.as_deref().unwrap_or_default();
                rendered(text, ComparedVersion::Canary).map(GuardQueries::Value)
            }
        };
        Self {
            interval,
            asked: asked.unwrap_or_else(GuardQueries::Unknown),
        }
    }
}

const NO_SERIES: QueryResult = QueryResult {
    series: Vec::new(),
    warnings: Vec::new(),
};

/// What the metrics call both versions.
fn values(targets: &Targets, window: SignedDuration) -> TemplateValues {
    let [stable, canary] = targets.selectors();
    let mut services = stable.services.iter().chain(&canary.services);
    TemplateValues {
        stable: names(stable),
        canary: names(canary),
        namespace: services
            .next()
            .map(|service| service.namespace.clone())
            .unwrap_or_default(),
        window,
    }
}

fn names(version: &VersionSelector) -> VersionNames {
    VersionNames {
        workloads: version.workloads.iter().cloned().collect(),
        versions: version.versions.iter().cloned().collect(),
    }
}

/// Asks all queries of a guard at once.
pub async fn ask_guard(
    source: &dyn MetricSource,
    guard: usize,
    at: Timestamp,
    questions: Vec<Query>,
) -> GuardAnswers {
    let asked = questions.iter().map(|query| source.ask(query));
    let answers: Result<Vec<_>, MetricsError> = join_all(asked).await.into_iter().collect();
    GuardAnswers {
        guard,
        at,
        wait: answers.as_ref().err().and_then(MetricsError::retry_after),
        answers: answers.map_err(GuardGap::from),
    }
}

/// Stable's two answers, and the canary's.
fn of_both(answers: Vec<QueryResult>) -> Option<PairAnswers> {
    let [a, b, c, d] = <[QueryResult; 4]>::try_from(answers).ok()?;
    Some([[a, b], [c, d]])
}
