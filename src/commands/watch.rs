//! Looking on: `status --watch` and `list --watch`.

use std::time::Duration;

use tokio::time::Instant;

use super::driver_lookup::driver_of;
use super::status::marked_object;
use crate::cluster::{ListEvent, ListWatch, ObjectEvent, RENEW, Watch};
use crate::context::Context;
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::report::{DriverStatus, Standing, StatusList, StatusRow, age};
use crate::rollout::{LAST, Outcome, ROLLOUT, is_marked_in};

/// Follows one rollout to its end, and says how it ended.
///
/// `see` gets where it stands at the beginning and after each change; with `tick`, also every so often
/// in between, for a clock that goes on, and with what the driver tells of itself, asked for no more
/// often than it renews its lease.
///
/// With `run` it is that run that is followed, from before it begins, and its end is the answer even if it
/// has ended before. Without, a rollout has to be under way: how an earlier one ended is no answer.
///
/// RBAC: `get` and `watch` on `virtualservices`; for what the driver tells, `get` on `leases`.
///
/// # Errors
/// If no rollout is under way, if the object cannot be read or is deleted, on a signal, and whatever `see`
/// fails with.
pub async fn follow(
    context: &mut Context<'_>,
    name: &str,
    run: Option<&str>,
    tick: Option<Duration>,
    see: &mut dyn FnMut(&StatusRow) -> Result<(), CommandError>,
) -> Result<Outcome, CommandError> {
    context
        .unless_interrupted(async |context| follow_on(context, name, run, tick, see).await)
        .await
}

async fn follow_on(
    context: &Context<'_>,
    name: &str,
    run: Option<&str>,
    tick: Option<Duration>,
    see: &mut dyn FnMut(&StatusRow) -> Result<(), CommandError>,
) -> Result<Outcome, CommandError> {
    let mut run = run.map(str::to_owned);
    let mut vs = marked_object(context, &context.namespace, name).await?;
    let mut watch = Watch::from(&context.cluster, &vs);
    let mut drivers = tick.map(|_| Drivers::default());
    loop {
        let row = look(context, &vs, drivers.as_mut()).await;
        see(&row)?;
        // Which one it is shows with its state; one whose state cannot be read is followed all the same.
        if run.is_none() && row.phase == Standing::Idle {
            return Err(nothing_to_follow(&row));
        }
        run = run.or_else(|| row.run.clone());
        let ended = row.last.filter(|last| match &run {
            Some(run) => last.run == *run,
            None => row.phase == Standing::Idle,
        });
        if let Some(last) = ended {
            return Ok(last.outcome);
        }
        vs = loop {
            let seen = tokio::select! {
                biased;
                seen = watch.next() => seen,
                () = passed(tick) => {
                    see(&look(context, &vs, drivers.as_mut()).await)?;
                    continue;
                }
            };
            match seen {
                ObjectEvent::Changed(now) if is_news(&vs, &now) => break *now,
                ObjectEvent::Changed(_) => {}
                ObjectEvent::Deleted => {
                    return Err(CommandError::Conflict(format!(
                        "virtualservice {} was deleted while its rollout was in progress",
                        vs.full_name()
                    )));
                }
            }
        };
    }
}

fn nothing_to_follow(row: &StatusRow) -> CommandError {
    let last = row.last.as_ref().map(|last| {
        let ago = age(row.at.duration_since(last.at));
        format!("; the last one ended {ago} ago: {}", last.outcome)
    });
    CommandError::Conflict(format!(
        "no rollout is in progress on virtualservice {}{} (try: kubectl canary start {} -n {}, or --run RUN to wait for one)",
        row.full_name(),
        last.unwrap_or_default(),
        row.name,
        row.namespace
    ))
}

/// What was last known of the driver.
#[derive(Default)]
struct Drivers {
    looked: Option<Instant>,
    known: Option<DriverStatus>,
}

/// Where it stands now, with the driver where that is wanted.
async fn look(
    context: &Context<'_>,
    vs: &VirtualService,
    drivers: Option<&mut Drivers>,
) -> StatusRow {
    let row = StatusRow::of(vs, context.clock.now()).with_traffic(vs);
    let Some(drivers) = drivers.filter(|_| row.holder.is_some()) else {
        return row;
    };
    if drivers
        .looked
        .is_none_or(|looked| looked.elapsed() >= RENEW)
    {
        drivers.known = driver_of(context, vs, &row).await.ok().flatten();
        drivers.looked = Some(Instant::now());
    }
    match &drivers.known {
        Some(driver) => row.with_driver(vs, driver.clone()),
        None => row,
    }
}

