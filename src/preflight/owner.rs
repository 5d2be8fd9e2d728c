//! Who else writes the object: a controller that puts the weights of Git back, or a person's tool.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Facts;
use super::proposal::yaml;
use super::rules::{name_of, rules_of};
use crate::istio::{RouteKind, VirtualService};
use crate::plan::Finding;

/// A controller or tool that owns the object, and how that shows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    /// A controller that made the object, or sets its weights.
    Controller {
        controller: Controller,
        /// Its object.
        name: Option<String>,
        mark: String,
    },
    /// Argo Rollouts does not own the routes; it sets their weights.
    ArgoRollouts {
        rollout: Option<String>,
        mark: String,
    },
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
    Kubectl {
        mark: String,
    },
}

/// What kind of controller made the object.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Controller {
    Flagger,
    Knative,
    KServe,
    Other { kind: String },
}

impl Controller {
    fn of(api_version: &str, kind: &str) -> Self {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        match group {
            "flagger.app" => Self::Flagger,
            group if group.ends_with("knative.dev") => Self::Knative,
            "serving.kserve.io" | "serving.kubeflow.org" => Self::KServe,
            _ => Self::Other {
                kind: kind.to_owned(),
            },
        }
    }
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let vs = &facts.vs;
    let owner = owner_of(vs);
    // Whoever else sets weights counts before whoever puts those of Git back.
    let owner = match owner {
        Some(owner @ Owner::Controller { .. }) => Some(owner),
        owner => argo_rollouts(facts).or(owner),
    };
    let Some(owner) = owner else {
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
    managers(vs).any(|(known, _)| known == manager)
}

/// Who has written the object, and by which operation.
fn managers(vs: &VirtualService) -> impl Iterator<Item = (&str, &str)> {
    let entries = vs.raw().pointer("/metadata/managedFields");
    let entries = entries.and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        Some((text("manager")?, text("operation").unwrap_or_default()))
    })
}

