//! What may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::publisher::NotifyUrl;
use crate::cluster::{Connection, DryRun};
#[cfg(feature = "demo")]
use crate::commands::Demo;
use crate::commands::{
    Abort, Analyze, HistoryArgs, List, Pause, PlanArgs, Promote, Rbac, ReportArgs, Resume,
    Scaffold, SchemaArgs, Simulate, Start, Status, Undo,
};
use crate::report::{ColorChoice, Format};

const DEMO_EXAMPLE: &str = "  # Watch a rollout and a rollback without a cluster
  kubectl canary demo

";

const EXAMPLES: &str = "  # Show what a rollout of virtualservice reviews would change
  kubectl canary plan reviews -n shop --canary v2

  # Shift its traffic to the canary in steps of 1, 10, 50 and 100 %
  kubectl canary start reviews -n shop --canary v2

  # Roll back to the original weights, from any machine
  kubectl canary abort reviews -n shop";

fn examples() -> String {
    let demo = if cfg!(feature = "demo") {
        DEMO_EXAMPLE
    } else {
        ""
    };
    format!("Examples:\n{demo}{EXAMPLES}")
}

/// Shift Istio traffic to a new version step by step, and roll back automatically if it is worse
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
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// Cluster access.
    #[command(flatten)]
    pub connection: Connection,
    /// Output.
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
    /// Write every event to this file, as one line of JSON each.
    #[arg(long, global = true, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Append a summary in Markdown to this file when the command ends, such as "$GITHUB_STEP_SUMMARY".
    #[arg(long, global = true, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Post what changes the course of the rollout to this URL, as JSON with the text that Slack shows.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "KUBECTL_CANARY_NOTIFY_URL",
        hide_env_values = true
    )]
    pub notify: Option<NotifyUrl>,
    /// Where to keep the record of the run.
    #[arg(
        long,
        global = true,
        value_name = "WHERE",
        default_value = "cluster",
        env = "KUBECTL_CANARY_KEEP_RECORD"
    )]
    pub keep_record: KeepRecord,
    /// Show only what needs attention, and the end.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Show each request to the API server and each query on stderr, without headers and bodies.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Form of what is written on stderr while a rollout runs.
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        default_value = "text",
        env = "KUBECTL_CANARY_LOG_FORMAT"
    )]
    pub log_format: LogFormat,
    /// When to use colors.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Don't print column headers.
    #[arg(long, global = true)]
    pub no_headers: bool,
}

/// The form of what is written on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A live view at a terminal, lines elsewhere.
    #[default]
    Text,
    /// Every event as one line of JSON.
    Json,
}

/// Where the record of a run is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KeepRecord {
    /// In the user's state directory, and a copy in a ConfigMap beside the object.
    #[default]
    Cluster,
    /// In the user's state directory alone.
    Local,
    /// Nowhere.
    None,
}

/// A command that may only say what it would come to.
#[derive(Args, Clone, Debug)]
pub struct DryRunnable<T: Args> {
    /// What and how.
    #[command(flatten)]
    pub args: T,
    /// Must be "none", "client", or "server"; `start` prints its plan.
    ///
    /// If client, print what would be done without sending it. If server, submit it without persisting it.
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
    /// Start a rollout and drive it until it is promoted or rolled back
    #[command(after_help = "\
Examples:
  # Hold 5 minutes at 10 % and wait for `promote` at 50 %
  kubectl canary start reviews --canary v2 --steps 1,10:5m,50:pause,100

  # Use a plan file, and log the events as JSON lines
  kubectl canary start -f canary.yaml --events rollout.jsonl

  # Let a Job in the cluster drive the rollout, and watch it
  kubectl canary start reviews --canary v2 --detach
  kubectl canary status reviews --watch")]
    Start(Box<DryRunnable<Start>>),
    /// Approve a gate, or advance one step
    #[command(after_help = "\
Examples:
  # Approve the step that waits
  kubectl canary promote reviews -n shop

  # Take the next step, and exit with its verdict
  kubectl canary promote reviews -n shop --wait")]
    Promote(DryRunnable<Promote>),
    /// Roll back to the original weights
    #[command(after_help = "\
Examples:
  # Roll back, from any machine
  kubectl canary abort reviews -n shop

  # Clean up behind a pipeline, and touch no other run
  kubectl canary abort reviews --run 4711 --ignore-not-found")]
    Abort(DryRunnable<Abort>),
    /// Restore the weights of before the last promotion
    #[command(after_help = "\
Examples:
  # Go back to the version of before the last promotion
  kubectl canary undo reviews -n shop")]
    Undo(DryRunnable<Undo>),
    /// Hold at the current weight until `resume` or `promote`
    #[command(after_help = "\
Examples:
  # Hold at the current weight; a regression is still rolled back
  kubectl canary pause reviews -n shop")]
    Pause(DryRunnable<Pause>),
    /// Resume a paused rollout, or take over an orphaned one
    #[command(after_help = "\
Examples:
  # Resume a paused rollout, or drive one whose driver died
  kubectl canary resume reviews -n shop")]
    Resume(Resume),
    /// Show the status of a rollout
    #[command(after_help = "\
Examples:
  # Where is it, and is its driver running?
  kubectl canary status reviews -n shop

