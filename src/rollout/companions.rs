//! What the companions of a lead are to be, and how they stand to it.
//!
//! The lead goes first and comes to rest last: its state says where all are going, so a process that finds
//! a companion behind it knows what is left to do. Every companion is fenced by its own state in the
//! same way as the lead is.

use super::companion::{Companion, route_of};
use super::event::RouteChange;
use super::foreign_change::{Drift, ForeignChange};
use super::intent::Intent;
use super::last_rollout::LastRollout;
use super::observed::{Observed, compare};
use super::outcome::Outcome;
use super::state::{ROLLOUT, Rollout};
use crate::istio::VirtualService;

impl Intent {
    /// The rollout that is meant.
    pub fn rollout(&self) -> &Rollout {
        match self {
            Self::State(rollout)
            | Self::Complete(rollout, _)
            | Self::Restore(rollout, _)
            | Self::RestoreRest(rollout, _)
            | Self::RestoreAndForget(rollout, _) => rollout,
        }
    }

    /// The same for one of the companions.
    #[must_use]
    pub fn of_companion(&self, lead: &VirtualService, companion: &Companion) -> Self {
        let rollout = Box::new(self.rollout().of_companion(lead, companion));
        let of_companion =
            |last: &LastRollout| LastRollout::of(&rollout, last.outcome, &last.changed_by, last.at);
        match self {
            Self::State(_) => Self::State(rollout),
            Self::Complete(_, last) => Self::Complete(rollout.clone(), of_companion(last)),
            Self::Restore(_, last) => Self::Restore(rollout.clone(), of_companion(last)),
            Self::RestoreRest(_, cause) => Self::RestoreRest(rollout, *cause),
            Self::RestoreAndForget(_, last) => {
                Self::RestoreAndForget(rollout.clone(), of_companion(last))
            }
        }
    }

    /// What the lead gets before its companions move.
    ///
    /// A rollout that ends leaves its state on the lead until the others have arrived: should this
    /// process die between two of them, the way on and the way back are still written there.
    #[must_use]
    pub fn before_companions(&self, stored: bool) -> Self {
        match self {
            // A dry run stores nothing, so nothing can be built upon the state.
            Self::Complete(rollout, _) if !rollout.companions.is_empty() && stored => {
                Self::State(rollout.clone())
            }
            intent => intent.clone(),
        }
    }
}

/// Whether a companion is where `intent`, made for it, wants it: there, or at the end of this very
/// rollout already.
pub fn is_in_place(intent: &Intent, vs: &VirtualService) -> bool {
    intent.is_done(vs) || is_promoted(intent.rollout(), vs)
}

/// Whether the rollout has ended well on this companion, ahead of its lead.
fn is_promoted(rollout: &Rollout, vs: &VirtualService) -> bool {
    let last = LastRollout::of_run(vs, &rollout.run);
    let ended = last.is_some_and(|last| last.outcome == Outcome::Promoted);
    let is_last = rollout.plan.is_last(rollout.step);
    let promoted = || {
        rollout
            .promoted_on(vs)
            .map(|desired| desired.difference(vs))
    };
    ended && is_last && vs.annotation(ROLLOUT).is_none() && promoted() == Ok(None)
}

/// Compares what a companion shows with the lead's rollout that one believes in.
pub fn compare_companion(
    believed: &Rollout,
    lead: &VirtualService,
    companion: &Companion,
    vs: &VirtualService,
) -> Observed {
    let believed = believed.of_companion(lead, companion);
    if companion.uid != vs.uid() {
        return Observed::Drifted {
            manager: vs.last_manager().unwrap_or("another client").to_owned(),
            drift: Drift::from(ForeignChange::Recreated).of_companion(vs),
        };
    }
    match compare(&believed, vs) {
        _ if is_promoted(&believed, vs) => Observed::InSync,
        Observed::Drifted { manager, drift } => Observed::Drifted {
            manager,
            drift: drift.of_companion(vs),
        },
        sight => sight,
    }
}

