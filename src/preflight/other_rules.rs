//! Who reaches the two versions by other ways than the routes whose weights move.

use super::facts::{Facts, Samples};
use crate::istio::{Export, MESH, Route, Target, VirtualService};
use crate::number::percentage;
use crate::plan::Finding;
use crate::rollout::{ObjectName, Rollout};

/// Whether rules that are not chosen send to the versions' hosts too.
///
/// Then the canary cannot be expected to get its weight's share of all their requests, and a request that
/// reached no upstream may have been sent by any of these rules.
pub fn has_other_rules(facts: &Facts, rollout: &Rollout) -> bool {
    let chosen = |route: &Route| {
        let mut splits = rollout.routes.iter();
        splits.any(|split| {
            split
                .find(&facts.vs)
                .is_some_and(|found| found.at == route.at)
        })
    };
    // A third destination of a chosen route is a rule of its own, too.
    let is_third = |target: &Target| {
        let versions = [&rollout.stable, &rollout.canary];
        !versions
            .iter()
            .any(|version| target.destination.same_version(version))
            && is_at_versions(target, rollout)
    };
    let mut here = facts.vs.routes().iter();
    here.any(|route| match chosen(route) {
        true => route.targets.iter().any(is_third),
        false => sends_to_versions(route, rollout),
    }) || others(facts, rollout).next().is_some()
}

/// The other objects that send to the versions, and what the canary gets while its weight says nothing.
pub fn other_rules(facts: &Facts, rollout: &Rollout) -> Vec<Finding> {
    let samples = facts.samples.as_ref();
    let samples = samples.and_then(|samples| samples.as_ref().ok());
    let past = samples.and_then(|samples| past_the_weights(facts, rollout, samples));
    others(facts, rollout)
        .map(|other| beside(other, rollout))
        .chain(past)
        .collect()
}

fn others<'f>(facts: &'f Facts, rollout: &'f Rollout) -> impl Iterator<Item = &'f VirtualService> {
    let is_chosen = |other: &VirtualService| {
        let mut companions = rollout.companions.iter();
        ObjectName::of(&facts.vs).names(other)
            || companions.any(|companion| companion.object.names(other))
    };
    let others = facts.other_routes.iter();
    others.filter(move |other| {
        !is_chosen(other)
            && other
                .routes()
                .iter()
                .any(|route| sends_to_versions(route, rollout))
    })
}

fn sends_to_versions(route: &Route, rollout: &Rollout) -> bool {
    let mut targets = route.targets.iter();
    targets.any(|target| is_at_versions(target, rollout))
}

fn is_at_versions(target: &Target, rollout: &Rollout) -> bool {
    let hosts = [&rollout.stable.host, &rollout.canary.host];
    hosts.contains(&&target.destination.host)
}

fn beside(other: &VirtualService, rollout: &Rollout) -> Finding {
    let (stable, canary) = (&rollout.stable, &rollout.canary);
    let name = other.full_name();
    let has = |version| {
        let routes = other.routes().iter();
        let mut targets = routes.flat_map(|route| &route.targets);
        targets.any(|target| target.destination.same_version(version))
    };
    let fix = match has(stable) && has(canary) {
        true => format!("--also {name}, which moves its weights together with these"),
        false => format!("a route to {stable} and {canary} there, and --also {name}"),
    };
    Finding::warn(
        format!(
            "virtualservice {name} sends to {} too (spec.http[].route)",
            stable.host
        ),
        "its requests do not follow these weights",
        fix,
    )
}

/// A canary that has requests although its weight is at rest.
fn past_the_weights(facts: &Facts, rollout: &Rollout, samples: &Samples) -> Option<Finding> {
    let (share, weight) = (samples.canary_share?, rollout.highest_original_share());
    let canary = &rollout.canary;
    // Who they are is only to be guessed: those of the first place where the routes do not hold.
    let vs = &facts.vs;
    let is_everywhere = Export::of_object(vs.raw()).is_everywhere();
    let held = [&rollout.stable.host, &rollout.canary.host];
    let callers = if others(facts, rollout).next().is_some() {
        "--also, with each virtualservice that sends to these versions too".to_owned()
    } else if !vs.gateways().contains(MESH) {
        format!(
            "mesh in spec.gateways, and {} in spec.hosts: kubectl edit virtualservice {} -n {}",
            rollout.stable.host,
            vs.name(),
            vs.namespace()
        )
    } else if !is_everywhere {
        "spec.exportTo: [\"*\"], for callers in other namespaces".to_owned()
    } else if !vs.hosts().is_empty() && !vs.hosts().iter().any(|host| held.contains(&host)) {
        format!(
            "{} in spec.hosts: kubectl edit virtualservice {} -n {}",
            rollout.stable.host,
            vs.name(),
            vs.namespace()
        )
    } else {
        "callers whose proxies follow these routes: a caller without a sidecar reaches every pod of the Service".to_owned()
    };
    rollout.is_reached_past_weights(share).then(|| {
        Finding::warn(
            format!(
                "{canary} has {} of the requests at a weight of {weight} %",
                percentage(share)
            ),
            "callers that do not follow these routes reach it, and a rollback does not take it from them",
            callers,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::select_versions;
    use crate::plan::{Options, Plan};
    use crate::preflight::test_facts::{facts, told};
    use serde_json::{Value, json};

    fn rollout(facts: &Facts) -> Rollout {
        let (stable, canary) = (Some("v1"), Some("v2"));
        let found = select_versions(&facts.vs, stable, canary, &[], &[]).unwrap();
        Rollout::new(
            "run".into(),
            "me".into(),
            Plan::resolve(Options::default()).unwrap(),
            (found.stable, found.canary, found.splits),
            facts.now,
        )
    }

    fn other(name: &str, subsets: &[&str]) -> VirtualService {
        let targets = subsets.iter();
        let targets: Vec<Value> = targets
            .map(|subset| json!({"destination": {"host": "reviews", "subset": subset}, "weight": 50}))
            .collect();
        VirtualService::new(json!({
            "metadata": {"namespace": "shop", "name": name, "uid": name},
            "spec": {"hosts": ["reviews.example.com"], "http": [{"route": targets}]},
        }))
        .unwrap()
    }

    #[test]
    fn another_object_for_the_same_versions_is_named_with_the_flag() {
        let mut facts = facts();
        let rollout = rollout(&facts);
        assert!(!has_other_rules(&facts, &rollout));
        facts.other_routes = vec![facts.vs.clone(), other("edge", &["v1", "v2"])];
        assert_eq!(
            told(other_rules(&facts, &rollout)),
            [
                "warn: virtualservice shop/edge sends to reviews.shop.svc.cluster.local too (spec.http[].route): its requests do not follow these weights (try: --also shop/edge, which moves its weights together with these)"
            ]
        );
        assert!(has_other_rules(&facts, &rollout));
    }

    #[test]
    fn a_third_destination_of_the_route_and_another_route_are_other_rules() {
        let third = json!({"destination": {"host": "reviews", "subset": "v0"}, "weight": 1});
        let changes: [fn(&mut Value, Value); 2] = [
            |spec, third| spec["http"][0]["route"].as_array_mut().unwrap().push(third),
            |spec, third| {
                let rules = spec["http"].as_array_mut().unwrap();
                rules.push(json!({"route": [third]}));
            },
        ];
        for change in changes {
            let mut facts = facts();
            facts.change_spec(|spec| change(spec, third.clone()));
            let rollout = rollout(&facts);
            assert!(has_other_rules(&facts, &rollout));
        }
    }
}
