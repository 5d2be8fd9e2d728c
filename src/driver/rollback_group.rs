//! The road back for objects that move together: the companions in reverse order, then the lead.
//!
//! The lead's state says who moves with it, so it goes last. No object waits long for another: one
//! that cannot be restored keeps neither the others' traffic from going back, nor the lead's weights.

use std::iter::repeat;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout};

use super::apply::Retry;
use super::finish::millis;
use super::rollback::{Extent, Initiator, Restored, RollbackError, RollbackRequest, roll_back};
use crate::cluster::{CallError, Cluster, ErrorKind};
use crate::istio::VirtualService;
use crate::rollout::{
    Cause, Companion, Drift, EventKind, Group, LastRollout, ObjectName, Observed, Outcome, Rollout,
    RouteChange, VersionCounts, compare, route_of,
};

/// How long the next object waits for the one before it.
const STAGGER: Duration = Duration::from_secs(1);

type Emit<'a> = dyn FnMut(EventKind) + Send + 'a;

/// Objects whose original weights could not be restored.
#[derive(Debug, thiserror::Error)]
#[error("{}", told(.0))]
pub struct GroupNotRestored(pub Vec<NotRestored>);

/// One object that does not have its original weights, or of which it is not known.
#[derive(Debug)]
pub struct NotRestored {
    /// `namespace/name`.
    pub object: String,
    /// The object as last seen, if it was.
    pub vs: Option<VirtualService>,
    /// The rollout with this object's routes.
    pub rollout: Rollout,
    /// Whether it is the lead.
    pub is_lead: bool,
    /// Why.
    pub error: RollbackError,
}

fn told(left: &[NotRestored]) -> String {
    let lines = left.iter().map(|left| match left.is_lead {
        true => left.error.to_string(),
        false => format!("virtualservice {}: {}", left.object, left.error),
    });
    lines.collect::<Vec<_>>().join("; ")
}

impl GroupNotRestored {
    /// The one error that counts: what needs manual attention before what another driver looks after.
    pub fn into_error(mut self) -> RollbackError {
        let text = self.to_string();
        let at = |severe: &dyn Fn(&RollbackError) -> bool| {
            self.0.iter().position(|left| severe(&left.error))
        };
        let worst = at(&|error| {
            matches!(
                error,
                RollbackError::Impossible(_)
                    | RollbackError::OutOfTime(_)
                    | RollbackError::Deleted(_)
                    | RollbackError::PromotionChanged(_)
            )
        });
        let place = worst
            .or_else(|| at(&|error| matches!(error, RollbackError::TakenOver(_))))
            .or_else(|| at(&|error| matches!(error, RollbackError::Drifted { .. })));
        let left = self.0.swap_remove(place.unwrap_or(0));
        match left.error {
            RollbackError::Impossible(_)
            | RollbackError::OutOfTime(_)
            | RollbackError::Deleted(_)
                if !self.0.is_empty() =>
            {
                RollbackError::Impossible(text)
            }
            RollbackError::Impossible(_) | RollbackError::OutOfTime(_) if !left.is_lead => {
                RollbackError::Impossible(text)
            }
            RollbackError::Drifted { manager, drift } if !left.is_lead => RollbackError::Drifted {
                manager,
                drift: Box::new(Drift {
                    object: left.object.parse().ok(),
                    ..*drift
                }),
            },
            error => error,
        }
    }
}

/// Rolls a group back and tells of it: the original weights of `rollout` on its lead and its companions.
///
/// Companions that have not been read yet are read. `total_counts` is what was seen over all steps, as far as the
/// caller knows.
///
/// # Errors
/// Which objects could not be restored. All others were; and as long as one is left, the lead keeps
/// its state, so that doing it again finds them all.
pub async fn roll_back_group(
    request: &RollbackRequest<'_>,
    group: &Group,
    rollout: &Rollout,
    total_counts: Option<VersionCounts>,
    emit: &mut Emit<'_>,
) -> Result<Restored, GroupNotRestored> {
    emit(EventKind::RollingBack {
        cause: request.cause,
        exposure: rollout.exposure(),
    });
    let restored = restore_group(request, group, rollout, emit).await?;
    let cause = restored.cause;
    emit(EventKind::RolledBack {
        cause,
        after: rollout.after(cause),
        routes: restored.changes.clone(),
        took_millis: millis(restored.took),
        total_counts,
    });
    Ok(restored)
}

