//! Why the metrics cannot be used, since when, and how often that is worth saying.

use std::fmt;
use std::mem::{Discriminant, discriminant};

use jiff::{SignedDuration, Timestamp};

use crate::metrics::{MetricsError, Quality};
use crate::plan::HumanDuration;

/// How often the same trouble is told again.
const REMINDER: SignedDuration = SignedDuration::from_mins(1);

/// Why the metrics cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum Unusable {
    /// There is no answer at all.
    NoAnswer(MetricsError),
    /// A part of the answer is missing.
    Partial(Vec<String>),
    /// Neither version has a series.
    NoSeries,
    /// The newest sample is this old.
    Stale(SignedDuration),
    /// The versions' samples are from different times.
    Skewed,
}

impl Unusable {
    /// What keeps an answer of this quality from being used at `now`.
    pub fn of(quality: &Quality, now: Timestamp) -> Option<Self> {
        if quality.is_sound(now) {
            None
        } else if quality.partial {
            Some(Self::Partial(quality.warnings.clone()))
        } else if quality.series == 0 {
            Some(Self::NoSeries)
        } else if quality.is_stale(now) {
            Some(Self::Stale(quality.age(now).unwrap_or_default()))
        } else {
            Some(Self::Skewed)
        }
    }

    fn kind(&self) -> Kind {
        let answer = match self {
            Self::NoAnswer(error) => Some(discriminant(error)),
            Self::Partial(_) | Self::NoSeries | Self::Stale(_) | Self::Skewed => None,
        };
        (discriminant(self), answer)
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(error) => error.fmt(f),
            Self::Partial(warnings) => {
                write!(f, "the answer is incomplete: {}", warnings.join("; "))
            }
            Self::NoSeries => f.write_str("there are no series of either version"),
            Self::Stale(age) => {
                write!(f, "the newest sample is {} old", HumanDuration::from(*age))
            }
            Self::Skewed => {
                f.write_str("the samples of the two versions are further apart than a scrape")
            }
        }
    }
}

/// What tells one trouble from another, without the numbers in it that change all the time.
type Kind = (Discriminant<Unusable>, Option<Discriminant<MetricsError>>);

/// Since when the metrics cannot be used.
#[derive(Debug, Default)]
pub struct MetricsOutage {
    since: Option<Timestamp>,
    told: Option<(Kind, Timestamp)>,
}

impl MetricsOutage {
    /// The metrics cannot be used at `now`: since when, and whether that is worth saying.
    pub fn note(&mut self, trouble: &Unusable, now: Timestamp) -> (Timestamp, bool) {
        let since = *self.since.get_or_insert(now);
        let kind = trouble.kind();
        let known = self
            .told
            .is_some_and(|(told, at)| told == kind && now.duration_since(at) < REMINDER);
        if !known {
            self.told = Some((kind, now));
        }
        (since, !known)
    }

    /// The metrics can be used again, or the waiting for them begins anew: since when they could not.
    pub fn end(&mut self) -> Option<Timestamp> {
        self.told = None;
        self.since.take()
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
    fn the_same_trouble_is_told_once_a_minute_and_another_at_once() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let stale = |second| Unusable::Stale(SignedDuration::from_secs(second));
        let mut outage = MetricsOutage::default();
        for (trouble, second, told) in [
            (stale(4), 10, true),
            (stale(5), 11, false),
            (Unusable::NoSeries, 12, true),
            (Unusable::NoSeries, 71, false),
            (Unusable::NoSeries, 72, true),
        ] {
            assert_eq!(outage.note(&trouble, at(second)), (at(10), told));
        }
        assert_eq!(outage.end(), Some(at(10)));
        assert!(!outage.lasts());
    }
}
