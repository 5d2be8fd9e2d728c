//! What an owner does to the weights, and what to tell it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::marks::{Controller, Owner, Syncer};
use crate::istio::{RouteKind, VirtualService};

/// What is to be said of an owner.
pub(super) struct Advice {
    pub what: String,
    pub why: &'static str,
    pub fix: String,
    /// What to set on the controller; there is nothing to set on a person's tool.
    pub snippet: Option<Value>,
    /// Whether it puts the weights back by itself, without anybody doing anything.
    pub acts_alone: bool,
}

pub(super) fn advice(vs: &VirtualService, kinds: &[RouteKind], owner: &Owner) -> Advice {
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
        Owner::Syncer { syncer, mark } => {
            let (who, why, fix, acts_alone) = of_syncer(*syncer);
            Advice {
                what: owns(who, mark),
                why,
                fix: fix.to_owned(),
                snippet: None,
                acts_alone,
            }
        }
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

/// What such a tool is called, what it does to weights, what to tell it, and whether it acts by itself.
fn of_syncer(syncer: Syncer) -> (&'static str, &'static str, &'static str, bool) {
    match syncer {
        Syncer::ConfigSync => (
            "Config Sync",
            "it restores the weights of Git within seconds",
            "annotation client.lifecycle.config.k8s.io/mutation: ignore on it in Git",
            true,
        ),
        Syncer::Fleet => (
            "Fleet",
            "its next deployment restores the weights of Git (with correctDrift at once)",
            "diff.comparePatches for its weights in fleet.yaml, and no correctDrift",
            true,
        ),
        Syncer::Kapp => (
            "kapp",
            "its next deployment restores the weights of the file (kapp-controller's within minutes)",
            "a rebaseRule for its weights in kapp's Config",
            true,
        ),
        Syncer::Crossplane => (
            "Crossplane",
            "it restores the weights of its manifest within minutes",
            "spec.managementPolicies without Update in its Object",
            true,
        ),
        Syncer::Terraform => (
            "Terraform",
            "the next apply restores the weights of its configuration",
            "no terraform apply until the rollout has ended; or computed_fields with its weights",
            false,
        ),
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
