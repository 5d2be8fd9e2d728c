//! How the counters are read: as raw samples, or as increases that the server adds up. Chosen by how many series
//! there are, once, as of the moment before a rollout began, so that whoever takes it over reads the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::grid::Grid;
use super::increase_query::{COUNTED, count, operations, sampled, targets_of, without_target};
use super::mixed_stores::{MixedLabel, REPLICAS};
use super::operations::Operations;
use super::target::USUAL_INTERVAL;
use super::versions::{Reporter, Targets};
use crate::metrics::source::{MetricSource, MetricsError, Query, QueryResult};

/// The most series of requests whose raw samples are asked for: a look of them takes half a megabyte.
const MOST_READ: usize = 500;
/// Longer than this nobody waits to learn how many series the versions' own proxies have.
const GLANCE: Duration = Duration::from_secs(1);
/// Counters of so few targets, or of so many series at one caller, are sums over proxies whatever their labels say.
const FEW_TARGETS: f64 = 5.0;
const MOST_OF_A_CALLER: f64 = 200.0;
/// The least time between two evaluations.
const LEAST_STEP: i64 = 5;

/// How the counters of a rollout are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsReading {
    /// What users get.
    pub(super) users: Method,
    /// What becomes of mirrored requests.
    pub(super) mirrored: Method,
    /// Replicas of Prometheus whose copies would be added up.
    pub(super) mixed: Option<MixedLabel>,
    /// Whether the versions' own proxies report.
    pub(super) callees_report: bool,
    /// The operations that are told apart.
    pub(super) operations: Operations,
}

/// How one side's counters are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Raw samples, of one side's reports or of both.
    Samples(Option<Reporter>),
    /// Increases between two moments.
    Increases(Grid),
}

impl Default for Method {
    fn default() -> Self {
        Self::Samples(None)
    }
}

impl MetricsReading {
    /// Chooses by the series there are at `at`; how copies are read only matters where requests are mirrored.
    ///
    /// # Errors
    /// If the metrics do not answer.
    pub async fn choose(
        metrics: &dyn MetricSource,
        targets: &Targets,
        at: Timestamp,
        mirrors: bool,
        within: Duration,
    ) -> Result<Self, MetricsError> {
        let asker = Asker {
            metrics,
            targets,
            at,
        };
        let callers = asker.ask(count(targets, Reporter::Source), within).await?;
        let by_callers = owned(&callers, targets, Reporter::Source);
        let glance = match by_callers {
            0 => within,
            _ => within.min(GLANCE),
        };
        let callees = asker
            .ask(count(targets, Reporter::Destination), glance)
            .await;
        // Without an answer in that time there are many of them.
        let by_callees = callees.as_ref().map_or(usize::MAX, |callees| {
            owned(callees, targets, Reporter::Destination)
        });
        let callees_report = by_callees > 0;
        if by_callers <= MOST_READ && by_callees <= MOST_READ {
            return Ok(Self {
                callees_report,
                ..Self::default()
            });
        }
        let of_callees = by_callees > MOST_READ && (mirrors || by_callers == 0);
        let mirrored = match of_callees {
            true => {
                asker
                    .increases(Reporter::Destination, by_callees, within)
                    .await?
            }
            false => Method::Samples(Some(Reporter::Destination)),
        };
        let (users, counted) = match by_callers {
            0 => (mirrored, callees?),
            1..=MOST_READ => (Method::Samples(Some(Reporter::Source)), callers),
            _ => {
                let method = asker
                    .increases(Reporter::Source, by_callers, within)
                    .await?;
                (method, callers)
            }
        };
        let mixed = match users {
            Method::Increases(grid) => asker.copies(&counted, grid.reporter, within).await?,
            Method::Samples(_) => None,
        };
        Ok(Self {
            users,
            mirrored,
            mixed,
            callees_report,
            operations: Operations::default(),
        })
    }

    /// The same, with the operations told apart that a label names at `at`.
    ///
    /// Without an answer none is, which is only the less sharp.
    pub async fn with_operations(
        self,
        metrics: &dyn MetricSource,
        targets: &Targets,
        at: Timestamp,
        within: Duration,
    ) -> Self {
        let side = match self.users {
            Method::Samples(side) => side,
            Method::Increases(grid) => Some(grid.reporter),
        };
        let query = Query {
            text: operations(targets, side),
            at,
            within,
        };
        let answer = metrics.ask(&query).await;
        let operations = answer.map(|answer| Operations::of(targets, &answer));
        Self {
            operations: operations.unwrap_or_default(),
            ..self
        }
    }

