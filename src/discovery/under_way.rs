//! The rollout that stands on an object, and the errors of commands that need one, or none.

use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::plan::OnDrift;
use crate::rollout::{ObjectName, Observed, Rollout, compare};

/// The rollout under way on an object, if it is that object's own.
pub fn under_way(vs: &VirtualService) -> Result<Rollout, CommandError> {
    let rollout = Rollout::read(vs)?.ok_or_else(|| CommandError::NoRollout {
        name: vs.name().to_owned(),
        namespace: vs.namespace().to_owned(),
    })?;
    match rollout.lead {
        Some(_) => Err(is_under_way(vs, &rollout)),
        None => Ok(rollout),
    }
}

/// There is a rollout where none should be.
pub fn is_under_way(vs: &VirtualService, rollout: &Rollout) -> CommandError {
    match &rollout.lead {
        Some(lead) => moves_with(vs, lead.clone(), rollout),
        None => CommandError::UnderWay {
            name: vs.name().to_owned(),
            namespace: vs.namespace().to_owned(),
            exposure: rollout.exposure(),
            holder: rollout.holder.clone(),
        },
    }
}

/// The object moves with another, so there is nothing to do on it alone.
pub fn moves_with(vs: &VirtualService, lead: ObjectName, rollout: &Rollout) -> CommandError {
    CommandError::MovesWith {
        object: vs.full_name(),
        lead,
        exposure: rollout.exposure(),
        holder: rollout.holder.clone(),
    }
}

/// Fails where another client has changed the routes, unless the plan says to write over that.
///
/// # Errors
/// Who changed what, and how to go on.
pub fn is_unchanged(vs: &VirtualService, rollout: &Rollout) -> Result<(), CommandError> {
    match compare(rollout, vs) {
        Observed::Drifted { manager, drift } if rollout.plan.on_drift == OnDrift::Stop => {
            Err(CommandError::Conflict(format!(
                "{manager} changed virtualservice {}: {drift} (try: kubectl canary resume {} -n {}, which sets the step's weights again, or abort)",
                vs.full_name(),
                vs.name(),
                vs.namespace()
            )))
        }
        _ => Ok(()),
    }
}

/// The canary has no traffic for the moment, so there is nothing to hold or to raise.
pub fn is_tripped(vs: &VirtualService) -> CommandError {
    CommandError::Conflict(format!(
        "virtualservice {} has set the canary to 0 % to confirm a regression (try: the same command in a moment, or kubectl canary abort {} -n {})",
        vs.full_name(),
        vs.name(),
        vs.namespace()
    ))
}
