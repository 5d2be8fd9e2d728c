//! Who else writes the object: a controller that puts the weights of Git back, or a person's tool.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Facts;
use super::proposal::yaml;
use crate::istio::{RouteKind, VirtualService};
use crate::plan::Finding;

/// A controller or tool that owns the object, and how that shows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    ArgoCd {
        /// The Application, as far as the tracking id tells.
        application: Option<String>,
        mark: String,
    },
    FluxKustomization {
        name: String,
        namespace: String,
        mark: String,
    },
    FluxHelmRelease {
        name: String,
        namespace: String,
        mark: String,
    },
    Helm {
        release: String,
        mark: String,
    },
    Kubectl,
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let vs = &facts.vs;
    let Some(owner) = owner_of(vs) else {
        return Vec::new();
    };
    if let (Owner::FluxKustomization { .. }, Some(annotation)) = (&owner, flux_is_told(vs)) {
        return vec![Finding::ok(format!(
            "Flux ignores virtualservice {} ({annotation})",
            vs.full_name()
        ))];
    }
    vec![told(facts, &owner)]
}

fn text<'v>(vs: &'v VirtualService, map: &str, key: &str) -> Option<&'v str> {
    vs.raw().get("metadata")?.get(map)?.get(key)?.as_str()
}

fn is_managed_by(vs: &VirtualService, manager: &str) -> bool {
    let entries = vs.raw().pointer("/metadata/managedFields");
    let mut entries = entries.and_then(Value::as_array).into_iter().flatten();
    entries.any(|entry| entry.get("manager").and_then(Value::as_str) == Some(manager))
}

/// The owner whose word counts most: a controller before a person's tool.
fn owner_of(vs: &VirtualService) -> Option<Owner> {
    const TRACKING: &str = "argocd.argoproj.io/tracking-id";
    const INSTANCE: &str = "app.kubernetes.io/instance";
    let label = |key: &str| text(vs, "labels", key);
    if let Some(id) = vs.annotation(TRACKING) {
        return Some(Owner::ArgoCd {
            application: id.split(':').next().map(str::to_owned),
            mark: format!("annotation {TRACKING}: {id}"),
        });
    }
    // Charts set this label too; with Argo CD's own writes beside it, it is Argo CD's.
    if is_managed_by(vs, "argocd-controller") {
        return Some(Owner::ArgoCd {
            application: label(INSTANCE).map(str::to_owned),
            mark: match label(INSTANCE) {
                Some(name) => format!("manager argocd-controller, label {INSTANCE}: {name}"),
                None => "manager argocd-controller".to_owned(),
            },
        });
    }
    let flux = |prefix: &str, manager: &str| {
        let name = label(&format!("{prefix}/name"));
        let mark = match name {
            Some(name) => format!("label {prefix}/name: {name}"),
            None if is_managed_by(vs, manager) => format!("manager {manager}"),
            None => return None,
        };
        let namespace = label(&format!("{prefix}/namespace"));
        Some((
            name.unwrap_or("NAME").to_owned(),
            namespace.unwrap_or("flux-system").to_owned(),
            mark,
        ))
    };
    if let Some((name, namespace, mark)) =
        flux("kustomize.toolkit.fluxcd.io", "kustomize-controller")
    {
        return Some(Owner::FluxKustomization {
            name,
            namespace,
            mark,
        });
    }
    if let Some((name, namespace, mark)) = flux("helm.toolkit.fluxcd.io", "helm-controller") {
        return Some(Owner::FluxHelmRelease {
            name,
            namespace,
            mark,
        });
    }
    if let Some(release) = vs.annotation("meta.helm.sh/release-name") {
        return Some(Owner::Helm {
            release: release.to_owned(),
            mark: format!("annotation meta.helm.sh/release-name: {release}"),
        });
    }
    if label("app.kubernetes.io/managed-by") == Some("Helm") {
        return Some(Owner::Helm {
            release: label(INSTANCE).unwrap_or("RELEASE").to_owned(),
            mark: "label app.kubernetes.io/managed-by: Helm".to_owned(),
        });
    }
    vs.annotation("kubectl.kubernetes.io/last-applied-configuration")
        .map(|_| Owner::Kubectl)
}

/// The annotation that makes Flux leave the object alone.
fn flux_is_told(vs: &VirtualService) -> Option<String> {
    const TOLD: [(&str, &[&str]); 2] = [
        ("kustomize.toolkit.fluxcd.io/reconcile", &["disabled"]),
        (
            "kustomize.toolkit.fluxcd.io/ssa",
            &["Ignore", "IfNotPresent"],
        ),
    ];
    TOLD.iter().find_map(|(key, values)| {
        let value = vs.annotation(key)?;
        let told = values.iter().any(|told| told.eq_ignore_ascii_case(value));
        told.then(|| format!("annotation {key}: {value}"))
    })
}

