//! `--before-step`: a command of the user's before each step.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::on_end::variables_of;
use crate::commands::HookArgs;
use crate::context::{BeforeStep, StepCheck};
use crate::hook::Hook;
use crate::istio::VirtualService;
use crate::report::escape;
use crate::rollout::Rollout;

/// What the flags ask for, if anything; the lines that the command prints go to `tell`.
pub(super) fn before_step(
    hooks: &HookArgs,
    tell: impl Fn(&str) + Send + Sync + 'static,
) -> Option<BeforeStep> {
    let command = hooks.before_step.clone()?;
    Some(BeforeStep {
        check: Arc::new(ShellCheck {
            command,
            tell: Box::new(tell),
        }),
        timeout: hooks.timeout(),
        on_failure: hooks.on_hook_failure.unwrap_or_default(),
    })
}

struct ShellCheck {
    command: String,
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

impl StepCheck for ShellCheck {
    fn run(&self, vs: &VirtualService, next: &Rollout) -> BoxFuture<'_, Result<(), String>> {
        let environment = variables_of(vs, next, next.exposure());
        Box::pin(async move {
            let hook = Hook {
                command: &self.command,
                environment,
            };
            let tell = |line: &str| (self.tell)(&format!("before-step: {}", escape(line)));
            hook.run(&tell).await.map_err(|error| error.to_string())
        })
    }
}
