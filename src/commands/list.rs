//! `list`: the rollouts of a namespace.

use std::collections::BTreeSet;

use clap::Args;
use futures::StreamExt;

use super::driver_lookup::driver_of;
use crate::cluster::CallError;
use crate::context::Context;
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::report::{StatusList, StatusRow};
use crate::rollout::{LAST, ROLLOUT, is_marked_in};

/// How many drivers are asked for at the same time.
const AT_ONCE: usize = 16;

/// What `list` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct List {
    /// List the rollouts across all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Include VirtualServices without a rollout.
    #[arg(long)]
    pub all: bool,
    /// List only rollouts without a running driver, and exit with 3 if there are any.
    #[arg(long, conflicts_with_all = ["all", "watch"])]
    pub orphaned: bool,
    /// After listing, watch for changes until Ctrl-C.
    #[arg(short = 'w', long)]
    pub watch: bool,
}

/// Lists rollouts, those that are over included.
///
/// RBAC: `list` on `virtualservices`, and, to tell whether drivers are running, `get` on `leases`.
///
/// # Errors
/// If they cannot be listed; where orphaned ones are asked for, also if it cannot be told whether one is.
pub async fn list(context: &Context<'_>, args: &List) -> Result<StatusList, CommandError> {
    let found = rows_read(context, args.all_namespaces, args.all).await?;
    if !args.orphaned {
        return Ok(found.list());
    }
    if let Some(error) = found.unread.into_iter().next() {
        return Err(error.into());
    }
    let rows = found.rows.into_iter();
    Ok(StatusList::new(
        rows.filter(StatusRow::is_orphaned).collect(),
    ))
}

/// What was read of many rollouts.
struct RowsRead {
    rows: Vec<StatusRow>,
    /// Why it is not known of some whether they are orphaned.
    unread: Vec<CallError>,
}

impl RowsRead {
    fn list(self) -> StatusList {
        StatusList::new(self.rows)
    }
}

pub(super) async fn rows(
    context: &Context<'_>,
    all_namespaces: bool,
    all: bool,
) -> Result<StatusList, CommandError> {
    Ok(rows_read(context, all_namespaces, all).await?.list())
}

async fn rows_read(
    context: &Context<'_>,
    all_namespaces: bool,
    all: bool,
) -> Result<RowsRead, CommandError> {
    let namespace = (!all_namespaces).then_some(context.namespace.as_str());
    let now = context.clock.now();
    // Of the others no more than a row is kept: there may be ten thousand of them.
    let row_of = |vs: VirtualService| {
        let is_marked = vs.annotation(ROLLOUT).or(vs.annotation(LAST)).is_some();
        (StatusRow::of(&vs, now), is_marked.then_some(vs))
    };
    let keep = |json: &str| all || is_marked_in(json);
    let listed = context.cluster.virtual_services(namespace, keep, row_of);
    let mut listed = listed.await?;
    listed.retain(|(_, vs)| all || vs.is_some());
    let found = &with_companions(context, namespace, &listed).await;
    let asked = listed.into_iter().map(|(row, vs)| async move {
        let Some(vs) = &vs else {
            return (row, None);
        };
        let row = row.with_companions(vs, found);
        match driver_of(context, vs, &row).await {
            Ok(Some(driver)) => (row.with_driver(vs, driver), None),
            Ok(None) => (row, None),
            Err(error) => {
                let unread = row.needs_driver().then_some(error);
                (row, unread)
            }
        }
    });
    let asked: Vec<_> = futures::stream::iter(asked)
        .buffered(AT_ONCE)
        .collect()
        .await;
    let (rows, unread): (_, Vec<_>) = asked.into_iter().unzip();
    Ok(RowsRead {
        rows,
        unread: unread.into_iter().flatten().collect(),
    })
}

/// The objects of the list, and those that a rollout moves together with and that have lost every mark of it.
async fn with_companions(
    context: &Context<'_>,
    namespace: Option<&str>,
    listed: &[(StatusRow, Option<VirtualService>)],
) -> Vec<VirtualService> {
    let mut found: Vec<_> = listed.iter().filter_map(|(_, vs)| vs.clone()).collect();
    let companions = listed.iter().flat_map(|(row, _)| &row.companions);
    let missing = companions
        .filter(|name| namespace.is_none_or(|namespace| namespace == name.namespace))
        .filter(|name| !found.iter().any(|vs| name.names(vs)));
    let missing: BTreeSet<_> = missing.map(|name| (&name.namespace, &name.name)).collect();
    let read = missing.into_iter().map(|(namespace, name)| {
        // One that cannot be read is named, if not described.
        async { context.cluster.virtual_service(namespace, name).await.ok() }
    });
    let read: Vec<_> = futures::stream::iter(read)
        .buffered(AT_ONCE)
        .collect()
        .await;
    found.extend(read.into_iter().flatten());
    found
}
