//! The pods of a version, as Istio's metrics name them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

/// The container that Istio puts beside those of the workload.
const PROXY: &str = "istio-proxy";

/// The pods of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workloads {
    /// Names as Istio puts them into `destination_workload`.
    pub names: BTreeSet<String>,
    /// Values of the pods' `version` label, as in `destination_version`.
    pub versions: BTreeSet<String>,
    /// The images of their containers, without those of the mesh's own proxy.
    pub images: BTreeSet<String>,
    /// Pods there are.
    pub pods: usize,
    /// Pods that are ready.
    pub ready: usize,
    /// Pods that cannot stay up.
    pub crashing: usize,
    /// When the youngest of those that are ready started.
    pub youngest: Option<Timestamp>,
}

impl Workloads {
    /// What these pods are together.
    pub(crate) fn of<'p>(pods: impl IntoIterator<Item = &'p Pod>) -> Self {
        let mut found = Self::default();
        for pod in pods {
            found.pods += 1;
            let labels = pod.metadata.labels.as_ref();
            found.names.extend(workload_names(pod));
            found.images.extend(images(pod));
            if let Some(version) = labels.and_then(|labels| labels.get("version")) {
                found.versions.insert(version.clone());
            }
            if is_ready(pod) {
                found.ready += 1;
                found.youngest = found.youngest.max(started(pod));
            }
            found.crashing += usize::from(is_crashing(pod));
        }
        found
    }

    /// Whether there is no pod that can take a request.
    pub fn is_down(&self) -> bool {
        self.ready == 0
    }
}

/// The workload under every name that a version of Istio gives it, the newest's first.
///
/// As `GetDeployMetaFromPod` and `GetWorkloadMetaFromPod` of istio/istio have it: the controller's own
/// name, of which only these are taken further: a ReplicaSet of a Deployment or, since Istio 1.22, of an
/// Argo Rollout; a ReplicationController of OpenShift's DeploymentConfig; a Job of a CronJob. Since 1.25 a
/// label names the workload before all that.
pub(crate) fn workload_names(pod: &Pod) -> Vec<String> {
    let label = |name: &str| pod.metadata.labels.as_ref()?.get(name).cloned();
    let mut names = Vec::from_iter(label("service.istio.io/workload-name"));
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let Some(owner) = owners
        .iter()
        .find(|owner| owner.controller == Some(true))
        .or(owners.first())
    else {
        names.extend(pod.metadata.name.clone());
        return names;
    };
    let without = |hash: Option<String>| {
        let name = owner.name.strip_suffix(&format!("-{}", hash?))?;
        (!name.is_empty()).then(|| name.to_owned())
    };
    let further = match owner.kind.as_str() {
        "ReplicaSet" => match without(label("pod-template-hash")) {
            // Every version of Istio knows a Deployment.
            Some(deployment) => {
                names.push(deployment);
                return names;
            }
            None => without(label("rollouts-pod-template-hash")),
        },
        "ReplicationController" => label("deploymentconfig"),
        "Job" => cron_job(&owner.name).map(str::to_owned),
        _ => None,
    };
    names.extend(further);
    // Versions that know less of it stop at the owner.
    names.push(owner.name.clone());
    names
}

/// What a pod's template belongs to, as kubectl names it: `deployment reviews-v1`. None of a pod that was made
/// by hand, or by what has no template of its own.
pub(crate) fn template_owner(pod: &Pod) -> Option<(&'static str, String)> {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true));
    let owner = owner.or(owners.first())?;
    let labels = pod.metadata.labels.as_ref();
    let label = |name: &str| labels.and_then(|labels| labels.get(name));
    let without = |hash: &str| {
        let name = owner.name.strip_suffix(&format!("-{}", label(hash)?))?;
        (!name.is_empty()).then(|| name.to_owned())
    };
    match owner.kind.as_str() {
        "ReplicaSet" => match (
            without("pod-template-hash"),
            without("rollouts-pod-template-hash"),
        ) {
            (Some(deployment), _) => Some(("deployment", deployment)),
            (None, Some(rollout)) => Some(("rollout", rollout)),
            (None, None) => Some(("replicaset", owner.name.clone())),
        },
        "ReplicationController" => match label("deploymentconfig") {
            Some(config) => Some(("deploymentconfig", config.clone())),
            None => Some(("replicationcontroller", owner.name.clone())),
        },
        "StatefulSet" => Some(("statefulset", owner.name.clone())),
        "DaemonSet" => Some(("daemonset", owner.name.clone())),
        _ => None,
    }
}

