//! What was found where Prometheus is looked for, because nobody said where it is.

use std::fmt::Write;

use crate::metrics::{MetricsError, RefusedBy};
use crate::plan::Finding;

/// The Services that were asked in the place of the default one.
#[derive(Clone, Debug, PartialEq)]
pub struct PrometheusSearch {
    /// What is wrong with the default address.
    pub default: String,
    /// The metric that was looked for.
    pub metric: &'static str,
    /// Those that were asked.
    pub tried: Vec<TriedAddress>,
    /// Why Services could not be listed, if so; then well-known names were tried.
    pub unlisted: Option<String>,
    /// How many look like it and were not asked.
    pub skipped: usize,
}

/// A Service that was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct TriedAddress {
    /// As `--prometheus` takes it.
    pub address: String,
    /// What makes it look like Prometheus.
    pub looks: String,
    /// What came of it.
    pub answer: SearchAnswer,
}

/// What a Service answers.
#[derive(Clone, Debug, PartialEq)]
pub enum SearchAnswer {
    /// It has series of the route.
    HasSeries,
    /// It answers without any.
    NoSeries,
    /// It does not answer.
    Failed(MetricsError),
}

impl PrometheusSearch {
    /// The Services that have series of the route.
    pub fn found(&self) -> Vec<&TriedAddress> {
        let tried = self.tried.iter();
        tried
            .filter(|tried| tried.answer == SearchAnswer::HasSeries)
            .collect()
    }

