use serde_json::{Value, json};

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
