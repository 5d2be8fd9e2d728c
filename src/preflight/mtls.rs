//! Whether callers and the versions' proxies agree on how connections are encrypted.
//!
//! Istio decides by itself unless a DestinationRule sets `tls.mode`; only then can the two disagree.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::ambient::{is_bare, is_outside};
use super::facts::Facts;
use super::rules::{ELSEWHERE, in_force, is_about, name_of};
use super::version::Version;
use crate::istio::Host;
use crate::plan::Finding;

/// What a caller sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// Nothing encrypted.
    Plain,
    /// TLS of the caller's own, without the mesh's certificate.
    Own,
    /// The mesh's mutual TLS.
    Mesh,
}

/// What a version's proxies take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// Plain text and the mesh's mutual TLS.
    Both,
    /// The mesh's mutual TLS alone.
    Mesh,
    /// Plain text alone.
    Plain,
}

/// An object, and one of its fields with the value.
struct FieldPath {
    object: String,
    field: String,
}

/// Whether any rule for one of these hosts sets how connections are encrypted.
pub(crate) fn is_set<'h>(
    rules: &[Value],
    root: &str,
    hosts: impl IntoIterator<Item = &'h Host>,
) -> bool {
    let mut hosts = hosts.into_iter();
    hosts.any(|host| {
        let rules = in_force(rules, root, host, ELSEWHERE)
            .into_iter()
            .chain(rules.iter().filter(|rule| is_about(rule, host)));
        let mut texts = rules.map(|rule| rule["spec"].to_string());
        texts.any(|spec| spec.contains("\"tls\""))
    })
}

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let [stable, canary] = facts.versions().map(|version| of(facts, version));
    let mut findings = Vec::new();
    // What both have in common is there today, and so is whatever comes of it.
    let shared = stable.as_ref().is_some_and(|stable| stable.breaks);
    if let Some(found) = canary {
        let refused = found.breaks && !shared;
        findings.push(match refused {
            true => Finding::refuse(found.what, found.why, found.fix),
            false => Finding::warn(found.what, found.why, found.fix),
        });
    }
    if let Some(found) = stable {
        findings.push(Finding::warn(found.what, found.why, found.fix));
    }
    findings
}

struct Disagreement {
    what: String,
    why: &'static str,
    fix: String,
    /// Whether no request gets through.
    breaks: bool,
}

fn of(facts: &Facts, version: &Version) -> Option<Disagreement> {
    let (rule, sent, at) = sent(facts, version)?;
    let (role, destination) = (version.role, &version.destination);
    let rule_at = format!("DestinationRule {} ({})", at.object, at.field);
    let fix = format!(
        "remove the tls mode there: kubectl edit destinationrule {} -n {}",
        rule.1, rule.0
    );
    // A pod without a proxy of its own enforces no mode.
    let Some(pod) = version.pods().iter().find(|pod| !is_bare(pod)) else {
        return (sent == Sent::Mesh && is_outside(facts, version)).then(|| Disagreement {
            what: format!(
                "{rule_at} sends mutual TLS to {role} {destination}, whose pods have no sidecar"
            ),
            why: "nothing there takes it, so every connection fails",
            fix,
            breaks: true,
        });
    };
    let (taken, by) = taken(facts, version, pod);
    let by = by.map_or_else(String::new, |by| {
        format!(", PeerAuthentication {} ({})", by.object, by.field)
    });
    let (what, why, breaks) = match (sent, taken) {
        (Sent::Plain, Taken::Mesh) => (
            format!(
                "{rule_at} sends plain text to {role} {destination}{by} accepts only mutual TLS"
            ),
            "its proxies reject every such connection",
            true,
        ),
        (Sent::Own, Taken::Mesh) => (
            format!(
                "{rule_at} sends TLS without the mesh's certificate to {role} {destination}{by} accepts only the mesh's"
            ),
            "its proxies reject every such connection",
            true,
        ),
        (Sent::Mesh, Taken::Plain) => (
            format!(
                "{rule_at} sends mutual TLS to {role} {destination}{by} accepts only plain text"
            ),
            "its proxies reject every such connection",
            true,
        ),
        (Sent::Own, Taken::Both | Taken::Plain) => (
            format!("{rule_at} sends TLS of the callers' own to {role} {destination}"),
            "its own proxies report no requests (reporter=\"destination\"), only its callers' proxies do",
            false,
        ),
        (Sent::Plain, Taken::Both | Taken::Plain) | (Sent::Mesh, Taken::Both | Taken::Mesh) => {
            return None;
        }
    };
    Some(Disagreement {
        what,
        why,
        fix,
        breaks,
    })
}

