//! From a version as routes name it to its pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::core::params::{GetParams, ListParams};
use kube::core::{ObjectList, Request};

use super::{CallError, Cluster, ErrorKind};
use crate::istio::{Destination, Subset, Workloads};

impl Cluster {
    /// The pods behind a destination: those of its Service that carry the subset's labels.
    ///
    /// RBAC: `get` on `services`, `list` on `pods`.
    ///
    /// # Errors
    /// See [`CallError`]; a host that is no Service of the cluster, and a Service without a
    /// selector, have no pods that could be listed: both are empty, not errors.
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
