//! Why a command did not do what was asked. Turned into an exit code in `cli` only.

use crate::cluster::{CallError, ConnectionError, ErrorKind, LeaseError};
use crate::foreign_text::root_cause;
use crate::istio::{DelegateError, SplitError, VersionsError};
use crate::plan::{Exposure, FileError, Finding, Level, PlanError};
use crate::preflight::{Proposal, ScaffoldError};
use crate::rollout::{ObjectName, RolloutError};
use crate::signals::Signal;

/// A command's failure, in one line that names the object and the fix.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The command line or plan file cannot be followed.
    #[error("{0}")]
    Usage(String),
    /// Options that cannot stand together.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A file of options cannot be used.
    #[error("{what} {file}: {source}")]
    File {
        /// What it was read as.
        what: &'static str,
        /// The file.
        file: String,
        /// What is wrong with it.
        source: FileError,
    },
    /// No cluster to talk to.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The API server did not do it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The versions or routes cannot be told.
    #[error(transparent)]
    Versions(Box<VersionsError>),
    /// It cannot be told which delegate is meant.
    #[error(transparent)]
    Delegate(#[from] DelegateError),
    /// There is only one version to send to.
    #[error(
        "no route of virtualservice {namespace}/{name} holds two versions to shift between; it sends to {found} (try: --add-destination with --canary {hint}, or kubectl canary plan {name} -n {namespace}, which prints what to apply)"
    )]
    NothingToShift {
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
        /// The one version, and which rules never get a request.
        found: String,
        /// What could be the canary.
        hint: String,
        /// The objects that are missing.
        proposal: Box<Proposal>,
    },
    /// What a rollout needs cannot be told.
    #[error("{object}: {source}")]
    Scaffold {
        /// What it was wanted for.
        object: String,
        /// What stands in the way.
        source: Box<ScaffoldError>,
    },
    /// A step does not fit a route.
    #[error("virtualservice {object}: {source}")]
    Split {
        /// `namespace/name`.
        object: String,
        /// What does not fit.
        source: Box<SplitError>,
    },
    /// The state annotation cannot be used.
    #[error(transparent)]
    State(#[from] RolloutError),
    /// There is no rollout to act upon.
    #[error(
        "no rollout is in progress on virtualservice {namespace}/{name} (try: kubectl canary start {name} -n {namespace})"
    )]
    NoRollout {
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// There is one already.
    #[error(
        "a rollout is in progress on virtualservice {namespace}/{name}, at {exposure} and held by {holder} (try: kubectl canary status {name} -n {namespace}, or resume, or abort)"
    )]
    UnderWay {
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
        /// The canary's percentage.
        exposure: Exposure,
        /// Who holds it.
        holder: String,
    },
    /// The object moves with another, on which the rollout stands.
    #[error(
        "virtualservice {object} is shifted together with {lead}, whose rollout is at {exposure} and held by {holder} (try: kubectl canary status {} -n {}, or resume, or abort)", lead.name, lead.namespace
    )]
    MovesWith {
        /// `namespace/name`.
        object: String,
        /// The object with the rollout.
        lead: ObjectName,
        /// The canary's percentage.
        exposure: Exposure,
        /// Who holds it.
        holder: String,
    },
    /// A companion could not be patched with the first step; all is as it was.
    #[error("{why}; {lead} and its companions have their original weights")]
    NotStarted {
        /// `namespace/name` of the lead.
        lead: String,
        /// Which companion, and why.
        why: String,
    },
    /// A companion could not be patched in the middle of a rollout, which was rolled back.
    #[error("{why}; the rollout of {lead} and its companions is rolled back")]
    TakenBack {
        /// `namespace/name` of the lead.
        lead: String,
        /// Which companion, and why.
        why: String,
    },
    /// Another driver is alive.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The preflight found something that would go wrong.
    #[error("{}", refusals(.0))]
    Preflight(Vec<Finding>),
    /// Weights or state on the object are not what the command needs.
    #[error("{0}")]
    Conflict(String),
    /// The original weights could not be restored.
    #[error(
        "rollback FAILED: {why}; traffic of virtualservice {object} needs manual attention (try: {manual})"
    )]
    RollbackFailed {
        /// `namespace/name`.
        object: String,
        /// Why.
        why: String,
        /// What to type.
        manual: String,
    },
    /// A change was sent and its outcome is not known: it may be in force, or come into force yet.
    #[error(
        "{what}, and the API server did not confirm it: traffic of virtualservice {object} may have moved, or still move (try: {next})"
    )]
    Unconfirmed {
        /// `namespace/name`.
        object: String,
        /// What was under way.
        what: String,
        /// What to type.
        next: String,
    },
    /// Some objects of a group have moved and others have not.
    #[error("{why}; {lead} was shifted without it (try: {next} to shift it too, or abort)")]
    Divided {
        /// Which companion, and why.
        why: String,
        /// `namespace/name` of the lead.
        lead: String,
        /// What to type.
        next: String,
    },
    /// A file or stream could not be used.
    #[error("{what}: {}", root_cause(source))]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A signal came before anything had been changed.
    #[error("interrupted by {} before anything was changed", .0.name())]
    Interrupted(Signal),
    /// Another run is in progress than the one that was named.
    #[error(
        "run {asked} is not in progress on virtualservice {object}, run {found} is, held by {holder} (try: kubectl canary status {} -n {})", object.name, object.namespace
    )]
    OtherRun {
        /// The object.
        object: Box<ObjectName>,
        /// The run that was named.
        asked: String,
        /// The run in progress.
        found: String,
        /// Who holds it.
        holder: String,
    },
}

