//! The value of an expression at one moment.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::expression::{Aggregate, Aggregation, Binary, Expression, Operator, SeriesSelector};
use super::storage::{Labels, Sample, Storage, Veil};

/// One series of an instant vector.
type Element = (Labels, f64);

/// A moment, and what is known at it.
pub(super) struct Evaluation<'a> {
    pub(super) storage: &'a Storage,
    pub(super) veils: &'a [Veil],
    /// In milliseconds.
    pub(super) at: i64,
    /// How far back an instant selector looks, in milliseconds.
    pub(super) lookback: i64,
}

impl Evaluation<'_> {
    /// The instant vector that an expression comes to; a number is one without labels.
    pub(super) fn vector(&self, expression: &Expression) -> Vec<Element> {
        match expression {
            Expression::Number(number) | Expression::Vector(number) => {
                vec![(Labels::new(), *number)]
            }
            Expression::Time => vec![(Labels::new(), self.at as f64 / 1000.0)],
            Expression::Selector(selector) => {
                let newest = self.newest(selector);
                newest
                    .into_iter()
                    .map(|(labels, (_, value))| (labels, value))
                    .collect()
            }
            Expression::Timestamp(selector) => {
                let newest = self.newest(selector);
                let times = newest.into_iter();
                times
                    .map(|(labels, (time, _))| (unnamed(labels), time as f64 / 1000.0))
                    .collect()
            }
            Expression::OverTime { counts, of } => self.over_time(*counts, of),
            Expression::Aggregate(aggregate) => self.aggregate(aggregate),
            Expression::Topmost { most, of } => {
                let mut vector = self.vector(of);
                vector.sort_by(|(_, a), (_, b)| b.total_cmp(a));
                vector.truncate(*most);
                vector
            }
            Expression::Labelled { of, label, value } => {
                let mut vector = self.vector(of);
                for (labels, _) in &mut vector {
                    labels.insert(label.clone(), value.clone());
                }
                vector
            }
            Expression::Binary(binary) => self.binary(binary),
            // It is a range, which only stands alone.
            Expression::Subquery { .. } => Vec::new(),
        }
    }

    fn select(&self, selector: &SeriesSelector, range: i64) -> Vec<(Cow<'_, Labels>, Vec<Sample>)> {
        let to = self.at - selector.offset;
        self.storage
            .select(&selector.matchers, to - range, to, self.veils)
    }

    /// The newest sample of every series that has not gone stale.
    fn newest(&self, selector: &SeriesSelector) -> Vec<(Labels, (i64, f64))> {
        let series = self.select(selector, self.lookback).into_iter();
        series
            .filter_map(|(labels, samples)| {
                let (time, value) = *samples.last()?;
                Some((labels.into_owned(), (time, value?)))
            })
            .collect()
    }

    /// Over the samples of a range; where a series went stale is none of them.
    fn over_time(&self, counts: bool, selector: &SeriesSelector) -> Vec<Element> {
        let series = self.select(selector, selector.range.unwrap_or_default());
        let values = series.into_iter().filter_map(|(labels, samples)| {
            let samples: Vec<f64> = samples.into_iter().filter_map(|(_, value)| value).collect();
            let last = samples.last()?;
            Some(match counts {
                true => (unnamed(labels.into_owned()), samples.len() as f64),
                false => (labels.into_owned(), *last),
            })
        });
        values.collect()
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Vec<Element> {
        let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
        for (labels, value) in self.vector(&aggregate.of) {
            let mut labels = if aggregate.without {
                unnamed(labels)
            } else {
                labels
            };
            labels.retain(|label, _| aggregate.labels.contains(label) != aggregate.without);
            groups.entry(labels).or_default().push(value);
        }
        let groups = groups.into_iter();
        groups
            .map(|(labels, values)| (labels, aggregated(aggregate.how, values)))
            .collect()
    }

    fn binary(&self, binary: &Binary) -> Vec<Element> {
        let (left, right) = (self.vector(&binary.left), self.vector(&binary.right));
        let limit = right.first().map_or(f64::NAN, |(_, value)| *value);
        match &binary.operator {
            Operator::Or => {
                let known: BTreeSet<Labels> = left
                    .iter()
                    .map(|(labels, _)| unnamed(labels.clone()))
                    .collect();
                let new = right
                    .into_iter()
                    .filter(|(labels, _)| !known.contains(&unnamed(labels.clone())));
                left.into_iter().chain(new).collect()
            }
            Operator::And(on) => {
                let key = |labels: &Labels| match on {
                    None => unnamed(labels.clone()),
                    Some(on) => {
                        let mut labels = labels.clone();
                        labels.retain(|label, _| on.contains(label));
                        labels
                    }
                };
                let known: BTreeSet<Labels> = right.iter().map(|(labels, _)| key(labels)).collect();
                let both = left
                    .into_iter()
                    .filter(|(labels, _)| known.contains(&key(labels)));
                both.collect()
            }
            Operator::Minus => {
                let right: BTreeMap<Labels, f64> = right
                    .into_iter()
                    .map(|(labels, value)| (unnamed(labels), value))
                    .collect();
                let both = left.into_iter().filter_map(|(labels, value)| {
                    let labels = unnamed(labels);
                    let other = right.get(&labels)?;
                    Some((labels, value - other))
                });
                both.collect()
            }
            Operator::AtLeast => left
                .into_iter()
                .filter(|(_, value)| *value >= limit)
                .collect(),
            Operator::Above => left
                .into_iter()
                .filter(|(_, value)| *value > limit)
                .collect(),
        }
    }
}

fn aggregated(how: Aggregation, mut values: Vec<f64>) -> f64 {
    match how {
        Aggregation::Sum => values.iter().sum(),
        Aggregation::Count => values.len() as f64,
        Aggregation::Max => values.into_iter().fold(f64::NAN, f64::max),
        Aggregation::Quantile(quantile) => {
            values.sort_by(f64::total_cmp);
            let rank = quantile * (values.len() - 1) as f64;
            let (below, above) = (rank.floor() as usize, rank.ceil() as usize);
            let weight = rank - rank.floor();
            values[below] * (1.0 - weight) + values[above] * weight
        }
    }
}

fn unnamed(mut labels: Labels) -> Labels {
    labels.remove("__name__");
    labels
}
