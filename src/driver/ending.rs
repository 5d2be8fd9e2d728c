//! How a driver comes to its end: back, or to where it leaves things.

use super::drive::Driver;
use super::finish::{Finish, exposure_after};
use super::rollback::{Initiator, RollbackError, RollbackRequest};
use super::rollback_group::{GroupNotRestored, roll_back_group};
use super::watched_group::Member;
use crate::plan::OnDrift;
use crate::rollout::{Cause, Event, EventKind, Observed, Outcome, Reason};

impl Driver<'_> {
    pub(super) async fn roll_back(&mut self, cause: Cause, overwrite: bool) -> Outcome {
        let rollout = self.machine.rollout().clone();
        let clock = self.clock.clone();
        let request = RollbackRequest {
            cluster: self.cluster,
            clock: &clock,
            cause,
            by: &rollout.holder,
            // A policy that does not leave foreign weights alone does not leave them in a rollback.
            initiator: Initiator::Driver {
                overwrite: overwrite || rollout.plan.on_drift != OnDrift::Stop,
            },
            timeout: rollout.plan.rollback_timeout.unsigned(),
        };
        let (group, total) = (self.group.seen(), self.machine.total_counts());
        let observer = &mut *self.observer;
        let mut emit = |event| {
            observer.see(&Event::new(clock.now(), &group.lead, &rollout.run, event));
        };
        // A signal during a rollback can only mean: stop waiting. The one that began it does not count.
        let mut signals_left = if self.signal.is_some() { 1 } else { 2 };
        let restored = {
            let back = roll_back_group(&request, &group, &rollout, total, &mut emit);
            let mut back = std::pin::pin!(back);
            loop {
                tokio::select! {
                    biased;
                    restored = &mut back => break Some(restored),
                    signal = self.signals.next() => {
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
            let text = "a second signal: leaving the weights as they are";
            return self.rollback_failed(Reason::SecondSignal, text.into());
        };
        match restored.map_err(GroupNotRestored::into_error) {
            Ok(restored) => {
                self.group.set(Member::Lead, restored.vs);
                self.rollback = Some(restored.took);
                self.kept = self.group.seen().kept_share(&rollout, restored.cause);
                let share = self.kept.as_ref().map(|kept| kept.share);
                self.machine.rolled_back(share);
                Outcome::RolledBack(restored.cause)
            }
            Err(RollbackError::TakenOver(holder)) => {
                self.see(Observed::HolderChanged(holder));
                Outcome::TakenOver
            }
            Err(RollbackError::Ended(last)) => {
                let outcome = last.outcome;
                self.see(Observed::Ended(last));
                outcome
            }
            Err(RollbackError::Drifted { manager, drift }) => {
                let drift = *drift;
                self.see(Observed::Drifted { manager, drift });
                Outcome::Drifted
            }
            Err(
                error @ (RollbackError::Impossible(_)
                | RollbackError::OutOfTime(_)
                | RollbackError::Deleted(_)
                | RollbackError::OtherRun(_)
                | RollbackError::PromotionChanged(_)),
            ) => {
                let message = error.to_string();
                self.rollback_failed(
                    Reason::RollbackFailed {
                        message: message.clone(),
                    },
                    message,
                )
            }
        }
    }

    pub(super) fn rollback_failed(&mut self, why: Reason, text: String) -> Outcome {
        self.machine.override_reason(why);
        self.emit(EventKind::Warning { text });
        Outcome::RollbackFailed
    }

    pub(super) fn finish(mut self, outcome: Outcome) -> Finish {
        let rollout = self.machine.rollout().clone();
        let finish = Finish {
            outcome,
            exposure: exposure_after(outcome, &rollout),
            total_counts: self.machine.total_counts(),
            rollback: self.rollback,
            reasons: self.machine.reasons(),
            warnings: self.machine.warnings().to_vec(),
            signal: self.signal,
            at: self.clock.now(),
            rollout,
        };
        let next = match self.kept {
            Some(ref kept) => Some(kept.command.clone()),
            None => finish.next_command(self.group.lead()),
        };
        self.emit(finish.event(next));
        finish
    }
}
