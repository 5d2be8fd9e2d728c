//! How far a command drives.

use clap::Args;

/// How long this process stays with the rollout.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Drive {
    /// End with exit code 13 where somebody has to promote, instead of waiting for it.
    #[arg(long)]
    pub leave_at_gate: bool,
}
