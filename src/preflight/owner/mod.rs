//! Who else writes the object: a controller that puts the weights of Git back, or a person's tool.

mod advice;
mod marks;

use super::Facts;
use super::proposal::yaml;
use crate::istio::{RouteKind, VirtualService};
use crate::plan::Finding;
use advice::{Advice, advice};
use marks::{Owner, argo_rollouts, flux_is_told, owner_of};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let vs = &facts.vs;
    let owner = owner_of(vs);
    // Whoever else sets weights counts before whoever puts those of Git back.
    let owner = match owner {
        Some(owner @ Owner::Controller { .. }) => Some(owner),
        owner => argo_rollouts(facts).or(owner),
    };
    let Some(owner) = owner else {
        return Vec::new();
    };
    if let (Owner::FluxKustomization { .. }, Some(annotation)) = (&owner, flux_is_told(vs)) {
        return vec![Finding::ok(format!(
            "Flux ignores virtualservice {} ({annotation})",
            vs.full_name()
        ))];
    }
    vec![told(facts, &owner)]
}

fn told(facts: &Facts, owner: &Owner) -> Finding {
    let Advice {
        what,
        why,
        mut fix,
        snippet,
        acts_alone,
    } = advice(&facts.vs, &facts.kinds, owner);
    let finding = if facts.ignore_owner || !acts_alone {
        Finding::warn(what, why, fix)
    } else {
        fix.push_str(", then --ignore-owner");
        Finding::refuse(what, why, fix)
    };
    match snippet {
        Some(snippet) => finding.with_snippet(yaml(&snippet)),
        None => finding,
    }
}

/// What is to be said of a controller that made `vs`: then nothing is to be proposed for it.
pub(crate) fn controlled(vs: &VirtualService, kinds: &[RouteKind]) -> Option<Finding> {
    let owner = owner_of(vs)?;
    let Owner::Controller { .. } = owner else {
        return None;
    };
    let Advice { what, why, fix, .. } = advice(vs, kinds, &owner);
    Some(Finding::refuse(what, why, fix))
}

/// Who puts the weights of `vs` back, and what makes peace with them, in one line; the snippet is JSON,
/// which is YAML as well.
pub(crate) fn peace(vs: &VirtualService, kinds: &[RouteKind]) -> Option<String> {
    let Advice {
        what,
        why,
        fix,
        snippet,
        ..
    } = advice(vs, kinds, &owner_of(vs)?);
    let snippet = snippet.map(|snippet| format!(": {snippet}"));
    Some(format!(
        "{what}: {why} (try: {fix}{})",
        snippet.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests;
