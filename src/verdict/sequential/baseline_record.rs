//! What a rollout knew of how stable fails, kept on the object for the next one (section 5).

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dispersion::Dispersion;
use super::history::{History, Past};

/// After so long a record is no longer used. Noise changes with the code and with those who call it, and both
/// change from release to release: who releases once a month still has it, and what is older has seen too many.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far the clocks of two machines may be apart.
const SKEW: SignedDuration = SignedDuration::from_hours(1);
/// Failures of which a dispersion can be told: an estimate from fewer is mostly its prior.
const TELLING: u64 = 20;

/// By so much the scrapes of two times may differ and count as equally frequent.
const SAME_SCRAPE: f64 = 1.1;

/// How much of stable's past the metrics have.
#[derive(Clone, Copy, Debug)]
pub struct BaselineReach {
    /// The time that they are of.
    pub covers: SignedDuration,
    /// How often it was scraped, if that is known.
    pub scrape: Option<SignedDuration>,
}

impl BaselineReach {
    /// Whether it is what is looked back at least; a scrape at its end is missing.
    fn is_enough(self) -> bool {
        self.covers * 10 >= History::SHORTEST * 9
    }
}

/// How stable failed before a rollout, and how long its requests took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BaselineRecord {
    /// When the rollout began that read it in the metrics.
    pub at: Timestamp,
    /// The host that stable stood behind.
    pub host: String,
    /// How often it was scraped, in milliseconds.
    pub scrape_ms: u32,
    /// Requests in the time that was read.
    pub requests: u64,
    /// Of these, the failed ones.
    pub failures: u64,
    /// Variance over mean of the failures of a scrape, at least 1: how large the clusters are that they come in.
    pub clusters: f64,
    /// Squared coefficient of variation of the failure rate from scrape to scrape, beyond that of clusters.
    pub fluctuation: f64,
    /// How many milliseconds nearly all requests took at most, by a bound of the histogram; none without one.
    pub longest_ms: Option<u32>,
}

impl BaselineRecord {
    /// What is to be kept of `host`'s time before a rollout that began at `at`, of which the metrics have
    /// `reach`; `None` of too little.
    pub fn of(history: &History, reach: BaselineReach, host: &str, at: Timestamp) -> Option<Self> {
        let failures = history.failures;
        let is_enough = failures.requests > 0 && reach.is_enough();
        let scrape = reach.scrape.filter(|_| is_enough)?;
        Some(Self {
            at,
            host: host.to_owned(),
            scrape_ms: u32::try_from(scrape.as_millis()).ok()?,
            requests: failures.requests,
            failures: failures.bad,
            clusters: rounded_up(failures.dispersion.cluster),
            fluctuation: rounded_up(failures.dispersion.fluctuation),
            longest_ms: u32::try_from(history.longest.as_millis())
                .ok()
                .filter(|longest| *longest > 0),
        })
    }

    /// Whether it may be used at `now`: neither too old nor of the future, and of numbers that make sense.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.at);
        (-SKEW..=MAX_AGE).contains(&age)
            && self.requests > 0
            && self.failures <= self.requests
            && Dispersion::MOST.cluster >= self.clusters
            && self.clusters >= 1.0
            && (0.0..=Dispersion::MOST.fluctuation).contains(&self.fluctuation)
    }

    /// Whether `history`, of which the metrics have `reach`, tells at least as much.
    pub fn is_outdone_by(&self, history: &History, reach: BaselineReach) -> bool {
        let failures = history.failures;
        reach.is_enough() && (failures.bad >= TELLING || failures.requests >= self.requests)
    }

    /// Whether it says something of scrapes as frequent as these: the rarer they are, the more failures are in
    /// each, and the more a rate that fluctuates shows in them.
    pub fn suits(&self, reach: BaselineReach) -> bool {
        let most = f64::from(self.scrape_ms) * SAME_SCRAPE;
        reach
            .scrape
            .is_none_or(|scrape| scrape.as_millis() as f64 <= most)
    }

    /// All that is known without an answer from the metrics.
    pub fn alone(record: Option<&Self>) -> History {
        let mut history = History::unknown();
        if let Some(record) = record {
            record.complete(&mut history);
        }
        history
    }

    /// The history with what this adds to one that tells less.
    ///
    /// Of two dispersions the more cautious one counts: where either is right the bets are fair. Where the
    /// metrics tell nothing this alone is known, and what is seen beside the canary may only widen it.
    pub fn complete(&self, history: &mut History) {
        let dispersion = Dispersion {
            cluster: self.clusters,
            fluctuation: self.fluctuation,
            clamped: false,
        };
        let longest = self.longest_ms.unwrap_or_default();
        if history.longest.is_zero() {
            history.longest = SignedDuration::from_millis(i64::from(longest));
        }
        let failures = &mut history.failures;
        if failures.requests == 0 {
            *failures = Past {
                bad: self.failures,
                requests: self.requests,
                dispersion,
            };
            history.recalled = true;
        } else if failures.dispersion == Dispersion::UNKNOWN {
            failures.dispersion = dispersion;
        } else {
            failures.dispersion = failures.dispersion.or_wider(dispersion);
        }
    }
}

