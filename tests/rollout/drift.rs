//! Somebody else edits the VirtualService in the middle of a rollout.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::istio::RouteDifference;
use kubectl_canary::plan::{OnDrift, Options};
use kubectl_canary::rollout::{Cause, Drift, EventKind, ForeignChange, Outcome, Reason};
use serde_json::json;
use tokio::time::timeout;

use crate::harness::{Shop, brisk, brisk_with};

/// Other weights than this rollout knows.
fn weights(found: [i64; 2], expected: [i64; 2]) -> Drift {
    RouteDifference::Weights {
        route: "http[primary]".into(),
        found: found.map(Some).to_vec(),
        expected: expected.map(Some).to_vec(),
    }
    .into()
}

/// Stays at 10 % for a minute, and does this on a foreign edit.
fn with(policy: OnDrift) -> Options {
    Options {
        on_drift: Some(policy),
        ..brisk_with("10:1m,100")
    }
}

/// Edits the object while a rollout with this policy stands at 10 %.
async fn edited(
    shop: &Shop,
    policy: OnDrift,
    edit: impl FnOnce(&Shop),
) -> kubectl_canary::driver::Finish {
    let driver = shop.start(with(policy));
    let editor = async {
        shop.until_weight(10).await;
        tokio::time::sleep(Duration::from_millis(3300)).await;
        edit(shop);
    };
    let (finish, ()) = tokio::join!(driver, editor);
    finish.unwrap()
}

#[tokio::test(start_paused = true)]
async fn foreign_weights_stop_the_rollout_and_stay_as_they_are() {
    let shop = Shop::open().await;
    let finish = edited(&shop, OnDrift::Stop, |shop| shop.set_weights(70, 30)).await;
    assert_eq!(finish.outcome, Outcome::Drifted);
    assert_eq!(shop.weights(), [70, 30]);
    assert_eq!(
        shop.drifts(),
        [(
            "argocd".to_owned(),
            "http[primary] has weights 70/30, this rollout knows 90/10".to_owned()
        )]
    );
    assert_eq!(
        finish.reasons,
        [Reason::Drift {
            manager: "argocd".into(),
            drift: weights([70, 30], [90, 10]),
        }]
    );
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn foreign_weights_are_taken_back_where_the_policy_says_so() {
    let shop = Shop::open().await;
    let finish = edited(&shop, OnDrift::Rollback, |shop| shop.set_weights(70, 30)).await;
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Drift));
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn foreign_weights_are_set_again_where_the_policy_says_so() {
    let shop = Shop::open().await;
    let finish = edited(&shop, OnDrift::Reassert, |shop| shop.set_weights(70, 30)).await;
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    assert_eq!(shop.drifts().len(), 1);
    let weights: Vec<_> = shop.patches().iter().map(|_| ()).collect();
    assert_eq!(weights.len(), 3, "10 %, 10 % again, 100 %");
}

