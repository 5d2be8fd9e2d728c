//! What a plan says of all that a rollout adds to the routes for a time.

use super::facts::Samples;
use crate::istio::{Split, VirtualService};
use crate::number::percentage;
use crate::plan::{AfterRegression, Finding, OnStuck, Percent, Plan};
use crate::rollout::Rollout;

/// What a rollout adds to the routes besides weights, and takes away again.
pub fn additions(vs: &VirtualService, rollout: &Rollout) -> Vec<Finding> {
    let named = |splits: &mut dyn Iterator<Item = &Split>| {
        let routes = splits.filter_map(|split| split.find(vs));
        routes
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let routes = rollout.routes.iter();
    let added = named(&mut routes.clone().filter(|split| split.adds()));
    let scaled = named(&mut routes.filter(|split| split.scale > 1));
    let canary = &rollout.canary;
    let mut findings = Vec::new();
    if !added.is_empty() {
        findings.push(Finding::ok(format!(
            "{canary} is added to {added} with the first step; a rollback removes it again"
        )));
    }
    if !scaled.is_empty() {
        findings.push(Finding::ok(format!(
            "the weights of {scaled} are multiplied during the rollout, to express every step"
        )));
    }
    if let Some(testers) = &rollout.plan.testers {
        findings.push(Finding::ok(format!(
            "requests with {testers} go to {canary} by a rule of its own until the rollout ends; no analysis of testers before step 1"
        )));
    }
    findings.extend(sticky(rollout));
    let steps = 0..rollout.plan.step_count();
    for share in steps.filter_map(|step| rollout.plan.exposure(step).mirrored()) {
        findings.push(Finding::ok(format!(
            "{share} % of the requests are mirrored to {canary} before step 1 and analyzed by what its own proxies report; users get no mirrored responses"
        )));
    }
    let share = rollout.original_share();
    if share > Percent::ZERO {
        let after = match rollout.plan.after_regression {
            AfterRegression::Original => {
                "after a proven regression too; --after-regression zero leaves it none"
            }
            AfterRegression::Zero => "but none after a proven regression",
        };
        findings.push(Finding::ok(format!(
            "{canary} has {share} % before the rollout and again after a rollback, {after}"
        )));
    }
    findings
}

/// Requests after which it is told how many users are on the canary.
const REQUESTS_OF_A_USER: i32 = 10;

/// That users stay on the canary, and what this makes of its share.
fn sticky(rollout: &Rollout) -> Vec<Finding> {
    let (Some(sticky), canary) = (&rollout.plan.sticky, &rollout.canary) else {
        return Vec::new();
    };
    let exposures = rollout.plan.exposures().into_iter();
    let shares = exposures.map(|exposure| exposure.share().share());
    let reached = shares.filter(|share| *share > 0.0 && *share < 1.0);
    let reached = reached.map(|share| {
        let is_there = 1.0 - (1.0 - share).powi(REQUESTS_OF_A_USER);
        format!("{} at {}", percentage(is_there), percentage(share))
    });
    let reached: Vec<_> = reached.collect();
    vec![
        Finding::ok(format!(
            "answers of {canary} set cookie {} for {}; requests with it go to {canary} by a rule of its own until it has 100 %, a suspected regression or a rollback",
            sticky.cookie, sticky.ttl
        )),
        Finding::ok(format!(
            "the share of {canary} grows above its weight, as every request without the cookie may be its first: of users who keep cookies and send {REQUESTS_OF_A_USER} requests it gets {}",
            reached.join(", ")
        )),
    ]
}

/// A step that mirrors where no proxy would report how the copies end.
pub fn unseen_copies(plan: &Plan, samples: &Samples) -> Option<Finding> {
    // Without any series it is said that there is no traffic at all.
    if !plan.mirrors() || samples.callees_report || samples.series == 0 {
        return None;
    }
    let then = match plan.on_inconclusive {
        OnStuck::Rollback => "the rollout is rolled back there",
        OnStuck::Hold => "the rollout waits there for promote",
        OnStuck::Promote => "the rollout continues without a verdict",
    };
    Some(Finding::warn(
        format!(
            "{} has no metrics of the versions' own proxies (reporter=\"destination\")",
            samples.source
        ),
        format!(
            "only they report mirrored requests, so the mirror step stays inconclusive, and {then}"
        ),
        "scrape the sidecars of both versions, or --on-inconclusive promote, or steps without mirror",
    ))
}
