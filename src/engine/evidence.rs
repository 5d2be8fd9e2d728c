//! What the windows have said: each fed to the analysis once, at the step it belongs to. Pure.
//!
//! A resumed run is fed the whole past at once and comes to the same evidence, since which step a
//! window belongs to follows from the rollout's history and the window's own times alone.

use jiff::Timestamp;

use crate::plan::Percent;
use crate::record::{Rollout, Stage, Tally};
use crate::verdict::sequential;
use crate::verdict::{Analysis, Decision, Reason, StepContext, Verdict, Window};

/// Whether the canary is under suspicion. It outlasts the window that raised it: windows that come in
/// the same answer must not make anybody forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// Nothing has been raised.
    Quiet,
    /// The weight shall be 0 until this is confirmed or cleared.
    Raised,
    /// What was raised is cleared.
    Cleared,
    /// The regression is certain.
    Certain,
}

/// The evidence of a rollout.
pub(super) struct Evidence {
    analysis: Box<dyn Analysis>,
    /// How many stages of the rollout's history have begun.
    stages: usize,
    /// The weight of the step that the analysis is at.
    at: Percent,
    step: Tally,
    total: Tally,
    alarm: Alarm,
    decision: Option<Decision>,
    reasons: Vec<Reason>,
    canary_since: Option<Timestamp>,
}

impl Evidence {
    pub(super) fn new(analysis: Box<dyn Analysis>) -> Self {
        Self {
            analysis,
            stages: 0,
            at: Percent::ZERO,
            step: Tally::default(),
            total: Tally::default(),
            alarm: Alarm::Quiet,
            decision: None,
            reasons: Vec::new(),
            canary_since: None,
        }
    }

    /// The youngest pod of the canary started then: until it is warm it is given room.
    pub(super) fn know_canary_since(&mut self, since: Option<Timestamp>) {
        self.canary_since = since;
    }

    /// The evidence in numbers, where the analysis weighs any.
    pub(super) fn weighed(&self) -> Option<sequential::Evidence> {
        self.analysis.evidence()
    }

    /// What was counted since the step began, while the canary had its weight.
    pub(super) fn step(&self) -> Tally {
        self.step
    }

    /// What was counted over all steps.
    pub(super) fn total(&self) -> Tally {
        self.total
    }

    pub(super) fn alarm(&self) -> Alarm {
        self.alarm
    }

    pub(super) fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// The last decision, if it is about the step that `rollout` is at. The last windows of a step
    /// often come after the next has begun, and must not pass that one too.
    pub(super) fn decision(&self, rollout: &Rollout) -> Option<&Decision> {
        self.decision
            .as_ref()
            .filter(|_| self.stages == rollout.history.len())
    }

    /// What is known about the canary at the step that `rollout` is at.
    pub(super) fn verdict(&self, rollout: &Rollout) -> Verdict {
        match (self.alarm, self.decision(rollout)) {
            (Alarm::Raised | Alarm::Certain, _) => Verdict::Regressed,
            (_, Some(Decision::Stay(verdict, _))) => *verdict,
            (_, Some(Decision::Advance(_))) => Verdict::Healthy,
            (
                _,
                None
                | Some(
                    Decision::Trip(_)
                    | Decision::Resume(_)
                    | Decision::Rollback(_)
                    | Decision::Retreat(_)
                    | Decision::Inconclusive(_),
                ),
            ) => Verdict::NotEnoughData,
        }
    }

    /// Forgets the last decision: somebody moved the rollout, and only later windows count for it.
    pub(super) fn start_over(&mut self) {
        self.decision = None;
    }

    /// Takes the next window of `rollout`.
    pub(super) fn take(&mut self, rollout: &Rollout, window: &Window) {
        while let Some(stage) = rollout
            .history
            .get(self.stages)
            .filter(|stage| stage.since < window.end)
        {
            self.begin(rollout, stage);
            self.stages += 1;
        }
        let counts = Tally {
            stable: window.stable,
            canary: window.canary,
        };
        self.total += counts;
        let stage = self
            .stages
            .checked_sub(1)
            .and_then(|last| rollout.history.get(last));
        if stage.is_some_and(|stage| stage.weight == self.at && window.lies_after(stage.since)) {
            self.step += counts;
        }
        // Before the first percent there is nothing to judge: testers are few and know what they do, and
        // the answers to mirrored requests reach nobody.
        let unjudged = self.stages > 0 && self.at == Percent::ZERO;
        if unjudged || self.alarm == Alarm::Certain {
            return;
        }
        let aged = Window {
            canary_age: self
                .canary_since
                .map(|since| window.end.duration_since(since)),
            ..window.clone()
        };
        let decision = self.analysis.observe(&aged);
        let (Decision::Stay(_, reasons)
        | Decision::Advance(reasons)
        | Decision::Trip(reasons)
        | Decision::Resume(reasons)
        | Decision::Retreat(reasons)
        | Decision::Inconclusive(reasons)
        | Decision::Rollback(reasons)) = &decision;
        self.reasons.clone_from(reasons);
        self.alarm = match &decision {
            Decision::Trip(_) => Alarm::Raised,
            Decision::Resume(_) => Alarm::Cleared,
            Decision::Rollback(_) => Alarm::Certain,
            Decision::Stay(..)
            | Decision::Advance(_)
            | Decision::Retreat(_)
            | Decision::Inconclusive(_) => self.alarm,
        };
        self.decision = Some(decision);
    }

    fn begin(&mut self, rollout: &Rollout, stage: &Stage) {
        // While tripped there is no step: the analysis goes on with the one it has, and so it does
        // when the trip is cleared.
        let before = self
            .stages
            .checked_sub(1)
            .and_then(|last| rollout.history.get(last));
        let was_tripped = before.is_some_and(|before| before.weight == Percent::ZERO);
        if stage.weight == Percent::ZERO {
            return;
        }
        self.decision = None;
        if self.alarm != Alarm::Certain {
            self.alarm = Alarm::Quiet;
        }
        if was_tripped && stage.weight == self.at {
            return;
        }
        self.at = stage.weight;
        self.step = Tally::default();
        self.analysis.begin_step(context(rollout, stage));
    }
}

fn context(rollout: &Rollout, stage: &Stage) -> StepContext {
    let steps = rollout.plan.steps.as_slice();
    let index = steps
        .iter()
        .position(|step| step.weight == stage.weight)
        .unwrap_or(rollout.step);
    StepContext {
        share: stage.weight.share(),
        next_share: steps.get(index + 1).map(|step| step.weight.share()),
        began: stage.since,
        dwell: rollout.plan.dwell_of(index).signed(),
    }
}
