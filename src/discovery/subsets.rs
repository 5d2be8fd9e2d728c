//! The subsets that the DestinationRules around a rollout define.

use std::collections::BTreeSet;

use super::snapshot::subsets_meant;
use crate::cluster::Subset;
use crate::context::Context;
use crate::error::CommandError;
use crate::rollout::Rollout;

/// The subsets that the versions of a rollout under way can be.
///
/// # Errors
/// If they cannot be listed.
pub async fn subsets(
    context: &Context<'_>,
    rollout: &Rollout,
) -> Result<Vec<Subset>, CommandError> {
    let mut namespaces = BTreeSet::from([context.namespace.clone()]);
    for version in [&rollout.stable, &rollout.canary] {
        if version.subset.is_some()
            && let Some((_, namespace)) = version.host.service()
        {
            namespaces.insert(namespace.to_owned());
        }
    }
    let mut around = context.cluster.visible_destination_rules(&namespaces).await;
    match around.failed.pop() {
        Some((_, error)) => Err(error.into()),
        None => Ok(subsets_meant(&around.found, &context.namespace)),
    }
}
