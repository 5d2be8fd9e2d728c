//! The pods of a version, as Istio's metrics name them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

/// The pods of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workloads {
    /// Names as Istio puts them into `destination_workload`.
    pub names: BTreeSet<String>,
    /// Values of the pods' `version` label, as in `destination_version`.
    pub versions: BTreeSet<String>,
    /// Pods there are.
    pub pods: usize,
    /// Pods that are ready.
    pub ready: usize,
    /// Pods that cannot stay up.
    pub crashing: usize,
    /// When the youngest of them started.
    pub youngest: Option<Timestamp>,
}

impl Workloads {
    /// What these pods are together.
    pub(crate) fn of<'p>(pods: impl IntoIterator<Item = &'p Pod>) -> Self {
        let mut found = Self::default();
        for pod in pods {
            found.pods += 1;
            let labels = pod.metadata.labels.as_ref();
            if let Some(name) = workload_name(pod) {
                found.names.insert(name);
            }
            if let Some(version) = labels.and_then(|labels| labels.get("version")) {
                found.versions.insert(version.clone());
            }
            found.youngest = found.youngest.max(started(pod));
            found.ready += usize::from(is_ready(pod));
            found.crashing += usize::from(is_crashing(pod));
        }
        found
    }

    /// Whether there are pods and none of them can take a request.
    pub fn is_down(&self) -> bool {
        self.ready == 0
    }
}

/// The workload as Istio names it: the owner, and for a ReplicaSet of a Deployment that Deployment.
pub(crate) fn workload_name(pod: &Pod) -> Option<String> {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let Some(owner) = owners
        .iter()
        .find(|owner| owner.controller == Some(true))
        .or(owners.first())
    else {
        return pod.metadata.name.clone();
    };
    let hash = pod
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get("pod-template-hash"));
    match hash.and_then(|hash| owner.name.strip_suffix(&format!("-{hash}"))) {
        Some(deployment) if owner.kind == "ReplicaSet" => Some(deployment.to_owned()),
        _ => Some(owner.name.clone()),
    }
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
}