/// Whether a companion has the original weights, and no object seen of it shows that `rollout` was ever there.
pub fn is_untouched(rollout: &Rollout, seen: [&VirtualService; 2]) -> bool {
    let is_there = |vs: &VirtualService| {
        vs.annotation(ROLLOUT).is_some() || LastRollout::of_run(vs, &rollout.run).is_some()
    };
    let [_, now] = seen;
    let original = rollout.original_on(now);
    !seen.into_iter().any(is_there)
        && original.is_ok_and(|desired| desired.difference(now).is_none())
}

/// What keeps a companion from being moved, as far as looking at it tells.
pub fn blocker(
    goal: &Intent,
    lead: &VirtualService,
    companion: &Companion,
    vs: &VirtualService,
) -> Option<String> {
    if companion.uid != vs.uid() {
        return Some("it was deleted and recreated since the rollout began".into());
    }
    let rollout = goal.rollout();
    match Rollout::read(vs) {
        Ok(Some(other)) if other.run != rollout.run => {
            return Some(format!("{} has another rollout there", other.holder));
        }
        Err(error) => return Some(error.to_string()),
        Ok(Some(_)) => {}
        Ok(None) => {
            let companion = rollout.of_companion(lead, companion);
            let original = companion.original_on(vs);
            let untouched = original.is_ok_and(|desired| desired.difference(vs).is_none());
            if !untouched && !is_promoted(&companion, vs) {
                return Some("it has neither the original weights nor a rollout state".into());
            }
        }
    }
    if let Some(last) = LastRollout::of_run(vs, &rollout.run)
        && matches!(last.outcome, Outcome::RolledBack(_))
    {
        return Some(format!("{} has begun to roll back", last.changed_by));
    }
    let patch = goal.of_companion(lead, companion).patch(vs);
    patch.err().map(|error| error.to_string())
}

