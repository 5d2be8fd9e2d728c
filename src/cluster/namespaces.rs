//! What a namespace says of everything in it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::params::{GetParams, ListParams};
use kube::core::{ObjectList, Request};

use super::{CallError, Cluster};

impl Cluster {
    /// The names of all namespaces.
    ///
    /// RBAC: `list` on `namespaces`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn namespaces(&self) -> Result<Vec<String>, CallError> {
        let request = Request::new("/api/v1/namespaces").list(&ListParams::default());
        let list: ObjectList<Namespace> = self.send("list namespaces", request).await?;
        let names = list.items.into_iter().filter_map(|it| it.metadata.name);
        Ok(names.collect())
    }

    /// The labels of a namespace.
    ///
    /// RBAC: `get` on `namespaces`, for which a Role in that namespace is enough.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn namespace_labels(
        &self,
        name: &str,
    ) -> Result<BTreeMap<String, String>, CallError> {
        let attempted = format!("get namespace {name}");
        let request = Request::new("/api/v1/namespaces").get(name, &GetParams::default());
        let namespace: Namespace = self.send(&attempted, request).await?;
        Ok(namespace.metadata.labels.unwrap_or_default())
    }
}