/// Hundredths, so that the record stays short.
fn rounded_up(number: f64) -> f64 {
    (number * 100.0).ceil() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_AN_HOUR: BaselineReach = reach(30);
    const A_MINUTE: BaselineReach = reach(1);

    const fn reach(minutes: i64) -> BaselineReach {
        BaselineReach {
            covers: SignedDuration::from_mins(minutes),
            scrape: Some(SignedDuration::from_secs(15)),
        }
    }

    fn history(bad: u64, requests: u64, cluster: f64) -> History {
        History {
            failures: Past {
                bad,
                requests,
                dispersion: Dispersion {
                    cluster,
                    ..Dispersion::POISSON
                },
            },
            longest: SignedDuration::from_millis(250),
            ..History::unknown()
        }
    }

    fn record() -> BaselineRecord {
        let history = history(200, 200_000, 3.1414);
        BaselineRecord::of(&history, HALF_AN_HOUR, "reviews", at(0)).unwrap()
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1_000 + hours)
    }

    #[test]
    fn a_record_is_short_and_reads_as_it_was_written() {
        let text = serde_json::to_string(&record()).unwrap();
        assert_eq!(
            text,
            r#"{"at":"1970-02-11T16:00:00Z","host":"reviews","scrapeMs":15000,"requests":200000,"failures":200,"clusters":3.15,"fluctuation":0.0,"longestMs":250}"#
        );
        assert_eq!(
            serde_json::from_str::<BaselineRecord>(&text).unwrap(),
            record()
        );
    }

    #[test]
    fn little_is_not_recorded() {
        assert_eq!(
            BaselineRecord::of(&history(9, 9_000, 1.0), A_MINUTE, "reviews", at(0)),
            None
        );
        let unknown = History::unknown();
        assert_eq!(
            BaselineRecord::of(&unknown, HALF_AN_HOUR, "reviews", at(0)),
            None
        );
    }

    #[test]
    fn a_record_is_used_for_thirty_days_if_it_makes_sense() {
        for (hours, usable) in [
            (0, true),
            (720, true),
            (721, false),
            (-1, true),
            (-2, false),
        ] {
            assert_eq!(record().is_usable(at(hours)), usable, "{hours}");
        }
        let spoilt: [fn(&mut BaselineRecord); 6] = [
            |record| record.requests = 0,
            |record| record.failures = record.requests + 1,
            |record| record.clusters = 0.5,
            |record| record.clusters = f64::NAN,
            |record| record.clusters = 1e9,
            |record| record.fluctuation = -0.1,
        ];
        for (i, spoil) in spoilt.into_iter().enumerate() {
            let mut record = record();
            spoil(&mut record);
            assert!(!record.is_usable(at(0)), "{i}");
        }
    }

    #[test]
    fn metrics_that_tell_as_much_outdo_it() {
        for (bad, requests, reach, outdone) in [
            (0, 200_000, HALF_AN_HOUR, true),
            (20, 1_000, HALF_AN_HOUR, true),
            (19, 1_000, HALF_AN_HOUR, false),
            (20, 200_000, A_MINUTE, false),
        ] {
            let seen = history(bad, requests, 1.0);
            assert_eq!(record().is_outdone_by(&seen, reach), outdone, "{bad}");
        }
    }

    #[test]
    fn rarer_scrapes_are_not_spoken_of() {
        for (seconds, suits) in [(1, true), (15, true), (16, true), (30, false)] {
            let reach = BaselineReach {
                scrape: Some(SignedDuration::from_secs(seconds)),
                ..A_MINUTE
            };
            assert_eq!(record().suits(reach), suits, "{seconds}");
        }
        let unseen = BaselineReach {
            scrape: None,
            ..A_MINUTE
        };
        assert!(record().suits(unseen));
    }

    #[test]
    fn it_fills_what_is_not_known_and_loosens_nothing_that_is() {
        let mut unknown = History::unknown();
        record().complete(&mut unknown);
        assert_eq!(unknown.failures.requests, 200_000);
        assert_eq!(unknown.failures.dispersion.cluster, 3.15);
        assert_eq!(unknown.longest, SignedDuration::from_millis(250));
        assert!(unknown.recalled);
        for (seen, then) in [(1.0, 3.15), (8.0, 8.0)] {
            let mut short = history(2, 2_000, seen);
            short.longest = SignedDuration::from_secs(1);
            record().complete(&mut short);
            assert_eq!(short.failures.requests, 2_000);
            assert_eq!(short.failures.dispersion.cluster, then);
            assert_eq!(short.longest, SignedDuration::from_secs(1));
            assert!(!short.recalled);
        }
    }
}
