//! Deployments as they are written, to be copied.

use kube::core::Request;
use kube::core::params::ListParams;
use serde_json::Value;

use super::{CallError, Cluster};

impl Cluster {
    /// The Deployments of a namespace, as received.
    ///
    /// RBAC: `list` on `deployments`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn deployments(&self, namespace: &str) -> Result<Vec<Value>, CallError> {
        let attempted = format!("list deployments in namespace {namespace}");
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        let list = |params: &ListParams| Request::new(path.clone()).list(params);
        let make = |json: &str| {
            let object = serde_json::from_str(json);
            object
                .map(Some)
                .map_err(|error| CallError::unreadable(&attempted, error))
        };
        let (deployments, _) = self.pages_of(&attempted, list, make).await?;
        Ok(deployments)
    }
}