/// The CronJob of a Job, whose name ends in the minute or the second of its run.
fn cron_job(job: &str) -> Option<&str> {
    let (name, time) = job.rsplit_once('-')?;
    let is_time = (8..=10).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit());
    (is_time && !name.is_empty()).then_some(name)
}

/// The images of a pod's containers but the proxy's.
fn images(pod: &Pod) -> impl Iterator<Item = String> + '_ {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .filter(|container| container.name != PROXY)
        .filter_map(|container| container.image.clone())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

fn started(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    status.start_time.as_ref().map(|time| time.0)
}

fn is_crashing(pod: &Pod) -> bool {
    let containers = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default();
    containers.iter().any(|container| {
        let waiting = container
            .state
            .as_ref()
            .and_then(|state| state.waiting.as_ref());
        waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(owner: &str, hash: &str, ready: &str, waiting: Option<&str>) -> Pod {
        let state = waiting.map_or(
            json!({"running": {}}),
            |reason| json!({"waiting": {"reason": reason}}),
        );
        serde_json::from_value(json!({
            "metadata": {
                "name": "p",
                "labels": {"version": "risky", "pod-template-hash": hash},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": "1", "controller": true}],
            },
            "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn pods_tell_the_names_that_metrics_use() {
        let found = Workloads::of(&[
            pod("staff-risky-6f7", "6f7", "True", None),
            pod("staff-risky-6f7", "6f7", "False", Some("CrashLoopBackOff")),
        ]);
        assert_eq!(found.names, BTreeSet::from(["staff-risky".to_owned()]));
        assert_eq!(found.versions, BTreeSet::from(["risky".to_owned()]));
        assert_eq!((found.pods, found.ready, found.crashing), (2, 1, 1));
        assert!(!found.is_down());
    }

    #[test]
    fn a_workload_has_the_name_that_istio_gives_it() {
        let names = |owner: Option<(&str, &str)>, labels: serde_json::Value| {
            let owner = owner.map(|(kind, name)| {
                json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "1", "controller": true}])
            });
            let metadata = json!({"name": "p-x7f", "labels": labels, "ownerReferences": owner});
            workload_names(&serde_json::from_value(json!({"metadata": metadata})).unwrap())
        };
        for (owner, labels, expected) in [
            (None, json!({}), vec!["p-x7f"]),
            (
                Some(("ReplicaSet", "web-6f7")),
                json!({"pod-template-hash": "6f7"}),
                vec!["web"],
            ),
            // Since 1.22; before, Istio did not know Argo Rollouts.
            (
                Some(("ReplicaSet", "web-6f7")),
                json!({"rollouts-pod-template-hash": "6f7"}),
                vec!["web", "web-6f7"],
            ),
            (Some(("ReplicaSet", "web-6f7")), json!({}), vec!["web-6f7"]),
            (
                Some(("ReplicationController", "web-3")),
                json!({"deploymentconfig": "web"}),
                vec!["web", "web-3"],
            ),
            (
                Some(("Job", "nightly-28912345")),
                json!({}),
                vec!["nightly", "nightly-28912345"],
            ),
            (Some(("Job", "once")), json!({}), vec!["once"]),
            (Some(("StatefulSet", "db")), json!({}), vec!["db"]),
            (
                Some(("ReplicaSet", "web-6f7")),
                json!({"pod-template-hash": "6f7", "service.istio.io/workload-name": "shop-web"}),
                vec!["shop-web", "web"],
            ),
        ] {
            assert_eq!(names(owner, labels), expected, "{owner:?}");
        }
    }
}