    /// The Service to take: the only one that has series.
    pub fn only(&self) -> Option<&TriedAddress> {
        match self.found()[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// What is to be known of it where the rollout may start: which was taken and why, or what was tried.
    pub(super) fn finding(&self) -> Option<Finding> {
        match self.only() {
            Some(TriedAddress { address, looks, .. }) => Some(Finding::warn(
                format!("metrics are read from {address}, found by {looks}"),
                match &self.unlisted {
                    Some(why) => format!(
                        "{}; only well-known names were tried, as services cannot be listed in all namespaces: {why}",
                        self.default
                    ),
                    None => self.default.clone(),
                },
                format!("--prometheus {address}"),
            )),
            None if self.tried.is_empty() => None,
            None => Some(Finding::ok(self.failures())),
        }
    }

    /// What forbids to go on: several have series, and each may be another cluster's or another mesh's.
    pub fn ambiguous(&self) -> Option<Finding> {
        let found = self.found();
        if found.len() < 2 {
            return None;
        }
        let names: Vec<_> = found.iter().map(|one| one.address.as_str()).collect();
        let flags: Vec<_> = names
            .iter()
            .map(|address| format!("--prometheus {address}"))
            .collect();
        Some(Finding::refuse(
            format!(
                "{} of the route is in {}",
                self.metric,
                names.join(" and in ")
            ),
            format!("{}, and which of them to use is not known", self.default),
            flags.join(", or "),
        ))
    }

    /// What was tried in vain, with each one's reason.
    pub(super) fn failures(&self) -> String {
        let named = |is: fn(&SearchAnswer) -> bool| -> Vec<&str> {
            let tried = self.tried.iter().filter(|tried| is(&tried.answer));
            tried.map(|tried| tried.address.as_str()).collect()
        };
        let mut told = Vec::new();
        if let Some(why) = &self.unlisted {
            told.push(format!(
                "cannot list services in all namespaces ({why}), so well-known names were tried"
            ));
        }
        let mut group = |addresses: &[&str], what: &str| {
            if !addresses.is_empty() {
                told.push(format!("{}: {what}", addresses.join(", ")));
            }
        };
        group(
            &named(|answer| *answer == SearchAnswer::NoSeries),
            &format!("no {} of the route", self.metric),
        );
        group(&named(is_missing), "not found");
        group(&named(is_forbidden), "get on services/proxy is not allowed");
        for tried in &self.tried {
            if let SearchAnswer::Failed(error) = &tried.answer
                && !is_missing(&tried.answer)
                && !is_forbidden(&tried.answer)
            {
                told.push(error.what());
            }
        }
        let mut text = match self.tried.is_empty() {
            true => "no other Service looks like Prometheus".to_owned(),
            false => format!("tried in its place: {}", told.join("; ")),
        };
        if self.skipped > 0 {
            let _ = write!(text, "; {} more were not tried", self.skipped);
        }
        text
    }
}

fn is_missing(answer: &SearchAnswer) -> bool {
    matches!(answer, SearchAnswer::Failed(MetricsError::NotFound { .. }))
}

fn is_forbidden(answer: &SearchAnswer) -> bool {
    let SearchAnswer::Failed(error) = answer else {
        return false;
    };
    matches!(
        error,
        MetricsError::Forbidden {
            by: RefusedBy::ApiServer,
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(address: &str, answer: SearchAnswer) -> TriedAddress {
        TriedAddress {
            address: address.into(),
            looks: "its name".into(),
            answer,
        }
    }

    fn search(tried: Vec<TriedAddress>) -> PrometheusSearch {
        PrometheusSearch {
            default: "istio-system/prometheus:9090 was not found".into(),
            metric: "istio_requests_total",
            tried,
            unlisted: None,
            skipped: 0,
        }
    }

    #[test]
    fn the_only_one_with_series_is_taken_and_several_are_listed() {
        let a = tried("a/prometheus:9090", SearchAnswer::HasSeries);
        let b = tried("b/prometheus:9090", SearchAnswer::NoSeries);
        let one = search(vec![a.clone(), b.clone()]);
        assert_eq!(one.only(), Some(&a));
        assert_eq!(one.ambiguous(), None);
        assert_eq!(
            one.finding().unwrap().to_string(),
            "metrics are read from a/prometheus:9090, found by its name: istio-system/prometheus:9090 was not found (try: --prometheus a/prometheus:9090)"
        );
        let c = tried("c/prometheus:9090", SearchAnswer::HasSeries);
        let several = search(vec![a, b, c]);
        assert_eq!(several.only(), None);
        assert_eq!(
            several.ambiguous().unwrap().to_string(),
            "istio_requests_total of the route is in a/prometheus:9090 and in c/prometheus:9090: istio-system/prometheus:9090 was not found, and which of them to use is not known (try: --prometheus a/prometheus:9090, or --prometheus c/prometheus:9090)"
        );
    }

    #[test]
    fn each_of_those_that_do_not_have_it_is_told_with_its_reason() {
        let failed = |error| SearchAnswer::Failed(error);
        let missing = |at: &str| {
            tried(
                at,
                failed(MetricsError::NotFound {
                    at: at.into(),
                    message: "services not found".into(),
                }),
            )
        };
        let down = MetricsError::Unavailable {
            at: "c/prometheus:9090".into(),
            message: "no endpoints".into(),
            retry_after: None,
        };
        let barred = MetricsError::Forbidden {
            at: "d/prometheus:9090".into(),
            by: RefusedBy::ApiServer,
            message: "no".into(),
        };
        let mut search = search(vec![
            missing("a/prometheus:9090"),
            tried("e/prometheus:9090", SearchAnswer::NoSeries),
            missing("b/prometheus:9090"),
            tried("c/prometheus:9090", failed(down)),
            tried("d/prometheus:9090", failed(barred)),
        ]);
        search.skipped = 2;
        assert_eq!(
            search.failures(),
            "tried in its place: e/prometheus:9090: no istio_requests_total of the route; a/prometheus:9090, b/prometheus:9090: not found; d/prometheus:9090: get on services/proxy is not allowed; c/prometheus:9090 is unavailable: no endpoints; 2 more were not tried"
        );
        search.unlisted = Some("forbidden".into());
        assert!(
            search
                .failures()
                .contains("cannot list services in all namespaces (forbidden)")
        );
        search.tried.clear();
        search.skipped = 0;
        assert_eq!(search.failures(), "no other Service looks like Prometheus");
    }
}
