//! What the evidence amounts to in the present step (section 8).

use super::Traffic;
use super::decisions::{AnalysisPhase, Sequential};
use super::evidence::{AnalysisState, Evidence, FailingOperation, Hold, MetricEvidence};
use super::metric::{Metric, Subject};
use super::regression::combine;
use super::step_record::StepRecord;
use super::warmup::Warmth;
use crate::verdict::AnalysisReason;

/// Retreats from 100 % and steps back from an overload after which it holds.
const PATIENCE: u32 = 3;
/// Excess to rule out before 100 % is tried again.
const HALF_OPEN_TOLERANCE: f64 = 0.005;

impl Sequential {
    /// What is known now.
    pub fn evidence(&self) -> Evidence {
        let tolerance = self.step.as_ref().map_or(1.0, |step| self.tolerance(step));
        let seen = self.step.as_ref().is_some_and(StepRecord::got_its_share);
        let upper = |metric: &Metric| metric.promotion.upper(self.policy.false_promotion);
        // There may be many operations, and most of them have nothing to say.
        let is_told = |metric: &&Metric| metric.operation.is_none() || metric.evidence() > 0.0;
        let metrics = self.metrics.iter().filter(is_told);
        let metrics = metrics.map(|metric| MetricEvidence {
            subject: metric.subject.clone(),
            evidence: metric.evidence(),
            upper: upper(metric).filter(|_| seen),
            tolerance: metric.tolerance(tolerance, &self.policy),
            clamped: metric.dispersion.clamped,
        });
        let counts = |of: fn(&StepRecord) -> _| self.step.as_ref().map(of).unwrap_or_default();
        Evidence {
            state: self.state(),
            evidence: self.total(),
            leader: self.leader().subject.clone(),
            operation: self.failing_operation(),
            needed: self.policy.trip(),
            alone: (self.phase == AnalysisPhase::Baking).then_some(self.alone),
            confidence: 1.0 - self.policy.false_promotion,
            ratio: self.policy.promotion_ratio,
            share: self
                .step
                .as_ref()
                .and_then(|step| step.realised.deviation())
                // That sticky users come on top of the weight was asked for.
                .filter(|share| !self.beside.sticky_users || share.got < share.set),
            metrics: metrics.collect(),
            stable: counts(|step| step.stable),
            canary: counts(|step| step.canary),
        }
    }

    pub(super) fn state(&self) -> AnalysisState {
        match (self.phase, self.hold()) {
            (AnalysisPhase::Waiting, _) => AnalysisState::Waiting,
            (AnalysisPhase::Confirming, _) => AnalysisState::Confirming,
            (AnalysisPhase::Comparing | AnalysisPhase::Baking, Some(hold)) => {
                AnalysisState::Held(hold)
            }
            (AnalysisPhase::Comparing, None) => AnalysisState::Comparing,
            (AnalysisPhase::Baking, None) => AnalysisState::Baking,
        }
    }

    pub(super) fn total(&self) -> f64 {
        combine(self.metrics.iter().map(|m| (m.weight, m.evidence())))
    }

    /// The excess to rule out in this step for failures.
    fn tolerance(&self, step: &StepRecord) -> f64 {
        if step.half_open {
            return HALF_OPEN_TOLERANCE;
        }
        let floor = match step.context.next_share {
            Some(next) if !step.last() => {
                let per_window = self.per_window.unwrap_or(0.0);
                self.policy.blast_floor(next, per_window)
            }
            _ => 0.0,
        };
        let own = match self.reaches_early(step, floor) {
            true => self.policy.tolerance_after(step.counted),
            false => self.policy.tolerance.late,
        };
        own.max(floor)
    }

    /// Whether this traffic can rule the early excess out before the late one takes over. Where it cannot,
    /// nothing is gained by waiting for that.
    fn reaches_early(&self, step: &StepRecord, floor: f64) -> bool {
        let failures = self.metrics.first();
        let failures = failures.and_then(|metric| metric.regression.as_ref());
        let (Some(failures), Some(per_window)) = (failures, self.per_window) else {
            return true;
        };
        let traffic = Traffic {
            per_second: per_window / self.policy.scrape.as_secs_f64(),
            failure_rate: failures.stable_rate.rate(),
        };
        traffic.reaches_early(step.context.share, floor, &self.policy)
    }

