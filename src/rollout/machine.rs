//! The rollout as a machine: what was seen goes in, what to do next comes out. Pure.

use jiff::{SignedDuration, Timestamp};

use super::event::{EventKind, VersionCounts};
use super::outcome::{Cause, Outcome};
use super::segment::{Phase, Segment};
use super::state::Rollout;
use crate::metrics::{Observation, Reporter};
use crate::plan::{HumanDuration, Plan, Reach};
use crate::verdict::{Analysis, Decision};

use super::action::{Action, StopAt, next_step};
use super::evidence::{Alarm, Evidence};
use super::metrics_outage::{MetricsOutage, Unusable};
use super::reason::Reason;
use super::reassert_limit::ReassertLimit;

/// Decides a rollout.
pub struct Machine {
    pub rollout: Rollout,
    pub evidence: Evidence,
    stop_at: StopAt,
    /// Why, where something else than the evidence decided; empty where the evidence did.
    override_reasons: Vec<Reason>,
    /// Whether requests were seen to arrive at this step.
    traffic_seen: bool,
    /// Whether it was said what the step came to; carrying it out may take several attempts.
    pub announced: bool,
    pub outage: MetricsOutage,
    pub reassert_limit: ReassertLimit,
    /// How often the metrics are scraped, as far as they show it.
    pub scrape: Option<SignedDuration>,
    /// Whether somebody else's changes are no longer answered with ours.
    pub gave_up: bool,
}

impl Machine {
    /// A machine for `rollout` as it stands on the object.
    pub fn new(rollout: Rollout, analysis: Box<dyn Analysis>, stop_at: StopAt) -> Self {
        Self {
            rollout,
            evidence: Evidence::new(analysis),
            stop_at,
            override_reasons: Vec::new(),
            traffic_seen: false,
            announced: false,
            outage: MetricsOutage::default(),
            reassert_limit: ReassertLimit::default(),
            scrape: None,
            gave_up: false,
        }
    }

    /// The same, knowing when the youngest pod of the canary started.
    #[must_use]
    pub fn with_canary_since(mut self, since: Option<Timestamp>) -> Self {
        self.evidence.know_canary_since(since);
        self
    }

    /// The rollout as it is believed to stand on the object.
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// What was counted since the step began.
    pub fn step(&self) -> VersionCounts {
        self.evidence.step()
    }

    /// What was counted over all steps.
    pub fn total(&self) -> VersionCounts {
        self.evidence.total()
    }

    /// Why the last decision was made.
    pub fn reasons(&self) -> Vec<Reason> {
        if self.override_reasons.is_empty() {
            let reasons = self.evidence.reasons().iter();
            reasons.copied().map(Reason::from).collect()
        } else {
            self.override_reasons.clone()
        }
    }

    /// Notes why, where something else than the evidence decides.
    pub fn override_reason(&mut self, why: Reason) {
        self.override_reasons = vec![why];
    }

    /// Adds to the reasons for what something else than the evidence decided.
    pub fn add_reason(&mut self, why: Reason) {
        self.override_reasons.push(why);
    }

    /// Whether the evidence decides.
    pub fn goes_by_evidence(&self) -> bool {
        self.override_reasons.is_empty()
    }

    /// Notes several reasons, where something else than the evidence decides.
    pub fn override_reasons(&mut self, why: Vec<Reason>) {
        self.override_reasons = why;
    }

    /// Whether it gave up setting weights again that somebody else keeps changing.
    pub fn gave_up(&self) -> bool {
        self.gave_up
    }

    pub fn plan(&self) -> &Plan {
        &self.rollout.plan
    }

    /// The canary's share that was in force until a time, 0 to 1. What is scraped at the very moment
    /// of a change is of the time before it, as it was for whoever looked then.
    pub fn share_at(&self, at: Timestamp) -> f64 {
        let segment = self.segment_at(at).map(|segment| segment.weight);
        segment.unwrap_or(self.rollout.original_share()).share()
    }

