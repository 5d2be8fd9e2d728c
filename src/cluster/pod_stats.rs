//! What the proxy beside a pod shows of its counters, read through the API server.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use serde_json::{Value, json};

use super::call::{CallError, ErrorKind, bounded};
use super::virtual_services::Cluster;
use crate::istio::{Destination, Subset};

/// No answer may be larger, in bytes: a sidecar with some hundred callers shows one or two MiB.
const LARGEST: usize = 8 << 20;

impl Cluster {
    /// The pods behind a destination, as [`Cluster::workloads`] finds them.
    ///
    /// RBAC: `get` on `services`, `list` on `pods`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn pods_behind(
        &self,
        destination: &Destination,
        subsets: &[Subset],
    ) -> Result<Vec<Pod>, CallError> {
        match self.pod_scope(destination, subsets).await? {
            Some(scope) => Ok(self.pods_at(&scope).await?.0),
            None => Ok(Vec::new()),
        }
    }

    /// What `pod` answers at `path` of its `port`, within a time.
    ///
    /// RBAC: `get` on `pods/proxy`.
    ///
    /// # Errors
    /// See [`CallError`]; an answer that is no success, or too large, is one.
    pub async fn pod_answer(
        &self,
        (namespace, pod): (&str, &str),
        port: u16,
        path: &str,
        within: Duration,
    ) -> Result<String, CallError> {
        let attempted = format!("get port {port} of pod {namespace}/{pod}");
        let unusable = |why: &str| CallError::new(ErrorKind::Refused, &attempted, why);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{path}");
        let request = http::Request::get(path)
            .body(Body::empty())
            .map_err(|error| unusable(&error.to_string()))?;
        let ask = async {
            let (parts, body) = self.client().send(request).await?.into_parts();
            let body = Limited::new(body, LARGEST).collect().await;
            let body = body.map_err(kube::Error::Service)?.to_bytes();
            match parts.status.is_success() {
                true => Ok(body),
                false => Err(refusal(parts.status.as_u16(), &body)),
            }
        };
        let body = bounded(&attempted, within, ask).await?;
        let text = String::from_utf8(body.to_vec());
        text.map_err(|_| unusable("the answer is no text"))
    }
}

/// The API server's own words, where the answer is one of its.
fn refusal(code: u16, body: &[u8]) -> kube::Error {
    let own = serde_json::from_slice::<Value>(body).ok();
    let own = own.filter(|own| own["kind"] == "Status" && own["message"].is_string());
    let status = own.unwrap_or_else(|| json!({"message": format!("HTTP {code}")}));
    let status = json!({"code": code, "message": status["message"], "reason": status["reason"].as_str().unwrap_or_default()});
    match serde_json::from_value(status) {
        Ok(status) => kube::Error::Api(Box::new(status)),
        Err(error) => kube::Error::SerdeError(error),
    }
}
