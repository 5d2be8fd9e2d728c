//! Changing the state of a rollout under way by one guarded PATCH an object, with or without a driver.

use super::apply::{Failure, Next, Purpose, Retry, apply};
use super::read_companions::companions;
use super::sync_companions::{SyncError, sync_companions};
use super::undo_start::undo_start;
use crate::cluster::{CallError, ErrorKind};
use crate::context::Context;
use crate::discovery::under_way;
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::rollout::{Cause, Group, Intent, Rollout, WriteError};

/// What became of a change.
pub struct Changed {
    /// The objects, the lead with the state.
    pub group: Group,
    /// What was written, if there was anything to do.
    pub intent: Option<Intent>,
}

/// Reads the object, decides on what it shows, writes, and starts over if it changed meanwhile. Then
/// brings the companions to the same.
///
/// `decide` may answer `None` where there is nothing to do.
///
/// # Errors
/// Whatever `decide` says, and what keeps the change from being written.
pub async fn change<F>(
    context: &mut Context<'_>,
    name: &str,
    decide: F,
) -> Result<Changed, CommandError>
where
    F: FnMut(&VirtualService, Rollout) -> Result<Option<Intent>, CommandError>,
{
    let cluster = context.cluster.clone();
    let vs = cluster.virtual_service(&context.namespace, name).await?;
    let mut change = Change {
        context,
        decide,
        group: Group::of_lead(vs.clone()),
        run: None,
        intent: None,
        unclear: false,
    };
    let lead = apply(&cluster, Retry::COMMAND, vs, &mut change).await?;
    let Change {
        mut group, intent, ..
    } = change;
    group.lead = lead;
    if let Some(intent) = &intent {
        match sync_companions(&cluster, &mut group, intent).await {
            Ok(_) => {}
            // Whatever the other one made of it.
            Err(SyncError::MovedOn) => {
                let (namespace, name) = (group.lead.namespace(), group.lead.name());
                let found = cluster.virtual_service(namespace, name).await;
                group.lead = found.map_err(|_| unconfirmed(&group.lead))?;
            }
            Err(error) => return Err(not_in_sync(context, group, intent, error).await),
        }
    }
    Ok(Changed { group, intent })
}

/// A change of the lead under way.
struct Change<'a, 'c, F> {
    context: &'a mut Context<'c>,
    decide: F,
    /// The objects that the last decision rests on.
    group: Group,
    /// The run that is changed: no later one is meant.
    run: Option<String>,
    intent: Option<Intent>,
    /// Whether an attempt was made whose answer does not tell what became of it.
    unclear: bool,
}

impl<F> Purpose for Change<'_, '_, F>
where
    F: FnMut(&VirtualService, Rollout) -> Result<Option<Intent>, CommandError>,
{
    type Stop = CommandError;

    async fn intent(&mut self, vs: &VirtualService) -> Result<Option<Intent>, CommandError> {
        let intent = self.decide_on(vs).await;
        // After an attempt of which nothing is known no error says that nothing has moved.
        intent.map_err(|error| match self.unclear {
            true => unconfirmed(vs),
            false => error,
        })
    }

    fn unclear(&mut self) {
        self.unclear = true;
    }

    async fn changed(
        &mut self,
        now: VirtualService,
        intent: &Intent,
    ) -> Result<Next, CommandError> {
        // A step that was set, of which another client has changed the weights since: to decide on these would set
        // a second one. Of an end that was edited away nobody can say that it stands.
        let is_set = matches!(intent, Intent::State(_)) && intent.is_recorded(&now);
        Ok(match self.unclear && is_set {
            true => Next::Done(now),
            false => Next::Again(now),
        })
    }

    async fn failed(
        &mut self,
        vs: &VirtualService,
        failure: Failure,
    ) -> Result<VirtualService, CommandError> {
        if self.unclear || failure.is_unknown() {
            return Err(unconfirmed(vs));
        }
        Err(not_written(vs, failure))
    }

    fn retrying(&mut self, _: &VirtualService, failure: &CallError, _: u32) {
        self.unclear |= failure.kind == ErrorKind::Unknown;
    }
}

impl<F> Change<'_, '_, F>
where
    F: FnMut(&VirtualService, Rollout) -> Result<Option<Intent>, CommandError>,
{
    async fn decide_on(&mut self, vs: &VirtualService) -> Result<Option<Intent>, CommandError> {
        let cluster = &self.context.cluster;
        let rollout = under_way(vs)?;
        let run = self.run.get_or_insert_with(|| rollout.run.clone());
        if *run != rollout.run {
            let (name, namespace) = (vs.name(), vs.namespace());
            return Err(CommandError::Conflict(format!(
                "run {run} of virtualservice {namespace}/{name} is over, and run {} is in progress now (try: kubectl canary status {name} -n {namespace})",
                rollout.run
            )));
        }
        self.group = Group {
            lead: vs.clone(),
            companions: companions(cluster, &rollout).await?,
        };
        let now = self.context.clock.now();
        let intent = (self.decide)(vs, rollout.clone())?;
        self.intent = intent.map(|intent| intent.attempted_at(&rollout, now));
        let Some(intent) = &self.intent else {
            return Ok(None);
        };
        if let Some((companion, why)) = self.group.blocker(intent) {
            return Err(CommandError::Conflict(format!(
                "virtualservice {} cannot be patched together with {}: {why} (try: {})",
                companion.full_name(),
                vs.full_name(),
                Rollout::abort_command(vs)
            )));
        }
        Ok(Some(intent.before_companions(cluster.stores())))
    }
}

/// The error of a command that may have moved the lead.
fn unconfirmed(vs: &VirtualService) -> CommandError {
    CommandError::Unconfirmed {
        object: vs.full_name(),
        what: "the rollout was moved".into(),
        next: format!("kubectl canary status {} -n {}", vs.name(), vs.namespace()),
    }
}

/// The error of a command whose write was given up.
pub(super) fn not_written(vs: &VirtualService, failure: Failure) -> CommandError {
    match failure {
        Failure::Call(error) => error.into(),
        Failure::Unwritable(WriteError::State(error)) => error.into(),
        Failure::Unwritable(error @ WriteError::MissingRoutes(_)) => {
            CommandError::Conflict(format!(
                "virtualservice {}: {error} (try: {})",
                vs.full_name(),
                Rollout::abort_command(vs)
            ))
        }
        Failure::Unwritable(error) => {
            CommandError::Conflict(format!("virtualservice {}: {error}", vs.full_name()))
        }
    }
}

/// The lead has moved, and one of the others has not.
async fn not_in_sync(
    context: &mut Context<'_>,
    group: Group,
    intent: &Intent,
    source: SyncError,
) -> CommandError {
    let lead = group.lead.full_name();
    if let SyncError::Unreachable { .. } = source {
        let (name, namespace) = (group.lead.name(), group.lead.namespace());
        return CommandError::Divided {
            why: source.to_string(),
            lead,
            next: format!("kubectl canary resume {name} -n {namespace}"),
        };
    }
    match undo_start(context, group, intent.rollout(), Cause::Refused).await {
        Ok(()) => CommandError::TakenBack {
            lead,
            why: source.to_string(),
        },
        Err(error) => error,
    }
}
