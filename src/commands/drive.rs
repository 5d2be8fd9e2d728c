//! How a driving command ends, and what it runs meanwhile.

use clap::{ArgGroup, Args};

use crate::plan::{HumanDuration, OnHookFailure};

/// How a driving command ends, and what it runs meanwhile.
#[derive(Args, Clone, Debug, Default)]
pub struct Drive {
    /// Exit with code 13 at a step that waits for promote, instead of waiting.
    #[arg(long)]
    pub leave_at_gate: bool,
    /// Commands of the user's.
    #[command(flatten)]
    pub hooks: HookArgs,
}

/// Commands of the user's that a process which drives runs.
#[derive(Args, Clone, Debug, Default)]
#[command(group = ArgGroup::new("hook").multiple(true).args(["before_step", "on_end"]))]
pub struct HookArgs {
    /// Run this command with `sh -c` before each step; the step is taken if it succeeds.
    #[arg(long, value_name = "CMD")]
    pub before_step: Option<String>,
    /// What to do if it fails or takes too long; before the first step nothing is shifted
    /// [default: rollback].
    #[arg(long, value_name = "POLICY", requires = "before_step")]
    pub on_hook_failure: Option<OnHookFailure>,
    /// Run this command with `sh -c` when the run has ended, whatever its outcome; it changes no exit code.
    #[arg(long, value_name = "CMD")]
    pub on_end: Option<String>,
    /// How long either of these commands may take before it is killed [default: 5m].
    #[arg(long, value_name = "DURATION", requires = "hook")]
    pub hook_timeout: Option<HumanDuration>,
}

impl Drive {
    /// A flag that changes nothing where another process drives, if one was given.
    pub fn flag(&self) -> Option<&'static str> {
        let flags = [
            (self.hooks.before_step.is_some(), "--before-step"),
            (self.hooks.on_end.is_some(), "--on-end"),
            (self.leave_at_gate, "--leave-at-gate"),
        ];
        flags
            .into_iter()
            .find_map(|(given, flag)| given.then_some(flag))
    }
}

impl HookArgs {
    /// How long a command may take.
    pub fn timeout(&self) -> HumanDuration {
        self.hook_timeout.unwrap_or(HumanDuration::minutes(5))
    }
}
