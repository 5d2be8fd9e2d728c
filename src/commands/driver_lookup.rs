//! The driver of a rollout, as its Lease shows it.

use crate::cluster::{CallError, Lease};
use crate::context::Context;
use crate::istio::VirtualService;
use crate::report::{DriverStatus, StatusRow};

/// Whether anybody drives it, and what was seen last; nothing where no driver is to be expected.
pub(super) async fn driver_of(
    context: &Context<'_>,
    vs: &VirtualService,
    row: &StatusRow,
) -> Result<Option<DriverStatus>, CallError> {
    // A companion's driver has the lease of the lead.
    if row.holder.is_none() || row.lead.is_some() {
        return Ok(None);
    }
    let lease = Lease::of(&context.cluster, vs, &context.clock);
    let status = lease.status().await?;
    let now = context.clock.now();
    Ok(Some(DriverStatus::of(status, row.run.as_deref(), now)))
}