async fn passed(tick: Option<Duration>) {
    match tick {
        Some(tick) => tokio::time::sleep(tick).await,
        None => std::future::pending().await,
    }
}

/// What is shown of many rollouts that are followed.
#[derive(Debug)]
pub enum Glance<'a> {
    /// All there are, at the beginning.
    All(&'a StatusList),
    /// One that changed, and with it the others.
    One(&'a StatusRow, &'a StatusList),
}

/// Follows the rollouts of a namespace, or of all, until a signal.
///
/// RBAC: `list` and `watch` on `virtualservices`.
///
/// # Errors
/// If they cannot be listed or watched, on the signal that ends it, and whatever `see` fails with.
pub async fn follow_all(
    context: &mut Context<'_>,
    all_namespaces: bool,
    all: bool,
    see: &mut dyn FnMut(Glance<'_>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    context
        .unless_interrupted(async |context| follow_all_on(context, all_namespaces, all, see).await)
        .await
}

async fn follow_all_on(
    context: &Context<'_>,
    all_namespaces: bool,
    all: bool,
    see: &mut dyn FnMut(Glance<'_>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let namespace = (!all_namespaces).then_some(context.namespace.as_str());
    let keep = if all { |_: &str| true } else { is_marked_in };
    let mut list_watch = ListWatch::new(&context.cluster, namespace, keep);
    let mut known: Vec<VirtualService> = Vec::new();
    let mut begun = false;
    loop {
        let news = list_watch.next().await?;
        let now = context.clock.now();
        let shown = |known: &[VirtualService]| {
            let marked = known.iter().filter(|vs| all || is_marked(vs));
            StatusList::new(marked.map(|vs| StatusRow::of(vs, now)).collect())
        };
        let changed = match news {
            ListEvent::All(found) if !begun => {
                begun = true;
                known = found;
                let mut list = shown(&known);
                for row in &mut list.items {
                    with_driver(context, &known, row).await;
                }
                see(Glance::All(&list))?;
                continue;
            }
            // After a gap only what is different is news.
            ListEvent::All(found) => {
                let different = found
                    .iter()
                    .filter(|now| same(&known, now).is_none_or(|before| is_news(before, now)));
                let different: Vec<_> = different.cloned().collect();
                known = found;
                different
            }
            ListEvent::Changed(now) => {
                let before = known
                    .iter()
                    .position(|vs| vs.full_name() == now.full_name());
                let before = before.map(|index| known.swap_remove(index));
                if all || is_marked(&now) {
                    known.push((*now).clone());
                }
                if before.is_some_and(|before| !is_news(&before, &now)) {
                    continue;
                }
                vec![*now]
            }
            ListEvent::Deleted(gone) => {
                known.retain(|vs| vs.full_name() != gone.full_name());
                continue;
            }
        };
        let list = shown(&known);
        for vs in changed.iter().filter(|vs| all || is_marked(vs)) {
            let mut row = StatusRow::of(vs, now);
            with_driver(context, &known, &mut row).await;
            see(Glance::One(&row, &list))?;
        }
    }
}

/// Adds the driver, where that may be read.
async fn with_driver(context: &Context<'_>, known: &[VirtualService], row: &mut StatusRow) {
    let name = row.full_name();
    let Some(vs) = known.iter().find(|vs| vs.full_name() == name) else {
        return;
    };
    if let Ok(Some(driver)) = driver_of(context, vs, row).await {
        *row = row.clone().with_driver(vs, driver);
    }
}

fn same<'a>(known: &'a [VirtualService], vs: &VirtualService) -> Option<&'a VirtualService> {
    known.iter().find(|one| one.full_name() == vs.full_name())
}

fn is_marked(vs: &VirtualService) -> bool {
    vs.annotation(ROLLOUT).or(vs.annotation(LAST)).is_some()
}

/// Whether anything differs that a status tells of; managers touch objects for many other reasons.
fn is_news(before: &VirtualService, now: &VirtualService) -> bool {
    [ROLLOUT, LAST]
        .iter()
        .any(|key| before.annotation(key) != now.annotation(key))
        || before.raw().get("spec") != now.raw().get("spec")
}
