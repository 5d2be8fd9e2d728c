//! When a driving command exits.

use clap::Args;

/// When a driving command exits.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Drive {
    /// Exit with code 13 at a step that waits for promote, instead of waiting.
    #[arg(long)]
    pub leave_at_gate: bool,
}
