//! How a driver ends: with the traffic taken back, or with what it leaves.

use std::time::Duration;

use jiff::Timestamp;

use super::drive_loop::Driver;
use super::rollback::{Initiator, RollbackError, RollbackRequest};
use super::rollback_group::{GroupNotRestored, roll_back_group};
use crate::istio::VirtualService;
use crate::plan::{HumanDuration, OnDrift, Percent};
use crate::rollout::Observed;
use crate::rollout::{Cause, Event, EventKind, Outcome, Phase, Rollout, Summary, VersionCounts};
use crate::signals::Signal;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// How.
    pub outcome: Outcome,
    /// The canary's percentage now.
    pub weight: Percent,
    /// The rollout as it stood last.
    pub rollout: Rollout,
    /// What was seen over all steps.
    pub total: VersionCounts,
    /// From the decision to take traffic back to restored weights.
    pub rollback: Option<Duration>,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// The signal that ended it, if one did.
    pub signal: Option<Signal>,
    /// When.
    pub at: Timestamp,
}

impl Driver<'_> {
    pub async fn roll_back_and_report(&mut self, cause: Cause, overwrite: bool) -> Outcome {
        let rollout = self.machine.rollout().clone();
        self.emit(EventKind::RollingBack {
            cause,
            weight: rollout.weight(),
        });
        let clock = self.deps.clock.clone();
        let request = RollbackRequest {
            cluster: self.deps.cluster,
            clock: &clock,
            cause,
            by: &rollout.holder,
            // A policy that does not leave foreign weights alone does not leave them on the way back.
            initiator: Initiator::Driver {
                overwrite: overwrite || rollout.plan.on_drift != OnDrift::Stop,
            },
            timeout: rollout.plan.rollback_timeout.unsigned(),
            keeps_state: false,
        };
        let companions = self
            .companions
            .iter()
            .map(|watched| Some(watched.vs.clone()));
        let companions = companions.collect();
        let (namespace, name, run) = (
            self.vs.namespace().to_owned(),
            self.vs.name().to_owned(),
            rollout.run.clone(),
        );
        let observer = &mut *self.deps.observer;
        let mut emit = |event| {
            observer.see(&Event {
                version: 1,
                at: clock.now(),
                namespace: namespace.clone(),
                name: name.clone(),
                run: run.clone(),
                event,
            });
        };
        // Whoever hears that traffic is being taken back has no reason for another signal but haste.
        let mut signals_left = if self.signal.is_some() { 1 } else { 2 };
        let restored = {
            let lead = self.vs.clone();
            let back = roll_back_group(&request, lead, companions, &rollout, &mut emit);
            let mut request = std::pin::pin!(back);
            loop {
                tokio::select! {
                    biased;
                    restored = &mut request => break Some(restored),
                    signal = self.deps.signals.next() => {
                        self.signal.get_or_insert(signal);
                        signals_left -= 1;
                        if signals_left == 0 {
                            break None;
                        }
                    }
                }
            }
        };
        let Some(restored) = restored else {
            let text = "a second signal: leaving the traffic where it is";
            self.machine.override_reason(text);
            self.emit(EventKind::Warning { text: text.into() });
            return Outcome::RollbackFailed;
        };
        match restored.map_err(GroupNotRestored::into_error) {
            Ok(restored) => {
                self.vs = restored.vs;
                self.rollback = Some(restored.took);
                let total = self.machine.total();
                self.emit(EventKind::RolledBack {
                    cause,
                    routes: restored.changes,
                    took_millis: millis(restored.took),
                    total,
                });
                Outcome::RolledBack(cause)
            }
            Err(RollbackError::TakenOver(holder)) => {
                self.see(Observed::HolderChanged(holder));
                Outcome::TakenOver
            }
            Err(RollbackError::Ended(last)) => {
                let outcome = last.outcome;
                self.see(Observed::Ended(*last));
                outcome
            }
            Err(RollbackError::Drifted { manager, what }) => {
                self.see(Observed::Drifted { manager, what });
                Outcome::Drifted
            }
            Err(error @ (RollbackError::Impossible(_) | RollbackError::OutOfTime(_))) => {
                self.machine.override_reason(error.to_string());
                self.emit(EventKind::Warning {
                    text: error.to_string(),
                });
                Outcome::RollbackFailed
            }
        }
    }

    pub fn finish(mut self, outcome: Outcome) -> Finish {
        let rollout = self.machine.rollout().clone();
        let weight = match outcome {
            Outcome::Promoted => Percent::HUNDRED,
            Outcome::RolledBack(_) | Outcome::Interrupted => rollout.original_share(),
            Outcome::StepPassed
            | Outcome::Held
            | Outcome::Drifted
            | Outcome::TakenOver
            | Outcome::RollbackFailed => rollout.weight(),
        };
        let object = format!("{} -n {}", self.vs.name(), self.vs.namespace());
        let next = match outcome {
            Outcome::RollbackFailed => Some(format!("kubectl canary abort {object}")),
            Outcome::Held if rollout.phase == Phase::Progressing => {
                Some(format!("kubectl canary resume {object}"))
            }
            Outcome::Held | Outcome::StepPassed => Some(format!("kubectl canary promote {object}")),
            Outcome::Drifted | Outcome::TakenOver => {
                Some(format!("kubectl canary status {object}"))
            }
            Outcome::Promoted | Outcome::RolledBack(_) | Outcome::Interrupted => None,
        };
        let at = self.deps.clock.now();
        let total = self.machine.total();
        let reasons = self.machine.reasons();
        self.emit(EventKind::Finished {
            outcome,
            weight,
            took: HumanDuration::from(at.duration_since(rollout.began)),
            total,
            reasons: reasons.clone(),
            next,
        });
        Finish {
            outcome,
            weight,
            rollout,
            total,
            rollback: self.rollback,
            reasons,
            signal: self.signal,
            at,
        }
    }
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Finish {
    /// The result of the run on `vs`, for `-o json`; `exit_code` is what goes with it.
    pub fn summary(&self, vs: &VirtualService, exit_code: u8) -> Summary {
        let rollout = &self.rollout;
        Summary {
            object: format!("virtualservice.networking.istio.io/{}", vs.name()),
            namespace: vs.namespace().to_owned(),
            run: rollout.run.clone(),
            outcome: self.outcome,
            exit_code,
            weight: self.weight,
            step: rollout.step + 1,
            steps: rollout.plan.len(),
            began: rollout.began,
            ended: self.at,
            total: self.total,
            rollback_millis: self
                .rollback
                .map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            reasons: self.reasons.clone(),
        }
    }
}
