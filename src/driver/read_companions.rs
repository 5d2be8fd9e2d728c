//! Reading the objects that move with a lead.

use futures::future::join_all;

use crate::cluster::{CallError, Cluster};
use crate::istio::VirtualService;
use crate::rollout::Rollout;

/// Reads the companions of a rollout, in order.
///
/// # Errors
/// The first that cannot be read.
pub async fn companions(
    cluster: &Cluster,
    rollout: &Rollout,
) -> Result<Vec<VirtualService>, CallError> {
    let objects = rollout.companions.iter().map(|companion| &companion.object);
    let found = objects.map(|object| cluster.virtual_service(&object.namespace, &object.name));
    join_all(found).await.into_iter().collect()
}