async fn restore_group(
    request: &RollbackRequest<'_>,
    group: &Group,
    rollout: &Rollout,
    emit: &mut Emit<'_>,
) -> Result<Restored, GroupNotRestored> {
    let began = Instant::now();
    let lead = &group.lead;
    let of_lead = |error| NotRestored {
        object: lead.full_name(),
        vs: Some(lead.clone()),
        rollout: rollout.clone(),
        is_lead: true,
        error,
    };
    let alone = |error| GroupNotRestored(vec![of_lead(error)]);
    if rollout.companions.is_empty() {
        let restored = roll_back(request, Extent::Alone, lead.clone(), rollout, emit).await;
        return restored.map_err(alone);
    }
    if let Some(last) = promoted_meanwhile(request, lead, rollout).await {
        return Err(alone(RollbackError::Ended(last)));
    }
    let emit = Mutex::new(emit);
    let (emit, mut now, mut changes) = (&emit, lead.clone(), Vec::new());
    let mut running = FuturesUnordered::new();
    let mut done = Vec::new();
    let seen = group.companions.iter().cloned().map(Some);
    let members = rollout.companions.iter().zip(seen.chain(repeat(None)));
    for (companion, seen) in members.collect::<Vec<_>>().into_iter().rev() {
        running.push(restore_companion(
            request, lead, rollout, companion, seen, emit,
        ));
        let all_done = async {
            while let Some(one) = running.next().await {
                done.push(one);
            }
        };
        // Whether they came to an end in time or not, the next one begins.
        let _ = timeout(STAGGER, all_done).await;
    }
    // As long as nothing of it is written, the promotion of all of them stands.
    if let Some(last) = promoted_before_any_write(&done) {
        return Err(alone(RollbackError::Ended(last)));
    }
    if !running.is_empty() || done.iter().any(Result::is_err) {
        if done.iter().all(wrote_nothing)
            && let Some(last) = promoted_meanwhile(request, lead, rollout).await
        {
            return Err(alone(RollbackError::Ended(last)));
        }
        let others = async { running.by_ref().collect::<Vec<_>>().await };
        let mut emit_lead = shared(emit);
        let weights = roll_back(
            request,
            Extent::WeightsOnly,
            lead.clone(),
            rollout,
            &mut emit_lead,
        );
        let (mut restored, others) = futures::join!(weights, others);
        done.extend(others);
        if let Some(last) = promotion_found(&restored) {
            if done.iter().all(wrote_nothing) {
                return Err(alone(RollbackError::Ended(last)));
            }
            let request = &although_promoted(request);
            let vs = lead.clone();
            restored = roll_back(request, Extent::WeightsOnly, vs, rollout, &mut emit_lead).await;
        }
        let done = &mut done;
        undo_promoted(request, lead, rollout, done, emit).await;
        let failed = done.iter().any(Result::is_err);
        let restored = match restored {
            Ok(restored) if !failed => restored,
            restored => {
                let mut left: Vec<_> = done.drain(..).filter_map(Result::err).collect();
                left.extend(restored.err().map(of_lead));
                return Err(GroupNotRestored(left));
            }
        };
        now = restored.vs;
        changes = restored.changes;
    }
    let vs = now.clone();
    let mut restored = roll_back(request, Extent::InGroup, vs, rollout, &mut shared(emit)).await;
    if promotion_found(&restored).is_some() && !done.iter().all(wrote_nothing) {
        let request = &although_promoted(request);
        restored = roll_back(request, Extent::InGroup, now, rollout, &mut shared(emit)).await;
    }
    let restored = restored.map_err(alone)?;
    if changes.is_empty() {
        changes = restored.changes;
    }
    changes.extend(done.into_iter().flatten().flatten());
    if restored.cause != request.cause {
        changes.extend(follow_end(request, group, rollout, restored.cause, emit).await?);
    }
    Ok(Restored {
        vs: restored.vs,
        changes,
        cause: restored.cause,
        took: began.elapsed(),
    })
}

