//! What the stable version did before the rollout: nuisance quantities, never evidence (section 5).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::dispersion::Dispersion;
use super::incident::Incident;
use super::latency;
use super::operations;
use super::stable_rate::StableRate;
use crate::verdict::{Counts, PROPAGATION, StatusCode, Window};

/// Requests without which a share is chance.
const LEAST_OF_SHARE: u64 = 50;
/// How long before a rollout tells how things stand when it begins.
const LATE: SignedDuration = SignedDuration::from_mins(2);
/// Windows in a row that an outage takes, failures in each, and the most outages in a past.
const OUTAGE_WINDOWS: usize = 2;
const OUTAGE_LEAST: f64 = 5.0;
const OUTAGES: usize = 2;
/// Statuses of failures that are told apart; the others are one more.
const STATUSES: usize = 4;

/// Failures of an operation that count as much as what is known of all.
const BELIEVED: f64 = 20.0;

/// One metric's past on the stable version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// Bad requests.
    pub bad: u64,
    /// All requests; 0 means that nothing is known.
    pub requests: u64,
    /// How noisy the bad counts were.
    pub dispersion: Dispersion,
}

impl Past {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        bad: 0,
        requests: 0,
        dispersion: Dispersion::UNKNOWN,
    };

    /// The stable rate to start from; `None` when nothing is known.
    pub fn stable_rate(&self) -> Option<StableRate> {
        (self.requests > 0).then(|| StableRate::from_history(self.bad, self.requests))
    }
}

/// The stable version's past, for failures and for the chosen latency bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Failed requests.
    pub failures: Past,
    /// Slow requests at each bound in milliseconds that tells something.
    pub slow: Vec<(f64, Past)>,
    /// Failures by their status, the most frequent first; at most [`STATUSES`].
    pub statuses: Vec<(StatusCode, Past)>,
    /// Failures by operation, as far as a label names them; `None` is all other operations.
    pub operations: Vec<(Option<String>, Past)>,
    /// Answers of 400 to 499; `None` where they are not known.
    pub refusals: Option<Past>,
    /// How long nearly all requests took at most: the least bound of the histogram that 98 % were
    /// answered within, or its last one; zero where there is no histogram.
    pub longest: SignedDuration,
    /// Requests of stable and canary in the last two minutes of the weights as they were.
    pub lately: [u64; 2],
    /// Whether `failures` are known from the record of an earlier rollout alone.
    pub recalled: bool,
}

impl History {
    /// Failures after which looking further back adds nothing.
    pub const ENOUGH: u64 = 200;
    /// The least that is looked back.
    pub const SHORTEST: SignedDuration = SignedDuration::from_mins(30);
    /// The most that is looked back.
    pub const LONGEST: SignedDuration = SignedDuration::from_hours(24);
    /// The most windows that are looked back: a day of scrapes 15 s apart, less of more frequent ones.
    pub const MOST_WINDOWS: usize = 6000;

    /// Nothing is known: the first window of the rollout will have to serve.
    pub fn unknown() -> Self {
        Self {
            failures: Past::UNKNOWN,
            slow: Vec::new(),
            statuses: Vec::new(),
            operations: Vec::new(),
            // They are watched all the same, from what stable does beside the canary.
            refusals: Some(Past::UNKNOWN),
            longest: SignedDuration::ZERO,
            lately: [0; 2],
            recalled: false,
        }
    }

    /// Reads windows of the time before the rollout, oldest first, each a scrape long. Only the newest
    /// count: until 200 failures, at least 30 minutes, at most 24 hours or 6000 windows back.
    ///
    /// The canary's part of them counts from `rest` on: before that the weights may have been others.
    pub fn from_windows_since(windows: &[Window], rest: Timestamp) -> Self {
        let windows = relevant(windows);
        if windows.is_empty() {
            return Self::unknown();
        }
        let lately = lately(windows, rest);
        let windows = &without_outages(windows);
        let tails = latency::tails(windows);
        let slow = latency::choose(&tails)
            .into_iter()
            .map(|bound| (bound, past_slow(windows, bound)))
            .collect();
        let failures = past_failures(windows);
        Self {
            failures,
            slow,
            statuses: past_statuses(windows),
            operations: past_operations(windows, &failures),
            refusals: past_refusals(windows),
            longest: latency::longest(&tails),
            lately,
            recalled: false,
        }
    }

