//! The one road back.
//!
//! Whatever the cause (a regression, a signal, `abort` on another machine), it is this function
//! that restores the original weights, or after a proven regression those without the canary's where the
//! plan says so (`--after-regression zero`). It needs nothing but the object, waits for no pod, metric or
//! lock, and may be repeated.

use std::time::Duration;

use tokio::time::Instant;

use super::apply::{Failure, Next, Purpose, Retry, apply};
use crate::clock::Clock;
use crate::cluster::{CallError, Cluster, ErrorKind};
use crate::istio::{MissingRoutes, Route, VirtualService, is_mirrored};
use crate::rollout::{
    Cause, Drift, EventKind, Intent, LastRollout, Observed, Outcome, PromotionState, ROLLOUT,
    Rollout, RouteChange, compare, is_on_its_way_back, promotion_on,
};

/// How often an object may turn out to have been promoted while it was being restored.
const PROMOTION_RETRIES: u32 = 3;

/// On whose behalf traffic is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// The driver's: it stops where another driver took over, and where another client changed the weights
    /// unless its policy says to write over that.
    Driver {
        /// Whether it does.
        overwrite: bool,
    },
    /// A person's: the original weights are restored whatever they are now, with or without a driver.
    Person {
        /// Whether a run that began meanwhile is rolled back as well.
        any_run: bool,
        /// Whether routes that cannot be restored are left as they are.
        forget: bool,
    },
    /// A person's after a promotion: only what that left is written over.
    Undo,
}

impl Initiator {
    /// Whether routes that cannot be restored are left as they are.
    pub(super) fn forgets(self) -> bool {
        matches!(self, Self::Person { forget: true, .. })
    }
}

/// What a rollback is given.
pub struct RollbackRequest<'a> {
    /// The API server.
    pub cluster: &'a Cluster,
    /// The time.
    pub clock: &'a Clock,
    /// Why.
    pub cause: Cause,
    /// Who asks.
    pub by: &'a str,
    /// On whose behalf.
    pub initiator: Initiator,
    /// How long to keep trying.
    pub timeout: Duration,
}

impl RollbackRequest<'_> {
    /// Whether a promotion was this driver's own: it was on its way when something else was decided, and does not
    /// count against that.
    pub(super) fn is_own(&self, promotion: &LastRollout) -> bool {
        matches!(self.initiator, Initiator::Driver { .. }) && promotion.changed_by == self.by
    }

    /// Whether an object of `rollout` on which that was rolled back for `cause` already is left as it is.
    ///
    /// The end on a lead is that of the rollout. A companion of another one got other weights, where only a
    /// regression takes from the canary what it had: it gets those that are asked for, unless another client
    /// has changed them since. A driver leaves it to whoever was first.
    pub(super) fn leaves(&self, vs: &VirtualService, rollout: &Rollout, cause: Cause) -> bool {
        rollout.lead.is_none()
            || rollout.after(cause) == rollout.after(self.cause)
            || matches!(self.initiator, Initiator::Driver { .. })
            || !is_as_left(vs, rollout, cause)
    }
}

/// Whether an object is as a rollback for `cause` leaves it.
fn is_as_left(vs: &VirtualService, rollout: &Rollout, cause: Cause) -> bool {
    let restored = rollout.restored_on(vs, rollout.after(cause));
    restored.is_ok_and(|desired| desired.is_exactly(vs))
}

/// What is restored of an object beside its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The state goes from the object; a promotion that came between stands.
    Alone,
    /// The same, but the other objects of the group are rolled back, so a promotion that came between
    /// is undone.
    InGroup,
    /// The state stays on the object, because companions do not have their weights back.
    WeightsOnly,
}

/// The original weights are back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The object as it was read back.
    pub vs: VirtualService,
    /// What changed; nothing if it was restored already.
    pub changes: Vec<RouteChange>,
    /// What the rollout was rolled back for; another than was asked for where another process ended it first,
    /// with other weights.
    pub cause: Cause,
    /// From the start until the API server had the weights.
    pub took: Duration,
}

