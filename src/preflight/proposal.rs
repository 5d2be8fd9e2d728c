//! What to write where there is nothing to shift yet: the subsets, and once these are there the route.
//!
//! A route that names a subset before a proxy knows it costs requests (503), and Istio sends a
//! DestinationRule and a VirtualService that are applied together in two pushes. So they are printed one
//! after the other, with a command between them that ends when every proxy has the subsets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::rules::{name_of, rules_of};
use super::version::carries;
use crate::istio::{Destination, Host, Route, Subset, VirtualService};
use crate::plan::shell_word;
use crate::rollout::{LAST, ROLLOUT};

/// The version of Istio's objects that are new.
pub(super) const ISTIO: &str = "networking.istio.io/v1";

/// Where `kubectl apply` keeps what it applied.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Labels that differ from pod to pod, or from one rollout of a Deployment to the next.
const PASSING: [&str; 4] = [
    "pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
];

/// Two versions for a route that knows one: a DestinationRule with both subsets, or where these are
/// defined already the VirtualService with both destinations.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    notes: Vec<String>,
    objects: Vec<Value>,
}

/// One version as the objects are to name it.
struct Part {
    name: String,
    labels: BTreeMap<String, String>,
    is_new: bool,
}

impl Proposal {
    /// Two versions of `destination`, to which `route` sends everything, from what its pods and the
    /// DestinationRules tell.
    pub(crate) fn of(
        vs: &VirtualService,
        route: &Route,
        destination: &Destination,
        rules: &[Value],
        pods: &[Pod],
    ) -> Self {
        let subsets: Vec<_> = rules_of(rules, &destination.host)
            .flat_map(Subset::of_rule)
            .collect();
        let (parts, note) = defined(&subsets, destination, pods)
            .or_else(|| by_label(pods))
            .unwrap_or_else(|| unheard_of(destination));
        // What is applied already is not printed again; a route to pods that are yet to be labelled would fail.
        let is_defined = |part: &Part| {
            let mut subsets = subsets.iter();
            subsets.any(|subset| subset.name == part.name && subset.labels == part.labels)
        };
        let is_ready =
            parts.iter().all(is_defined) && pods.iter().any(|pod| carries(pod, &parts[0].labels));
        if parts.iter().any(|part| part.is_new) && !is_ready {
            let plan = format!("kubectl canary plan {} -n {}", vs.name(), vs.namespace());
            return Self {
                notes: vec![
                    note,
                    "first the subsets, which no route names yet; then wait until every proxy has them:".to_owned(),
                    until_known(&destination.host, &parts[1].name),
                    format!("then the route, which the same command prints: {plan}"),
                ],
                objects: vec![rule(rules, destination, &parts)],
            };
        }
        Self {
            notes: vec![note],
            objects: vec![routed(vs, route, &parts)],
        }
    }

    /// Both versions in the first of two rules, of which the second never gets a request.
    pub(crate) fn of_two_rules(vs: &VirtualService, first: &Route, second: &Route) -> Self {
        let mut spec = vs.spec().clone();
        let rules = &mut spec[first.at.kind.key()];
        let mut targets = [first, second].map(|route| rules[route.at.index]["route"][0].take());
        for (target, weight) in targets.iter_mut().zip([100, 0]) {
            target["weight"] = json!(weight);
        }
        rules[first.at.index]["route"] = json!(targets);
        if let Some(rules) = rules.as_array_mut() {
            rules.remove(second.at.index);
        }
        Self {
            notes: vec![format!(
                "{second} never gets a request, as {first} before it takes all of them: one rule with both (try: kubectl apply -f -)"
            )],
            objects: vec![object_like("VirtualService", vs.raw(), &spec)],
        }
    }

    /// Objects that are missing, with what there is to say about them.
    pub(super) fn of_objects(notes: Vec<String>, objects: Vec<Value>) -> Self {
        Self { notes, objects }
    }

    /// The objects, in a list as `kubectl apply -f -` takes it.
    pub fn list(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "List", "items": self.objects})
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notes: Vec<_> = self.notes.iter().map(|note| format!("# {note}")).collect();
        let objects: Vec<_> = self.objects.iter().map(yaml).collect();
        f.write_str(&notes.join("\n"))?;
        if !objects.is_empty() {
            write!(f, "\n{}", objects.join("\n---\n"))?;
        }
        Ok(())
    }
}

