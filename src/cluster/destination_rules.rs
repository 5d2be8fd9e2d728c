//! Reading DestinationRules.

use serde_json::Value;

use super::{CallError, Cluster};

impl Cluster {
    /// The DestinationRules of a namespace, or of all, whose JSON is to be kept, as received.
    ///
    /// RBAC: `list` on `destinationrules`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn destination_rules(
        &self,
        namespace: Option<&str>,
        keep: impl Fn(&str) -> bool,
    ) -> Result<Vec<Value>, CallError> {
        let make = |attempted: &str, json: &str| {
            let is_kept = keep(json);
            let kept = is_kept.then(|| serde_json::from_str(json));
            kept.transpose()
                .map_err(|error| CallError::unreadable(attempted, error))
        };
        let (rules, _) = self
            .istio_pages("destinationrules", namespace, make)
            .await?;
        Ok(rules)
    }
}
