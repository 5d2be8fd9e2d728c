//! Which DestinationRules a caller goes by: Istio looks in the caller's namespace, then in the Service's,
//! then in the root namespace, and stops at the first that has any for the host.

use serde_json::Value;

use crate::istio::{Export, Host};

/// Stands for every namespace that has no rules of its own.
pub(crate) const ELSEWHERE: &str = "";

/// The rules among these that are about a host, the most particular ones alone: its name before
/// `*.shop.svc.cluster.local` before `*`. They are in the order in which Istio merges them, where of several subsets
/// of one name the first counts: by age, and by name where that is equal.
fn most_particular<'r>(rules: impl Iterator<Item = &'r Value>, host: &Host) -> Vec<&'r Value> {
    let mut best = 0;
    let mut found = Vec::new();
    for rule in rules {
        let Some(name) = rule.pointer("/spec/host").and_then(Value::as_str) else {
            continue;
        };
        let name = Host::resolve(name, name_of(rule).0);
        let is_about = match name.as_str().strip_prefix('*') {
            Some(rest) => host.as_str().ends_with(rest),
            None => name == *host,
        };
        // A name counts for more than any wildcard.
        let weight = match name.as_str().starts_with('*') {
            true => name.as_str().len(),
            false => usize::MAX,
        };
        if is_about && weight > best {
            best = weight;
            found.clear();
        }
        if is_about && weight == best {
            found.push(rule);
        }
    }
    let age = |rule: &Value| {
        let created = rule.pointer("/metadata/creationTimestamp");
        created
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    found.sort_by_cached_key(|rule| (age(rule), name_of(rule).1));
    found
}

/// What Istio makes of several rules for one host in one namespace: those that are exported to the same
/// namespaces become one, and of several that are not the last counts, which has nothing of those before it.
///
/// That is `mergeDestinationRule` of istio/istio with ENABLE_ENHANCED_DESTINATIONRULE_MERGE, which is its default.
fn merged<'r>(rules: Vec<&'r Value>) -> Vec<&'r Value> {
    let mut groups: Vec<(Export, Vec<&'r Value>)> = Vec::new();
    for rule in rules {
        let export = Export::of_object(rule);
        let mut is_alone = true;
        for (known, members) in &mut groups {
            is_alone = *known != export;
            if !is_alone || !known.is_everywhere() && export.covers(known) {
                members.push(rule);
            }
        }
        if is_alone {
            groups.push((export, vec![rule]));
        }
    }
    groups.pop().map(|(_, members)| members).unwrap_or_default()
}

/// The rules that a caller in `client` goes by for a host, in a mesh with this root namespace.
pub(crate) fn in_force<'r>(
    rules: &'r [Value],
    root: &str,
    host: &Host,
    client: &str,
) -> Vec<&'r Value> {
    let of = |namespace: &str, counts: &dyn Fn(&Value) -> bool| {
        let here = rules.iter().filter(|rule| {
            name_of(rule).0 == namespace && selector_of(rule).is_none() && counts(rule)
        });
        merged(most_particular(here, host))
    };
    let sees = |client: &str| {
        let client = client.to_owned();
        move |rule: &Value| Export::of_object(rule).reaches(&client)
    };
    // What stands in the root namespace is for everybody, unless it says that it is not.
    let own = match client == root {
        true => of(root, &is_private),
        false => of(client, &sees(client)),
    };
    let service = host.service().map_or("", |(_, namespace)| namespace);
    let others = |namespace: &str| of(namespace, &sees(client));
    let found = [own, others(service), others(root)];
    found
        .into_iter()
        .find(|rules| !rules.is_empty())
        .unwrap_or_default()
}