/// The command that ends once every running proxy has a subset, asked for as `istioctl` asks: through the
/// agent beside the proxy.
pub(super) fn until_known(host: &Host, subset: &str) -> String {
    let cluster = shell_word(&format!("|{subset}|{host}"));
    format!(
        r#"kubectl get pods -A -l service.istio.io/canonical-name --field-selector status.phase=Running -o jsonpath='{{range .items[*]}}{{.metadata.namespace}} {{.metadata.name}}{{"\n"}}{{end}}' | while read -r n p; do until kubectl exec -n "$n" "$p" -c istio-proxy -- pilot-agent request GET clusters </dev/null | grep -qF {cluster}; do echo "waiting for $n/$p"; sleep 1; done; done"#
    )
}

/// YAML as people write it, without a line break at its end.
pub(super) fn yaml(value: &Value) -> String {
    // What JSON can hold YAML can.
    let text = serde_saphyr::to_string(value).unwrap_or_else(|_| value.to_string());
    text.trim_end().to_owned()
}

/// Two subsets that exist already and hold different pods.
fn defined(
    subsets: &[Subset],
    destination: &Destination,
    pods: &[Pod],
) -> Option<([Part; 2], String)> {
    let holds = |subset: &Subset| -> BTreeSet<usize> {
        let pods = pods.iter().enumerate();
        pods.filter(|(_, pod)| carries(pod, &subset.labels))
            .map(|(index, _)| index)
            .collect()
    };
    let named = |subset: &&Subset| destination.subset.as_deref() == Some(&subset.name);
    let is_part = |subset: &&Subset| {
        let held = holds(subset).len();
        held > 0 && held < pods.len()
    };
    // The subset that the route names stays stable, if it is a part and not the whole.
    let stable = subsets
        .iter()
        .filter(named)
        .chain(subsets)
        .find(|subset| is_part(subset))?;
    let of_stable = holds(stable);
    let canary = subsets
        .iter()
        .filter(is_part)
        .find(|subset| holds(subset).is_disjoint(&of_stable))?;
    let part = |subset: &Subset| Part {
        name: subset.name.clone(),
        labels: subset.labels.clone(),
        is_new: false,
    };
    let note = format!(
        "{} and {} are already defined; the route has to name both (try: kubectl apply -f -)",
        stable.name, canary.name
    );
    Some(([part(stable), part(canary)], note))
}

/// A label whose values divide the pods: `version` rather than another, the larger part stable.
fn by_label(pods: &[Pod]) -> Option<([Part; 2], String)> {
    let nothing = BTreeMap::new();
    let labels = |pod| -> &BTreeMap<String, String> {
        let pod: &Pod = pod;
        pod.metadata.labels.as_ref().unwrap_or(&nothing)
    };
    let mut keys: Vec<_> = labels(pods.first()?).keys().collect();
    keys.sort_by_key(|key| *key != "version");
    keys.into_iter()
        .filter(|key| !PASSING.contains(&key.as_str()))
        .find_map(|key| {
            let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
            for pod in pods {
                *counts.entry(labels(pod).get(key)?).or_default() += 1;
            }
            let mut values: Vec<_> = counts.into_iter().collect();
            values.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let [(stable, many), (canary, few), ..] = values.as_slice() else {
                return None;
            };
            let [first, second] = match [stable, canary].map(|value| name_part(value)) {
                names if names[0] != names[1] => names,
                _ => ["stable", "canary"].map(str::to_owned),
            };
            let part = |name: String, value: &String| Part {
                name,
                labels: BTreeMap::from([(key.clone(), value.clone())]),
                is_new: true,
            };
            let note = format!(
                "the label {key} distinguishes the pods: {many} are {stable}, {few} are {canary} (try: kubectl apply -f -)"
            );
            Some(([part(first, stable), part(second, canary)], note))
        })
}

