//! The analysis that a plan asks for, and what it has to know of the past.

use jiff::Timestamp;

use super::past::{Depth, before};
use super::{CommandError, Environment};
use crate::metrics::{Books, Targets};
use crate::plan::{AnalysisKind, Plan};
use crate::verdict::sequential::{History, Sequential};
use crate::verdict::{Analysis, Guarded, Limits, ThresholdGate};

/// Whether a plan's analysis weighs durations.
pub(super) fn weighs_durations(plan: &Plan) -> bool {
    plan.judgement.analysis == AnalysisKind::Sequential && !plan.judgement.ignore_latency
}

/// The analysis of a plan, knowing the past.
pub(super) fn analysis(plan: &Plan, history: &History) -> Box<dyn Analysis> {
    let judgement = plan.judgement;
    let limits = |max_error_rate, margin| Limits {
        max_error_rate,
        margin,
        min_requests: judgement.min_requests,
    };
    match (judgement.analysis, judgement.max_error_rate) {
        (AnalysisKind::Threshold, rate) => {
            let rate = rate.map_or(1.0, |rate| rate.share());
            Box::new(ThresholdGate::new(limits(rate, judgement.margin.share())))
        }
        (AnalysisKind::Sequential, None) => Box::new(Sequential::new(plan.policy(), history)),
        (AnalysisKind::Sequential, Some(rate)) => Box::new(Guarded::new(
            Box::new(Sequential::new(plan.policy(), history)),
            ThresholdGate::new(limits(rate.share(), 1.0)),
        )),
    }
}

/// The books of a rollout from `since` on.
pub(super) fn books(plan: &Plan, targets: Targets, since: Timestamp, bounds: Vec<f64>) -> Books {
    if plan.mirrors() {
        Books::with_shadows(targets, since, bounds)
    } else {
        Books::new(targets, since, bounds)
    }
}

/// The past of a rollout under way: that before it began, as deep as the rollout looked at it.
pub(super) async fn past_of(
    environment: &Environment<'_>,
    plan: &Plan,
    targets: &Targets,
    began: Timestamp,
    depth: Depth,
) -> Result<History, CommandError> {
    if plan.judgement.analysis == AnalysisKind::Threshold {
        return Ok(History::unknown());
    }
    let metrics = environment.metrics(&plan.prometheus)?;
    let durations = weighs_durations(plan);
    let before = before(metrics.as_ref(), targets, began, durations, depth).await;
    // Without an answer nothing is known, and the analysis is the more careful for it.
    Ok(before.map_or_else(|_| History::unknown(), |before| before.history))
}
