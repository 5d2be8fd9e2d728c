//! A driver's write: it goes on until it is done, or until something else is to be done.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::apply::{Failure, Interruption, Next, Purpose};
use super::drive::Driver;
use super::watched_group::Member;
use crate::cluster::{CallError, ErrorKind};
use crate::istio::{MissingRoutes, RouteDifference, VirtualService};
use crate::rollout::{
    Action, Cause, Drift, EventKind, Intent, LastRollout, Observed, Outcome, Phase, ROLLOUT,
    WriteError, is_in_place,
};
use crate::signals::{Signal, Signals};

/// From when on a write takes so long that the canary is watched meanwhile.
const SLOW: Duration = Duration::from_secs(1);

/// A write to one of a driver's objects. It stops with what is to be done instead.
///
/// Nothing moves while it does not work, but the canary is still watched: what was decided before a
/// long outage may be wrong after it.
pub(super) struct DriverWrite<'d, 'a> {
    pub driver: &'d mut Driver<'a>,
    pub member: Member,
    pub intent: &'d Intent,
}

impl Purpose for DriverWrite<'_, '_> {
    type Stop = Action;

    async fn intent(&mut self, _: &VirtualService) -> Result<Option<Intent>, Action> {
        let driver = &self.driver;
        Ok(Some(driver.attempt(self.intent)))
    }

    async fn changed(&mut self, now: VirtualService, intent: &Intent) -> Result<Next, Action> {
        self.driver.object_is(self.member, now).await?;
        let vs = self.driver.object(self.member).clone();
        // Another process may have brought a companion there, or to its end, meanwhile.
        let is_companion = self.member != Member::Lead;
        let is_over = || is_in_place(intent, &vs) || has_ended(intent, &vs);
        Ok(match is_companion && is_over() {
            true => Next::Done(vs),
            // Something changed that does not matter to the rollout.
            false => Next::Again(vs),
        })
    }

    async fn failed(
        &mut self,
        vs: &VirtualService,
        failure: Failure,
    ) -> Result<VirtualService, Action> {
        Err(match failure {
            Failure::Call(error)
                if error.kind == ErrorKind::Missing && self.member == Member::Lead =>
            {
                self.driver.lead_gone()
            }
            Failure::Call(error) => self.driver.refused(&error.to_string()),
            Failure::Unwritable(WriteError::MissingRoutes(missing)) => {
                self.routes_gone(vs, missing)
            }
            Failure::Unwritable(error @ (WriteError::State(_) | WriteError::TooLarge(_))) => {
                self.driver.refused(&error.to_string())
            }
        })
    }

    fn signals(&mut self) -> Option<&mut Signals> {
        Some(self.driver.signals())
    }

    /// The canary is watched while a write takes its time: what it rests on may be no longer true.
    async fn interruption(&mut self, intent: &Intent) -> Interruption<Action> {
        let mut look = Instant::now() + SLOW;
        loop {
            tokio::select! {
                biased;
                signal = self.driver.signals().next() => return Interruption::Signal(signal),
                () = sleep_until(look) => {}
            }
            if let Err(action) = self.before_retry(intent).await {
                return Interruption::Stop(action);
            }
            // News of the object wait until the write is over, and are no reason to look at once.
            look = Instant::now() + self.driver.interval();
        }
    }

    /// Whatever became of the write: a rollback reads the object first, and so does who holds.
    async fn interrupted(
        &mut self,
        _: &VirtualService,
        signal: Signal,
        sent: bool,
    ) -> Result<VirtualService, Action> {
        Err(self.driver.signalled_in_write(signal, sent).await)
    }

    fn retrying(&mut self, vs: &VirtualService, failure: &CallError, attempt: u32) {
        self.driver.emit(EventKind::Retrying {
            what: format!("changing the weights of {}", vs.full_name()),
            why: failure.to_string(),
            attempt,
            manual: None,
        });
    }

    /// Looks at the metrics; only what is worse than what the write was decided on counts.
    async fn before_retry(&mut self, intent: &Intent) -> Result<(), Action> {
        match self.driver.look().await {
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
}

/// Whether the end that is to be written stands there already; what became of the routes since then is no
/// part of the rollout any more.
fn has_ended(intent: &Intent, vs: &VirtualService) -> bool {
    let Intent::Complete(rollout, ending) = intent else {
        return false;
    };
    let last = LastRollout::of_run(vs, &rollout.run);
    vs.annotation(ROLLOUT).is_none() && last.is_some_and(|last| last.outcome == ending.outcome)
}

impl DriverWrite<'_, '_> {
    /// Chosen routes are no longer there.
    fn routes_gone(&mut self, vs: &VirtualService, missing: MissingRoutes) -> Action {
        let drift = Drift::from(RouteDifference::from(missing));
        let observed = Observed::Drifted {
            manager: vs.last_manager().unwrap_or("another client").to_owned(),
            drift: match self.member {
                Member::Lead => drift,
                Member::Companion(_) => drift.of_companion(vs),
            },
        };
        // Not even a policy that sets weights again can write to a route that is not there.
        match (self.driver.see_on(self.member, observed), self.member) {
            // But the others have moved already, and a group is rolled back as a whole.
            (Action::Write(_), Member::Companion(_)) => Action::RollBack {
                cause: Cause::Drift,
                overwrite: true,
            },
            (back @ Action::RollBack { .. }, Member::Companion(_)) => back,
            _ => Action::Leave(Outcome::Drifted),
        }
    }
}
