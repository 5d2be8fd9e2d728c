//! Whether the two versions are two: subsets that are defined, and that select different pods.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::proposal::yaml;
use super::rules::{meant, name_of, rules_of, selector_of};
use super::version::written;
use super::{Facts, Version, pods};
use crate::istio::{Host, Subset};
use crate::plan::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<_> = facts
        .versions()
        .into_iter()
        .filter_map(|version| missing(facts, version).or_else(|| without_labels(facts, version)))
        .collect();
    if findings.is_empty() {
        findings.extend(overlap(facts));
    }
    let versions = facts.versions().into_iter();
    findings.extend(versions.filter_map(|version| defined_twice(facts, version)));
    findings
}

/// Two versions that the metrics do not distinguish, unless another finding says so already.
pub(super) fn check_metrics(facts: &Facts) -> Vec<Finding> {
    let Err(error) = facts.targets() else {
        return Vec::new();
    };
    let said_already = || [check(facts), pods::check(facts)].concat();
    if facts.pods_unknown() || Finding::refuses(&said_already()) {
        return Vec::new();
    }
    let [stable, canary] = facts.versions();
    let host = &stable.destination.host;
    if stable.is_external() && *host == canary.destination.host {
        return vec![Finding::refuse(
            format!(
                "{stable} and {canary} of {host} are not told apart by the metrics, as it is no Service of this cluster",
                stable = stable.destination,
                canary = canary.destination
            ),
            "the analysis would be inconclusive",
            "a ServiceEntry with a host of its own for each version",
        )];
    }
    let text = error.to_string();
    let (what, fix) = text.split_once(" (try: ").unwrap_or((&text, ""));
    let fix = fix.trim_end_matches(')');
    vec![Finding::refuse(
        what,
        "the analysis would be inconclusive",
        fix,
    )]
}

fn missing(facts: &Facts, version: &Version) -> Option<Finding> {
    let name = version.destination.subset.as_ref()?;
    // Where DestinationRules could not be read, nothing is known of subsets.
    if !version.lacks_subset() || version.pods.is_none() {
        return None;
    }
    let host = &version.destination.host;
    // That the host itself is not known comes first, and is said elsewhere.
    if !version.lookalikes.is_empty() {
        return None;
    }
    let rules = meant(&facts.rules, facts.mesh.root(), facts.vs.namespace(), host);
    let known: Vec<_> = rules
        .iter()
        .flat_map(|rule| rule.pointer("/spec/subsets").and_then(Value::as_array))
        .flatten()
        .filter_map(|subset| subset.get("name")?.as_str())
        .collect();
    let known = match known.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let mut what =
        format!("no DestinationRule defines subset {name} of {host} (it defines {known})");
    let mut others = rules_of(&facts.rules, host);
    if let Some((rule, labels)) = others.find_map(|rule| Some((rule, selector_of(rule)?))) {
        let (namespace, rule) = name_of(rule);
        what.push_str(&format!(
            "; DestinationRule {namespace}/{rule} is for callers with {labels} only (spec.workloadSelector)"
        ));
    }
    // A rule whose host looks like this one, and is another to Istio.
    let misspelled = facts.rules.iter().find_map(|rule| {
        let written = rule.pointer("/spec/host")?.as_str()?;
        let of_rule = Host::resolve(written, name_of(rule).0);
        let meant = of_rule.lookalike(name_of(rule).0)?;
        let is_meant = host.service() == Some((meant.0.as_str(), meant.1.as_str()));
        is_meant.then_some((name_of(rule), of_rule))
    });
    if let Some(((namespace, rule), of_rule)) = misspelled {
        what.push_str(&format!(
            "; DestinationRule {namespace}/{rule} is for {of_rule} (spec.host), which is another host: {}",
            of_rule.no_service_because()
        ));
        return Some(Finding::refuse(
            what,
            "its requests would fail (503)",
            format!(
                "host: {host} in spec.host: kubectl edit destinationrule {rule} -n {namespace}"
            ),
        ));
    }
    let is_taken = rules_of(&facts.rules, host)
        .any(|rule| name_of(rule) == (version.namespace(), host.short()));
    let new_name = match is_taken {
        true => format!("{}-versions", host.short()),
        false => host.short().to_owned(),
    };
    let why = "its requests would fail (503)";
    let subset = json!({"name": name, "labels": {"version": name}});
    Some(match rules.first() {
        Some(rule) => {
            let (namespace, rule) = name_of(rule);
            Finding::refuse(
                what,
                why,
                format!(
                    "subset {name} with the labels of its pods in spec.subsets: kubectl edit destinationrule {rule} -n {namespace}"
                ),
            )
            .with_snippet(yaml(&json!([subset])))
        }
        None => {
            let subsets: Vec<_> = facts
                .versions()
                .into_iter()
                .filter(|version| version.destination.host == *host)
                .filter_map(|version| version.destination.subset.as_ref())
                .map(|name| json!({"name": name, "labels": {"version": name}}))
                .collect();
            Finding::refuse(
                what,
                why,
                "a DestinationRule with the labels of the versions' pods: kubectl apply -f -",
            )
            .with_snippet(yaml(&json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "DestinationRule",
                "metadata": {"name": new_name, "namespace": match version.namespace() {
                    // What is outside is in no namespace; the route's own is the one that sends there.
                    "" => facts.vs.namespace(),
                    namespace => namespace,
                }},
                "spec": {"host": host, "subsets": subsets},
            })))
        }
    })
}