/// What is to be said of an owner.
struct Advice {
    what: String,
    why: &'static str,
    fix: String,
    /// What to set on the controller; there is nothing to set on a person's tool.
    snippet: Option<Value>,
}

fn told(facts: &Facts, owner: &Owner) -> Finding {
    let Advice {
        what,
        why,
        mut fix,
        snippet,
    } = advice(&facts.vs, &facts.kinds, owner);
    let Some(snippet) = snippet else {
        return Finding::warn(what, why, fix);
    };
    let finding = if facts.ignore_owner {
        Finding::warn(what, why, fix)
    } else {
        fix.push_str(", then --ignore-owner");
        Finding::refuse(what, why, fix)
    };
    finding.with_snippet(yaml(&snippet))
}

/// Who puts the weights of `vs` back, and what makes peace with them, in one line; the snippet is JSON,
/// which is YAML as well.
pub(crate) fn peace(vs: &VirtualService, kinds: &[RouteKind]) -> Option<String> {
    let Advice {
        what,
        why,
        fix,
        snippet,
    } = advice(vs, kinds, &owner_of(vs)?);
    let snippet = snippet.map(|snippet| format!(": {snippet}"));
    Some(format!(
        "{what}: {why} (try: {fix}{})",
        snippet.unwrap_or_default()
    ))
}

