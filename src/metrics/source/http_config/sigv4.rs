//! How to sign queries, in the words of Prometheus' remote storage.

use serde::Deserialize;

use crate::metrics::source::access_error::AccessError;

/// Prometheus' own section `sigv4`. What it leaves out comes from where AWS' tools look for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::metrics::source) struct SigV4 {
    pub region: Option<String>,
    pub access_key: Option<String>,
    pub secret_key: Option<String>,
    pub profile: Option<String>,
    pub role_arn: Option<String>,
    pub external_id: Option<String>,
}

impl SigV4 {
    /// Refuses half a key.
    ///
    /// # Errors
    /// The key that is missing.
    pub(super) fn check(&self) -> Result<(), AccessError> {
        if self.access_key.is_some() == self.secret_key.is_some() {
            return Ok(());
        }
        Err(AccessError {
            what: "sigv4 has only one of access_key and secret_key".into(),
            fix: "both, or neither".into(),
        })
    }
}
