//! A driver's steps: the lead first, then its companions, and the end on all of them.

use std::time::Duration;

use tokio::time::Instant;

use super::apply::{Retry, apply};
use super::drive::Driver;
use super::driver_write::DriverWrite;
use super::finish::millis;
use super::watched_group::Member;
use crate::rollout::{
    Action, Cause, EventKind, Intent, LastRollout, Outcome, Phase, Reason, Rollout, RouteChange,
    changes_of, is_in_place,
};

/// The longest from a write to the next look at the metrics.
const LOOK_AFTER_WRITE: Duration = Duration::from_secs(1);

impl Driver<'_> {
    /// Writes to one of the objects until it is done, or until something else is to be done.
    pub(super) async fn write(&mut self, member: Member, intent: &Intent) -> Result<(), Action> {
        let (cluster, vs) = (self.cluster, self.object(member).clone());
        let mut write = DriverWrite {
            driver: self,
            member,
            intent,
        };
        // On the heap, as looks are part of it and threads have small stacks.
        let now = Box::pin(apply(cluster, Retry::DRIVER, vs, &mut write)).await?;
        self.group.set(member, now);
        Ok(())
    }

    /// Brings every companion, in order, to where the lead stands, and says what that changed.
    pub(super) async fn sync(&mut self) -> Result<Vec<RouteChange>, Action> {
        let state = Intent::State(Box::new(self.machine.rollout().clone()));
        self.bring_companions(&state).await
    }

    /// Brings every companion, in order, to what `goal` means for it.
    pub(super) async fn bring_companions(
        &mut self,
        goal: &Intent,
    ) -> Result<Vec<RouteChange>, Action> {
        let mut changes = Vec::new();
        let companions = goal.rollout().companions.clone();
        for (index, companion) in companions.iter().enumerate().take(self.group.companions()) {
            let member = Member::Companion(index);
            let intent = goal.of_companion(self.group.lead(), companion);
            let before = self.object(member).clone();
            if is_in_place(&intent, &before) {
                continue;
            }
            self.write(member, &intent).await?;
            changes.extend(changes_of(&intent, &before));
        }
        Ok(changes)
    }

    /// Writes the state of a step, or says what is to be done instead.
    pub(super) async fn take_step(&mut self, next: Rollout) -> Result<Action, Action> {
        let before = self.machine.rollout().clone();
        let began = Instant::now();
        let intent = Intent::State(Box::new(next.clone()));
        let mut changes = intent.changes(self.group.lead()).unwrap_or_default();
        self.write(Member::Lead, &intent).await?;
        let (step_counts, mirror_counts) =
            (self.machine.step_counts(), self.machine.mirror_counts());
        // From here on it is known to be in force; when it was decided does not matter any more.
        self.machine
            .set_state(next.in_force_at(&before, self.clock.now()));
        let reasons = self.machine.reasons();
        changes.extend(self.sync().await?);
        let took_millis = millis(began.elapsed());
        self.next_look = Instant::now() + self.interval().min(LOOK_AFTER_WRITE);
        let rollout = self.machine.rollout();
        let event = match (before.phase, rollout.phase) {
            (_, Phase::Tripped) => EventKind::Tripped {
                exposure: before.exposure(),
                step_counts,
                mirror_counts,
                reasons,
                took_millis,
            },
            (Phase::Tripped, Phase::Progressing) => EventKind::FalseAlarm {
                exposure: rollout.exposure(),
                reasons,
            },
            (_, Phase::Progressing) if moved(&changes) || before.since != rollout.since => {
                step_started(rollout, changes, took_millis)
            }
            _ => return Ok(self.machine.after_write()),
        };
        self.emit(event);
        Ok(self.machine.after_write())
    }

    /// Ends the rollout at its last step, or says what is to be done instead.
    pub(super) async fn complete(&mut self, next: Rollout) -> Result<Action, Action> {
        let began = Instant::now();
        let last = LastRollout::of(&next, Outcome::Promoted, &next.holder, self.clock.now());
        let intent = Intent::Complete(Box::new(next.clone()), last);
        let mut changes = intent.changes(self.group.lead()).unwrap_or_default();
        let first = intent.before_companions(self.cluster.stores());
        if first != intent && !first.is_done(self.group.lead()) {
            let before = self.machine.rollout().clone();
            self.write(Member::Lead, &first).await?;
            self.machine
                .set_state(next.in_force_at(&before, self.clock.now()));
        }
        changes.extend(self.bring_companions(&intent).await?);
        self.write(Member::Lead, &intent).await?;
        let took_millis = millis(began.elapsed());
        self.machine.set_state(next);
        if moved(&changes) {
            let event = step_started(self.machine.rollout(), changes, took_millis);
            self.emit(event);
        }
        Ok(Action::Leave(Outcome::Promoted))
    }

    /// The server says the change itself is wrong: a canary that cannot go on goes back.
    pub(super) fn refused(&mut self, why: &str) -> Action {
        self.machine.override_reason(Reason::Refused {
            message: why.to_owned(),
        });
        self.emit(EventKind::Warning {
            text: why.to_owned(),
        });
        Action::RollBack {
            cause: Cause::Refused,
            overwrite: false,
        }
    }
}

fn moved(changes: &[RouteChange]) -> bool {
    changes.iter().any(|change| change.before != change.after)
}

/// The weights of the step at which `rollout` stands are set.
pub(super) fn step_started(
    rollout: &Rollout,
    routes: Vec<RouteChange>,
    took_millis: u64,
) -> EventKind {
    EventKind::StepStarted {
        step: rollout.step + 1,
        step_count: rollout.plan.step_count(),
        exposure: rollout.exposure(),
        routes,
        took_millis,
    }
}