    /// The same of weights that never changed.
    pub fn from_windows(windows: &[Window]) -> Self {
        Self::from_windows_since(windows, Timestamp::MIN)
    }

    /// Whether the canary got requests just before the rollout began.
    pub fn canary_served(&self) -> bool {
        self.lately[1] > 0
    }

    /// The canary's share of the requests just before, 0 to 1; `None` of too few.
    pub fn canary_share(&self) -> Option<f64> {
        let [stable, canary] = self.lately;
        let all = stable + canary;
        (all >= LEAST_OF_SHARE).then(|| canary as f64 / all as f64)
    }
}

/// Requests of stable and canary just before the rollout. Further back there may have been another one.
fn lately(windows: &[Window], rest: Timestamp) -> [u64; 2] {
    let newest = windows.last().map_or(rest, |newest| newest.end);
    let settled = rest.saturating_add(PROPAGATION).unwrap_or(rest);
    let of_late = windows.iter().rev().take_while(|window| {
        newest.duration_since(window.end) <= LATE && window.lies_after(settled)
    });
    of_late.fold([0; 2], |[stable, canary], window| {
        [
            stable + window.stable.requests,
            canary + window.canary.requests,
        ]
    })
}

/// The newest windows that suffice.
fn relevant(windows: &[Window]) -> &[Window] {
    let Some(newest) = windows.last() else {
        return windows;
    };
    let mut failures = 0;
    let mut first = windows.len();
    for (i, window) in windows.iter().enumerate().rev() {
        let back = newest.end.duration_since(window.start);
        if back > History::LONGEST || windows.len() - i > History::MOST_WINDOWS {
            break;
        }
        first = i;
        failures += window.stable.failures;
        if failures >= History::ENOUGH && back >= History::SHORTEST {
            break;
        }
    }
    &windows[first..]
}

/// The windows without those of an outage.
///
/// An outage says nothing of how stable fails from day to day, and taken for its noise it would hide what a
/// canary does. It lasts for several windows; what comes and goes all the time is noise however loud it is.
fn without_outages(windows: &[Window]) -> Vec<&Window> {
    let limit = Incident::limit_of(usual_rate(windows));
    let failing = |window: &Window| {
        let bad = window.stable.failures as f64;
        bad >= OUTAGE_LEAST && bad > limit * window.stable.requests as f64
    };
    let outages: Vec<_> = windows
        .chunk_by(|one, next| failing(one) == failing(next))
        .filter(|run| failing(&run[0]) && run.len() >= OUTAGE_WINDOWS)
        .collect();
    let is_noise = outages.len() > OUTAGES;
    let is_out = |window: &&Window| {
        let mut of_outages = outages.iter().copied().flatten();
        !is_noise && of_outages.any(|out| std::ptr::eq(out, *window))
    };
    windows.iter().filter(|window| !is_out(window)).collect()
}

/// The failure rate of the quieter three quarters of the windows.
fn usual_rate(windows: &[Window]) -> f64 {
    let mut rates: Vec<_> = windows
        .iter()
        .filter_map(|window| Some((window.stable.failure_rate()?, window.stable)))
        .collect();
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    rates.truncate(rates.len() - rates.len() / 4);
    let mut sum = Counts::default();
    rates.iter().for_each(|(_, counts)| sum += *counts);
    sum.failure_rate().unwrap_or_default()
}

fn past_failures(windows: &[&Window]) -> Past {
    past_of(windows, |window| window.stable)
}

/// The most frequent statuses of failures, each with its past.
fn past_statuses(windows: &[&Window]) -> Vec<(StatusCode, Past)> {
    let mut totals: BTreeMap<StatusCode, u64> = BTreeMap::new();
    for of in windows.iter().flat_map(|window| &window.failed_with) {
        *totals.entry(of.status).or_default() += of.stable;
    }
    let mut totals: Vec<_> = totals.into_iter().filter(|(_, bad)| *bad > 0).collect();
    totals.sort_by_key(|(status, bad)| (std::cmp::Reverse(*bad), *status));
    totals.truncate(STATUSES);
    let past = |status| past_bad(windows, |window| status_of(window, status));
    totals
        .into_iter()
        .map(|(status, _)| (status, past(status)))
        .collect()
}

