//! An object that cannot move along.

use jiff::SignedDuration;
use kubectl_canary::commands::CommandError;
use kubectl_canary::engine::{Signal, Signals};
use kubectl_canary::plan::Options;
use kubectl_canary::record::{Cause, Outcome};
use kubectl_canary::sandbox::ApiFault;
use serde_json::json;

use super::doors::{Doors, OBJECTS, door, together};
use crate::stage::{brisk, signals, start};

#[tokio::test(start_paused = true)]
async fn a_companion_that_is_refused_at_the_start_leaves_all_as_before() {
    for object in ["storefront", "partners"] {
        let doors = Doors::open().await;
        let fault = ApiFault::WebhookDenies("not today".into());
        doors.fault(object, fault, |rule| rule.times(1));
        let error = doors.start("10,100").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "virtualservice shop/{object} cannot move along: cannot patch virtualservice shop/{object}: admission webhook \"rev.validation.istio.io\" denied the request: not today; shop/reviews and all that moves with it have their original weights"
            )
        );
        assert_eq!(kubectl_canary::cli::Exit::from(&error).code(), 1);
        doors.assert_restored();
        let back = OBJECTS.iter().rev().map(ToString::to_string);
        let back: Vec<_> = back.collect();
        assert!(doors.patched().ends_with(&back), "{:?}", doors.patched());
    }
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_cannot_be_reached_at_the_start_leaves_all_as_before() {
    let doors = Doors::open().await;
    let fault = ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    };
    doors.fault("partners", fault, |rule| rule.times(5));
    let error = doors.start("10,100").await.unwrap_err();
    assert!(matches!(error, CommandError::NotStarted { .. }), "{error}");
    doors.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_is_refused_in_mid_run_takes_all_back_in_reverse_order() {
    let doors = Doors::open().await;
    let fault = ApiFault::WebhookDenies("not at 50".into());
    doors.fault("partners", fault, |rule| rule.after(1).times(1));
    let finish = doors.start("10,50,100").await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Refused));
    assert!(
        finish.reasons[0].contains("patch virtualservice shop/partners")
            && finish.reasons[0].contains("not at 50"),
        "{:?}",
        finish.reasons
    );
    doors.assert_restored();
    assert_eq!(
        doors.patched(),
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
    let doors = Doors::open().await;
    let (tell, queue) = signals();
    let options = Options {
        rollback_timeout: Some("30s".parse().unwrap()),
        ..together("10:10m,100")
    };
    let driver = doors.start_with(options, queue);
    let other = async {
        doors.until(|doors| doors.canary() == [10, 8, 20]).await;
        let fault = ApiFault::Hang { applied: false };
        doors.fault("partners", fault, |rule| rule);
        tell.send(Signal::Interrupt).unwrap();
        let asked = doors.shop.world.clock().now();
        doors.until(|doors| doors.canary() == [0, 0, 20]).await;
        doors.shop.world.clock().now().duration_since(asked)
    };
    let (finish, took) = tokio::join!(driver, other);
    assert!(took < SignedDuration::from_secs(3), "{took:?}");
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::RollbackFailed);
    assert!(
        finish.reasons[0].starts_with("virtualservice shop/partners: cannot patch"),
        "{:?}",
        finish.reasons
    );
    assert!(doors.rollout("reviews").is_some(), "the lead still knows");
    // The same again finds what is left to do; and says by hand what is not done.
    let error = doors.abort("reviews").await.unwrap_err();
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
    doors.shop.world.faults().clear();
    doors.abort("reviews").await.unwrap().unwrap();
    doors.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn an_object_that_moves_with_another_starts_no_rollout_of_its_own() {
    let doors = Doors::open().await;
    doors
        .killed_when("10:10m,100", |doors| doors.canary() == [10, 8, 20])
        .await;
    let mut args = start(brisk());
    args.rollout.name = Some("storefront".into());
    let refused = doors.shop.start_as("bob@desk", args, Signals::none());
    let refused = refused.await.unwrap_err();
    let text = refused.to_string();
    assert!(
        text.starts_with(
            "virtualservice shop/storefront moves with shop/reviews, whose rollout is at 10 % and held by alice@desk/"
        ) && text.ends_with("(try: kubectl canary status, resume or abort reviews -n shop)"),
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
            "--also reviews: virtualservice shop/reviews moves already (try: each object once)",
            2,
        ),
        (
            "storefront,shop/storefront",
            "--also shop/storefront: virtualservice shop/storefront moves already",
            2,
        ),
        ("nobody", "there is no such object (try: one of", 1),
        ("lonely", nobody_holds, 1),
        ("Storefront!", "is no name of a VirtualService", 2),
    ] {
        let doors = Doors::open().await;
        doors.shop.world.apply(door(
            "lonely",
            "lonely.example.com",
            json!([{"destination": {"host": "reviews", "subset": "v1"}}]),
        ));
        let options = Options {
            also: also.split(',').map(str::to_owned).collect(),
            ..brisk()
        };
        let error = doors.start_with(options, Signals::none()).await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains(expected), "{also}: {error}");
        assert_eq!(
            kubectl_canary::cli::Exit::from(&error).code(),
            code,
            "{also}"
        );
        assert_eq!(doors.patched(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_finding_on_a_companion_refuses_the_whole() {
    let doors = Doors::open().await;
    doors.edit("storefront", |vs| {
        vs["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
    });
    let view = doors.plan(together("10,100")).await.unwrap();
    assert!(view.refused);
    let error = doors.start("10,100").await.unwrap_err();
    assert!(matches!(error, CommandError::Preflight(_)), "{error}");
    assert!(error.to_string().contains("shop/storefront"), "{error}");
    doors.assert_restored();
    // The plan's patches were rehearsals.
    let calls = doors.shop.patches();
    assert!(calls.iter().all(|call| call.query.contains("dryRun=All")));
}