/// Why the original weights could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// Another driver has it; it will do what is needed.
    #[error("{0} is driving the rollout now")]
    TakenOver(String),
    /// Another client changed the routes, and the policy does not overwrite that.
    #[error("{manager} changed the routes: {drift}")]
    Drifted {
        /// The field manager that wrote last.
        manager: String,
        /// What is different.
        drift: Box<Drift>,
    },
    /// The rollout was ended in another way meanwhile.
    #[error("the rollout has ended: {}", .0.outcome)]
    Ended(Box<LastRollout>),
    /// The object is not as the promotion that is to be undone left it.
    #[error("{0}")]
    PromotionChanged(String),
    /// What is there cannot be restored.
    #[error("{0}")]
    Impossible(String),
    /// The object is gone, and its routes with it.
    #[error("virtualservice {0} was deleted")]
    Deleted(String),
    /// Another run is in progress now, and it is not the one to roll back.
    #[error("run {0} is in progress now")]
    OtherRun(String),
    /// The API server did not take it in time.
    #[error("{0}")]
    OutOfTime(CallError),
}

/// Restores the original weights of `rollout`, starting from `vs`, the object as last seen.
///
/// # Errors
/// See [`RollbackError`]; traffic may then be anywhere between the last weights and the original.
pub(super) async fn roll_back(
    request: &RollbackRequest<'_>,
    extent: Extent,
    vs: VirtualService,
    rollout: &Rollout,
    emit: &mut (dyn FnMut(EventKind) + Send),
) -> Result<Restored, RollbackError> {
    let mut restore = Restore {
        request,
        extent,
        rollout: rollout.clone(),
        emit,
        began: Instant::now(),
        missing: None,
        changes: Vec::new(),
        cause: request.cause,
        took: Duration::ZERO,
        promotions: 0,
    };
    let retry = Retry::rollback(request.timeout);
    let vs = apply(request.cluster, retry, vs, &mut restore).await?;
    Ok(Restored {
        vs,
        changes: restore.changes,
        cause: restore.cause,
        took: restore.took,
    })
}

/// A rollback of one object under way.
struct Restore<'a> {
    request: &'a RollbackRequest<'a>,
    extent: Extent,
    rollout: Rollout,
    emit: &'a mut (dyn FnMut(EventKind) + Send),
    began: Instant,
    missing: Option<MissingRoutes>,
    changes: Vec<RouteChange>,
    cause: Cause,
    took: Duration,
    promotions: u32,
}

