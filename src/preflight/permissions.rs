//! What we may do, asked before doing half of it.

use super::role::{listed, role, role_rule};
use super::{Facts, Grant};
use crate::plan::Finding;

/// One resource, what it is needed for, and whether a rollout can do without.
struct Need {
    resource: &'static str,
    /// The verbs that docs/permissions.md names for it.
    verbs: &'static [&'static str],
    why: &'static str,
    essential: bool,
}

const NEEDS: [Need; 3] = [
    Need {
        resource: "virtualservices",
        verbs: &["get", "list", "watch", "patch"],
        why: "weights could not be shifted, and changes by other clients not noticed",
        essential: true,
    },
    Need {
        resource: "leases",
        verbs: &["get", "create", "update"],
        why: "only the state on the object keeps a second driver out",
        essential: false,
    },
    Need {
        resource: "pods",
        verbs: &["list", "watch"],
        why: "a canary that dies is noticed from a list every 2 s",
        essential: false,
    },
];

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for need in &NEEDS {
        let of_need = |allowed| {
            facts
                .grants
                .iter()
                .filter(move |grant| {
                    grant.permission.resource == need.resource && grant.allowed == allowed
                })
                .collect::<Vec<_>>()
        };
        let (granted, denied) = (of_need(true), of_need(false));
        if let Some(first) = granted.first() {
            let may = format!("may {}", attempted(&granted, need, &first.namespace));
            findings.push(Finding::ok(may));
        }
        let Some(first) = denied.first() else {
            continue;
        };
        let what = format!(
            "not allowed to {}",
            attempted(&denied, need, &first.namespace)
        );
        let fix = role(&first.namespace, need.verbs, need.resource);
        let finding = if need.essential {
            Finding::refuse(what, need.why, fix)
        } else {
            Finding::warn(what, need.why, fix)
        };
        let rule = role_rule(first.permission.group, need.resource, need.verbs);
        findings.push(finding.with_snippet(rule));
    }
    findings
}

/// `get, create and update leases in namespace shop`.
fn attempted(grants: &[&Grant], need: &Need, namespace: &str) -> String {
    let verbs: Vec<_> = grants.iter().map(|grant| grant.permission.verb).collect();
    format!(
        "{} {} in namespace {namespace}",
        listed(&verbs),
        need.resource
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Permission;
    use crate::preflight::test_facts::{facts, told};

    #[test]
    fn what_is_missing_is_named_by_verb_resource_and_namespace() {
        let grant = |permission, allowed| Grant {
            permission,
            namespace: "shop".into(),
            allowed,
        };
        let mut facts = facts();
        facts.grants = vec![
            grant(Permission::PATCH_ROUTES, false),
            grant(Permission::WATCH_ROUTES, true),
            grant(Permission::GET_LEASES, true),
            grant(Permission::CREATE_LEASES, false),
            grant(Permission::UPDATE_LEASES, false),
            grant(Permission::WATCH_PODS, false),
        ];
        assert_eq!(
            told(check(&facts)),
            [
                "ok: may watch virtualservices in namespace shop",
                "refuse: not allowed to patch virtualservices in namespace shop: weights could not be shifted, and changes by other clients not noticed (try: a Role in namespace shop with get, list, watch and patch on virtualservices)\n\
                 - apiGroups: [\"networking.istio.io\"]\n  resources: [\"virtualservices\"]\n  verbs: [get, list, watch, patch]",
                "ok: may get leases in namespace shop",
                "warn: not allowed to create and update leases in namespace shop: only the state on the object keeps a second driver out (try: a Role in namespace shop with get, create and update on leases)\n\
                 - apiGroups: [\"coordination.k8s.io\"]\n  resources: [\"leases\"]\n  verbs: [get, create, update]",
                "warn: not allowed to watch pods in namespace shop: a canary that dies is noticed from a list every 2 s (try: a Role in namespace shop with list and watch on pods)\n\
                 - apiGroups: [\"\"]\n  resources: [\"pods\"]\n  verbs: [list, watch]",
            ]
        );
    }
}
