//! The rollout as a machine: observations go in, the next action comes out. Pure.

use jiff::{SignedDuration, Timestamp};

use super::action::{Action, StopAt, next_step};
use super::assessment::{Alarm, Assessment};
use super::drift;
use super::event::EventKind;
use super::foreign_change::{Drift, ForeignChange};
use super::guard_watch::GuardWatch;
use super::hook_failure::HookFailure;
use super::metrics_outage::{MetricsOutage, Unusable};
use super::mirror::MirrorStep;
use super::observed::Observed;
use super::outcome::{Cause, Outcome};
use super::pod_summary::PodSummary;
use super::reason::Reason;
use super::reassert_limit::ReassertLimit;
use super::segment::Phase;
use super::state::Rollout;
use super::stuck::{self, Blackout};
use super::version_counts::VersionCounts;
use crate::metrics::{GuardReading, MetricsWarning, Observation, Reporter};
use crate::plan::{Exposure, HumanDuration, OnDrift, OnHookFailure, OnStuck, Percent, Plan};
use crate::verdict::{Analysis, Decision, Verdict};

/// Decides what a rollout does next. The limits and reasons of drift, deadlines, metrics outages and
/// mirrored requests are in files of their own.
pub struct Machine {
    rollout: Rollout,
    assessment: Assessment,
    guards: GuardWatch,
    canary_since: Option<Timestamp>,
    canary_pods: Option<PodSummary>,
    stop_at: StopAt,
    /// Why, where something else than the evidence decided; empty where the evidence did.
    override_reasons: Vec<Reason>,
    /// Whether requests were seen to arrive at this step.
    traffic_seen: bool,
    /// Whether the step's result was reported; carrying it out may take several attempts.
    announced: bool,
    outage: MetricsOutage,
    reassert_limit: ReassertLimit,
    /// How often the metrics are scraped, as far as they show it.
    scrape: Option<SignedDuration>,
    /// What limited what the metrics showed, by their last answer.
    warnings: Vec<MetricsWarning>,
    /// Whether callers reached the canary past the weights before the rollout.
    other_callers: bool,
}

impl Machine {
    /// A machine for `rollout` as it stands on the object.
    pub fn new(rollout: Rollout, analysis: Box<dyn Analysis>, stop_at: StopAt) -> Self {
        Self {
            rollout,
            assessment: Assessment::new(analysis),
            guards: GuardWatch::default(),
            canary_since: None,
            canary_pods: None,
            stop_at,
            override_reasons: Vec::new(),
            traffic_seen: false,
            announced: false,
            outage: MetricsOutage::default(),
            reassert_limit: ReassertLimit::default(),
            scrape: None,
            warnings: Vec::new(),
            other_callers: false,
        }
    }

    /// The same, knowing when the youngest pod of the canary started.
    #[must_use]
    pub fn with_canary_since(mut self, since: Option<Timestamp>) -> Self {
        self.know_canary_since(since);
        self
    }

    /// The youngest pod of the canary started then.
    pub fn know_canary_since(&mut self, since: Option<Timestamp>) {
        self.canary_since = since;
        self.assessment.know_canary_since(since);
        self.guards.know_canary_since(since);
    }

    /// The canary has these pods; they are told, and decide nothing.
    pub fn know_canary_pods(&mut self, pods: Option<PodSummary>) {
        self.canary_pods = pods.or(self.canary_pods.take());
    }

    /// The rollout as it is believed to stand on the object.
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// What was counted since the step began.
    pub fn step_counts(&self) -> VersionCounts {
        self.assessment.step_counts()
    }

    /// What was counted over all steps; nothing as long as no metrics were read.
    pub fn total_counts(&self) -> Option<VersionCounts> {
        self.assessment.total_counts()
    }

    /// What limited what the metrics showed, by their last answer.
    pub fn warnings(&self) -> &[MetricsWarning] {
        &self.warnings
    }

