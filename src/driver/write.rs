//! One write to the object, and what became of it.
//!
//! The answer to a PATCH may be lost. So after a failed `test`, a timeout or a 5xx the object is
//! read and compared with what was intended before anything else happens.

use crate::cluster::{CallError, Cluster, ErrorKind};
use crate::istio::VirtualService;
use crate::rollout::{Intent, WriteError};

/// What became of a write.
#[derive(Debug)]
pub enum Written {
    /// The object is as intended.
    Done(VirtualService),
    /// The object is not what was believed; nothing was written. This is how it is.
    Changed(VirtualService),
    /// Nothing was written, or nobody can tell; trying again is safe.
    Failed(CallError),
}

/// Writes `intent` to the object believed to be `vs`: one PATCH, and a GET only where its answer
/// does not tell what became of it.
///
/// # Errors
/// If no patch can be made; see [`WriteError`].
pub async fn write(
    cluster: &Cluster,
    vs: &VirtualService,
    intent: &Intent,
) -> Result<Written, WriteError> {
    let patch = intent.patch(vs)?;
    let error = match cluster.patch(vs, patch).await {
        Ok(now) => return Ok(Written::Done(now)),
        Err(error) => error,
    };
    if !matches!(error.kind, ErrorKind::Precondition | ErrorKind::Unknown) {
        return Ok(Written::Failed(error));
    }
    let now = match cluster.virtual_service(vs.namespace(), vs.name()).await {
        Ok(now) => now,
        Err(gone) if gone.kind == ErrorKind::Missing => return Ok(Written::Failed(gone)),
        Err(_) => return Ok(Written::Failed(error)),
    };
    Ok(if intent.is_done(&now) {
        Written::Done(now)
    } else if error.kind == ErrorKind::Unknown && now.raw() == vs.raw() {
        Written::Failed(error)
    } else {
        Written::Changed(now)
    })
}
