//! Somebody else edits or deletes one of the objects.

use std::time::Duration;

use kubectl_canary::Signals;
use kubectl_canary::commands::Abort;
use kubectl_canary::plan::{OnDrift, Options};
use kubectl_canary::rollout::{Cause, Outcome};
use kubectl_canary::sandbox::{ApiFault, Rule};
use serde_json::json;

use super::harness::{Group, together};

#[tokio::test(start_paused = true)]
async fn a_foreign_edit_of_a_companion_is_noticed_named_and_answered_by_the_policy() {
    for (policy, outcome) in [
        (OnDrift::Stop, Outcome::Drifted),
        (OnDrift::Rollback, Outcome::RolledBack(Cause::Drift)),
        (OnDrift::Reassert, Outcome::Promoted),
    ] {
        let group = Group::open().await;
        let options = Options {
            on_drift: Some(policy),
            ..together("10:1m,100")
        };
        let driver = group.start_with(options, Signals::none());
        let editor = async {
            group.until(|group| group.canary() == [10, 8, 20]).await;
            tokio::time::sleep(Duration::from_millis(3300)).await;
            group.set_storefront(40, 40);
        };
        let (finish, ()) = tokio::join!(driver, editor);
        assert_eq!(finish.unwrap().outcome, outcome, "{policy:?}");
        assert_eq!(
            group.shop.drifts()[0],
            (
                "argocd".to_owned(),
                "virtualservice shop/storefront: http[main] has weights 40/40/20, this rollout knows 72/8/20".to_owned()
            )
        );
        match policy {
            OnDrift::Stop => {
                assert_eq!(group.canary(), [10, 40, 20]);
                group.abort("storefront").await.unwrap().unwrap();
                group.assert_restored();
            }
            OnDrift::Rollback => group.assert_restored(),
            OnDrift::Reassert => assert_eq!(group.canary(), [100, 80, 200]),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_manifest_that_is_applied_over_a_companion_is_a_foreign_edit() {
    let group = Group::open().await;
    let driver = group.start("10:30s,50:10m,100");
    let editor = async {
        group.until(|group| group.canary() == [10, 8, 20]).await;
        let old = group.object("storefront").raw().clone();
        group.until(|group| group.canary() == [50, 40, 100]).await;
        group.edit("storefront", |vs| {
            vs["spec"] = old["spec"].clone();
            vs["metadata"]["annotations"] = old["metadata"]["annotations"].clone();
        });
    };
    let (finish, ()) = tokio::join!(driver, editor);
    assert_eq!(finish.unwrap().outcome, Outcome::Drifted);
    assert_eq!(
        group.shop.drifts()[0].1,
        "virtualservice shop/storefront has another state of the rollout than shop/reviews"
    );
    assert_eq!(group.canary(), [50, 8, 100], "nothing is overwritten");
}

#[tokio::test(start_paused = true)]
async fn a_regression_does_not_overwrite_a_companion_that_somebody_else_changed() {
    let group = Group::open().await;
    // No watch tells of the edit: only the patch of the rollback meets it.
    let deaf = Rule::new(ApiFault::Hang { applied: false }).on("watch");
    group.shop.world.faults().api(deaf);
    let driver = group.start("10:1m,100");
    let editor = async {
        group.until(|group| group.canary() == [10, 8, 20]).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        group.set_storefront(40, 40);
        group.fails();
    };
    let (finish, ()) = tokio::join!(driver, editor);
    assert_eq!(finish.unwrap().outcome, Outcome::Drifted);
    assert_eq!(group.canary(), [0, 40, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lead_that_is_deleted_leaves_companions_that_abort_restores_one_by_one() {
    let group = Group::open().await;
    group
        .killed_when("10:10m,100", |group| group.canary() == [10, 8, 20])
        .await;
    group.delete("reviews");
    let lost = group.promote("storefront", false).await.unwrap_err();
    assert_eq!(
        lost.to_string(),
        "virtualservice shop/storefront is shifted together with shop/reviews, which has no rollout in progress any more (try: kubectl canary abort storefront -n shop)"
    );
    for (name, before) in ["storefront", "partners"]
        .into_iter()
        .zip(&group.before[1..])
    {
        let aborted = group.abort(name).await.unwrap().unwrap();
        assert_eq!(aborted.outcome, Outcome::RolledBack(Cause::Request));
        assert_eq!(&group.spec(name), before);
        assert_eq!(group.rollout(name), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lead_that_is_deleted_under_a_driver_stops_it_or_takes_the_others_back() {
    for (policy, outcome, left) in [
        (OnDrift::Stop, Outcome::Drifted, true),
        (OnDrift::Rollback, Outcome::RollbackFailed, false),
    ] {
        let group = Group::open().await;
        let options = Options {
            on_drift: Some(policy),
            rollback_timeout: Some("20s".parse().unwrap()),
            ..together("10:10m,100")
        };
        let driver = group.start_with(options, Signals::none());
        let editor = async {
            group.until(|group| group.canary() == [10, 8, 20]).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            group.delete("reviews");
        };
        let (finish, ()) = tokio::join!(driver, editor);
        assert_eq!(finish.unwrap().outcome, outcome, "{policy:?}");
        for (name, before) in ["storefront", "partners"]
            .into_iter()
            .zip(&group.before[1..])
        {
            assert_eq!(group.rollout(name).is_some(), left, "{name}");
            assert_eq!(&group.spec(name) != before, left, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_is_deleted_is_noticed_and_the_others_go_back() {
    let group = Group::open().await;
    let options = Options {
        on_drift: Some(OnDrift::Rollback),
        ..together("10:10m,100")
    };
    let driver = group.start_with(options, Signals::none());
    let editor = async {
        group.until(|group| group.canary() == [10, 8, 20]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        group.delete("storefront");
    };
    let (finish, ()) = tokio::join!(driver, editor);
    // Where there is no object, nothing is left to restore.
    assert_eq!(finish.unwrap().outcome, Outcome::RolledBack(Cause::Drift));
    let expected =
        "virtualservice shop/storefront was deleted, so nothing is left to restore there";
    assert!(
        group.shop.warnings().iter().any(|text| text == expected),
        "{:?}",
        group.shop.warnings()
    );
    assert_eq!(group.rollout("reviews"), None);
    for (name, before) in ["reviews", "partners"].into_iter().zip([0, 2]) {
        assert_eq!(group.spec(name), group.before[before], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_cannot_be_restored_any_more_keeps_no_rollout_for_ever() {
    for (recreated, code) in [(None, 0), (Some([100, 0]), 0), (Some([80, 20]), 20)] {
        let group = Group::open().await;
        group
            .killed_when("10:10m,100", |group| group.canary() == [10, 8, 20])
            .await;
        let mut old = group.object("storefront").raw().clone();
        group.delete("storefront");
        if let Some(weights) = recreated {
            old["metadata"] = json!({"name": "storefront", "namespace": "shop"});
            for (place, weight) in weights.iter().enumerate() {
                old["spec"]["http"][1]["route"][place]["weight"] = (*weight).into();
            }
            old["spec"]["http"][1]["route"][2]["weight"] = 0.into();
            group.shop.world.apply(old);
        }
        let aborted = group.abort("reviews").await;
        match (&aborted, code) {
            (Ok(Some(_)), 0) => {}
            (Err(error), 20) => {
                assert_eq!(kubectl_canary::cli::Exit::from(error).code(), 20);
                let text = error.to_string();
                assert!(text.contains("--forget"), "{text}");
                let forget = Abort {
                    forget: true,
                    ..Abort::of("reviews")
                };
                group.abort_with(forget).await.unwrap().unwrap();
            }
            _ => panic!("{recreated:?}: {aborted:?}"),
        }
        assert_eq!(group.rollout("reviews"), None, "{recreated:?}");
        assert_eq!(group.rollout("partners"), None, "{recreated:?}");
    }
}
