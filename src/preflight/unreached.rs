//! Chosen routes that never get a request, as a rule before them takes all.

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
    let names: Vec<_> = behind.iter().map(ToString::to_string).collect();
    let what = format!(
        "{} of virtualservice {} never gets a request: {shadow} before it takes all of them (spec.{}[].match)",
        names.join(", "),
        vs.full_name(),
        shadow.at.kind.key()
    );
    let fix = format!(
        "{shadow} as the last rule: kubectl edit virtualservice {} -n {}",
        vs.name(),
        vs.namespace()
    );
    vec![match reached.is_empty() {
        true => Finding::refuse(what, "its weights shift nothing", fix),
        false => Finding::warn(what, "its weights shift nothing", fix),
    }]
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
                "refuse: http[primary] of virtualservice shop/reviews never gets a request: http[all] before it takes all of them (spec.http[].match): its weights shift nothing (try: http[all] as the last rule: kubectl edit virtualservice reviews -n shop)"
            ]
        );
    }
}
