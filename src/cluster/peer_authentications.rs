//! Which connections the proxies of pods take.

use std::collections::BTreeSet;

use kube::core::Request;
use kube::core::params::ListParams;
use serde_json::Value;

use super::visible_scope::{VisibleScope, around};
use super::{CallError, Cluster, ErrorKind};

/// Served versions share one schema.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

impl Cluster {
    /// The PeerAuthentications of all namespaces, or only of these where that is not possible; none where
    /// the server does not know them.
    ///
    /// RBAC: `list` on `peerauthentications`, in all namespaces or in these.
    pub async fn peer_authentications_around(
        &self,
        namespaces: &BTreeSet<String>,
    ) -> VisibleScope<Value> {
        around(self, namespaces, async |cluster, namespace| {
            cluster.peer_authentications(namespace).await
        })
        .await
    }

    async fn peer_authentications(&self, namespace: Option<&str>) -> Result<Vec<Value>, CallError> {
        let (attempted, scope) = match namespace {
            Some(namespace) => (
                format!("list peerauthentications in namespace {namespace}"),
                format!("/namespaces/{namespace}"),
            ),
            None => (
                "list peerauthentications in all namespaces".to_owned(),
                String::new(),
            ),
        };
        for version in VERSIONS {
            let path = format!("/apis/security.istio.io/{version}{scope}/peerauthentications");
            let list = |params: &ListParams| Request::new(&path).list(params);
            let make = |json: &str| {
                serde_json::from_str(json)
                    .map(Some)
                    .map_err(|error| CallError::unreadable(&attempted, error))
            };
            match self.pages_of(&attempted, list, make).await {
                Ok((found, _)) => return Ok(found),
                Err(error) if error.kind == ErrorKind::Unserved => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Vec::new())
    }
}
