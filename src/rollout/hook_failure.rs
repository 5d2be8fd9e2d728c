//! The command before a step, where it failed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::Exposure;

/// Why a step was not taken: the user's command before it failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HookFailure {
    /// The step that was to come, from 1.
    pub step: usize,
    /// What the canary was to get.
    pub exposure: Exposure,
    /// What became of the command, after its name in a sentence: `failed (exit status: 1)`.
    pub why: String,
}