/// The rules whose subsets of a host a route in `namespace` can mean, those that count for most callers
/// first; in each namespace the most particular ones.
pub(crate) fn meant<'r>(
    rules: &'r [Value],
    root: &str,
    namespace: &str,
    host: &Host,
) -> Vec<&'r Value> {
    // A rule of the root namespace is not looked at where the Service's namespace has one.
    let elsewhere = in_force(rules, root, host, ELSEWHERE);
    let is_hidden = elsewhere
        .first()
        .is_some_and(|found| name_of(found).0 != root);
    let service = host.service().map(|(_, namespace)| namespace);
    let root = Some(root).filter(|root| !is_hidden || service == Some(root));
    let mut places: Vec<&str> = Vec::new();
    for place in [service, root, Some(namespace)].into_iter().flatten() {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let of = |place: &str| {
        let here = rules.iter().filter(|rule| name_of(rule).0 == place);
        most_particular(here.filter(|rule| selector_of(rule).is_none()), host)
    };
    places.into_iter().flat_map(of).collect()
}

/// The labels of the callers that alone go by a rule, where it does not count for all (`spec.workloadSelector`).
pub(crate) fn selector_of(rule: &Value) -> Option<String> {
    let labels = rule
        .pointer("/spec/workloadSelector/matchLabels")?
        .as_object()?;
    let labels: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    (!labels.is_empty()).then(|| labels.join(","))
}

/// Whether a rule is exported to its own namespace only.
pub(crate) fn is_private(rule: &Value) -> bool {
    Export::of_object(rule).namespaces() == [name_of(rule).0]
}

/// The DestinationRules that speak of a host.
pub(crate) fn rules_of<'f>(
    rules: &'f [Value],
    host: &'f Host,
) -> impl Iterator<Item = &'f Value> + use<'f> {
    rules.iter().filter(move |rule| is_about(rule, host))
}

pub(crate) fn is_about(rule: &Value, host: &Host) -> bool {
    let name = rule.pointer("/spec/host").and_then(Value::as_str);
    name.is_some_and(|name| Host::resolve(name, name_of(rule).0) == *host)
}

