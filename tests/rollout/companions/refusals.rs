//! An object that cannot be patched together with the others.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{Cause, Outcome, Reason};
use kubectl_canary::sandbox::ApiFault;
use kubectl_canary::{CommandError, Signal, Signals};
use serde_json::json;

use super::harness::{Group, OBJECTS, door, together};
use crate::harness::{brisk, signals, start};

#[tokio::test(start_paused = true)]
async fn a_companion_that_is_refused_at_the_start_leaves_all_as_before() {
    for object in ["storefront", "partners"] {
        let group = Group::open().await;
        let fault = ApiFault::WebhookDenies("not today".into());
        group.fault(object, fault, |rule| rule.times(1));
        let error = group.start("10,100").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "virtualservice shop/{object} cannot be patched together with the others: cannot patch virtualservice shop/{object}: admission webhook \"rev.validation.istio.io\" denied the request: not today; shop/reviews and its companions have their original weights"
            )
        );
        assert_eq!(kubectl_canary::cli::Exit::from(&error).code(), 1);
        group.assert_restored();
        let reached = OBJECTS.iter().take_while(|name| **name != object);
        let there: Vec<_> = reached.map(ToString::to_string).collect();
        let back = there.iter().rev().cloned();
        let expected: Vec<_> = there.iter().cloned().chain(back).collect();
        assert_eq!(group.patched(), expected, "what it never came to stays");
    }
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_is_edited_before_its_turn_keeps_that_and_the_others_go_back() {
    let group = Group::open().await;
    group.fault(
        "storefront",
        ApiFault::Slow(Duration::from_secs(2)),
        |rule| rule.times(1),
    );
    let edited = || group.until(|group| group.rollout("reviews").is_some());
    let editor = async {
        edited().await;
        group.edit("partners", |vs| {
            vs["spec"]["http"][1]["route"][0]["weight"] = 60.into();
            vs["spec"]["http"][1]["route"][1]["weight"] = 140.into();
        });
    };
    let (error, ()) = tokio::join!(group.start("10,100"), editor);
    let error = error.unwrap_err();
    assert!(matches!(error, CommandError::NotStarted { .. }), "{error}");
    assert_eq!(group.canary(), [0, 0, 60], "the edit stays");
    group.assert_free();
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_cannot_be_reached_at_the_start_leaves_all_as_before() {
    let group = Group::open().await;
    let fault = ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    };
    group.fault("partners", fault, |rule| rule.times(5));
    let error = group.start("10,100").await.unwrap_err();
    assert!(matches!(error, CommandError::NotStarted { .. }), "{error}");
    group.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_is_refused_in_mid_run_takes_all_back_in_reverse_order() {
    let group = Group::open().await;
    let fault = ApiFault::WebhookDenies("not at 50".into());
    group.fault("partners", fault, |rule| rule.after(1).times(1));
    let finish = group.start("10,50,100").await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Refused));
    assert!(
        matches!(
            &finish.reasons[..],
            [Reason::Refused { message }]
                if message.contains("patch virtualservice shop/partners")
                    && message.contains("not at 50")
        ),
        "{:?}",
        finish.reasons
    );
    group.assert_restored();
    assert_eq!(
        group.patched(),
        [
            "reviews",
            "storefront",
            "partners", // 10 %
            "reviews",
            "storefront", // 50 %
            "partners",
            "storefront",
            "reviews",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_cannot_be_restored_keeps_no_other_from_it_and_is_named() {
    let group = Group::open().await;
    let (tell, queue) = signals();
    let options = Options {
        rollback_timeout: Some("30s".parse().unwrap()),
        ..together("10:10m,100")
    };
    let driver = group.start_with(options, queue);
    let other = async {
        group.until(|group| group.canary() == [10, 8, 20]).await;
        let fault = ApiFault::Hang { applied: false };
        group.fault("partners", fault, |rule| rule);
        tell.send(Signal::Interrupt).unwrap();
        let asked = group.shop.world.clock().now();
        group.until(|group| group.canary() == [0, 0, 20]).await;
        group.shop.world.clock().now().duration_since(asked)
    };
    let (finish, took) = tokio::join!(driver, other);
    assert!(took < SignedDuration::from_secs(3), "{took:?}");
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::RollbackFailed);
    assert!(
        matches!(
            &finish.reasons[..],
            [Reason::RollbackFailed { message }]
                if message.starts_with("virtualservice shop/partners: cannot patch")
        ),
        "{:?}",
        finish.reasons
    );
    assert!(group.rollout("reviews").is_some(), "the lead still knows");
    // The same again finds what is left to do; and says by hand what is not done.
    let error = group.abort("reviews").await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("kubectl patch virtualservice partners -n shop --type=json"),
        "{text}"
    );
    assert!(
        !text.contains("kubectl patch virtualservice reviews"),
        "{text}"
    );
    assert_eq!(kubectl_canary::cli::Exit::from(&error).code(), 20);
    group.shop.world.faults().clear();
    group.abort("reviews").await.unwrap().unwrap();
    group.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn an_object_that_moves_with_another_starts_no_rollout_of_its_own() {
    let group = Group::open().await;
    group
        .killed_when("10:10m,100", |group| group.canary() == [10, 8, 20])
        .await;
    let mut args = start(brisk());
    args.rollout.name = Some("storefront".into());
    let refused = group.shop.start_as("bob@desk", args, Signals::none());
    let refused = refused.await.unwrap_err();
    let text = refused.to_string();
    assert!(
        text.starts_with(
            "virtualservice shop/storefront is shifted together with shop/reviews, whose rollout is at 10 % and held by alice@desk/"
        ) && text.ends_with("(try: kubectl canary status reviews -n shop, or resume, or abort)"),
        "{text}"
    );
    assert_eq!(kubectl_canary::cli::Exit::from(&refused).code(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_move_along_is_refused_before_anything_moves() {
    let nobody_holds = "no chosen route of virtualservice shop/lonely holds both v1 and v2";
    for (also, expected, code) in [
        (
            "reviews",
            "--also reviews: virtualservice shop/reviews is listed twice (try: each object once)",
            2,
        ),
        (
            "storefront,shop/storefront",
            "--also shop/storefront: virtualservice shop/storefront is listed twice",
            2,
        ),
        ("nobody", "not found (try: one of", 1),
        ("lonely", nobody_holds, 1),
        ("Storefront!", "is not a valid VirtualService name", 2),
    ] {
        let group = Group::open().await;
        group.shop.world.apply(door(
            "lonely",
            "lonely.example.com",
            json!([{"destination": {"host": "reviews", "subset": "v1"}}]),
        ));
        let options = Options {
            also: also.split(',').map(str::to_owned).collect(),
            ..brisk()
        };
        let error = group.start_with(options, Signals::none()).await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains(expected), "{also}: {error}");
        assert_eq!(
            kubectl_canary::cli::Exit::from(&error).code(),
            code,
            "{also}"
        );
        assert_eq!(group.patched(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_finding_on_a_companion_refuses_the_whole() {
    let group = Group::open().await;
    group.edit("storefront", |vs| {
        vs["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
    });
    let view = group.plan(together("10,100")).await.unwrap();
    assert!(view.refused);
    let error = group.start("10,100").await.unwrap_err();
    assert!(matches!(error, CommandError::Preflight(_)), "{error}");
    assert!(error.to_string().contains("shop/storefront"), "{error}");
    group.assert_restored();
    // The plan's patches were rehearsals.
    let calls = group.shop.patches();
    assert!(calls.iter().all(|call| call.query.contains("dryRun=All")));
}
