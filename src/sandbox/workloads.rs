//! Deployments, their pods, and the bookkeeping the cluster's own controllers would do.

use serde_json::{Value, json};

use super::api::kinds::ResourceKind;
use super::api::selector::ObjectSelector;
use super::resolve::is_ready;
use super::setup::Setup;

/// Pods chosen by namespace and labels, to be made ready, broken or deleted.
pub struct Pods<'s, 'w> {
    stage: &'s mut Setup<'w>,
    chosen: Vec<Value>,
}

impl<'s, 'w> Pods<'s, 'w> {
    /// Chooses pods by a label selector (`version=v2`).
    ///
    /// # Panics
    /// If the selector cannot be parsed.
    pub(crate) fn new(stage: &'s mut Setup<'w>, namespace: &str, selector: &str) -> Self {
        let selector =
            ObjectSelector::parse(selector, "").expect("a set-up names a valid selector");
        let chosen = stage.list("pods", namespace, &selector);
        Self { stage, chosen }
    }

    /// Makes them ready, or not.
    pub fn ready(&mut self, ready: bool) {
        self.change(|pod| {
            set_ready(pod, ready);
            for container in containers(pod) {
                container["ready"] = json!(ready);
            }
        });
    }

    /// Their application has crashed once more and waits to be started again; the proxy runs on.
    pub fn crash(&mut self) {
        self.change(|pod| {
            set_ready(pod, false);
            if let Some(container) = containers(pod).first_mut() {
                container["ready"] = json!(false);
                add_restart(container);
                container["state"] = json!({"waiting": {
                    "reason": "CrashLoopBackOff",
                    "message": "back-off 10s restarting failed container",
                }});
                container["lastState"] = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
            }
        });
    }

    /// All their containers have restarted and are ready: the proxies count from zero.
    pub fn restart(&mut self) {
        self.change(|pod| {
            set_ready(pod, true);
            for container in containers(pod) {
                container["ready"] = json!(true);
                add_restart(container);
                container["state"] = json!({"running": {}});
            }
        });
    }

    /// Deletes them, and no new ones are started.
    pub fn delete(&mut self) {
        for pod in std::mem::take(&mut self.chosen) {
            self.stage
                .delete("pods", text(&pod, "namespace"), text(&pod, "name"));
        }
    }

    fn change(&mut self, edit: impl Fn(&mut Value)) {
        for pod in &mut self.chosen {
            edit(pod);
            self.stage.apply(pod.clone());
        }
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn containers(pod: &mut Value) -> &mut [Value] {
    pod["status"]["containerStatuses"]
        .as_array_mut()
        .map_or(&mut [], Vec::as_mut_slice)
}

fn set_ready(pod: &mut Value, ready: bool) {
    let status = if ready { "True" } else { "False" };
    pod["status"]["conditions"] = json!([
        {"type": "PodScheduled", "status": "True"},
        {"type": "Initialized", "status": "True"},
        {"type": "ContainersReady", "status": status},
        {"type": "Ready", "status": status},
    ]);
}

fn add_restart(container: &mut Value) {
    let restarts = container["restartCount"].as_u64().unwrap_or(0);
    container["restartCount"] = json!(restarts + 1);
}

/// A Deployment to be created with its ReplicaSet and ready pods.
#[derive(Clone, Debug)]
pub struct Deployment<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name, the workload's name in the metrics.
    pub name: &'a str,
    /// The label `app`, by which the Service selects.
    pub app: &'a str,
    /// The label `version`, by which the subset selects.
    pub version: &'a str,
    /// How many pods there are.
    pub replicas: usize,
}

impl Deployment<'_> {
    /// Creates the Deployment, its ReplicaSet and its pods, all ready.
    pub fn put_on(&self, stage: &mut Setup<'_>) {
        let hash = format!("{:x}", fnv(self.name));
        let set = format!("{}-{hash}", self.name);
        let labels = json!({"app": self.app, "version": self.version});
        let mut pod_labels = labels.clone();
        pod_labels["pod-template-hash"] = json!(hash);
        let containers = json!([
            {"name": self.app, "image": format!("registry.example/{}:{}", self.app, self.version)},
            {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.31.0"},
        ]);
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": containers}});
        let deployment = stage.apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"namespace": self.namespace, "name": self.name, "labels": labels},
            "spec": {"replicas": self.replicas, "selector": {"matchLabels": labels}, "template": template},
        }));
        let set = stage.apply(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "namespace": self.namespace, "name": set, "labels": pod_labels,
                "ownerReferences": [owner(&deployment)],
            },
            "spec": {"replicas": self.replicas, "selector": {"matchLabels": pod_labels}, "template": template},
        }));
        for i in 0..self.replicas {
            let address = stage.next_address();
            let mut pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "namespace": self.namespace,
                    "name": format!("{}-{}", text(&set, "name"), suffix(i)),
                    "labels": pod_labels, "ownerReferences": [owner(&set)],
                },
                "spec": {"containers": containers, "nodeName": "sandbox"},
                "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "containerStatuses": [
                    {"name": self.app, "ready": true, "restartCount": 0, "state": {"running": {}}},
                    {"name": "istio-proxy", "ready": true, "restartCount": 0, "state": {"running": {}}},
                ]},
            });
            set_ready(&mut pod, true);
            stage.apply(pod);
        }
    }
}

