//! A promotion that may be undone: what its end on the object keeps of it, and whether it still stands.

use jiff::Timestamp;

use super::last_rollout::LastRollout;
use super::outcome::{Cause, Outcome};
use super::segment::Phase;
use super::state::Rollout;
use crate::istio::{RouteDifference, Split, VirtualService};
use crate::plan::{Options, Plan};

/// How an object stands to a promotion that is to be undone.
#[derive(Clone, Debug, PartialEq)]
pub enum PromotionState {
    /// Its weights are those of the promotion, or the original ones already.
    Stands,
    /// It has been undone.
    Undone,
    /// Another rollout is in progress there; by whom.
    UnderWay(String),
    /// It is not as the promotion left it; what is different.
    Changed(String),
}

impl LastRollout {
    /// The rollout that was promoted, as far as it is needed to undo that; nothing after another end.
    ///
    /// Its plan is not kept. It asks for no mirror, no testers and no cookie, so these are left as they are.
    pub fn promoted_rollout(&self) -> Option<Rollout> {
        let before = self.before.as_ref()?;
        let plan = Plan::resolve(Options::default()).ok()?;
        let last = plan.step_count() - 1;
        let selection = (
            before.stable.clone(),
            before.canary.clone(),
            before.routes.clone(),
        );
        let rollout = Rollout::new(
            self.run.clone(),
            self.changed_by.clone(),
            plan,
            selection,
            self.at,
        );
        let rollout = Rollout {
            lead: self.lead.clone(),
            ..rollout.with_companions(before.companions.clone())
        };
        let is_sane = !rollout.routes.is_empty() && rollout.all_routes().all(Split::is_sane);
        is_sane.then(|| rollout.at_step(last, Phase::Progressing, self.at))
    }

    /// The same once the promotion is undone.
    #[must_use]
    pub fn undone(self, by: &str, at: Timestamp) -> Self {
        Self {
            outcome: Outcome::RolledBack(Cause::Undo),
            at,
            changed_by: by.to_owned(),
            before: None,
            ..self
        }
    }
}

/// How `vs` stands to the promotion of `rollout`, which has this object's routes.
pub fn promotion_on(rollout: &Rollout, vs: &VirtualService) -> PromotionState {
    match Rollout::read(vs) {
        Ok(Some(other)) => return PromotionState::UnderWay(other.holder),
        Err(error) => return PromotionState::Changed(error.to_string()),
        Ok(None) => {}
    }
    match LastRollout::of_run(vs, &rollout.run).map(|last| last.outcome) {
        Some(Outcome::Promoted) => {}
        Some(Outcome::RolledBack(_)) => return PromotionState::Undone,
        Some(_) | None => {
            return PromotionState::Changed("another rollout has ended there since".into());
        }
    }
    let is_original = rollout
        .original_on(vs)
        .is_ok_and(|desired| desired.is_exactly(vs));
    let difference = match rollout.promoted_on(vs) {
        _ if is_original => None,
        Ok(desired) => desired.difference(vs),
        Err(missing) => Some(RouteDifference::from(missing)),
    };
    match difference {
        None => PromotionState::Stands,
        Some(difference) => PromotionState::Changed(difference.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::select_versions;
    use crate::rollout::LAST;
    use serde_json::{Value, json};

    fn vs(weights: [i64; 2], annotations: Value) -> VirtualService {
        VirtualService::new(json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1", "annotations": annotations},
            "spec": {"http": [{"name": "main", "route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": weights[0]},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": weights[1]},
            ]}]},
        }))
        .unwrap()
    }

    fn promoted() -> LastRollout {
        let before = vs([80, 20], json!({}));
        let selection = select_versions(&before, None, None, &[], &[]).unwrap();
        let selection = (selection.stable, selection.canary, selection.splits);
        let plan = Plan::resolve(Options::default()).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let rollout = Rollout::new("r".into(), "me@here".into(), plan, selection, now);
        LastRollout::of(&rollout, Outcome::Promoted, "me@here", now)
    }

    #[test]
    fn the_end_of_a_promotion_is_short_and_holds_what_was_before() {
        let last = promoted();
        let text = last.to_annotation();
        assert!(text.len() < 600, "{} bytes: {text}", text.len());
        let after = vs([0, 100], json!({LAST: text}));
        let read = LastRollout::read(&after).unwrap().unwrap();
        assert_eq!(read, last);
        let rollout = read.promoted_rollout().unwrap();
        assert_eq!(rollout.routes[0].original, [Some(80), Some(20)]);
        assert_eq!(promotion_on(&rollout, &after), PromotionState::Stands);
        let undone = last.undone("bob@desk", rollout.began);
        assert_eq!(undone.promoted_rollout(), None);
        let back = vs([80, 20], json!({LAST: undone.to_annotation()}));
        assert_eq!(promotion_on(&rollout, &back), PromotionState::Undone);
    }

    #[test]
    fn an_end_written_before_there_was_an_undo_is_read_and_cannot_be_undone() {
        let mut last = serde_json::to_value(promoted()).unwrap();
        last.as_object_mut().unwrap().remove("before");
        let after = vs([0, 100], json!({LAST: last.to_string()}));
        let read = LastRollout::read(&after).unwrap().unwrap();
        assert_eq!(read.promoted_rollout(), None);
    }

    #[test]
    fn only_what_the_promotion_left_is_undone() {
        let last = promoted();
        let rollout = last.promoted_rollout().unwrap();
        let state = rollout.to_annotation().unwrap();
        let other = LastRollout {
            run: "s".into(),
            ..last.clone()
        };
        let ended = json!({LAST: last.to_annotation()});
        for (weights, annotations, expected) in [
            ([0, 100], ended.clone(), "stands"),
            ([80, 20], ended.clone(), "stands"),
            ([50, 50], ended, "http[main] has weights 50/50"),
            ([0, 100], json!({}), "another rollout has ended there since"),
            (
                [0, 100],
                json!({LAST: other.to_annotation()}),
                "another rollout has ended there since",
            ),
            ([0, 100], json!({crate::rollout::ROLLOUT: state}), "me@here"),
        ] {
            let found = match promotion_on(&rollout, &vs(weights, annotations)) {
                PromotionState::Stands => "stands".to_owned(),
                PromotionState::Undone => "undone".to_owned(),
                PromotionState::UnderWay(text) | PromotionState::Changed(text) => text,
            };
            assert!(found.starts_with(expected), "{found}, not {expected}");
        }
    }
}
