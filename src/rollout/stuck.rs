//! What becomes of a rollout that the evidence does not carry on: out of time, or without metrics. Pure.

use jiff::Timestamp;

use super::event::EventKind;
use super::outcome::Cause;
use super::segment::Phase;
use crate::plan::{HumanDuration, OnStuck};

use super::action::Action;
use super::machine::Machine;
use super::metrics_outage::Unusable;
use super::reason::Reason;

impl Machine {
    /// A suspicion that nothing confirms or clears must not hold the rollout for ever.
    pub fn check_trip(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let timeout = self.plan().step_timeout;
        let since = self.rollout.history.last().map(|segment| segment.since);
        if since.is_none_or(|since| now.duration_since(since) < timeout.signed()) {
            return Action::Wait;
        }
        self.override_reason(Reason::SuspicionTimedOut { after: timeout });
        self.regressed(Cause::Regression, emit)
    }

    pub fn check_deadline(&mut self, now: Timestamp, emit: &mut dyn FnMut(EventKind)) -> Action {
        let timeout = self.plan().step_timeout;
        if now.duration_since(self.rollout.since) < timeout.signed() {
            return Action::Wait;
        }
        self.inconclusive(Some(timeout), now, emit)
    }

    pub fn inconclusive(
        &mut self,
        after: Option<HumanDuration>,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        let because = match self.reasons() {
            _ if self.is_mirror_unseen() && self.goes_by_evidence() => vec![self.mirror_unseen()],
            reasons if reasons.is_empty() => vec![Reason::NoRequests],
            reasons => reasons,
        };
        let reasons = std::iter::once(Reason::NoVerdict { after });
        let reasons = reasons.chain(because).collect();
        let policy = self.plan().on_inconclusive;
        self.stuck(reasons, policy, Cause::Inconclusive, now, emit)
    }

    fn stuck(
        &mut self,
        reasons: Vec<Reason>,
        policy: OnStuck,
        cause: Cause,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        let first = !std::mem::replace(&mut self.announced, true);
        if first {
            self.override_reasons(reasons.clone());
            let reasons = reasons.clone();
            emit(EventKind::NoVerdict { reasons, policy });
        }
        match policy {
            OnStuck::Rollback => Action::RollBack {
                cause,
                overwrite: false,
            },
            OnStuck::Promote => self.next_step(now),
            OnStuck::Hold => self.gate(reasons, first, now, emit),
        }
    }

    /// The metrics did not answer, or cannot be used.
    pub fn metrics_unusable(
        &mut self,
        trouble: &Unusable,
        now: Timestamp,
        emit: &mut dyn FnMut(EventKind),
    ) -> Action {
        let (since, worth_saying) = self.outage.note(trouble, now);
        let metrics_unusable = HumanDuration::from(now.duration_since(since));
        let grace = self.plan().metrics_grace;
        if worth_saying {
            emit(EventKind::MetricsUnavailable {
                why: trouble.clone(),
                since: metrics_unusable,
                grace,
            });
        }
        if metrics_unusable < grace {
            return Action::Wait;
        }
        let mut reasons = vec![
            Reason::NoMetrics {
                lasted: metrics_unusable,
            },
            Reason::MetricsUnusable(trouble.clone()),
        ];
        match self.rollout.phase {
            // Nothing is at stake while somebody has to promote anyway.
            Phase::Waiting | Phase::Paused => Action::Wait,
            // Whether it was the canary can no longer be told; it looked like it.
            Phase::Tripped => {
                reasons.push(Reason::SuspicionStands);
                self.override_reasons(reasons);
                self.regressed(Cause::Regression, emit)
            }
            Phase::Progressing => {
                let policy = self.plan().on_no_metrics;
                if policy == OnStuck::Promote {
                    // Every step gets the whole grace.
                    self.outage.end();
                }
                self.stuck(reasons, policy, Cause::NoMetrics, now, emit)
            }
        }
    }
}
