//! What a rollout does about what others did to the object. Pure.

use jiff::Timestamp;

use super::event::EventKind;
use super::outcome::{Cause, Outcome};
use super::reason::Reason;
use super::segment::Phase;
use super::state::Rollout;
use crate::plan::{HumanDuration, OnDrift};

use super::action::Action;
use super::machine::Machine;
use super::observed::Observed;

impl Machine {
    /// The object was seen.
    pub fn see(
        &mut self,
        sight: Observed,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        match sight {
            Observed::InSync => Action::Wait,
            Observed::Advanced(shown) => self.moved(*shown, emit),
            Observed::Ended(last) => {
                self.override_reason(Reason::Ended {
                    outcome: last.outcome,
                    by: last.by,
                });
                Action::Leave(last.outcome)
            }
            Observed::HolderChanged(holder) => {
                self.override_reason(Reason::TakenOver { by: holder });
                Action::Leave(Outcome::TakenOver)
            }
            Observed::Drifted { manager, what } => {
                let policy = self.plan().on_drift;
                self.drifted(manager, what, policy, now, emit)
            }
            // Where there is no object, no policy can do anything about it.
            Observed::Deleted => self.drifted(
                "somebody".into(),
                "the virtualservice was deleted".into(),
                OnDrift::Stop,
                now,
                emit,
            ),
        }
    }

    fn moved(&mut self, shown: Rollout, emit: &mut dyn FnMut(EventKind)) -> Action {
        let by = shown.by.clone().unwrap_or_else(|| "somebody".into());
        let (step, phase) = (self.rollout.step, self.rollout.phase);
        self.set_state(shown);
        match self.rollout.phase {
            Phase::Paused if phase != Phase::Paused => emit(EventKind::Paused { by }),
            _ if step != self.rollout.step => emit(EventKind::Promoted {
                by,
                weight: self.rollout.weight(),
                reach: self.rollout.reach(),
            }),
            Phase::Progressing if phase != Phase::Progressing => emit(EventKind::Continued { by }),
            Phase::Progressing | Phase::Waiting | Phase::Paused | Phase::Tripped => {}
        }
        self.after_write()
    }

    fn drifted(
        &mut self,
        manager: String,
        what: String,
        policy: OnDrift,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        self.override_reason(Reason::Drift {
            manager: manager.clone(),
            what: what.clone(),
        });
        let mut policy = policy;
        if policy == OnDrift::Reassert
            && let Err((times, time)) = self.reassert_limit.try_again(now)
        {
            self.override_reason(Reason::ReassertLimit {
                manager: manager.clone(),
                what: what.clone(),
                times,
                within: HumanDuration::from(time),
            });
            self.gave_up = true;
            policy = OnDrift::Stop;
        }
        emit(EventKind::Drifted {
            manager,
            what,
            policy,
        });
        match policy {
            OnDrift::Stop => Action::Leave(Outcome::Drifted),
            OnDrift::Rollback => Action::RollBack {
                cause: Cause::Drift,
                overwrite: true,
            },
            OnDrift::Reassert => Action::Write(Box::new(self.rollout.clone())),
        }
    }
}
