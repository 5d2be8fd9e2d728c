//! How a driver writes: until it is done, or until something else is to be done.

use std::time::Duration;

use tokio::time::Instant;

use super::companion_watch::Member;
use super::drive_loop::Driver;
use super::finish::millis;
use crate::cluster::{CallError, ErrorKind};
use crate::driver::{Written, write};
use crate::istio::MissingRoutes;
use crate::rollout::Action;
use crate::rollout::is_in_place;
use crate::rollout::{Cause, EventKind, LastRollout, Outcome, Phase, Rollout};
use crate::rollout::{Intent, WriteError};
use crate::rollout::{Observed, compare};

/// The first pause after a write that did not work, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between writes that do not work.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the object may turn out to be different before there is a pause between attempts.
const IMMEDIATE_RETRIES: u32 = 3;
/// How long a write that is under way may still take once a signal has come: what became of it
/// is better known than guessed.
const LAST_ANSWER: Duration = Duration::from_secs(2);

impl Driver<'_> {
    pub async fn write(&mut self, next: Rollout) -> Action {
        let before = self.machine.rollout().clone();
        let began = Instant::now();
        let intent = Intent::State(Box::new(next.clone()));
        let mut changes = intent.changes(&self.vs).unwrap_or_default();
        if let Err(action) = self.attempt(Member::Lead, &intent).await {
            return action;
        }
        let (tally, shadow) = (self.machine.step(), self.machine.shadow());
        self.machine.set_state(next);
        let reasons = self.machine.reasons();
        match self.sync().await {
            Ok(of_companions) => changes.extend(of_companions),
            Err(action) => return action,
        }
        let took_millis = millis(began.elapsed());
        let moved = changes.iter().any(|change| change.before != change.after);
        self.next_look = Instant::now()
            + self
                .machine
                .rollout()
                .plan
                .interval
                .unsigned()
                .min(Duration::from_secs(1));
        let rollout = self.machine.rollout();
        let weight = rollout.weight();
        let event = match (before.phase, rollout.phase) {
            (_, Phase::Tripped) => EventKind::Tripped {
                weight: before.weight(),
                reach: before.reach(),
                tally,
                shadow,
                reasons,
                took_millis,
            },
            (Phase::Tripped, Phase::Progressing) => EventKind::Cleared {
                weight,
                reach: rollout.reach(),
                reasons,
            },
            (_, Phase::Progressing) if moved || before.since != rollout.since => {
                EventKind::StepStarted {
                    step: rollout.step + 1,
                    steps: rollout.plan.len(),
                    weight,
                    reach: rollout.reach(),
                    routes: changes,
                    took_millis,
                }
            }
            _ => return self.machine.after_write(),
        };
        self.emit(event);
        self.machine.after_write()
    }

    pub async fn complete(&mut self, next: Rollout) -> Action {
        let began = Instant::now();
        let last = LastRollout::of(
            &next,
            Outcome::Promoted,
            &next.holder,
            self.deps.clock.now(),
        );
        let intent = Intent::Complete(Box::new(next.clone()), last);
        let mut changes = intent.changes(&self.vs).unwrap_or_default();
        let first = intent.before_companions(self.deps.cluster);
        if first != intent && !first.is_done(&self.vs) {
            if let Err(action) = self.attempt(Member::Lead, &first).await {
                return action;
            }
            self.machine.set_state(next.clone());
        }
        match self.bring(&intent).await {
            Ok(of_companions) => changes.extend(of_companions),
            Err(action) => return action,
        }
        if let Err(action) = self.attempt(Member::Lead, &intent).await {
            return action;
        }
        let took_millis = millis(began.elapsed());
        let moved = changes.iter().any(|change| change.before != change.after);
        self.machine.set_state(next);
        if moved {
            let rollout = self.machine.rollout();
            let event = EventKind::StepStarted {
                step: rollout.step + 1,
                steps: rollout.plan.len(),
                weight: rollout.weight(),
                reach: rollout.reach(),
                routes: changes,
                took_millis,
            };
            self.emit(event);
        }
        Action::Leave(Outcome::Promoted)
    }

    /// Writes until it is done. Nothing moves while it does not work, but the canary is still
    /// watched: what was decided before a long outage may be wrong after it.
    pub async fn attempt(&mut self, member: Member, intent: &Intent) -> Result<(), Action> {
        let mut pause = FIRST_PAUSE;
        let mut immediate = 0;
        for attempt in 2.. {
            let failure = match self.write_once(member, intent).await? {
                Ok(Written::Done(now)) => {
                    self.found(member, now);
                    return Ok(());
                }
                Ok(Written::Changed(now)) => {
                    match member {
                        Member::Lead => {
                            let sight = compare(self.machine.rollout(), &now);
                            self.vs = now;
                            if sight != Observed::InSync {
                                return Err(self.lead_shows(sight));
                            }
                        }
                        Member::Companion(index) => {
                            self.companion_shows(index, now).await?;
                            // Somebody else may have brought it there, or to the very end, meanwhile.
                            if is_in_place(intent, self.object(member)) {
                                return Ok(());
                            }
                        }
                    }
                    // Something changed that is not ours to care about: try again on what is there now.
                    immediate += 1;
                    if immediate <= IMMEDIATE_RETRIES {
                        continue;
                    }
                    "the object keeps changing while it is patched".to_owned()
                }
                Ok(Written::Failed(error)) if error.may_pass() => error.to_string(),
                Ok(Written::Failed(CallError {
                    kind: ErrorKind::Missing,
                    ..
                })) if member == Member::Lead => return Err(self.lead_gone()),
                Ok(Written::Failed(error)) => return Err(self.refused(&error.to_string())),
                Err(WriteError::MissingRoutes(missing)) => {
                    return Err(self.routes_gone(member, &missing));
                }
                Err(error @ (WriteError::State(_) | WriteError::TooLarge(_))) => {
                    return Err(self.refused(&error.to_string()));
                }
            };
            self.emit(EventKind::Retrying {
                what: format!(
                    "changing the weights of {}",
                    self.object(member).full_name()
                ),
                why: failure,
                attempt,
                manual: None,
            });
            tokio::select! {
                biased;
                signal = self.deps.signals.next() => return Err(self.signalled(signal)),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.look_again(intent).await?;
        }
        unreachable!("attempts are counted without an end")
    }

    /// One attempt at a write. A signal that comes while it is under way waits a little for its
    /// answer, and is followed with what that says.
    async fn write_once(
        &mut self,
        member: Member,
        intent: &Intent,
    ) -> Result<Result<Written, WriteError>, Action> {
        if let Some(signal) = self.deps.signals.pending() {
            return Err(self.signalled(signal));
        }
        let (cluster, vs) = (self.deps.cluster, self.object(member).clone());
        let (written, signal) = {
            let mut writing = std::pin::pin!(write(cluster, &vs, intent));
            tokio::select! {
                biased;
                written = &mut writing => (Some(written), None),
                signal = self.deps.signals.next() => {
                    let written = tokio::time::timeout(LAST_ANSWER, &mut writing).await;
                    (written.ok(), Some(signal))
                }
            }
        };
        match (written, signal) {
            (Some(written), None) => Ok(written),
            (Some(Ok(Written::Done(now))), Some(signal)) => {
                self.deps.signals.put_back(signal);
                Ok(Ok(Written::Done(now)))
            }
            (_, Some(signal)) => Err(self.signalled(signal)),
            (None, None) => unreachable!("only a signal ends the wait for an answer"),
        }
    }

    /// Looks at the metrics between attempts; only what is worse than what `intent` was made of counts.
    async fn look_again(&mut self, intent: &Intent) -> Result<(), Action> {
        match self.look().await {
            action @ Action::RollBack { .. } => Err(action),
            Action::Write(next)
                if next.phase == Phase::Tripped && *intent != Intent::State(next.clone()) =>
            {
                Err(Action::Write(next))
            }
            action @ Action::Leave(Outcome::Held) => Err(action),
            Action::Wait | Action::Write(_) | Action::Complete(_) | Action::Leave(_) => Ok(()),
        }
    }

    /// Chosen routes are no longer there.
    fn routes_gone(&mut self, member: Member, missing: &MissingRoutes) -> Action {
        let vs = self.object(member);
        let sight = Observed::Drifted {
            manager: vs.last_manager().unwrap_or("somebody").to_owned(),
            what: match member {
                Member::Lead => missing.to_string(),
                Member::Companion(_) => format!("virtualservice {}: {missing}", vs.full_name()),
            },
        };
        // Not even a policy that insists can write to a route that is not there.
        match (self.see_on(member, sight), member) {
            // But the others have moved already, and what moves together goes back together.
            (Action::Write(_), Member::Companion(_)) => Action::RollBack {
                cause: Cause::Drift,
                overwrite: true,
            },
            (back @ Action::RollBack { .. }, Member::Companion(_)) => back,
            _ => Action::Leave(Outcome::Drifted),
        }
    }

    /// The server says the change itself is wrong: a canary that cannot go on goes back.
    fn refused(&mut self, why: &str) -> Action {
        self.machine.override_reason(why);
        self.emit(EventKind::Warning {
            text: why.to_owned(),
        });
        Action::RollBack {
            cause: Cause::Refused,
            overwrite: false,
        }
    }
}
