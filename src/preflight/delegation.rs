//! Whether the rules of a root lead to the object that it delegates to, as Istio reads them.

use super::facts::{Facts, Source, Unread};
use crate::istio::{Delegate, Export, Route, VirtualService, is_ignored_below};
use crate::plan::Finding;
use crate::rollout::Rollout;

/// A rule of a root that hands on to the object.
#[derive(Clone, Copy)]
struct Entry<'f> {
    root: &'f VirtualService,
    route: &'f Route,
}

impl Entry<'_> {
    fn name(&self) -> String {
        format!("{} of virtualservice {}", self.route, self.root.full_name())
    }

    fn edit(&self) -> String {
        let root = self.root;
        format!(
            "kubectl edit virtualservice {} -n {}",
            root.name(),
            root.namespace()
        )
    }
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::from_iter(nowhere(facts));
    let entries = entries(facts);
    match facts.vs.hosts().is_empty() {
        true => findings.extend(unreached(facts, &entries)),
        false => findings.extend(entries.first().map(|entry| with_hosts(facts, entry))),
    }
    findings
}

/// Chosen routes of a delegate that Istio ignores, as no rule of a root matches all that they match.
pub fn ignored(facts: &Facts, rollout: &Rollout) -> Vec<Finding> {
    let vs = &facts.vs;
    if !vs.hosts().is_empty() {
        return Vec::new();
    }
    let entries = entries(facts);
    let is_ignored = |route: &&Route| {
        let below = |entry: &Entry<'_>| {
            is_ignored_below(entry.root.rule(entry.route.at), vs.rule(route.at))
        };
        entries.iter().all(below)
    };
    let chosen = rollout.routes.iter().filter_map(|split| split.find(vs));
    let (lost, kept): (Vec<&Route>, Vec<&Route>) = chosen.partition(is_ignored);
    let (Some(first), Some(entry)) = (lost.first(), entries.first()) else {
        return Vec::new();
    };
    let names: Vec<_> = lost.iter().map(ToString::to_string).collect();
    let what = format!(
        "{} of virtualservice {} matches what {}, which delegates to it, does not (spec.http[].match)",
        names.join(", "),
        vs.full_name(),
        entry.name()
    );
    let why = "Istio ignores such a rule, and every one with a regex, so its weights shift nothing";
    let fix = format!(
        "only what {} matches, without a regex, in {first}: kubectl edit virtualservice {} -n {}",
        entry.route,
        vs.name(),
        vs.namespace()
    );
    vec![match kept.is_empty() {
        true => Finding::refuse(what, why, fix),
        false => Finding::warn(what, why, fix),
    }]
}

fn entries(facts: &Facts) -> Vec<Entry<'_>> {
    let vs = &facts.vs;
    let roots = facts.other_routes.iter().flat_map(|root| {
        let delegates = root.delegates().into_iter();
        let ours = delegates.filter(|(_, to)| is_it(to, vs));
        ours.map(move |(route, _)| Entry { root, route })
    });
    roots.collect()
}

fn is_it(delegate: &Delegate, vs: &VirtualService) -> bool {
    delegate.name == vs.name() && delegate.namespace == vs.namespace()
}

/// Whether every object was read that could be a root or a delegate.
fn is_all_read(facts: &Facts) -> bool {
    let hides = |unread: &Unread| matches!(unread.source, Source::OtherRoutes | Source::Elsewhere);
    facts.within.is_none() && !facts.unread.iter().any(hides)
}

/// A rule of the object itself that delegates to one which does not exist.
fn nowhere(facts: &Facts) -> Option<Finding> {
    let vs = &facts.vs;
    let is_missing = |to: &Delegate| !facts.other_routes.iter().any(|other| is_it(to, other));
    let delegates = vs.delegates().into_iter().filter(|_| is_all_read(facts));
    let (route, to) = delegates.into_iter().find(|(_, to)| is_missing(to))?;
    Some(Finding::warn(
        format!(
            "{route} of virtualservice {} delegates to {to}, which does not exist (spec.http[].delegate)",
            vs.full_name()
        ),
        "Istio ignores this rule, and its requests go by the next one that matches",
        format!(
            "a virtualservice that exists: kubectl edit virtualservice {} -n {}",
            vs.name(),
            vs.namespace()
        ),
    ))
}

/// An object with hosts is no delegate.
fn with_hosts(facts: &Facts, entry: &Entry<'_>) -> Finding {
    let vs = &facts.vs;
    Finding::warn(
        format!(
            "{} delegates to {}, which has hosts of its own (spec.hosts)",
            entry.name(),
            vs.full_name()
        ),
        "Istio ignores that rule, as a delegate has no hosts, so its requests do not follow these weights",
        format!(
            "no spec.hosts: kubectl edit virtualservice {} -n {}",
            vs.name(),
            vs.namespace()
        ),
    )
}

/// That no rule hands requests on to an object without hosts.
fn unreached(facts: &Facts, entries: &[Entry<'_>]) -> Option<Finding> {
    let vs = &facts.vs;
    let (name, namespace) = (vs.name(), vs.namespace());
    let lost: Vec<_> = entries.iter().map(|entry| lost(vs, entry)).collect();
    match lost.iter().flatten().next() {
        // One that does is enough.
        Some(found) => lost.iter().all(Option::is_some).then(|| found.clone()),
        None if entries.is_empty() && is_all_read(facts) => Some(Finding::refuse(
            format!(
                "virtualservice {} has no hosts, and no other delegates to it (spec.hosts)",
                vs.full_name()
            ),
            "no request follows its weights",
            format!(
                "a rule with delegate: {{name: {name}, namespace: {namespace}}} in the virtualservice of the host, or spec.hosts here"
            ),
        )),
        None => None,
    }
}

/// Why a rule that delegates to the object hands no request on.
fn lost(vs: &VirtualService, entry: &Entry<'_>) -> Option<Finding> {
    let Entry { root, route } = entry;
    let own = vs.full_name();
    if root.hosts().is_empty() {
        return Some(Finding::refuse(
            format!(
                "{} delegates to {own}, but has no hosts itself (spec.hosts)",
                entry.name()
            ),
            "Istio does not hand on from delegate to delegate, so no request follows these weights",
            format!(
                "a rule with delegate: {{name: {}, namespace: {}}} in the virtualservice of the host",
                vs.name(),
                vs.namespace()
            ),
        ));
    }
    if !Export::of_object(vs.raw()).reaches(root.namespace()) {
        return Some(Finding::refuse(
            format!(
                "virtualservice {own} is not exported to namespace {} of {}, which delegates to it (spec.exportTo)",
                root.namespace(),
                root.full_name()
            ),
            "Istio ignores that rule, so no request follows these weights",
            format!(
                "{} in spec.exportTo: kubectl edit virtualservice {} -n {}",
                root.namespace(),
                vs.name(),
                vs.namespace()
            ),
        ));
    }
    let shadow = root.shadow_of(route.at)?;
    Some(Finding::refuse(
        format!(
            "{route} of virtualservice {}, which delegates to {own}, never gets a request: {shadow} before it takes all of them (spec.http[].match)",
            root.full_name(),
        ),
        "its weights shift nothing",
        format!("{route} before {shadow}: {}", entry.edit()),
    ))
}
