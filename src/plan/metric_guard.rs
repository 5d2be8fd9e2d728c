//! What a rollout watches beside Istio's counters: any query of the user's, within bounds or compared.

use std::str::FromStr;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, QueryTemplate};
use crate::foreign_text::foreign_text;

/// The most guards of a plan.
const MOST_GUARDS: usize = 8;
/// The most bytes of all of them together as JSON: a plan travels in the state on the object.
const MOST_BYTES: usize = 4096;
const LONGEST_NAME: usize = 40;
/// Readings in a row that have to be out of bounds.
const USUAL_FAILURES: u32 = 3;

/// A query of the user's that can hold a rollout or roll it back, and never promotes it.
///
/// Either `query` with `max`, `min` or both, or two of the counters `good`, `bad` and `total`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricGuard {
    /// What it is called: lower-case letters, digits and dashes.
    pub name: String,
    /// PromQL with one value, which has to stay within `max` and `min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The largest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The smallest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Counters of what went well for `{{version.…}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
    /// Counters of what went wrong for `{{version.…}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<String>,
    /// Counters of everything for `{{version.…}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// What happens if it fails.
    #[serde(default)]
    pub on_failure: OnGuardFailure,
    /// What happens while it has no data.
    #[serde(default)]
    pub on_no_data: OnNoData,
    /// How many readings in a row have to be out of bounds, or without data, before it rolls back.
    #[serde(default = "usual_failures")]
    pub failures: u32,
    /// How often it is read; by default as often as Prometheus scrapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<HumanDuration>,
    /// What `{{window}}` stands for; by default a minute, or four scrapes where that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<HumanDuration>,
}

/// What to do when a guard fails.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum OnGuardFailure {
    /// Roll back.
    #[default]
    Rollback,
    /// Stay at the step until it is within bounds again.
    Hold,
}

/// What to do while a guard has no data.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum OnNoData {
    /// Stay at the step until there is data.
    #[default]
    Hold,
    /// Roll back.
    Rollback,
    /// Go on as if there were no guard.
    Ignore,
}

/// The two counters of a guard, from which both what went wrong and everything follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterPair {
    /// The first are bad ones, the second all.
    BadOfTotal,
    /// The first are good ones, the second all.
    GoodOfTotal,
    /// The first are bad ones, the second good ones.
    BadAndGood,
}

/// What is wrong with a guard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("guard {name}: {what} (try: {fix})")]
pub struct GuardError {
    name: String,
    what: String,
    fix: String,
}

fn usual_failures() -> u32 {
    USUAL_FAILURES
}

impl MetricGuard {
    /// Its queries for two counters with what they are; `None` where a value has bounds.
    pub fn counters(&self) -> Option<(CounterPair, [&str; 2])> {
        let (good, bad, total) = (&self.good, &self.bad, &self.total);
        match (good.as_deref(), bad.as_deref(), total.as_deref()) {
            (None, Some(bad), Some(total)) => Some((CounterPair::BadOfTotal, [bad, total])),
            (Some(good), None, Some(total)) => Some((CounterPair::GoodOfTotal, [good, total])),
            (Some(good), Some(bad), None) => Some((CounterPair::BadAndGood, [bad, good])),
            _ => None,
        }
    }

    /// Whether it takes a part of the chance of a false rollback: counters that are compared.
    pub fn is_compared(&self) -> bool {
        self.counters().is_some()
    }

