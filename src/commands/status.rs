//! `status`: where a rollout stands, from one GET, and one of the lease while one is under way; with
//! `--watch` until it ends.

use clap::Args;

use super::driver_lookup::driver_of;
use super::list::rows;
use crate::context::{Context, object_name};
use crate::discovery::delegate_with_rollout;
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::report::{StatusList, StatusRow};
use crate::rollout::{LAST, ObjectName, ROLLOUT};

/// What `status` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Status {
    /// The VirtualService; if omitted, all rollouts in the namespace.
    #[arg(value_name = "NAME", conflicts_with = "all_namespaces")]
    pub name: Option<String>,
    /// List the rollouts across all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Watch for changes: with NAME until the rollout in progress ends, with its exit code; without
    /// until Ctrl-C.
    #[arg(short = 'w', long)]
    pub watch: bool,
    /// The run to watch: from before it begins, and its end even if it has ended before.
    #[arg(long, value_name = "RUN", requires_all = ["watch", "name"])]
    pub run: Option<String>,
}

/// What `status` found.
#[derive(Debug)]
pub enum StatusAnswer {
    /// The one asked for.
    One(Box<StatusRow>),
    /// All there are.
    Many(StatusList),
}

/// Reads where a rollout stands.
///
/// RBAC: `get` on `virtualservices` and, to tell whether the driver lives, on `leases`; also in the namespaces of those that move along; or `list` without a name.
///
/// # Errors
/// If the object cannot be read. A damaged state is shown as what it is, not an error.
pub async fn status(context: &Context<'_>, args: &Status) -> Result<StatusAnswer, CommandError> {
    let Some(name) = &args.name else {
        return Ok(StatusAnswer::Many(
            rows(context, args.all_namespaces, false).await?,
        ));
    };
    let vs = marked_object(context, &context.namespace, name).await?;
    let row = StatusRow::of(&vs, context.clock.now());
    let row = match driver_of(context, &vs, &row).await {
        Ok(Some(driver)) => row.with_driver(&vs, driver),
        // Unknown to those who may not look at leases.
        Ok(None) | Err(_) => row,
    };
    let mut found = Vec::new();
    for ObjectName { namespace, name } in &row.companions {
        // One that cannot be read is named, if not described.
        found.extend(context.cluster.virtual_service(namespace, name).await);
    }
    Ok(StatusAnswer::One(Box::new(
        row.with_companions(&vs, &found),
    )))
}

/// The object called `name`, or the one of its delegates on which its rollout stands.
pub(super) async fn marked_object(
    context: &Context<'_>,
    namespace: &str,
    name: &str,
) -> Result<VirtualService, CommandError> {
    let vs = context
        .cluster
        .virtual_service(namespace, object_name(name)?)
        .await?;
    Ok(match (vs.annotation(ROLLOUT), vs.annotation(LAST)) {
        (None, None) => delegate_with_rollout(context, &vs).await?.unwrap_or(vs),
        _ => vs,
    })
}