impl Purpose for Restore<'_> {
    type Stop = RollbackError;

    async fn intent(&mut self, vs: &VirtualService) -> Result<Option<Intent>, RollbackError> {
        // What somebody else has brought to this very end is not written again.
        if vs.annotation(ROLLOUT).is_none()
            && let Some(last) = LastRollout::of_run(vs, &self.rollout.run)
            && let Outcome::RolledBack(cause) = last.outcome
            && self.request.leaves(vs, &self.rollout, cause)
        {
            if self.rollout.lead.is_some() && !is_as_left(vs, &self.rollout, cause) {
                let text = format!(
                    "virtualservice {} was rolled back before and changed by others since: its weights are left as they are",
                    vs.full_name()
                );
                (self.emit)(EventKind::Warning { text });
            }
            self.ended_for(cause);
            return Ok(None);
        }
        if self.request.initiator == Initiator::Undo {
            match promotion_on(&self.rollout, vs) {
                PromotionState::Stands | PromotionState::Undone => {}
                PromotionState::UnderWay(holder) => return Err(RollbackError::TakenOver(holder)),
                PromotionState::Changed(why) => return Err(RollbackError::PromotionChanged(why)),
            }
        }
        self.missing = self.rollout.original_on(vs).err();
        let intent = self.goal(vs)?;
        self.changes = intent
            .changes(vs)
            .map_err(|error| RollbackError::Impossible(error.to_string()))?;
        Ok(Some(intent))
    }

    async fn written(
        &mut self,
        now: VirtualService,
        intent: &Intent,
    ) -> Result<Next, RollbackError> {
        self.took = self.began.elapsed();
        if let (Some(missing), Intent::RestoreRest(..)) = (self.missing, intent)
            && !self.may_forget(&now)
        {
            return Err(RollbackError::Impossible(format!(
                "{missing}; the other chosen routes have their original weights again{}",
                self.may_be_one_of_them(&now)
            )));
        }
        match self.read_back(intent, now).await {
            Ok(vs) => {
                if let (Some(missing), Intent::RestoreAndForget(..)) = (self.missing, intent) {
                    self.tell_forgotten(&vs, missing);
                }
                Ok(Next::Done(vs))
            }
            Err(found) => self.reconsider(found),
        }
    }

    async fn changed(&mut self, now: VirtualService, _: &Intent) -> Result<Next, RollbackError> {
        if let Some(last) = self.promoted_with_its_group(&now).await {
            return Err(RollbackError::Ended(Box::new(last)));
        }
        self.reconsider(now)
    }

    async fn failed(
        &mut self,
        vs: &VirtualService,
        failure: Failure,
    ) -> Result<VirtualService, RollbackError> {
        Err(match failure {
            Failure::Unwritable(error) => RollbackError::Impossible(error.to_string()),
            Failure::Call(error) if error.kind == ErrorKind::Missing => {
                RollbackError::Deleted(vs.full_name())
            }
            Failure::Call(error) => match self.restored_late(vs).await {
                Some(now) => return Ok(now),
                None => RollbackError::OutOfTime(error),
            },
        })
    }

    fn retrying(&mut self, vs: &VirtualService, failure: &CallError, attempt: u32) {
        (self.emit)(EventKind::Retrying {
            what: format!("restoring the weights of {}", vs.full_name()),
            why: failure.to_string(),
            attempt,
            manual: Some(Rollout::abort_command(vs)),
        });
    }
}

