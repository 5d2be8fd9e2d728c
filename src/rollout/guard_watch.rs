//! What the guards of a plan say of a rollout: go on, stay, or roll back. Pure.
//!
//! One rule: a guard that fails rolls back; else one that is not content keeps the rollout at its step; else
//! they have nothing to say. None of them promotes anything.

use jiff::Timestamp;

use super::assessment::{Alarm, Assessment};
use super::guard_problem::GuardProblem;
use super::outcome::Cause;
use super::reason::Reason;
use super::state::Rollout;
use super::version_counts::VersionCounts;
use crate::metrics::{GuardGap, GuardReading, GuardSeen, Reporter};
use crate::plan::{MetricGuard, OnGuardFailure, OnNoData, Percent};
use crate::verdict::Analysis;

/// The guards of a plan.
#[derive(Default)]
pub struct GuardWatch {
    guards: Vec<WatchedGuard>,
}

struct WatchedGuard {
    guard: MetricGuard,
    /// The canary's counters against stable's, where it has counters.
    comparison: Option<Assessment>,
    /// How many readings in a row were out of bounds.
    out_of_bounds: u32,
    /// How many readings in a row had no data.
    without_data: u32,
    last: Option<(Timestamp, LastReading)>,
}

/// What a reading came to.
#[derive(Clone, Debug, PartialEq)]
enum LastReading {
    Good,
    OutOfBounds(f64),
    NoData(GuardGap),
}

impl GuardWatch {
    /// These guards, each with what compares its counters, where it has any.
    pub fn new(guards: impl IntoIterator<Item = (MetricGuard, Option<Box<dyn Analysis>>)>) -> Self {
        let guards = guards.into_iter().map(|(guard, analysis)| WatchedGuard {
            guard,
            comparison: analysis.map(Assessment::new),
            out_of_bounds: 0,
            without_data: 0,
            last: None,
        });
        Self {
            guards: guards.collect(),
        }
    }

    /// The youngest pod of the canary started then.
    pub fn know_canary_since(&mut self, since: Option<Timestamp>) {
        for guard in &mut self.guards {
            if let Some(comparison) = &mut guard.comparison {
                comparison.know_canary_since(since);
            }
        }
    }

    /// Takes a reading of a guard of `rollout`. Values out of bounds count against the canary only once it
    /// is `warm`.
    pub fn take(&mut self, rollout: &Rollout, reading: &GuardReading, warm: bool) {
        let Some(watched) = self.guards.get_mut(reading.guard) else {
            return;
        };
        let standing = match &reading.seen {
            GuardSeen::Value(value) => watched.bounded(*value, warm),
            GuardSeen::NoData(why) => {
                watched.without_data = if warm { watched.without_data + 1 } else { 0 };
                LastReading::NoData(why.clone())
            }
            // The first reading only says where counters stand.
            GuardSeen::Counted(windows) if windows.is_empty() => return,
            GuardSeen::Counted(windows) => {
                watched.without_data = 0;
                if let Some(comparison) = &mut watched.comparison {
                    for window in windows {
                        comparison.take(rollout, window, Reporter::Source);
                    }
                }
                LastReading::Good
            }
        };
        watched.last = Some((reading.at, standing));
    }

    /// Why the rollout has to end here, if it has to.
    pub fn failed(&self, rollout: &Rollout) -> Option<(Cause, Reason)> {
        let watched = self.effective(rollout);
        let mut failed = watched.filter_map(|watched| Some((watched.failed()?, watched.reason()?)));
        failed.next()
    }

    /// Whether the step cannot be left, by whatever is wrong or not known since it began.
    pub fn hold(&self, rollout: &Rollout) -> bool {
        let mut watched = self.effective(rollout);
        watched.any(|watched| watched.reason().is_some() || watched.is_unread(rollout.since))
    }

    /// What is wrong.
    pub fn reasons(&self, rollout: &Rollout) -> Vec<Reason> {
        let watched = self.effective(rollout);
        watched.filter_map(WatchedGuard::reason).collect()
    }

    /// Those that have something to say: where the canary has all the traffic nothing can be compared.
    fn effective(&self, rollout: &Rollout) -> impl Iterator<Item = &WatchedGuard> {
        let alone = rollout.exposure().share() == Percent::HUNDRED;
        let guards = self.guards.iter();
        guards.filter(move |watched| !(alone && watched.comparison.is_some()) || watched.is_worse())
    }
}

impl WatchedGuard {
    fn bounded(&mut self, value: f64, warm: bool) -> LastReading {
        self.without_data = 0;
        let over = self.guard.max.is_some_and(|max| value > max);
        let under = self.guard.min.is_some_and(|min| value < min);
        match (over || under, warm) {
            (true, true) => self.out_of_bounds = self.out_of_bounds.saturating_add(1),
            (true, false) | (false, _) => self.out_of_bounds = 0,
        }
        match over || under {
            true => LastReading::OutOfBounds(value.clamp(f64::MIN, f64::MAX)),
            false => LastReading::Good,
        }
    }

    fn is_worse(&self) -> bool {
        let comparison = self.comparison.as_ref();
        comparison.is_some_and(|comparison| comparison.alarm() == Alarm::Certain)
    }

    fn failed(&self) -> Option<Cause> {
        let is_bad = self.is_worse() || self.out_of_bounds >= self.guard.failures;
        if is_bad && self.guard.on_failure == OnGuardFailure::Rollback {
            return Some(Cause::Regression);
        }
        let is_blind = self.without_data >= self.guard.failures;
        (is_blind && self.guard.on_no_data == OnNoData::Rollback).then_some(Cause::NoMetrics)
    }

    /// Whether nothing was read since a time, where that matters.
    fn is_unread(&self, since: Timestamp) -> bool {
        self.last.as_ref().is_none_or(|(at, _)| *at < since)
    }

    fn reason(&self) -> Option<Reason> {
        let comparison = self.comparison.as_ref();
        let counts = comparison.and_then(Assessment::total_counts);
        let VersionCounts { stable, canary } = counts.unwrap_or_default();
        let (times, limit) = (self.out_of_bounds, self.guard.failures);
        let problem = match (comparison.map(Assessment::alarm), &self.last) {
            (Some(Alarm::Certain), _) => GuardProblem::Worse { stable, canary },
            (_, Some((_, LastReading::NoData(why))))
                if self.guard.on_no_data != OnNoData::Ignore =>
            {
                GuardProblem::NoData { why: why.clone() }
            }
            (Some(Alarm::Raised), _) => GuardProblem::MaybeWorse { stable, canary },
            (_, Some((_, LastReading::OutOfBounds(value)))) => {
                match (self.guard.max, self.guard.min) {
                    (Some(max), _) if *value > max => GuardProblem::OverMax {
                        value: *value,
                        max,
                        times,
                        limit,
                    },
                    (_, min) => GuardProblem::UnderMin {
                        value: *value,
                        min: min?,
                        times,
                        limit,
                    },
                }
            }
            _ => return None,
        };
        Some(Reason::Guard {
            guard: self.guard.name.clone(),
            problem,
        })
    }
}
