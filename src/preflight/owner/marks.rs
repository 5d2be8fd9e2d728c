//! By what an owner is known: what the real controllers leave on the object.

use serde_json::Value;

use super::super::rules::{name_of, rules_of};
use super::Facts;
use crate::istio::VirtualService;

/// A controller or tool that owns the object, and how that shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
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
    /// What writes whole objects from elsewhere, and knows nothing of weights.
    Syncer {
        syncer: Syncer,
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
pub(super) enum Controller {
    Flagger,
    Knative,
    KServe,
    Other { kind: String },
}

/// A tool that makes objects as they are written elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syncer {
    ConfigSync,
    Fleet,
    Kapp,
    Crossplane,
    Terraform,
}

/// Such a tool, by what it leaves on the object.
fn syncer_of(vs: &VirtualService) -> Option<Owner> {
    let found = |syncer, mark| Some(Owner::Syncer { syncer, mark });
    const CONFIG_SYNC: &str = "configmanagement.gke.io/managed";
    if vs.annotation(CONFIG_SYNC) == Some("enabled") {
        return found(
            Syncer::ConfigSync,
            format!("annotation {CONFIG_SYNC}: enabled"),
        );
    }
    const FLEET: &str = "objectset.rio.cattle.io/id";
    if let Some(id) = vs.annotation(FLEET) {
        return found(Syncer::Fleet, format!("annotation {FLEET}: {id}"));
    }
    const KAPP: &str = "kapp.k14s.io/app";
    if let Some(app) = text(vs, "labels", KAPP) {
        return found(Syncer::Kapp, format!("label {KAPP}: {app}"));
    }
    let mut names = managers(vs).map(|(name, _)| name);
    names.find_map(|name| {
        let mark = || format!("manager {name}");
        match name {
            "Terraform" | "HashiCorp" => found(Syncer::Terraform, mark()),
            name if name.starts_with("crossplane-kubernetes-provider") => {
                found(Syncer::Crossplane, mark())
            }
            _ => None,
        }
    })
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
pub(super) fn argo_rollouts(facts: &Facts) -> Option<Owner> {
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
    // Without a DestinationRule its versions are Services, and these are marked.
    let services = facts.versions().map(|version| &version.service);
    let marked = services.into_iter().flatten().find_map(|service| {
        let annotations = service.metadata.annotations.as_ref()?;
        Some((&service.metadata, annotations.get(MANAGED)?))
    });
    if let Some((service, rollout)) = marked {
        let (namespace, name) = (&service.namespace, &service.name);
        return Some(Owner::ArgoRollouts {
            rollout: Some(rollout.clone()),
            mark: format!(
                "annotation {MANAGED}: {rollout} of Service {}/{}",
                namespace.as_deref().unwrap_or_default(),
                name.as_deref().unwrap_or_default()
            ),
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
pub(super) fn owner_of(vs: &VirtualService) -> Option<Owner> {
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
    if let Some(syncer) = syncer_of(vs) {
        return Some(syncer);
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
pub(super) fn flux_is_told(vs: &VirtualService) -> Option<String> {
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
