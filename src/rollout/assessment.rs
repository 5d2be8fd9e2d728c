//! What the windows have said: each fed to the analysis once, at the step it belongs to. Pure.
//!
//! A resumed run is fed the whole past at once and comes to the same evidence, since which step a
//! window belongs to follows from the rollout's history and the window's own times alone.
//!
//! Where requests are mirrored the two versions are compared as their own proxies saw them, and
//! nowhere else: what becomes of a copy never counts for a share of the weights, nor the other way
//! round. It is the same analysis, so the bound on false rollbacks is one for the whole rollout.

use jiff::{SignedDuration, Timestamp};

use super::segment::Segment;
use super::state::Rollout;
use super::step_answers::StepAnswers;
use super::version_counts::VersionCounts;
use crate::metrics::Reporter;
use crate::plan::Exposure;
use crate::verdict::{
    Analysis, AnalysisReason, Counts, Decision, StepContext, Verdict, Window, sequential,
};

/// Whether the canary is under suspicion. It outlasts the window that raised it: windows that come in
/// the same answer must not make anybody forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Nothing has been raised.
    Quiet,
    /// The weight shall be 0 until this is confirmed or cleared.
    Raised,
    /// What was raised is cleared.
    Cleared,
    /// The regression is certain.
    Certain,
}

/// How long copies may still arrive once nothing is mirrored any more.
const LAST_COPIES: SignedDuration = SignedDuration::from_secs(2);

/// Whose reports the versions are compared by.
fn reporter_of(exposure: Exposure) -> Reporter {
    match exposure.mirrored() {
        Some(_) => Reporter::Destination,
        None => Reporter::Source,
    }
}

/// The evidence of a rollout.
pub struct Assessment {
    analysis: Box<dyn Analysis>,
    /// How many stages of the rollout's history have begun.
    segments: usize,
    /// What the canary gets at the step that the analysis is at.
    at: Exposure,
    step: VersionCounts,
    mirror_counts: VersionCounts,
    answers: StepAnswers,
    total_counts: Option<VersionCounts>,
    alarm: Alarm,
    decision: Option<Decision>,
    reasons: Vec<AnalysisReason>,
    canary_since: Option<Timestamp>,
}

impl Assessment {
    pub fn new(analysis: Box<dyn Analysis>) -> Self {
        Self {
            analysis,
            segments: 0,
            // Steps for testers may come before any that is judged.
            at: Exposure::Testers,
            step: VersionCounts::default(),
            mirror_counts: VersionCounts::default(),
            answers: StepAnswers::default(),
            total_counts: None,
            alarm: Alarm::Quiet,
            decision: None,
            reasons: Vec::new(),
            canary_since: None,
        }
    }

    /// The youngest pod of the canary started then: until it is warm it is given room.
    pub fn know_canary_since(&mut self, since: Option<Timestamp>) {
        self.canary_since = since;
    }

    /// The evidence in numbers, where the analysis weighs any.
    pub fn weighed(&self) -> Option<sequential::Evidence> {
        self.analysis.evidence()
    }

    /// What was counted since the step began, while the canary had its weight.
    pub fn step_counts(&self) -> VersionCounts {
        self.step
    }

    /// What was counted of mirrored requests since the step began, and of stable beside them.
    pub fn mirror_counts(&self) -> VersionCounts {
        self.mirror_counts
    }

    /// How the requests that the versions are compared by were answered since the step began.
    pub fn answers(&self) -> &StepAnswers {
        &self.answers
    }

    /// What was counted over all steps; nothing as long as no metrics were read.
    pub fn total_counts(&self) -> Option<VersionCounts> {
        self.total_counts
    }

    pub fn alarm(&self) -> Alarm {
        self.alarm
    }

    pub fn reasons(&self) -> &[AnalysisReason] {
        &self.reasons
    }

    /// The last decision, if it is about the step that `rollout` is at. The last windows of a step
    /// often come after the next has begun, and must not pass that one too.
    pub fn decision(&self, rollout: &Rollout) -> Option<&Decision> {
        self.decision
            .as_ref()
            .filter(|_| self.segments == rollout.history.len())
    }