fn owner(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"],
        "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A number that is the same for the same name, as the hash of a pod template is.
fn fnv(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// Five letters, as pods of a ReplicaSet have them, but the same every time.
fn suffix(i: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz";
    let mut number = i * 7919 + 104_729;
    (0..5)
        .map(|_| {
            let letter = LETTERS[number % LETTERS.len()];
            number /= LETTERS.len();
            char::from(letter)
        })
        .collect()
}

/// Brings EndpointSlices and the status of Deployments and ReplicaSets in line with the pods.
pub(crate) fn reconcile(stage: &mut Setup<'_>) {
    let every = ObjectSelector::default();
    for service in stage.list_all("services", &every) {
        let Some(labels) = service["spec"]["selector"].as_object() else {
            continue;
        };
        let pods = stage.list(
            "pods",
            text(&service, "namespace"),
            &ObjectSelector::of_labels(labels),
        );
        let endpoints: Vec<Value> = pods
            .iter()
            .filter(|pod| pod["status"]["podIP"].is_string())
            .map(|pod| {
                let ready = is_ready(pod);
                json!({
                    "addresses": [pod["status"]["podIP"]],
                    "conditions": {"ready": ready, "serving": ready, "terminating": false},
                    "targetRef": {
                        "kind": "Pod", "namespace": pod["metadata"]["namespace"],
                        "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
                    },
                })
            })
            .collect();
        let name = text(&service, "name");
        stage.apply(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "namespace": service["metadata"]["namespace"], "name": format!("{name}-1"),
                "labels": {"kubernetes.io/service-name": name},
                "ownerReferences": [owner(&service)],
            },
            "addressType": "IPv4", "endpoints": endpoints, "ports": service["spec"]["ports"].as_array().map(|ports| {
                ports.iter().map(|port| json!({"name": port["name"], "port": port["port"], "protocol": "TCP"})).collect::<Vec<_>>()
            }),
        }));
    }
    for plural in ["deployments", "replicasets"] {
        for mut workload in stage.list_all(plural, &every) {
            let Some(labels) = workload["spec"]["selector"]["matchLabels"].as_object() else {
                continue;
            };
            let pods = stage.list(
                "pods",
                text(&workload, "namespace"),
                &ObjectSelector::of_labels(labels),
            );
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            let mut status = json!({
                "replicas": pods.len(), "readyReplicas": ready, "availableReplicas": ready,
                "observedGeneration": workload["metadata"]["generation"],
            });
            if plural == "deployments" {
                status["updatedReplicas"] = json!(pods.len());
                let available = if ready > 0 || pods.is_empty() {
                    "True"
                } else {
                    "False"
                };
                status["conditions"] = json!([{"type": "Available", "status": available}]);
            }
            if workload["status"] != status {
                workload["status"] = status;
                stage.apply(workload);
            }
        }
    }
}

/// Whether a change of this kind calls for [`reconcile`].
pub(crate) fn concerns(kind: &str) -> bool {
    ["pods", "services", "deployments", "replicasets"].contains(&kind)
        && ResourceKind::by_plural(kind).is_some()
}