/// `shop/reviews`, the name of a rule.
pub(crate) fn name_of(rule: &Value) -> (&str, &str) {
    let text = |pointer| rule.pointer(pointer).and_then(Value::as_str);
    (
        text("/metadata/namespace").unwrap_or_default(),
        text("/metadata/name").unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::ROOT;
    use serde_json::json;

    const HOST: &str = "reviews.shop.svc.cluster.local";

    fn rule(namespace: &str, spec: Value) -> Value {
        json!({"metadata": {"namespace": namespace, "name": "reviews"}, "spec": spec})
    }

    /// The namespaces of the rules that a caller goes by.
    fn goes_by<'r>(rules: &'r [Value], client: &str) -> Vec<&'r str> {
        let found = in_force(rules, ROOT, &Host::resolve(HOST, "shop"), client);
        found.into_iter().map(|rule| name_of(rule).0).collect()
    }

    #[test]
    fn the_callers_namespace_comes_first_then_the_services_then_the_root() {
        let root = rule(ROOT, json!({"host": "*.local"}));
        let service = rule("shop", json!({"host": "reviews"}));
        let own = rule("web", json!({"host": HOST}));
        let rules = [root.clone(), service, own];
        assert_eq!(goes_by(&rules, "web"), ["web"]);
        assert_eq!(goes_by(&rules, "shop"), ["shop"]);
        assert_eq!(goes_by(&rules, "elsewhere"), ["shop"]);
        // The gateways' namespace is most often the root, whose rules are for everybody.
        assert_eq!(goes_by(&rules, ROOT), ["shop"]);
        assert_eq!(goes_by(&[root], "web"), [ROOT]);
    }

    #[test]
    fn what_is_not_exported_is_not_found_and_a_name_beats_a_wildcard() {
        let hidden = rule("shop", json!({"host": "reviews", "exportTo": ["."]}));
        let of_root = rule(ROOT, json!({"host": "*"}));
        let rules = [hidden, of_root];
        assert_eq!(goes_by(&rules, "shop"), ["shop"]);
        assert_eq!(goes_by(&rules, "web"), [ROOT]);
        let some = rule("shop", json!({"host": "reviews", "exportTo": ["web"]}));
        assert_eq!(goes_by(std::slice::from_ref(&some), "web"), ["shop"]);
        assert!(goes_by(&[some], "shop").is_empty());
        let wide = rule(
            "shop",
            json!({"host": "*.shop.svc.cluster.local", "subsets": []}),
        );
        let exact = rule("shop", json!({"host": HOST}));
        let rules = [wide, exact];
        let found = in_force(&rules, ROOT, &Host::resolve(HOST, "shop"), "web");
        assert_eq!(found, [&rules[1]]);
    }

    #[test]
    fn the_older_rule_is_the_first_and_rules_exported_elsewhere_stay_apart() {
        let named = |name: &str, created: &str, export: Value| {
            json!({
                "metadata": {"namespace": "shop", "name": name, "creationTimestamp": created},
                "spec": {"host": "reviews", "exportTo": export},
            })
        };
        let found = |rules: &[Value], client: &str| -> Vec<String> {
            let found = in_force(rules, ROOT, &Host::resolve(HOST, "shop"), client);
            found
                .into_iter()
                .map(|rule| name_of(rule).1.to_owned())
                .collect()
        };
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
        let rules = [named("a", new, json!([])), named("b", old, json!(["*"]))];
        assert_eq!(found(&rules, "web"), ["b", "a"]);
        let rules = [named("a", old, json!([])), named("b", new, json!(["."]))];
        assert_eq!(
            found(&rules, "shop"),
            ["b"],
            "not merged, and the last counts"
        );
        assert_eq!(found(&rules, "web"), ["a"]);
        let rules = [
            named("a", old, json!(["."])),
            named("b", new, json!([".", "web"])),
        ];
        assert_eq!(found(&rules, "shop"), ["b"]);
        assert_eq!(found(&rules, "web"), ["b"]);
    }

    #[test]
    fn a_route_means_the_rules_that_count_for_most_callers() {
        let of = |namespace: &str| rule(namespace, json!({"host": HOST}));
        let rules = [of("web"), of("other"), of(ROOT), of("shop")];
        let meant = |rules: &[Value]| -> Vec<String> {
            let found = super::meant(rules, ROOT, "web", &Host::resolve(HOST, "")).into_iter();
            found.map(|rule| name_of(rule).0.to_owned()).collect()
        };
        assert_eq!(meant(&rules), ["shop", "web"], "the root's is hidden");
        assert_eq!(meant(&rules[..3]), [ROOT, "web"]);
    }

    #[test]
    fn subsets_may_be_those_of_a_wildcard_and_of_no_rule_for_some_callers() {
        let wide = rule("shop", json!({"host": "*.shop.svc.cluster.local"}));
        let some = rule(
            "shop",
            json!({"host": "reviews", "workloadSelector": {"matchLabels": {"app": "web"}}}),
        );
        let host = Host::resolve(HOST, "");
        let meant = |rules: &[Value]| super::meant(rules, ROOT, "web", &host).len();
        assert_eq!(meant(std::slice::from_ref(&wide)), 1);
        assert_eq!(meant(std::slice::from_ref(&some)), 0);
        let rules = [wide, some];
        assert_eq!(super::meant(&rules, ROOT, "web", &host), [&rules[0]]);
        assert_eq!(selector_of(&rules[1]).as_deref(), Some("app=web"));
        // A name beats a wildcard here, too.
        let rules = [rules[0].clone(), rule("shop", json!({"host": "reviews"}))];
        assert_eq!(super::meant(&rules, ROOT, "web", &host), [&rules[1]]);
    }

    #[test]
    fn the_root_is_the_one_that_the_mesh_config_names() {
        let rules = [rule("mesh-root", json!({"host": HOST}))];
        let host = Host::resolve(HOST, "shop");
        assert_eq!(in_force(&rules, "mesh-root", &host, "web"), [&rules[0]]);
        assert!(in_force(&rules, ROOT, &host, "web").is_empty());
        assert_eq!(super::meant(&rules, "mesh-root", "web", &host), [&rules[0]]);
        assert!(super::meant(&rules, ROOT, "web", &host).is_empty());
    }
}