fn advice(vs: &VirtualService, kinds: &[RouteKind], owner: &Owner) -> Advice {
    let (object, name, namespace) = (vs.full_name(), vs.name(), vs.namespace());
    let owns = |who: &str, mark: &str| format!("{who} owns virtualservice {object} ({mark})");
    let kinds: BTreeSet<_> = kinds.iter().copied().map(RouteKind::key).collect();
    let paths: Vec<_> = kinds.iter().map(|kind| format!("/spec/{kind}")).collect();
    match owner {
        Owner::ArgoCd { application, mark } => {
            // `[]?` because a redirect has no `route`, and jq would give up at the first one.
            let paths: Vec<_> = kinds
                .iter()
                .map(|kind| format!(".spec.{kind}[]?.route[]?.weight"))
                .collect();
            let application = application.as_deref().unwrap_or("that manages it");
            Advice {
                what: owns("Argo CD", mark),
                why: "its next sync restores the weights of Git (with selfHeal within seconds)",
                fix: format!("spec.ignoreDifferences in Application {application}"),
                snippet: Some(json!({"spec": {
                    "ignoreDifferences": [{"group": "networking.istio.io", "kind": "VirtualService", "name": name, "jqPathExpressions": paths}],
                    "syncPolicy": {"syncOptions": ["RespectIgnoreDifferences=true", "ApplyOutOfSyncOnly=true"]},
                }})),
            }
        }
        Owner::FluxKustomization {
            name: kustomization,
            namespace: home,
            mark,
        } => Advice {
            what: owns("Flux", mark),
            why: "every reconciliation restores the weights of Git",
            fix: format!(
                "spec.ignore in Kustomization {home}/{kustomization} (Flux 2.9), or: kubectl annotate virtualservice {name} -n {namespace} kustomize.toolkit.fluxcd.io/reconcile=disabled"
            ),
            snippet: Some(
                json!({"spec": {"ignore": [{"target": {"kind": "VirtualService", "name": name}, "paths": paths}]}}),
            ),
        },
        Owner::FluxHelmRelease {
            name: release,
            namespace: home,
            mark,
        } => Advice {
            what: owns("Flux", mark),
            why: "an upgrade or drift correction restores the weights of the chart",
            fix: format!(
                "spec.driftDetection.ignore in HelmRelease {home}/{release} where the mode is enabled, and no upgrade during the rollout"
            ),
            snippet: Some(
                json!({"spec": {"driftDetection": {"mode": "enabled", "ignore": [
                    {"target": {"kind": "VirtualService", "name": name}, "paths": paths},
                ]}}}),
            ),
        },
        Owner::Helm { release, mark } => Advice {
            what: owns("Helm", mark),
            why: "an upgrade may restore the weights of the chart",
            fix: format!(
                "no helm upgrade {release} until the rollout has ended; then its weights in the chart's values"
            ),
            snippet: None,
        },
        Owner::Kubectl => Advice {
            what: format!(
                "virtualservice {object} was written by kubectl apply (annotation kubectl.kubernetes.io/last-applied-configuration)"
            ),
            why: "the next apply of its file restores the weights of the file",
            fix: format!(
                "no kubectl apply of it until the rollout has ended; then the weights of: kubectl get virtualservice {name} -n {namespace} -o yaml"
            ),
            snippet: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::test_facts::{facts, told};

    fn found(metadata: &Value, ignore: bool) -> Vec<String> {
        let mut facts = facts();
        facts.ignore_owner = ignore;
        facts.change_metadata(|live| {
            for (key, value) in metadata.as_object().unwrap() {
                live[key] = value.clone();
            }
        });
        told(check(&facts))
    }

    #[test]
    fn argo_cd_is_asked_to_ignore_weights() {
        let snippet = "\nspec:\n  ignoreDifferences:\n  - group: networking.istio.io\n    jqPathExpressions:\n    - .spec.http[]?.route[]?.weight\n    kind: VirtualService\n    name: reviews\n  syncPolicy:\n    syncOptions:\n    - RespectIgnoreDifferences=true\n    - ApplyOutOfSyncOnly=true";
        let tracked = json!({"annotations": {"argocd.argoproj.io/tracking-id": "shop:networking.istio.io/VirtualService:shop/reviews"}});
        assert_eq!(
            found(&tracked, false),
            [format!(
                "refuse: Argo CD owns virtualservice shop/reviews (annotation argocd.argoproj.io/tracking-id: shop:networking.istio.io/VirtualService:shop/reviews): its next sync restores the weights of Git (with selfHeal within seconds) (try: spec.ignoreDifferences in Application shop, then --ignore-owner){snippet}"
            )]
        );
        let managed = json!({"labels": {"app.kubernetes.io/instance": "shop"}, "managedFields": [{"manager": "argocd-controller"}]});
        assert_eq!(
            found(&managed, true),
            [format!(
                "warn: Argo CD owns virtualservice shop/reviews (manager argocd-controller, label app.kubernetes.io/instance: shop): its next sync restores the weights of Git (with selfHeal within seconds) (try: spec.ignoreDifferences in Application shop){snippet}"
            )]
        );
        let charted = json!({"labels": {"app.kubernetes.io/instance": "shop"}});
        assert!(
            found(&charted, false).is_empty(),
            "the label alone proves nothing"
        );
    }

    #[test]
    fn flux_is_asked_to_ignore_routes_or_found_told_already() {
        let labels = json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
        assert_eq!(
            found(&json!({"labels": labels}), false),
            [
                "refuse: Flux owns virtualservice shop/reviews (label kustomize.toolkit.fluxcd.io/name: apps): every reconciliation restores the weights of Git (try: spec.ignore in Kustomization flux-system/apps (Flux 2.9), or: kubectl annotate virtualservice reviews -n shop kustomize.toolkit.fluxcd.io/reconcile=disabled, then --ignore-owner)\n\
                 spec:\n  ignore:\n  - paths:\n    - /spec/http\n    target:\n      kind: VirtualService\n      name: reviews"
            ]
        );
        for (key, value) in [("reconcile", "disabled"), ("ssa", "IfNotPresent")] {
            let key = format!("kustomize.toolkit.fluxcd.io/{key}");
            assert_eq!(
                found(
                    &json!({"labels": labels, "annotations": {key.clone(): value}}),
                    false
                ),
                [format!(
                    "ok: Flux ignores virtualservice shop/reviews (annotation {key}: {value})"
                )]
            );
        }
        assert_eq!(
            found(
                &json!({"managedFields": [{"manager": "helm-controller"}]}),
                false
            ),
            [
                "refuse: Flux owns virtualservice shop/reviews (manager helm-controller): an upgrade or drift correction restores the weights of the chart (try: spec.driftDetection.ignore in HelmRelease flux-system/NAME where the mode is enabled, and no upgrade during the rollout, then --ignore-owner)\n\
                 spec:\n  driftDetection:\n    ignore:\n    - paths:\n      - /spec/http\n      target:\n        kind: VirtualService\n        name: reviews\n    mode: enabled"
            ]
        );
    }

    #[test]
    fn a_persons_tools_are_a_warning() {
        let helm = json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"meta.helm.sh/release-name": "shop"}});
        assert_eq!(
            found(&helm, false),
            [
                "warn: Helm owns virtualservice shop/reviews (annotation meta.helm.sh/release-name: shop): an upgrade may restore the weights of the chart (try: no helm upgrade shop until the rollout has ended; then its weights in the chart's values)"
            ]
        );
        let applied =
            json!({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}});
        assert_eq!(
            found(&applied, false),
            [
                "warn: virtualservice shop/reviews was written by kubectl apply (annotation kubectl.kubernetes.io/last-applied-configuration): the next apply of its file restores the weights of the file (try: no kubectl apply of it until the rollout has ended; then the weights of: kubectl get virtualservice reviews -n shop -o yaml)"
            ]
        );
    }
}