fn without_labels(facts: &Facts, version: &Version) -> Option<Finding> {
    let subset = version.subset.as_ref()?;
    let [stable, canary] = facts.versions();
    // A subset for all pods of a host of its own is no mistake.
    if !subset.labels.is_empty() || stable.destination.host != canary.destination.host {
        return None;
    }
    let (namespace, rule) = subset.rule.split_once('/').unwrap_or_default();
    Some(
        Finding::refuse(
            format!(
                "subset {} of DestinationRule {} has no labels (spec.subsets[].labels)",
                subset.name, subset.rule
            ),
            "it selects every pod of the Service, including the other version's",
            format!(
                "labels that only its pods have: kubectl edit destinationrule {rule} -n {namespace}"
            ),
        )
        .with_snippet(yaml(&json!([
            {"name": subset.name, "labels": {"version": subset.name}}
        ]))),
    )
}

/// A subset of which there are two with other labels: what counts is not what one of them says.
fn defined_twice(facts: &Facts, version: &Version) -> Option<Finding> {
    let (known, host) = (version.subset.as_ref()?, &version.destination.host);
    let home = known.rule.split_once('/')?.0;
    let rules = meant(&facts.rules, facts.mesh.root(), facts.vs.namespace(), host);
    // In another namespace it counts for other callers.
    let rules = rules.into_iter().filter(|rule| name_of(rule).0 == home);
    let mut others = rules
        .flat_map(Subset::of_rule)
        .filter(|other| other.name == known.name && other.labels != known.labels);
    let other = others.next()?;
    let (first, second) = (written(&known.labels), written(&other.labels));
    let (_, name) = other.rule.split_once('/')?;
    let is_same = other.rule == known.rule;
    Some(Finding::warn(
        match is_same {
            true => format!(
                "DestinationRule {} defines subset {} twice: {first}, then {second} (spec.subsets)",
                known.rule, known.name
            ),
            false => format!(
                "subset {} of {host} is defined twice: {first} by DestinationRule {}, then {second} by {} (spec.subsets)",
                known.name, known.rule, other.rule
            ),
        },
        match is_same {
            true => "Istio goes by the first, and newer ones accept no change to such a rule",
            false => "Istio goes by the older rule",
        },
        format!("one of the two only: kubectl edit destinationrule {name} -n {home}"),
    ))
}

