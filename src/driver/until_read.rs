//! Asking until there is an answer: for a command that must not end without knowing what there is to do.

use std::time::Duration;

use tokio::time::Instant;

use super::apply::Retry;
use crate::cluster::{CallError, ErrorKind};
use crate::context::Context;
use crate::error::CommandError;
use crate::rollout::{Event, EventKind, ObjectName};

/// Does `act` for `object` again as long as it fails because of what it reads, and there is time; `act` is
/// told how much is left. That an object does not exist is an answer.
///
/// # Errors
/// What `act` says of anything but a call; [`CommandError::RollbackFailed`] where time is up, since whatever
/// there is to restore was not.
pub async fn until_read<T>(
    context: &mut Context<'_>,
    object: &ObjectName,
    timeout: Duration,
    mut act: impl AsyncFnMut(&mut Context<'_>, Duration) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let began = Instant::now();
    let mut attempts = Retry::rollback(timeout).attempts();
    loop {
        context.namespace.clone_from(&object.namespace);
        let left = timeout.saturating_sub(began.elapsed());
        let failure = match act(context, left).await {
            Err(CommandError::Call(failure)) if failure.kind != ErrorKind::Missing => failure,
            done => return done,
        };
        let Some(pause) = attempts.next(&failure) else {
            return Err(unknown(object, &failure));
        };
        let event = EventKind::Retrying {
            what: format!("reading virtualservice {object}"),
            why: failure.to_string(),
            attempt: attempts.number(),
            manual: None,
        };
        let event = Event::of_object(context.clock.now(), object, &context.run, event);
        context.observer.see(&event);
        tokio::time::sleep(pause).await;
    }
}

fn unknown(object: &ObjectName, failure: &CallError) -> CommandError {
    CommandError::RollbackFailed {
        object: object.to_string(),
        why: format!("{failure}; it is not known whether a rollout is in progress"),
        manual: format!(
            "kubectl canary abort {} -n {}",
            object.name, object.namespace
        ),
    }
}