impl Restore<'_> {
    /// What can be restored: everything, or what is left of the chosen routes, unless other clients'
    /// changes are not to be touched at all.
    fn goal(&self, vs: &VirtualService) -> Result<Intent, RollbackError> {
        let rollout = Box::new(self.rollout.clone());
        let RollbackRequest {
            cause,
            by,
            clock,
            initiator,
            ..
        } = *self.request;
        let outcome = Outcome::RolledBack(cause);
        // The end of a rollout that was promoted keeps what it says of that.
        let ended = LastRollout::of_run(vs, &self.rollout.run);
        let last = match ended.filter(|_| initiator == Initiator::Undo) {
            Some(last) => last.undone(by, clock.now()),
            None => LastRollout::of(&self.rollout, outcome, by, clock.now()),
        };
        let leaves_state = self.extent == Extent::WeightsOnly;
        let Some(missing) = self.missing else {
            return Ok(match leaves_state {
                true => Intent::RestoreRest(rollout, cause),
                false => Intent::Restore(rollout, last),
            });
        };
        let impossible = || {
            let one_of_them = self.may_be_one_of_them(vs);
            RollbackError::Impossible(format!("{missing}{one_of_them}"))
        };
        if let Initiator::Driver { overwrite: false } | Initiator::Undo = initiator {
            return Err(impossible());
        }
        if self.may_forget(vs) {
            return Ok(match leaves_state {
                true => Intent::RestoreRest(rollout, cause),
                false => Intent::RestoreAndForget(rollout, last),
            });
        }
        let rest = self.rollout.restored_of_rest(vs, self.rollout.after(cause));
        if rest.routes.is_empty() && rest.is_exactly(vs) {
            return Err(impossible());
        }
        Ok(Intent::RestoreRest(rollout, cause))
    }

    /// Whether what is missing needs no restoring, or is not to be restored.
    fn may_forget(&self, vs: &VirtualService) -> bool {
        self.request.initiator.forgets() || self.rollout.unaccounted(vs).is_empty()
    }

    /// Routes that may be missing ones, in words.
    fn may_be_one_of_them(&self, vs: &VirtualService) -> String {
        match in_words(vs, &self.rollout.unaccounted(vs)) {
            Some(routes) => format!("; {routes} and may be one of them"),
            None => String::new(),
        }
    }

    /// Says what was left alone when the rollout ended without some of its routes.
    fn tell_forgotten(&mut self, vs: &VirtualService, missing: MissingRoutes) {
        let text = match in_words(vs, &self.rollout.unaccounted(vs)) {
            Some(routes) => format!("{missing}; left unchanged: {routes}"),
            None => format!(
                "{missing}; no other route sends to another version than {}, so nothing is left to restore there",
                self.rollout.stable
            ),
        };
        let text = format!("virtualservice {}: {text}", vs.full_name());
        (self.emit)(EventKind::Warning { text });
    }

    /// Reads the object once more: what counts is what the server has, not what it answered.
    ///
    /// A server that cannot be read right now has still confirmed the write, and that stands.
    async fn read_back(
        &self,
        intent: &Intent,
        written: VirtualService,
    ) -> Result<VirtualService, VirtualService> {
        let cluster = self.request.cluster;
        if !cluster.stores() {
            return Ok(written);
        }
        let asked = cluster.virtual_service(written.namespace(), written.name());
        match asked.await {
            Ok(now) if intent.has_weights(&now) || now.is_older_than(&written) => Ok(now),
            Ok(now) => Err(now),
            Err(_) if intent.has_weights(&written) => Ok(written),
            Err(_) => Err(written),
        }
    }

    /// The object, if what was sent has arrived after all.
    async fn restored_late(&mut self, vs: &VirtualService) -> Option<VirtualService> {
        let cluster = self.request.cluster;
        let now = cluster.virtual_service(vs.namespace(), vs.name()).await;
        let now = now.ok().filter(|now| now.annotation(ROLLOUT).is_none())?;
        let last = LastRollout::of_run(&now, &self.rollout.run)?;
        match last.outcome {
            Outcome::RolledBack(cause) => self.ended_for(cause),
            _ => return None,
        }
        Some(now)
    }

    /// The end of an object that was promoted, where its whole group was: a driver that learns of that only now has
    /// nothing to roll back. The lead is promoted last.
    async fn promoted_with_its_group(&self, now: &VirtualService) -> Option<LastRollout> {
        if !matches!(self.request.initiator, Initiator::Driver { .. }) {
            return None;
        }
        let mut last = promoted(&self.rollout, now)?;
        if let Some(lead) = &self.rollout.lead {
            let cluster = self.request.cluster;
            let asked = cluster.virtual_service(&lead.namespace, &lead.name);
            last = promoted(&self.rollout, &asked.await.ok()?)?;
        }
        (!self.request.is_own(&last)).then_some(last)
    }

    /// The object is not what it was: may it still be restored, and from which state?
    fn reconsider(&mut self, vs: VirtualService) -> Result<Next, RollbackError> {
        let initiator = self.request.initiator;
        if let Initiator::Person { any_run, .. } = initiator
            && let Some(other) = self.other_run(&vs)
            && !(any_run && self.is_alone_as(&other))
        {
            return Err(RollbackError::OtherRun(other.run));
        }
        if initiator == Initiator::Undo {
            if promotion_on(&self.rollout, &vs) == PromotionState::Undone {
                self.changes.clear();
                self.took = self.began.elapsed();
                return Ok(Next::Done(vs));
            }
            // The next attempt looks at it.
            return Ok(Next::Again(vs));
        }
        match (compare(&self.rollout, &vs), initiator) {
            (Observed::InSync, _) => {}
            // A promote or pause came between: rolling back goes first.
            (Observed::Advanced(shown), _) => self.rollout = *shown,
            (Observed::Ended(last), _) => return self.ended(*last, vs),
            (Observed::HolderChanged(holder), Initiator::Driver { .. }) => {
                return Err(RollbackError::TakenOver(holder));
            }
            (Observed::Drifted { .. }, _) if is_on_its_way_back(&self.rollout, &vs) => {}
            (Observed::Drifted { manager, drift }, Initiator::Driver { overwrite: false }) => {
                let drift = Box::new(drift);
                return Err(RollbackError::Drifted { manager, drift });
            }
            (Observed::HolderChanged(_), Initiator::Person { .. } | Initiator::Undo)
            | (Observed::Drifted { .. }, _) => {
                let any_run = matches!(initiator, Initiator::Person { any_run: true, .. });
                if let Ok(Some(shown)) = Rollout::read(&vs)
                    && (shown.run == self.rollout.run || any_run)
                {
                    self.rollout = shown;
                }
            }
            (Observed::Deleted, _) => return Err(RollbackError::Deleted(vs.full_name())),
        }
        Ok(Next::Again(vs))
    }

    /// The run in progress on `vs`, if it is another.
    fn other_run(&self, vs: &VirtualService) -> Option<Rollout> {
        let shown = Rollout::read(vs).ok().flatten()?;
        (shown.run != self.rollout.run).then_some(shown)
    }

    /// Whether this rollback is all that another run needs: neither has other objects.
    fn is_alone_as(&self, other: &Rollout) -> bool {
        self.extent == Extent::Alone && other.companions.is_empty() && other.lead.is_none()
    }

    /// Another process has rolled the object back.
    fn ended_for(&mut self, cause: Cause) {
        self.took = self.began.elapsed();
        if self.rollout.after(cause) != self.rollout.after(self.request.cause) {
            self.cause = cause;
        }
    }

    /// The rollout is over on the object already.
    fn ended(&mut self, last: LastRollout, vs: VirtualService) -> Result<Next, RollbackError> {
        match last.outcome {
            Outcome::RolledBack(cause) if self.request.leaves(&vs, &self.rollout, cause) => {
                self.changes.clear();
                self.ended_for(cause);
                Ok(Next::Done(vs))
            }
            Outcome::RolledBack(_) => Ok(Next::Again(vs)),
            Outcome::Promoted if self.extent != Extent::Alone || self.request.is_own(&last) => {
                self.promotions += 1;
                if self.promotions > PROMOTION_RETRIES {
                    return Err(RollbackError::Impossible(format!(
                        "virtualservice {} is being promoted at the same time",
                        vs.full_name()
                    )));
                }
                Ok(Next::Again(vs))
            }
            _ => Err(RollbackError::Ended(Box::new(last))),
        }
    }
}

/// The end of `rollout` on an object where it is over and was promoted.
fn promoted(rollout: &Rollout, vs: &VirtualService) -> Option<LastRollout> {
    let last = LastRollout::of_run(vs, &rollout.run)?;
    let is_over = vs.annotation(ROLLOUT).is_none();
    (is_over && last.outcome == Outcome::Promoted).then_some(last)
}

/// The most routes that are named one by one.
const NAMED: usize = 3;

/// Routes of `vs` with their weights and whether they mirror, in words.
fn in_words(vs: &VirtualService, routes: &[&Route]) -> Option<String> {
    let named: Vec<_> = routes
        .iter()
        .take(NAMED)
        .map(|route| {
            let weights = route.weights().into_iter();
            let weights: Vec<_> = weights
                .map(|weight| weight.unwrap_or(0).to_string())
                .collect();
            let mirrors = match is_mirrored(vs.rule(route.at)) {
                true => " and mirrors requests",
                false => "",
            };
            format!("{route} has weights {}{mirrors}", weights.join("/"))
        })
        .collect();
    let more = match routes.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    (!named.is_empty()).then(|| format!("{}{more}", named.join(", ")))
}