fn overlap(facts: &Facts) -> Option<Finding> {
    let names = |version: &Version| -> BTreeSet<(Option<String>, Option<String>)> {
        let pods = version.pods().iter();
        pods.map(|pod| (pod.metadata.namespace.clone(), pod.metadata.name.clone()))
            .collect()
    };
    let [stable, canary] = facts.versions();
    let (of_stable, of_canary) = (names(stable), names(canary));
    let shared: Vec<_> = of_stable.intersection(&of_canary).collect();
    let pod = shared.first()?.1.clone().unwrap_or_default();
    let labels = |version: &Version| written(&version.selector().unwrap_or_default());
    Some(Finding::refuse(
        format!(
            "{} pods are in both versions, for example {pod}: {} selects {}, {} selects {}",
            shared.len(),
            stable.destination,
            labels(stable),
            canary.destination,
            labels(canary)
        ),
        "at any weight the same pods would get the requests",
        match (&stable.subset, &canary.subset) {
            (Some(one), Some(other)) if one.rule == other.rule => format!(
                "labels in spec.subsets[].labels of DestinationRule {} that select different pods",
                one.rule
            ),
            (Some(one), Some(other)) => format!(
                "labels in spec.subsets[].labels of DestinationRules {} and {} that select different pods",
                one.rule, other.rule
            ),
            _ if stable.destination.host == canary.destination.host => format!(
                "a subset for {} as well (spec.http[].route[].destination.subset), with labels that only its pods have",
                stable.destination
            ),
            _ => format!(
                "labels in spec.selector of Services {} and {}, or in spec.subsets[].labels, that select different pods",
                stable.service_name(),
                canary.service_name()
            ),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::test_facts::{facts, told};

    #[test]
    fn a_missing_subset_comes_with_the_yaml_that_adds_it() {
        let mut facts = facts();
        facts.change_rule(|spec| {
            spec["subsets"].as_array_mut().unwrap().pop();
        });
        assert_eq!(
            told(check(&facts)),
            [
                "refuse: no DestinationRule defines subset v2 of reviews.shop.svc.cluster.local (it defines v1): its requests would fail (503) (try: subset v2 with the labels of its pods in spec.subsets: kubectl edit destinationrule reviews -n shop)\n\
                 - labels:\n    version: v2\n  name: v2"
            ]
        );
    }

    #[test]
    fn without_any_rule_the_whole_object_is_written() {
        let mut facts = facts();
        facts.rules.clear();
        facts.select();
        let told = told(check(&facts));
        assert_eq!(told.len(), 2);
        assert_eq!(
            told[0],
            "refuse: no DestinationRule defines subset v1 of reviews.shop.svc.cluster.local (it defines none): its requests would fail (503) (try: a DestinationRule with the labels of the versions' pods: kubectl apply -f -)\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: reviews\n  namespace: shop\nspec:\n  host: reviews.shop.svc.cluster.local\n  subsets:\n  - labels:\n      version: v1\n    name: v1\n  - labels:\n      version: v2\n    name: v2"
        );
    }

    #[test]
    fn a_subset_without_labels_holds_the_other_versions_pods() {
        let mut facts = facts();
        facts.change_rule(|spec| {
            spec["subsets"][1].as_object_mut().unwrap().remove("labels");
        });
        assert_eq!(
            told(check(&facts)),
            [
                "refuse: subset v2 of DestinationRule shop/reviews has no labels (spec.subsets[].labels): it selects every pod of the Service, including the other version's (try: labels that only its pods have: kubectl edit destinationrule reviews -n shop)\n\
                 - labels:\n    version: v2\n  name: v2"
            ]
        );
        assert!(check_metrics(&facts).is_empty(), "said once is enough");
    }

    #[test]
    fn one_pod_in_both_subsets_is_refused() {
        let mut facts = facts();
        facts.change_rule(|spec| {
            spec["subsets"][1]["labels"] = json!({"app": "reviews"});
        });
        assert_eq!(
            told(check(&facts)),
            [
                "refuse: 3 pods are in both versions, for example reviews-v1-0: v1 selects app=reviews,version=v1, v2 selects app=reviews: at any weight the same pods would get the requests (try: labels in spec.subsets[].labels of DestinationRule shop/reviews that select different pods)"
            ]
        );
    }

    #[test]
    fn versions_that_the_metrics_cannot_tell_apart_are_refused() {
        let mut facts = facts();
        for version in [&mut facts.stable, &mut facts.canary] {
            for pod in version.pods.iter_mut().flatten() {
                let owners = pod.metadata.owner_references.as_mut().unwrap();
                owners[0].name = "reviews".into();
                owners[0].kind = "StatefulSet".into();
            }
        }
        assert_eq!(
            told(check_metrics(&facts)),
            [
                "refuse: \"reviews\" belongs to both versions: the analysis would be inconclusive (try: subsets whose labels select different pods)"
            ]
        );
    }

    #[test]
    fn a_version_without_pods_is_not_said_to_be_like_the_other_as_well() {
        let mut facts = facts();
        facts.canary.pods = Some(Vec::new());
        facts.stable.pods = Some(Vec::new());
        assert!(facts.targets().is_err() && check_metrics(&facts).is_empty());
    }

    #[test]
    fn where_rules_could_not_be_read_nothing_is_concluded() {
        let mut facts = facts();
        facts.rules.clear();
        facts.select();
        facts.stable.pods = None;
        facts.canary.pods = None;
        assert!(check(&facts).is_empty() && check_metrics(&facts).is_empty());
    }
}