    /// One in which the server adds up what callers report.
    #[cfg(all(test, feature = "demo"))]
    pub(crate) fn adding_up(step: i64, are_sums: bool) -> Self {
        let method = Method::Increases(Grid {
            reporter: Reporter::Source,
            step,
            series: 1,
            are_sums,
        });
        Self {
            users: method,
            ..Self::default()
        }
    }

    /// Whether raw samples of everything are read.
    pub fn is_of_all_samples(&self) -> bool {
        (self.users, self.mirrored) == (Method::default(), Method::default())
    }

    /// Whether the versions' own proxies report.
    pub fn callees_report(&self) -> bool {
        self.callees_report
    }

    /// The last moment up to `time` that increases are counted to and can be read at `time`.
    pub fn last_moment(&self, time: Timestamp) -> Timestamp {
        match self.users {
            Method::Increases(grid) => {
                let settled = time.saturating_sub(grid.settled()).unwrap_or(time);
                grid.at_most(settled)
            }
            Method::Samples(_) => time,
        }
    }

    /// The time between two moments and how many series are added up there, unless raw samples are read.
    pub fn added_up(&self) -> Option<(SignedDuration, usize)> {
        match self.users {
            Method::Increases(grid) => Some((grid.step(), grid.series)),
            Method::Samples(_) => None,
        }
    }
}

struct Asker<'a> {
    metrics: &'a dyn MetricSource,
    targets: &'a Targets,
    at: Timestamp,
}

impl Asker<'_> {
    async fn ask(&self, text: String, within: Duration) -> Result<QueryResult, MetricsError> {
        let query = Query {
            text,
            at: self.at,
            within,
        };
        self.metrics.ask(&query).await
    }

    async fn number(&self, text: String, within: Duration) -> Result<Option<f64>, MetricsError> {
        let answer = self.ask(text, within).await?;
        let first = answer.series.first();
        Ok(first.and_then(|series| series.samples.first().map(|(_, value)| *value)))
    }

    async fn increases(
        &self,
        reporter: Reporter,
        series: usize,
        within: Duration,
    ) -> Result<Method, MetricsError> {
        let scrapes = self.number(sampled(self.targets, reporter), within).await?;
        let sums = self
            .number(without_target(self.targets, reporter), within)
            .await?;
        let targets = self
            .number(targets_of(self.targets, reporter), within)
            .await?;
        let seconds = match scrapes {
            Some(scrapes) if scrapes >= 1.0 => (COUNTED.as_secs_f64() / scrapes).round() as i64,
            _ => USUAL_INTERVAL.as_secs(),
        };
        let are_sums = |targets: f64| {
            let each = series as f64 / targets;
            targets <= FEW_TARGETS || reporter == Reporter::Source && each > MOST_OF_A_CALLER
        };
        Ok(Method::Increases(Grid {
            reporter,
            step: seconds.max(LEAST_STEP),
            series,
            are_sums: sums.is_some_and(|sums| sums > 0.0) || targets.is_some_and(are_sums),
        }))
    }

    /// The label under whose values the same series stand several times.
    async fn copies(
        &self,
        counted: &QueryResult,
        reporter: Reporter,
        within: Duration,
    ) -> Result<Option<MixedLabel>, MetricsError> {
        let mut values: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (name, value) in counted.series.iter().flat_map(|series| &series.labels) {
            if let Some(name) = REPLICAS.iter().find(|label| *label == name) {
                values.entry(name).or_default().insert(value.clone());
            }
        }
        values.retain(|name, values| {
            let scoped = self.targets.scope().iter().any(|label| label.name == *name);
            !scoped && values.len() > 1
        });
        for (label, values) in values {
            let text = super::increase_query::copies(self.targets, reporter, label);
            if self
                .number(text, within)
                .await?
                .is_some_and(|copies| copies > 0.0)
            {
                return Ok(Some(MixedLabel {
                    label: label.to_owned(),
                    values: values.into_iter().collect(),
                    copies: true,
                }));
            }
        }
        Ok(None)
    }
}

/// How many of the series counted by their labels are of the two versions.
fn owned(counted: &QueryResult, targets: &Targets, reporter: Reporter) -> usize {
    let all_sides = targets.clone().of_both_sides();
    let of = counted.series.iter().filter(|series| {
        let owner = all_sides.owner(&series.labels);
        owner.is_some_and(|(of, _)| of == reporter)
    });
    let counts = of.filter_map(|series| series.samples.first());
    counts.map(|(_, count)| *count as usize).sum()
}
