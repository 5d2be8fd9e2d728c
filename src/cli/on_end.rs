//! `--on-end`: a command of the user's when a run has ended, whatever became of it.

use std::time::Duration;

use tokio::time::timeout;

use super::exit::Exit;
use crate::commands::HookArgs;
use crate::context::Context;
use crate::driver::Finish;
use crate::hook::Hook;
use crate::istio::VirtualService;
use crate::plan::Exposure;
use crate::report::{escape, reasons_in_words};
use crate::rollout::{EventKind, Outcome, Rollout};

/// How long it may take after a signal: who sends one kills seconds later, and the record is still to be kept.
const HURRY: Duration = Duration::from_secs(5);

/// Runs the command, if there is one and this process had a part in the run. It changes no traffic and no exit
/// code: that it failed is said. A signal ends it.
pub(super) async fn on_end(
    context: &mut Context<'_>,
    hooks: &HookArgs,
    vs: &VirtualService,
    finish: &Finish,
    tell: &(dyn Fn(&str) + Sync),
) {
    let had_no_part = matches!(finish.outcome, Outcome::AlreadyPromoted | Outcome::StepSet);
    let Some(command) = hooks.on_end.as_deref().filter(|_| !had_no_part) else {
        return;
    };
    let limit = hooks.timeout().unsigned();
    let limit = match finish.signal {
        Some(_) => limit.min(HURRY),
        None => limit,
    };
    let hook = Hook {
        command,
        environment: environment(vs, finish),
    };
    let tell = |line: &str| tell(&format!("on-end: {}", escape(line)));
    let why = tokio::select! {
        biased;
        ended = timeout(limit, hook.run(&tell)) => match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "did not end in time and was killed".to_owned(),
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
    let exit_code = Exit::from(finish.outcome).code();
    let mut words = variables_of(vs, rollout, finish.exposure);
    words.extend([
        ("KUBECTL_CANARY_OUTCOME", word("kind")),
        ("KUBECTL_CANARY_CAUSE", word("cause")),
        ("KUBECTL_CANARY_REASON", reason.unwrap_or_default()),
        ("KUBECTL_CANARY_EXIT_CODE", exit_code.to_string()),
    ]);
    words
}

/// What every command is told: of which rollout, and at which step and weight.
pub(super) fn variables_of(
    vs: &VirtualService,
    rollout: &Rollout,
    exposure: Exposure,
) -> Vec<(&'static str, String)> {
    vec![
        ("KUBECTL_CANARY_NAMESPACE", vs.namespace().to_owned()),
        ("KUBECTL_CANARY_NAME", vs.name().to_owned()),
        ("KUBECTL_CANARY_RUN", rollout.run.clone()),
        ("KUBECTL_CANARY_STABLE", rollout.stable.to_string()),
        ("KUBECTL_CANARY_CANARY", rollout.canary.to_string()),
        ("KUBECTL_CANARY_STEP", (rollout.step + 1).to_string()),
        ("KUBECTL_CANARY_WEIGHT", exposure.share().to_string()),
    ]
}
