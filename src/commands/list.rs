//! `list`: the rollouts of a namespace.

use clap::Args;

use crate::context::Context;
use crate::error::CommandError;
use crate::report::{StatusList, StatusRow};
use crate::rollout::{LAST, ROLLOUT};

/// What `list` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct List {
    /// List the rollouts across all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Include VirtualServices without a rollout.
    #[arg(long)]
    pub all: bool,
    /// After listing, watch for changes until Ctrl-C.
    #[arg(short = 'w', long)]
    pub watch: bool,
}

/// Lists rollouts, those that are over included.
///
/// RBAC: `list` on `virtualservices`.
///
/// # Errors
/// If they cannot be listed.
pub async fn list(context: &Context<'_>, args: &List) -> Result<StatusList, CommandError> {
    rows(context, args.all_namespaces, args.all).await
}

pub(super) async fn rows(
    context: &Context<'_>,
    all_namespaces: bool,
    all: bool,
) -> Result<StatusList, CommandError> {
    let namespace = (!all_namespaces).then_some(context.namespace.as_str());
    let found = context.cluster.virtual_services(namespace).await?;
    let now = context.clock.now();
    let marked = found
        .iter()
        .filter(|vs| all || vs.annotation(ROLLOUT).or(vs.annotation(LAST)).is_some());
    Ok(StatusList::new(
        marked
            .map(|vs| StatusRow::of(vs, now).with_companions(vs, &found))
            .collect(),
    ))
}
