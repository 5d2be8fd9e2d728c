//! The rollout as a machine: what was seen goes in, what to do next comes out. Pure.

use jiff::Timestamp;

use crate::metrics::Observation;
use crate::plan::{HumanDuration, OnDrift, OnStuck, Percent, Plan};
use crate::record::{Cause, EventKind, Outcome, Phase, Rollout, Tally};
use crate::verdict::{Analysis, Decision, Reason, StepContext, Verdict, Window};

use super::sight::Sight;

/// How far this process drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Stop when the step has passed, without taking the next.
    pub one_step: bool,
    /// Stop where somebody has to promote, instead of waiting for it.
    pub leave_at_gate: bool,
}

impl Horizon {
    /// To the end, waiting wherever somebody has to promote.
    pub const END: Self = Self {
        one_step: false,
        leave_at_gate: false,
    };
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Nothing; wait for what comes.
    Wait,
    /// Write this state and its weights.
    Write(Box<Rollout>),
    /// Write the weights of this state, and that the rollout is over.
    Complete(Box<Rollout>),
    /// Restore the original weights.
    RollBack {
        /// Why.
        cause: Cause,
        /// Whether somebody else's weights may be overwritten, because the policy says so.
        overwrite: bool,
    },
    /// Leave the object as it is and end.
    Leave(Outcome),
}

/// Decides a rollout.
pub struct Machine {
    rollout: Rollout,
    analysis: Box<dyn Analysis>,
    horizon: Horizon,
    /// The next stage of the rollout's history for which the analysis has not begun a step.
    stage: usize,
    step: Tally,
    total: Tally,
    verdict: Verdict,
    reasons: Vec<Reason>,
    decision: Option<Decision>,
    flowing: bool,
    blind_since: Option<Timestamp>,
    canary_since: Option<Timestamp>,
    /// The weight of the step that a trip interrupted.
    tripped_from: Option<Percent>,
}

impl Machine {
    /// A machine for `rollout` as it stands on the object.
    pub fn new(rollout: Rollout, analysis: Box<dyn Analysis>, horizon: Horizon) -> Self {
        Self {
            rollout,
            analysis,
            horizon,
            stage: 0,
            step: Tally::default(),
            total: Tally::default(),
            verdict: Verdict::NotEnoughData,
            reasons: Vec::new(),
            decision: None,
            flowing: false,
            blind_since: None,
            canary_since: None,
            tripped_from: None,
        }
    }

    /// The same, knowing when the youngest pod of the canary started.
    #[must_use]
    pub fn with_canary_since(mut self, since: Option<Timestamp>) -> Self {
        self.canary_since = since;
        self
    }

    /// The rollout as it is believed to stand on the object.
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// What was counted over all steps.
    pub fn total(&self) -> Tally {
        self.total
    }

    /// Why the last decision was made, in words.
    pub fn reasons(&self) -> Vec<String> {
        self.reasons.iter().map(|reason| reason.0.clone()).collect()
    }

    fn plan(&self) -> &Plan {
        &self.rollout.plan
    }

    /// The canary's share in force at a time, 0 to 1.
    pub fn share_at(&self, at: Timestamp) -> f64 {
        let stages = self.rollout.history.iter().rev();
        let in_force = stages.into_iter().find(|stage| stage.since <= at);
        in_force
            .map_or(self.rollout.original_share(), |stage| stage.weight)
            .share()
    }

    /// The state was written, or was found to stand on the object.
    pub fn believe(&mut self, rollout: Rollout) {
        if self.rollout.step != rollout.step || self.rollout.phase != rollout.phase {
            self.decision = None;
        }
        if self.rollout.step != rollout.step {
            self.flowing = false;
            self.verdict = Verdict::NotEnoughData;
        }
        self.rollout = rollout;
    }

