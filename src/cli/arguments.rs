//! What may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cluster::{Connection, DryRun};
#[cfg(feature = "demo")]
use crate::commands::Demo;
use crate::commands::{
    Abort, Analyze, List, Pause, PlanArgs, Promote, Rbac, Resume, Simulate, Start, Status,
};
use crate::report::{ColorChoice, Format};

const DEMO_EXAMPLE: &str = "  # See a rollout and a rollback without a cluster
  kubectl canary demo

";

const EXAMPLES: &str = "  # See what a rollout of virtualservice reviews would change
  kubectl canary plan reviews -n shop

  # Shift its traffic to the new version at 1, 10, 50 and 100 %
  kubectl canary start reviews -n shop

  # Put the original weights back, whoever started the rollout
  kubectl canary abort reviews -n shop";

fn examples() -> String {
    let demo = if cfg!(feature = "demo") {
        DEMO_EXAMPLE
    } else {
        ""
    };
    format!("Examples:\n{demo}{EXAMPLES}")
}

/// Shift Istio traffic to a new version step by step, and take it back when the version is worse
#[derive(Parser, Debug)]
#[command(
    name = "kubectl-canary",
    bin_name = "kubectl canary",
    version,
    after_help = examples(),
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// Where output goes.
    #[command(flatten)]
    pub output: Output,
}

/// Where output goes, and in which form.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Output format.
    #[arg(short = 'o', long = "output", global = true, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Write every event as a line of JSON to this file.
    #[arg(long, global = true, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// When to use colours.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Print no column titles.
    #[arg(long, global = true)]
    pub no_headers: bool,
}

/// A command that may only say what it would come to.
#[derive(Args, Clone, Debug)]
pub struct DryRunnable<T: Args> {
    /// What and how.
    #[command(flatten)]
    pub args: T,
    /// Must be "none", "client" or "server": with "client" nothing is sent, with "server" it is sent
    /// without being stored; `start` then shows its plan.
    #[arg(
        long,
        value_name = "STRATEGY",
        default_value = "none",
        default_missing_value = "client",
        num_args = 0..=1,
        require_equals = true
    )]
    pub dry_run: DryRun,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Start a rollout and drive it to its end
    #[command(after_help = "\
Examples:
  # Stay 5 minutes at 10 % and wait for `promote` at 50 %
  kubectl canary start reviews --steps 1,10:5m,50:pause,100

  # Say which of several versions is the new one, and where Prometheus is
  kubectl canary start reviews --canary v3 --prometheus http://prometheus.example:9090

  # From a plan file, with one event a line for a log
  kubectl canary start -f canary.yaml --events rollout.jsonl

  # Let a Job in the cluster drive, and follow it to its end
  kubectl canary start reviews --detach --image IMAGE && kubectl canary status reviews --watch")]
    Start(Box<DryRunnable<Start>>),
    /// Open a gate, or take the next step
    Promote(DryRunnable<Promote>),
    /// Put the original weights back, now
    Abort(DryRunnable<Abort>),
    /// Stay at this weight until `resume` or `promote`
    Pause(DryRunnable<Pause>),
    /// Let a paused rollout go on, or take over one whose driver died
    Resume(Resume),
    /// Show where a rollout stands
    Status(Status),
    /// List the rollouts of a namespace
    List(List),
    /// Show what every step would change, and check what would go wrong
    Plan(Box<PlanArgs>),
    /// Judge the canary now, or over a time that has passed
    #[command(after_help = "\
Examples:
  # What does the evidence of the rollout under way say? Exit code 0: healthy
  kubectl canary analyze reviews -n shop

  # Judge the last hour at the weights as they are, as a gate in a pipeline
  kubectl canary analyze reviews -n shop --since 1h -o json

Exit codes:
  0 healthy, 10 regressed, 12 not enough data or metrics unavailable; nothing is moved")]
    Analyze(Box<Analyze>),
    /// Rehearse a plan against an imagined canary, without a cluster
    #[command(after_help = "\
Examples:
  # How often would a healthy canary be promoted, and how soon?
  kubectl canary simulate --requests-per-second 200

  # What would one cost that begins to fail 2 % of its requests after five minutes?
  kubectl canary simulate --canary-errors 2% --regression-after 5m --html rehearsal.html

  # The plan that `start -f canary.yaml` would follow, while both versions fail for a minute
  kubectl canary simulate -f canary.yaml --outage-rate 30% --outage-at 2m --outage-for 1m")]
    Simulate(Box<Simulate>),
    /// Print the Role that a rollout needs, ready to apply
    #[command(after_help = "\
Examples:
  # Let the Jobs of `start --detach` drive rollouts in namespace shop
  kubectl canary rbac -n shop | kubectl apply -f -

  # Let a group start rollouts, detached ones included
  kubectl canary rbac -n shop --subject group:developers --detach")]
    Rbac(Rbac),
    /// See a rollout and a rollback without a cluster
    #[cfg(feature = "demo")]
    Demo(Demo),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// clap looks for flags that contradict each other only in a debug build, and only in the
    /// command that is called.
    #[test]
    fn no_two_flags_of_a_command_are_the_same() {
        Cli::command().debug_assert();
    }

    #[test]
    fn demo_is_offered_only_where_it_was_built_in() {
        let help = Cli::command().render_help().to_string();
        assert_eq!(help.contains("demo"), cfg!(feature = "demo"), "{help}");
        assert!(!help.contains("\n# "), "{help}");
    }
}
