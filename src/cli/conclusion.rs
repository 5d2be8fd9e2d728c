//! How a run that ended is said on stdout: one line, a summary, or the objects that are missing.

use super::exit::Exit;
use super::printer::Printer;
use crate::cluster::DryRun;
use crate::driver::Finish;
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::preflight::Proposal;
use crate::report::{Format, object};
use crate::rollout::Outcome;

/// Says how a run ended: one line, or the summary as asked.
pub(super) fn conclude(
    vs: &VirtualService,
    finish: &Finish,
    (exit, holding): (Exit, &str),
    printer: &mut Printer,
    dry_run: DryRun,
) -> Result<Exit, CommandError> {
    match printer.format() {
        Some(
            Format::Json
            | Format::Yaml
            | Format::Name
            | Format::Html
            | Format::Markdown
            | Format::Junit,
        ) => {
            printer.show(&finish.summary(vs, exit.code()), false)?;
        }
        Some(Format::Wide) | None => {
            let (object, verbed, suffix) =
                (object(vs.name()), verbed(finish, holding), dry_run.suffix());
            printer.say(&format!("{object} {verbed}{suffix}"));
        }
    }
    Ok(exit)
}

/// What was done, as kubectl says it; `holding` is the word for a rollout that stays at its weight.
fn verbed(finish: &Finish, holding: &str) -> String {
    match finish.outcome {
        Outcome::StepPassed | Outcome::StepSet | Outcome::Held => {
            format!("{holding} {}", finish.exposure)
        }
        Outcome::AlreadyPromoted => {
            format!(
                "already promoted, all traffic is on {}",
                finish.rollout.canary
            )
        }
        outcome => outcome.to_string(),
    }
}

/// Prints objects to apply.
pub(super) fn propose(proposal: &Proposal, printer: &mut Printer) {
    match printer.format() {
        Some(Format::Json) => printer.say(&format!("{:#}", proposal.list())),
        Some(_) | None => {
            printer.say(&proposal.to_string());
        }
    }
}