fn refusals(findings: &[Finding]) -> String {
    let refused = findings
        .iter()
        .filter(|finding| finding.level == Level::Refuse);
    let refused: Vec<_> = refused.collect();
    if refused.len() > 1 {
        let what: Vec<_> = refused
            .iter()
            .map(|finding| finding.what.as_str())
            .collect();
        let what = what.join("; ");
        return format!("{what} (try: plan with the same arguments, which shows a fix for each)");
    }
    let lines: Vec<_> = refused
        .into_iter()
        .map(|finding| match (&finding.fix, &finding.snippet) {
            (None, _) => finding.what.clone(),
            (Some(fix), None) => format!("{} (try: {fix})", finding.what),
            // An error is one line; the YAML stands in the plan.
            (Some(fix), Some(_)) => {
                format!(
                    "{} (try: {fix}; plan with the same arguments prints it)",
                    finding.what
                )
            }
        })
        .collect();
    lines.join("; ")
}

/// The message with its last `(try: …)` alone.
///
/// An error that wraps another knows better what to do than the one inside it.
pub(crate) fn one_fix(message: &str) -> String {
    const FIX: &str = " (try: ";
    let mut text = message.to_owned();
    while let Some(start) = text.find(FIX) {
        let mut depth = 0_usize;
        let end = text[start..].char_indices().find_map(|(at, char)| {
            match char {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            (char == ')' && depth == 0).then_some(start + at + 1)
        });
        match end {
            Some(end) if text[end..].contains(FIX) => text.replace_range(start..end, ""),
            _ => break,
        }
    }
    text
}

impl CommandError {
    /// The same, with the API server where the network is at fault.
    #[must_use]
    pub fn on_server(self, server: &str) -> Self {
        match self {
            Self::Call(error) => error.on_server(server).into(),
            Self::Lease(LeaseError::Call(error)) => {
                LeaseError::Call(error.on_server(server)).into()
            }
            other => other,
        }
    }

    /// Not being allowed to read the object is a preflight's refusal like not being allowed to patch it.
    pub fn unreadable(error: CallError) -> Self {
        match error.kind {
            ErrorKind::Forbidden => {
                Self::Preflight(vec![Finding::refuse(error.to_string(), "", "")])
            }
            _ => error.into(),
        }
    }
}

impl From<VersionsError> for CommandError {
    fn from(error: VersionsError) -> Self {
        Self::Versions(Box::new(error))
    }
}

impl From<std::io::Error> for CommandError {
    fn from(source: std::io::Error) -> Self {
        Self::Io {
            what: "cannot write the output".into(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PlanFile, Steps, Sticky, Testers};

    fn refused() -> CallError {
        CallError {
            kind: ErrorKind::Forbidden,
            attempted: "patch virtualservice shop/reviews".into(),
            why: "forbidden".into(),
        }
    }

    #[test]
    fn a_message_keeps_its_last_advice() {
        for (message, expected) in [
            ("no advice", "no advice"),
            ("one (try: this (or that))", "one (try: this (or that))"),
            ("a (try: x); b (try: y (z)), c", "a; b (try: y (z)), c"),
        ] {
            assert_eq!(one_fix(message), expected);
        }
    }

    #[test]
    fn no_error_has_two_advices() {
        let mut messages: Vec<String> = Vec::new();
        for steps in [
            "",
            "abc",
            "0,100",
            "10,5,100",
            "10",
            "mirror:0%,100",
            "10,mirror:1%,100",
            "1:x,100",
            "200",
            "0.0001",
        ] {
            messages.push(steps.parse::<Steps>().unwrap_err().to_string());
            let plan = format!(
                "apiVersion: kubectl-canary.dev/v1\nkind: Rollout\nspec: {{steps: \"{steps}\"}}"
            );
            let source = PlanFile::parse(&plan).unwrap_err();
            messages.push(
                CommandError::File {
                    what: "plan file",
                    file: "plan.yaml".into(),
                    source,
                }
                .to_string(),
            );
        }
        for testers in ["x", "header:=1", "cookie:(a"] {
            messages.push(testers.parse::<Testers>().unwrap_err().to_string());
        }
        for sticky in ["x", "cookie=", "cookie=a,25h"] {
            messages.push(sticky.parse::<Sticky>().unwrap_err().to_string());
        }
        let failed = CommandError::RollbackFailed {
            object: "shop/reviews".into(),
            why: refused().to_string(),
            manual: "kubectl edit virtualservice reviews -n shop".into(),
        };
        messages.push(one_fix(&failed.to_string()));
        messages.push(CommandError::from(refused()).to_string());
        messages.push(
            CommandError::Preflight(vec![
                Finding::refuse("one", "because", "this"),
                Finding::refuse("two", "because", "that"),
            ])
            .to_string(),
        );
        for message in messages {
            assert_eq!(message.matches("(try: ").count(), 1, "{message}");
            assert!(
                !message.contains("from_str") && !message.contains('\n'),
                "{message}"
            );
        }
    }
}