/// What callers send to a version, where a rule says so: namespace and name of the rule, what, and where
/// that stands.
fn sent<'f>(facts: &'f Facts, version: &Version) -> Option<((&'f str, &'f str), Sent, FieldPath)> {
    let host = &version.destination.host;
    let port = version.destination.port;
    let rules = in_force(&facts.rules, facts.mesh.root(), host, ELSEWHERE);
    let subset = version.destination.subset.as_deref();
    for rule in rules {
        let subsets = rule.pointer("/spec/subsets").and_then(Value::as_array);
        let of_subset = subsets
            .into_iter()
            .flatten()
            .enumerate()
            .filter(|(_, is)| subset.is_some() && is.get("name").and_then(Value::as_str) == subset)
            .map(|(index, is)| (format!("spec.subsets[{index}]"), is));
        let holders = of_subset.chain([("spec".to_owned(), &rule["spec"])]);
        for (at, holder) in holders {
            let Some(policy) = holder.get("trafficPolicy") else {
                continue;
            };
            let Some((field, mode)) = mode(policy, port) else {
                continue;
            };
            let sent = match mode {
                "DISABLE" => Sent::Plain,
                "SIMPLE" | "MUTUAL" => Sent::Own,
                "ISTIO_MUTUAL" => Sent::Mesh,
                _ => continue,
            };
            let (namespace, name) = name_of(rule);
            let place = FieldPath {
                object: format!("{namespace}/{name}"),
                field: format!("{at}.trafficPolicy.{field}: {mode}"),
            };
            return Some(((namespace, name), sent, place));
        }
    }
    None
}

/// The mode that a policy sets for a port, and where: what it says of the port counts before the rest.
fn mode(policy: &Value, port: Option<u64>) -> Option<(String, &str)> {
    let ports = policy.get("portLevelSettings").and_then(Value::as_array);
    let of_port = ports
        .into_iter()
        .flatten()
        .enumerate()
        .find_map(|(index, of)| {
            let number = of.pointer("/port/number").and_then(Value::as_u64);
            // A route that names no port goes to any of them.
            let is_ours = port.is_none() || number == port;
            let mode = of.pointer("/tls/mode").and_then(Value::as_str)?;
            is_ours.then(|| (format!("portLevelSettings[{index}].tls.mode"), mode))
        });
    let of_all = policy.pointer("/tls/mode").and_then(Value::as_str);
    of_port.or_else(|| of_all.map(|mode| ("tls.mode".to_owned(), mode)))
}

