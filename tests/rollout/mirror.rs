//! Mirrored traffic before the first percent.

use kubectl_canary::Signals;
use kubectl_canary::commands::{self, Abort, Start};
use kubectl_canary::istio::RouteDifference;
use kubectl_canary::plan::{
    AnalysisKind, Exposure, HumanDuration, OnDrift, OnStuck, Options, Percent,
};
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Reason, VersionCounts};
use kubectl_canary::verdict::Counts;
use serde_json::json;

use crate::harness::{Shop, brisk_with, start};

fn begin(steps: &str) -> Start {
    Start {
        no_wait: true,
        ..start(brisk_with(steps))
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_mirrored_first_and_never_with_the_first_percent() {
    let shop = Shop::open().await;
    let begun = shop.start_as("ci@runner", begin("mirror:12.5%,10,100"), Signals::none());
    begun.await.unwrap();
    let rule = &shop.spec()["http"][0];
    assert_eq!(rule["mirror"], json!({"host": "reviews", "subset": "v2"}));
    assert_eq!(rule["mirrorPercentage"], json!({"value": 12.5}));
    assert_eq!(shop.weights(), [100, 0]);
    shop.assert_whole();
    shop.promote("bob@desk").await.unwrap();
    let rule = &shop.spec()["http"][0];
    assert_eq!(rule.get("mirror").or(rule.get("mirrorPercentage")), None);
    assert_eq!(shop.weights(), [90, 10]);
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_nobody_moved_on_from_is_taken_away() {
    let shop = Shop::open().await;
    let begun = shop.start_as("ci@runner", begin("mirror:10%,10,100"), Signals::none());
    begun.await.unwrap();
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_left_on_a_renamed_route_is_named() {
    let shop = Shop::open().await;
    let begun = shop.start_as("ci@runner", begin("mirror:10%,10,100"), Signals::none());
    begun.await.unwrap();
    shop.edit(|vs| vs["spec"]["http"][0]["name"] = "renamed".into());
    let forget = Abort {
        forget: true,
        ..Abort::of("reviews")
    };
    let aborted = shop.abort_with("bob@desk", forget, Signals::none()).await;
    assert!(aborted.unwrap().finish().is_some());
    assert!(shop.spec()["http"][0]["mirror"].is_object());
    let warnings = shop.warnings();
    let expected = "left unchanged: http[renamed] has weights 100/0 and mirrors requests";
    assert!(
        warnings.iter().any(|text| text.ends_with(expected)),
        "{warnings:?}"
    );
}

/// What was told of the step that passed first.
fn first_passed(shop: &Shop) -> (Exposure, VersionCounts, Option<VersionCounts>, Vec<Reason>) {
    let passed = shop.told().into_iter().find_map(|event| match event {
        EventKind::StepPassed {
            exposure,
            step_counts,
            mirror_counts,
            reasons,
            ..
        } => Some((exposure, step_counts, mirror_counts, reasons)),
        _ => None,
    });
    passed.expect("a step has passed")
}

/// Judged by evidence, with the steps given.
fn by_evidence(steps: &str) -> Options {
    Options {
        analysis: Some(AnalysisKind::Sequential),
        min_requests: None,
        warmup: Some(HumanDuration::ZERO),
        ..brisk_with(steps)
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_does_well_in_the_shadow_goes_on_after_the_least_time() {
    for options in [
        brisk_with("mirror:10%:20s,10,100"),
        by_evidence("mirror:10%:20s,10,100"),
    ] {
        let shop = Shop::open().await;
        let finish = shop.start(options).await.unwrap();
        assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
        assert_eq!(shop.climbed(), ["0", "10", "100"]);
        let (exposure, users, mirror_counts, reasons) = first_passed(&shop);
        assert_eq!(exposure, Exposure::Mirror(Percent::whole(10)));
        assert_eq!(
            users.canary,
            Counts::default(),
            "a copy is nobody's request"
        );
        let mirror_counts = mirror_counts.expect("copies were counted");
        let expected = mirror_counts.stable.requests as f64 * 0.1;
        assert!(mirror_counts.stable.requests > 3_000, "{mirror_counts:?}");
        assert!(
            (mirror_counts.canary.requests as f64 - expected).abs() < 0.3 * expected,
            "{mirror_counts:?}"
        );
        assert!(
            reasons
                .iter()
                .all(|reason| matches!(reason, Reason::Analysis(_))),
            "{reasons:?}"
        );
        let first = shop.when(|event| matches!(event, EventKind::StepStarted { .. }));
        let second = shop.when(|event| matches!(event, EventKind::StepStarted { step: 2, .. }));
        let took = second.duration_since(first).as_secs();
        assert!((20..30).contains(&took), "{took} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_fails_in_the_shadow_never_gets_a_users_request() {
    for options in [
        brisk_with("mirror:10%:20s,10,100"),
        by_evidence("mirror:10%:20s,10,100"),
    ] {
        let shop = Shop::open().await;
        shop.world
            .traffic()
            .version("shop", "reviews-v2")
            .fails(0.3);
        let finish = shop.start(options).await.unwrap();
        assert_eq!(
            finish.outcome,
            Outcome::RolledBack(Cause::Regression),
            "{:#?}",
            shop.told()
        );
        assert!(shop.climbed().iter().all(|step| step == "0"));
        assert_eq!(finish.total_counts.unwrap().canary, Counts::default());
        let first = shop.when(|event| matches!(event, EventKind::StepStarted { .. }));
        let found = shop.when(|event| matches!(event, EventKind::Regressed { .. }));
        let took = found.duration_since(first).as_secs();
        assert!(took < 20, "{took} s");
        let at_canary = shop.world.traffic().seen_at_source(|stream| {
            let version = stream.workload.as_ref().map(|workload| &*workload.version);
            version == Some("v2")
        });
        assert_eq!(at_canary, 0, "not one request of a user");
        let mirror_counts = shop.told().into_iter().find_map(|event| match event {
            EventKind::Regressed {
                mirror_counts,
                step_counts,
                ..
            } => Some((mirror_counts, step_counts.canary)),
            _ => None,
        });
        let (mirror_counts, users) = mirror_counts.expect("it says that the canary is worse");
        assert!(mirror_counts.unwrap().canary.failures > 0);
        assert_eq!(users, Counts::default());
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_is_slow_in_the_shadow_is_taken_back_by_the_evidence() {
    let shop = Shop::open().await;
    let now = shop.world.clock().now();
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .slower_from(now, 20.0);
    let finish = shop
        .start(by_evidence("mirror:20%:1m,10,100"))
        .await
        .unwrap();
    assert_eq!(
        finish.outcome,
        Outcome::RolledBack(Cause::Regression),
        "{:#?}",
        shop.told().last()
    );
    assert_eq!(finish.total_counts.unwrap().canary, Counts::default());
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn stable_that_fails_along_clears_the_canary_in_the_shadow() {
    let shop = Shop::open().await;
    for version in ["reviews-v1", "reviews-v2"] {
        shop.world.traffic().version("shop", version).fails(0.05);
    }
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let finish = shop
        .start(by_evidence("mirror:10%:20s,10,100"))
        .await
        .unwrap();
    assert_eq!(
        finish.outcome,
        Outcome::Promoted,
        "{:#?}",
        shop.told().last()
    );
}

#[tokio::test(start_paused = true)]
async fn a_shadow_that_nobody_sees_is_no_good_news() {
    for (seen, policy, outcome) in [
        (
            &["reviews-v1"][..],
            OnStuck::Rollback,
            Outcome::RolledBack(Cause::Inconclusive),
        ),
        (
            &["reviews-v2"][..],
            OnStuck::Rollback,
            Outcome::RolledBack(Cause::Inconclusive),
        ),
        (
            &["reviews-v1", "reviews-v2"],
            OnStuck::Rollback,
            Outcome::RolledBack(Cause::Inconclusive),
        ),
        (
            &["reviews-v1", "reviews-v2"],
            OnStuck::Promote,
            Outcome::Promoted,
        ),
        (&["reviews-v1", "reviews-v2"], OnStuck::Hold, Outcome::Held),
    ] {
        let shop = Shop::open_with(|stage| {
            for workload in seen {
                stage.traffic().unscraped("shop", workload);
            }
        })
        .await;
        let options = Options {
            on_inconclusive: Some(policy),
            ..brisk_with("mirror:10%:20s,10,100")
        };
        let args = Start {
            drive: commands::Drive {
                leave_at_gate: true,
                ..Default::default()
            },
            ..start(options)
        };
        let finish = shop.start_as("ci@runner", args, Signals::none()).await;
        assert_eq!(finish.unwrap().outcome, outcome, "{:#?}", shop.told());
        let told = shop.told();
        let why = told.iter().find_map(|event| match event {
            EventKind::NoVerdict { reasons, .. } => Some(reasons.clone()),
            _ => None,
        });
        let why = why.expect("it says so");
        let unseen = ["reviews-v1", "reviews-v2"].map(|version| seen.contains(&version));
        let [
            Reason::NoVerdict { after: None },
            Reason::MirrorUnseen {
                expected,
                stable_seen,
                canary_seen,
            },
        ] = why[..]
        else {
            panic!("{why:?}");
        };
        assert!(expected >= 20, "{why:?}");
        assert_eq!(
            [stable_seen, canary_seen],
            unseen.map(|unseen| !unseen),
            "{why:?}"
        );
        let waited = shop
            .when(|event| matches!(event, EventKind::NoVerdict { .. }))
            .duration_since(shop.when(|event| matches!(event, EventKind::StepStarted { .. })));
        assert!((20..30).contains(&waited.as_secs()), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_without_a_ready_pod_is_noticed_in_the_shadow() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("mirror:10%:1m,10,100"));
    let breaker = async {
        shop.until(|shop| shop.spec()["http"][0].get("mirror").is_some())
            .await;
        shop.world
            .set(|stage| stage.pods("shop", "version=v2").crash());
    };
    let (finish, ()) = tokio::join!(driver, breaker);
    let finish = finish.unwrap();
    assert_eq!(
        finish.outcome,
        Outcome::RolledBack(Cause::CanaryDown),
        "{:#?}",
        shop.told()
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_resumed_in_the_shadow_knows_what_was_seen_there() {
    let shop = Shop::open().await;
    shop.start_as("ci@runner", begin("mirror:10%:30s,10,100"), Signals::none())
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let finish = shop.resume("bob@desk").await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    let (_, _, mirror_counts, _) = first_passed(&shop);
    let copies = mirror_counts.unwrap().canary.requests;
    assert!(copies > 800, "a minute of copies at 20 a second: {copies}");
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_fails_after_the_mirror_is_rolled_back() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("mirror:10%,10:1m,100"));
    let breaker = async {
        shop.until_weight(10).await;
        let now = shop.world.clock().now();
        shop.world
            .traffic()
            .version("shop", "reviews-v2")
            .fails_from(now, 0.5);
    };
    let (finish, ()) = tokio::join!(driver, breaker);
    assert_eq!(
        finish.unwrap().outcome,
        Outcome::RolledBack(Cause::Regression)
    );
    assert_eq!(shop.climbed(), ["0", "10"]);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_there_already_is_not_taken_over() {
    let shop = Shop::open_with(|stage| {
        stage.edit("virtualservices", "shop", "reviews", "setup", |vs| {
            vs["spec"]["http"][0]["mirrors"] = json!([{"destination": {"host": "recorder"}}]);
        });
    })
    .await;
    let refused = shop.start(brisk_with("mirror:10%,100")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "virtualservice shop/reviews: http[primary] already has a mirror, which a mirror step would replace (try: steps without mirror, or remove `mirror` from the route first)"
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_mirror_in_mid_run_is_noticed_and_stays() {
    let shop = Shop::open().await;
    let options = Options {
        on_drift: Some(OnDrift::Stop),
        ..brisk_with("mirror:10%:1m,100")
    };
    let driver = shop.start(options);
    let editor = async {
        shop.until(|shop| shop.spec()["http"][0].get("mirror").is_some())
            .await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        shop.edit(|vs| vs["spec"]["http"][0]["mirror"] = json!({"host": "recorder"}));
    };
    let (finish, ()) = tokio::join!(driver, editor);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::Drifted);
    assert_eq!(
        finish.reasons,
        [Reason::Drift {
            manager: "argocd".into(),
            drift: RouteDifference::NotMirrored {
                route: "http[primary]".into(),
                percent: Percent::whole(10),
            }
            .into(),
        }]
    );
    shop.abort("bob@desk").await.unwrap();
    assert_eq!(
        shop.spec()["http"][0]["mirror"],
        json!({"host": "recorder"})
    );
    assert_eq!(shop.annotation("rollout"), None);
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_beforehand_that_nobody_would_see_the_copies() {
    let unscraped = async |seen: bool| {
        Shop::open_with(|stage| {
            if !seen {
                stage.traffic().unscraped("shop", "reviews-v1");
            }
        })
        .await
    };
    for (seen, steps, warned) in [
        (true, "mirror:10%,10,100", false),
        (false, "10,100", false),
        (false, "mirror:10%,10,100", true),
    ] {
        let shop = unscraped(seen).await;
        let begun = shop.start_as("ci@runner", begin(steps), Signals::none());
        begun.await.unwrap();
        let expected = "istio-system/prometheus:9090 has no metrics of the versions' own proxies (reporter=\"destination\"): only they report mirrored requests, so the mirror step stays inconclusive, and the rollout is rolled back there (try: scrape the sidecars of both versions, or --on-inconclusive promote, or steps without mirror)";
        let found = shop.warnings().iter().any(|text| text == expected);
        assert_eq!(found, warned, "{:#?}", shop.warnings());
    }
}
