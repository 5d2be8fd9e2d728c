//! One write to the object, and what became of it.
//!
//! The answer to a PATCH may be lost. So after a failed `test`, a timeout or a 5xx the object is
//! read and compared with what was intended before anything else happens.

use std::collections::HashMap;

use json_patch::Patch;

use crate::cluster::{CallError, Class, Cluster};
use crate::record::{Ending, LAST, ROLLOUT, Rollout, RolloutError, RouteChange};
use crate::traffic::{
    AnnotationEdit, MissingRoutes, Shape, TooLarge, VirtualService, Weights, in_force, shift,
};

/// What the object shall become.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// The weights and state of a rollout under way.
    State(Box<Rollout>),
    /// The canary's final weights, and the rollout over.
    Complete(Box<Rollout>, Ending),
    /// The original weights, and the rollout over.
    Restore(Box<Rollout>, Ending),
    /// The original weights of those chosen routes that are still there. The state stays, for somebody
    /// has to look after the others, be they routes or objects.
    RestoreRest(Box<Rollout>),
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

/// What became of a write.
#[derive(Debug)]
pub enum Written {
    /// The object is as intended.
    Done(VirtualService),
    /// The object is not what was believed; nothing was written. This is how it is.
    NotAsBelieved(VirtualService),
    /// Nothing was written, or nobody can tell; trying again is safe.
    Failed(CallError),
}

impl Intent {
    fn shape_on(&self, vs: &VirtualService) -> Result<Shape, MissingRoutes> {
        match self {
            Self::State(rollout) => rollout.shape_on(vs),
            Self::Complete(rollout, _) => rollout.promoted_on(vs),
            Self::Restore(rollout, _) => rollout.original_on(vs),
            Self::RestoreRest(rollout) => Ok(rollout.original_of_rest(vs)),
        }
    }

    fn annotations(&self) -> Result<Vec<(&'static str, AnnotationEdit)>, RolloutError> {
        Ok(match self {
            Self::State(rollout) => {
                let mut edits = vec![(ROLLOUT, AnnotationEdit::Set(rollout.to_annotation()?))];
                // Before its first step a companion has no state that would tell a rollback from no
                // rollout at all. What a rollback leaves there does, to whoever is late.
                if rollout.lead.is_some() {
                    edits.push((LAST, AnnotationEdit::Keep));
                }
                edits
            }
            Self::Complete(_, ending) | Self::Restore(_, ending) => vec![
                (ROLLOUT, AnnotationEdit::Remove),
                (LAST, AnnotationEdit::Set(ending.to_annotation())),
            ],
            Self::RestoreRest(_) => vec![(ROLLOUT, AnnotationEdit::Keep)],
        })
    }

    /// The patch that makes `vs` what is intended.
    ///
    /// # Errors
    /// If it cannot be made, see [`WriteError`].
    pub fn patch(&self, vs: &VirtualService) -> Result<Patch, WriteError> {
        Ok(shift(vs, &self.shape_on(vs)?, &self.annotations()?)?)
    }

    /// Whether `vs` is what is intended.
    pub fn is_done(&self, vs: &VirtualService) -> bool {
        let Ok(annotations) = self.annotations() else {
            return false;
        };
        let recorded = annotations.iter().all(|(key, edit)| match edit {
            AnnotationEdit::Set(text) => vs.annotation(key) == Some(text),
            AnnotationEdit::Remove => vs.annotation(key).is_none(),
            AnnotationEdit::Keep => true,
        });
        recorded && self.has_weights(vs)
    }

    /// Whether `vs` has the intended weights, and nothing else of ours, whatever its annotations say.
    pub fn has_weights(&self, vs: &VirtualService) -> bool {
        let exact = matches!(self, Self::Restore(..) | Self::RestoreRest(_));
        self.shape_on(vs).is_ok_and(|shape| {
            if exact {
                shape.is_exactly(vs)
            } else {
                shape.difference(vs).is_none()
            }
        })
    }

    /// The weights before and after, route by route.
    ///
    /// # Errors
    /// If chosen routes are gone.
    pub fn changes(&self, vs: &VirtualService) -> Result<Vec<RouteChange>, MissingRoutes> {
        let forms = self.shape_on(vs)?.forms;
        let routes: HashMap<_, _> = vs.routes().iter().map(|route| (route.at, route)).collect();
        let changes = forms.into_iter().filter_map(|form| {
            let route = routes.get(&form.at)?;
            // A canary that comes or goes has no weight where it is not.
            let padded = |weights: Weights| {
                let mut weights = in_force(&weights);
                weights.resize(weights.len().max(form.canary + 1), None);
                weights
            };
            Some(RouteChange {
                route: route.to_string(),
                before: padded(route.weights()),
                after: padded(form.weights.clone()),
                stable: form.stable,
                canary: form.canary,
            })
        });
        Ok(changes.collect())
    }
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
    if !matches!(error.class, Class::Precondition | Class::Unknown) {
        return Ok(Written::Failed(error));
    }
    let now = match cluster.virtual_service(vs.namespace(), vs.name()).await {
        Ok(now) => now,
        Err(gone) if gone.class == Class::Missing => return Ok(Written::Failed(gone)),
        Err(_) => return Ok(Written::Failed(error)),
    };
    Ok(if intent.is_done(&now) {
        Written::Done(now)
    } else if error.class == Class::Unknown && now.raw() == vs.raw() {
        Written::Failed(error)
    } else {
        Written::NotAsBelieved(now)
    })
}