    /// What is known about the canary at the step that `rollout` is at.
    pub fn verdict(&self, rollout: &Rollout) -> Verdict {
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

    /// Forgets the last decision: the rollout was moved, and only later windows count for it.
    pub fn start_over(&mut self) {
        self.decision = None;
    }

    /// Takes the next window of `rollout`.
    pub fn take(&mut self, rollout: &Rollout, window: &Window, reporter: Reporter) {
        while let Some(segment) = rollout
            .history
            .get(self.segments)
            .filter(|segment| segment.since < window.end)
        {
            self.begin(rollout, segment);
            self.segments += 1;
        }
        let has_copies = reporter == Reporter::Source && has_copies(rollout, window);
        let counts = VersionCounts {
            stable: window.stable,
            canary: match has_copies {
                // What is a copy and what is not cannot be told apart here; users are never charged with it.
                true => Counts::default(),
                false => window.canary,
            },
        };
        let segment = self
            .segments
            .checked_sub(1)
            .and_then(|last| rollout.history.get(last));
        let is_of_step = segment
            .is_some_and(|segment| segment.exposure == self.at && window.lies_after(segment.since));
        match reporter {
            Reporter::Source => {
                *self.total_counts.get_or_insert_default() += counts;
                if is_of_step {
                    self.step += counts;
                }
            }
            Reporter::Destination if is_of_step && reporter_of(self.at) == reporter => {
                self.mirror_counts += counts
            }
            Reporter::Destination => {}
        }
        if is_of_step && reporter_of(self.at) == reporter && !has_copies {
            self.answers.add(window);
        }
        // Of testers there is nothing to judge: they are few and know what they do.
        let unjudged = self.segments > 0 && !self.at.is_judged();
        let elsewhere = reporter_of(self.at) != reporter || has_copies;
        if unjudged || elsewhere || self.alarm == Alarm::Certain {
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

    fn begin(&mut self, rollout: &Rollout, segment: &Segment) {
        // While tripped there is no step: the analysis goes on with the one it has, and so it does
        // when the trip is cleared.
        let before = self
            .segments
            .checked_sub(1)
            .and_then(|last| rollout.history.get(last));
        let was_tripped = before.is_some_and(|before| !before.exposure.is_judged());
        let exposure = segment.exposure;
        if !exposure.is_judged() {
            return;
        }
        self.decision = None;
        if self.alarm != Alarm::Certain {
            self.alarm = Alarm::Quiet;
        }
        if was_tripped && exposure == self.at {
            return;
        }
        self.at = exposure;
        self.step = VersionCounts::default();
        self.mirror_counts = VersionCounts::default();
        self.answers = StepAnswers::default();
        self.analysis.begin_step(context(rollout, segment));
    }
}

/// Whether a window of what the versions' own proxies counted may hold copies of requests.
fn has_copies(rollout: &Rollout, window: &Window) -> bool {
    let ends = rollout
        .history
        .iter()
        .skip(1)
        .map(|segment| Some(segment.since));
    let mut segments = rollout.history.iter().zip(ends.chain([None]));
    window.by_callees
        && segments.any(|(segment, end)| {
            let over = end.and_then(|end| end.checked_add(LAST_COPIES).ok());
            segment.exposure.mirrored().is_some()
                && segment.since < window.end
                && over.is_none_or(|over| !window.lies_after(over))
        })
}

fn context(rollout: &Rollout, segment: &Segment) -> StepContext {
    let plan = &rollout.plan;
    let index = (0..plan.step_count())
        .find(|&index| plan.exposure(index) == segment.exposure)
        .unwrap_or(rollout.step);
    // Testers are no part of the requests, so what matters is the step after theirs.
    let mut next = (index + 1..plan.step_count()).map(|index| plan.exposure(index));
    StepContext {
        share: segment.exposure.canary_part(),
        next_share: next
            .find(|exposure| exposure.is_judged())
            .map(Exposure::canary_part),
        began: segment.since,
        dwell: plan.dwell_of(index).signed(),
    }
}
