//! Reading and writing ConfigMaps.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::Request;
use kube::core::params::{GetParams, PostParams};

use super::Cluster;
use super::call::{CallError, ErrorKind};
use crate::istio::FIELD_MANAGER;

impl Cluster {
    /// A ConfigMap, if there is one of that name.
    ///
    /// RBAC: `get` on `configmaps`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ConfigMap>, CallError> {
        let attempted = format!("get configmap {namespace}/{name}");
        let request = config_maps(namespace).get(name, &GetParams::default());
        match self.send(&attempted, request).await {
            Ok(map) => Ok(Some(map)),
            Err(error) if error.kind == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a ConfigMap: creates it, or replaces the one that `map` was read as.
    ///
    /// RBAC: `create` and `update` on `configmaps`.
    ///
    /// # Errors
    /// See [`CallError`]; another writer that came first is a conflict.
    pub async fn keep_config_map(
        &self,
        namespace: &str,
        name: &str,
        mut map: ConfigMap,
    ) -> Result<(), CallError> {
        let is_new = map.metadata.resource_version.is_none();
        map.metadata.name = Some(name.to_owned());
        let verb = if is_new { "create" } else { "update" };
        let attempted = format!("{verb} configmap {namespace}/{name}");
        let body = serde_json::to_vec(&map)
            .map_err(|error| CallError::new(ErrorKind::Refused, &attempted, error.to_string()))?;
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let request = match is_new {
            true => config_maps(namespace).create(&params, body),
            false => config_maps(namespace).replace(name, &params, body),
        };
        self.send::<ConfigMap>(&attempted, request)
            .await
            .map(|_| ())
    }
}

fn config_maps(namespace: &str) -> Request {
    Request::new(format!("/api/v1/namespaces/{namespace}/configmaps"))
}
