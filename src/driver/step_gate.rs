//! The user's command before a later step: it runs beside everything else that a driver does, and whatever ends
//! the step first ends it.

use std::future::pending;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::finish::millis;
use crate::context::BeforeStep;
use crate::istio::VirtualService;
use crate::plan::{Exposure, OnHookFailure};
use crate::rollout::{Action, EventKind, HookFailure, Phase, Rollout};

/// What a step has to pass before it is written.
pub(super) struct StepGate<'a> {
    hook: Option<&'a BeforeStep>,
    /// The command for the next step, since it was first asked for.
    run: Option<HookRun<'a>>,
}

struct HookRun<'a> {
    /// Step and phase in which it was started: it says nothing of others.
    from: (usize, Phase),
    /// The step to come, from 0.
    to: usize,
    exposure: Exposure,
    began: Instant,
    /// `None` once it has succeeded. Dropped, it is killed.
    running: Option<BoxFuture<'a, Result<(), HookFailure>>>,
}

impl<'a> StepGate<'a> {
    pub fn new(hook: Option<&'a BeforeStep>) -> Self {
        Self { hook, run: None }
    }

    /// What is done where the command fails.
    pub fn on_failure(&self) -> OnHookFailure {
        self.hook.map(|hook| hook.on_failure).unwrap_or_default()
    }

    /// Waits for the end of the command, if one is running, and tells of it.
    pub async fn ended(&mut self) -> Result<EventKind, HookFailure> {
        let Some(run) = &mut self.run else {
            return pending().await;
        };
        let Some(running) = &mut run.running else {
            return pending().await;
        };
        let ended = running.await;
        run.running = None;
        ended.map(|()| EventKind::HookPassed {
            step: run.to + 1,
            exposure: run.exposure,
            took_millis: millis(run.began.elapsed()),
        })
    }

    /// `action`, unless it takes a later step than that of `rollout` and the command before it has not succeeded
    /// yet: then there is only to wait for it, and the machine will ask again. Anything else to be done ends the
    /// command. Tells if it was started.
    pub fn admit(
        &mut self,
        action: Action,
        rollout: &Rollout,
        lead: &VirtualService,
    ) -> (Action, Option<EventKind>) {
        let from = (rollout.step, rollout.phase);
        let next = match &action {
            Action::Write(next) | Action::Complete(next) if next.step > rollout.step => next,
            Action::Wait => {
                self.run = self.run.take().filter(|run| run.from == from);
                return (action, None);
            }
            Action::Write(_) | Action::Complete(_) | Action::RollBack { .. } | Action::Leave(_) => {
                self.run = None;
                return (action, None);
            }
        };
        let Some(hook) = self.hook else {
            return (action, None);
        };
        let (to, exposure) = (next.step, next.exposure());
        let asked = self.run.as_ref();
        if let Some(run) = asked.filter(|run| run.from == from && run.to == to) {
            let is_running = run.running.is_some();
            return (if is_running { Action::Wait } else { action }, None);
        }
        // What ran for something else ends before this begins.
        self.run = None;
        self.run = Some(HookRun {
            from,
            to,
            exposure,
            began: Instant::now(),
            running: Some(hook.run(lead, next)),
        });
        let step = to + 1;
        let started = EventKind::HookStarted { step, exposure };
        (Action::Wait, Some(started))
    }
}
