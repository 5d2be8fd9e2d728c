//! From the object that was named to the one on which the rollout stands: from a root to its delegate,
//! from a companion to its lead.

use crate::cluster::{CallError, ErrorKind};
use crate::context::{Context, object_name};
use crate::error::CommandError;
use crate::istio::{Delegate, VirtualService, delegate_of};
use crate::plan::Finding;
use crate::rollout::{LAST, ObjectName, ROLLOUT, Rollout, is_marked_in};

/// Acts on the VirtualService called `name`; where that moves with another, on its lead; and where no
/// rollout is under way there, on the one delegate of its routes that has one.
///
/// Delegates are read only when the object itself has no routes to shift, as that takes another call.
pub async fn on_delegate<T>(
    context: &mut Context<'_>,
    name: &str,
    mut act: impl AsyncFnMut(&mut Context<'_>, &str) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let name = object_name(name)?;
    let nothing = match act(context, name).await {
        Err(CommandError::MovesWith { object, lead, .. }) => {
            lead.namespace.clone_into(&mut context.namespace);
            return act(context, &lead.name)
                .await
                .map_err(|error| leadless(&object, &lead, error));
        }
        Err(nothing @ CommandError::NoRollout { .. }) => nothing,
        done => return done,
    };
    let elsewhere = context.unless_interrupted(async |context| {
        let root = context
            .cluster
            .virtual_service(&context.namespace, name)
            .await?;
        Ok(match delegate_with_rollout(context, &root).await? {
            Some(found) => Some(found),
            None => lead_that_names(context, &root).await?,
        })
    });
    match elsewhere.await? {
        Some(found) => {
            found.namespace().clone_into(&mut context.namespace);
            act(context, found.name()).await
        }
        None => Err(nothing),
    }
}

/// The object whose rollout is to take `vs` along, where the rollout has not reached it yet or has
/// left it already: one of the same namespace.
async fn lead_that_names(
    context: &Context<'_>,
    vs: &VirtualService,
) -> Result<Option<VirtualService>, CommandError> {
    let listed = context
        .cluster
        .virtual_services(Some(vs.namespace()), is_marked_in, |vs| vs);
    // Without the right to list them the user has to name the lead.
    let all = seen(listed.await)?.unwrap_or_default();
    Ok(all.into_iter().find(|other| {
        let rollout = Rollout::read(other).ok().flatten();
        rollout.is_some_and(|rollout| {
            let mut also = rollout.companions.iter();
            also.any(|companion| companion.object.names(vs))
        })
    }))
}

/// What there is to see; nothing where it is not there, or not for us to see.
///
/// That there was no answer does not mean that there is nothing.
fn seen<T>(asked: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match asked {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.kind {
            ErrorKind::Missing | ErrorKind::Unserved | ErrorKind::Forbidden => Ok(None),
            _ => Err(error),
        },
    }
}

/// The lead that a companion says it moves with in this run, if the run is under way there.
pub async fn lead_of(
    context: &Context<'_>,
    run: &str,
    lead: &Option<ObjectName>,
) -> Result<Option<(VirtualService, Rollout)>, CommandError> {
    let Some(ObjectName { namespace, name }) = lead else {
        return Ok(None);
    };
    let lead = context.cluster.virtual_service(namespace, name).await;
    let found = seen(lead)?.and_then(|lead| {
        let rollout = Rollout::read(&lead).ok().flatten()?;
        (rollout.run == run).then_some((lead, rollout))
    });
    Ok(found)
}

/// There is nothing to act upon where a companion says that its lead is.
fn leadless(object: &str, lead: &ObjectName, error: CommandError) -> CommandError {
    let gone = match &error {
        CommandError::NoRollout { .. } => true,
        CommandError::Call(error) => error.kind == ErrorKind::Missing,
        _ => false,
    };
    if !gone {
        return error;
    }
    let (namespace, name) = object.split_once('/').unwrap_or_default();
    CommandError::Conflict(format!(
        "virtualservice {object} is shifted together with {lead}, which has no rollout in progress any more (try: kubectl canary abort {name} -n {namespace})"
    ))
}

/// The delegate of `root` with a rollout under way; without any, the one where the last rollout was.
///
/// # Errors
/// If there are several: which is meant is not for us to guess.
pub async fn delegate_with_rollout(
    context: &Context<'_>,
    root: &VirtualService,
) -> Result<Option<VirtualService>, CommandError> {
    let mut delegates: Vec<Delegate> = root.delegates().into_iter().map(|(_, to)| to).collect();
    delegates.sort();
    delegates.dedup();
    let mut found = Vec::new();
    for Delegate { namespace, name } in delegates {
        let asked = context.cluster.virtual_service(&namespace, &name).await;
        // One that is not there, or not for us to see, has no rollout of ours either.
        found.extend(seen(asked)?);
    }
    for annotation in [ROLLOUT, LAST] {
        let mut marked = found
            .iter()
            .filter(|vs| vs.annotation(annotation).is_some());
        match (marked.next(), marked.next()) {
            (None, _) => {}
            (Some(one), None) => return Ok(Some(one.clone())),
            (Some(_), Some(_)) if annotation == LAST => {}
            (Some(one), Some(other)) => {
                return Err(CommandError::Conflict(format!(
                    "virtualservice {} delegates to {} and {}, and both have a rollout in progress (try: the same command with {} -n {})",
                    root.full_name(),
                    one.full_name(),
                    other.full_name(),
                    one.name(),
                    one.namespace()
                )));
            }
        }
    }
    Ok(None)
}

/// A delegate that does not exist, with the rules that lead to it.
fn not_there(error: CallError, root: &VirtualService, through: &[String]) -> CallError {
    if error.kind != ErrorKind::Missing {
        return error;
    }
    let rules = format!(
        "{} of virtualservice {}",
        through.join(", "),
        root.full_name()
    );
    CallError {
        attempted: format!("{}, to which {rules} delegates", error.attempted),
        why: format!(
            "not found, so that Istio ignores what delegates to it (try: a virtualservice that exists: kubectl edit virtualservice {} -n {})",
            root.name(),
            root.namespace()
        ),
        ..error
    }
}

/// The object itself, or the delegate that its chosen routes lead to; and the routes to shift there.
pub async fn object_to_change(
    context: &Context<'_>,
    vs: VirtualService,
    routes: Vec<String>,
    findings: &mut Vec<Finding>,
) -> Result<(VirtualService, Vec<String>), CommandError> {
    let Some(handover) = delegate_of(&vs, &routes)? else {
        return Ok((vs, routes));
    };
    let Delegate { namespace, name } = &handover.delegate;
    let delegate = context
        .cluster
        .virtual_service(namespace, name)
        .await
        .map_err(|error| CommandError::unreadable(not_there(error, &vs, &handover.through)))?;
    findings.push(Finding::ok(format!(
        "{} of virtualservice {} delegates to {}, which is the object that is patched",
        handover.through.join(", "),
        vs.full_name(),
        delegate.full_name()
    )));
    Ok((delegate, handover.routes))
}