type Done = Result<Vec<RouteChange>, NotRestored>;

/// A companion that was found promoted with its lead, and its end.
fn promoted(one: &Done) -> Option<(&str, &LastRollout)> {
    match one.as_ref().err()? {
        NotRestored {
            object,
            error: RollbackError::Ended(last),
            ..
        } if last.outcome == Outcome::Promoted => Some((object, last)),
        _ => None,
    }
}

fn wrote_nothing(one: &Done) -> bool {
    one.as_ref().is_ok_and(Vec::is_empty) || promoted(one).is_some()
}

/// The promotion that companions were found to have come to with their lead, if none has been restored.
fn promoted_before_any_write(done: &[Done]) -> Option<Box<LastRollout>> {
    let (_, last) = done.iter().find_map(promoted)?;
    let stands = done.iter().all(wrote_nothing);
    stands.then(|| Box::new(last.clone()))
}

/// The promotion of the whole group that a driver found on the lead, and left alone.
fn promotion_found(restored: &Result<Restored, RollbackError>) -> Option<Box<LastRollout>> {
    match restored.as_ref().err()? {
        RollbackError::Ended(last) if last.outcome == Outcome::Promoted => Some(last.clone()),
        _ => None,
    }
}

/// The same request where a promotion is undone, because another object of the group was restored already: all of
/// them have the same end.
fn although_promoted<'a>(request: &RollbackRequest<'a>) -> RollbackRequest<'a> {
    RollbackRequest {
        initiator: Initiator::Person {
            any_run: false,
            forget: false,
        },
        ..*request
    }
}

/// Restores the companions that were promoted with their lead, but not before another of them was restored: all
/// objects of a group have the same end.
async fn undo_promoted(
    request: &RollbackRequest<'_>,
    lead: &VirtualService,
    rollout: &Rollout,
    done: &mut [Done],
    emit: &Mutex<&mut Emit<'_>>,
) {
    let request = although_promoted(request);
    for one in done {
        let Some(object) = promoted(one).map(|(object, _)| object) else {
            continue;
        };
        let mut companions = rollout.companions.iter();
        if let Some(companion) = companions.find(|one| one.object.to_string() == object) {
            *one = restore_companion(&request, lead, rollout, companion, None, emit).await;
        }
    }
}

/// Gives the companions the end that the lead has come to meanwhile, by another process and with other weights.
async fn follow_end(
    request: &RollbackRequest<'_>,
    group: &Group,
    rollout: &Rollout,
    cause: Cause,
    emit: &Mutex<&mut Emit<'_>>,
) -> Result<Vec<RouteChange>, GroupNotRestored> {
    let forget = request.initiator.forgets();
    let request = RollbackRequest {
        cause,
        initiator: Initiator::Person {
            any_run: false,
            forget,
        },
        ..*request
    };
    let companions = rollout.companions.iter().rev();
    let restored = companions
        .map(|companion| restore_companion(&request, &group.lead, rollout, companion, None, emit));
    let restored = futures::future::join_all(restored).await.into_iter();
    let (done, left): (Vec<_>, Vec<_>) = restored.partition(Result::is_ok);
    match left.is_empty() {
        true => Ok(done.into_iter().flatten().flatten().collect()),
        false => Err(GroupNotRestored(
            left.into_iter().filter_map(Result::err).collect(),
        )),
    }
}