/// What `intent` changes on a companion, with the object's name behind each route.
pub fn changes_of(intent: &Intent, vs: &VirtualService) -> Vec<RouteChange> {
    let changes = intent.changes(vs).unwrap_or_default().into_iter();
    changes
        .map(|change| RouteChange {
            route: route_of(&change.route, vs),
            ..change
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::{VersionQuery, select_versions};
    use crate::plan::{Options, Plan};
    use crate::rollout::last_rollout::LAST;
    use crate::rollout::outcome::Cause;
    use crate::rollout::segment::Phase;
    use serde_json::{Value, json};

    fn vs(name: &str, weights: [i64; 2], annotations: Value) -> VirtualService {
        VirtualService::new(json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "annotations": annotations},
            "spec": {"http": [{"name": "main", "route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": weights[0]},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": weights[1]},
            ]}]},
        }))
        .unwrap()
    }

    /// A rollout of two objects at 10 %, and the lead.
    fn rollout() -> (Rollout, VirtualService) {
        let (lead, other) = (
            vs("reviews", [100, 0], json!({})),
            vs("storefront", [100, 0], json!({})),
        );
        let selection = select_versions(&lead, None, None, &[], &[]).unwrap();
        let pair = (&selection.stable, &selection.canary);
        let of_other = VersionQuery::default().between(&other, pair).unwrap();
        let also = vec![Companion::of(&other, &of_other.splits)];
        let plan = Plan::resolve(Options::default()).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let whom = (selection.stable, selection.canary, selection.splits);
        let rollout = Rollout::new("r".into(), "ada@desk/1".into(), plan, whom, now);
        let rollout = rollout.with_companions(also);
        (rollout.at_step(1, Phase::Progressing, now), lead)
    }

    fn state(rollout: &Rollout, lead: &VirtualService) -> Value {
        let own = rollout.of_companion(lead, &rollout.companions[0]);
        json!({ROLLOUT: own.to_annotation().unwrap()})
    }

    fn ended(rollout: &Rollout, outcome: Outcome) -> Value {
        let last = LastRollout::of(rollout, outcome, "bob@desk", rollout.began);
        json!({LAST: last.to_annotation()})
    }

    #[test]
    fn a_companion_shows_whether_it_is_where_its_lead_is() {
        let (rollout, lead) = rollout();
        let now = rollout.began;
        let sight = |rollout: &Rollout, vs: &VirtualService| match compare_companion(
            rollout,
            &lead,
            &rollout.companions[0],
            vs,
        ) {
            Observed::InSync => "as believed".to_owned(),
            Observed::Advanced(_) => "moved".to_owned(),
            Observed::Ended(last) => last.outcome.to_string(),
            Observed::HolderChanged(holder) => holder,
            Observed::Drifted { drift, .. } => drift.to_string(),
            Observed::Deleted => "gone".to_owned(),
        };
        let at = |weights, annotations| vs("storefront", weights, annotations);
        let earlier = rollout.at_step(0, Phase::Progressing, now);
        let last = rollout.at_step(3, Phase::Progressing, now);
        let anothers = Rollout {
            holder: "bob@desk/2".into(),
            ..rollout.clone()
        };
        for (believed, seen, expected) in [
            (
                &rollout,
                at([90, 10], state(&rollout, &lead)),
                "as believed",
            ),
            (&rollout, at([99, 1], state(&earlier, &lead)), "moved"),
            (
                &rollout,
                at([90, 10], state(&anothers, &lead)),
                "bob@desk/2",
            ),
            (
                &rollout,
                at([50, 50], state(&rollout, &lead)),
                "virtualservice shop/storefront: http[main] has weights 50/50, this rollout knows 90/10",
            ),
            (
                &rollout,
                at([90, 10], json!({})),
                "virtualservice shop/storefront: the rollout state was removed",
            ),
            (
                &rollout,
                vs("other", [90, 10], state(&rollout, &lead)),
                "virtualservice shop/other was deleted and recreated",
            ),
            (
                &rollout,
                at(
                    [100, 0],
                    ended(&rollout, Outcome::RolledBack(Cause::Request)),
                ),
                "rolled back: on request",
            ),
            // One that is at 100 % may have come to its end before its lead, but no sooner.
            (
                &last,
                at([0, 100], ended(&last, Outcome::Promoted)),
                "as believed",
            ),
            (
                &rollout,
                at([0, 100], ended(&last, Outcome::Promoted)),
                "promoted",
            ),
            (
                &last,
                at([5, 95], ended(&last, Outcome::Promoted)),
                "promoted",
            ),
        ] {
            assert_eq!(sight(believed, &seen), expected);
        }
    }

    #[test]
    fn what_keeps_a_companion_from_moving_is_known_before_it_is_tried() {
        let (rollout, lead) = rollout();
        let goal = Intent::State(Box::new(rollout.clone()));
        let why = |vs: &VirtualService| blocker(&goal, &lead, &rollout.companions[0], vs);
        let at = |weights, annotations| vs("storefront", weights, annotations);
        let another = Rollout {
            run: "other".into(),
            ..rollout.clone()
        };
        for (seen, expected) in [
            (at([100, 0], json!({})), None),
            (at([90, 10], state(&rollout, &lead)), None),
            (
                at([80, 20], json!({})),
                Some("it has neither the original weights nor a rollout state"),
            ),
            (
                at([90, 10], state(&another, &lead)),
                Some("ada@desk/1 has another rollout there"),
            ),
            (
                at(
                    [100, 0],
                    ended(&rollout, Outcome::RolledBack(Cause::Request)),
                ),
                Some("bob@desk has begun to roll back"),
            ),
            (
                vs("other", [100, 0], json!({})),
                Some("it was deleted and recreated since the rollout began"),
            ),
        ] {
            assert_eq!(why(&seen).as_deref(), expected);
        }
    }

    #[test]
    fn the_patch_of_a_companion_depends_on_how_the_last_rollout_ended_there() {
        let (rollout, lead) = rollout();
        let goal = Intent::State(Box::new(rollout.clone()));
        let seen = vs("storefront", [100, 0], ended(&rollout, Outcome::Promoted));
        let patch = goal
            .of_companion(&lead, &rollout.companions[0])
            .patch(&seen);
        let patch = serde_json::to_string(&patch.unwrap()).unwrap();
        let tested =
            r#"{"op":"test","path":"/metadata/annotations/kubectl-canary.dev~1last","value""#;
        assert!(patch.contains(tested), "{patch}");
        assert_eq!(patch.matches("kubectl-canary.dev~1last").count(), 1);
    }
}
