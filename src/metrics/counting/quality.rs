//! The windows that an answer completed, and how far they can be trusted.

use jiff::{SignedDuration, Timestamp};

use super::counter_log::CounterLog;
use super::flaw::Flaw;
use super::versions::{Reporter, SeriesOwner};
use super::warning::MetricsWarning;
use crate::verdict::Window;

/// After how many scrape intervals without a sample the metrics count as stale.
const STALE_AFTER: i32 = 3;

/// The scrape interval assumed where none can be seen: Prometheus' own default.
const USUAL_INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// The windows that became complete with one answer, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What both versions did since the last answers. Empty if no scrape came, or if the answer was partial.
    pub windows: Vec<Window>,
    /// The same as the versions' own proxies report it, copies of requests included; empty unless requests
    /// are mirrored.
    pub mirrored: Vec<Window>,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// Times of the newest samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// Of any series that is counted.
    pub overall: Option<Timestamp>,
    /// Of the stable version's series.
    pub stable: Option<Timestamp>,
    /// Of the canary's series.
    pub canary: Option<Timestamp>,
}

/// How much of what is counted tells a success from a failure by its labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readable {
    /// Series that do, and that do not.
    series: [usize; 2],
    /// Requests of the newest window that do, and that do not.
    newest: Option<[u64; 2]>,
    /// Series of whole gRPC answers with their status, and without it.
    grpc: [usize; 2],
}

impl Readable {
    /// Notes one series.
    pub(crate) fn note(&mut self, is_readable: bool) {
        self.series[usize::from(!is_readable)] += 1;
    }

    /// Notes a series of gRPC answers that came to their end.
    pub(crate) fn note_grpc(&mut self, has_status: bool) {
        self.grpc[usize::from(!has_status)] += 1;
    }

    /// Whether there are gRPC answers, and none of them has its status: all failures are `200` then.
    pub(crate) fn lacks_grpc(self) -> bool {
        self.grpc[0] == 0 && self.grpc[1] > 0
    }

    /// Notes a window; one without requests says nothing new.
    pub(crate) fn note_window(&mut self, readable: u64, unreadable: u64) {
        if readable + unreadable > 0 {
            self.newest = Some([readable, unreadable]);
        }
    }

    /// Whether some do not.
    pub(crate) fn only_partly(self) -> bool {
        self.both() == [true, true]
    }

    /// Whether none does, of some that there are.
    pub(crate) fn not_at_all(self) -> bool {
        self.both() == [false, true]
    }

    /// What keeps failures from being told.
    pub(crate) fn flaw(self) -> Option<Flaw> {
        match (self.not_at_all(), self.lacks_grpc()) {
            (true, _) => Some(Flaw::NoCodes),
            (false, true) => Some(Flaw::NoGrpcStatus),
            (false, false) => None,
        }
    }

    /// Whether some do, and some do not.
    fn both(self) -> [bool; 2] {
        match self.newest {
            Some(requests) => requests.map(|requests| requests > 0),
            None => self.series.map(|series| series > 0),
        }
    }
}

/// How far an observation can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quality {
    /// The newest samples.
    pub newest: Newest,
    /// The longest scrape interval among the targets; `None` until one shows.
    pub scrape_interval: Option<SignedDuration>,
    /// What Prometheus warned of, and what was left out and why.
    pub warnings: Vec<MetricsWarning>,
    /// Whether a part of the data was missing. Then nothing of the answer was used.
    pub partial: bool,
    /// By how much the two versions' newest samples are apart; `None` unless both have one.
    pub versions_apart: Option<SignedDuration>,
    /// Series that are counted.
    pub series: usize,
    /// What keeps it from being used although it is whole and fresh.
    pub flaw: Option<Flaw>,
}

impl Quality {
    /// What a log tells of itself.
    pub(crate) fn of(
        log: &CounterLog,
        mut warnings: Vec<MetricsWarning>,
        partial: bool,
        series: usize,
    ) -> Self {
        if log.reporter() == Some(Reporter::Destination) {
            warnings.push(MetricsWarning::OnlyDestination);
        }
        if log.has_sums() {
            warnings.push(MetricsWarning::Sums);
        }
        let [stable, canary, unknown] = [
            SeriesOwner::Stable,
            SeriesOwner::Canary,
            SeriesOwner::Unknown,
        ]
        .map(|owner| log.newest_of(owner));
        Self {
            newest: Newest {
                overall: stable.max(canary).max(unknown),
                stable,
                canary,
            },
            scrape_interval: log.scrape_interval(),
            warnings,
            partial,
            versions_apart: stable
                .zip(canary)
                .map(|(stable, canary)| stable.duration_since(canary).abs()),
            series,
            flaw: None,
        }
    }

    /// What Prometheus itself warned of.
    pub fn server_warnings(&self) -> Vec<String> {
        let warnings = self.warnings.iter();
        let texts = warnings.filter_map(|warning| match warning {
            MetricsWarning::Server { text } => Some(text.clone()),
            _ => None,
        });
        texts.collect()
    }

    /// Whether the newest sample is too old to say anything about `now`; also without any sample.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let limit = self.scrape_interval.unwrap_or(USUAL_INTERVAL) * STALE_AFTER;
        self.age(now).is_none_or(|age| age > limit)
    }

    /// How old the newest sample is.
    pub fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        self.newest.overall.map(|newest| now.duration_since(newest))
    }

    /// Whether the versions' counts are from different times: more than a scrape apart.
    pub fn is_skewed(&self) -> bool {
        let limit = self.scrape_interval.unwrap_or(USUAL_INTERVAL);
        self.versions_apart.is_some_and(|apart| apart > limit)
    }

    /// Whether a verdict may rest on it at `now`: whole, fresh, and of the same time for both versions.
    pub fn is_sound(&self, now: Timestamp) -> bool {
        !self.partial && self.flaw.is_none() && !self.is_stale(now) && !self.is_skewed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_partial_and_skewed_metrics_are_not_sound() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let good = Quality {
            newest: Newest {
                overall: Some(at(1000)),
                stable: Some(at(1000)),
                canary: Some(at(990)),
            },
            scrape_interval: Some(SignedDuration::from_secs(15)),
            warnings: Vec::new(),
            partial: false,
            versions_apart: Some(SignedDuration::from_secs(10)),
            series: 2,
            flaw: None,
        };
        assert!(good.is_sound(at(1045)));
        assert!(!good.is_sound(at(1046)));
        let partial = Quality {
            partial: true,
            ..good.clone()
        };
        assert!(!partial.is_sound(at(1000)));
        let without_codes = Quality {
            flaw: Some(Flaw::NoCodes),
            ..good.clone()
        };
        assert!(!without_codes.is_sound(at(1000)));
        let skewed = Quality {
            versions_apart: Some(SignedDuration::from_secs(16)),
            ..good.clone()
        };
        assert!(!skewed.is_sound(at(1000)));
        let nothing = Quality {
            newest: Newest::default(),
            ..good
        };
        assert!(nothing.is_stale(at(0)));
    }
}
