//! The Deployment of stable, and one like it for the canary.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::{Value, json};

use super::{Labels, ScaffoldError, VersionLabels, WantedCanary};
use crate::preflight::proposal::name_part;
use crate::preflight::proposal::object;
use crate::preflight::rules::name_of;
use crate::preflight::version::written;

/// Containers that are injected, and never the one whose image is rolled out.
const PROXY: &str = "istio-proxy";

/// Keys by which programs know the objects they own, or keep their books; a copy is not theirs.
const OF_TOOLS: [&str; 9] = [
    "kubectl.kubernetes.io/",
    "deployment.kubernetes.io/",
    "meta.helm.sh/",
    "helm.sh/",
    "argocd.argoproj.io/",
    "app.kubernetes.io/managed-by",
    // Argo CD's label for what it tracks, unless it is told otherwise.
    "app.kubernetes.io/instance",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
];

/// What the API server writes where nothing was said, by its place in a container.
const CONTAINER_DEFAULTS: [(&str, &str); 2] = [
    ("terminationMessagePath", "/dev/termination-log"),
    ("terminationMessagePolicy", "File"),
];

/// The Deployment that runs stable.
pub(super) struct StableDeployment<'f> {
    object: &'f Value,
    container: usize,
}

/// A Deployment yet to be applied.
pub(super) struct Copy {
    pub object: Value,
}

impl Copy {
    pub fn name(&self) -> &str {
        name_of(&self.object).1
    }
}

impl<'f> StableDeployment<'f> {
    /// The Deployment whose pods carry these labels, or the one that was named.
    pub fn running(
        deployments: &'f [Value],
        labels: &Labels,
        wanted: &WantedCanary,
    ) -> Result<Self, ScaffoldError> {
        let object = match &wanted.deployment {
            Some(name) => deployments
                .iter()
                .find(|deployment| name_of(deployment).1 == name)
                .ok_or_else(|| ScaffoldError::NoSuchDeployment(name.clone()))?,
            None => {
                let running = deployments
                    .iter()
                    .filter(|deployment| replicas(deployment) > 0 && carries(deployment, labels));
                let running: Vec<_> = running.collect();
                match running.as_slice() {
                    [] => return Err(ScaffoldError::NoDeployment(written(labels))),
                    [one] => *one,
                    [first, ..] => {
                        let names: Vec<_> = running.iter().map(|one| name_of(one).1).collect();
                        return Err(ScaffoldError::SeveralDeployments {
                            labels: written(labels),
                            names: names.join(", "),
                            first: name_of(first).1.to_owned(),
                        });
                    }
                }
            }
        };
        let container = container_of(object, wanted.container.as_deref())?;
        Ok(Self { object, container })
    }

    pub fn name(&self) -> &'f str {
        name_of(self.object).1
    }

    pub fn namespace(&self) -> &'f str {
        name_of(self.object).0
    }

    /// What its pods carry.
    pub fn labels(&self) -> Labels {
        labels_of(self.object)
    }

    pub fn image(&self) -> &'f str {
        image_of(self.object, self.container)
    }

    /// The same for the canary; `None` where that is there already with the image that is wanted.
    pub fn like(
        &self,
        deployments: &[Value],
        labels: &Labels,
        versions: &VersionLabels,
        wanted: &WantedCanary,
    ) -> Result<Option<Copy>, ScaffoldError> {
        let version = &versions.canary;
        let name = self.name_for(versions);
        let is_it = |other: &&Value| name_of(other).1 == name || carries(other, labels);
        if let Some(other) = deployments.iter().find(is_it) {
            let container = container_of(other, wanted.container.as_deref()).unwrap_or(0);
            let image = image_of(other, container);
            if image == wanted.image && carries(other, labels) {
                return Ok(None);
            }
            return Err(ScaffoldError::Exists {
                name: name_of(other).1.to_owned(),
                version: version.clone(),
                image: image.to_owned(),
                container: self.container_name().to_owned(),
                wanted: wanted.image.clone(),
            });
        }
        let mut spec = self.object["spec"].clone();
        without_defaults(&mut spec, self.image());
        let template = &mut spec["template"];
        template["spec"]["containers"][self.container]["image"] = json!(wanted.image);
        template["metadata"]["labels"][&versions.key] = json!(version);
        spec["selector"]["matchLabels"][&versions.key] = json!(version);
        let (namespace, old) = name_of(self.object);
        let mut copy = object("apps/v1", "Deployment", namespace, &name, &spec);
        for key in ["labels", "annotations"] {
            let Some(Value::Object(mut kept)) = self.object["metadata"].get(key).cloned() else {
                continue;
            };
            kept.retain(|key, _| !is_a_tools(key));
            if let Some(value) = kept.get_mut(&versions.key) {
                *value = json!(version);
            }
            // Some write a Deployment's own name into its labels.
            for value in kept.values_mut().filter(|value| **value == json!(old)) {
                *value = json!(name);
            }
            if !kept.is_empty() {
                copy["metadata"][key] = Value::Object(kept);
            }
        }
        Ok(Some(Copy { object: copy }))
    }

    /// What scales stable, for the canary called `name`.
    pub fn autoscalers(&self, scalers: &[HorizontalPodAutoscaler], name: &str) -> Vec<Value> {
        let is_its = |scaler: &&HorizontalPodAutoscaler| {
            let target = &scaler.spec.scale_target_ref;
            target.kind == "Deployment" && target.name == self.name()
        };
        let scalers = scalers.iter().filter(is_its);
        scalers
            .map(|scaler| {
                let own = scaler.metadata.name.as_deref().unwrap_or_default();
                let called = match own.contains(self.name()) {
                    true => own.replace(self.name(), name),
                    false => name.to_owned(),
                };
                let mut spec = json!(scaler.spec);
                spec["scaleTargetRef"]["name"] = json!(name);
                let kind = "HorizontalPodAutoscaler";
                object("autoscaling/v2", kind, self.namespace(), &called, &spec)
            })
            .collect()
    }

    /// Stable's name with the canary's version in place of stable's, or behind it.
    fn name_for(&self, versions: &VersionLabels) -> String {
        let (name, canary) = (self.name(), name_part(&versions.canary));
        let ending = format!("-{}", name_part(&versions.stable));
        let stem = name.strip_suffix(&ending).unwrap_or(name);
        format!("{stem}-{canary}")
    }

    fn container_name(&self) -> &'f str {
        let name = containers(self.object).nth(self.container);
        name.and_then(|container| container["name"].as_str())
            .unwrap_or_default()
    }
}

