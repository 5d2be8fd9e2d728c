//! Reading the Gateways that are waypoints.

use kube::core::Request;
use kube::core::params::GetParams;
use serde_json::Value;

use super::{CallError, Cluster, ErrorKind};

/// Served versions share one schema.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

impl Cluster {
    /// The Gateway of that name, if there is one.
    ///
    /// RBAC: `get` on `gateways` of `gateway.networking.k8s.io`.
    ///
    /// # Errors
    /// See [`CallError`]; [`ErrorKind::Unserved`] where the server does not know the kind.
    pub async fn waypoint(&self, namespace: &str, name: &str) -> Result<Option<Value>, CallError> {
        let attempted = format!("get gateway {namespace}/{name}");
        let mut unserved = CallError::new(ErrorKind::Unserved, &attempted, "no such kind");
        for version in VERSIONS {
            let path = format!(
                "/apis/gateway.networking.k8s.io/{version}/namespaces/{namespace}/gateways"
            );
            let request = Request::new(path).get(name, &GetParams::default());
            match self.send(&attempted, request).await {
                Ok(found) => return Ok(Some(found)),
                Err(error) if error.kind == ErrorKind::Missing => return Ok(None),
                Err(error) if error.kind == ErrorKind::Unserved => unserved = error,
                Err(error) => return Err(error),
            }
        }
        Err(unserved)
    }
}
