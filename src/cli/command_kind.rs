//! What a command is for, read off its arguments alone.

use super::arguments::Command;
use crate::cluster::DryRun;
use crate::commands::HookArgs;

/// What a command is for, which decides what a result means that cannot be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandKind {
    /// It does something: nothing may change the exit code, which is that of what was done.
    Act,
    /// It answers: without its answer it is nothing, and a reader may take any time over it.
    Answer,
    /// It answers again and again, until there is no more or nobody to read.
    Watch,
}

impl Command {
    /// What it is for; a rehearsal is an answer.
    pub(super) const fn kind(&self) -> CommandKind {
        match self {
            _ if matches!(self.dry_run(), DryRun::Client | DryRun::Server) => CommandKind::Answer,
            Self::Start(_)
            | Self::Promote(_)
            | Self::Abort(_)
            | Self::Undo(_)
            | Self::Pause(_)
            | Self::Resume(_) => CommandKind::Act,
            #[cfg(feature = "demo")]
            Self::Demo(_) => CommandKind::Act,
            Self::Status(args) if args.watch => CommandKind::Watch,
            Self::List(args) if args.watch => CommandKind::Watch,
            Self::Status(_)
            | Self::List(_)
            | Self::Plan(_)
            | Self::Analyze(_)
            | Self::Simulate(_)
            | Self::Schema(_)
            | Self::History(_)
            | Self::Report(_)
            | Self::Rbac(_)
            | Self::Scaffold(_)
            | Self::Options
            | Self::Config
            | Self::Completion
            | Self::Version => CommandKind::Answer,
        }
    }

    /// Whether it is only to be rehearsed, and how.
    pub(super) const fn dry_run(&self) -> DryRun {
        match self {
            Self::Start(start) => start.dry_run,
            Self::Promote(promote) => promote.dry_run,
            Self::Abort(abort) => abort.dry_run,
            Self::Undo(undo) => undo.dry_run,
            Self::Pause(pause) => pause.dry_run,
            _ => DryRun::None,
        }
    }

    /// The run that it begins or goes on with, where its id was chosen.
    pub(super) fn run(&self) -> Option<String> {
        match self {
            Self::Start(start) => start.args.run_id.clone(),
            _ => None,
        }
    }

    /// The commands of the user's that are run, where it drives.
    pub(super) fn hooks(&self) -> Option<&HookArgs> {
        match self {
            Self::Start(start) => Some(&start.args.drive.hooks),
            Self::Resume(resume) => Some(&resume.drive.hooks),
            Self::Promote(promote) => Some(&promote.args.hooks),
            _ => None,
        }
    }

    /// A namespace given by flag wins over the one in a plan file.
    #[must_use]
    pub(super) fn in_namespace(mut self, namespace: Option<&str>) -> Self {
        let given = match &mut self {
            Self::Start(start) => Some(&mut start.args.rollout.namespace),
            Self::Plan(plan) => Some(&mut plan.rollout.namespace),
            Self::Analyze(analyze) => Some(&mut analyze.rollout.namespace),
            Self::Rbac(rbac) => Some(&mut rbac.namespace),
            _ => None,
        };
        if let Some(given) = given {
            *given = namespace.map(str::to_owned);
        }
        self
    }
}
