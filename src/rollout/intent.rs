//! One write to the object, and what became of it.
//!
//! The answer to a PATCH may be lost. So after a failed `test`, a timeout or a 5xx the object is
//! read and compared with what was intended before anything else happens.

use std::collections::HashMap;

use jiff::Timestamp;
use json_patch::Patch;

use super::event::RouteChange;
use super::last_rollout::{LAST, LastRollout};
use super::outcome::{Cause, Outcome};
use super::state::{ROLLOUT, Rollout, RolloutError};
use crate::istio::{
    AnnotationEdit, DesiredRoutes, MissingRoutes, TooLarge, VirtualService, Weights, in_force,
    shift, shift_as_it_is,
};
use crate::plan::AfterRegression;

/// What the object shall become.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// The weights and state of a rollout under way.
    State(Box<Rollout>),
    /// The canary's final weights, and the rollout over.
    Complete(Box<Rollout>, LastRollout),
    /// The original weights, and the rollout over; after a proven regression, if the plan says so, those
    /// without the canary's.
    Restore(Box<Rollout>, LastRollout),
    /// The same weights of those chosen routes that are still there. The state stays, for another process
    /// has to look after the others, be they routes or objects.
    RestoreRest(Box<Rollout>, Cause),
    /// The original weights of those chosen routes that are still there, and the rollout over: of the others
    /// nothing is left to restore.
    RestoreAndForget(Box<Rollout>, LastRollout),
}

/// Why a write cannot even be attempted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// Chosen routes are gone.
    #[error(transparent)]
    MissingRoutes(#[from] MissingRoutes),
    /// The state does not fit.
    #[error(transparent)]
    State(#[from] RolloutError),
    /// The patch does not fit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl Rollout {
    /// What the canary has once the rollout has ended in this way, short of a promotion.
    pub(super) fn after_end(&self, last: &LastRollout) -> AfterRegression {
        match last.outcome {
            Outcome::RolledBack(cause) => self.after(cause),
            Outcome::Promoted
            | Outcome::AlreadyPromoted
            | Outcome::StepPassed
            | Outcome::StepSet
            | Outcome::Held
            | Outcome::Drifted
            | Outcome::TakenOver
            | Outcome::RollbackFailed
            | Outcome::Interrupted => AfterRegression::Original,
        }
    }
}

impl Intent {
    fn desired_on(&self, vs: &VirtualService) -> Result<DesiredRoutes, MissingRoutes> {
        match self {
            Self::State(rollout) => rollout.desired_on(vs),
            Self::Complete(rollout, _) => rollout.promoted_on(vs),
            Self::Restore(rollout, last) => rollout.restored_on(vs, rollout.after_end(last)),
            Self::RestoreRest(rollout, cause) => {
                Ok(rollout.restored_of_rest(vs, rollout.after(*cause)))
            }
            Self::RestoreAndForget(rollout, last) => {
                Ok(rollout.restored_of_rest(vs, rollout.after_end(last)))
            }
        }
    }

    fn annotations(&self) -> Result<Vec<(&'static str, AnnotationEdit)>, RolloutError> {
        Ok(match self {
            Self::State(rollout) => {
                let state = AnnotationEdit::Set(rollout.to_annotation()?);
                // Before its first step an object has no state that would tell a rollout that came and went
                // from none at all. What that one left there does, to a process that is late.
                vec![(ROLLOUT, state), (LAST, AnnotationEdit::Keep)]
            }
            Self::Complete(_, last) | Self::Restore(_, last) | Self::RestoreAndForget(_, last) => {
                vec![
                    (ROLLOUT, AnnotationEdit::Remove),
                    (LAST, AnnotationEdit::Set(last.to_annotation())),
                ]
            }
            Self::RestoreRest(..) => vec![(ROLLOUT, AnnotationEdit::Keep)],
        })
    }

    /// The same, for an attempt at `now` on an object that stands as `before` says.
    #[must_use]
    pub fn attempted_at(&self, before: &Rollout, now: Timestamp) -> Self {
        match self {
            Self::State(next) => Self::State(Box::new(next.in_force_at(before, now))),
            Self::Complete(..)
            | Self::Restore(..)
            | Self::RestoreRest(..)
            | Self::RestoreAndForget(..) => self.clone(),
        }
    }

    /// The patch that makes `vs` what is intended.
    ///
    /// # Errors
    /// If it cannot be made, see [`WriteError`].
    pub fn patch(&self, vs: &VirtualService) -> Result<Patch, WriteError> {
        let (desired, annotations) = (self.desired_on(vs)?, self.annotations()?);
        Ok(match self {
            // That nothing is left to restore is true of the routes as they are now.
            Self::RestoreAndForget(..) => shift_as_it_is(vs, &desired, &annotations)?,
            _ => shift(vs, &desired, &annotations)?,
        })
    }

    /// Whether `vs` is what is intended.
    pub fn is_done(&self, vs: &VirtualService) -> bool {
        self.is_recorded(vs) && self.has_weights(vs)
    }

    /// Whether `vs` says that it is what is intended, whatever has become of its weights.
    pub fn is_recorded(&self, vs: &VirtualService) -> bool {
        let Ok(annotations) = self.annotations() else {
            return false;
        };
        annotations.iter().all(|(key, edit)| match (edit, self) {
            // An earlier attempt, made at another time, is as good.
            (AnnotationEdit::Set(_), Self::State(rollout)) if *key == ROLLOUT => Rollout::read(vs)
                .is_ok_and(|shown| shown.is_some_and(|shown| shown.is_same_state(rollout))),
            (AnnotationEdit::Set(text), _) => vs.annotation(key) == Some(text),
            (AnnotationEdit::Remove, _) => vs.annotation(key).is_none(),
            (AnnotationEdit::Keep, _) => true,
        })
    }

    /// Whether `vs` has the intended weights, and nothing else of ours, whatever its annotations say.
    pub fn has_weights(&self, vs: &VirtualService) -> bool {
        let exact = matches!(
            self,
            Self::Restore(..) | Self::RestoreRest(..) | Self::RestoreAndForget(..)
        );
        self.desired_on(vs).is_ok_and(|desired| {
            if exact {
                desired.is_exactly(vs)
            } else {
                desired.difference(vs).is_none()
            }
        })
    }

    /// The weights before and after, route by route.
    ///
    /// # Errors
    /// If chosen routes are gone.
    pub fn changes(&self, vs: &VirtualService) -> Result<Vec<RouteChange>, MissingRoutes> {
        let desired = self.desired_on(vs)?.routes;
        let routes: HashMap<_, _> = vs.routes().iter().map(|route| (route.at, route)).collect();
        let changes = desired.into_iter().filter_map(|desired| {
            let route = routes.get(&desired.at)?;
            // A canary that comes or goes has no weight where it is not.
            let padded = |weights: Weights| {
                let mut weights = in_force(&weights);
                weights.resize(weights.len().max(desired.canary + 1), None);
                weights
            };
            Some(RouteChange {
                route: route.to_string(),
                before: padded(route.weights()),
                after: padded(desired.weights.clone()),
                stable: desired.stable,
                canary: desired.canary,
            })
        });
        Ok(changes.collect())
    }
}
