//! One driver at a time: the lease of a rollout.

use crate::cluster::{ErrorKind, Lease, LeaseError, LeaseGuard};
use crate::context::Context;
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::rollout::EventKind;

/// Takes the lease; where leases may not be had, the state annotation alone must do, and that is said.
///
/// # Errors
/// If another driver holds it, or the API server does not answer.
pub async fn lock(
    context: &mut Context<'_>,
    vs: &VirtualService,
    run: &str,
) -> Result<LeaseGuard, CommandError> {
    let holder = context.holder();
    let lease = Lease::of(&context.cluster, vs, &context.clock);
    let taken = lease.acquire(&holder).await;
    settled(context, vs, run, taken)
}

/// What came of taking the lease: without the right to leases it goes on without one, and says so.
pub(super) fn settled(
    context: &mut Context<'_>,
    vs: &VirtualService,
    run: &str,
    taken: Result<LeaseGuard, LeaseError>,
) -> Result<LeaseGuard, CommandError> {
    match taken {
        Ok(guard) => Ok(guard),
        Err(LeaseError::Call(error)) if error.kind == ErrorKind::Forbidden => {
            let text = format!(
                "{error}; continuing without a lease; only the state on the object keeps other drivers out"
            );
            context.emit(vs, run, EventKind::Warning { text });
            Ok(LeaseGuard::without_lease(&context.holder()))
        }
        Err(error) => Err(error.into()),
    }
}
