//! What a namespace says of everything in it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::Request;
use kube::core::params::GetParams;

use super::{CallError, Cluster};

impl Cluster {
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