/// The end of a rollout that its lead tells of: a driver that learns late of a promotion has nothing to roll
/// back. A lead that does not answer in a moment keeps no companion from going back.
async fn promoted_meanwhile(
    request: &RollbackRequest<'_>,
    lead: &VirtualService,
    rollout: &Rollout,
) -> Option<Box<LastRollout>> {
    if !matches!(request.initiator, Initiator::Driver { .. }) || !request.cluster.stores() {
        return None;
    }
    let asked = request
        .cluster
        .virtual_service(lead.namespace(), lead.name());
    let now = timeout(STAGGER, asked).await.ok()?.ok()?;
    match compare(rollout, &now) {
        Observed::Ended(last) if last.outcome == Outcome::Promoted && !request.is_own(&last) => {
            Some(last)
        }
        _ => None,
    }
}

/// One listener for rollbacks that run side by side.
fn shared<'a>(emit: &'a Mutex<&mut Emit<'_>>) -> impl FnMut(EventKind) + Send + 'a {
    |event| {
        let mut emit = emit.lock().expect("no listener panics");
        (*emit)(event);
    }
}

/// Rolls one companion back.
async fn restore_companion(
    request: &RollbackRequest<'_>,
    lead: &VirtualService,
    rollout: &Rollout,
    companion: &Companion,
    seen: Option<VirtualService>,
    emit: &Mutex<&mut Emit<'_>>,
) -> Done {
    let restored = try_restore_companion(request, lead, rollout, companion, seen, emit).await;
    let text = match restored {
        // An object that is gone has taken its routes with it.
        Err(NotRestored {
            error: error @ RollbackError::Deleted(_),
            ..
        }) => format!("{error}, so nothing is left to restore there"),
        Err(NotRestored {
            object,
            error: RollbackError::Impossible(why),
            ..
        }) if request.initiator.forgets() => {
            format!("virtualservice {object} is left unchanged: {why}")
        }
        restored => return restored,
    };
    shared(emit)(EventKind::Warning { text });
    Ok(Vec::new())
}

async fn try_restore_companion(
    request: &RollbackRequest<'_>,
    lead: &VirtualService,
    rollout: &Rollout,
    companion: &Companion,
    seen: Option<VirtualService>,
    emit: &Mutex<&mut Emit<'_>>,
) -> Done {
    let own = rollout.of_companion(lead, companion);
    let not_restored = |vs: Option<VirtualService>, error| NotRestored {
        object: companion.object.to_string(),
        vs,
        rollout: own.clone(),
        is_lead: false,
        error,
    };
    let vs = match seen {
        Some(vs) => vs,
        None => read(request, companion)
            .await
            .map_err(|error| not_restored(None, error))?,
    };
    if let Some(answer) = nothing_to_do(request, companion, &own, &vs) {
        return match answer {
            Ok(()) => Ok(Vec::new()),
            Err(error) => Err(not_restored(Some(vs), error)),
        };
    }
    let before = vs.clone();
    let restored = roll_back(request, Extent::InGroup, vs, &own, &mut shared(emit)).await;
    let mut restored = restored.map_err(|error| not_restored(Some(before.clone()), error))?;
    for change in &mut restored.changes {
        change.route = route_of(&change.route, &before);
    }
    Ok(restored.changes)
}

/// What is to be said of a companion that must not, or need not, be written to.
fn nothing_to_do(
    request: &RollbackRequest<'_>,
    companion: &Companion,
    own: &Rollout,
    vs: &VirtualService,
) -> Option<Result<(), RollbackError>> {
    let state = Rollout::read(vs);
    let is_original = || {
        own.original_on(vs)
            .is_ok_and(|desired| desired.is_exactly(vs))
    };
    if companion.uid != vs.uid() {
        // Recreated with its original weights, or with none for the canary.
        let is_at_rest = is_original() || own.unaccounted_of_all(vs).is_empty();
        return Some(if is_at_rest && state == Ok(None) {
            Ok(())
        } else {
            Err(RollbackError::Impossible(
                "it was deleted and recreated since the rollout began; its weights are left unchanged".into(),
            ))
        });
    }
    match state {
        Ok(Some(other)) if other.run != own.run => Some(Err(RollbackError::Impossible(format!(
            "another rollout is in progress there, held by {}",
            other.holder
        )))),
        Ok(None) => {
            let last = LastRollout::of_run(vs, &own.run);
            let cause = last.and_then(|last| match last.outcome {
                Outcome::RolledBack(cause) => Some(cause),
                _ => None,
            });
            let is_back = |cause| {
                let restored = own.restored_on(vs, own.after(cause));
                restored.is_ok_and(|desired| desired.is_exactly(vs))
            };
            cause
                .filter(|cause| request.leaves(vs, own, *cause))
                .is_some_and(is_back)
                .then_some(Ok(()))
        }
        Ok(Some(_)) | Err(_) => None,
    }
}