fn is_a_tools(key: &str) -> bool {
    OF_TOOLS.iter().any(|tools| key.starts_with(tools))
}

fn replicas(deployment: &Value) -> u64 {
    // Absent means 1.
    deployment["spec"]["replicas"].as_u64().unwrap_or(1)
}

fn labels_of(deployment: &Value) -> Labels {
    let labels = deployment.pointer("/spec/template/metadata/labels");
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    labels
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn carries(deployment: &Value, labels: &Labels) -> bool {
    let carried = labels_of(deployment);
    labels
        .iter()
        .all(|(key, value)| carried.get(key) == Some(value))
}

fn containers(deployment: &Value) -> impl Iterator<Item = &Value> {
    let containers = deployment.pointer("/spec/template/spec/containers");
    containers.and_then(Value::as_array).into_iter().flatten()
}

fn image_of(deployment: &Value, container: usize) -> &str {
    let container = containers(deployment).nth(container);
    container
        .and_then(|container| container["image"].as_str())
        .unwrap_or_default()
}

/// The container that was named, or the only one beside the proxy.
fn container_of(deployment: &Value, wanted: Option<&str>) -> Result<usize, ScaffoldError> {
    let names: BTreeMap<usize, &str> = containers(deployment)
        .map(|container| container["name"].as_str().unwrap_or_default())
        .enumerate()
        .filter(|(_, name)| *name != PROXY)
        .collect();
    let name = name_of(deployment).1.to_owned();
    let first = names
        .values()
        .next()
        .copied()
        .unwrap_or_default()
        .to_owned();
    let all = names.values().copied().collect::<Vec<_>>().join(", ");
    let found = match wanted {
        Some(wanted) => names.iter().find(|(_, name)| **name == wanted),
        None if names.len() == 1 => names.iter().next(),
        None => {
            return Err(ScaffoldError::SeveralContainers {
                deployment: name,
                names: all,
                first,
            });
        }
    };
    match (found, wanted) {
        (Some((index, _)), _) => Ok(*index),
        (None, wanted) => Err(ScaffoldError::NoSuchContainer {
            deployment: name,
            name: wanted.unwrap_or_default().to_owned(),
            names: all,
            first,
        }),
    }
}

/// Takes out what the API server filled in, so that what is left is what somebody wrote.
fn without_defaults(spec: &mut Value, image: &str) {
    let pull = match image.ends_with(":latest")
        || !image
            .rsplit('/')
            .next()
            .is_some_and(|name| name.contains([':', '@']))
    {
        true => "Always",
        false => "IfNotPresent",
    };
    drop_equal(
        spec,
        &[
            ("revisionHistoryLimit", json!(10)),
            ("progressDeadlineSeconds", json!(600)),
            (
                "strategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}),
            ),
            ("paused", json!(true)),
        ],
    );
    drop_passing(&mut spec["template"]["metadata"]);
    let pod = &mut spec["template"]["spec"];
    drop_equal(
        pod,
        &[
            ("dnsPolicy", json!("ClusterFirst")),
            ("restartPolicy", json!("Always")),
            ("schedulerName", json!("default-scheduler")),
            ("securityContext", json!({})),
            ("terminationGracePeriodSeconds", json!(30)),
        ],
    );
    if let Some(account) = pod.get("serviceAccountName").cloned() {
        drop_equal(pod, &[("serviceAccount", account)]);
    }
    for list in ["containers", "initContainers"] {
        for container in pod
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let defaults = CONTAINER_DEFAULTS.map(|(key, value)| (key, json!(value)));
            drop_equal(container, &defaults);
            drop_equal(
                container,
                &[("imagePullPolicy", json!(pull)), ("resources", json!({}))],
            );
            for port in container
                .get_mut("ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                drop_equal(port, &[("protocol", json!("TCP"))]);
            }
        }
    }
}

/// What is of one time of the pods, and not of their template.
fn drop_passing(metadata: &mut Value) {
    drop_equal(metadata, &[("creationTimestamp", Value::Null)]);
    let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    annotations.remove("kubectl.kubernetes.io/restartedAt");
    if annotations.is_empty() {
        drop_equal(metadata, &[("annotations", json!({}))]);
    }
}

fn drop_equal(object: &mut Value, defaults: &[(&str, Value)]) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    for (key, value) in defaults {
        if fields.get(*key) == Some(value) {
            fields.remove(*key);
        }
    }
}
