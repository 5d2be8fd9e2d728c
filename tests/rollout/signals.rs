//! Ctrl-C, SIGTERM and SIGHUP: safe traffic, soon.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::cli::Exit;
use kubectl_canary::commands::{self, Promote};
use kubectl_canary::plan::{OnSignal, Options};
use kubectl_canary::rollout::{Cause, Outcome, Phase};
use kubectl_canary::sandbox::{ApiFault, PrometheusFault, Rule};
use kubectl_canary::{CommandError, Signal};

use crate::harness::{Dice, Result, Shop, brisk, brisk_with, signals};

/// Starts a rollout and sends a signal so many milliseconds later.
async fn interrupted(shop: &Shop, options: Options, millis: u64, signal: Signal) -> Result {
    let (tell, heard) = signals();
    let (finish, ()) = tokio::join!(shop.start_with(options, heard), async {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let _ = tell.send(signal);
    });
    finish
}

#[tokio::test(start_paused = true)]
async fn a_signal_before_anything_moved_is_an_error_and_leaves_no_trace() {
    let untouched = Shop::open().await.object();
    for (verb, resource) in [
        ("get", "virtualservices"),
        ("list", "destinationrules"),
        ("list", "pods"),
        ("create", "selfsubjectaccessreviews"),
        ("get", "services/proxy"),
        ("get", "leases"),
        ("create", "leases"),
    ] {
        for signal in [Signal::Interrupt, Signal::Terminate, Signal::HangUp] {
            let shop = Shop::open().await;
            let slow = Rule::new(ApiFault::Slow(Duration::from_secs(4)));
            shop.world.faults().api(slow.on(verb).of(resource));
            let ended = interrupted(&shop, brisk(), 2000, signal).await;
            match ended {
                Err(CommandError::Interrupted(heard)) => assert_eq!(heard, signal),
                other => panic!("{verb} {resource}: {other:?}"),
            }
            assert_eq!(shop.object()["spec"], untouched["spec"]);
            assert_eq!(shop.object()["metadata"].get("annotations"), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_while_the_first_write_is_under_way_ends_untouched_or_restored() {
    for (millis, applied) in [(500, true), (500, false), (3000, true), (3000, false)] {
        let shop = Shop::open().await;
        let fault = match applied {
            true => Rule::new(ApiFault::Slow(Duration::from_millis(millis))),
            false => Rule::new(ApiFault::Hang { applied: false }),
        };
        shop.world.faults().api(fault.on("patch").times(1));
        let ended = interrupted(&shop, brisk(), 200, Signal::Interrupt).await;
        match ended {
            Ok(finish) => assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Signal)),
            Err(error) => assert!(matches!(error, CommandError::Interrupted(_)), "{error}"),
        }
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_made_although_its_answer_was_lost_is_taken_back() {
    let shop = Shop::open().await;
    let hang = Rule::new(ApiFault::Hang { applied: true });
    shop.world.faults().api(hang.on("patch").times(1));
    let finish = interrupted(&shop, brisk(), 200, Signal::Interrupt).await;
    assert_eq!(finish.unwrap().outcome, Outcome::RolledBack(Cause::Signal));
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn what_a_proxy_completes_after_a_signal_does_not_move_traffic_any_more() {
    for millis in [2500, 3400, 9000] {
        let shop = Shop::open().await;
        let late = Rule::new(ApiFault::Late(Duration::from_millis(millis)));
        shop.world.faults().api(late.on("patch").times(1));
        let ended = interrupted(&shop, brisk(), 200, Signal::Interrupt).await;
        assert!(
            matches!(ended, Err(CommandError::Interrupted(_))),
            "{ended:?}"
        );
        tokio::time::sleep(Duration::from_secs(30)).await;
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_step_of_which_nothing_can_be_known_is_not_called_untouched() {
    let shop = Shop::open().await;
    let hang = || Rule::new(ApiFault::Hang { applied: false });
    shop.world.faults().api(hang().on("patch"));
    let ended = interrupted(&shop, brisk(), 200, Signal::Interrupt).await;
    let error = ended.unwrap_err();
    assert!(matches!(error, CommandError::Unconfirmed { .. }), "{error}");
    assert!(error.to_string().contains("may have moved"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_signal_at_any_moment_restores_the_spec_within_seven_seconds() {
    let mut dice = Dice::seeded(4);
    for round in 0..50 {
        let shop = Shop::open().await;
        let millis = dice.below(25_000);
        let signal = [Signal::Interrupt, Signal::Terminate, Signal::HangUp][round % 3];
        let at = shop.world.clock().now() + SignedDuration::from_millis(millis as i64);
        let ended = interrupted(&shop, brisk_with("1,10,50,100:30s"), millis, signal).await;
        let took = shop.world.clock().now().duration_since(at);
        assert!(
            took < SignedDuration::from_secs(7),
            "{took:?} after {millis} ms"
        );
        match ended {
            Ok(finish) => {
                assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Signal));
                assert_eq!(finish.signal, Some(signal));
            }
            Err(error) => assert!(matches!(error, CommandError::Interrupted(_)), "{error}"),
        }
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_heard_while_prometheus_hangs_and_while_pods_are_listed() {
    for fault in ["prometheus", "pods"] {
        let shop = Shop::open().await;
        let (tell, heard) = signals();
        let driver = shop.start_with(brisk_with("10:5m,100"), heard);
        let trouble = async {
            shop.until_weight(10).await;
            let hang = PrometheusFault::Hang;
            shop.world.faults().prometheus(Rule::new(hang));
            if fault == "pods" {
                let hang = ApiFault::Hang { applied: false };
                shop.world.faults().api(Rule::new(hang).of("pods"));
                shop.world.set(|stage| {
                    stage.end_watches();
                    stage.compact();
                });
            }
            tokio::time::sleep(Duration::from_secs(7)).await;
            tell.send(Signal::Terminate).unwrap();
            shop.world.clock().now()
        };
        let (finish, at) = tokio::join!(driver, trouble);
        let finish = finish.unwrap();
        assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Signal));
        assert!(finish.at.duration_since(at) < SignedDuration::from_secs(1));
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_heard_while_a_step_cannot_be_written() {
    for fault in [
        ApiFault::Hang { applied: false },
        ApiFault::Answer {
            code: 503,
            retry_after: None,
            applied: false,
        },
    ] {
        let shop = Shop::open().await;
        // The second step cannot be written; the rollback can.
        shop.world
            .faults()
            .api(Rule::new(fault).on("patch").containing(r#""value":10}"#));
        let finish = interrupted(&shop, brisk(), 12_000, Signal::Interrupt).await;
        assert_eq!(finish.unwrap().outcome, Outcome::RolledBack(Cause::Signal));
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_may_also_hold_the_weight() {
    let shop = Shop::open().await;
    let options = Options {
        on_signal: Some(OnSignal::Hold),
        ..brisk_with("10:1m,100")
    };
    let finish = interrupted(&shop, options, 5000, Signal::Terminate)
        .await
        .unwrap();
    assert_eq!(finish.outcome, Outcome::Held);
    assert_eq!(shop.weights(), [90, 10]);
    assert_eq!(shop.rollout().unwrap().phase, Phase::Progressing);
    assert_eq!(
        shop.resume("bob@desk").await.unwrap().outcome,
        Outcome::Promoted
    );
}

/// Nothing can be written from 5 s on, and then these signals come a second apart.
async fn hopeless(first_is_regression: bool, count: usize) -> (Shop, Outcome) {
    let shop = Shop::open().await;
    let (tell, heard) = signals();
    let (from, until) = (shop.after(5), shop.after(25));
    shop.world.faults().api(
        Rule::new(ApiFault::Hang { applied: false })
            .on("patch")
            .from(from)
            .until(until),
    );
    if first_is_regression {
        shop.world
            .traffic()
            .version("shop", "reviews-v2")
            .fails_from(from, 0.5);
    }
    let (finish, ()) = tokio::join!(shop.start_with(brisk_with("10:1m,100"), heard), async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        for _ in 0..count {
            tell.send(Signal::Interrupt).unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    (shop, finish.unwrap().outcome)
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_gives_up_a_rollback_that_hangs() {
    let (shop, outcome) = hopeless(false, 2).await;
    assert_eq!(outcome, Outcome::RollbackFailed);
    assert!(shop.rollout().is_some(), "abort can still finish the job");
    tokio::time::sleep(Duration::from_secs(30)).await;
    shop.abort("bob@desk").await.unwrap();
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn the_first_signal_during_a_rollback_for_a_regression_does_not_give_it_up() {
    let (shop, outcome) = hopeless(true, 1).await;
    assert_eq!(outcome, Outcome::RolledBack(Cause::Regression));
    shop.assert_restored();
    let (_, outcome) = hopeless(true, 2).await;
    assert_eq!(outcome, Outcome::RollbackFailed);
}

/// `promote` or `pause`, with a signal a second after it began and while this goes wrong.
async fn changed(shop: &Shop, command: &str, fault: Rule<ApiFault>) -> (Result, SignedDuration) {
    tokio::select! {
        ended = shop.start(brisk_with("10:10m,50:10m,100")) => panic!("{ended:?}"),
        () = shop.until_weight(10) => {}
    }
    shop.world.faults().api(fault);
    let (tell, heard) = signals();
    let change = shop.act("bob@desk", heard, async |context| match command {
        "pause" => commands::pause(context, "reviews").await,
        command => {
            let args = Promote {
                name: "reviews".into(),
                wait: command == "promote --wait",
                ..Promote::default()
            };
            commands::promote(context, &args).await
        }
    });
    let sender = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        tell.send(Signal::HangUp).unwrap();
        shop.world.clock().now()
    };
    let (changed, at) = tokio::join!(change, sender);
    let took = shop.world.clock().now().duration_since(at);
    (changed.map(|(_, finish)| finish), took)
}

#[tokio::test(start_paused = true)]
async fn a_command_that_has_changed_nothing_yet_ends_with_the_signal() {
    for command in ["pause", "promote", "promote --wait"] {
        let shop = Shop::open().await;
        let hang = Rule::new(ApiFault::Hang { applied: false });
        let (ended, took) = changed(&shop, command, hang.on("get").of("virtualservices")).await;
        let error = ended.unwrap_err();
        assert_eq!(
            error.to_string(),
            "interrupted by SIGHUP before anything was changed"
        );
        assert_eq!(Exit::from(&error).code(), 129, "{command}");
        assert!(
            took < SignedDuration::from_millis(100),
            "{command}: {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_answer_is_lost_to_a_signal_is_called_unknown() {
    for command in ["pause", "promote"] {
        for applied in [true, false] {
            let shop = Shop::open().await;
            let hang = Rule::new(ApiFault::Hang { applied }).on("patch");
            let (ended, took) = changed(&shop, command, hang).await;
            let error = ended.unwrap_err();
            assert_eq!(
                error.to_string(),
                "interrupted by SIGHUP, and the API server did not confirm it: traffic of virtualservice shop/reviews may have moved, or still move (try: kubectl canary status reviews -n shop)"
            );
            assert_eq!(Exit::from(&error).code(), 20);
            assert!(took < SignedDuration::from_millis(2100), "{took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_made_in_time_is_made_in_spite_of_a_signal() {
    for (command, expected) in [("pause", Outcome::Held), ("promote", Outcome::StepSet)] {
        let shop = Shop::open().await;
        let slow = Rule::new(ApiFault::Slow(Duration::from_secs(2))).on("patch");
        let (ended, _) = changed(&shop, command, slow).await;
        assert_eq!(ended.unwrap().outcome, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_promotion_whose_answer_was_not_heard_before_a_signal_is_not_called_held() {
    // On its way, with reads that fail meanwhile, and before another attempt.
    let on_its_way = || ApiFault::Hang { applied: true };
    let answer = |code, applied| ApiFault::Answer {
        code,
        retry_after: None,
        applied,
    };
    for (unheard, is_readable) in [
        (on_its_way(), true),
        (on_its_way(), false),
        (answer(504, true), false),
    ] {
        let shop = Shop::open().await;
        let last = Rule::new(unheard).on("patch").of("virtualservices");
        shop.world.faults().api(last.after(1).times(1));
        let options = Options {
            on_signal: Some(OnSignal::Hold),
            ..brisk_with("50,100")
        };
        let (tell, queue) = signals();
        let driver = shop.start_with(options, queue);
        let signal = async {
            shop.until_weight(50).await;
            if !is_readable {
                let reads = Rule::new(answer(503, false)).on("get");
                shop.world.faults().api(reads.of("virtualservices"));
            }
            shop.until_weight(100).await;
            tell.send(Signal::Terminate).unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            shop.world.faults().clear();
        };
        let (finish, ()) = tokio::join!(driver, signal);
        assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
        assert_eq!(shop.annotation("rollout"), None);
    }
}