/// What the proxies of a version take, and who says so.
fn taken(facts: &Facts, version: &Version, pod: &Pod) -> (Taken, Option<FieldPath>) {
    let namespace = version.namespace();
    let text = |policy: &Value, pointer| {
        let text = policy.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let selector = |policy: &Value| {
        let labels = policy.pointer("/spec/selector/matchLabels");
        labels
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let own = pod.metadata.labels.clone().unwrap_or_default();
    // The pod's before the namespace's before the mesh's; of several the oldest.
    let rank = |policy: &Value| {
        let (home, labels) = (text(policy, "/metadata/namespace"), selector(policy));
        let selects = || {
            labels
                .iter()
                .all(|(key, value)| own.get(key).map(String::as_str) == value.as_str())
        };
        match (
            home == namespace,
            home == facts.mesh.root(),
            labels.is_empty(),
        ) {
            (true, _, false) | (_, true, false) => selects().then_some(0),
            (true, false, true) => Some(1),
            (_, true, true) => Some(2),
            (false, false, _) => None,
        }
    };
    let mut policies: Vec<_> = facts
        .authentications
        .iter()
        .filter_map(|policy| {
            let age = text(policy, "/metadata/creationTimestamp");
            Some((rank(policy)?, age, policy))
        })
        .collect();
    policies.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    let port = target_port(version);
    for (rank, _, policy) in policies {
        let of_port = port.and_then(|port| {
            let field = format!("/spec/portLevelMtls/{port}/mode");
            let mode = policy.pointer(&field).and_then(Value::as_str)?;
            Some((format!("spec.portLevelMtls.{port}.mode"), mode))
        });
        let of_all = policy.pointer("/spec/mtls/mode").and_then(Value::as_str);
        let of_all = of_all.map(|mode| ("spec.mtls.mode".to_owned(), mode));
        // Only what selects pods may speak of ports.
        let Some((field, mode)) = of_port.filter(|_| rank == 0).or(of_all) else {
            continue;
        };
        let taken = match mode {
            "STRICT" => Taken::Mesh,
            "DISABLE" => Taken::Plain,
            "PERMISSIVE" => Taken::Both,
            // The next in order decides.
            _ => continue,
        };
        let place = FieldPath {
            object: format!(
                "{}/{}",
                text(policy, "/metadata/namespace"),
                text(policy, "/metadata/name")
            ),
            field: format!("{field}: {mode}"),
        };
        return (taken, Some(place));
    }
    (Taken::Both, None)
}

/// The port of the pods that requests go to, where it is a number and only one can be meant.
fn target_port(version: &Version) -> Option<i32> {
    let ports = version.service.as_ref()?.spec.as_ref()?.ports.as_ref()?;
    let mut meant = ports.iter().filter(|port| {
        let named = version.destination.port;
        named.is_none_or(|number| i64::try_from(number) == Ok(i64::from(port.port)))
    });
    let port = meant.next().filter(|_| meant.next().is_none())?;
    match &port.target_port {
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(_)) => None,
        None => Some(port.port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::ROOT;
    use crate::preflight::test_facts::{facts, told};
    use serde_json::json;

    fn policy(namespace: &str, spec: Value) -> Value {
        json!({"metadata": {"namespace": namespace, "name": "default"}, "spec": spec})
    }

    /// What is found where callers send so, and these policies are there.
    fn found(of_all: &str, of_canary: &str, policies: Vec<Value>) -> Vec<String> {
        let mut facts = facts();
        facts.change_rule(|spec| {
            if !of_all.is_empty() {
                spec["trafficPolicy"] = json!({"tls": {"mode": of_all}});
            }
            if !of_canary.is_empty() {
                spec["subsets"][1]["trafficPolicy"] = json!({"tls": {"mode": of_canary}});
            }
        });
        facts.authentications = policies;
        told(check(&facts))
    }

    fn strict() -> Vec<Value> {
        vec![policy("shop", json!({"mtls": {"mode": "STRICT"}}))]
    }

    const FIX: &str =
        "(try: remove the tls mode there: kubectl edit destinationrule reviews -n shop)";

    #[test]
    fn a_canary_whose_proxies_would_refuse_its_callers_is_refused() {
        assert_eq!(
            found("", "DISABLE", strict()),
            [format!(
                "refuse: DestinationRule shop/reviews (spec.subsets[1].trafficPolicy.tls.mode: DISABLE) sends plain text to canary v2, PeerAuthentication shop/default (spec.mtls.mode: STRICT) accepts only mutual TLS: its proxies reject every such connection {FIX}"
            )]
        );
        assert_eq!(
            found("ISTIO_MUTUAL", "SIMPLE", strict()),
            [format!(
                "refuse: DestinationRule shop/reviews (spec.subsets[1].trafficPolicy.tls.mode: SIMPLE) sends TLS without the mesh's certificate to canary v2, PeerAuthentication shop/default (spec.mtls.mode: STRICT) accepts only the mesh's: its proxies reject every such connection {FIX}"
            )]
        );
        let plain = vec![policy(ROOT, json!({"mtls": {"mode": "DISABLE"}}))];
        assert_eq!(
            found("", "ISTIO_MUTUAL", plain),
            [format!(
                "refuse: DestinationRule shop/reviews (spec.subsets[1].trafficPolicy.tls.mode: ISTIO_MUTUAL) sends mutual TLS to canary v2, PeerAuthentication istio-system/default (spec.mtls.mode: DISABLE) accepts only plain text: its proxies reject every such connection {FIX}"
            )]
        );
    }

    #[test]
    fn what_stable_shares_is_a_warning() {
        let levels: Vec<_> = found("DISABLE", "", strict())
            .iter()
            .map(|text| text.split(':').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(levels, ["warn", "warn"]);
        let own = found("", "SIMPLE", Vec::new());
        assert_eq!(
            own,
            [format!(
                "warn: DestinationRule shop/reviews (spec.subsets[1].trafficPolicy.tls.mode: SIMPLE) sends TLS of the callers' own to canary v2: its own proxies report no requests (reporter=\"destination\"), only its callers' proxies do {FIX}"
            )]
        );
    }

    #[test]
    fn whoever_agrees_is_left_in_peace() {
        for (of_all, of_canary, policies) in [
            ("", "", strict()),
            ("ISTIO_MUTUAL", "", strict()),
            ("DISABLE", "", Vec::new()),
            (
                "DISABLE",
                "",
                vec![policy(ROOT, json!({"mtls": {"mode": "PERMISSIVE"}}))],
            ),
            // The namespace decides before the mesh, the pods before the namespace.
            (
                "DISABLE",
                "",
                vec![
                    policy(ROOT, json!({"mtls": {"mode": "STRICT"}})),
                    policy("shop", json!({"mtls": {"mode": "PERMISSIVE"}})),
                ],
            ),
            (
                "DISABLE",
                "",
                vec![
                    policy("shop", json!({"mtls": {"mode": "STRICT"}})),
                    policy(
                        "shop",
                        json!({"selector": {"matchLabels": {"app": "reviews"}}, "mtls": {"mode": "STRICT"}, "portLevelMtls": {"80": {"mode": "DISABLE"}}}),
                    ),
                ],
            ),
            (
                "DISABLE",
                "",
                vec![policy("web", json!({"mtls": {"mode": "STRICT"}}))],
            ),
        ] {
            assert_eq!(
                found(of_all, of_canary, policies),
                Vec::<String>::new(),
                "{of_all}"
            );
        }
        let mut bare = facts();
        bare.change_rule(|spec| spec["trafficPolicy"] = json!({"tls": {"mode": "DISABLE"}}));
        bare.authentications = strict();
        for version in [&mut bare.stable, &mut bare.canary] {
            for pod in version.pods.iter_mut().flatten() {
                let containers = &mut pod.spec.as_mut().unwrap().containers;
                containers.retain(|container| container.name != "istio-proxy");
            }
        }
        assert!(check(&bare).is_empty(), "nobody there to insist");
    }

    #[test]
    fn nobody_is_asked_where_no_rule_sets_anything() {
        let mut facts = facts();
        let host = facts.stable.destination.host.clone();
        assert!(!is_set(&facts.rules, ROOT, [&host]));
        facts.change_rule(|spec| {
            spec["subsets"][1]["trafficPolicy"] = json!({"tls": {"mode": "DISABLE"}});
        });
        assert!(is_set(&facts.rules, ROOT, [&host]));
    }
}
