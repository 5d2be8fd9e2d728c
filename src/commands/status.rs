//! `status`: where the traffic is, where a rollout stands and how the last one ended; with `--watch` until it
//! ends.

use std::time::Duration;

use clap::Args;
use futures::future::join_all;

use super::driver_lookup::driver_of;
use super::list::rows;
use crate::context::{Context, object_name};
use crate::discovery::{delegate_with_rollout, version_pods};
use crate::error::CommandError;
use crate::history::{RunRecord, StateDirectory, copy_of};
use crate::istio::VirtualService;
use crate::report::{Standing, StatusList, StatusRow};
use crate::rollout::{LAST, ObjectName, ROLLOUT};

/// How long the record in the cluster is waited for.
const SOON: Duration = Duration::from_secs(1);

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
/// RBAC: `get` on `virtualservices` and, to tell whether the driver is running, on `leases`; also in the namespaces
/// of companions; or `list` without a name. What runs behind the versions, and why the last rollout ended as it
/// did, is left out where it may not be read: `get` on `services` and `configmaps`, `list` on `pods` and
/// `destinationrules`.
///
/// # Errors
/// If the object cannot be read. A damaged state is shown as what it is, not an error.
pub async fn status(
    context: &Context<'_>,
    args: &Status,
    directory: Option<&StateDirectory>,
) -> Result<StatusAnswer, CommandError> {
    let Some(name) = &args.name else {
        return Ok(StatusAnswer::Many(
            rows(context, args.all_namespaces, false).await?,
        ));
    };
    let vs = marked_object(context, &context.namespace, name).await?;
    let row = StatusRow::of(&vs, context.clock.now());
    // One that cannot be read is named, if not described.
    let companions = row.companions.iter().map(async |companion| {
        let ObjectName { namespace, name } = companion;
        context.cluster.virtual_service(namespace, name).await.ok()
    });
    let (driver, companions, versions, run) = futures::join!(
        driver_of(context, &vs, &row),
        join_all(companions),
        version_pods(&context.cluster, &vs),
        last_run(context, &vs, &row, directory),
    );
    let row = match driver {
        Ok(Some(driver)) => row.with_driver(&vs, driver),
        // Unknown to those who may not look at leases.
        Ok(None) | Err(_) => row,
    };
    let companions: Vec<_> = companions.into_iter().flatten().collect();
    let row = row.with_companions(&vs, &companions).with_traffic(&vs);
    let row = row.with_versions(&versions);
    Ok(StatusAnswer::One(Box::new(match row.phase {
        Standing::Idle => row.with_last_run(&run),
        _ => row,
    })))
}

/// What is on record of the last rollout, where none is under way: on this machine, else in the cluster.
///
/// RBAC: `get` on `configmaps`.
async fn last_run(
    context: &Context<'_>,
    vs: &VirtualService,
    row: &StatusRow,
    directory: Option<&StateDirectory>,
) -> Result<Option<RunRecord>, String> {
    let last = row.last.as_ref().filter(|_| row.phase == Standing::Idle);
    let Some(last) = last else {
        return Ok(None);
    };
    // The record of a group is that of its lead.
    let object = last.lead.clone().unwrap_or_else(|| ObjectName::of(vs));
    let here = directory.and_then(|directory| directory.end_of(&object, &last.run));
    let is_whole = |record: &RunRecord| {
        let end = record.end();
        end.is_some_and(|(_, outcome)| outcome.ends_rollout())
    };
    if here.as_ref().is_some_and(is_whole) {
        return Ok(here);
    }
    let cluster = context.cluster.clone().within(SOON);
    let copy = copy_of(&cluster, &object, &last.run).await;
    match (copy, here) {
        (Ok(Some(mut copy)), Some(here)) => {
            copy.merge(here);
            Ok(Some(copy))
        }
        (Ok(copy), here) => Ok(copy.or(here)),
        (Err(_), Some(here)) => Ok(Some(here)),
        (Err(why), None) => Err(why),
    }
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
