//! Any sequence of moves with everything that a rollout may add: a canary, a larger total, a mirror, rules
//! for testers, a cookie with a rule for its users. At the end there is no trace of it.

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
    sticky: bool,
}

fn extras() -> impl Strategy<Value = Extras> {
    any::<[bool; 5]>().prop_map(|[add, fine, testers, mirror, sticky]| Extras {
        add,
        fine,
        testers,
        mirror,
        sticky,
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
        sticky: extras.sticky.then(|| "cookie=canary".parse().unwrap()),
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

/// The value of the run's cookie at a destination.
fn cookie(target: &Value) -> Option<&str> {
    let text = target
        .pointer("/headers/response/add/set-cookie")?
        .as_str()?;
    text.starts_with("canary=run-1;").then_some(text)
}

/// The headers of a destination without the run's cookie, as text without what may be empty for want of it.
fn other_headers(target: &Value) -> String {
    let mut target = target.clone();
    if cookie(&target).is_some() {
        let added = target.pointer_mut("/headers/response/add").unwrap();
        added.as_object_mut().unwrap().remove("set-cookie");
    }
    let text = target["headers"].to_string();
    let text = text.replace("\"add\":{},", "").replace("\"add\":{}", "");
    text.replace("\"response\":{}", "")
        .replace(",}", "}")
        .replace("{}", "null")
}

/// Users are kept on the canary at a share of the requests, and never else.
fn check_stickiness(
    before: &VirtualService,
    now: &VirtualService,
    rollout: &Rollout,
) -> Result<(), TestCaseError> {
    let share = rollout.exposure().share();
    let is_due = rollout.plan.sticky.is_some() && share > Percent::ZERO && share < Percent::HUNDRED;
    let found = rollout
        .routes
        .iter()
        .map(|split| split.find(now).unwrap().at);
    let http = found.filter(|at| at.pointer().starts_with("/spec/http/"));
    let due = if is_due { http.count() } else { 0 };
    let all = now.spec()["http"].as_array().unwrap();
    let kept = all
        .iter()
        .filter(|rule| rule.to_string().contains("cookie\":{\"regex"));
    prop_assert_eq!(kept.count(), due);
    let setting = all
        .iter()
        .flat_map(|rule| rule["route"].as_array().into_iter().flatten());
    let setting = setting.filter(|target| cookie(target).is_some());
    prop_assert_eq!(setting.count(), due);
    for (was, is) in rules(before).iter().zip(&rules(now)) {
        let targets = |rule: &Value| rule["route"].as_array().cloned().unwrap_or_default();
        for (was, is) in targets(was).iter().zip(&targets(is)) {
            prop_assert_eq!(other_headers(was), other_headers(is));
        }
    }
    Ok(())
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
    check_stickiness(before, now, rollout)?;
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
        for trace in ["mirror", "cookie"] {
            prop_assert!(!promoted.spec().to_string().contains(trace));
        }
        prop_assert_eq!(done.exposure().share(), Percent::HUNDRED);
    }
}
