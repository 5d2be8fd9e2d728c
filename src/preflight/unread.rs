//! What could not be read, and whether a rollout can do without it.

use super::facts::{Facts, Source, Unread};
use super::role::{listed, role, role_rule};
use crate::cluster::ErrorKind;
use crate::plan::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<_> = facts.unread.iter().map(finding).collect();
    if let Some(namespaces) = &facts.within {
        let names: Vec<_> = namespaces.iter().map(String::as_str).collect();
        let word = if names.len() == 1 {
            "namespace"
        } else {
            "namespaces"
        };
        // The Role that a rollout needs is one of its namespace, so this is no mistake of the user's.
        findings.push(Finding {
            why: Some(
                "listing them in all namespaces is forbidden, so one for the same host elsewhere is not found"
                    .into(),
            ),
            fix: Some("a ClusterRole with list on virtualservices and destinationrules".into()),
            ..Finding::ok(format!(
                "virtualservices and destinationrules were checked only in {word} {}",
                listed(&names)
            ))
        });
    }
    findings
}

fn finding(unread: &Unread) -> Finding {
    let (why, group, resource, verb) = match unread.source {
        Source::OtherRoutes => (
            "whether another VirtualService has the same host is not checked",
            "networking.istio.io",
            "virtualservices",
            "list",
        ),
        Source::Subsets => (
            "which pods belong to a subset is unknown without it",
            "networking.istio.io",
            "destinationrules",
            "list",
        ),
        Source::Rules => (
            "session affinity is not checked",
            "networking.istio.io",
            "destinationrules",
            "list",
        ),
        Source::Elsewhere => (
            "conflicts with other namespaces are not checked",
            "",
            "",
            "",
        ),
        Source::MeshConfig => (
            "its defaults are assumed: root namespace istio-system, everything exported to all namespaces",
            "",
            "configmaps",
            "get",
        ),
        Source::ServiceEntries => (
            "whether the mesh knows a host that is no Service is not checked",
            "networking.istio.io",
            "serviceentries",
            "list",
        ),
        Source::Services => (
            "which pods belong to a version is unknown without it",
            "",
            "services",
            "get",
        ),
        Source::Pods => (
            "without its pods a version is not found in the metrics, and crashes go unnoticed",
            "",
            "pods",
            "list",
        ),
        Source::Authentications => (
            "whether the versions' proxies accept the DestinationRule's tls.mode is not checked",
            "security.istio.io",
            "peerauthentications",
            "list",
        ),
        Source::Autoscalers => (
            "whether stable can take all traffic after a rollback is not checked",
            "autoscaling",
            "horizontalpodautoscalers",
            "list",
        ),
        Source::Namespaces => (
            "whether the namespace is in ambient mode is not checked",
            "",
            "namespaces",
            "get",
        ),
        Source::Waypoints => (
            "whether the waypoint takes its requests is not checked",
            "gateway.networking.k8s.io",
            "gateways",
            "get",
        ),
        Source::Permissions => ("permissions are not checked", "", "", ""),
    };
    let what = format!("cannot {}: {}", unread.error.attempted, unread.error.why);
    let essential = matches!(
        unread.source,
        Source::Subsets | Source::Services | Source::Pods
    );
    let rule = unread.error.kind == ErrorKind::Forbidden && !resource.is_empty();
    let fix = match (rule, unread.error.may_pass()) {
        (true, _) => role(&unread.namespace, &[verb], resource),
        (false, true) => "the same command again in a moment".to_owned(),
        (false, false) => String::new(),
    };
    // Who may do all that a rollout needs is seldom let into Istio's own namespace.
    if rule && unread.source == Source::MeshConfig {
        return Finding {
            why: Some(why.into()),
            fix: Some(fix),
            ..Finding::ok(what)
        };
    }
    let finding = if essential {
        Finding::refuse(what, why, fix)
    } else {
        Finding::warn(what, why, fix)
    };
    if rule {
        finding.with_snippet(role_rule(group, resource, &[verb]))
    } else {
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::CallError;
    use crate::preflight::test_facts::{facts, told};

    fn found(source: Source, kind: ErrorKind) -> Vec<String> {
        let mut facts = facts();
        facts.unread = vec![Unread {
            source,
            namespace: "shop".into(),
            error: CallError {
                kind,
                attempted: "list things in namespace shop".into(),
                why: "no".into(),
            },
        }];
        told(check(&facts))
    }

    #[test]
    fn only_what_a_rollout_cannot_do_without_forbids_it() {
        for (source, essential) in [
            (Source::OtherRoutes, false),
            (Source::Subsets, true),
            (Source::Rules, false),
            (Source::Elsewhere, false),
            (Source::MeshConfig, false),
            (Source::Services, true),
            (Source::ServiceEntries, false),
            (Source::Pods, true),
            (Source::Authentications, false),
            (Source::Autoscalers, false),
            (Source::Namespaces, false),
            (Source::Waypoints, false),
            (Source::Permissions, false),
        ] {
            let told = found(source, ErrorKind::Unknown);
            let level = if essential { "refuse: " } else { "warn: " };
            assert!(told[0].starts_with(level), "{told:?}");
        }
    }

    #[test]
    fn a_role_of_the_namespace_is_enough_and_its_limit_is_told() {
        let mut facts = facts();
        facts.within = Some(["shop".to_owned(), "web".to_owned()].into());
        assert_eq!(
            told(check(&facts)),
            [
                "ok: virtualservices and destinationrules were checked only in namespaces shop and web: listing them in all namespaces is forbidden, so one for the same host elsewhere is not found (try: a ClusterRole with list on virtualservices and destinationrules)"
            ]
        );
    }

    #[test]
    fn a_missing_right_comes_with_its_rule() {
        assert_eq!(
            found(Source::Pods, ErrorKind::Forbidden),
            [
                "refuse: cannot list things in namespace shop: no: without its pods a version is not found in the metrics, and crashes go unnoticed (try: a Role in namespace shop with list on pods)\n\
                 - apiGroups: [\"\"]\n  resources: [\"pods\"]\n  verbs: [list]"
            ]
        );
        assert_eq!(
            found(Source::Autoscalers, ErrorKind::Unknown),
            [
                "warn: cannot list things in namespace shop: no: whether stable can take all traffic after a rollback is not checked (try: the same command again in a moment)"
            ]
        );
    }
}
