//! Callers elsewhere who go by other DestinationRules, and so do not know the canary.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Facts;
use super::host_conflicts::{gateways, is_only_mesh, is_seen_in};
use super::role::listed;
use super::rules::{ELSEWHERE, in_force, is_private, name_of, rules_of, selector_of};
use super::version::Version;
use crate::istio::{Export, Host, MESH, Subset};
use crate::plan::Finding;
use serde_json::Value;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let [stable, canary] = facts.versions();
    let mut findings = of_host(facts, &stable.destination.host, &[stable, canary]);
    if canary.destination.host != stable.destination.host {
        findings.extend(of_host(facts, &canary.destination.host, &[stable, canary]));
    }
    findings
}

fn of_host(facts: &Facts, host: &Host, versions: &[&Version]) -> Vec<Finding> {
    // What is defined nowhere is said elsewhere.
    let named: Vec<_> = versions
        .iter()
        .filter(|version| version.destination.host == *host)
        .filter_map(|version| version.subset.as_ref())
        .collect();
    if named.is_empty() {
        return Vec::new();
    }
    if let Some(hidden) = named.iter().find_map(|subset| hidden(facts, subset)) {
        return vec![hidden];
    }
    let service = host.service().map_or("", |(_, namespace)| namespace);
    let with_own: BTreeSet<_> = facts
        .rules
        .iter()
        .map(|rule| name_of(rule).0)
        .filter(|namespace| *namespace != service)
        .collect();
    let root = facts.mesh.root();
    // Each namespace is looked at once, however many rules it has.
    let with_own = with_own
        .into_iter()
        .filter(|namespace| is_seen_in(&facts.vs, namespace))
        .filter(|namespace| {
            let found = in_force(&facts.rules, root, host, namespace);
            found.iter().any(|rule| name_of(rule).0 == *namespace)
                && (*namespace != root || found.iter().all(|rule| is_private(rule)))
        });
    let mut findings: Vec<_> = with_own
        .filter_map(|client| of_client(facts, host, client, &named))
        .collect();
    findings.extend(of_home(facts, host, service, &named));
    findings.extend(of_others(facts, host, service, &named));
    findings.extend(rules_of(&facts.rules, host).filter_map(|rule| of_some(rule, host, &named)));
    findings
}

/// A subset that nobody sees.
fn hidden(facts: &Facts, subset: &Subset) -> Option<Finding> {
    let (namespace, name) = subset.rule.split_once('/').unwrap_or_default();
    export_of(facts, subset)?.is_nowhere().then(|| {
        Finding::refuse(
            format!(
                "DestinationRule {} is exported to no namespace ({})",
                subset.rule,
                facts.mesh.rule_export_field()
            ),
            "neither callers nor gateways see its subsets, and every request to them fails (503)",
            format!("spec.exportTo: [\"*\"]: kubectl edit destinationrule {name} -n {namespace}"),
        )
    })
}

/// To whom the rule is exported that defines a subset.
fn export_of(facts: &Facts, subset: &Subset) -> Option<Export> {
    let mut rules = facts.rules.iter();
    let is_it = |rule: &&Value| {
        let (namespace, name) = name_of(rule);
        subset.rule.split_once('/') == Some((namespace, name))
    };
    rules.find(is_it).map(Export::of_object)
}

/// What callers in the Service's own namespace do not know.
fn of_home(facts: &Facts, host: &Host, service: &str, named: &[&Subset]) -> Option<Finding> {
    let vs = &facts.vs;
    let follows = !vs.hosts().is_empty() && vs.gateways().contains(MESH);
    if service.is_empty() || !follows || !is_seen_in(vs, service) {
        return None;
    }
    if !in_force(&facts.rules, facts.mesh.root(), host, service).is_empty() {
        return of_client(facts, host, service, named);
    }
    let subset = named.first()?;
    let (namespace, name) = subset.rule.split_once('/').unwrap_or_default();
    // One that stands elsewhere is said below.
    let export = export_of(facts, subset).filter(|export| !export.is_everywhere())?;
    Some(Finding::warn(
        format!(
            "DestinationRule {} is exported to {} only ({})",
            subset.rule,
            listed(&export.namespaces()),
            facts.mesh.rule_export_field()
        ),
        format!(
            "callers in namespace {service} do not see its subsets, and their requests fail (503)"
        ),
        format!("spec.exportTo: [\"*\"]: kubectl edit destinationrule {name} -n {namespace}"),
    ))
}

