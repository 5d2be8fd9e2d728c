//! From a root to the delegate on which the rollout stands.

use super::environment::object_name;
use super::prepare::unreadable;
use super::{CommandError, Environment};
use crate::plan::Finding;
use crate::record::{LAST, ROLLOUT};
use crate::traffic::{Delegate, VirtualService, delegate_of};

/// Acts on the VirtualService called `name`, and where no rollout is under way there, on the one
/// delegate of its routes that has one.
///
/// Only when there is nothing to act upon are the delegates looked at, so nobody waits for them.
pub(super) async fn on_delegate<T>(
    environment: &mut Environment<'_>,
    name: &str,
    mut act: impl AsyncFnMut(&mut Environment<'_>, &str) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let name = object_name(name)?;
    let nothing = match act(environment, name).await {
        Err(nothing @ CommandError::NoRollout { .. }) => nothing,
        done => return done,
    };
    let root = environment
        .cluster
        .virtual_service(&environment.namespace, name)
        .await?;
    match delegate_with_rollout(environment, &root).await? {
        Some(found) => {
            found.namespace().clone_into(&mut environment.namespace);
            act(environment, found.name()).await
        }
        None => Err(nothing),
    }
}

/// The delegate of `root` with a rollout under way; without any, the one where the last rollout was.
///
/// # Errors
/// If there are several: which is meant is not for us to guess.
pub(super) async fn delegate_with_rollout(
    environment: &Environment<'_>,
    root: &VirtualService,
) -> Result<Option<VirtualService>, CommandError> {
    let mut delegates: Vec<Delegate> = root.delegates().into_iter().map(|(_, to)| to).collect();
    delegates.sort();
    delegates.dedup();
    let mut found = Vec::new();
    for Delegate { namespace, name } in delegates {
        let asked = environment.cluster.virtual_service(&namespace, &name).await;
        // One that is not there, or not for us to see, has no rollout of ours either.
        found.extend(asked.ok());
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
                    "virtualservice {} delegates to {} and {}, and both have a rollout under way (try: the same with {} -n {})",
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

/// The object itself, or the delegate that its chosen routes lead to; and the routes to shift there.
pub(super) async fn object_to_change(
    environment: &Environment<'_>,
    vs: VirtualService,
    routes: Vec<String>,
    findings: &mut Vec<Finding>,
) -> Result<(VirtualService, Vec<String>), CommandError> {
    let Some(handover) = delegate_of(&vs, &routes)? else {
        return Ok((vs, routes));
    };
    let Delegate { namespace, name } = &handover.delegate;
    let delegate = environment
        .cluster
        .virtual_service(namespace, name)
        .await
        .map_err(unreadable)?;
    findings.push(Finding::ok(format!(
        "{} of virtualservice {} delegates to {}, which is the object that changes",
        handover.through.join(", "),
        vs.full_name(),
        delegate.full_name()
    )));
    Ok((delegate, handover.routes))
}
