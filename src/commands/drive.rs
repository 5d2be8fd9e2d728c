//! How a driving command ends.

use clap::Args;

use crate::plan::HumanDuration;

/// How a driving command ends.
#[derive(Args, Clone, Debug, Default)]
pub struct Drive {
    /// Exit with code 13 at a step that waits for promote, instead of waiting.
    #[arg(long)]
    pub leave_at_gate: bool,
    /// Run this command with `sh -c` when the run has ended, whatever its outcome; it changes no exit code.
    #[arg(long, value_name = "CMD")]
    pub on_end: Option<String>,
    /// How long that command may take before it is killed [default: 5m].
    #[arg(long, value_name = "DURATION", requires = "on_end")]
    pub hook_timeout: Option<HumanDuration>,
}