/// The controller that made the object: by its reference as the garbage collector reads it, or by the marks
/// that it leaves.
fn controller_of(vs: &VirtualService) -> Option<Owner> {
    let references = vs.raw().pointer("/metadata/ownerReferences");
    let mut references = references.and_then(Value::as_array).into_iter().flatten();
    let controls = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
    if let Some(owner) = references.find(controls) {
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        let (version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
        return Some(Owner::Controller {
            controller: Controller::of(version, kind),
            name: Some(name.to_owned()),
            mark: format!("metadata.ownerReferences: {kind} {name}"),
        });
    }
    const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    let marked = |controller, name: Option<&str>, mark| Owner::Controller {
        controller,
        name: name.map(str::to_owned),
        mark,
    };
    let label = |key: &str| text(vs, "labels", key);
    if label(MANAGED_BY) == Some("flagger") {
        let mark = format!("label {MANAGED_BY}: flagger");
        return Some(marked(Controller::Flagger, None, mark));
    }
    if is_managed_by(vs, "flagger") {
        let mark = "manager flagger".to_owned();
        return Some(marked(Controller::Flagger, None, mark));
    }
    for (key, controller) in [
        ("serving.kserve.io/inferenceservice", Controller::KServe),
        ("serving.knative.dev/route", Controller::Knative),
        (
            "networking.internal.knative.dev/ingress",
            Controller::Knative,
        ),
    ] {
        if let Some(name) = label(key) {
            return Some(marked(
                controller,
                Some(name),
                format!("label {key}: {name}"),
            ));
        }
    }
    None
}

/// Argo Rollouts, by what it leaves on the routes that it changes or on the DestinationRule of the versions.
fn argo_rollouts(facts: &Facts) -> Option<Owner> {
    const MANAGED: &str = "argo-rollouts.argoproj.io/managed-by-rollouts";
    let hosts = facts.versions().map(|version| &version.destination.host);
    let rules = hosts
        .into_iter()
        .flat_map(|host| rules_of(&facts.rules, host));
    let marked = rules.into_iter().find_map(|rule| {
        let annotations = rule.pointer("/metadata/annotations")?;
        Some((rule, annotations.get(MANAGED)?.as_str()?))
    });
    if let Some((rule, rollout)) = marked {
        let (namespace, name) = name_of(rule);
        return Some(Owner::ArgoRollouts {
            rollout: Some(rollout.to_owned()),
            mark: format!("annotation {MANAGED}: {rollout} of DestinationRule {namespace}/{name}"),
        });
    }
    sets_weights(&facts.vs)
}

/// Argo Rollouts, if it has written these very routes.
fn sets_weights(vs: &VirtualService) -> Option<Owner> {
    let mut managers = managers(vs).map(|(manager, _)| manager);
    let manager =
        managers.find(|manager| matches!(*manager, "rollouts-controller" | "argo-rollouts"))?;
    Some(Owner::ArgoRollouts {
        rollout: None,
        mark: format!("manager {manager}"),
    })
}

/// The owner whose word counts most: a controller before a person's tool.
fn owner_of(vs: &VirtualService) -> Option<Owner> {
    const TRACKING: &str = "argocd.argoproj.io/tracking-id";
    const INSTANCE: &str = "app.kubernetes.io/instance";
    // What its documentation recommends instead, as charts set the other one.
    const OWN_INSTANCE: &str = "argocd.argoproj.io/instance";
    // The name of its binary is what older versions wrote as.
    const MANAGERS: [&str; 2] = ["argocd-controller", "argocd-application-controller"];
    let label = |key: &str| text(vs, "labels", key);
    if let Some(controller) = controller_of(vs) {
        return Some(controller);
    }
    if let Some(rollouts) = sets_weights(vs) {
        return Some(rollouts);
    }
    if let Some(id) = vs.annotation(TRACKING) {
        return Some(Owner::ArgoCd {
            application: id.split(':').next().map(str::to_owned),
            mark: format!("annotation {TRACKING}: {id}"),
        });
    }
    if let Some(name) = label(OWN_INSTANCE) {
        return Some(Owner::ArgoCd {
            application: Some(name.to_owned()),
            mark: format!("label {OWN_INSTANCE}: {name}"),
        });
    }
    // Charts set this label too; with Argo CD's own writes beside it, it is Argo CD's.
    if let Some(manager) = MANAGERS.into_iter().find(|name| is_managed_by(vs, name)) {
        return Some(Owner::ArgoCd {
            application: label(INSTANCE).map(str::to_owned),
            mark: match label(INSTANCE) {
                Some(name) => format!("manager {manager}, label {INSTANCE}: {name}"),
                None => format!("manager {manager}"),
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
    if is_managed_by(vs, "helm") {
        return Some(Owner::Helm {
            release: label(INSTANCE).unwrap_or("RELEASE").to_owned(),
            mark: "manager helm".to_owned(),
        });
    }
    const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    if vs.annotation(APPLIED).is_some() {
        return Some(Owner::Kubectl {
            mark: format!("annotation {APPLIED}"),
        });
    }
    // A server-side apply leaves no annotation.
    let applied = managers(vs).any(|manager| manager == ("kubectl", "Apply"));
    applied.then(|| Owner::Kubectl {
        mark: "manager kubectl, operation Apply".to_owned(),
    })
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
    /// Whether it puts the weights back by itself, without anybody doing anything.
    acts_alone: bool,
}

fn told(facts: &Facts, owner: &Owner) -> Finding {
    let Advice {
        what,
        why,
        mut fix,
        snippet,
        acts_alone,
    } = advice(&facts.vs, &facts.kinds, owner);
    let finding = if facts.ignore_owner || !acts_alone {
        Finding::warn(what, why, fix)
    } else {
        fix.push_str(", then --ignore-owner");
        Finding::refuse(what, why, fix)
    };
    match snippet {
        Some(snippet) => finding.with_snippet(yaml(&snippet)),
        None => finding,
    }
}

/// Who puts the weights of `vs` back, and what makes peace with them, in one line; the snippet is JSON,
/// which is YAML as well.
pub(crate) fn peace(vs: &VirtualService, kinds: &[RouteKind]) -> Option<String> {
    let Advice {
        what,
        why,
        fix,
        snippet,
        ..
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
        Owner::Controller {
            controller,
            name: owner,
            mark,
        } => {
            let owner = owner.as_deref().unwrap_or("NAME");
            let (who, why, fix) = of_controller(controller, owner, namespace);
            Advice {
                what: owns(&who, mark),
                why,
                fix,
                snippet: None,
                acts_alone: true,
            }
        }
        Owner::ArgoRollouts { rollout, mark } => {
            let rollout = rollout.as_deref().unwrap_or("NAME");
            Advice {
                what: format!("Argo Rollouts sets the weights of virtualservice {object} ({mark})"),
                why: "it sets them again at every step of its own, and whenever it finds others",
                fix: format!(
                    "let it shift them: kubectl argo rollouts get rollout {rollout} -n {namespace}; or remove spec.strategy.canary.trafficRouting of Rollout {rollout}"
                ),
                snippet: None,
                acts_alone: true,
            }
        }
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
                acts_alone: true,
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
            acts_alone: true,
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
            acts_alone: true,
        },
        Owner::Helm { release, mark } => Advice {
            what: owns("Helm", mark),
            why: "an upgrade may restore the weights of the chart",
            fix: format!(
                "no helm upgrade {release} until the rollout has ended; then its weights in the chart's values"
            ),
            snippet: None,
            acts_alone: false,
        },
        Owner::Kubectl { mark } => Advice {
            what: format!("virtualservice {object} was written by kubectl apply ({mark})"),
            why: "the next apply of its file restores the weights of the file",
            fix: format!(
                "no kubectl apply of it until the rollout has ended; then the weights of: kubectl get virtualservice {name} -n {namespace} -o yaml"
            ),
            snippet: None,
            acts_alone: false,
        },
    }
}

/// Who a controller is, what it does to weights, and what to tell it.
fn of_controller(
    controller: &Controller,
    name: &str,
    namespace: &str,
) -> (String, &'static str, String) {
    match controller {
        Controller::Flagger => (
            "Flagger".to_owned(),
            "it sets these weights itself, and puts back what others set",
            format!(
                "let it shift them, or suspend it: kubectl patch canary.flagger.app {name} -n {namespace} --type merge -p '{{\"spec\":{{\"suspend\":true}}}}'"
            ),
        ),
        Controller::Knative => (
            "Knative".to_owned(),
            "it writes these routes from spec.traffic of a Knative Service, and puts them back",
            format!("spec.traffic with its percent: kubectl edit ksvc -n {namespace}"),
        ),
        Controller::KServe => (
            "KServe".to_owned(),
            "it writes these routes from the InferenceService, and puts them back",
            format!(
                "spec.predictor.canaryTrafficPercent: kubectl edit inferenceservice {name} -n {namespace}"
            ),
        ),
        Controller::Other { kind } => (
            format!("{kind} {name}"),
            "its controller may put back what it made of these routes at any time",
            format!(
                "what that controller is told of traffic: kubectl edit {} {name} -n {namespace}",
                kind.to_ascii_lowercase()
            ),
        ),
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

    /// Who is named, whether it refuses, and what is to be done.
    fn one(metadata: Value) -> String {
        let mut found = found(&metadata, false);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    fn owned_by(version: &str, kind: &str, controller: Value) -> Value {
        json!({"ownerReferences": [
            {"apiVersion": version, "kind": kind, "name": "pay", "uid": "1", "controller": controller},
        ]})
    }

    #[test]
    fn a_controller_that_made_the_object_is_named_with_what_to_tell_it() {
        for (version, kind, who, fix) in [
            (
                "flagger.app/v1beta1",
                "Canary",
                "Flagger",
                "let it shift them, or suspend it: kubectl patch canary.flagger.app pay -n shop --type merge -p '{\"spec\":{\"suspend\":true}}'",
            ),
            (
                "networking.internal.knative.dev/v1alpha1",
                "Ingress",
                "Knative",
                "kubectl edit ksvc -n shop",
            ),
            (
                "serving.kserve.io/v1beta1",
                "InferenceService",
                "KServe",
                "kubectl edit inferenceservice pay -n shop",
            ),
            (
                "acme.example/v1",
                "Shop",
                "Shop pay",
                "kubectl edit shop pay -n shop",
            ),
        ] {
            let said = one(owned_by(version, kind, json!(true)));
            let what = format!(
                "refuse: {who} owns virtualservice shop/reviews (metadata.ownerReferences: {kind} pay): "
            );
            assert!(said.starts_with(&what), "{said}");
            assert!(
                said.ends_with(&format!("{fix}, then --ignore-owner)")),
                "{said}"
            );
        }
        // Who only wants to be deleted together with it does not control it.
        assert!(found(&owned_by("acme.example/v1", "Shop", json!(false)), false).is_empty());
    }

    #[test]
    fn a_controller_is_known_by_its_marks_as_well() {
        for (metadata, expected) in [
            (
                json!({"labels": {"app.kubernetes.io/managed-by": "flagger"}, "annotations": {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}}),
                "refuse: Flagger owns virtualservice shop/reviews (label app.kubernetes.io/managed-by: flagger)",
            ),
            (
                json!({"managedFields": [{"manager": "flagger", "operation": "Update"}]}),
                "refuse: Flagger owns virtualservice shop/reviews (manager flagger)",
            ),
            (
                json!({"labels": {"serving.knative.dev/route": "pay"}}),
                "refuse: Knative owns virtualservice shop/reviews (label serving.knative.dev/route: pay)",
            ),
            (
                json!({"labels": {"serving.kserve.io/inferenceservice": "pay"}}),
                "refuse: KServe owns virtualservice shop/reviews (label serving.kserve.io/inferenceservice: pay)",
            ),
            (
                json!({"managedFields": [{"manager": "rollouts-controller", "operation": "Update"}]}),
                "refuse: Argo Rollouts sets the weights of virtualservice shop/reviews (manager rollouts-controller)",
            ),
            (
                json!({"labels": {"argocd.argoproj.io/instance": "shop"}}),
                "refuse: Argo CD owns virtualservice shop/reviews (label argocd.argoproj.io/instance: shop)",
            ),
            (
                json!({"managedFields": [{"manager": "argocd-application-controller"}]}),
                "refuse: Argo CD owns virtualservice shop/reviews (manager argocd-application-controller)",
            ),
            (
                json!({"managedFields": [{"manager": "helm", "operation": "Update"}]}),
                "warn: Helm owns virtualservice shop/reviews (manager helm)",
            ),
            (
                json!({"managedFields": [{"manager": "kubectl", "operation": "Apply"}]}),
                "warn: virtualservice shop/reviews was written by kubectl apply (manager kubectl, operation Apply)",
            ),
        ] {
            let said = one(metadata);
            assert!(said.starts_with(&format!("{expected}: ")), "{said}");
        }
        let edited = json!({"managedFields": [{"manager": "kubectl", "operation": "Update"}]});
        assert!(found(&edited, false).is_empty(), "an edit is no apply");
    }

    #[test]
    fn argo_rollouts_is_known_by_the_rule_of_the_versions() {
        let mut facts = facts();
        facts.rules[0]["metadata"]["annotations"] =
            json!({"argo-rollouts.argoproj.io/managed-by-rollouts": "pay"});
        assert_eq!(
            told(check(&facts)),
            [
                "refuse: Argo Rollouts sets the weights of virtualservice shop/reviews (annotation argo-rollouts.argoproj.io/managed-by-rollouts: pay of DestinationRule shop/reviews): it sets them again at every step of its own, and whenever it finds others (try: let it shift them: kubectl argo rollouts get rollout pay -n shop; or remove spec.strategy.canary.trafficRouting of Rollout pay, then --ignore-owner)"
            ]
        );
    }
}