    /// The canary's part of what both versions got until a time, copies of requests included, 0 to 1.
    pub fn exposure_at(&self, at: Timestamp) -> f64 {
        self.segment_at(at)
            .map_or(self.rollout.original_share().share(), Segment::exposure)
    }

    fn segment_at(&self, at: Timestamp) -> Option<&Segment> {
        let mut segments = self.rollout.history.iter().rev();
        segments.find(|segment| segment.since < at)
    }

    /// The state was written, or was found to stand on the object.
    pub fn set_state(&mut self, rollout: Rollout) {
        let same_step = self.rollout.step == rollout.step;
        if !same_step || self.rollout.phase != rollout.phase {
            self.evidence.start_over();
            self.announced = false;
        }
        self.traffic_seen &= same_step;
        self.rollout = rollout;
    }

    /// The metrics answered.
    pub fn look(
        &mut self,
        observation: &Observation,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        // Windows are taken even from an answer that is not sound as a whole: each of them is.
        let users = observation
            .windows
            .iter()
            .map(|seen| (seen, Reporter::Source));
        let callees = observation.shadows.iter();
        let callees = callees.map(|seen| (seen, Reporter::Destination));
        let mut windows: Vec<_> = users.chain(callees).collect();
        windows.sort_by_key(|(window, _)| window.end);
        for (window, reporter) in windows {
            self.evidence.take(&self.rollout, window, reporter);
            self.override_reasons.clear();
        }
        let quality = &observation.quality;
        self.scrape = quality.scrape_interval.or(self.scrape);
        if let Some(trouble) = Unusable::of(quality, now) {
            // What the windows have shown stands, but only good metrics are good news.
            let alarmed = self.answer_alarm(now, emit);
            return alarmed.unwrap_or_else(|| self.metrics_unusable(&trouble, now, emit));
        }
        if let Some(since) = self.outage.end() {
            let after = HumanDuration::from(now.duration_since(since));
            emit(EventKind::MetricsBack { after });
        }
        let tally = self.step();
        let seen = self.shadow().unwrap_or(tally);
        if !self.traffic_seen && seen.canary.requests > 0 {
            self.traffic_seen = true;
            emit(EventKind::Flowing {
                weight: self.rollout.weight(),
                reach: self.rollout.reach(),
                seen,
            });
        }
        emit(EventKind::Looked {
            step: self.rollout.step + 1,
            steps: self.plan().len(),
            weight: self.rollout.weight(),
            reach: self.rollout.reach(),
            verdict: self.evidence.verdict(&self.rollout),
            tally,
            shadow: self.shadow(),
            reasons: self.reasons(),
            evidence: self.evidence.weighed().map(Box::new),
            sample_age_millis: quality
                .age(now)
                .and_then(|age| u64::try_from(age.as_millis()).ok()),
        });
        match self.answer_alarm(now, emit) {
            Some(action) => action,
            None => self.decide(now, emit),
        }
    }

