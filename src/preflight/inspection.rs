//! All checks, one after the other.

use super::{
    Facts, ambient, capacity, delegation, labels, left_behind, owner, permissions, pod_counters,
    pods, prometheus, protocol, subsets, unread,
};
use crate::plan::Finding;
use crate::preflight::{caller_rules, host_conflicts, mtls, services, session_affinity};

/// The checks of a lead, in the order of their findings.
const CHECKS: [fn(&Facts) -> Vec<Finding>; 19] = [
    permissions::check,
    unread::check,
    owner::check,
    host_conflicts::check,
    delegation::check,
    left_behind::check,
    subsets::check,
    caller_rules::check,
    services::check,
    pods::check,
    labels::check,
    capacity::check,
    session_affinity::check,
    protocol::check,
    mtls::check,
    ambient::check,
    subsets::check_metrics,
    pod_counters::check,
    prometheus::check,
];

/// Everything that these facts say of a rollout: what forbids it first.
pub fn inspect(facts: &Facts) -> Vec<Finding> {
    of(&CHECKS, facts)
}

/// The checks of a companion: those that depend on the object itself, not on the versions, which
/// are the lead's.
const OF_COMPANIONS: [fn(&Facts) -> Vec<Finding>; 7] = [
    permissions::check,
    unread::check,
    owner::check,
    host_conflicts::check,
    delegation::check,
    left_behind::check,
    subsets::check,
];

/// Everything that these facts say of a companion.
pub fn inspect_companion(facts: &Facts) -> Vec<Finding> {
    of(&OF_COMPANIONS, facts)
}

fn of(checks: &[fn(&Facts) -> Vec<Finding>], facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<_> = checks.iter().flat_map(|check| check(facts)).collect();
    Finding::sort(&mut findings);
    findings
}