/// A label's value as a part of the names of objects and subsets: a value may hold capitals, dots and underscores
/// as well, which Istio refuses in the name of a subset.
pub(super) fn name_part(value: &str) -> String {
    value.to_lowercase().replace(['.', '_'], "-")
}

/// All pods are alike: the canary is still to be deployed.
fn unheard_of(destination: &Destination) -> ([Part; 2], String) {
    let part = |name: &str| Part {
        name: name.to_owned(),
        labels: BTreeMap::from([("version".to_owned(), name.to_owned())]),
        is_new: true,
    };
    let note = format!(
        "no label distinguishes the pods of {}: label the current ones version=v1 and deploy the new ones with version=v2, then: kubectl apply -f -",
        destination.host
    );
    ([part("v1"), part("v2")], note)
}

/// The DestinationRule with both subsets, everything else in it as it is.
fn rule(rules: &[Value], destination: &Destination, parts: &[Part; 2]) -> Value {
    let host = &destination.host;
    let subsets = parts.iter();
    let subsets = subsets.map(|part| json!({"name": part.name, "labels": part.labels}));
    with_subsets(rules_of(rules, host).next(), host, subsets.collect())
}

/// A host's DestinationRule with these subsets, in place of those of the same names; a new one where there is none.
pub(super) fn with_subsets(existing: Option<&Value>, host: &Host, new: Vec<Value>) -> Value {
    let mut spec = existing.map_or_else(|| json!({"host": host}), |rule| rule["spec"].clone());
    let mut subsets = match spec.get_mut("subsets").map(Value::take) {
        Some(Value::Array(subsets)) => subsets,
        _ => Vec::new(),
    };
    subsets.retain(|subset| !new.iter().any(|new| new["name"] == subset["name"]));
    subsets.extend(new);
    spec["subsets"] = json!(subsets);
    match existing {
        Some(rule) => object_like("DestinationRule", rule, &spec),
        None => new_rule(host, &spec),
    }
}

/// A DestinationRule for a host that has none, named as its Service is.
fn new_rule(host: &Host, spec: &Value) -> Value {
    let (name, namespace) = host.service().unwrap_or((host.as_str(), "default"));
    object(ISTIO, "DestinationRule", namespace, name, spec)
}

/// The VirtualService with both versions in the route, everything else in it as it is.
fn routed(vs: &VirtualService, route: &Route, parts: &[Part; 2]) -> Value {
    let mut spec = vs.spec().clone();
    let rule = &mut spec[route.at.kind.key()][route.at.index];
    let target = rule["route"][0].take();
    let of = |part: &Part, weight: i64| {
        let mut target = target.clone();
        target["destination"]["subset"] = json!(part.name);
        target["weight"] = json!(weight);
        target
    };
    let [stable, canary] = parts;
    rule["route"] = json!([of(stable, 100), of(canary, 0)]);
    object_like("VirtualService", vs.raw(), &spec)
}

/// An object that is yet to be applied.
pub(super) fn object(
    version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    spec: &Value,
) -> Value {
    json!({
        "apiVersion": version, "kind": kind,
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    })
}

