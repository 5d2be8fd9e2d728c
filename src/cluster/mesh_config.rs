//! Reading Istio's mesh config.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::params::ListParams;
use kube::core::{ObjectList, Request};

use super::call::{CallError, ErrorKind, soon};
use super::virtual_services::Cluster;
use crate::istio::{MeshConfig, ROOT};

/// Of an Istio without revisions.
const NAME: &str = "istio";
/// Its key.
const KEY: &str = "mesh";

impl Cluster {
    /// The mesh config: that of Istio without a revision, or else of the first revision by name. The
    /// default where there is none.
    ///
    /// RBAC: `get` on the ConfigMap `istio` in `istio-system`, and where it is not there `list` on
    /// `configmaps`.
    ///
    /// # Errors
    /// See [`CallError`]; it is not waited for long, as a rollout can do without.
    pub async fn mesh_config(&self) -> Result<MeshConfig, CallError> {
        let attempted = format!("get configmap {ROOT}/{NAME}");
        soon(&attempted, async {
            let map = match self.config_map(ROOT, NAME).await? {
                Some(map) => Some(map),
                None => self.of_revision().await?,
            };
            let text = map.and_then(|map| map.data?.remove(KEY));
            MeshConfig::read(&text.unwrap_or_default())
                .map_err(|error| CallError::new(ErrorKind::Refused, &attempted, error.to_string()))
        })
        .await
    }

    async fn of_revision(&self) -> Result<Option<ConfigMap>, CallError> {
        let attempted = format!("list configmaps in namespace {ROOT}");
        let params = ListParams::default().labels("istio.io/rev").limit(100);
        let request = Request::new(format!("/api/v1/namespaces/{ROOT}/configmaps")).list(&params);
        let found: ObjectList<ConfigMap> = self.send(&attempted, request).await?;
        let has_config =
            |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data.contains_key(KEY));
        Ok(found.items.into_iter().find(has_config))
    }
}
