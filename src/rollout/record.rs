//! Versioned JSON on an object: read whole, or said to be of a newer version.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::foreign_text::json_problem;

/// A record that this binary cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A newer kubectl canary wrote it.
    #[error("it has version {found}, this kubectl canary reads up to {known}")]
    Newer {
        /// The version found.
        found: u64,
        /// The newest version that is known here.
        known: u32,
    },
    /// It does not parse.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Reads a record of version `known` or older.
///
/// The version is looked at before anything else, so that a newer record is called just that and not
/// a list of unknown fields.
pub(super) fn read_record<T: DeserializeOwned>(text: &str, known: u32) -> Result<T, Unreadable> {
    let damaged = |error: serde_json::Error| Unreadable::Damaged(json_problem(&error));
    let value: Value = serde_json::from_str(text).map_err(damaged)?;
    match value.get("version").and_then(Value::as_u64) {
        Some(found) if found > u64::from(known) => Err(Unreadable::Newer { found, known }),
        Some(_) => serde_json::from_value(value).map_err(damaged),
        None => Err(Unreadable::Damaged("it has no version".into())),
    }
}
