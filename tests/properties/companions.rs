//! Any sequence of moves, applied to the object as the API server would.

use jiff::Timestamp;
use json_patch::{Patch, PatchOperation};
use kubectl_canary::istio::{VirtualService, select_versions};
use kubectl_canary::plan::{Options, Percent, Plan};
use kubectl_canary::rollout::{
    Cause, Intent, LastRollout, Observed, Outcome, Phase, Rollout, compare,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::route_kinds::{totals, virtual_service, without_weights};
use crate::seed::cases;

/// One move of a rollout.
#[derive(Clone, Copy, Debug)]
pub enum Move {
    Step(usize),
    Pause,
    Wait,
    Trip,
    Clear,
}

pub fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => (0..4_usize).prop_map(Move::Step),
        1 => Just(Move::Pause),
        1 => Just(Move::Wait),
        2 => Just(Move::Trip),
        1 => Just(Move::Clear),
    ]
}

pub fn at(second: usize) -> Timestamp {
    Timestamp::from_second(second as i64).unwrap()
}

/// A rollout over all routes of the object that hold both versions.
fn rollout(vs: &VirtualService) -> Option<Rollout> {
    let chosen = select_versions(vs, Some("v1"), Some("v2"), &[], &[]).ok()?;
    let options = Options {
        steps: Some("1,10,50,100".parse().unwrap()),
        ..Options::default()
    };
    let plan = Plan::resolve(options).unwrap();
    let versions = (chosen.stable, chosen.canary, chosen.splits);
    Some(Rollout::new(
        "run-1".into(),
        "alice@desk/1".into(),
        plan,
        versions,
        at(0),
    ))
}

/// What the API server makes of the object: to it, a `test` against null asks for absence.
pub fn patched(vs: &VirtualService, patch: Patch) -> VirtualService {
    let mut raw = vs.raw().clone();
    let mut operations = patch.0;
    operations.retain(|operation| match operation {
        PatchOperation::Test(test) if test.value.is_null() => {
            let found = raw.pointer(test.path.as_str());
            assert!(found.is_none_or(Value::is_null), "{} is there", test.path);
            false
        }
        _ => true,
    });
    json_patch::patch(&mut raw, &operations).expect("the patch applies to what it was made of");
    VirtualService::new(raw).unwrap()
}

/// The object without our annotations, and without a map that is empty for want of them.
fn without_ours(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object["metadata"]
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        map.retain(|key, _| !key.starts_with("kubectl-canary.dev/"));
        if map.is_empty() {
            object["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("annotations");
        }
    }
    object
}

fn check(
    before: &VirtualService,
    now: &VirtualService,
    rollout: &Rollout,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(
        without_weights(&without_ours(now.raw())).to_string(),
        without_weights(&without_ours(before.raw())).to_string(),
        "only weights and our annotations change"
    );
    prop_assert_eq!(totals(now.raw()), totals(before.raw()), "totals stay");
    let chosen: Vec<_> = rollout
        .routes
        .iter()
        .map(|split| split.find(now).unwrap().at)
        .collect();
    for (was, is) in before.routes().iter().zip(now.routes()) {
        if !chosen.contains(&is.at) {
            prop_assert_eq!(
                was.weights(),
                is.weights(),
                "routes that are not chosen stay"
            );
        }
    }
    for split in &rollout.routes {
        let weights = split.find(now).unwrap().weights();
        let weight = |position: usize| weights[position].unwrap_or(0);
        let original = split.original[split.canary].unwrap_or(0);
        let allowed = rollout.exposure().share().floor_of(split.shared());
        let most = match rollout.phase {
            Phase::Tripped => 0,
            Phase::Progressing | Phase::Waiting | Phase::Paused => allowed.max(original),
        };
        prop_assert!(
            weight(split.canary) <= most,
            "{} of {}",
            weight(split.canary),
            most
        );
        prop_assert!(weight(split.stable) >= 0);
        for (position, was) in split.original.iter().enumerate() {
            if position != split.stable && position != split.canary {
                prop_assert_eq!(
                    weights[position],
                    *was,
                    "other destinations keep their share"
                );
            }
        }
    }
    Ok(())
}

/// The object after a rollout has begun on it and made these moves; `check` sees it after each.
pub fn play(
    before: &VirtualService,
    begun: &Rollout,
    moves: Vec<Move>,
    check: impl Fn(&VirtualService, &VirtualService, &Rollout) -> Result<(), TestCaseError>,
) -> Result<VirtualService, TestCaseError> {
    let last = begun.plan.step_count() - 1;
    let mut vs = before.clone();
    let mut believed = begun.at_step(0, Phase::Progressing, at(1));
    for (number, made) in std::iter::once(Move::Step(0)).chain(moves).enumerate() {
        let now = at(number + 1);
        let next = match made {
            Move::Step(step) => believed.at_step(step.min(last), Phase::Progressing, now),
            Move::Pause => believed.in_phase(Phase::Paused, now),
            Move::Wait => believed.in_phase(Phase::Waiting, now),
            Move::Trip => believed.in_phase(Phase::Tripped, now),
            Move::Clear => believed.cleared(now),
        };
        let intent = Intent::State(Box::new(next.clone()));
        vs = patched(&vs, intent.patch(&vs).unwrap());
        prop_assert!(intent.is_done(&vs));
        prop_assert_eq!(Rollout::read(&vs).unwrap(), Some(next.clone()));
        prop_assert_eq!(compare(&next, &vs), Observed::InSync);
        check(before, &vs, &next)?;
        believed = next;
    }
    Ok(vs)
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn whatever_a_rollout_goes_through_it_moves_weights_only_and_abort_restores_them(
        object in virtual_service(),
        moves in proptest::collection::vec(a_move(), 1..8),
        promoted in any::<bool>(),
    ) {
        let before = VirtualService::new(object).unwrap();
        let Some(begun) = rollout(&before) else {
            return Err(TestCaseError::reject("stable and canary cannot be determined"));
        };
        let vs = play(&before, &begun, moves, check)?;

        // From here on only the object is known.
        let found = Rollout::read(&vs).unwrap().unwrap();
        let restored = {
            let ending = LastRollout::of(&found, Outcome::RolledBack(Cause::Request), "bob@desk", at(99));
            let intent = Intent::Restore(Box::new(found.clone()), ending);
            patched(&vs, intent.patch(&vs).unwrap())
        };
        prop_assert_eq!(restored.spec().to_string(), before.spec().to_string(), "to the byte");
        prop_assert_eq!(without_ours(restored.raw()), without_ours(before.raw()));
        prop_assert_eq!(Rollout::read(&restored).unwrap(), None);

        if promoted {
            let last = found.at_step(3, Phase::Progressing, at(100));
            let ending = LastRollout::of(&last, Outcome::Promoted, "bob@desk", at(100));
            let intent = Intent::Complete(Box::new(last.clone()), ending);
            let done = patched(&vs, intent.patch(&vs).unwrap());
            check(&before, &done, &last)?;
            for split in &last.routes {
                let weights = split.find(&done).unwrap().weights();
                prop_assert_eq!(weights[split.stable], Some(0));
                prop_assert_eq!(weights[split.canary], Some(split.shared()));
            }
            prop_assert_eq!(last.exposure().share(), Percent::HUNDRED);
        }
    }
}