    pub(super) fn hold(&self) -> Option<Hold> {
        let step = self.step.as_ref()?;
        if self.in_incident() && !step.alone() {
            Some(Hold::Incident)
        } else if self.mixed {
            Some(Hold::Mixed)
        } else if self.warmup.warmth() == Warmth::Cold {
            Some(Hold::WarmingUp)
        } else if step.realised.is_starved() && !self.beside.other_rules {
            Some(Hold::NotItsShare)
        } else if self.refuses_fewer() {
            Some(Hold::FewerRefusals)
        } else if step.is_disputed() {
            Some(Hold::Disputed)
        } else if self.retreats >= PATIENCE {
            Some(Hold::Unsteady)
        } else if self.overloads >= PATIENCE {
            Some(Hold::Overload)
        } else {
            None
        }
    }

    /// Whether stable refuses more than the canary by more than the margin, as certainly as a regression.
    fn refuses_fewer(&self) -> bool {
        let evidence = self.fewer_refusals.as_ref().map_or(0.0, Metric::evidence);
        evidence >= self.policy.trip()
    }

    /// Stable fails more than usual, and so may the canary.
    pub(super) fn in_incident(&self) -> bool {
        self.incident.ongoing() && !self.incident.spares_canary()
    }

    /// Every metric's excess is ruled out, or none needs to be.
    pub(super) fn ruled_out(&self, step: &StepRecord) -> bool {
        let failures = self.tolerance(step);
        self.metrics.iter().all(|metric| {
            let tolerance = metric.tolerance(failures, &self.policy);
            let upper = || metric.promotion.upper(self.policy.false_promotion);
            tolerance >= 1.0 || step.served() && upper().is_some_and(|upper| upper <= tolerance)
        })
    }

    /// The metric that speaks loudest against the canary.
    pub(super) fn leader(&self) -> &Metric {
        let loudness = |m: &Metric| m.weight.ln() + m.evidence();
        self.metrics
            .iter()
            .max_by(|a, b| loudness(a).total_cmp(&loudness(b)))
            .expect("failures are always a metric")
    }

    /// The operation that at least half of the canary's failures are of, if it says half of what trips by itself.
    fn failing_operation(&self) -> Option<FailingOperation> {
        let failed = self.metrics.first()?.seen;
        let enough = self.policy.trip() / 2.0;
        let loud = self
            .metrics
            .iter()
            .filter(|metric| metric.evidence() >= enough && metric.seen >= failed / 2.0);
        let of_operations = loud.filter_map(|metric| match (&metric.subject, &metric.operation) {
            (Subject::FailedIn { operation }, Some(traffic)) => Some((metric, operation, traffic)),
            _ => None,
        });
        let loudest = of_operations.max_by(|a, b| a.0.evidence().total_cmp(&b.0.evidence()));
        loudest.map(|(_, operation, traffic)| FailingOperation {
            operation: operation.clone(),
            stable: traffic.stable,
            canary: traffic.canary,
        })
    }

    /// Stable began to fail soon after the canary got more traffic, and goes on.
    ///
    /// Beside stable the canary looks no worse, so nothing here is evidence against it, and no number
    /// of such coincidences rolls it back. But whatever both share may be what it exhausts: a step
    /// back costs a healthy canary minutes and ends the damage of a greedy one.
    pub(super) fn blamed(&self) -> bool {
        let (Some(step), Some(since)) = (&self.step, self.incident.lasting_since()) else {
            return false;
        };
        step.rose
            && since >= step.context.began
            && since.duration_since(step.context.began) <= self.policy.blame
    }

    pub(super) fn reasons(&self) -> Vec<AnalysisReason> {
        self.evidence().reasons()
    }
}
