//! Deployments as they are written, to be copied; and which of those and their like has no pod.

use std::collections::BTreeMap;

use futures::future::join_all;
use kube::core::Request;
use kube::core::params::ListParams;
use serde_json::Value;

use super::{CallError, Cluster};
use crate::istio::EmptyWorkload;

/// What keeps a number of pods, by its kind and where the API has it.
const KEEPERS: [(&str, &str); 3] = [
    ("deployment", "apps/v1"),
    ("statefulset", "apps/v1"),
    ("rollout", "argoproj.io/v1alpha1"),
];

impl Cluster {
    /// The Deployments of a namespace, as received.
    ///
    /// RBAC: `list` on `deployments`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn deployments(&self, namespace: &str) -> Result<Vec<Value>, CallError> {
        let (kind, group) = KEEPERS[0];
        self.keepers(namespace, (kind, group), Some).await
    }

    /// The workload that would make pods with these labels, where there is none of these pods, as far as it may be
    /// seen.
    ///
    /// RBAC: `list` on `deployments`, `statefulsets` and Argo's `rollouts`.
    pub async fn empty_workload(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Option<EmptyWorkload> {
        let listed = KEEPERS.map(async |(kind, group)| {
            let of = |object: Value| EmptyWorkload::of(kind, &object, labels);
            // What may not be seen, or is of a kind that this cluster does not have, is not named.
            self.keepers(namespace, (kind, group), of)
                .await
                .unwrap_or_default()
        });
        let found = join_all(listed).await.into_iter().flatten();
        found.max_by_key(|workload| workload.replicas)
    }

    async fn keepers<T>(
        &self,
        namespace: &str,
        (kind, group): (&str, &str),
        keep: impl Fn(Value) -> Option<T>,
    ) -> Result<Vec<T>, CallError> {
        let attempted = format!("list {kind}s in namespace {namespace}");
        let path = format!("/apis/{group}/namespaces/{namespace}/{kind}s");
        let list = |params: &ListParams| Request::new(path.clone()).list(params);
        let make = |json: &str| {
            let object = serde_json::from_str(json);
            object
                .map(&keep)
                .map_err(|error| CallError::unreadable(&attempted, error))
        };
        let (found, _) = self.pages_of(&attempted, list, make).await?;
        Ok(found)
    }
}