fn status_of(window: &Window, status: StatusCode) -> u64 {
    let same = window.failed_with.iter().filter(|of| of.status == status);
    same.map(|of| of.stable).sum()
}

/// The past of each operation beside that of all failures; nothing where none is named.
fn past_operations(windows: &[&Window], failures: &Past) -> Vec<(Option<String>, Past)> {
    let all = windows.iter().flat_map(|window| &window.operations);
    let names: BTreeSet<_> = all.map(|of| of.operation.clone()).collect();
    let pasts = names.into_iter().map(|name| {
        let of = |window: &Window| operations::counts(window, name.as_deref()).0;
        let past = past_of(windows, of);
        let dispersion = known_by(past.bad, past.dispersion, failures.dispersion);
        (name, Past { dispersion, ..past })
    });
    let mut pasts: Vec<_> = pasts.filter(|(_, past)| past.requests > 0).collect();
    if pasts.iter().all(|(name, _)| name.is_none()) {
        pasts.clear();
    }
    pasts
}

/// How noisy an operation is of which so many failures were seen: as all are, until its own tell. The fewer there
/// were the less is known of how they come, and a burst is no regression.
fn known_by(bad: u64, own: Dispersion, of_all: Dispersion) -> Dispersion {
    let bad = bad as f64;
    let unknown = BELIEVED / (bad + BELIEVED);
    Dispersion {
        cluster: own.cluster.max(unknown * of_all.cluster + (1.0 - unknown)),
        fluctuation: own.fluctuation.max(unknown * of_all.fluctuation),
        clamped: own.clamped,
    }
}

fn past_refusals(windows: &[&Window]) -> Option<Past> {
    let known = windows.iter().any(|window| window.refused_with.is_some());
    let refused = |window: &Window| {
        let statuses = window.refused_with.iter().flatten();
        statuses.map(|of| of.stable).sum()
    };
    known.then(|| past_bad(windows, refused))
}

/// The past of what is bad in stable's requests.
fn past_bad(windows: &[&Window], bad: impl Fn(&Window) -> u64) -> Past {
    past_of(windows, |window| Counts {
        failures: bad(window),
        ..window.stable
    })
}

/// The past of what is counted of each window.
fn past_of(windows: &[&Window], counts: impl Fn(&Window) -> Counts) -> Past {
    let totals: Vec<u64> = windows.iter().map(|w| counts(w).failures).collect();
    Past {
        bad: totals.iter().sum(),
        requests: windows.iter().map(|w| counts(w).requests).sum(),
        dispersion: Dispersion::estimate(&totals),
    }
}

fn past_slow(windows: &[&Window], bound: f64) -> Past {
    let at_bound = || windows.iter().filter_map(|w| latency::at(w, bound));
    let totals: Vec<u64> = at_bound().map(|s| s.stable.failures).collect();
    let bad = totals.iter().sum();
    Past {
        bad,
        requests: at_bound().map(|s| s.stable.requests).sum(),
        // How what was never seen would come is not known either: a stall makes many requests slow at once.
        dispersion: match bad {
            0 => Dispersion::UNKNOWN,
            _ => Dispersion::estimate(&totals),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(count: i64, seconds: i64, failures: u64) -> Vec<Window> {
        (0..count)
            .map(|i| Window {
                start: Timestamp::from_second(seconds * i).unwrap(),
                end: Timestamp::from_second(seconds * (i + 1)).unwrap(),
                stable: Counts {
                    requests: 1000,
                    failures,
                },
                ..Window::default()
            })
            .collect()
    }

    #[test]
    fn looks_back_until_enough_was_seen() {
        let table = [
            (10, 15, 1, 10),       // All there is.
            (500, 15, 10, 120),    // Half an hour at least.
            (500, 15, 1, 200),     // Until 200 failures.
            (10_000, 15, 0, 5760), // A day at most.
            (10_000, 1, 0, 6000),  // So many windows at most.
        ];
        for (count, seconds, failures, used) in table {
            let history = History::from_windows(&windows(count, seconds, failures));
            assert_eq!(
                history.failures.requests,
                1000 * used,
                "{count} {seconds} {failures}"
            );
        }
    }

    #[test]
    fn nothing_is_not_zero() {
        assert_eq!(History::from_windows(&[]), History::unknown());
        assert_eq!(History::unknown().failures.stable_rate(), None);
    }
}
