//! Why the metrics cannot be used, since when, and how often that is reported. Pure.

use std::mem::discriminant;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::{Flaw, MetricsError, MixedLabel, Quality, Unclaimed};
use crate::plan::HumanDuration;

/// How often the same problem is reported again.
const REMINDER: SignedDuration = SignedDuration::from_mins(1);

/// Why the metrics cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "problem",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Unusable {
    /// There is no answer at all.
    NoAnswer {
        /// The kind of error, in one word: `timed-out`.
        error: String,
        /// What was attempted and what came back.
        message: String,
    },
    /// A part of the answer is missing.
    Partial {
        /// What Prometheus said about it.
        warnings: Vec<String>,
    },
    /// Neither version has a series.
    NoSeries {
        /// What the service has instead, where it has any.
        unclaimed: Option<Unclaimed>,
    },
    /// A label has several values where it should have one: several clusters, or copies of one.
    Mixed {
        /// The label and its values.
        mixed: MixedLabel,
    },
    /// No series has a readable response code, so that failures look like successes.
    NoCodes,
    /// gRPC answers have no status, so that failures look like successes.
    NoGrpcStatus,
    /// The newest sample is too old.
    Stale {
        /// How old it is.
        age: HumanDuration,
    },
    /// The versions' samples are further apart than a scrape.
    Skewed,
}

impl From<MetricsError> for Unusable {
    fn from(error: MetricsError) -> Self {
        Self::NoAnswer {
            error: error.kind().to_owned(),
            message: error.what(),
        }
    }
}

impl Unusable {
    /// What keeps an answer of this quality from being used at `now`.
    pub fn of(quality: &Quality, now: Timestamp) -> Option<Self> {
        if quality.is_sound(now) {
            None
        } else if quality.partial {
            Some(Self::Partial {
                warnings: quality.server_warnings(),
            })
        } else if let Some(flaw) = quality.flaw.clone() {
            Some(match flaw {
                Flaw::Unclaimed(unclaimed) => Self::NoSeries {
                    unclaimed: Some(unclaimed),
                },
                Flaw::Mixed(mixed) => Self::Mixed { mixed },
                Flaw::NoCodes => Self::NoCodes,
                Flaw::NoGrpcStatus => Self::NoGrpcStatus,
            })
        } else if quality.series == 0 {
            Some(Self::NoSeries { unclaimed: None })
        } else if quality.is_stale(now) {
            let age = quality.age(now).unwrap_or_default().into();
            Some(Self::Stale { age })
        } else {
            Some(Self::Skewed)
        }
    }

    /// Whether both are the same problem, whatever the numbers and texts in it.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NoAnswer { error: a, .. }, Self::NoAnswer { error: b, .. }) => a == b,
            _ => discriminant(self) == discriminant(other),
        }
    }
}

/// Since when the metrics cannot be used.
#[derive(Debug, Default)]
pub struct MetricsOutage {
    since: Option<Timestamp>,
    reported: Option<(Unusable, Timestamp)>,
}

impl MetricsOutage {
    /// The metrics cannot be used at `now`: since when, and whether that is to be reported.
    pub fn note(&mut self, why: &Unusable, now: Timestamp) -> (Timestamp, bool) {
        let since = *self.since.get_or_insert(now);
        let known = self.reported.as_ref().is_some_and(|(reported, at)| {
            reported.is_like(why) && now.duration_since(*at) < REMINDER
        });
        if !known {
            self.reported = Some((why.clone(), now));
        }
        (since, !known)
    }

    /// The metrics can be used again, or their grace begins again: since when they could not be used.
    pub fn end(&mut self) -> Option<Timestamp> {
        self.reported = None;
        self.since.take()
    }

    /// The clock was set forward by this much, which is no time that the outage lasted.
    pub fn clock_was_set(&mut self, by: SignedDuration) {
        let later = |at: Timestamp| at.saturating_add(by).unwrap_or(at);
        self.since = self.since.map(later);
        if let Some((_, at)) = &mut self.reported {
            *at = later(*at);
        }
    }

    /// For how long they cannot be used by now.
    pub fn lasted(&self, now: Timestamp) -> SignedDuration {
        let since = self.since.unwrap_or(now);
        now.duration_since(since)
    }

    /// Whether they cannot be used right now.
    pub fn lasts(&self) -> bool {
        self.since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_problem_is_reported_once_a_minute_and_another_at_once() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let stale = |second| Unusable::Stale {
            age: HumanDuration::seconds(second),
        };
        let no_series = || Unusable::NoSeries { unclaimed: None };
        let mut outage = MetricsOutage::default();
        for (why, second, reported) in [
            (stale(4), 10, true),
            (stale(5), 11, false),
            (no_series(), 12, true),
            (no_series(), 71, false),
            (no_series(), 72, true),
        ] {
            assert_eq!(outage.note(&why, at(second)), (at(10), reported));
        }
        outage.clock_was_set(SignedDuration::from_secs(-5));
        assert_eq!(outage.note(&no_series(), at(80)), (at(5), false));
        assert_eq!(outage.end(), Some(at(5)));
        assert!(!outage.lasts());
    }
}