/// What those callers do not know whom a rule of their own namespace selects: they go by no other one.
fn of_some(rule: &Value, host: &Host, named: &[&Subset]) -> Option<Finding> {
    let labels = selector_of(rule)?;
    let known = Subset::of_rule(rule);
    let mut lacking = named
        .iter()
        .filter(|subset| !known.iter().any(|known| known.name == subset.name))
        .map(|subset| subset.name.as_str())
        .peekable();
    lacking.peek()?;
    let lacking: Vec<_> = lacking.collect();
    let (namespace, name) = name_of(rule);
    Some(Finding::warn(
        format!(
            "callers with {labels} in namespace {namespace} use only DestinationRule {namespace}/{name} for {host} (spec.workloadSelector), which defines no subset {}",
            lacking.join(", ")
        ),
        "their requests to it fail (503)",
        format!("the same subsets there: kubectl edit destinationrule {name} -n {namespace}"),
    ))
}

/// What callers in a namespace with rules of its own do not know.
fn of_client(facts: &Facts, host: &Host, client: &str, named: &[&Subset]) -> Option<Finding> {
    let rules = in_force(&facts.rules, facts.mesh.root(), host, client);
    let rule = rules.first().map(|rule| name_of(rule))?;
    let known: Vec<_> = rules
        .iter()
        .flat_map(|rule| Subset::of_rule(rule))
        .collect();
    let labels = |name: &str| -> Option<&BTreeMap<String, String>> {
        let subset = known.iter().find(|subset| subset.name == name)?;
        Some(&subset.labels)
    };
    let lacking: Vec<_> = named
        .iter()
        .filter(|subset| labels(&subset.name).is_none())
        .map(|subset| subset.name.as_str())
        .collect();
    let name = format!("{}/{}", rule.0, rule.1);
    let others: Vec<_> = named
        .iter()
        .filter(|subset| labels(&subset.name).is_some_and(|labels| *labels != subset.labels))
        .map(|subset| subset.name.as_str())
        .collect();
    if let Some(first) = named.first().filter(|_| lacking.is_empty()) {
        return (!others.is_empty()).then(|| {
            Finding::warn(
                format!(
                    "callers in namespace {client} use DestinationRule {name} for {host}, which gives subset {} other labels than {} (spec.subsets[].labels)",
                    others.join(", "),
                    first.rule
                ),
                "their requests reach other pods than those checked here",
                format!("the same labels, or: kubectl delete destinationrule {} -n {client}", rule.1),
            )
        });
    }
    let what = format!(
        "callers in namespace {client} use only DestinationRule {name} for {host}, which defines no subset {} (spec.subsets)",
        lacking.join(", ")
    );
    let fix = format!(
        "the same subsets there: kubectl edit destinationrule {} -n {client}",
        rule.1
    );
    // Where nothing works today a rollout breaks nothing.
    let breaks = lacking.len() < named.len() && is_only_mesh(&facts.vs);
    Some(match breaks {
        true => Finding::refuse(
            what,
            "their share of the canary's requests would fail (503)",
            fix,
        ),
        false => Finding::warn(what, "their requests to it fail (503)", fix),
    })
}

