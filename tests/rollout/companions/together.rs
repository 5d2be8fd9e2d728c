//! What happens to one object happens to all.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::commands::Start;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Phase, Reason};
use kubectl_canary::sandbox::{ApiFault, Rule};
use kubectl_canary::{CommandError, Signal, Signals};
use serde_json::json;

use super::harness::{Group, OBJECTS, door, together};
use crate::harness::{Dice, signals, start};

#[tokio::test(start_paused = true)]
async fn all_reach_100_percent_together_and_others_keep_their_share() {
    let group = Group::open().await;
    let driver = group.start("10,50,100");
    let watcher = async {
        group.until(|group| group.canary() == [10, 8, 20]).await;
        for name in OBJECTS {
            let rollout = group.rollout(name).unwrap();
            assert_eq!((rollout.step, rollout.phase), (0, Phase::Progressing));
        }
        group.until(|group| group.canary() == [50, 40, 100]).await;
    };
    let (finish, ()) = tokio::join!(driver, watcher);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(group.canary(), [100, 80, 200]);
    assert_eq!(
        group.spec("storefront")["http"][1]["route"][2]["weight"],
        20
    );
    assert_eq!(
        group.spec("storefront")["http"][0],
        group.before[1]["http"][0]
    );
    group.assert_free();
    let steps = [OBJECTS, OBJECTS, OBJECTS].concat();
    // The lead rests last: its state goes when all the others have arrived.
    assert_eq!(group.patched(), [steps, vec!["reviews"]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_regression_restores_every_object_to_its_bytes_and_the_lead_last() {
    let group = Group::open().await;
    let driver = group.start("10:1m,100");
    let breaking = async {
        group.until(|group| group.canary() == [10, 8, 20]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        group.fails();
    };
    let (finish, ()) = tokio::join!(driver, breaking);
    assert_eq!(
        finish.unwrap().outcome,
        Outcome::RolledBack(Cause::Regression)
    );
    group.assert_restored();
    let patched = group.patched();
    assert_eq!(
        patched[patched.len() - 3..],
        ["partners", "storefront", "reviews"]
    );
    let told = group.shop.told().into_iter();
    let routes: Vec<_> = told
        .filter_map(|event| match event {
            EventKind::RolledBack { routes, .. } => Some(routes),
            _ => None,
        })
        .flatten()
        .map(|change| change.route)
        .collect();
    assert_eq!(
        routes,
        [
            "http[primary]",
            "http[main] of shop/partners",
            "http[main] of shop/storefront"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_trip_takes_the_canary_to_0_on_every_object_before_it_is_confirmed() {
    let group = Group::open().await;
    let options = Options {
        analysis: None,
        min_requests: None,
        ..together("10:1m,100")
    };
    let driver = group.start_with(options, Signals::none());
    let breaking = async {
        group.until(|group| group.canary() == [10, 8, 20]).await;
        tokio::time::sleep(Duration::from_secs(40)).await;
        group.fails();
        group.until(|group| group.canary() == [0, 0, 0]).await;
        OBJECTS.map(|name| group.rollout(name).map(|rollout| rollout.phase))
    };
    let (finish, phases) = tokio::join!(driver, breaking);
    assert_eq!(phases, [Some(Phase::Tripped); 3]);
    assert_eq!(
        finish.unwrap().outcome,
        Outcome::RolledBack(Cause::Regression)
    );
    group.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_short_fault_on_a_companion_is_borne() {
    for fault in [
        ApiFault::Answer {
            code: 503,
            retry_after: None,
            applied: false,
        },
        ApiFault::Answer {
            code: 504,
            retry_after: None,
            applied: true,
        },
        ApiFault::Answer {
            code: 429,
            retry_after: Some(1),
            applied: false,
        },
        ApiFault::Reset { applied: true },
        ApiFault::Hang { applied: false },
    ] {
        for skip in 0..3 {
            let group = Group::open().await;
            group.fault("storefront", fault.clone(), |rule| {
                rule.after(skip).times(2)
            });
            let finish = group.start("10,50,100").await.unwrap();
            assert_eq!(finish.outcome, Outcome::Promoted, "{fault:?} after {skip}");
            assert_eq!(group.canary(), [100, 80, 200]);
            group.assert_free();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn abort_beside_a_live_driver_ends_both_and_restores_all() {
    for name in OBJECTS {
        let group = Group::open().await;
        let driver = group.start("10:5m,100");
        let other = async {
            group.until(|group| group.canary() == [10, 8, 20]).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            group.abort(name).await.unwrap().unwrap()
        };
        let (finish, aborted) = tokio::join!(driver, other);
        assert_eq!(aborted.outcome, Outcome::RolledBack(Cause::Request));
        let finish = finish.unwrap();
        assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Request));
        assert_eq!(
            finish.reasons,
            [Reason::Ended {
                outcome: Outcome::RolledBack(Cause::Request),
                by: "bob@desk".into()
            }]
        );
        group.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn promote_pause_and_resume_on_a_companion_act_on_all() {
    let group = Group::open().await;
    let driver = group.start("10:10m,50:10m,100");
    let other = async {
        group.until(|group| group.canary() == [10, 8, 20]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        group.promote("partners", false).await.unwrap();
        assert_eq!(group.canary(), [50, 40, 100]);
        group.pause("storefront").await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        for name in OBJECTS {
            assert_eq!(group.rollout(name).unwrap().phase, Phase::Paused, "{name}");
        }
        assert_eq!(group.canary(), [50, 40, 100]);
        group.resume("partners").await.unwrap();
        let status = group.status("partners").await;
        assert_eq!(status.lead.unwrap().to_string(), "shop/reviews");
        let status = group.status("reviews").await;
        let also: Vec<_> = status.companions.iter().map(ToString::to_string).collect();
        assert_eq!(also, ["shop/storefront", "shop/partners"]);
        let routes: Vec<_> = status.routes.iter().map(|r| r.route.as_str()).collect();
        assert_eq!(
            routes,
            [
                "http[primary]",
                "http[main] of shop/storefront",
                "http[main] of shop/partners"
            ]
        );
        group.promote("storefront", true).await.unwrap();
        assert_eq!(group.canary(), [100, 80, 200]);
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    group.assert_free();
}

#[tokio::test(start_paused = true)]
async fn promote_without_a_driver_moves_all_and_a_refusal_takes_all_back() {
    let group = Group::open().await;
    let args = Start {
        no_wait: true,
        ..start(together("10,50,100"))
    };
    let started = group
        .shop
        .start_as("alice@desk", args, Signals::none())
        .await;
    assert_eq!(started.unwrap().outcome, Outcome::StepSet);
    assert_eq!(group.canary(), [10, 8, 20]);
    group.promote("reviews", false).await.unwrap();
    assert_eq!(group.canary(), [50, 40, 100]);
    let fault = ApiFault::WebhookDenies("no".into());
    group.fault("storefront", fault, |rule| rule.times(1));
    let error = group.promote("reviews", false).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("the rollout of shop/reviews and its companions is rolled back"),
        "{error}"
    );
    assert_eq!(kubectl_canary::cli::Exit::from(&error).code(), 12);
    group.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_plan_shows_every_step_of_every_object_and_asks_the_server_about_each() {
    let group = Group::open().await;
    let view = group.plan(together("10,100")).await.unwrap();
    let also: Vec<_> = view.companions.iter().map(ToString::to_string).collect();
    assert_eq!(also, ["shop/storefront", "shop/partners"]);
    let routes: Vec<_> = view
        .routes
        .iter()
        .map(|route| (route.route.as_str(), route.steps[0].clone()))
        .collect();
    assert_eq!(
        routes,
        [
            ("http[primary]", vec![Some(90), Some(10)]),
            (
                "http[main] of shop/storefront",
                vec![Some(72), Some(8), Some(20)]
            ),
            ("http[main] of shop/partners", vec![Some(20), Some(180)]),
        ]
    );
    let told: Vec<_> = view.findings.iter().map(|one| one.what.as_str()).collect();
    for expected in [
        "the API server accepts the step at 10 %",
        "the API server accepts the step at 10 % of shop/storefront",
        "the API server accepts the step at 100 % of shop/partners",
        "virtualservice shop/partners is shifted together with shop/reviews",
    ] {
        assert!(told.contains(&expected), "{expected}: {told:#?}");
    }
    group.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_signal_at_any_moment_restores_all_within_seven_seconds() {
    let mut dice = Dice::seeded(13);
    for round in 0..20 {
        let group = Group::open().await;
        let slow = ApiFault::Slow(Duration::from_millis(200));
        group.shop.world.faults().api(Rule::new(slow).on("patch"));
        let (tell, queue) = signals();
        let millis = 1000 + dice.below(14_000);
        let driver = group.start_with(together("10,50,100:1m"), queue);
        let other = async {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            tell.send(Signal::Terminate).unwrap();
            group.shop.world.clock().now()
        };
        let (finish, asked) = tokio::join!(driver, other);
        match finish {
            Ok(finish) => {
                assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Signal));
                let took = finish.at.duration_since(asked);
                assert!(
                    took < SignedDuration::from_secs(7),
                    "round {round}: {took:?}"
                );
            }
            Err(error) => assert!(matches!(error, CommandError::Interrupted(_)), "{error}"),
        }
        group.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_of_another_namespace_moves_along() {
    let group = Group::open().await;
    let route = json!([
        {"destination": {"host": "reviews.shop.svc.cluster.local", "subset": "v1"}, "weight": 10},
        {"destination": {"host": "reviews.shop.svc.cluster.local", "subset": "v2"}, "weight": 0},
    ]);
    let mut elsewhere = door("partners", "edge.example.com", route);
    elsewhere["metadata"]["namespace"] = "edge".into();
    group.shop.world.set(|stage| {
        stage.apply(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "edge"}, "status": {"phase": "Active"},
        }));
        stage.apply(elsewhere);
    });
    let options = Options {
        also: vec!["partners".into(), "edge/partners".into()],
        ..together("10:10m,100")
    };
    let view = group.plan(options.clone()).await.unwrap();
    let found: Vec<_> = view.findings.iter().map(|one| one.what.as_str()).collect();
    assert!(
        found.contains(&"may patch and watch virtualservices in namespace edge"),
        "{found:#?}"
    );
    let driver = group.start_with(options, Signals::none());
    let weight = || {
        let object = group
            .shop
            .world
            .object("virtualservices", "edge", "partners");
        object.unwrap()["spec"]["http"][1]["route"][1]["weight"].clone()
    };
    let other = async {
        group.until(|_| weight() == 1).await;
        // A short name is one of the namespace in force, so this is the one in shop.
        group.abort("partners").await.unwrap().unwrap();
        assert_eq!(weight(), 0);
        group.assert_restored();
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::RolledBack(Cause::Request));
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_drives_all_step_by_step() {
    let group = Group::open().await;
    let args = Start {
        no_wait: true,
        ..start(together("10,50,100"))
    };
    let started = group
        .shop
        .start_as("alice@desk", args, Signals::none())
        .await;
    assert_eq!(started.unwrap().outcome, Outcome::StepSet);
    for (canary, outcome) in [
        ([50, 40, 100], Outcome::StepPassed),
        ([100, 80, 200], Outcome::Promoted),
    ] {
        let passed = group.shop.promote_and_wait("ci@runner").await.unwrap();
        assert_eq!(passed.outcome, outcome);
        assert_eq!(group.canary(), canary);
    }
    group.assert_free();
}

#[tokio::test(start_paused = true)]
async fn a_promotion_is_undone_on_all_objects_whichever_is_named() {
    for name in OBJECTS {
        let group = Group::open().await;
        let finish = group.shop.start(together("50,100")).await.unwrap();
        assert_eq!(finish.outcome, Outcome::Promoted);
        assert_eq!(group.canary(), [100, 80, 200]);
        let finish = group.shop.undo_object("bob@desk", name).await;
        let finish = finish.unwrap().unwrap();
        assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Undo), "{name}");
        group.assert_restored();
        // Companions first, so that the lead's record tells what is left to do.
        let patched = group.patched();
        assert_eq!(patched.last().unwrap(), "reviews", "{patched:?}");
        assert_eq!(
            group.shop.undo_object("bob@desk", name).await.unwrap(),
            None
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_was_cut_short_is_completed_by_the_next_one() {
    let group = Group::open().await;
    group.shop.start(together("50,100")).await.unwrap();
    let fault = ApiFault::WebhookDenies("no".into());
    // For longer than it is tried.
    let until = group.shop.after(90);
    group.fault("storefront", fault, |rule| rule.until(until));
    let error = group
        .shop
        .undo_object("bob@desk", "reviews")
        .await
        .unwrap_err();
    assert!(
        matches!(error, CommandError::RollbackFailed { .. }),
        "{error}"
    );
    assert_eq!(
        group.canary(),
        [0, 80, 0],
        "one does not hold up the others"
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    let finish = group.shop.undo_object("carol@desk", "reviews").await;
    assert_eq!(
        finish.unwrap().unwrap().outcome,
        Outcome::RolledBack(Cause::Undo)
    );
    group.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn one_object_that_has_changed_since_keeps_all_from_being_undone() {
    let group = Group::open().await;
    group.shop.start(together("50,100")).await.unwrap();
    group.edit("partners", |vs| {
        vs["spec"]["http"][1]["route"][0]["weight"] = 100.into();
        vs["spec"]["http"][1]["route"][1]["weight"] = 100.into();
    });
    let before = group.canary();
    let text = group
        .shop
        .undo_object("bob@desk", "reviews")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("virtualservice shop/partners is not as the promotion of v2 left it"),
        "{text}"
    );
    assert_eq!(group.canary(), before);
}

#[tokio::test(start_paused = true)]
async fn a_user_of_the_canary_stays_there_behind_every_door() {
    let group = Group::open().await;
    let options = Options {
        sticky: Some("cookie=canary".parse().unwrap()),
        ..together("10:1m,100")
    };
    let driver = group.start_with(options, Signals::none());
    let watcher = async {
        let has = |name: &str, sign: &str| group.spec(name).to_string().contains(sign);
        let is_sticky = |name: &&str| has(name, "kubectl-canary-") && has(name, "set-cookie");
        group.until(|_| OBJECTS.iter().all(&is_sticky)).await;
        let run = group.rollout("reviews").unwrap().run;
        for name in OBJECTS {
            assert!(has(name, &format!("canary={run}; Max-Age=3600")));
        }
        group.abort("partners").await.unwrap();
    };
    let (finish, ()) = tokio::join!(driver, watcher);
    assert_eq!(finish.unwrap().outcome, Outcome::RolledBack(Cause::Request));
    group.assert_restored();
}