  # Watch it until it ends, with its exit code
  kubectl canary status reviews -n shop --watch")]
    Status(Status),
    /// List the rollouts in a namespace
    #[command(after_help = "\
Examples:
  # The rollouts of all namespaces
  kubectl canary list -A

  # Those without a running driver; exit code 3 if there are any
  kubectl canary list -A --orphaned")]
    List(List),
    /// Show what every step would change, and run the preflight checks
    #[command(after_help = "\
Examples:
  # What would each step change, and would it start?
  kubectl canary plan reviews -n shop --canary v2

  # Let the API server check every step without storing it
  kubectl canary plan reviews -n shop --canary v2 --dry-run=server")]
    Plan(Box<PlanArgs>),
    /// Analyze the canary now, or over a past period
    #[command(after_help = "\
Examples:
  # Analyze the rollout in progress; exit code 0 means healthy
  kubectl canary analyze reviews -n shop

  # Analyze the last hour at the current weights, as a gate in a pipeline
  kubectl canary analyze reviews -n shop --since 1h -o json

Exit codes:
  0 healthy, 10 regressed, 12 not enough data or metrics unavailable;
  no traffic is shifted")]
    Analyze(Box<Analyze>),
    /// Simulate rollouts of a plan, without a cluster
    #[command(after_help = "\
Examples:
  # How often is a healthy canary promoted, and how fast?
  kubectl canary simulate --requests-per-second 200

  # How many requests fail if the canary starts failing 2 % after 5 minutes?
  kubectl canary simulate --canary-errors 2% --regression-after 5m

  # Simulate the plan in canary.yaml, while both versions fail for 1 minute
  kubectl canary simulate -f canary.yaml --outage-rate 30% --outage-at 2m")]
    Simulate(Box<Simulate>),
    /// List the runs of an object that are on record
    #[command(after_help = "\
Examples:
  # What was rolled out, and how it ended
  kubectl canary history reviews -n shop")]
    History(HistoryArgs),
    /// Report on one run: steps, decisions, and what was seen
    #[command(after_help = "\
Examples:
  # The last run, for a person
  kubectl canary report reviews -n shop

  # A page to share, and a list of tests for the pipeline
  kubectl canary report reviews -n shop -o html > rollout.html
  kubectl canary report reviews -n shop -o junit > rollout.xml

  # From the events of a run, without a cluster
  kubectl canary report --from-events rollout.jsonl -o markdown")]
    Report(ReportArgs),
    /// Print the objects that a rollout of an image lacks
    #[command(after_help = "\
Examples:
  # The canary's Deployment, its subset and its place in the routes, for a review
  kubectl canary scaffold reviews -n shop --image registry.example.com/reviews:2.0

  # Apply them; what is there already is not printed again
  kubectl canary scaffold reviews -n shop --image registry.example.com/reviews:2.0 | kubectl apply -f -")]
    Scaffold(Scaffold),
    /// Print the Role and RoleBinding that a rollout needs
    #[command(after_help = "\
Examples:
  # Allow the Jobs of `start --detach` to drive rollouts in namespace shop
  kubectl canary rbac -n shop | kubectl apply -f -

  # Allow a group to start rollouts, including detached ones
  kubectl canary rbac -n shop --subject group:developers --detach")]
    Rbac(Rbac),
    /// Print the JSON schema of a document that programs read or write
    #[command(after_help = "\
Examples:
  # List the documents
  kubectl canary schema

  # Check a plan file in an editor or a pipeline
  kubectl canary schema plan-file > plan-file.schema.json")]
    Schema(SchemaArgs),
    /// Watch a rollout and a rollback without a cluster
    #[cfg(feature = "demo")]
    #[command(after_help = "\
Examples:
  # Watch a rollout and a rollback
  kubectl canary demo")]
    Demo(Demo),
    /// Show the defaults of your own for the current context
    #[command(after_help = "\
Examples:
  # Which file it is, and what holds for the current context
  kubectl canary config

  # The fields of the file, for an editor
  kubectl canary schema config-file")]
    Config,
    /// List the flags that every command takes
    Options,
    /// Print the program that kubectl asks for completions
    #[command(after_help = "\
Examples:
  # Complete names and flags with the TAB key, in bash, zsh and fish
  kubectl canary completion > ~/.local/bin/kubectl_complete-canary
  chmod +x ~/.local/bin/kubectl_complete-canary")]
    Completion,
    /// Print the version
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// clap looks for flags that contradict each other only in a debug build, and only in the
    /// command that is called.
    #[test]
    fn no_two_flags_of_a_command_are_the_same() {
        super::super::help::command(true).debug_assert();
    }

    #[test]
    fn every_command_of_the_docs_on_metrics_is_one() {
        let docs = include_str!("../../docs/metrics.md");
        let lines = docs
            .lines()
            .filter(|line| line.starts_with("kubectl canary "));
        let lines: Vec<_> = lines.collect();
        assert!(lines.len() > 6);
        for line in lines {
            let words = shlex::split(line).unwrap();
            let parsed = Cli::try_parse_from(words.into_iter().skip(1));
            parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn demo_is_offered_only_where_it_was_built_in() {
        let help = Cli::command().render_help().to_string();
        assert_eq!(help.contains("demo"), cfg!(feature = "demo"), "{help}");
        assert!(!help.contains("\n# "), "{help}");
    }
}
