//! Chosen routes that never get a request, as a rule before them takes all.

use super::facts::{Facts, Source, Unread};
use crate::istio::{Route, VirtualService};
use crate::plan::Finding;
use crate::rollout::Rollout;

/// What is to be said of chosen routes of `vs` behind a rule that takes every request.
pub fn unreached(vs: &VirtualService, rollout: &Rollout) -> Vec<Finding> {
    let routes = rollout.routes.iter().filter_map(|split| split.find(vs));
    let (behind, reached): (Vec<&Route>, Vec<&Route>) =
        routes.partition(|route| vs.shadow_of(route.at).is_some());
    let Some(shadow) = behind.first().and_then(|route| vs.shadow_of(route.at)) else {
        return Vec::new();
    };
    // Two rules of one name are told apart by their places.
    let is_namesake = behind
        .iter()
        .any(|route| route.to_string() == shadow.to_string());
    let name = |route: &Route| match is_namesake {
        true => route.at.to_string(),
        false => route.to_string(),
    };
    let names: Vec<_> = behind.iter().map(|route| name(route)).collect();
    let kind = shadow.at.kind.key();
    let shadow = name(shadow);
    let what = format!(
        "{} of virtualservice {} never gets a request: {shadow} before it takes all of them (spec.{}[].match)",
        names.join(", "),
        vs.full_name(),
        kind
    );
    let fix = format!(
        "{} before {shadow}: kubectl edit virtualservice {} -n {}",
        names.join(", "),
        vs.name(),
        vs.namespace()
    );
    vec![match reached.is_empty() {
        true => Finding::refuse(what, "its weights shift nothing", fix),
        false => Finding::warn(what, "its weights shift nothing", fix),
    }]
}

/// What is to be said of chosen routes of `vs` that answer requests themselves.
pub fn aborted(vs: &VirtualService, rollout: &Rollout) -> Vec<Finding> {
    let routes = rollout.routes.iter().filter_map(|split| split.find(vs));
    let aborted = routes.filter_map(|route| {
        let abort = vs.rule(route.at).pointer("/fault/abort")?;
        let share = abort.pointer("/percentage/value")?.as_f64()?;
        (share > 0.0).then(|| {
            Finding::warn(
                format!("{route} of virtualservice {} aborts {share} % of its requests (spec.http[].fault.abort)", vs.full_name()),
                "no version gets these, and they say nothing of either",
                format!("no fault there: kubectl edit virtualservice {} -n {}", vs.name(), vs.namespace()),
            )
        })
    });
    aborted.collect()
}

/// Whether no other VirtualService hands on to `facts.vs`, which answers for no host of its own; or each that
/// does has a rule before it that takes all.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let vs = &facts.vs;
    if !vs.hosts().is_empty() {
        return Vec::new();
    }
    let (name, namespace) = (vs.name(), vs.namespace());
    let roots = facts.other_routes.iter().flat_map(|root| {
        let delegates = root.delegates().into_iter();
        let ours = delegates.filter(|(_, to)| to.name == name && to.namespace == namespace);
        ours.map(move |(route, _)| (root, route, root.shadow_of(route.at)))
    });
    let roots: Vec<_> = roots.collect();
    if let Some((root, route, Some(shadow))) = roots.first()
        && roots.iter().all(|(_, _, shadow)| shadow.is_some())
    {
        return vec![Finding::refuse(
            format!(
                "{route} of virtualservice {}, which delegates to {}, never gets a request: {shadow} before it takes all of them (spec.http[].match)",
                root.full_name(),
                vs.full_name()
            ),
            "its weights shift nothing",
            format!(
                "{route} before {shadow}: kubectl edit virtualservice {} -n {}",
                root.name(),
                root.namespace()
            ),
        )];
    }
    let hides = |unread: &Unread| matches!(unread.source, Source::OtherRoutes | Source::Elsewhere);
    let all_read = facts.within.is_none() && !facts.unread.iter().any(hides);
    if !roots.is_empty() || !all_read {
        return Vec::new();
    }
    vec![Finding::refuse(
        format!(
            "virtualservice {} has no hosts, and no other delegates to it (spec.hosts)",
            vs.full_name()
        ),
        "no request follows its weights",
        format!(
            "a rule with delegate: {{name: {name}, namespace: {namespace}}} in the virtualservice of the host, or spec.hosts here"
        ),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::select_versions;
    use crate::plan::{Options, Plan};
    use crate::preflight::test_facts::{facts, told};
    use serde_json::json;

    #[test]
    fn weights_behind_a_rule_for_everything_shift_nothing() {
        let mut facts = facts();
        facts.change_routes(|http| {
            let split = http[0].clone();
            *http = json!([{"name": "all", "route": [{"destination": {"host": "reviews", "subset": "v1"}}]}, split]);
        });
        let found = |routes: &[String]| {
            let found = select_versions(&facts.vs, Some("v1"), Some("v2"), routes, &[]).unwrap();
            let whom = (found.stable, found.canary, found.splits);
            let plan = Plan::resolve(Options::default()).unwrap();
            let rollout = Rollout::new("r".into(), "me".into(), plan, whom, facts.now);
            told(unreached(&facts.vs, &rollout))
        };
        assert_eq!(
            found(&[]),
            [
                "refuse: http[primary] of virtualservice shop/reviews never gets a request: http[all] before it takes all of them (spec.http[].match): its weights shift nothing (try: http[primary] before http[all]: kubectl edit virtualservice reviews -n shop)"
            ]
        );
    }
}
