//! `--on-end`: a command of the user's when a run has ended, whatever became of it.

use std::time::Duration;

use super::exit::Exit;
use crate::commands::Drive;
use crate::context::Context;
use crate::driver::Finish;
use crate::hook::Hook;
use crate::istio::VirtualService;
use crate::plan::HumanDuration;
use crate::report::{escape, reasons_in_words};
use crate::rollout::{EventKind, Outcome};

/// How long it may take, in minutes.
const MINUTES: u32 = 5;
/// The same after a signal: who sends one kills seconds later, and the record is still to be kept.
const HURRY: Duration = Duration::from_secs(5);

/// Runs the command, if there is one and this process had a part in the run. It changes no traffic and no exit
/// code: that it failed is said. A signal ends it.
pub(super) async fn on_end(
    context: &mut Context<'_>,
    drive: &Drive,
    vs: &VirtualService,
    finish: &Finish,
    tell: &dyn Fn(&str),
) {
    let had_no_part = matches!(finish.outcome, Outcome::AlreadyPromoted | Outcome::StepSet);
    let Some(command) = drive.on_end.as_deref().filter(|_| !had_no_part) else {
        return;
    };
    let timeout = drive
        .hook_timeout
        .unwrap_or(HumanDuration::minutes(MINUTES));
    let timeout = match finish.signal {
        Some(_) => timeout.unsigned().min(HURRY),
        None => timeout.unsigned(),
    };
    let hook = Hook {
        command,
        environment: environment(vs, finish),
        timeout,
    };
    let tell = |line: &str| tell(&format!("on-end: {}", escape(line)));
    let why = tokio::select! {
        biased;
        ended = hook.run(&tell) => match ended {
            Ok(()) => return,
            Err(error) => error.to_string(),
        },
        signal = context.signals.next() => format!("was killed by {}", signal.name()),
    };
    let text = format!("--on-end: the command {why}");
    context.emit(vs, &finish.rollout.run, EventKind::Warning { text });
}

/// What the command is told.
fn environment(vs: &VirtualService, finish: &Finish) -> Vec<(&'static str, String)> {
    let rollout = &finish.rollout;
    let (stable, canary) = (rollout.stable.to_string(), rollout.canary.to_string());
    let reason = reasons_in_words(&finish.reasons, &stable, &canary);
    let outcome = serde_json::to_value(finish.outcome).unwrap_or_default();
    let word = |key: &str| outcome[key].as_str().unwrap_or_default().to_owned();
    let words: [(&'static str, String); 11] = [
        ("KUBECTL_CANARY_NAMESPACE", vs.namespace().to_owned()),
        ("KUBECTL_CANARY_NAME", vs.name().to_owned()),
        ("KUBECTL_CANARY_RUN", rollout.run.clone()),
        ("KUBECTL_CANARY_STABLE", stable),
        ("KUBECTL_CANARY_CANARY", canary),
        ("KUBECTL_CANARY_STEP", (rollout.step + 1).to_string()),
        ("KUBECTL_CANARY_WEIGHT", finish.exposure.share().to_string()),
        ("KUBECTL_CANARY_OUTCOME", word("kind")),
        ("KUBECTL_CANARY_CAUSE", word("cause")),
        ("KUBECTL_CANARY_REASON", reason.unwrap_or_default()),
        (
            "KUBECTL_CANARY_EXIT_CODE",
            Exit::from(finish.outcome).code().to_string(),
        ),
    ];
    words.into()
}
