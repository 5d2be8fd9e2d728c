//! An API server, and an istiod, that do not do what they are asked.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::commands::Promote;
use kubectl_canary::istio::VirtualService;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Reason, Rollout};
use kubectl_canary::sandbox::{ApiFault, Call, Rule};
use kubectl_canary::{CommandError, Signals};

use crate::harness::{Shop, begin, brisk, brisk_with};

/// Every way in which a write may fail without anybody knowing whether it was made.
fn troubles() -> Vec<ApiFault> {
    let mut faults = Vec::new();
    for applied in [false, true] {
        for code in [500, 503, 504] {
            faults.push(ApiFault::Answer {
                code,
                retry_after: None,
                applied,
            });
        }
        faults.push(ApiFault::Hang { applied });
        faults.push(ApiFault::Reset { applied });
    }
    faults.push(ApiFault::Answer {
        code: 429,
        retry_after: Some(1),
        applied: false,
    });
    faults.push(ApiFault::WebhookDown);
    faults
}

/// The canary's weights in the order in which the object had them.
async fn seen_weights(shop: &Shop, done: impl Future<Output = ()>) -> Vec<i64> {
    let mut weights = vec![shop.weights()[1]];
    let mut done = std::pin::pin!(done);
    loop {
        tokio::select! {
            () = &mut done => {
                weights.push(shop.weights()[1]);
                weights.dedup();
                return weights;
            }
            () = tokio::time::sleep(Duration::from_millis(250)) => {
                let now = shop.weights()[1];
                if weights.last() != Some(&now) {
                    weights.push(now);
                }
                shop.assert_whole();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_step_takes_effect_exactly_once_whatever_becomes_of_its_patch() {
    for fault in troubles() {
        for patch in 0..4 {
            let shop = Shop::open().await;
            let rule = Rule::new(fault.clone()).on("patch").after(patch).times(1);
            shop.world.faults().api(rule);
            let driver = async {
                let finish = shop.start(brisk()).await.unwrap();
                assert_eq!(finish.outcome, Outcome::Promoted, "{fault:?} at {patch}");
            };
            let weights = seen_weights(&shop, driver).await;
            assert_eq!(weights, [0, 1, 10, 50, 100], "{fault:?} at patch {patch}");
            assert_eq!(shop.climbed(), ["1", "10", "50", "100"]);
            assert_eq!(shop.rollout(), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_takes_effect_whatever_becomes_of_its_patch() {
    for fault in troubles() {
        let shop = Shop::open().await;
        shop.world
            .traffic()
            .version("shop", "reviews-v2")
            .fails(0.5);
        let rule = Rule::new(fault.clone()).on("patch").after(1).times(1);
        shop.world.faults().api(rule);
        let finish = shop.start(brisk_with("10,100")).await.unwrap();
        assert_eq!(
            finish.outcome,
            Outcome::RolledBack(Cause::Regression),
            "{fault:?}"
        );
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_takes_effect_whatever_becomes_of_its_patch() {
    for fault in troubles() {
        let shop = Shop::open().await;
        let driver = shop.start(brisk_with("10:1m,100"));
        let _ = tokio::time::timeout(Duration::from_secs(5), driver).await;
        let rule = Rule::new(fault.clone()).on("patch").times(2);
        shop.world.faults().api(rule);
        let finish = shop.abort("bob@desk").await.unwrap().unwrap();
        assert_eq!(
            finish.outcome,
            Outcome::RolledBack(Cause::Request),
            "{fault:?}"
        );
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_goes_on_until_istiods_webhook_is_back() {
    let shop = Shop::open().await;
    let (from, until) = (shop.after(3), shop.after(120));
    shop.world
        .faults()
        .istiod_down(|rule| rule.from(from).until(until));
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails_from(from, 0.5);
    let finish = shop.start(brisk_with("10:1m,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    shop.assert_restored();
    assert!(finish.at >= until);
    let late = finish.at.duration_since(until);
    assert!(late.as_secs() <= 6, "{late:?} after it came back");
    let retries: Vec<_> = shop
        .told()
        .into_iter()
        .filter_map(|event| match event {
            EventKind::Retrying { why, manual, .. } => Some((why, manual)),
            _ => None,
        })
        .collect();
    assert!(retries.len() > 5);
    for (why, manual) in retries {
        assert!(why.contains("failed calling webhook"), "{why}");
        assert_eq!(
            manual.as_deref(),
            Some("kubectl canary abort reviews -n shop")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_runs_out_of_time_says_that_it_failed() {
    let shop = Shop::open().await;
    let from = shop.after(3);
    shop.world.faults().istiod_down(|rule| rule.from(from));
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails_from(from, 0.5);
    let options = Options {
        rollback_timeout: Some("1m".parse().unwrap()),
        ..brisk_with("10:1m,100")
    };
    let began = shop.world.clock().now();
    let finish = shop.start(options).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RollbackFailed);
    let took = finish.at.duration_since(began).as_secs();
    assert!((50..80).contains(&took), "{took} s");
    let next = shop.told().into_iter().find_map(|event| match event {
        EventKind::Finished { next, .. } => next,
        _ => None,
    });
    assert_eq!(
        next.as_deref(),
        Some("kubectl canary abort reviews -n shop")
    );

    let failed = shop.abort("bob@desk").await.unwrap_err().to_string();
    assert!(
        failed.starts_with("rollback FAILED: cannot patch virtualservice shop/reviews"),
        "{failed}"
    );
    let by_hand = r#"kubectl patch virtualservice reviews -n shop --type=json -p '[{"op":"add","path":"/spec/http/0/route/0/weight","value":100},{"op":"add","path":"/spec/http/0/route/1/weight","value":0}]'"#;
    assert!(failed.contains(by_hand), "{failed}");
    shop.world.faults().clear();
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_watched_while_its_next_step_cannot_be_written() {
    let shop = Shop::open().await;
    // The step to 50 % fails for three minutes; meanwhile the canary breaks.
    let until = shop.after(180);
    let fault = ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    };
    shop.world.faults().api(
        Rule::new(fault)
            .on("patch")
            .containing(r#""value":50}"#)
            .until(until),
    );
    let breaks = shop.after(30);
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails_from(breaks, 0.5);
    let finish = shop.start(brisk_with("10,50,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    assert!(
        finish.at < until,
        "it does not wait for the step to be written"
    );
    assert_eq!(shop.climbed(), ["10"]);
    let passed = shop
        .told()
        .into_iter()
        .filter(|event| matches!(event, EventKind::StepPassed { .. }))
        .count();
    assert_eq!(passed, 1, "and says once that the step has passed");
    shop.assert_restored();
}

/// What a proxy, or a server that has lost its view of who may do what, may say for a moment.
fn denials() -> Vec<ApiFault> {
    let answers = [401, 403, 404].map(|code| ApiFault::Answer {
        code,
        retry_after: None,
        applied: false,
    });
    answers.into_iter().chain([ApiFault::NotFound]).collect()
}

#[tokio::test(start_paused = true)]
async fn a_healthy_canary_survives_a_moment_in_which_its_step_is_not_allowed() {
    for fault in denials() {
        for patch in 1..4 {
            let shop = Shop::open().await;
            let rule = Rule::new(fault.clone()).on("patch").after(patch).times(3);
            shop.world.faults().api(rule);
            let finish = shop.start(brisk()).await.unwrap();
            assert_eq!(finish.outcome, Outcome::Promoted, "{fault:?} at {patch}");
            assert_eq!(shop.climbed(), ["1", "10", "50", "100"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_survives_a_moment_in_which_it_is_not_allowed() {
    for fault in denials() {
        let shop = Shop::open().await;
        shop.world
            .traffic()
            .version("shop", "reviews-v2")
            .fails(0.5);
        let rule = Rule::new(fault.clone()).on("patch").after(1).times(2);
        shop.world.faults().api(rule);
        let finish = shop.start(brisk_with("10,100")).await.unwrap();
        let back = Outcome::RolledBack(Cause::Regression);
        assert_eq!(finish.outcome, back, "{fault:?}");
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_that_stays_away_is_believed_after_ten_seconds() {
    let shop = Shop::open().await;
    let fault = ApiFault::Answer {
        code: 403,
        retry_after: None,
        applied: false,
    };
    let rule = Rule::new(fault).on("patch");
    shop.world.faults().api(rule.containing(r#""value":50}"#));
    let finish = shop.start(brisk_with("10,50,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Refused));
    let refused = shop.when(|event| matches!(event, EventKind::Retrying { .. }));
    let took = finish.at.duration_since(refused).as_secs();
    assert!((7..=12).contains(&took), "{took} s");
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_away_for_a_minute_cost_a_minute() {
    let shop = Shop::open().await;
    let (from, until) = (shop.after(10), shop.after(70));
    let fault = ApiFault::Answer {
        code: 401,
        retry_after: None,
        applied: false,
    };
    let rule = Rule::new(fault).of("virtualservices");
    shop.world.faults().api(rule.from(from).until(until));
    let finish = shop.start(brisk_with("10:20s,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_the_server_refuses_for_good_is_rolled_back() {
    let shop = Shop::open().await;
    let fault = ApiFault::WebhookDenies("weights above 10 need an approval".into());
    shop.world
        .faults()
        .api(Rule::new(fault).on("patch").containing(r#""value":50}"#));
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Refused));
    assert!(
        matches!(
            &finish.reasons[..],
            [Reason::Refused { message }] if message.contains("weights above 10 need an approval")
        ),
        "{:?}",
        finish.reasons
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_first_step_that_the_server_refuses_is_an_error_and_leaves_no_trace() {
    let shop = Shop::open().await;
    let fault = ApiFault::WebhookDenies("no rollouts on Fridays".into());
    shop.world.faults().api(Rule::new(fault).on("patch"));
    let refused = shop.start(brisk()).await.unwrap_err().to_string();
    assert!(refused.contains("no rollouts on Fridays"), "{refused}");
    shop.assert_restored();
    assert_eq!(shop.annotation("last"), None);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_when_a_rollout_starts_is_an_error_and_leaves_no_trace() {
    let shop = Shop::open().await;
    let fault = ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    };
    shop.world.faults().api(Rule::new(fault).on("patch"));
    let failed = shop.start(brisk()).await.unwrap_err();
    assert!(
        matches!(failed, CommandError::Unconfirmed { .. }),
        "a 503 may come from before or behind the API server: {failed}"
    );
    assert!(
        failed
            .to_string()
            .contains("(try: kubectl canary abort reviews -n shop)"),
        "{failed}"
    );
    shop.assert_restored();
    assert_eq!(shop.annotation("last"), None);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_is_down_when_a_rollout_starts_is_known_to_have_moved_nothing() {
    let shop = Shop::open().await;
    shop.world.faults().istiod_down(|rule| rule);
    let failed = shop.start(brisk()).await.unwrap_err();
    assert!(matches!(failed, CommandError::Call(_)), "{failed}");
    shop.assert_restored();
    assert_eq!(shop.annotation("last"), None);
}

/// How long each step's weight was in force, from the PATCH that the API server took last.
fn lasted(shop: &Shop) -> Vec<SignedDuration> {
    let events = shop.events.lock().unwrap();
    let steps: Vec<_> = events
        .iter()
        .filter(|event| {
            matches!(
                event.event,
                EventKind::StepStarted { .. } | EventKind::Finished { .. }
            )
        })
        .map(|event| event.at)
        .collect();
    steps
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .map(|span| SignedDuration::try_from(span).unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_step_lasts_its_dwell_from_when_its_weight_is_in_force() {
    let away = |until| {
        let fault = ApiFault::Answer {
            code: 503,
            retry_after: None,
            applied: false,
        };
        Rule::new(fault).until(until)
    };
    for slow in [false, true] {
        let shop = Shop::open().await;
        let fault = match slow {
            true => Rule::new(ApiFault::Slow(Duration::from_secs(9))),
            false => away(shop.after(70)),
        };
        shop.world
            .faults()
            .api(fault.on("patch").containing(r#""value":50}"#));
        let finish = shop.start(brisk_with("10:10s,50:10s,100")).await.unwrap();
        assert_eq!(finish.outcome, Outcome::Promoted);
        assert_eq!(shop.climbed(), ["10", "50", "100"]);
        let at_fifty = lasted(&shop)[1];
        assert!(
            at_fifty >= SignedDuration::from_secs(10),
            "slow: {slow}, {at_fifty:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn watches_that_break_or_expire_miss_no_foreign_edit() {
    type Break = fn(&Shop);
    let breaks: [Break; 4] = [
        |shop| shop.world.set(|stage| stage.end_watches()),
        |shop| {
            shop.world.set(|stage| {
                stage.end_watches();
                stage.compact();
            });
        },
        |shop| {
            let gone = Rule::new(ApiFault::Gone).on("watch").times(3);
            shop.world.faults().api(gone);
            shop.world.set(|stage| stage.end_watches());
        },
        |shop| {
            let until = shop.after(20);
            let fault = ApiFault::Answer {
                code: 503,
                retry_after: None,
                applied: false,
            };
            let down = Rule::new(fault).on("watch").until(until);
            shop.world.faults().api(down);
            shop.world.set(|stage| stage.end_watches());
        },
    ];
    for (number, break_watch) in breaks.into_iter().enumerate() {
        let shop = Shop::open().await;
        let (finish, edited) = tokio::join!(shop.start(brisk_with("10:5m,100")), async {
            shop.until_weight(10).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            break_watch(&shop);
            tokio::time::sleep(Duration::from_secs(5)).await;
            shop.set_weights(70, 30);
            shop.world.clock().now()
        });
        let finish = finish.unwrap();
        assert_eq!(finish.outcome, Outcome::Drifted, "{number}");
        assert_eq!(shop.weights(), [70, 30]);
        let noticed = finish.at.duration_since(edited).as_secs();
        assert!(noticed < 40, "{number}: noticed after {noticed} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_takes_longer_than_a_look_is_opened_all_the_same() {
    let shop = Shop::open().await;
    let slow = ApiFault::Slow(Duration::from_secs(4));
    shop.world.faults().api(Rule::new(slow).on("watch"));
    let (finish, edited) = tokio::join!(shop.start(brisk_with("10:5m,100")), async {
        shop.until_weight(10).await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        shop.set_weights(70, 30);
        shop.world.clock().now()
    });
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::Drifted);
    assert!(finish.at.duration_since(edited).as_secs() < 5);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_keeps_changing_under_our_hands_is_still_patched() {
    let shop = Shop::open().await;
    // Every patch of a step meets an object that somebody has just edited.
    for second in 0..40 {
        let at = shop.after(3) + jiff::SignedDuration::from_millis(second * 250);
        shop.world.at(at, move |stage| {
            stage.edit("virtualservices", "shop", "reviews", "hpa", |vs| {
                vs["spec"]["http"][0]["route"][1]["headers"] =
                    serde_json::json!({"request": {"set": {"x-n": second.to_string()}}});
            });
        });
    }
    let slow = ApiFault::Slow(Duration::from_millis(300));
    shop.world
        .faults()
        .api(Rule::new(slow).on("patch").after(1).times(8));
    let finish = shop.start(brisk_with("10,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_whole_api_server_moves_nothing_and_is_survived() {
    let shop = Shop::open().await;
    let (from, until) = (shop.after(8), shop.after(70));
    shop.world.faults().api(
        Rule::new(ApiFault::Hang { applied: false })
            .from(from)
            .until(until),
    );
    let (finish, ()) = tokio::join!(shop.start(brisk()), async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        let weights = shop.weights();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(shop.weights(), weights);
        let vs = VirtualService::new(shop.object()).unwrap();
        assert!(Rollout::read(&vs).unwrap().is_some());
    });
    assert_eq!(
        finish.unwrap().outcome,
        Outcome::Promoted,
        "{:#?}",
        shop.told()
    );
}

/// The write of the last step is in the network when the driver learns that the canary is bad, and arrives before
/// the rollback does: it is the driver's own, and no promotion by somebody else.
#[tokio::test(start_paused = true)]
async fn a_rollback_undoes_the_drivers_own_promotion_that_arrives_late() {
    let shop = Shop::open().await;
    let late = Rule::new(ApiFault::Late(Duration::from_secs(28)));
    let last = late.on("patch").of("virtualservices");
    let last = last.containing("promoted").times(1);
    shop.world.faults().api(last);
    let is_last = |call: &Call| {
        let body = call.body.as_ref().map(ToString::to_string);
        call.verb == "patch" && body.is_some_and(|body| body.contains("promoted"))
    };
    let trouble = async {
        while !shop.world.calls().iter().any(is_last) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let now = shop.world.clock().now();
        let silent = Rule::new(ApiFault::Hang { applied: false });
        let again = now + SignedDuration::from_secs(27);
        shop.world.faults().api(silent.from(now).until(again));
        let traffic = &mut *shop.world.traffic();
        traffic.version("shop", "reviews-v2").fails_from(now, 1.0);
    };
    let (finish, ()) = tokio::join!(shop.start(brisk_with("10:5s,100")), trouble);
    let regressed = Outcome::RolledBack(Cause::Regression);
    assert_eq!(finish.unwrap().outcome, regressed, "{:#?}", shop.told());
    shop.assert_restored();
}

/// What was written is neither on the object any more nor heard of.
#[tokio::test(start_paused = true)]
async fn a_promotion_that_is_not_heard_of_and_edited_away_is_not_called_untouched() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10:5m,100"));
    let _ = tokio::time::timeout(Duration::from_secs(5), driver).await;
    let lost = Rule::new(ApiFault::Hang { applied: true }).on("patch");
    let rule = lost.of("virtualservices").times(1);
    shop.world.faults().api(rule);
    let edit = async {
        shop.until_weight(100).await;
        shop.set_weights(85, 15);
    };
    let (promoted, ()) = tokio::join!(shop.promote("bob@desk"), edit);
    let error = promoted.unwrap_err();
    assert!(matches!(error, CommandError::Unconfirmed { .. }), "{error}");
}

/// A promotion that was made, undone and followed by another rollout before it is known.
#[tokio::test(start_paused = true)]
async fn a_promotion_that_is_not_heard_of_does_not_promote_the_next_run() {
    let shop = Shop::open().await;
    let begun = || begin(brisk_with("10,50,100"));
    shop.start_as("alice@desk", begun(), Signals::none())
        .await
        .unwrap();
    let unheard = Rule::new(ApiFault::Hang { applied: true });
    let unheard = unheard.on("patch").of("virtualservices").by("bob@desk");
    shop.world.faults().api(unheard.times(1));
    let promote = Promote {
        full: true,
        ..Promote::default()
    };
    let others = async {
        shop.until_weight(100).await;
        shop.undo("eve@desk").await.unwrap();
        shop.start_as("alice@desk", begun(), Signals::none())
            .await
            .unwrap();
    };
    let (promoted, ()) = tokio::join!(shop.promote_with("bob@desk", promote), others);
    let error = promoted.unwrap_err();
    assert!(matches!(error, CommandError::Unconfirmed { .. }), "{error}");
    assert_eq!(shop.weights(), [90, 10]);
    assert_eq!(shop.rollout().unwrap().step, 0);
}

/// Every kind of write honours `Retry-After`: the first step, a later one, and the rollback.
#[tokio::test(start_paused = true)]
async fn a_promotion_by_one_step_that_is_not_heard_of_and_edited_is_not_made_twice() {
    let shop = Shop::open().await;
    shop.start_as(
        "alice@desk",
        begin(brisk_with("10,50,100")),
        Signals::none(),
    )
    .await
    .unwrap();
    let unheard = Rule::new(ApiFault::Hang { applied: true });
    let unheard = unheard.on("patch").of("virtualservices").by("bob@desk");
    shop.world.faults().api(unheard.times(1));
    let edit = async {
        shop.until_weight(50).await;
        shop.set_weights(60, 40);
    };
    let (promoted, ()) = tokio::join!(shop.promote("bob@desk"), edit);
    assert_eq!(promoted.unwrap().outcome, Outcome::StepSet);
    assert_eq!(shop.rollout().unwrap().step, 1);
    assert_eq!(shop.weights(), [60, 40]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_when_to_come_back_is_not_asked_earlier() {
    let busy = || ApiFault::Answer {
        code: 429,
        retry_after: Some(7),
        applied: false,
    };
    for (patch, breaks) in [(0, false), (1, false), (1, true)] {
        let shop = Shop::open().await;
        let rule = Rule::new(busy()).on("patch").of("virtualservices");
        shop.world.faults().api(rule.after(patch).times(1));
        if breaks {
            let broken = shop.after(1);
            shop.world
                .traffic()
                .version("shop", "reviews-v2")
                .fails_from(broken, 1.0);
        }
        let finish = shop.start(brisk_with("10,100")).await.unwrap();
        assert_eq!(finish.rollback.is_some(), breaks, "{finish:?}");
        let mut patches = shop.world.calls();
        patches.retain(|call| call.verb == "patch");
        let first = usize::try_from(patch).unwrap();
        assert_eq!(patches[first].status, Some(429));
        let waited = patches[first + 1].at.duration_since(patches[first].at);
        assert!(
            (7..9).contains(&waited.as_secs()),
            "patch {patch} was repeated after {waited:#}"
        );
    }
}
