//! Whether the queries of a plan's guards can be read, before anything rests on them.

use crate::foreign_text::foreign_text;
use crate::metrics::{GuardGap, MetricsError, QueryResult, single_value};
use crate::plan::{Finding, MetricGuard, OnNoData, TemplateError};

/// Queries as they were asked, each with its answer.
type ProbeAnswers = Vec<(String, Result<QueryResult, MetricsError>)>;

/// A guard, and what its queries were answered.
#[derive(Debug)]
pub struct GuardProbe<'a> {
    /// The guard.
    pub guard: &'a MetricGuard,
    /// What was answered, or why nothing can be asked.
    pub answers: Result<ProbeAnswers, TemplateError>,
}

impl GuardProbe<'_> {
    /// What is to be known of it before a start.
    pub fn finding(&self) -> Finding {
        let name = &self.guard.name;
        let answers = match &self.answers {
            Ok(answers) => answers,
            Err(TemplateError { what, fix }) => {
                let what = format!("guard {name}: {}", foreign_text(what));
                return Finding::refuse(what, "it could not be read", fix);
            }
        };
        for (query, answer) in answers {
            if let Err(error) = answer {
                return self.unanswered(query, error);
            }
        }
        if self.guard.is_compared() {
            return self.counters(answers);
        }
        let Some((query, Ok(answer))) = answers.first() else {
            return self.without_data("nothing was asked");
        };
        match single_value(answer) {
            Ok(value) => self.value(value),
            Err(GuardGap::SeveralSeries { series }) => Finding::refuse(
                format!(
                    "guard {name}: its query has {series} series: {}",
                    foreign_text(query)
                ),
                "a bound is on one value",
                "sum(…), max(…) or min(…) around it, and no range at its end",
            ),
            Err(GuardGap::NoSeries) => self.without_data("no series"),
            Err(GuardGap::NotANumber) => self.without_data("not a number"),
            Err(GuardGap::Unanswered { message }) => self.without_data(&message),
        }
    }

    fn unanswered(&self, query: &str, error: &MetricsError) -> Finding {
        let name = &self.guard.name;
        let query = foreign_text(query);
        let what = format!("guard {name}: {}: {query}", error.what());
        match error {
            MetricsError::BadQuery { .. } => Finding::refuse(
                what,
                "it could not be read",
                "a query that Prometheus' own page /query evaluates",
            ),
            error => Finding::warn(what, self.consequence(), error.fix()),
        }
    }

    fn counters(&self, answers: &ProbeAnswers) -> Finding {
        let series = |answers: &[(String, Result<QueryResult, MetricsError>)]| {
            let answers = answers.iter().flat_map(|(_, answer)| answer);
            answers.map(|answer| answer.series.len()).sum::<usize>()
        };
        let (stable, canary) = answers.split_at(answers.len() / 2);
        let name = &self.guard.name;
        match (series(stable), series(canary)) {
            (0, 0) => self.without_data("no series of stable or of the canary"),
            (0, _) => self.without_data("no series of stable"),
            (stable, 0) => Finding::ok(format!(
                "guard {name} has {stable} series of stable, and none of the canary yet"
            )),
            (stable, canary) => Finding::ok(format!(
                "guard {name} has {stable} series of stable and {canary} of the canary"
            )),
        }
    }

    fn value(&self, value: f64) -> Finding {
        let name = &self.guard.name;
        let (max, min) = (self.guard.max, self.guard.min);
        let (bound, is_out) = match (max, min) {
            (Some(max), _) if value > max => (format!("over its max {max}"), true),
            (_, Some(min)) if value < min => (format!("under its min {min}"), true),
            (Some(max), Some(min)) => (format!("within {min} to {max}"), false),
            (Some(max), None) => (format!("within its max {max}"), false),
            (None, min) => (format!("within its min {}", min.unwrap_or_default()), false),
        };
        let what = format!("guard {name} is at {value} now, {bound}");
        match is_out {
            false => Finding::ok(what),
            true => Finding::warn(
                what,
                "the rollout would not get past its first step",
                "another bound, or start it later",
            ),
        }
    }

    fn without_data(&self, why: &str) -> Finding {
        let name = &self.guard.name;
        let query = self.answers.iter().flatten().next();
        let query = query.map(|(query, _)| format!(": {}", foreign_text(query)));
        Finding::warn(
            format!(
                "guard {name} has no data now ({}){}",
                foreign_text(why),
                query.unwrap_or_default()
            ),
            self.consequence(),
            "check names and labels, or onNoData: ignore",
        )
    }

    /// What happens where it stays so.
    fn consequence(&self) -> &'static str {
        match self.guard.on_no_data {
            OnNoData::Hold => "no step is left while it has none",
            OnNoData::Rollback => "the canary is rolled back while it has none",
            OnNoData::Ignore => "without data it guards nothing",
        }
    }
}
