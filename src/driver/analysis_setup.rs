//! The analysis that a plan asks for, and what it has to know of the past.

use crate::discovery::VersionFacts;
use crate::metrics::Collector;
use crate::plan::{AnalysisKind, Plan};
use crate::rollout::Rollout;
use crate::verdict::sequential::{ErrorLimit, History, Sequential};
use crate::verdict::{Analysis, BesideWeights, Limits, ThresholdGate, WithLimit};

/// The analysis of a rollout, knowing the past.
pub fn analysis_of(rollout: &Rollout, history: &History) -> Box<dyn Analysis> {
    analyzing(&rollout.plan, history, rollout.beside_weights())
}

/// The analysis of a plan, knowing the past, where all requests go by the weights.
pub fn analysis(plan: &Plan, history: &History) -> Box<dyn Analysis> {
    analyzing(plan, history, BesideWeights::default())
}

fn analyzing(plan: &Plan, history: &History, beside: BesideWeights) -> Box<dyn Analysis> {
    let judgement = plan.judgement;
    let mut history = history.clone();
    if judgement.ignore_client_errors {
        history.refusals = None;
    }
    let history = &history;
    let sequential = |policy| Sequential::new(policy, history).beside(beside);
    match (judgement.analysis, judgement.max_error_rate) {
        (AnalysisKind::Threshold, rate) => Box::new(ThresholdGate::new(Limits {
            max_error_rate: rate.map_or(1.0, |rate| rate.share()),
            margin: judgement.margin.share(),
            min_requests: judgement.min_requests,
        })),
        (AnalysisKind::Sequential, None) => Box::new(sequential(plan.policy())),
        (AnalysisKind::Sequential, Some(rate)) => {
            let least = judgement.min_requests;
            let (limit, rest) = ErrorLimit::new(rate.share(), least, plan.policy(), history);
            Box::new(WithLimit::new(Box::new(sequential(rest)), limit))
        }
    }
}

/// What counts the metrics of a rollout from its first weight on.
pub fn collector(rollout: &Rollout, versions: &VersionFacts) -> Collector {
    let first = rollout.history.first();
    let since = first.map_or(rollout.began, |segment| segment.since);
    let slow = versions.history.slow.iter();
    let bounds = slow.map(|(bound, _)| *bound).collect();
    let targets = versions.targets.clone();
    if rollout.plan.mirrors() {
        Collector::with_mirrored(targets, since, bounds, &versions.reading)
    } else {
        Collector::new(targets, since, bounds, &versions.reading)
    }
}