    /// What suspicion calls for, whatever phase the rollout is in.
    fn answer_alarm(&self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Option<Action> {
        match (self.evidence.alarm(), self.rollout.phase) {
            (Alarm::Certain, _) => Some(self.regressed(Cause::Regression, emit)),
            (Alarm::Raised, Phase::Progressing | Phase::Waiting | Phase::Paused) => Some(
                Action::Write(Box::new(self.rollout.in_phase(Phase::Tripped, now))),
            ),
            (Alarm::Cleared, Phase::Tripped) => {
                Some(Action::Write(Box::new(self.rollout.cleared(now))))
            }
            (Alarm::Raised | Alarm::Quiet, Phase::Tripped)
            | (
                Alarm::Cleared | Alarm::Quiet,
                Phase::Progressing | Phase::Waiting | Phase::Paused,
            ) => None,
        }
    }

    pub fn regressed(&self, cause: Cause, emit: &mut dyn FnMut(EventKind)) -> Action {
        emit(EventKind::Regressed {
            weight: self.rollout.weight(),
            reach: self.rollout.reach(),
            tally: self.step(),
            shadow: self.shadow(),
            reasons: self.reasons(),
        });
        Action::RollBack {
            cause,
            overwrite: false,
        }
    }

    fn decide(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        match self.rollout.phase {
            Phase::Waiting | Phase::Paused => Action::Wait,
            Phase::Tripped => self.check_trip(now, emit),
            Phase::Progressing if self.rollout.reach() == Reach::Testers => {
                self.wait_for_testers(now, emit)
            }
            Phase::Progressing if self.is_mirror_unseen() => self.unseen(now, emit),
            Phase::Progressing => match self.evidence.decision(&self.rollout) {
                Some(Decision::Advance(_)) => self.advance(now, emit),
                Some(Decision::Retreat(_)) if self.rollout.step > 0 => {
                    let back = self.rollout.step - 1;
                    let next = self.rollout.at_step(back, Phase::Progressing, now);
                    Action::Write(Box::new(next))
                }
                Some(Decision::Inconclusive(_)) => self.inconclusive(None, now, emit),
                None
                | Some(
                    Decision::Stay(..)
                    | Decision::Trip(_)
                    | Decision::Resume(_)
                    | Decision::Retreat(_)
                    | Decision::Rollback(_),
                ) => self.check_deadline(now, emit),
            },
        }
    }

    /// A step that nobody but testers reach takes its time and passes.
    fn wait_for_testers(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let (step, since) = (self.rollout.step, self.rollout.since);
        if now.duration_since(since) < self.plan().dwell_of(step).signed() {
            return Action::Wait;
        }
        self.override_reason(Reason::TestersOnly);
        self.advance(now, emit)
    }

    fn advance(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let first = !std::mem::replace(&mut self.announced, true);
        if first {
            emit(EventKind::StepPassed {
                step: self.rollout.step + 1,
                weight: self.rollout.weight(),
                reach: self.rollout.reach(),
                tally: self.step(),
                shadow: self.shadow(),
                reasons: self.reasons(),
            });
        }
        if self.stop_at.one_step && !self.plan().is_last(self.rollout.step) {
            return Action::Leave(Outcome::StepPassed);
        }
        if self.plan().steps.as_slice()[self.rollout.step].pause {
            return self.gate(vec![Reason::StepPassed], first, now, emit);
        }
        self.next_step(now)
    }

    pub fn gate(
        &mut self,
        reasons: Vec<Reason>,
        first: bool,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        if first {
            emit(EventKind::Waiting {
                weight: self.rollout.weight(),
                reach: self.rollout.reach(),
                reasons,
            });
        }
        Action::Write(Box::new(self.rollout.in_phase(Phase::Waiting, now)))
    }

    /// The action that takes the rollout one step further.
    pub fn next_step(&self, now: Timestamp) -> Action {
        next_step(&self.rollout, now)
    }

    /// The state stands on the object: is there more to do at once?
    pub fn after_write(&self) -> Action {
        match self.rollout.phase {
            Phase::Waiting if self.stop_at.leave_at_gate || self.stop_at.one_step => {
                Action::Leave(Outcome::Held)
            }
            Phase::Progressing | Phase::Waiting | Phase::Paused | Phase::Tripped => Action::Wait,
        }
    }

    /// Whether the canary gets no answer at all although it should, or nobody can tell: worth a look
    /// at its pods.
    pub fn suspects_pods(&self) -> bool {
        let expected = match self.rollout.mirrored() {
            Some(_) => self.expected_copies(),
            None => self.step().stable.requests as f64 * self.rollout.weight().share(),
        };
        let canary = self.shadow().unwrap_or(self.step()).canary;
        self.outage.lasts()
            || canary.requests == 0 && expected >= 5.0
            || canary.requests > 0 && canary.failures == canary.requests
    }

    /// No pod of the canary is ready.
    pub fn canary_down(
        &mut self,
        pods: usize,
        crashing: bool,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        self.override_reason(Reason::CanaryDown { pods, crashing });
        self.regressed(Cause::CanaryDown, emit)
    }
}
