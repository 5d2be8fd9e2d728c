//! The object, compared with the state that this process last knew. Pure.

use super::foreign_change::{Drift, ForeignChange};
use super::last_rollout::LastRollout;
use super::state::Rollout;
use crate::istio::{DesiredRoutes, FIELD_MANAGER, MissingRoutes, RouteDifference, VirtualService};
use crate::plan::AfterRegression;

/// What the object shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// State and weights are as believed.
    InSync,
    /// The same rollout was moved by `promote`, `pause` or `resume`; weights and state agree.
    Advanced(Box<Rollout>),
    /// The rollout is over.
    Ended(Box<LastRollout>),
    /// Another driver has it now.
    HolderChanged(String),
    /// Weights or routes are not what the state says.
    Drifted {
        /// The field manager that wrote last.
        manager: String,
        /// What is different.
        drift: Drift,
    },
    /// The object was deleted.
    Deleted,
}

/// Compares what `vs` shows with the rollout that one believes in.
pub fn compare(believed: &Rollout, vs: &VirtualService) -> Observed {
    let shown = match Rollout::read(vs) {
        Ok(Some(shown)) => shown,
        Ok(None) => return without_state(believed, vs),
        Err(error) => {
            let message = error.to_string();
            return drifted(vs, ForeignChange::StateUnreadable { message }.into());
        }
    };
    if shown.run != believed.run || shown.holder != believed.holder {
        return Observed::HolderChanged(shown.holder);
    }
    if let Some(drift) = different(vs, shown.desired_on(vs)) {
        return drifted(vs, drift);
    }
    if shown.is_same_state(believed) {
        Observed::InSync
    } else {
        Observed::Advanced(Box::new(shown))
    }
}

/// What the object shows that has no state of a rollout any more, or not yet.
fn without_state(believed: &Rollout, vs: &VirtualService) -> Observed {
    if let Some(last) = LastRollout::of_run(vs, &believed.run) {
        return Observed::Ended(Box::new(last));
    }
    if !believed.has_begun() {
        // Nothing of ours was there yet, so only the weights can have become others.
        let drift = different(vs, believed.original_on(vs));
        return drift.map_or(Observed::InSync, |drift| drifted(vs, drift));
    }
    match ended_since(believed, vs) {
        // Another run has come and gone: whoever began it had ended this one.
        Some(other) => Observed::HolderChanged(other.changed_by),
        None => drifted(vs, ForeignChange::StateRemoved.into()),
    }
}

fn drifted(vs: &VirtualService, drift: Drift) -> Observed {
    Observed::Drifted {
        manager: vs.last_manager().unwrap_or("another client").to_owned(),
        drift,
    }
}

/// Whether `vs`, the lead of several objects, has its original weights from one of us while its state
/// stays: another process is rolling back, and is not done with the companions.
pub fn is_on_its_way_back(believed: &Rollout, vs: &VirtualService) -> bool {
    let is_ours = || match Rollout::read(vs) {
        Ok(Some(shown)) => shown.run == believed.run && shown.holder == believed.holder,
        Ok(None) | Err(_) => false,
    };
    let is_restored = |after| {
        believed
            .restored_on(vs, after)
            .is_ok_and(|desired| desired.is_exactly(vs))
    };
    let is_original =
        || is_restored(AfterRegression::Original) || is_restored(believed.plan.after_regression);
    !believed.companions.is_empty()
        && vs.last_manager() == Some(FIELD_MANAGER)
        && is_original()
        && is_ours()
}

/// The last rollout on `vs`, if that is another run than the one believed in and ended after this began.
fn ended_since(believed: &Rollout, vs: &VirtualService) -> Option<LastRollout> {
    let last = LastRollout::read(vs).ok()??;
    (last.run != believed.run && last.at > believed.began).then_some(last)
}

/// What on the object is not as it should be.
fn different(vs: &VirtualService, expected: Result<DesiredRoutes, MissingRoutes>) -> Option<Drift> {
    match expected {
        Ok(desired) => desired.difference(vs).map(Drift::from),
        Err(missing) => Some(RouteDifference::from(missing).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::select_versions;
    use crate::plan::{Options, Plan};
    use crate::rollout::segment::Phase;
    use crate::rollout::{Cause, LAST, Outcome};
    use jiff::SignedDuration;
    use serde_json::{Value, json};

    fn vs(annotations: Value) -> VirtualService {
        VirtualService::new(json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1", "annotations": annotations},
            "spec": {"http": [{"route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
            ]}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_run_that_came_and_went_has_ended_the_one_before_it() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let run = |name: &str| {
            let found = select_versions(&vs(json!({})), None, None, &[], &[]).unwrap();
            let whom = (found.stable, found.canary, found.splits);
            let plan = Plan::resolve(Options::default()).unwrap();
            let rollout = Rollout::new(name.into(), "alice@desk/1".into(), plan, whom, now);
            rollout.at_step(0, Phase::Progressing, now)
        };
        let ended = |seconds: i64| {
            let outcome = Outcome::RolledBack(Cause::Request);
            let at = now + SignedDuration::from_secs(seconds);
            let last = LastRollout::of(&run("other"), outcome, "bob@desk/2", at);
            compare(&run("ours"), &vs(json!({LAST: last.to_annotation()})))
        };
        assert_eq!(ended(60), Observed::HolderChanged("bob@desk/2".into()));
        // One from before: somebody has removed the state of this one.
        assert!(matches!(ended(-60), Observed::Drifted { .. }));
    }
}
