//! Samples that were read here rather than by Prometheus, kept as long as a query may go back for them.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::error::MetricsError;
use super::query::Query;
use super::query_result::{Labels, QueryResult, Series};

/// How many samples of a series are kept: two minutes and more of one each second, by which each query overlaps
/// the one before. They are not dropped by age, so that an outage leaves something to compare with.
const KEPT: usize = 150;
/// A series that nobody shows any longer is forgotten after this time.
const FORGOTTEN: SignedDuration = SignedDuration::from_mins(10);

/// Answers the queries for raw samples of what it was given.
#[derive(Debug, Default)]
pub(crate) struct SampleStore {
    series: HashMap<Labels, VecDeque<(Timestamp, f64)>>,
}

impl SampleStore {
    /// Takes what was read at `at`, which is later than what it has.
    pub(crate) fn add(&mut self, at: Timestamp, samples: impl IntoIterator<Item = (Labels, f64)>) {
        for (labels, value) in samples {
            let kept = self.series.entry(labels).or_default();
            if kept.back().is_some_and(|(newest, _)| *newest >= at) {
                continue;
            }
            kept.push_back((at, value));
            if kept.len() > KEPT {
                kept.pop_front();
            }
        }
        let oldest = at.saturating_sub(FORGOTTEN).unwrap_or(Timestamp::MIN);
        self.series
            .retain(|_, kept| kept.back().is_some_and(|(newest, _)| *newest > oldest));
    }

    /// The samples of the query's metric in its range. Its matchers are left to who counts: they only keep the
    /// answer of a server small.
    ///
    /// # Errors
    /// If it does not ask for raw samples.
    pub(crate) fn answer(&self, query: &Query) -> Result<QueryResult, MetricsError> {
        let bad = || MetricsError::BadQuery {
            at: "the pods' proxies".into(),
            message: "only raw samples can be had".into(),
        };
        let (metric, range) = range_selector(&query.text).ok_or_else(bad)?;
        let from = query.at.saturating_sub(range).unwrap_or(Timestamp::MIN);
        let series = self.series.iter();
        let series = series.filter(|(labels, _)| labels["__name__"] == metric);
        let series = series.map(|(labels, kept)| Series {
            labels: labels.clone(),
            samples: kept
                .iter()
                .filter(|(time, _)| (from..=query.at).contains(time))
                .copied()
                .collect(),
        });
        Ok(QueryResult {
            series: series.filter(|series| !series.samples.is_empty()).collect(),
            warnings: Vec::new(),
        })
    }
}

/// Metric and range of `metric{…}[60s]`.
fn range_selector(text: &str) -> Option<(&str, SignedDuration)> {
    let (metric, rest) = text.split_once('{')?;
    let (_, range) = rest.strip_suffix("s]")?.rsplit_once("}[")?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_metric = !metric.is_empty() && metric.bytes().all(is_name);
    let seconds = range.parse().ok().filter(|_| is_metric)?;
    Some((metric, SignedDuration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn series(metric: &str, pod: &str) -> Labels {
        Labels::from(
            [("__name__", metric), ("pod", pod)]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        )
    }

    fn query(text: &str, second: i64) -> Query {
        Query {
            text: text.to_owned(),
            at: at(second),
            within: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_query_gets_the_samples_of_its_metric_in_its_range() {
        let mut store = SampleStore::default();
        for second in 0..300 {
            store.add(at(second), [(series("a", "x"), second as f64)]);
            store.add(at(second), [(series("b", "x"), 1.0)]);
        }
        let found = store.answer(&query("a{pod=~\"}[5s]\"}[10s]", 299)).unwrap();
        let [only] = &found.series[..] else {
            panic!("{found:?}");
        };
        assert_eq!(only.samples.len(), 11);
        assert_eq!(only.samples.last(), Some(&(at(299), 299.0)));
        let found = store.answer(&query("a{}[3600s]", 299)).unwrap();
        assert_eq!(found.series[0].samples.len(), KEPT);
        for text in ["sum(a{})[5s]", "a{}", "rate(a{}[5s])", "{}[5s]", ""] {
            assert!(store.answer(&query(text, 299)).is_err(), "{text}");
        }
    }

    #[test]
    fn after_an_outage_there_is_still_something_to_compare_with() {
        let mut store = SampleStore::default();
        store.add(at(0), [(series("a", "x"), 5.0), (series("a", "y"), 5.0)]);
        store.add(at(400), [(series("a", "x"), 9.0)]);
        let found = store.answer(&query("a{}[600s]", 400)).unwrap();
        let of_x = found.series.iter().find(|s| s.labels["pod"] == "x");
        assert_eq!(of_x.unwrap().samples, [(at(0), 5.0), (at(400), 9.0)]);
        store.add(at(1000), [(series("a", "x"), 9.0)]);
        assert_eq!(store.series.len(), 1, "y is gone");
    }
}