/// An object that is there, with another spec. `kubectl apply` takes away what it once applied and is not
/// given again, so labels and annotations are given again; not those that are written by programs.
pub(super) fn object_like(kind: &str, existing: &Value, spec: &Value) -> Value {
    let (namespace, name) = name_of(existing);
    let version = existing["apiVersion"].as_str().unwrap_or(ISTIO);
    let mut object = object(version, kind, namespace, name, spec);
    for key in ["labels", "annotations"] {
        let Some(Value::Object(mut kept)) = existing["metadata"].get(key).cloned() else {
            continue;
        };
        kept.retain(|key, _| ![APPLIED, ROLLOUT, LAST].contains(&key.as_str()));
        if !kept.is_empty() {
            object["metadata"][key] = Value::Object(kept);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::test_facts::facts;

    fn proposed(subset: &str, subsets: Value, with_labels: bool) -> String {
        let mut facts = facts();
        facts.change_routes(|http| {
            *http = json!([{"timeout": "5s", "route": [{"destination": {"host": "reviews", "subset": subset}}]}]);
        });
        facts.change_rule_only(|spec| spec["subsets"] = subsets);
        let mut pods: Vec<_> = facts
            .stable
            .pods
            .iter()
            .chain(&facts.canary.pods)
            .flatten()
            .cloned()
            .collect();
        pods.pop();
        for pod in &mut pods {
            if !with_labels {
                let labels = pod.metadata.labels.as_mut().unwrap();
                labels.remove("version");
            }
        }
        let route = facts.vs.routes()[0].clone();
        let destination = route.targets[0].destination.clone();
        Proposal::of(&facts.vs, &route, &destination, &facts.rules, &pods).to_string()
    }

    #[test]
    fn a_subset_of_all_pods_is_divided_by_what_its_pods_say() {
        let all = json!([{"name": "all-pods", "labels": {"app": "reviews"}}]);
        insta::assert_snapshot!(proposed("all-pods", all, true), @r#"
        # the label version distinguishes the pods: 3 are v1, 2 are v2 (try: kubectl apply -f -)
        # first the subsets, which no route names yet; then wait until every proxy has them:
        # kubectl get pods -A -l service.istio.io/canonical-name --field-selector status.phase=Running -o jsonpath='{range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}' | while read -r n p; do until kubectl exec -n "$n" "$p" -c istio-proxy -- pilot-agent request GET clusters </dev/null | grep -qF '|v2|reviews.shop.svc.cluster.local'; do echo "waiting for $n/$p"; sleep 1; done; done
        # then the route, which the same command prints: kubectl canary plan reviews -n shop
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata:
          name: reviews
          namespace: shop
        spec:
          host: reviews
          subsets:
          - labels:
              app: reviews
            name: all-pods
          - labels:
              version: v1
            name: v1
          - labels:
              version: v2
            name: v2
        "#);
    }

    #[test]
    fn subsets_get_names_that_istio_takes() {
        for (stable, canary, names) in [
            ("R18_943", "R18.944", ["name: r18-943", "name: r18-944"]),
            ("rc.1", "RC_1", ["name: stable", "name: canary"]),
        ] {
            let mut facts = facts();
            facts.change_routes(|http| {
                *http = json!([{"route": [{"destination": {"host": "reviews"}}]}]);
            });
            facts.change_rule_only(|spec| spec["subsets"] = json!([]));
            let pods = facts.stable.pods.iter().chain(&facts.canary.pods).flatten();
            let mut pods: Vec<_> = pods.cloned().collect();
            for (index, pod) in pods.iter_mut().enumerate() {
                let labels = pod.metadata.labels.as_mut().unwrap();
                let value = if index < 3 { stable } else { canary };
                labels.insert("version".into(), value.into());
            }
            let route = facts.vs.routes()[0].clone();
            let destination = route.targets[0].destination.clone();
            let text = Proposal::of(&facts.vs, &route, &destination, &facts.rules, &pods);
            let text = text.to_string();
            assert!(names.iter().all(|name| text.contains(name)), "{text}");
            assert!(text.contains(&format!("version: {stable}\n")), "{text}");
        }
    }

    #[test]
    fn subsets_that_are_there_are_used() {
        let both = json!([
            {"name": "all-pods", "labels": {"app": "reviews"}},
            {"name": "safe", "labels": {"version": "v1"}},
            {"name": "risky", "labels": {"version": "v2"}},
        ]);
        let text = proposed("risky", both, true);
        assert!(
            text.starts_with(
                "# risky and safe are already defined; the route has to name both (try: kubectl apply -f -)\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
            ),
            "{text}"
        );
        assert!(!text.contains("DestinationRule"), "{text}");
        assert!(
            text.contains("subset: risky\n      weight: 100"),
            "the one in force stays stable: {text}"
        );
        assert!(text.contains("subset: safe\n      weight: 0"), "{text}");
    }

    #[test]
    fn pods_that_are_alike_need_a_label_first() {
        let text = proposed("all-pods", json!([]), false);
        assert!(
            text.starts_with(
                "# no label distinguishes the pods of reviews.shop.svc.cluster.local: label the current ones version=v1 and deploy the new ones with version=v2, then: kubectl apply -f -\n"
            ),
            "{text}"
        );
    }
}
