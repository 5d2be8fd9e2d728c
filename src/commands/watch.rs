//! Looking on: `status --watch` and `list --watch`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;
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
    let mut list_watch = ListWatch::new(&context.cluster, namespace, keep, FollowedObject::of);
    let mut known: BTreeMap<String, FollowedObject> = BTreeMap::new();
    let mut begun = false;
    loop {
        let news = list_watch.next().await?;
        let now = context.clock.now();
        let shown = |known: &BTreeMap<String, FollowedObject>| {
            let shown = known.values().filter(|one| all || one.marked.is_some());
            StatusList::new(shown.map(|one| one.row_at(now)).collect())
        };
        let changed: Vec<String> = match news {
            ListEvent::All(found) if !begun => {
                begun = true;
                known = found.into_iter().map(FollowedObject::named).collect();
                let mut list = shown(&known);
                for row in &mut list.items {
                    with_driver(context, &known, row).await;
                }
                see(Glance::All(&list))?;
                continue;
            }
            // After a gap only what is different is news.
            ListEvent::All(found) => {
                let found: BTreeMap<_, _> = found.into_iter().map(FollowedObject::named).collect();
                let different = found
                    .iter()
                    .filter(|(name, now)| now.is_news_after(known.get(*name)));
                let different = different.map(|(name, _)| name.clone()).collect();
                known = found;
                different
            }
            ListEvent::Changed(now) => {
                let (name, now) = now.named();
                let is_news = now.is_news_after(known.get(&name));
                if all || now.marked.is_some() {
                    known.insert(name.clone(), now);
                } else {
                    known.remove(&name);
                }
                if !is_news {
                    continue;
                }
                vec![name]
            }
            ListEvent::Deleted(gone) => {
                known.remove(&gone.named().0);
                continue;
            }
        };
        let list = shown(&known);
        let changed = changed.iter().filter_map(|name| known.get(name));
        for one in changed.filter(|one| all || one.marked.is_some()) {
            let mut row = one.row_at(now);
            with_driver(context, &known, &mut row).await;
            see(Glance::One(&row, &list))?;
        }
    }
}

/// What is kept of an object that is followed among others: all of it only where it has a rollout, as there
/// may be ten thousand without.
#[derive(Clone, Debug, PartialEq)]
struct FollowedObject {
    /// As of no particular time.
    row: StatusRow,
    /// Of all that a status tells of: what a manager changes besides is no news.
    digest: u64,
    marked: Option<VirtualService>,
}

impl FollowedObject {
    fn of(vs: VirtualService) -> Self {
        let mut hasher = DefaultHasher::new();
        [ROLLOUT, LAST]
            .map(|key| vs.annotation(key))
            .hash(&mut hasher);
        vs.spec().to_string().hash(&mut hasher);
        Self {
            row: StatusRow::of(&vs, Timestamp::UNIX_EPOCH),
            digest: hasher.finish(),
            marked: is_marked(&vs).then_some(vs),
        }
    }

    fn named(self) -> (String, Self) {
        (self.row.full_name(), self)
    }

    fn row_at(&self, now: Timestamp) -> StatusRow {
        match &self.marked {
            Some(vs) => StatusRow::of(vs, now),
            None => StatusRow {
                at: now,
                ..self.row.clone()
            },
        }
    }

    fn is_news_after(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| before.digest != self.digest)
    }
}

/// Adds the driver, where that may be read.
async fn with_driver(
    context: &Context<'_>,
    known: &BTreeMap<String, FollowedObject>,
    row: &mut StatusRow,
) {
    let found = known.get(&row.full_name());
    let Some(vs) = found.and_then(|one| one.marked.as_ref()) else {
        return;
    };
    if let Ok(Some(driver)) = driver_of(context, vs, row).await {
        *row = row.clone().with_driver(vs, driver);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn vs(weight: i64, annotations: &Value) -> VirtualService {
        VirtualService::new(json!({
            "metadata": {
                "namespace": "shop", "name": "reviews", "uid": "1", "annotations": annotations,
                "managedFields": [{"manager": "helm"}],
            },
            "spec": {"http": [{"route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100 - weight},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": weight},
            ]}]},
        }))
        .unwrap()
    }

    #[test]
    fn of_an_object_without_a_rollout_only_the_row_is_kept() {
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        let idle = FollowedObject::of(vs(0, &json!({})));
        assert_eq!(idle.marked, None);
        assert_eq!(idle.row_at(now), StatusRow::of(&vs(0, &json!({})), now));
        let last = json!({LAST: "{}"});
        let over = FollowedObject::of(vs(0, &last));
        assert_eq!(over.marked, Some(vs(0, &last)));
        assert_eq!(over.row_at(now), StatusRow::of(&vs(0, &last), now));
    }

    #[test]
    fn other_weights_and_another_state_are_news_and_nothing_else_is() {
        let before = FollowedObject::of(vs(0, &json!({})));
        let same = FollowedObject::of(vs(0, &json!({"helm.sh/chart": "x"})));
        assert!(!same.is_news_after(Some(&before)));
        for news in [vs(10, &json!({})), vs(0, &json!({LAST: "{}"}))] {
            assert!(FollowedObject::of(news).is_news_after(Some(&before)));
        }
        assert!(before.is_news_after(None));
    }
}