    /// The metrics answered.
    pub fn look(
        &mut self,
        observation: &Observation,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        let quality = &observation.quality;
        // Windows are taken even from an answer that is not sound as a whole: each of them is.
        for window in &observation.windows {
            self.take(window);
        }
        if !quality.is_sound(now) {
            let why = if quality.partial {
                format!("the answer is incomplete: {}", quality.warnings.join("; "))
            } else if quality.series == 0 {
                "there are no series of either version".to_owned()
            } else if quality.is_stale(now) {
                let age = HumanDuration::from(quality.age(now).unwrap_or_default());
                format!("the newest sample is {age} old")
            } else {
                "the samples of the two versions are further apart than a scrape".to_owned()
            };
            return self.blind(&why, now, emit);
        }
        if let Some(since) = self.blind_since.take() {
            let after = HumanDuration::from(now.duration_since(since));
            emit(EventKind::MetricsBack { after });
        }
        if !self.flowing && self.step.canary.requests > 0 {
            self.flowing = true;
            emit(EventKind::Flowing {
                weight: self.rollout.weight(),
                seen: self.step,
            });
        }
        let verdict = match &self.decision {
            None | Some(Decision::Inconclusive(_) | Decision::Retreat(_)) => Verdict::NotEnoughData,
            Some(Decision::Stay(verdict, _)) => *verdict,
            Some(Decision::Advance(_) | Decision::Resume(_)) => Verdict::Healthy,
            Some(Decision::Trip(_) | Decision::Rollback(_)) => Verdict::Regressed,
        };
        self.verdict = verdict;
        emit(EventKind::Looked {
            step: self.rollout.step + 1,
            steps: self.plan().len(),
            weight: self.rollout.weight(),
            verdict,
            tally: self.step,
            reasons: self.reasons(),
            evidence: self.analysis.evidence().map(Box::new),
            sample_age_millis: quality
                .age(now)
                .and_then(|age| u64::try_from(age.as_millis()).ok()),
        });
        self.decide(now, emit)
    }

    fn take(&mut self, window: &Window) {
        // A stage's step begins with the first window that ends in it. While tripped there is no
        // step: the analysis goes on with the one it has.
        while let Some(stage) = self
            .rollout
            .history
            .get(self.stage)
            .filter(|stage| stage.since < window.end)
        {
            let cleared = self.tripped_from == Some(stage.weight);
            if stage.weight == Percent::ZERO {
                let before = self
                    .stage
                    .checked_sub(1)
                    .and_then(|before| self.rollout.history.get(before));
                self.tripped_from = before.map(|before| before.weight);
            } else if cleared {
                // A step that goes on after a cleared trip is the same step.
                self.tripped_from = None;
            } else {
                self.tripped_from = None;
                let context = self.context(stage.weight, stage.since);
                self.analysis.begin_step(context);
                self.step = Tally::default();
                self.decision = None;
            }
            self.stage += 1;
        }
        let counts = Tally {
            stable: window.stable,
            canary: window.canary,
        };
        let began = self
            .rollout
            .history
            .get(self.stage.saturating_sub(1))
            .map(|stage| stage.since);
        if began.is_some_and(|began| window.lies_after(began)) {
            self.step += counts;
        }
        self.total += counts;
        let window = Window {
            canary_age: self
                .canary_since
                .map(|since| window.end.duration_since(since)),
            ..window.clone()
        };
        let decision = self.analysis.observe(&window);
        let (Decision::Stay(_, reasons)
        | Decision::Advance(reasons)
        | Decision::Trip(reasons)
        | Decision::Resume(reasons)
        | Decision::Retreat(reasons)
        | Decision::Inconclusive(reasons)
        | Decision::Rollback(reasons)) = &decision;
        self.reasons.clone_from(reasons);
        self.decision = Some(decision);
    }

    fn context(&self, weight: Percent, began: Timestamp) -> StepContext {
        let steps = self.plan().steps.as_slice();
        let index = steps
            .iter()
            .position(|step| step.weight == weight)
            .unwrap_or(self.rollout.step);
        StepContext {
            share: weight.share(),
            next_share: steps.get(index + 1).map(|step| step.weight.share()),
            began,
            dwell: self.plan().dwell_of(index).signed(),
        }
    }

