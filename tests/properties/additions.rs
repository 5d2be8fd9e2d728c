//! Any sequence of moves with everything that a rollout may add: a canary, a larger total, a mirror, rules
//! for testers. At the end there is no trace of it.

use kubectl_canary::istio::{VersionQuery, VirtualService};
use kubectl_canary::plan::{Options, Percent, Plan};
use kubectl_canary::rollout::{Cause, Intent, LastRollout, Outcome, Phase, Rollout};
use proptest::prelude::*;
use serde_json::Value;

use crate::companions::{a_move, at, patched, play};
use crate::route_kinds::virtual_service;
use crate::seed::cases;

/// What a rollout may add.
#[derive(Clone, Copy, Debug)]
struct Extras {
    add: bool,
    fine: bool,
    testers: bool,
    mirror: bool,
}

fn extras() -> impl Strategy<Value = Extras> {
    any::<[bool; 4]>().prop_map(|[add, fine, testers, mirror]| Extras {
        add,
        fine,
        testers,
        mirror,
    })
}

fn rollout(vs: &VirtualService, extras: Extras) -> Option<Rollout> {
    let wanted = VersionQuery {
        stable: Some("v1"),
        canary: Some("v2"),
        add: extras.add,
        ..VersionQuery::default()
    };
    let steps = match (extras.mirror, extras.fine) {
        (true, true) => "mirror:10%,0.1,10,100",
        (true, false) => "mirror:10%,1,10,100",
        (false, true) => "0.05,1,10,100",
        (false, false) => "1,10,50,100",
    };
    let options = Options {
        steps: Some(steps.parse().unwrap()),
        testers: extras.testers.then(|| "header:x-canary=1".parse().unwrap()),
        ..Options::default()
    };
    let plan = Plan::resolve(options).unwrap();
    let choice = wanted
        .select_versions(vs)
        .ok()?
        .fitted(vs, &plan, extras.fine)
        .ok()?;
    let versions = (choice.stable, choice.canary, choice.splits);
    let holder = "alice@desk/1".to_owned();
    Some(Rollout::new("run-1".into(), holder, plan, versions, at(0)))
}

/// The rules of an object that are not ours.
fn rules(vs: &VirtualService) -> Vec<Value> {
    let rules = vs.spec()["http"].as_array().into_iter().flatten();
    let ours = |rule: &&Value| {
        rule["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("kubectl-canary-"))
    };
    rules.filter(|rule| !ours(rule)).cloned().collect()
}

/// A rule without what a rollout may touch of it.
fn foreign(rule: &Value) -> Value {
    let mut rule = rule.clone();
    let fields = rule.as_object_mut().unwrap();
    for touched in ["mirror", "mirrorPercentage", "route"] {
        fields.remove(touched);
    }
    rule
}

/// What the canary has of what it shares with stable, and what it may have.
fn check(
    before: &VirtualService,
    now: &VirtualService,
    rollout: &Rollout,
) -> Result<(), TestCaseError> {
    let (were, are) = (rules(before), rules(now));
    prop_assert_eq!(were.len(), are.len());
    for (was, is) in were.iter().zip(&are) {
        prop_assert_eq!(foreign(was).to_string(), foreign(is).to_string());
    }
    for split in &rollout.routes {
        let weights = split.find(now).unwrap().weights();
        let weight = |position: usize| weights.get(position).copied().flatten().unwrap_or(0);
        let original = split.original.get(split.canary).copied().flatten();
        let shared = weight(split.stable) + weight(split.canary);
        prop_assert!(shared == split.shared() || shared == split.shared() * split.scale);
        let scale = shared / split.shared();
        let most = match rollout.phase {
            Phase::Tripped => 0,
            Phase::Progressing | Phase::Waiting | Phase::Paused => rollout
                .exposure()
                .share()
                .floor_of(shared)
                .max(original.unwrap_or(0) * scale),
        };
        prop_assert!(weight(split.canary) <= most);
        for (position, was) in split.original.iter().enumerate() {
            if position != split.stable && position != split.canary {
                let kept = was.map(|was| was * scale);
                prop_assert_eq!(weights[position], kept, "others keep their share");
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn whatever_a_rollout_adds_is_gone_at_its_end(
        object in virtual_service(),
        extras in extras(),
        moves in proptest::collection::vec(a_move(), 1..8),
    ) {
        let before = VirtualService::new(object).unwrap();
        let Some(begun) = rollout(&before, extras) else {
            return Err(TestCaseError::reject("it cannot be rolled out"));
        };
        let vs = play(&before, &begun, moves, check)?;

        // From here on only the object is known.
        let found = Rollout::read(&vs).unwrap().unwrap();
        let ending = LastRollout::of(&found, Outcome::RolledBack(Cause::Request), "bob@desk", at(99));
        let intent = Intent::Restore(Box::new(found.clone()), ending);
        let restored = patched(&vs, intent.patch(&vs).unwrap());
        prop_assert!(intent.is_done(&restored));
        prop_assert_eq!(restored.spec().to_string(), before.spec().to_string(), "to the byte");

        let last = found.plan.step_count() - 1;
        let done = found.at_step(last, Phase::Progressing, at(100));
        let ending = LastRollout::of(&done, Outcome::Promoted, "bob@desk", at(100));
        let intent = Intent::Complete(Box::new(done.clone()), ending);
        let promoted = patched(&vs, intent.patch(&vs).unwrap());
        prop_assert!(intent.is_done(&promoted));
        check(&before, &promoted, &done)?;
        prop_assert_eq!(rules(&promoted).len(), promoted.spec()["http"].as_array().unwrap().len());
        for split in &done.routes {
            let weights = split.find(&promoted).unwrap().weights();
            prop_assert_eq!(weights[split.stable], Some(0));
            prop_assert_eq!(weights[split.canary], Some(split.shared()), "on the original scale");
        }
        prop_assert!(!promoted.spec().to_string().contains("mirror"));
        prop_assert_eq!(done.exposure().share(), Percent::HUNDRED);
    }
}
