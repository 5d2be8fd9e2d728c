//! Services of the whole cluster, where they may be listed.

use k8s_openapi::api::core::v1::Service;
use kube::core::Request;
use kube::core::params::ListParams;

use super::{CallError, Cluster};

impl Cluster {
    /// The Services of all namespaces whose JSON is to be kept.
    ///
    /// RBAC: `list` on `services` in all namespaces.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn services(&self, keep: impl Fn(&str) -> bool) -> Result<Vec<Service>, CallError> {
        let attempted = "list services in all namespaces";
        let list = |params: &ListParams| Request::new("/api/v1/services").list(params);
        let make = |json: &str| {
            let kept = keep(json).then(|| serde_json::from_str(json));
            kept.transpose()
                .map_err(|error| CallError::unreadable(attempted, error))
        };
        let (services, _) = self.pages_of(attempted, list, make).await?;
        Ok(services)
    }
}
