//! From a version as routes name it to its pods, and from them to the labels in its metrics.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::core::ObjectList;
use kube::core::Request;
use kube::core::params::{GetParams, ListParams};

use super::{CallError, Cluster, ErrorKind, Subset};
use crate::istio::Destination;

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

impl Cluster {
    /// The pods behind a destination: those of its Service that carry the subset's labels.
    ///
    /// RBAC: `get` on `services`, `list` on `pods`.
    ///
    /// # Errors
    /// See [`CallError`]; a host that is no Service of the cluster has no pods to look at, and a
    /// Service without a selector none that can be told: both are empty, not errors.
    pub async fn workloads(
        &self,
        destination: &Destination,
        subsets: &[Subset],
    ) -> Result<Workloads, CallError> {
        let Some((service, namespace)) = destination.host.service() else {
            return Ok(Workloads::default());
        };
        let service = self.service(namespace, service).await?;
        let selector = service.and_then(|service| service.spec?.selector);
        let Some(mut labels) = selector.filter(|labels| !labels.is_empty()) else {
            return Ok(Workloads::default());
        };
        if let Some(name) = &destination.subset {
            let subset = subsets
                .iter()
                .find(|subset| subset.host == destination.host && subset.name == *name);
            labels.extend(
                subset
                    .map(|subset| subset.labels.clone())
                    .unwrap_or_default(),
            );
        }
        self.pods(namespace, &labels).await
    }

    /// The pods that carry these labels.
    ///
    /// RBAC: `list` on `pods`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn pods(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Workloads, CallError> {
        Ok(Workloads::of(&self.pod_list(namespace, labels).await?))
    }

    /// The pods that carry these labels, as received.
    ///
    /// RBAC: `list` on `pods`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn pod_list(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<Pod>, CallError> {
        let selector: Vec<_> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let attempted = format!(
            "list pods of {} in namespace {namespace}",
            selector.join(",")
        );
        let params = ListParams::default().labels(&selector.join(","));
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods")).list(&params);
        let pods: ObjectList<Pod> = self.send(&attempted, request).await?;
        Ok(pods.items)
    }

    /// The Service of that name, if there is one: a host may be a ServiceEntry's.
    ///
    /// RBAC: `get` on `services`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn service(&self, namespace: &str, name: &str) -> Result<Option<Service>, CallError> {
        let attempted = format!("get service {namespace}/{name}");
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/services"))
            .get(name, &GetParams::default());
        match self.send::<Service>(&attempted, request).await {
            Ok(service) => Ok(Some(service)),
            Err(error) if error.kind == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }
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
