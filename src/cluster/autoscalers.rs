//! Who scales workloads.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::core::params::ListParams;
use kube::core::{ObjectList, Request};

use super::{CallError, Cluster};

impl Cluster {
    /// The HorizontalPodAutoscalers of a namespace.
    ///
    /// RBAC: `list` on `horizontalpodautoscalers`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn autoscalers(
        &self,
        namespace: &str,
    ) -> Result<Vec<HorizontalPodAutoscaler>, CallError> {
        let attempted = format!("list horizontalpodautoscalers in namespace {namespace}");
        let path = format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers");
        let request = Request::new(path).list(&ListParams::default());
        let list: ObjectList<HorizontalPodAutoscaler> = self.send(&attempted, request).await?;
        Ok(list.items)
    }
}
