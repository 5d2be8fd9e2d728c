//! A state that cannot be read: nothing is restored by guessing, so a person gets all that is known of it.

use super::undo_start::patch_command;
use crate::error::CommandError;
use crate::istio::{AnnotationEdit, VirtualService};
use crate::rollout::{ROLLOUT, Rollout, RolloutError};

/// The error for traffic that needs manual attention because the state on `vs` cannot be read: the original
/// weights, where they are still legible, and what to type.
pub fn state_unreadable(vs: &VirtualService, error: &RolloutError) -> CommandError {
    let (name, namespace) = (vs.name(), vs.namespace());
    let left = vs.annotation(ROLLOUT).and_then(Rollout::salvage);
    let desired = left.as_ref().map(|rollout| rollout.original_of_rest(vs));
    let desired = desired.filter(|desired| !desired.routes.is_empty());
    let originals = match &desired {
        Some(desired) => {
            let routes = desired.routes.iter().filter_map(|desired| {
                let mut routes = vs.routes().iter();
                let route = routes.find(|route| route.at == desired.at)?;
                let weights = desired.weights.iter();
                let weights: Vec<_> = weights
                    .map(|weight| weight.unwrap_or(0).to_string())
                    .collect();
                Some(format!("{route} had weights {}", weights.join("/")))
            });
            let routes: Vec<_> = routes.collect();
            format!("before the rollout {}", routes.join(", "))
        }
        None => "its original weights cannot be read".to_owned(),
    };
    let removed = [(ROLLOUT, AnnotationEdit::Remove)];
    let patch = desired.and_then(|desired| patch_command(vs, &desired, &removed));
    let by_hand = patch.unwrap_or_else(|| {
        format!(
            "kubectl edit virtualservice {name} -n {namespace} to set the weights and remove annotation {ROLLOUT}"
        )
    });
    let companions = left.into_iter().flat_map(|rollout| rollout.companions);
    let aborts = companions.map(|companion| {
        let object = companion.object;
        format!(
            ", then kubectl canary abort {} -n {}",
            object.name, object.namespace
        )
    });
    CommandError::RollbackFailed {
        object: vs.full_name(),
        why: format!("{error}; {originals}"),
        manual: match error {
            RolloutError::Newer { .. } => {
                "kubectl canary abort of the version that started the rollout".to_owned()
            }
            _ => by_hand + &aborts.collect::<String>(),
        },
    }
}
