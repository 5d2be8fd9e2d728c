//! All checks, one after the other.

use super::{
    Facts, ambient, capacity, encryption, labels, left_behind, lookup, neighbours, owner,
    permissions, pods, prometheus, protocol, stickiness, subsets, unread,
};
use crate::plan::Finding;

/// What is looked at, in the order in which it is told.
const CHECKS: [fn(&Facts) -> Vec<Finding>; 16] = [
    permissions::check,
    unread::check,
    owner::check,
    neighbours::check,
    left_behind::check,
    subsets::check,
    lookup::check,
    pods::check,
    labels::check,
    capacity::check,
    stickiness::check,
    protocol::check,
    encryption::check,
    ambient::check,
    subsets::check_metrics,
    prometheus::check,
];

/// Everything that these facts say of a rollout: what forbids it first.
pub fn inspect(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<_> = CHECKS.iter().flat_map(|check| check(facts)).collect();
    Finding::sort(&mut findings);
    findings
}
