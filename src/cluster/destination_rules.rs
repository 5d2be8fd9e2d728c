//! Reading DestinationRules.

use kube::core::params::ListParams;
use serde_json::Value;

use super::{CallError, Cluster};

impl Cluster {
    /// The DestinationRules of a namespace, or of all, as received.
    ///
    /// RBAC: `list` on `destinationrules`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn destination_rules(
        &self,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, CallError> {
        let attempted = match namespace {
            Some(namespace) => format!("list destinationrules in namespace {namespace}"),
            None => "list destinationrules in all namespaces".to_owned(),
        };
        let mut list = self
            .istio_call(&attempted, |version| {
                self.istio(version, namespace, "destinationrules")
                    .list(&ListParams::default())
            })
            .await?;
        Ok(match list.get_mut("items").map(Value::take) {
            Some(Value::Array(rules)) => rules,
            _ => Vec::new(),
        })
    }
}
