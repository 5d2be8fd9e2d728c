//! What Prometheus has scraped: series of samples, and their selection.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;

use crate::sandbox::traffic::{BOUNDS, Pod, Stream, StreamCounters, target_labels};

/// The labels of a series, its name among them.
pub(crate) type Labels = BTreeMap<String, String>;

/// A time in milliseconds and a value; `None` marks where the series went stale.
pub(crate) type Sample = (i64, Option<f64>);

/// Under which labels a scraped series is stored: none, one or several.
pub(crate) type Relabel = dyn Fn(&Labels) -> Vec<Labels> + Send + Sync;

#[derive(Clone, Default)]
struct Relabeling(Option<Arc<Relabel>>);

impl fmt::Debug for Relabeling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Relabeling").finish()
    }
}

/// How a label is compared.
#[derive(Clone, Debug)]
pub(crate) enum Matching {
    Equal(String),
    NotEqual(String),
    Like(Regex),
    NotLike(Regex),
}

/// One condition of a selector. A missing label counts as an empty one.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    pub label: String,
    pub matching: Matching,
}

impl Matcher {
    pub(crate) fn accepts(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        match &self.matching {
            Matching::Equal(wanted) => value == wanted,
            Matching::NotEqual(unwanted) => value != unwanted,
            Matching::Like(pattern) => pattern.is_match(value),
            Matching::NotLike(pattern) => !pattern.is_match(value),
        }
    }
}

/// Hides the newest samples of the series that carry a label.
#[derive(Clone, Debug)]
pub(crate) struct Veil {
    pub label: String,
    pub value: String,
    /// Samples after this time, in milliseconds, are not shown.
    pub after: i64,
}

/// One series. It goes stale when its target no longer has it.
#[derive(Clone, Debug)]
pub(crate) struct StoredSeries {
    pub labels: Labels,
    samples: VecDeque<Sample>,
}

impl StoredSeries {
    fn push(&mut self, at: i64, value: Option<f64>, oldest: i64) {
        self.samples.push_back((at, value));
        while self.samples.front().is_some_and(|(at, _)| *at < oldest) {
            self.samples.pop_front();
        }
    }

    /// Samples in `(from, to]`, stale marks included.
    fn between(&self, from: i64, to: i64) -> impl Iterator<Item = Sample> {
        let first = self.samples.partition_point(|(at, _)| *at <= from);
        let last = self.samples.partition_point(|(at, _)| *at <= to);
        self.samples.range(first..last.max(first)).copied()
    }
}

/// The time series database, bounded by a retention.
#[derive(Debug)]
pub(crate) struct Storage {
    series: Vec<StoredSeries>,
    of_streams: HashMap<Stream, Vec<usize>>,
    of_targets: HashMap<Pod, usize>,
    /// What the last scrape found; what the next one misses of it goes stale.
    seen: HashSet<usize>,
    retention: SignedDuration,
    relabeling: Relabeling,
}

impl Storage {
    pub(crate) fn new(retention: SignedDuration) -> Self {
        Self {
            series: Vec::new(),
            of_streams: HashMap::new(),
            of_targets: HashMap::new(),
            seen: HashSet::new(),
            retention,
            relabeling: Relabeling::default(),
        }
    }

    pub(crate) fn keep(&mut self, retention: SignedDuration) {
        self.retention = retention;
    }

    pub(crate) fn relabel(&mut self, relabel: Arc<Relabel>) {
        self.relabeling = Relabeling(Some(relabel));
    }