    /// The text of each of its queries, with its name in a plan file.
    fn queries(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("query", &self.query),
            ("good", &self.good),
            ("bad", &self.bad),
            ("total", &self.total),
        ]
        .into_iter()
        .filter_map(|(name, query)| Some((name, query.as_deref()?)))
    }

    fn check(&self) -> Result<(), GuardError> {
        let error = |what: String, fix: &str| GuardError {
            name: foreign_text(&self.name),
            what,
            fix: fix.to_owned(),
        };
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = (1..=LONGEST_NAME).contains(&self.name.len());
        let mut letters = self.name.bytes();
        if !fits || !letters.all(|byte| is_letter(byte) || byte == b'-') {
            let what = format!("a name has 1 to {LONGEST_NAME} lower-case letters, digits and -");
            return Err(error(what, "name: queue-length"));
        }
        let has_bound = self.max.is_some() || self.min.is_some();
        let either = "query with max or min, or two of good, bad and total";
        match (&self.query, self.counters()) {
            (Some(_), _) if self.good.is_some() || self.bad.is_some() || self.total.is_some() => {
                return Err(error("it has both a query and counters".into(), either));
            }
            (Some(_), _) if !has_bound => {
                return Err(error(
                    "its query has no bound".into(),
                    "max or min beside it",
                ));
            }
            (None, _) if has_bound => {
                return Err(error("max and min are for a query".into(), either));
            }
            (None, None) => return Err(error("it says nothing to watch".into(), either)),
            _ => {}
        }
        let bounds = [self.min, self.max].into_iter().flatten();
        if bounds.clone().any(|bound| !bound.is_finite()) || !bounds.is_sorted() {
            return Err(error(
                "its bounds leave no value".into(),
                "finite numbers, min below max",
            ));
        }
        if !(1..=100).contains(&self.failures) {
            return Err(error(
                format!("failures is {}", self.failures),
                "failures: 3",
            ));
        }
        let second = HumanDuration::seconds(1);
        for (name, duration) in [("interval", self.interval), ("window", self.window)] {
            if duration.is_some_and(|duration| duration < second) {
                return Err(error(format!("its {name} is too short"), "1s or more"));
            }
        }
        for (name, query) in self.queries() {
            if query.trim().is_empty() {
                return Err(error(format!("{name} is empty"), either));
            }
            let template = QueryTemplate::parse(query)
                .map_err(|problem| error(format!("{name}: {}", problem.what), &problem.fix))?;
            match (template.names_either_version(), self.is_compared()) {
                (false, true) => {
                    return Err(error(
                        format!("{name} does not say whose counters they are"),
                        "{pod=~\"{{version.pods}}\"}, which is read for stable and for the canary",
                    ));
                }
                (true, false) => {
                    return Err(error(
                        "{{version.…}} is for counters, which are read for both versions".into(),
                        "{{canary.…}} or {{stable.…}}",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Fails unless all of these can be watched together.
    ///
    /// # Errors
    /// Names the guard, and what to write instead.
    pub fn check_all(guards: &[Self]) -> Result<(), GuardError> {
        for (index, guard) in guards.iter().enumerate() {
            guard.check()?;
            let again = guards[..index].iter().any(|other| other.name == guard.name);
            let size = serde_json::to_string(&guards[..=index]).map_or(0, |text| text.len());
            let (what, fix) = match () {
                () if again => ("there are two of this name".to_owned(), "another name"),
                () if index >= MOST_GUARDS => (
                    format!("it is one too many: a plan has at most {MOST_GUARDS}"),
                    "fewer of them, or a recording rule that combines some",
                ),
                () if size > MOST_BYTES => (
                    format!(
                        "up to it the guards take {size} bytes of the {MOST_BYTES} that a plan has for them"
                    ),
                    "recording rules for long queries",
                ),
                () => continue,
            };
            return Err(GuardError {
                name: guard.name.clone(),
                what,
                fix: fix.to_owned(),
            });
        }
        Ok(())
    }
}

/// Not a guard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a guard{why} (try: --guard 'NAME: PROMQL <= 100', or what a plan file has: '{{name: …}}')"
)]
pub struct GuardTextError {
    text: String,
    why: String,
}

impl FromStr for MetricGuard {
    type Err = GuardTextError;

    /// `NAME: PROMQL <= NUMBER`, with `>=` for a least value; or all fields of a plan file in braces.
    fn from_str(text: &str) -> Result<Self, GuardTextError> {
        let error = |why: &str| GuardTextError {
            text: foreign_text(text),
            why: why.to_owned(),
        };
        if text.trim_start().starts_with('{') {
            return serde_saphyr::from_str(text).map_err(|problem| {
                let problem = problem.to_string();
                let line = problem.lines().next().unwrap_or_default();
                let line = line.trim_start_matches("error: ");
                let line = line.split(", expected one of").next().unwrap_or(line);
                error(&format!(": {}", foreign_text(line)))
            });
        }
        let (name, rest) = text.split_once(':').ok_or_else(|| error(""))?;
        let at = rest.rfind("<=").max(rest.rfind(">="));
        let at = at.ok_or_else(|| error(": it has no bound at its end"))?;
        let bound = rest[at + 2..].trim().parse();
        let bound: f64 = bound.map_err(|_| error(": it has no bound at its end"))?;
        let is_max = rest[at..].starts_with('<');
        Ok(Self {
            name: name.trim().to_owned(),
            query: Some(rest[..at].trim().to_owned()),
            max: is_max.then_some(bound),
            min: (!is_max).then_some(bound),
            good: None,
            bad: None,
            total: None,
            on_failure: OnGuardFailure::default(),
            on_no_data: OnNoData::default(),
            failures: USUAL_FAILURES,
            interval: None,
            window: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_on_a_line_is_the_one_of_a_plan_file() {
        let line: MetricGuard = r#"queue: sum(a:queue{pod=~"{{canary.pods}}"} >= 0) <= 1e2"#
            .parse()
            .unwrap();
        let file = r#"{name: queue, query: 'sum(a:queue{pod=~"{{canary.pods}}"} >= 0)', max: 100}"#;
        assert_eq!(line, file.parse().unwrap());
        let written = serde_json::to_string(&line).unwrap();
        assert_eq!(line, written.parse().unwrap());
        let least: MetricGuard = "orders: sum(rate(orders[1m])) >= -0.5".parse().unwrap();
        assert_eq!((least.min, least.max), (Some(-0.5), None));
        MetricGuard::check_all(&[line, least]).unwrap();
    }

    #[test]
    fn what_is_no_guard_is_refused_with_its_name_and_what_to_write() {
        let counters = "bad: 'a{p=~\"{{version.pods}}\"}'";
        for (text, expected) in [
            ("queue".to_owned(), "\"queue\" is not a guard (try: --guard"),
            ("queue: up".to_owned(), "it has no bound at its end"),
            ("queue: up <= many".to_owned(), "it has no bound at its end"),
            ("{name: q, max: 1, nax: 2}".to_owned(), "nax"),
            ("Queue: up <= 1".to_owned(), "a name has 1 to 40 lower-case"),
            ("q: up <= inf".to_owned(), "its bounds leave no value"),
            ("q:  <= 1".to_owned(), "query is empty"),
            ("{name: q, query: up}".to_owned(), "its query has no bound"),
            (
                "{name: q, max: 1}".to_owned(),
                "max and min are for a query",
            ),
            ("{name: q}".to_owned(), "it says nothing to watch"),
            (
                "{name: q, query: up, min: 2, max: 1}".to_owned(),
                "leave no value",
            ),
            (
                "{name: q, query: up, max: 1, failures: 0}".to_owned(),
                "failures is 0",
            ),
            (
                "{name: q, query: up, max: 1, window: 1ms}".to_owned(),
                "its window is too short",
            ),
            (
                format!("{{name: q, query: up, max: 1, {counters}}}"),
                "both a query and counters",
            ),
            (
                format!("{{name: q, {counters}}}"),
                "it says nothing to watch",
            ),
            (
                format!("{{name: q, {counters}, total: a}}"),
                "total does not say whose counters they are (try: {pod=~\"{{version.pods}}\"}",
            ),
            (
                "q: x{p=~\"{{version.pods}}\"} <= 1".to_owned(),
                "{{version.…}} is for counters",
            ),
            (
                "q: x{p=\"{{canary.pods}}\"} <= 1".to_owned(),
                "guard q: query: {{canary.pods}} is a regular expression (try: =~",
            ),
            (format!("q: {} <= 1", "x".repeat(5000)), "the guards take 5"),
        ] {
            let error = match text.parse::<MetricGuard>() {
                Ok(guard) => MetricGuard::check_all(&[guard]).unwrap_err().to_string(),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(expected), "{text}: {error}");
            assert_eq!(error.matches("(try: ").count(), 1, "{error}");
        }
        let guard: MetricGuard = "q: up <= 1".parse().unwrap();
        let error = MetricGuard::check_all(&[guard.clone(), guard.clone()]);
        assert!(error.unwrap_err().to_string().contains("two of this name"));
        let many: Vec<_> = (0..9)
            .map(|n| MetricGuard {
                name: format!("q{n}"),
                ..guard.clone()
            })
            .collect();
        let error = MetricGuard::check_all(&many).unwrap_err().to_string();
        assert!(error.contains("guard q8: it is one too many"), "{error}");
    }
}
