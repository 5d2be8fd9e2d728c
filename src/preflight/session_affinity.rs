//! Sessions that are bound to pods, and come loose between versions.

use serde_json::Value;

use super::facts::Facts;
use super::rules::{name_of, rules_of};
use crate::plan::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let hosts = facts.versions().map(|version| &version.destination.host);
    let same = hosts[0] == hosts[1];
    let hosts = if same { &hosts[..1] } else { &hosts[..] };
    let canary = &facts.canary.destination;
    let rules = hosts.iter().flat_map(|host| rules_of(&facts.rules, host));
    rules
        .filter_map(|rule| {
            let (field, by) = hash(facts, rule)?;
            let (namespace, name) = name_of(rule);
            Some(Finding::warn(
                format!(
                    "DestinationRule {namespace}/{name} has session affinity by {by} ({field}.loadBalancer.consistentHash)"
                ),
                "the version is chosen by weight for every request: the same user switches between versions",
                format!(
                    "versions that can serve the same user, --sticky cookie=canary to keep users of {canary} on it, or --match header:x-canary=1 for testers",
                ),
            ))
        })
        .collect()
}

/// Where in a rule the hash stands, and what it is of: for the host, or for one of the two subsets.
fn hash(facts: &Facts, rule: &Value) -> Option<(String, String)> {
    let policies = |at: &str, holder: &Value| {
        let mut found = vec![(
            format!("{at}.trafficPolicy"),
            holder.get("trafficPolicy").cloned(),
        )];
        let ports = holder.pointer("/trafficPolicy/portLevelSettings");
        let ports = ports.and_then(Value::as_array).into_iter().flatten();
        for (index, port) in ports.enumerate() {
            let at = format!("{at}.trafficPolicy.portLevelSettings[{index}]");
            found.push((at, Some(port.clone())));
        }
        found
    };
    let mut all = policies("spec", rule.get("spec")?);
    let subsets = rule.pointer("/spec/subsets").and_then(Value::as_array);
    for (index, subset) in subsets.into_iter().flatten().enumerate() {
        let name = subset.get("name").and_then(Value::as_str);
        let ours = facts
            .versions()
            .iter()
            .any(|version| version.destination.subset.as_deref() == name && name.is_some());
        if ours {
            all.extend(policies(&format!("spec.subsets[{index}]"), subset));
        }
    }
    all.into_iter().find_map(|(at, policy)| {
        let hash = policy?.pointer("/loadBalancer/consistentHash")?.clone();
        Some((at, words(&hash)))
    })
}

fn words(hash: &Value) -> String {
    let text = |pointer| hash.pointer(pointer).and_then(Value::as_str);
    if let Some(name) = text("/httpHeaderName") {
        format!("header {name}")
    } else if let Some(name) = text("/httpCookie/name") {
        format!("cookie {name}")
    } else if let Some(name) = text("/httpQueryParameterName") {
        format!("query parameter {name}")
    } else if hash.get("useSourceIp").and_then(Value::as_bool) == Some(true) {
        "source address".to_owned()
    } else {
        "a hash".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::test_facts::{facts, told};
    use serde_json::json;

    #[test]
    fn users_that_will_flip_are_said() {
        let hashed = |hash: Value| json!({"loadBalancer": {"consistentHash": hash}});
        for (at, field, policy, by) in [
            (
                "",
                "spec.trafficPolicy",
                hashed(json!({"httpHeaderName": "x-myval"})),
                "header x-myval",
            ),
            (
                "",
                "spec.trafficPolicy",
                hashed(json!({"useSourceIp": true})),
                "source address",
            ),
            (
                "/subsets/1",
                "spec.subsets[1].trafficPolicy",
                hashed(json!({"httpCookie": {"name": "user", "ttl": "0s"}})),
                "cookie user",
            ),
            (
                "",
                "spec.trafficPolicy.portLevelSettings[0]",
                json!({"portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"consistentHash": {"httpQueryParameterName": "q"}}}]}),
                "query parameter q",
            ),
        ] {
            let mut facts = facts();
            facts.change_rule(|spec| spec.pointer_mut(at).unwrap()["trafficPolicy"] = policy);
            assert_eq!(
                told(check(&facts)),
                [format!(
                    "warn: DestinationRule shop/reviews has session affinity by {by} ({field}.loadBalancer.consistentHash): the version is chosen by weight for every request: the same user switches between versions (try: versions that can serve the same user, --sticky cookie=canary to keep users of v2 on it, or --match header:x-canary=1 for testers)"
                )]
            );
        }
    }

    #[test]
    fn other_policies_are_nobodys_business() {
        let mut facts = facts();
        facts.change_rule(|spec| {
            spec["trafficPolicy"] = json!({"loadBalancer": {"simple": "ROUND_ROBIN"}});
            spec["subsets"].as_array_mut().unwrap().push(json!({
                "name": "v3", "trafficPolicy": {"loadBalancer": {"consistentHash": {"useSourceIp": true}}},
            }));
        });
        assert!(check(&facts).is_empty());
    }
}