    /// Why the last decision was made.
    pub fn reasons(&self) -> Vec<Reason> {
        if self.override_reasons.is_empty() {
            let reasons = self.assessment.reasons().iter();
            let reasons = reasons.cloned().map(Reason::from);
            // What a person set up is read first.
            let guards = self.guards.reasons(&self.rollout).into_iter();
            guards.chain(reasons).collect()
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

    /// The same with what is watched beside Istio's metrics.
    #[must_use]
    pub fn with_guards(self, guards: GuardWatch) -> Self {
        Self { guards, ..self }
    }

    /// The same, knowing whether callers reached the canary past the weights before the rollout.
    #[must_use]
    pub fn with_other_callers(mut self, reached: bool) -> Self {
        self.other_callers = reached;
        self
    }

    /// The original weights are back, and with them so much of the canary's.
    pub fn rolled_back(&mut self, kept: Option<Percent>) {
        if let Some(share) = kept {
            self.override_reasons = self.reasons();
            self.add_reason(Reason::KeepsShare { share });
        }
        let evidence = self.assessment.weighed();
        let share = evidence.and_then(|evidence| evidence.share);
        if self.other_callers || share.is_some_and(|share| share.got > share.set) {
            self.override_reasons = self.reasons();
            self.add_reason(Reason::StillReached);
        }
    }

    /// Whether it gave up setting weights again that another manager keeps changing.
    pub fn gave_up(&self) -> bool {
        let mut reasons = self.override_reasons.iter();
        reasons.any(|reason| matches!(reason, Reason::ReassertLimit { .. }))
    }

    /// What was counted since the step began of requests mirrored to the canary, and of stable beside
    /// them; `None` at a step that mirrors nothing.
    pub fn mirror_counts(&self) -> Option<VersionCounts> {
        self.mirror().map(|step| step.mirror_counts)
    }

    /// What is known of the step, where it mirrors requests.
    fn mirror(&self) -> Option<MirrorStep> {
        let share = self.plan().exposure(self.rollout.step).mirrored()?;
        Some(MirrorStep {
            share,
            users: self.step_counts(),
            mirror_counts: self.assessment.mirror_counts(),
        })
    }

    fn plan(&self) -> &Plan {
        &self.rollout.plan
    }

    /// The canary's share that was in force until a time, 0 to 1. What is scraped at the very moment
    /// of a change is of the time before it, as it was for an analysis at that time.
    pub fn share_at(&self, at: Timestamp) -> f64 {
        self.exposure_in_force(at).share().share()
    }

    /// The canary's part of what both versions got until a time, copies of requests included, 0 to 1.
    pub fn exposure_at(&self, at: Timestamp) -> f64 {
        self.exposure_in_force(at).canary_part()
    }

    fn exposure_in_force(&self, at: Timestamp) -> Exposure {
        let mut segments = self.rollout.history.iter().rev();
        segments
            .find(|segment| segment.since < at)
            .map_or(Exposure::Share(self.rollout.original_share()), |segment| {
                segment.exposure
            })
    }

    /// The state was written, or was found to stand on the object.
    pub fn set_state(&mut self, rollout: Rollout) {
        let same_step = self.rollout.step == rollout.step;
        if !same_step || self.rollout.phase != rollout.phase {
            self.assessment.start_over();
            self.announced = false;
        }
        if !same_step && self.plan().on_no_metrics == OnStuck::Promote {
            // Every step gets the whole grace.
            self.outage.end();
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
        let callees = observation.mirrored.iter();
        let callees = callees.map(|seen| (seen, Reporter::Destination));
        let mut windows: Vec<_> = users.chain(callees).collect();
        windows.sort_by_key(|(window, _)| window.end);
        for (window, reporter) in windows {
            self.assessment.take(&self.rollout, window, reporter);
            self.override_reasons.clear();
        }
        let quality = &observation.quality;
        self.scrape = quality.scrape_interval.or(self.scrape);
        self.warnings.clone_from(&quality.warnings);
        if let Some(why) = Unusable::of(quality, now) {
            // What the windows have shown stands, but only good metrics are good news.
            let alarmed = self.answer_alarm(now, emit);
            return alarmed.unwrap_or_else(|| self.metrics_unusable(&why, now, emit));
        }
        if let Some(since) = self.outage.end() {
            let after = HumanDuration::from(now.duration_since(since));
            emit(EventKind::MetricsBack { after });
        }
        let step_counts = self.step_counts();
        let seen = self.mirror_counts().unwrap_or(step_counts);
        if !self.traffic_seen && seen.canary.requests > 0 {
            self.traffic_seen = true;
            emit(EventKind::TrafficSeen {
                exposure: self.rollout.exposure(),
                seen,
            });
        }
        emit(EventKind::Analyzed {
            step: self.rollout.step + 1,
            step_count: self.plan().step_count(),
            exposure: self.rollout.exposure(),
            verdict: self.verdict(),
            step_counts,
            mirror_counts: self.mirror_counts(),
            answers: self.assessment.answers().clone(),
            reasons: self.reasons(),
            evidence: self.assessment.weighed().map(Box::new),
            warnings: quality.warnings.clone(),
            sample_age_millis: quality
                .age(now)
                .and_then(|age| u64::try_from(age.as_millis()).ok()),
            canary_pods: self.canary_pods.clone(),
            warm_at: self.warm_at().filter(|warm_at| *warm_at > now),
        });
        match self.answer_alarm(now, emit) {
            Some(action) => action,
            None => self.decide(now, emit),
        }
    }

    /// What is known of the canary: a guard that is not content leaves no step healthy.
    fn verdict(&self) -> Verdict {
        match self.assessment.verdict(&self.rollout) {
            Verdict::Healthy if !self.guards.reasons(&self.rollout).is_empty() => {
                Verdict::NotEnoughData
            }
            verdict => verdict,
        }
    }

    /// A guard was read: is that the end of the rollout, whatever phase it is in?
    pub fn guard_read(
        &mut self,
        reading: &GuardReading,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        let warm = self.is_warm(reading.at);
        self.guards.take(&self.rollout, reading, warm);
        let Some((cause, why)) = self.guards.failed(&self.rollout) else {
            return Action::Wait;
        };
        if cause == Cause::NoMetrics {
            return self.stuck(vec![why], OnStuck::Rollback, cause, now, emit);
        }
        self.override_reason(why);
        self.regressed(cause, emit)
    }

    /// Whether the canary has had its time to warm up at `at`.
    fn is_warm(&self, at: Timestamp) -> bool {
        self.warm_at().is_some_and(|warm_at| at >= warm_at)
    }

    /// When the canary has had its time to warm up, by its youngest pod and the first step.
    fn warm_at(&self) -> Option<Timestamp> {
        let first = self.rollout.history.first();
        let first = first.map_or(self.rollout.began, |segment| segment.since);
        let since = self.canary_since.map_or(first, |since| since.max(first));
        since
            .checked_add(self.plan().judgement.warmup.signed())
            .ok()
    }

    /// What suspicion calls for, whatever phase the rollout is in.
    fn answer_alarm(&self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Option<Action> {
        match (self.assessment.alarm(), self.rollout.phase) {
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

    fn regressed(&self, cause: Cause, emit: &mut dyn FnMut(EventKind)) -> Action {
        emit(EventKind::Regressed {
            exposure: self.rollout.exposure(),
            step_counts: self.step_counts(),
            mirror_counts: self.mirror_counts(),
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
            Phase::Progressing if self.is_approved() => next_step(&self.rollout, now),
            Phase::Progressing if self.rollout.exposure() == Exposure::Testers => {
                self.wait_for_testers(now, emit)
            }
            Phase::Progressing if self.mirror().is_some_and(|step| step.is_unseen()) => {
                self.wait_for_mirror(now, emit)
            }
            Phase::Progressing => match self.assessment.decision(&self.rollout) {
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

    /// A step that only testers reach lasts its time and passes.
    fn wait_for_testers(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let (step, since) = (self.rollout.step, self.rollout.since);
        if now.duration_since(since) < self.plan().dwell_of(step).signed() {
            return Action::Wait;
        }
        self.override_reason(Reason::TestersOnly);
        self.advance(now, emit)
    }

    fn advance(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        if self.guards.hold(&self.rollout) {
            return self.check_deadline(now, emit);
        }
        let first = !std::mem::replace(&mut self.announced, true);
        if first {
            emit(EventKind::StepPassed {
                step: self.rollout.step + 1,
                exposure: self.rollout.exposure(),
                step_counts: self.step_counts(),
                mirror_counts: self.mirror_counts(),
                reasons: self.reasons(),
            });
        }
        if self.stops_here() {
            // The next process to drive has to know that this step needs no analysis any more.
            return Action::Write(Box::new(self.rollout.passed()));
        }
        let is_approved = self
            .stop_at
            .after_step
            .is_some_and(|last| self.rollout.step < last);
        if self.plan().steps.as_slice()[self.rollout.step].pause && !is_approved {
            return self.gate(vec![Reason::StepPassed], first, now, emit);
        }
        next_step(&self.rollout, now)
    }

    /// Whether this process is to leave a step that has passed already.
    fn is_approved(&self) -> bool {
        let is_asked_further = self.stop_at.after_step.is_some() && !self.stops_here();
        self.rollout.phase == Phase::Progressing && self.rollout.step_passed && is_asked_further
    }

    /// Whether this process leaves the next step to another one.
    fn stops_here(&self) -> bool {
        let step = self.rollout.step;
        let is_far_enough = self.stop_at.after_step.is_some_and(|last| step >= last);
        is_far_enough && !self.plan().is_last(step)
    }

    fn gate(
        &mut self,
        reasons: Vec<Reason>,
        first: bool,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        if first {
            emit(EventKind::Waiting {
                exposure: self.rollout.exposure(),
                reasons,
            });
        }
        Action::Write(Box::new(self.rollout.in_phase(Phase::Waiting, now)))
    }

    /// A mirror step without a trace of the mirrored requests: no data is never good news.
    fn wait_for_mirror(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let Some(step) = self.mirror() else {
            return Action::Wait;
        };
        let plan = self.plan();
        let elapsed = now.duration_since(self.rollout.since);
        let least = plan.dwell_of(self.rollout.step).signed();
        let scrape = self.scrape.unwrap_or(plan.judgement.scrape.signed());
        if !step.is_overdue(elapsed, least, scrape) {
            return self.check_deadline(now, emit);
        }
        self.override_reason(step.unseen());
        self.inconclusive(None, now, emit)
    }

    /// A suspicion that nothing confirms or clears must not hold the rollout for ever.
    fn check_trip(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let timeout = self.plan().step_timeout;
        let since = self.rollout.history.last().map(|segment| segment.since);
        if since.is_none_or(|since| !stuck::is_over(since, timeout, now)) {
            return Action::Wait;
        }
        self.override_reason(Reason::SuspicionTimedOut { after: timeout });
        self.regressed(Cause::Regression, emit)
    }

    fn check_deadline(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let timeout = self.plan().step_timeout;
        match stuck::is_over(self.rollout.since, timeout, now) {
            true => self.inconclusive(Some(timeout), now, emit),
            false => Action::Wait,
        }
    }

    fn inconclusive(
        &mut self,
        after: Option<HumanDuration>,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        let unseen = self.mirror().filter(MirrorStep::is_unseen);
        let because = match unseen {
            Some(step) if self.override_reasons.is_empty() => vec![step.unseen()],
            _ => self.reasons(),
        };
        let reasons = stuck::no_verdict(after, because);
        let policy = self.plan().on_inconclusive;
        self.stuck(reasons, policy, Cause::Inconclusive, now, emit)
    }

    /// Nothing more will be known: what the plan says about that is done.
    fn stuck(
        &mut self,
        reasons: Vec<Reason>,
        policy: OnStuck,
        cause: Cause,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        // A guard never promotes, not even by saying nothing.
        let policy = match policy {
            OnStuck::Promote if self.guards.hold(&self.rollout) => OnStuck::Hold,
            policy => policy,
        };
        let first = !std::mem::replace(&mut self.announced, true);
        if first {
            self.override_reasons.clone_from(&reasons);
            let reasons = reasons.clone();
            emit(EventKind::NoVerdict { reasons, policy });
        }
        match policy {
            OnStuck::Rollback => Action::RollBack {
                cause,
                overwrite: false,
            },
            OnStuck::Promote if self.stops_here() => Action::Leave(Outcome::StepSet),
            OnStuck::Promote => next_step(&self.rollout, now),
            OnStuck::Hold => self.gate(reasons, first, now, emit),
        }
    }

    /// The user's command before the next step failed.
    pub fn hook_failed(
        &mut self,
        failure: HookFailure,
        policy: OnHookFailure,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        self.override_reason(Reason::HookFailed(failure.clone()));
        emit(EventKind::HookFailed {
            step: failure.step,
            exposure: failure.exposure,
            why: failure.why.clone(),
            policy,
        });
        match policy {
            OnHookFailure::Rollback => Action::RollBack {
                cause: Cause::HookFailed,
                overwrite: false,
            },
            OnHookFailure::Hold => Action::Write(Box::new(self.rollout.held_by(failure, now))),
        }
    }

    /// The driver's clock was set forward by this much: that is no part of the metrics' grace.
    pub fn clock_was_set(&mut self, by: SignedDuration) {
        self.outage.clock_was_set(by);
    }

    /// The metrics did not answer, or cannot be used.
    pub fn metrics_unusable(
        &mut self,
        why: &Unusable,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        let (since, is_news) = self.outage.note(why, now);
        let lasted = HumanDuration::from(now.duration_since(since));
        let grace = self.plan().metrics_grace;
        if is_news {
            emit(EventKind::MetricsUnavailable {
                why: why.clone(),
                lasted,
                grace,
            });
        }
        if self.is_approved() {
            return next_step(&self.rollout, now);
        }
        match stuck::blackout(self.rollout.phase, why, lasted, grace) {
            Blackout::Wait => Action::Wait,
            Blackout::Regressed(reasons) => {
                self.override_reasons = reasons;
                self.regressed(Cause::Regression, emit)
            }
            Blackout::Stuck(reasons) => {
                let policy = self.plan().on_no_metrics;
                self.stuck(reasons, policy, Cause::NoMetrics, now, emit)
            }
        }
    }

    /// How long metrics are left alone that ask for `wait`: not beyond their grace, at whose end the plan says
    /// what to do.
    pub fn wait_for_metrics(&self, wait: SignedDuration, now: Timestamp) -> SignedDuration {
        let grace = self.plan().metrics_grace.signed();
        let left = grace - self.outage.lasted(now);
        // Where the grace is over and nothing came of it, nothing but a person goes on.
        wait.min(if left.is_positive() { left } else { grace })
    }

    /// The object was read or its watch reported it.
    pub fn see(
        &mut self,
        observed: Observed,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        match observed {
            Observed::InSync => Action::Wait,
            Observed::Advanced(shown) => {
                let event = drift::advanced(&self.rollout, &shown);
                // Whoever wrote it may have another clock, and a step lasts its time by this one.
                self.set_state(shown.in_force_at(&self.rollout, now));
                event.into_iter().for_each(emit);
                self.after_write()
            }
            // The promotion that was on its way when the canary came under suspicion.
            Observed::Ended(last)
                if self.rollout.phase == Phase::Tripped
                    && last.outcome == Outcome::Promoted
                    && last.changed_by == self.rollout.holder =>
            {
                self.regressed(Cause::Regression, emit)
            }
            Observed::Ended(last) => {
                let outcome = last.outcome;
                self.override_reason(Reason::Ended {
                    outcome,
                    by: last.changed_by,
                });
                Action::Leave(outcome)
            }
            Observed::HolderChanged(by) => {
                self.override_reason(Reason::TakenOver { by });
                Action::Leave(Outcome::TakenOver)
            }
            Observed::Drifted { manager, drift } => {
                let policy = self.plan().on_drift;
                self.drifted(manager, drift, policy, now, emit)
            }
            // Where there is no object, no policy can do anything about it.
            Observed::Deleted => self.drifted(
                "another client".into(),
                ForeignChange::Deleted.into(),
                OnDrift::Stop,
                now,
                emit,
            ),
        }
    }

    fn drifted(
        &mut self,
        manager: String,
        drift: Drift,
        policy: OnDrift,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        let limit = &mut self.reassert_limit;
        let (policy, reason) = drift::respond(&manager, &drift, policy, limit, now);
        self.override_reason(reason);
        emit(EventKind::Drifted {
            manager,
            drift,
            policy,
        });
        match policy {
            OnDrift::Stop => Action::Leave(Outcome::Drifted),
            OnDrift::Rollback => Action::RollBack {
                cause: Cause::Drift,
                overwrite: true,
            },
            OnDrift::Reassert => {
                // Other weights were in force meanwhile, so what was seen says nothing of these.
                let mut next = self.rollout.clone();
                next.begin_again(now);
                Action::Write(Box::new(next))
            }
        }
    }

    /// The state stands on the object: is there more to do at once?
    pub fn after_write(&self) -> Action {
        match self.rollout.phase {
            Phase::Waiting if self.stop_at.leave_at_gate => Action::Leave(Outcome::Held),
            Phase::Paused if self.stop_at.leave_at_gate && self.rollout.hook_failure.is_some() => {
                Action::Leave(Outcome::Held)
            }
            Phase::Progressing if self.rollout.step_passed && self.stops_here() => {
                Action::Leave(Outcome::StepPassed)
            }
            Phase::Progressing | Phase::Waiting | Phase::Paused | Phase::Tripped => Action::Wait,
        }
    }

    /// Whether a canary without a ready pod cannot stay at `exposure`: where it gets requests of users or is
    /// suspected already, and elsewhere once the metrics, too, show no answer of it or cannot tell.
    pub fn needs_pods_at(&self, exposure: Exposure) -> bool {
        let mirror = self.mirror().filter(|_| exposure.mirrored().is_some());
        let expected = mirror.map_or(0.0, |step| step.expected());
        let canary = self.mirror_counts().unwrap_or(self.step_counts()).canary;
        exposure.share() > Percent::ZERO
            || self.rollout.phase == Phase::Tripped
            || self.outage.lasts()
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