#[tokio::test(start_paused = true)]
async fn foreign_weights_are_neither_paused_nor_promoted_over_and_resume_says_what_it_does() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10:10s,100"));
    assert!(timeout(Duration::from_secs(5), driver).await.is_err());
    shop.set_weights(86, 14);
    let refused = [
        shop.pause("bob@desk").await.unwrap_err(),
        shop.promote("bob@desk").await.unwrap_err(),
    ];
    for refused in refused {
        assert_eq!(
            refused.to_string(),
            "argocd changed virtualservice shop/reviews: http[primary] has weights 86/14, this rollout knows 90/10 (try: kubectl canary resume reviews -n shop, which sets the step's weights again, or abort)"
        );
    }
    assert_eq!(shop.weights(), [86, 14]);
    let finish = Box::pin(shop.resume("bob@desk")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    let warnings = shop.warnings();
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("argocd had changed the routes")),
        "{warnings:?}"
    );
    let patches = shop.patches();
    let [.., again, last] = &patches[..] else {
        panic!("{patches:?}");
    };
    let at_ten = last.at.duration_since(again.at);
    assert!(at_ten >= SignedDuration::from_secs(10), "{at_ten:#}");
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_never_tires_is_left_alone_after_a_few_times() {
    let shop = Shop::open().await;
    shop.edit(|vs| {
        vs["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] =
            json!("shop:networking.istio.io/VirtualService:shop/reviews");
    });
    let options = Options {
        ignore_owner: Some(true),
        ..with(OnDrift::Reassert)
    };
    let driver = shop.start(options);
    let healer = async {
        loop {
            shop.until_weight(10).await;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            shop.set_weights(100, 0);
        }
    };
    let finish = tokio::select! {
        finish = driver => finish.unwrap(),
        () = healer => unreachable!("it goes on for ever"),
    };
    assert_eq!(finish.outcome, Outcome::Drifted);
    assert_eq!(shop.weights(), [100, 0], "nothing is overwritten any more");
    assert_eq!(shop.patches().len(), 6, "the step, and five times again");
    let policies: Vec<_> = shop
        .told()
        .into_iter()
        .filter_map(|event| match event {
            EventKind::Drifted { policy, .. } => Some(policy),
            _ => None,
        })
        .collect();
    let mut expected = vec![OnDrift::Reassert; 5];
    expected.push(OnDrift::Stop);
    assert_eq!(policies, expected);
    let [
        Reason::ReassertLimit {
            manager,
            drift,
            times: 5,
            ..
        },
        Reason::Advice { text: advice },
    ] = finish.reasons.as_slice()
    else {
        panic!("{:?}", finish.reasons);
    };
    assert_eq!(manager, "argocd");
    assert_eq!(drift, &weights([100, 0], [90, 10]));
    for part in [
        "Argo CD owns virtualservice shop/reviews",
        "(try: spec.ignoreDifferences in Application shop: {\"spec\":{\"ignoreDifferences\":[{",
        ".spec.http[]?.route[]?.weight",
    ] {
        assert!(advice.contains(part), "{advice}");
    }
    shop.abort("bob@desk").await.unwrap();
    assert_eq!(shop.annotation("rollout"), None);
}

#[tokio::test(start_paused = true)]
async fn a_regression_does_not_overwrite_foreign_weights_unless_the_policy_says_so() {
    for (policy, outcome) in [
        (OnDrift::Stop, Outcome::Drifted),
        (OnDrift::Rollback, Outcome::RolledBack(Cause::Drift)),
    ] {
        let shop = Shop::open().await;
        // No watch tells of the edit: only the patch of the rollback meets it.
        shop.world.faults().api(
            kubectl_canary::sandbox::Rule::new(kubectl_canary::sandbox::ApiFault::Hang {
                applied: false,
            })
            .on("watch"),
        );
        let finish = edited(&shop, policy, |shop| {
            shop.set_weights(70, 30);
            let now = shop.world.clock().now();
            shop.world
                .traffic()
                .version("shop", "reviews-v2")
                .fails_from(now, 0.5);
        })
        .await;
        match policy {
            OnDrift::Stop => {
                assert_eq!(finish.outcome, outcome);
                assert_eq!(shop.weights(), [70, 30]);
            }
            OnDrift::Rollback | OnDrift::Reassert => {
                assert!(
                    matches!(finish.outcome, Outcome::RolledBack(_)),
                    "{finish:?}"
                );
                shop.assert_restored();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_inserted_above_moves_the_route_and_misleads_nobody() {
    let shop = Shop::open().await;
    let rule = json!({"name": "maintenance", "match": [{"uri": {"prefix": "/admin"}}], "route": [
        {"destination": {"host": "reviews", "subset": "v2"}, "weight": 55},
        {"destination": {"host": "reviews", "subset": "v1"}, "weight": 45},
    ]});
    let inserted = rule.clone();
    let finish = edited(&shop, OnDrift::Stop, |shop| {
        shop.edit(|vs| {
            vs["spec"]["http"]
                .as_array_mut()
                .unwrap()
                .insert(0, inserted);
        });
    })
    .await;
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    let spec = shop.spec();
    assert_eq!(spec["http"][0], rule);
    assert_eq!(spec["http"][1]["route"][1]["weight"], 100);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_removed_stops_the_rollout() {
    for policy in [OnDrift::Stop, OnDrift::Reassert] {
        let shop = Shop::open().await;
        let finish = edited(&shop, policy, |shop| {
            shop.edit(|vs| {
                vs["spec"]["http"] = json!([{"name": "primary", "route": [
                    {"destination": {"host": "reviews", "subset": "v1"}},
                ]}]);
            });
        })
        .await;
        assert_eq!(
            finish.outcome,
            Outcome::Drifted,
            "{policy:?}: {:#?}",
            shop.told()
        );
        assert_eq!(
            shop.drifts()[0].1,
            "1 of the 1 chosen routes were deleted or send elsewhere now"
        );
        assert_eq!(shop.spec()["http"][0]["route"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_removed_stops_the_rollout() {
    let shop = Shop::open().await;
    let finish = edited(&shop, OnDrift::Stop, |shop| {
        shop.edit(|vs| vs["metadata"]["annotations"] = json!({}));
    })
    .await;
    assert_eq!(finish.outcome, Outcome::Drifted);
    assert_eq!(shop.drifts()[0].1, "the rollout state was removed");
    assert_eq!(shop.weights(), [90, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_removed_is_known_from_memory_where_the_policy_takes_back() {
    let shop = Shop::open().await;
    let finish = edited(&shop, OnDrift::Rollback, |shop| {
        shop.edit(|vs| vs["metadata"]["annotations"] = json!({}));
    })
    .await;
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Drift));
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_deleted_ends_the_rollout() {
    for policy in [OnDrift::Stop, OnDrift::Rollback, OnDrift::Reassert] {
        let shop = Shop::open().await;
        let finish = edited(&shop, policy, |shop| {
            shop.world
                .set(|stage| stage.delete("virtualservices", "shop", "reviews"));
        })
        .await;
        assert_eq!(finish.outcome, Outcome::Drifted);
        assert_eq!(
            finish.reasons,
            [Reason::Drift {
                manager: "another client".into(),
                drift: ForeignChange::Deleted.into(),
            }]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn edits_of_what_is_not_ours_are_kept_and_stop_nothing() {
    let shop = Shop::open().await;
    let finish = edited(&shop, OnDrift::Stop, |shop| {
        shop.edit(|vs| {
            vs["metadata"]["labels"] = json!({"team": "shop"});
            vs["spec"]["http"][0]["timeout"] = "9s".into();
            vs["spec"]["http"][0]["route"][1]["headers"] =
                json!({"request": {"set": {"x-canary": "yes"}}});
        });
    })
    .await;
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    let object = shop.object();
    assert_eq!(object["metadata"]["labels"]["team"], "shop");
    assert_eq!(object["spec"]["http"][0]["timeout"], "9s");
    assert_eq!(
        object["spec"]["http"][0]["route"][1]["headers"]["request"]["set"]["x-canary"],
        "yes"
    );
}

#[tokio::test(start_paused = true)]
async fn an_edit_between_the_preflight_and_the_first_step_is_not_overwritten() {
    for (stable, canary) in [(60, 40), (100, 0)] {
        let shop = Shop::open().await;
        let world = shop.world.clone();
        // Bob's edit arrives while alice takes her lease.
        shop.world.faults().api(
            kubectl_canary::sandbox::Rule::new(kubectl_canary::sandbox::ApiFault::Slow(
                Duration::from_secs(5),
            ))
            .on("create")
            .of("leases"),
        );
        let driver = shop.start(brisk());
        let editor = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            world.edit("virtualservices", "shop", "reviews", "argocd", |vs| {
                vs["spec"]["http"][0]["timeout"] = "9s".into();
                vs["spec"]["http"][0]["route"][0]["headers"] =
                    json!({"request": {"remove": ["x"]}});
                vs["spec"]["http"][0]["route"][0]["weight"] = stable.into();
                vs["spec"]["http"][0]["route"][1]["weight"] = canary.into();
            });
        };
        let (finish, ()) = tokio::join!(driver, editor);
        if canary == 0 {
            assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
        } else {
            assert_eq!(
                finish.unwrap_err().to_string(),
                "argocd changed virtualservice shop/reviews while the rollout started: http[primary] has weights 60/40, this rollout knows 100/0 (try: the same command again)"
            );
            assert_eq!(shop.weights(), [60, 40]);
            assert_eq!(shop.annotation("rollout"), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn abort_restores_what_is_left_where_a_chosen_route_is_gone_and_says_that_it_is_not_all() {
    let route = |name: &str| {
        json!({"name": name, "route": [
            {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100},
            {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
        ]})
    };
    let mut first = route("mobile");
    first["match"] = json!([{"headers": {"x-app": {"exact": "mobile"}}}]);
    let shop = Shop::with_routes(json!([first, route("primary")])).await;
    let finish = edited(&shop, OnDrift::Stop, |shop| {
        shop.edit(|vs| vs["spec"]["http"][1]["name"] = "renamed".into());
    })
    .await;
    assert_eq!(finish.outcome, Outcome::Drifted);
    let failed = shop.abort("bob@desk").await.unwrap_err().to_string();
    let expected = "rollback FAILED: 1 of the 2 chosen routes were deleted or send elsewhere now; the other chosen routes have their original weights again; http[renamed] has weights 90/10 and may be one of them; traffic of virtualservice shop/reviews needs manual attention";
    assert!(failed.starts_with(expected), "{failed}");
    let spec = shop.spec();
    assert_eq!(spec["http"][0], shop.before["http"][0]);
    assert_eq!(
        spec["http"][1]["route"][1]["weight"], 10,
        "whose it is now, nobody can tell"
    );

    // Once the route is what it was, the same command finishes the job.
    shop.edit(|vs| vs["spec"]["http"][1]["name"] = "primary".into());
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}
