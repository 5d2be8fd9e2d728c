//! kubectl's `--dry-run`.

use clap::ValueEnum;
use json_patch::{Patch, PatchOperation};
use serde_json::Value;

/// Whether changes are made, or only checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Make the changes.
    #[default]
    None,
    /// Print what would be done without sending it.
    Client,
    /// Submit the changes without persisting them.
    Server,
}

impl DryRun {
    /// What kubectl puts behind a message.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// What `object` would be after `patch`.
///
/// The tests are left out: they are about the object on the server, and this is a copy of it.
///
/// # Errors
/// If the patch does not fit the object.
pub(super) fn rehearse(object: &Value, patch: Patch) -> Result<Value, json_patch::PatchError> {
    let mut after = object.clone();
    let changes = patch
        .0
        .into_iter()
        .filter(|operation| !matches!(operation, PatchOperation::Test(_)));
    json_patch::patch(&mut after, &Patch(changes.collect()))?;
    Ok(after)
}