    fn decide(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let weight = self.rollout.weight();
        let tally = self.step;
        match (self.decision.clone(), self.rollout.phase) {
            (Some(Decision::Rollback(_)), _) => {
                emit(EventKind::Regressed {
                    weight,
                    tally,
                    reasons: self.reasons(),
                });
                Action::RollBack {
                    cause: Cause::Regression,
                    overwrite: false,
                }
            }
            (Some(Decision::Trip(_)), Phase::Progressing | Phase::Waiting | Phase::Paused) => {
                Action::Write(Box::new(self.rollout.in_phase(Phase::Tripped, now)))
            }
            (Some(Decision::Resume(_)), Phase::Tripped) => {
                Action::Write(Box::new(self.rollout.in_phase(Phase::Progressing, now)))
            }
            (Some(Decision::Advance(_)), Phase::Progressing) => self.advance(now, emit),
            (Some(Decision::Retreat(_)), Phase::Progressing) if self.rollout.step > 0 => {
                let back = self.rollout.step - 1;
                Action::Write(Box::new(self.rollout.at_step(
                    back,
                    Phase::Progressing,
                    now,
                )))
            }
            (Some(Decision::Inconclusive(_)), Phase::Progressing) => {
                let why = format!("no verdict at {weight} %: {}", self.reasons().join("; "));
                self.stuck(
                    why,
                    self.plan().on_inconclusive,
                    Cause::Inconclusive,
                    now,
                    emit,
                )
            }
            (_, Phase::Progressing) => self.check_deadline(now, emit),
            (_, Phase::Waiting | Phase::Paused | Phase::Tripped) => Action::Wait,
        }
    }

    fn check_deadline(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let timeout = self.plan().step_timeout;
        if now.duration_since(self.rollout.since) < timeout.signed() {
            return Action::Wait;
        }
        let why = format!(
            "no verdict after {timeout} at {} %: {}",
            self.rollout.weight(),
            self.reasons().join("; ")
        );
        let policy = self.plan().on_inconclusive;
        self.stuck(why, policy, Cause::Inconclusive, now, emit)
    }

    fn stuck(
        &mut self,
        why: String,
        policy: OnStuck,
        cause: Cause,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        self.reasons = vec![Reason(why.clone())];
        emit(EventKind::NoVerdict {
            why: why.clone(),
            policy,
        });
        match policy {
            OnStuck::Rollback => Action::RollBack {
                cause,
                overwrite: false,
            },
            OnStuck::Promote => self.next_step(now),
            OnStuck::Hold => self.gate(why, now, emit),
        }
    }

    fn advance(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let weight = self.rollout.weight();
        emit(EventKind::StepPassed {
            step: self.rollout.step + 1,
            weight,
            tally: self.step,
            reasons: self.reasons(),
        });
        if self.horizon.one_step && !self.plan().is_last(self.rollout.step) {
            return Action::Leave(Outcome::StepPassed);
        }
        if self.plan().steps.as_slice()[self.rollout.step].pause {
            return self.gate(
                format!("step {weight} % has passed and waits for promote"),
                now,
                emit,
            );
        }
        self.next_step(now)
    }

    fn gate(&mut self, why: String, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        emit(EventKind::Waiting {
            weight: self.rollout.weight(),
            why,
        });
        Action::Write(Box::new(self.rollout.in_phase(Phase::Waiting, now)))
    }

    /// The action that takes the rollout one step further.
    pub fn next_step(&self, now: Timestamp) -> Action {
        next_step(&self.rollout, now)
    }

    /// A write of this state has succeeded: is there more to do at once?
    pub fn after_write(&self) -> Action {
        match self.rollout.phase {
            Phase::Waiting if self.horizon.leave_at_gate || self.horizon.one_step => {
                Action::Leave(Outcome::Held)
            }
            _ => Action::Wait,
        }
    }