/// Reads a companion, as often as the time allows.
async fn read(
    request: &RollbackRequest<'_>,
    companion: &Companion,
) -> Result<VirtualService, RollbackError> {
    let object = &companion.object;
    let read = read_to_restore(request.cluster, object, request.timeout);
    read.await.map_err(|error| match error.kind {
        ErrorKind::Missing => RollbackError::Deleted(object.to_string()),
        _ => RollbackError::OutOfTime(error),
    })
}

/// Reads an object that is to be rolled back, as often as the time allows.
///
/// # Errors
/// The last attempt's.
pub async fn read_to_restore(
    cluster: &Cluster,
    object: &ObjectName,
    within: Duration,
) -> Result<VirtualService, CallError> {
    let mut attempts = Retry::reading_for_rollback(within).attempts();
    loop {
        let asked = cluster.virtual_service(&object.namespace, &object.name);
        let error = match asked.await {
            Ok(vs) => return Ok(vs),
            Err(error) => error,
        };
        match attempts.next(&error) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::select_versions;
    use crate::plan::{Options, Plan};
    use crate::rollout::ForeignChange;
    use serde_json::json;

    fn left(is_lead: bool, error: RollbackError) -> NotRestored {
        let vs = VirtualService::new(json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1"},
            "spec": {"http": [{"route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
            ]}]},
        }))
        .unwrap();
        let selection = select_versions(&vs, None, None, &[], &[]).unwrap();
        let plan = Plan::resolve(Options::default()).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let whom = (selection.stable, selection.canary, selection.splits);
        let name = if is_lead { "reviews" } else { "storefront" };
        NotRestored {
            object: format!("shop/{name}"),
            vs: None,
            rollout: Rollout::new(String::new(), String::new(), plan, whom, now),
            is_lead,
            error,
        }
    }

    #[test]
    fn what_needs_a_human_counts_before_what_somebody_else_looks_after() {
        let drifted = || RollbackError::Drifted {
            manager: "argocd".into(),
            drift: Box::new(ForeignChange::StateRemoved.into()),
        };
        let impossible = || RollbackError::Impossible("it is gone".into());
        let taken = || RollbackError::TakenOver("bob@desk/2".into());
        for (errors, expected) in [
            (vec![(true, impossible())], "it is gone"),
            (
                vec![(false, impossible())],
                "virtualservice shop/storefront: it is gone",
            ),
            (
                vec![(false, drifted()), (true, impossible())],
                "virtualservice shop/storefront: argocd changed the routes: the rollout state was removed; it is gone",
            ),
            (
                vec![(false, drifted()), (true, taken())],
                "bob@desk/2 is driving the rollout now",
            ),
            (
                vec![(true, drifted())],
                "argocd changed the routes: the rollout state was removed",
            ),
            (
                vec![(false, drifted())],
                "argocd changed the routes: virtualservice shop/storefront: the rollout state was removed",
            ),
        ] {
            let errors = errors.into_iter();
            let all = errors
                .map(|(is_lead, error)| left(is_lead, error))
                .collect();
            assert_eq!(GroupNotRestored(all).into_error().to_string(), expected);
        }
    }
}