    /// Takes a sample of everything the targets show at `at`.
    pub(crate) fn scrape<'a>(
        &mut self,
        at: Timestamp,
        targets: impl Iterator<Item = &'a Pod>,
        streams: impl Iterator<Item = (&'a Stream, &'a StreamCounters)>,
    ) {
        let oldest = (at - self.retention).as_millisecond();
        let at = at.as_millisecond();
        let mut seen = HashSet::with_capacity(self.seen.len());
        for target in targets {
            let id = self.target(target);
            self.series[id].push(at, Some(1.0), oldest);
            seen.insert(id);
        }
        for (stream, counters) in streams {
            let ids = self.stream(stream);
            let mut below = 0;
            let buckets = counters.buckets.iter().map(|bucket| {
                below += bucket;
                below as f64
            });
            let values = [
                counters.requests as f64,
                counters.milliseconds,
                counters.requests as f64,
            ];
            for (id, value) in ids.iter().zip(values.into_iter().chain(buckets)) {
                self.series[*id].push(at, Some(value), oldest);
                seen.insert(*id);
            }
        }
        for gone in self.seen.difference(&seen) {
            self.series[*gone].push(at, None, oldest);
        }
        self.seen = seen;
    }

    fn target(&mut self, pod: &Pod) -> usize {
        if let Some(id) = self.of_targets.get(pod) {
            return *id;
        }
        let id = self.begin(target_labels(pod), "up", None);
        self.of_targets.insert(pod.clone(), id);
        id
    }

    /// The ids of a stream's series: requests, sum, count, then the buckets; of a connection, those
    /// opened.
    fn stream(&mut self, stream: &Stream) -> Vec<usize> {
        if let Some(ids) = self.of_streams.get(stream) {
            return ids.clone();
        }
        let labels = stream.labels();
        if stream.tcp {
            let opened = self.begin(labels, "istio_tcp_connections_opened_total", None);
            self.of_streams.insert(stream.clone(), vec![opened]);
            return vec![opened];
        }
        let duration = "istio_request_duration_milliseconds";
        let mut ids = vec![
            self.begin(labels.clone(), "istio_requests_total", None),
            self.begin(labels.clone(), &format!("{duration}_sum"), None),
            self.begin(labels.clone(), &format!("{duration}_count"), None),
        ];
        let bounds = BOUNDS.iter().map(f64::to_string);
        for bound in bounds.chain(["+Inf".to_owned()]) {
            ids.push(self.begin(labels.clone(), &format!("{duration}_bucket"), Some(bound)));
        }
        self.of_streams.insert(stream.clone(), ids.clone());
        ids
    }

    fn begin(&mut self, mut labels: Labels, name: &str, bound: Option<String>) -> usize {
        labels.insert("__name__".to_owned(), name.to_owned());
        if let Some(bound) = bound {
            labels.insert("le".to_owned(), bound);
        }
        self.series.push(StoredSeries {
            labels,
            samples: VecDeque::new(),
        });
        self.series.len() - 1
    }

    /// Adds a series of a user's own; its samples may be of a time to come.
    pub(crate) fn insert(&mut self, labels: Labels, samples: Vec<Sample>) {
        self.series.push(StoredSeries {
            labels,
            samples: samples.into(),
        });
    }

    /// The samples in `(from, to]` of the series chosen, in order of their labels.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        veils: &[Veil],
    ) -> Vec<(Cow<'_, Labels>, Vec<Sample>)> {
        if let Some(relabel) = &self.relabeling.0 {
            return self.select_relabelled(&**relabel, matchers, (from, to), veils);
        }
        let mut chosen: Vec<_> = self
            .series
            .iter()
            .filter(|series| {
                matchers
                    .iter()
                    .all(|matcher| matcher.accepts(&series.labels))
            })
            .map(|series| {
                let shown = veils
                    .iter()
                    .filter(|veil| series.labels.get(&veil.label) == Some(&veil.value))
                    .fold(to, |to, veil| to.min(veil.after));
                (
                    Cow::Borrowed(&series.labels),
                    series.between(from, shown).collect(),
                )
            })
            .filter(|(_, samples): &(_, Vec<_>)| !samples.is_empty())
            .collect();
        chosen.sort_by(|(a, _), (b, _)| a.cmp(b));
        chosen
    }

    /// The same by the labels under which the series are stored; those that become one are summed.
    fn select_relabelled(
        &self,
        relabel: &Relabel,
        matchers: &[Matcher],
        (from, to): (i64, i64),
        veils: &[Veil],
    ) -> Vec<(Cow<'_, Labels>, Vec<Sample>)> {
        let mut stored: BTreeMap<Labels, BTreeMap<i64, Option<f64>>> = BTreeMap::new();
        for series in &self.series {
            for labels in relabel(&series.labels) {
                if !matchers.iter().all(|matcher| matcher.accepts(&labels)) {
                    continue;
                }
                let shown = veils
                    .iter()
                    .filter(|veil| labels.get(&veil.label) == Some(&veil.value))
                    .fold(to, |to, veil| to.min(veil.after));
                let sums = stored.entry(labels).or_default();
                for (at, value) in series.between(from, shown) {
                    let sum = sums.entry(at).or_default();
                    *sum = match (*sum, value) {
                        (Some(sum), Some(value)) => Some(sum + value),
                        (sum, value) => sum.or(value),
                    };
                }
            }
        }
        stored
            .into_iter()
            .filter(|(_, samples)| !samples.is_empty())
            .map(|(labels, samples)| (Cow::Owned(labels), samples.into_iter().collect()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Pod {
        Pod {
            name: name.to_owned(),
            ..Pod::default()
        }
    }

    fn up() -> Vec<Matcher> {
        vec![Matcher {
            label: "__name__".to_owned(),
            matching: Matching::Equal("up".to_owned()),
        }]
    }

    #[test]
    fn a_target_that_goes_away_turns_stale_and_old_samples_are_dropped() {
        let mut storage = Storage::new(SignedDuration::from_secs(5));
        let at = |second| Timestamp::from_second(second).unwrap();
        let (a, b) = (pod("a"), pod("b"));
        for second in 0..10 {
            let targets = if second < 9 { vec![&a, &b] } else { vec![&a] };
            storage.scrape(at(second), targets.into_iter(), std::iter::empty());
        }
        let chosen = storage.select(&up(), i64::MIN, i64::MAX, &[]);
        assert_eq!(chosen.len(), 2);
        assert_eq!(chosen[0].1.first(), Some(&(4000, Some(1.0))));
        assert_eq!(chosen[1].1.last(), Some(&(9000, None)));
    }

    #[test]
    fn a_veil_hides_the_newest_samples() {
        let mut storage = Storage::new(SignedDuration::from_secs(60));
        let (a, b) = (pod("a"), pod("b"));
        for second in 0..3 {
            let at = Timestamp::from_second(second).unwrap();
            storage.scrape(at, [&a, &b].into_iter(), std::iter::empty());
        }
        let veil = Veil {
            label: "pod".to_owned(),
            value: "b".to_owned(),
            after: 1000,
        };
        let chosen = storage.select(&up(), -1, 2000, &[veil]);
        assert_eq!((chosen[0].1.len(), chosen[1].1.len()), (3, 2));
    }
}