    /// The metrics did not answer, or cannot be used.
    pub fn blind(&mut self, why: &str, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let since = *self.blind_since.get_or_insert(now);
        let (blind, grace) = (
            HumanDuration::from(now.duration_since(since)),
            self.plan().metrics_grace,
        );
        self.verdict = Verdict::MetricsUnavailable;
        emit(EventKind::MetricsUnavailable {
            why: why.to_owned(),
            since: blind,
            grace,
        });
        match self.rollout.phase {
            _ if blind < grace => Action::Wait,
            // Nothing is at stake while somebody has to promote anyway.
            Phase::Waiting | Phase::Paused => Action::Wait,
            // Whether it was the canary can no longer be told; it looked like it.
            Phase::Tripped => Action::RollBack {
                cause: Cause::Regression,
                overwrite: false,
            },
            Phase::Progressing => {
                let why = format!("no metrics for {blind}: {why}");
                let policy = self.plan().on_no_metrics;
                self.blind_since = None;
                self.stuck(why, policy, Cause::NoMetrics, now, emit)
            }
        }
    }

    /// The object was seen.
    pub fn see(&mut self, sight: Sight, emit: &mut dyn FnMut(EventKind)) -> Action {
        match sight {
            Sight::AsBelieved => Action::Wait,
            Sight::Moved(shown) => {
                let by = shown.by.clone().unwrap_or_else(|| "somebody".into());
                let before = (self.rollout.step, self.rollout.phase);
                self.believe(*shown);
                match (before, self.rollout.phase) {
                    ((_, phase), Phase::Paused) if phase != Phase::Paused => {
                        emit(EventKind::Paused { by })
                    }
                    ((step, _), _) if step != self.rollout.step => {
                        emit(EventKind::Promoted {
                            by,
                            weight: self.rollout.weight(),
                        });
                    }
                    ((_, phase), Phase::Progressing) if phase != Phase::Progressing => {
                        emit(EventKind::Continued { by })
                    }
                    _ => {}
                }
                Action::Wait
            }
            Sight::Ended(ending) => {
                self.reasons = vec![Reason(format!("{} by {}", ending.outcome, ending.by))];
                Action::Leave(ending.outcome)
            }
            Sight::TakenOver(holder) => {
                self.reasons = vec![Reason(format!("{holder} drives the rollout now"))];
                Action::Leave(Outcome::TakenOver)
            }
            Sight::Drifted { manager, what } => self.drifted(manager, what, emit),
        }
    }

    fn drifted(
        &mut self,
        manager: String,
        what: String,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        let policy = self.plan().on_drift;
        self.reasons = vec![Reason(format!("{manager} changed the routes: {what}"))];
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

    /// Whether the canary gets no answer at all although it should: worth a look at its pods.
    pub fn suspects_pods(&self) -> bool {
        let expected = self.step.stable.requests as f64 * self.rollout.weight().share();
        self.step.canary.requests == 0 && expected >= 5.0
            || self.step.canary.requests > 0
                && self.step.canary.failures == self.step.canary.requests
    }

    /// No pod of the canary is ready.
    pub fn canary_down(&mut self, why: String, emit: &mut dyn FnMut(EventKind)) -> Action {
        self.reasons = vec![Reason(why)];
        emit(EventKind::Regressed {
            weight: self.rollout.weight(),
            tally: self.step,
            reasons: self.reasons(),
        });
        Action::RollBack {
            cause: Cause::CanaryDown,
            overwrite: false,
        }
    }
}

/// The action that takes `rollout` one step further, whoever does it.
pub(crate) fn next_step(rollout: &Rollout, now: Timestamp) -> Action {
    let plan = &rollout.plan;
    if plan.is_last(rollout.step) {
        return Action::Complete(Box::new(rollout.clone()));
    }
    let step = rollout.step + 1;
    let next = rollout.at_step(step, Phase::Progressing, now);
    // Where nothing is to be watched at 100 %, the same patch says that the rollout is over.
    let ends_here = plan.is_last(step)
        && plan.dwell_of(step) == HumanDuration::ZERO
        && !plan.steps.as_slice()[step].pause;
    if ends_here {
        Action::Complete(Box::new(next))
    } else {
        Action::Write(Box::new(next))
    }
}
