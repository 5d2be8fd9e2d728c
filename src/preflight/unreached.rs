//! Chosen routes that never get a request, as a rule before them takes all.

use crate::istio::{MESH, Route, VirtualService};
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

/// What is to be said of chosen routes of `vs` that ask for callers who do not follow it.
pub fn unmatched(vs: &VirtualService, rollout: &Rollout) -> Vec<Finding> {
    // What a delegate's rules may ask for is the root's.
    if vs.hosts().is_empty() {
        return Vec::new();
    }
    let edit = format!(
        "kubectl edit virtualservice {} -n {}",
        vs.name(),
        vs.namespace()
    );
    let chosen = || rollout.routes.iter().filter_map(|split| split.find(vs));
    let is_all = |is: &dyn Fn(&Route) -> bool| chosen().all(is);
    let at_no_gateway = |route: &Route| !vs.gateways_beyond(route.at).is_empty();
    let of_callers = |route: &Route| !vs.gateways().contains(MESH) && vs.asks_for_callers(route.at);
    let lost = chosen().find(|route| at_no_gateway(route)).map(|route| {
        let asked = vs.gateways_beyond(route.at).join(", ");
        let kind = route.at.kind.key();
        let what = format!(
            "{route} of virtualservice {} matches only at {asked}, which is not in spec.gateways (spec.{kind}[].match[].gateways)",
            vs.full_name()
        );
        let why = "it never gets a request, so its weights shift nothing";
        let fix = format!("{asked} in spec.gateways: {edit}");
        match is_all(&at_no_gateway) {
            true => Finding::refuse(what, why, fix),
            false => Finding::warn(what, why, fix),
        }
    });
    let asking = chosen().find(|route| of_callers(route)).map(|route| {
        Finding::warn(
            format!(
                "{route} of virtualservice {} matches by sourceLabels or sourceNamespace, but is only at gateways (spec.gateways)",
                vs.full_name()
            ),
            "a gateway compares these with its own pods, not with callers, so it may never get a request",
            format!("mesh in spec.gateways, or a match without them: {edit}"),
        )
    });
    lost.into_iter().chain(asking).collect()
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