/// What callers in every other namespace do not know.
fn of_others(facts: &Facts, host: &Host, service: &str, named: &[&Subset]) -> Option<Finding> {
    // In which namespace the ServiceEntry of a host outside is does not show in its name.
    if service.is_empty() || !is_seen_in(&facts.vs, ELSEWHERE) {
        return None;
    }
    // Where only gateways follow the routes, it is for these to see them.
    let vs = &facts.vs;
    let is_at_gateways = !vs.hosts().is_empty() && !vs.gateways().contains(MESH);
    let clients: BTreeSet<String> = match is_at_gateways {
        true => gateways(vs).into_iter().map(|(home, _)| home).collect(),
        false => BTreeSet::from([ELSEWHERE.to_owned()]),
    };
    let is_known = |subset: &Subset| {
        clients.iter().all(|client| {
            let rules = in_force(&facts.rules, facts.mesh.root(), host, client);
            let mut known = rules.into_iter().flat_map(Subset::of_rule);
            known.any(|known| known.name == subset.name)
        })
    };
    let subset = named.iter().find(|subset| !is_known(subset))?;
    let (namespace, rule) = subset.rule.split_once('/').unwrap_or_default();
    let (why, fix) = if namespace == service {
        (
            "callers and gateways in other namespaces do not see its subsets, and their requests fail (503)",
            format!("spec.exportTo: [\"*\"]: kubectl edit destinationrule {rule} -n {namespace}"),
        )
    } else {
        (
            "a caller or gateway in another namespace looks in its own, the Service's and the root namespace; their requests fail (503)",
            format!(
                "move it: kubectl get destinationrule {rule} -n {namespace} -o yaml, with metadata.namespace: {service}"
            ),
        )
    };
    let what = if namespace == service {
        format!(
            "DestinationRule {} is not exported to all namespaces ({})",
            subset.rule,
            facts.mesh.rule_export_field()
        )
    } else {
        format!(
            "DestinationRule {} applies only to callers in namespace {namespace}, but {host} is a Service of {service} (metadata.namespace)",
            subset.rule
        )
    };
    Some(Finding::warn(what, why, fix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::ROOT;
    use crate::preflight::test_facts::{facts, told};
    use serde_json::json;

    const HOST: &str = "reviews.shop.svc.cluster.local";

    fn rule(namespace: &str, spec: Value) -> Value {
        json!({"metadata": {"namespace": namespace, "name": "reviews"}, "spec": spec})
    }

    #[test]
    fn callers_with_a_rule_of_their_own_must_know_the_canary_too() {
        let mut facts = facts();
        facts.change_spec(|spec| {
            spec.as_object_mut().unwrap().remove("gateways");
        });
        assert!(check(&facts).is_empty());
        let own = |subsets: Value| rule("web", json!({"host": HOST, "subsets": subsets}));
        let (v1, v2) = (
            json!({"name": "v1", "labels": {"version": "v1"}}),
            json!({"name": "v2", "labels": {"version": "v2"}}),
        );
        facts.rules.push(own(json!([v1.clone(), v2])));
        assert!(check(&facts).is_empty(), "the same there");
        facts.rules[1] = own(json!([v1.clone()]));
        assert_eq!(
            told(check(&facts)),
            [
                "refuse: callers in namespace web use only DestinationRule web/reviews for reviews.shop.svc.cluster.local, which defines no subset v2 (spec.subsets): their share of the canary's requests would fail (503) (try: the same subsets there: kubectl edit destinationrule reviews -n web)"
            ]
        );
        facts.rules[1] = own(json!([]));
        assert_eq!(
            told(check(&facts)),
            [
                "warn: callers in namespace web use only DestinationRule web/reviews for reviews.shop.svc.cluster.local, which defines no subset v1, v2 (spec.subsets): their requests to it fail (503) (try: the same subsets there: kubectl edit destinationrule reviews -n web)"
            ]
        );
        facts.rules[1] = own(json!([v1, {"name": "v2", "labels": {"track": "next"}}]));
        assert_eq!(
            told(check(&facts)),
            [
                "warn: callers in namespace web use DestinationRule web/reviews for reviews.shop.svc.cluster.local, which gives subset v2 other labels than shop/reviews (spec.subsets[].labels): their requests reach other pods than those checked here (try: the same labels, or: kubectl delete destinationrule reviews -n web)"
            ]
        );
        facts.change_spec(|spec| spec["exportTo"] = json!(["."]));
        assert!(check(&facts).is_empty(), "they do not follow the weights");
    }

    #[test]
    fn a_rule_that_stays_at_home_is_unknown_to_callers_elsewhere() {
        let mut facts = facts();
        facts.change_rule(|spec| spec["exportTo"] = json!(["."]));
        assert_eq!(
            told(check(&facts)),
            [
                "warn: DestinationRule shop/reviews is not exported to all namespaces (spec.exportTo): callers and gateways in other namespaces do not see its subsets, and their requests fail (503) (try: spec.exportTo: [\"*\"]: kubectl edit destinationrule reviews -n shop)"
            ]
        );
        facts.change_spec(|spec| {
            spec["gateways"] = json!(["mesh"]);
            spec["exportTo"] = json!(["."]);
        });
        assert!(
            check(&facts).is_empty(),
            "nobody elsewhere follows the weights"
        );
    }

    #[test]
    fn a_rule_beside_the_route_is_not_one_beside_the_service() {
        let mut facts = facts();
        facts.rules[0]["metadata"]["namespace"] = json!("web");
        facts.rules[0]["spec"]["host"] = json!(HOST);
        facts.select();
        assert_eq!(
            told(check(&facts)),
            [
                "warn: DestinationRule web/reviews applies only to callers in namespace web, but reviews.shop.svc.cluster.local is a Service of shop (metadata.namespace): a caller or gateway in another namespace looks in its own, the Service's and the root namespace; their requests fail (503) (try: move it: kubectl get destinationrule reviews -n web -o yaml, with metadata.namespace: shop)"
            ]
        );
        facts.rules[0]["metadata"]["namespace"] = json!(ROOT);
        facts.select();
        assert!(
            check(&facts).is_empty(),
            "the root namespace is for everybody"
        );
    }
}
