//! Two processes at one rollout, and what is left when one of them dies.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::cli::Exit;
use kubectl_canary::commands::{Drive, HookArgs};
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Phase, Reason};
use kubectl_canary::sandbox::{ApiFault, Denial, Rule};
use kubectl_canary::{Signal, Signals};
use tokio::time::timeout;

use crate::harness::{Dice, Shop, brisk, brisk_with, signals, start};

/// Alice drives until then, and is gone without a word.
async fn killed_after(shop: &Shop, millis: u64) {
    let driver = shop.start(brisk_with("1,10,50,100:10s"));
    let _ = timeout(Duration::from_millis(millis), driver).await;
}

#[tokio::test(start_paused = true)]
async fn abort_beside_a_live_driver_ends_both() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10:5m,100"));
    let other = async {
        shop.until_weight(10).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let aborted = shop.abort("bob@desk").await.unwrap().unwrap();
        (aborted, shop.world.clock().now())
    };
    let (finish, (aborted, at)) = tokio::join!(driver, other);
    let finish = finish.unwrap();
    assert_eq!(aborted.outcome, Outcome::RolledBack(Cause::Request));
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Request));
    assert_eq!(
        finish.reasons,
        [Reason::Ended {
            outcome: Outcome::RolledBack(Cause::Request),
            by: "bob@desk".into()
        }]
    );
    assert!(
        finish.at.duration_since(at) < SignedDuration::from_secs(1),
        "at once"
    );
    shop.assert_restored();
    assert_eq!(
        shop.patches().len(),
        2,
        "the driver does not write any more"
    );
}

#[tokio::test(start_paused = true)]
async fn abort_twice_is_no_error_and_writes_once() {
    let shop = Shop::open().await;
    killed_after(&shop, 3000).await;
    assert!(shop.abort("bob@desk").await.unwrap().is_some());
    let patches = shop.patches().len();
    assert!(shop.abort("bob@desk").await.unwrap().is_none());
    assert_eq!(shop.patches().len(), patches);
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn promote_beside_a_live_driver_moves_it_on() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("1:10m,10,100"));
    let other = async {
        shop.until_weight(1).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        shop.promote("bob@desk").await.unwrap();
        assert_eq!(shop.weights(), [90, 10]);
    };
    let began = shop.world.clock().now();
    let (finish, ()) = tokio::join!(driver, other);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    let took = finish.at.duration_since(began);
    assert!(took < SignedDuration::from_mins(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn pause_and_resume_beside_a_live_driver_hold_and_let_go() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10,100"));
    let other = async {
        shop.until_weight(10).await;
        shop.pause("bob@desk").await.unwrap();
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(shop.weights(), [90, 10]);
        assert_eq!(shop.rollout().unwrap().phase, Phase::Paused);
        assert_eq!(
            shop.rollout().unwrap().changed_by.as_deref(),
            Some("bob@desk")
        );
        let resumed = shop.resume("bob@desk").await.unwrap();
        assert_eq!(resumed.outcome, Outcome::StepSet);
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    let told = shop.told();
    for expected in ["Paused", "Resumed"] {
        let count = told
            .iter()
            .filter(|event| format!("{event:?}").starts_with(expected))
            .count();
        assert_eq!(count, 2, "{expected}: said by bob and by the driver");
    }
}

/// A smoke test that is not run looks like one that has passed.
#[tokio::test(start_paused = true)]
async fn resume_beside_a_live_driver_refuses_flags_that_only_a_driver_has_a_use_for() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10,100"));
    let hooks = |before: bool| HookArgs {
        before_step: before.then(|| "./smoke-test".into()),
        on_end: (!before).then(|| "./report".into()),
        ..HookArgs::default()
    };
    let of = |hooks| Drive {
        hooks,
        ..Drive::default()
    };
    let leaving = Drive {
        leave_at_gate: true,
        ..Drive::default()
    };
    let other = async {
        shop.until_weight(10).await;
        shop.pause("bob@desk").await.unwrap();
        for (drive, flag) in [
            (of(hooks(true)), "--before-step"),
            (of(hooks(false)), "--on-end"),
            (leaving, "--leave-at-gate"),
        ] {
            let error = shop.resume_with("bob@desk", drive).await.unwrap_err();
            assert_eq!(Exit::from(&error), Exit::Usage);
            let error = error.to_string();
            let begins = format!(
                "{flag} has no effect: virtualservice shop/reviews is driven by alice@desk/"
            );
            assert!(error.starts_with(&begins), "{error}");
            let fix = "(try: kubectl canary resume reviews -n shop)";
            assert!(error.ends_with(fix), "{error}");
            assert_eq!(shop.rollout().unwrap().phase, Phase::Paused);
        }
        shop.resume("bob@desk").await.unwrap();
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn the_object_is_whole_at_whatever_moment_the_driver_dies_and_abort_restores_it() {
    let mut dice = Dice::seeded(1);
    for round in 0..40 {
        let shop = Shop::open().await;
        let millis = dice.below(40_000);
        killed_after(&shop, millis).await;
        shop.assert_whole();
        if shop.rollout().is_some() {
            shop.abort("bob@desk").await.unwrap();
            shop.assert_restored();
        } else {
            assert!(
                shop.weights() == [0, 100] || shop.spec() == shop.before,
                "round {round}, {millis} ms"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_object_is_whole_if_the_driver_dies_while_a_slow_write_is_under_way() {
    let mut dice = Dice::seeded(2);
    for _ in 0..20 {
        let shop = Shop::open().await;
        let slow = ApiFault::Slow(Duration::from_millis(700));
        shop.world.faults().api(Rule::new(slow).on("patch"));
        killed_after(&shop, dice.below(30_000)).await;
        shop.assert_whole();
        shop.world.faults().clear();
        if shop.rollout().is_some() {
            shop.abort("bob@desk").await.unwrap();
            shop.assert_restored();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_rollout_goes_on_to_the_end_from_whatever_moment() {
    let mut dice = Dice::seeded(3);
    for _ in 0..15 {
        let shop = Shop::open().await;
        let millis = dice.below(30_000);
        killed_after(&shop, millis).await;
        let Some(rollout) = shop.rollout() else {
            continue;
        };
        let finish = shop.resume("bob@desk").await.unwrap();
        assert_eq!(
            finish.outcome,
            Outcome::Promoted,
            "killed after {millis} ms"
        );
        assert_eq!(shop.weights(), [0, 100]);
        assert_eq!(finish.rollout.run, rollout.run);
        assert!(finish.rollout.holder.starts_with("bob@desk/"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_rollout_knows_what_the_first_driver_saw() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("50:30s,100"));
    let _ = timeout(Duration::from_secs(20), driver).await;
    let now = shop.world.clock().now();
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails_from(now, 0.5);
    let finish = shop.resume("bob@desk").await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    assert!(
        finish.total_counts.unwrap().canary.requests > 1500,
        "{:?}",
        finish.total_counts
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_dead_driver_is_replaced_only_after_its_lease_has_run_out() {
    let shop = Shop::open().await;
    killed_after(&shop, 8000).await;
    let died = shop.world.clock().now();
    let driver = shop.resume("bob@desk");
    let watcher = async {
        shop.until(|shop| {
            let rollout = shop.rollout();
            rollout.is_none_or(|rollout| rollout.holder.starts_with("bob"))
        })
        .await;
        shop.world.clock().now().duration_since(died)
    };
    let (finish, waited) = tokio::join!(driver, watcher);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert!(waited >= SignedDuration::from_secs(15), "{waited:?}");
    let from = shop.told().into_iter().find_map(|event| match event {
        EventKind::Planned { resumed_from, .. } => resumed_from,
        _ => None,
    });
    assert!(from.unwrap().starts_with("alice@desk/"));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_left_is_replaced_at_once() {
    let shop = Shop::open().await;
    let (tell, heard) = signals();
    let options = kubectl_canary::plan::Options {
        on_signal: Some(kubectl_canary::plan::OnSignal::Hold),
        ..brisk_with("10:1m,100")
    };
    let driver = shop.start_with(options, heard);
    let other = async {
        shop.until_weight(10).await;
        tell.send(Signal::Interrupt).unwrap();
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Held);
    let began = shop.world.clock().now();
    let (taken, _) = tokio::join!(
        async {
            shop.until(|shop| {
                shop.rollout()
                    .is_none_or(|rollout| rollout.holder.starts_with("bob"))
            })
            .await;
            shop.world.clock().now().duration_since(began)
        },
        shop.resume("bob@desk")
    );
    assert!(taken < SignedDuration::from_secs(1), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_start_is_refused_with_who_holds_it_before_anything_moved() {
    let shop = Shop::open().await;
    // Alice has the lease, but her first patch takes its time.
    let slow = ApiFault::Slow(Duration::from_secs(8));
    shop.world
        .faults()
        .api(Rule::new(slow).on("patch").times(1));
    let (first, second) = tokio::join!(shop.start(brisk()), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        shop.start_as("bob@desk", start(brisk()), Signals::none())
            .await
    });
    assert_eq!(first.unwrap().outcome, Outcome::Promoted);
    let refused = second.unwrap_err().to_string();
    let expected = format!(
        "virtualservice shop/reviews is driven by alice@desk/{} (try: kubectl canary status, promote, pause or abort)",
        std::process::id()
    );
    assert_eq!(refused, expected);
}

#[tokio::test(start_paused = true)]
async fn a_second_start_is_refused_with_who_holds_it_once_it_has_moved() {
    let shop = Shop::open().await;
    let (first, second) = tokio::join!(shop.start(brisk()), async {
        shop.until_weight(10).await;
        shop.start_as("bob@desk", start(brisk()), Signals::none())
            .await
    });
    assert_eq!(first.unwrap().outcome, Outcome::Promoted);
    let refused = second.unwrap_err().to_string();
    let expected = format!(
        "a rollout is in progress on virtualservice shop/reviews, at 10 % and held by alice@desk/{} (try: kubectl canary status reviews -n shop, or resume, or abort)",
        std::process::id()
    );
    assert_eq!(refused, expected);
}

#[tokio::test(start_paused = true)]
async fn two_starts_without_leases_cannot_both_begin() {
    let shop = Shop::open().await;
    shop.world.deny(Denial::of_resource("leases"));
    let (first, second) = tokio::join!(
        shop.start(brisk()),
        shop.start_as("bob@desk", start(brisk()), Signals::none())
    );
    let mut outcomes = [first, second].map(|ended| match ended {
        Ok(finish) => format!("{:?}", finish.outcome),
        Err(error) => error.to_string(),
    });
    outcomes.sort();
    assert_eq!(outcomes[0], "Promoted");
    assert!(
        outcomes[1].starts_with("a rollout is in progress"),
        "{outcomes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_right_to_leases_it_goes_on_and_says_so() {
    let shop = Shop::open().await;
    shop.world.deny(Denial::of_resource("leases"));
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    let warnings = shop.warnings();
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("continuing without a lease")),
        "{warnings:?}"
    );
}

/// Alice stands still at 10 % while bob takes over; then she wakes up.
async fn stalled(signal: Option<Signal>) -> (Shop, Outcome, Vec<Reason>) {
    let shop = Shop::open().await;
    let hers = shop.clone();
    let (tell, heard) = signals();
    let mut alice = std::pin::pin!(hers.start_with(brisk_with("10:3m,100"), heard));
    let _ = timeout(Duration::from_secs(10), &mut alice).await;
    assert_eq!(shop.weights(), [90, 10]);
    // The process stands still as a whole, the renewing of its lease included.
    shop.world.faults().api(
        Rule::new(ApiFault::Reset { applied: false })
            .on("update")
            .of("leases")
            .containing("alice@desk"),
    );
    let _ = timeout(Duration::from_secs(40), shop.resume("bob@desk")).await;
    assert!(shop.rollout().unwrap().holder.starts_with("bob@desk/"));
    let patches = shop.patches().len();
    if let Some(signal) = signal {
        tell.send(signal).unwrap();
    }
    let finish = alice.await.unwrap();
    assert_eq!(shop.patches().len(), patches, "she has written nothing");
    (shop, finish.outcome, finish.reasons)
}

#[tokio::test(start_paused = true)]
async fn a_stalled_driver_that_wakes_up_after_a_takeover_leaves() {
    let (shop, outcome, reasons) = stalled(None).await;
    assert_eq!(outcome, Outcome::TakenOver);
    assert!(
        matches!(&reasons[..], [Reason::TakenOver { by }] if by.starts_with("bob@desk/")),
        "{reasons:?}"
    );
    assert_eq!(shop.weights(), [90, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_driver_that_wakes_up_to_roll_back_cannot_write() {
    let (shop, outcome, _) = stalled(Some(Signal::Terminate)).await;
    assert_eq!(outcome, Outcome::TakenOver);
    assert_eq!(shop.weights(), [90, 10]);
    let refused = shop
        .world
        .calls()
        .into_iter()
        .rfind(|call| call.verb == "patch");
    assert_eq!(refused.unwrap().status, Some(422), "the fence is the patch");
}

#[tokio::test(start_paused = true)]
async fn a_driver_whose_lease_was_taken_and_given_back_drives_on() {
    for still_held_when_she_looks in [false, true] {
        let shop = Shop::open().await;
        let driver = shop.start(brisk_with("10:2m,100"));
        let other = async {
            shop.until_weight(10).await;
            // Her lease runs out while she still drives; bob takes it, may not write and leaves again.
            let silent = Rule::new(ApiFault::Reset { applied: false })
                .on("update")
                .of("leases")
                .containing("alice@desk")
                .until(shop.after(18));
            let forbidden = ApiFault::Answer {
                code: 403,
                retry_after: None,
                applied: false,
            };
            let of_bob = |fault| Rule::new(fault).on("patch").containing("bob@desk");
            shop.world.faults().api(silent).api(of_bob(forbidden));
            if still_held_when_she_looks {
                let slow = ApiFault::Slow(Duration::from_secs(9));
                shop.world.faults().api(of_bob(slow).times(3));
            }
            shop.resume("bob@desk").await.unwrap_err()
        };
        let (finish, _) = tokio::join!(driver, other);
        assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
        let warned = shop
            .warnings()
            .iter()
            .any(|text| text.contains("bob@desk") && text.contains("has taken the lease"));
        assert_eq!(warned, still_held_when_she_looks);
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_step_that_arrives_after_another_run_began_and_ended_is_kept_out() {
    let shop = Shop::open().await;
    let late = Rule::new(ApiFault::Late(Duration::from_secs(120)));
    shop.world.faults().api(late.on("patch").times(1));
    let alice = shop.start(brisk_with("20:3m,100"));
    assert!(
        timeout(Duration::from_secs(5), alice).await.is_err(),
        "she stands still"
    );
    let bob = shop.start_as("bob@desk", start(brisk_with("10:3m,100")), Signals::none());
    let bob_is_aborted = async {
        shop.until_weight(10).await;
        shop.abort("carol@desk").await.unwrap()
    };
    let (finish, _) = tokio::join!(bob, bob_is_aborted);
    assert_eq!(finish.unwrap().outcome, Outcome::RolledBack(Cause::Request));
    shop.assert_restored();
    tokio::time::sleep(Duration::from_secs(150)).await;
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_takeover_follows_what_happens_while_it_waits() {
    let shop = Shop::open().await;
    killed_after(&shop, 3000).await;
    // While bob waits for the lease to run out, carol promotes.
    let (resumed, ()) = tokio::join!(shop.resume("bob@desk"), async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        shop.promote("carol@desk").await.unwrap();
    });
    assert_eq!(resumed.unwrap().outcome, Outcome::Promoted);
    assert_eq!(shop.weights(), [0, 100]);
}

#[tokio::test(start_paused = true)]
async fn promote_and_wait_is_refused_beside_a_live_driver_before_anything_moved() {
    let shop = Shop::open().await;
    let (finish, ()) = tokio::join!(shop.start(brisk_with("1:1m,100")), async {
        shop.until_weight(1).await;
        let refused = shop.promote_and_wait("bob@desk").await.unwrap_err();
        assert!(
            refused.to_string().contains("is driven by alice@desk/"),
            "{refused}"
        );
        assert_eq!(shop.weights(), [99, 1]);
    });
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
}

/// How long after `died` somebody called bob drives.
async fn until_bob_drives(shop: &Shop, died: jiff::Timestamp) -> SignedDuration {
    let is_bobs = |shop: &Shop| {
        let rollout = shop.rollout();
        rollout.is_none_or(|rollout| rollout.holder.starts_with("bob"))
    };
    shop.until(is_bobs).await;
    shop.world.clock().now().duration_since(died)
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_waited_for_once_and_that_is_said() {
    let shop = Shop::open().await;
    killed_after(&shop, 8000).await;
    let died = shop.world.clock().now();
    let (finish, waited) = tokio::join!(shop.resume("bob@desk"), until_bob_drives(&shop, died));
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    let once = SignedDuration::from_secs(14)..SignedDuration::from_secs(19);
    assert!(once.contains(&waited), "{waited:?}");
    let warnings = shop.warnings();
    let said = "waiting up to 15s to see whether alice@desk/";
    let times = warnings
        .iter()
        .filter(|warning| warning.starts_with(said))
        .count();
    assert_eq!(times, 1, "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_looks_bad_while_the_lease_is_waited_for_is_rolled_back_at_once() {
    for crash in [false, true] {
        let shop = Shop::open().await;
        let _ = timeout(Duration::from_secs(20), shop.start(brisk_with("50:5m,100"))).await;
        let died = shop.world.clock().now();
        assert_eq!(shop.weights(), [50, 50]);
        let going_bad = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            match crash {
                true => shop
                    .world
                    .set(|stage| stage.pods("shop", "version=v2").crash()),
                false => {
                    let now = shop.world.clock().now();
                    let mut traffic = shop.world.traffic();
                    traffic.version("shop", "reviews-v2").fails_from(now, 0.5);
                }
            }
        };
        let back = async {
            shop.until_weight(0).await;
            shop.world.clock().now().duration_since(died)
        };
        let (finish, (), took) = tokio::join!(shop.resume("bob@desk"), going_bad, back);
        let outcome = finish.unwrap().outcome;
        assert!(
            matches!(
                outcome,
                Outcome::RolledBack(Cause::Regression | Cause::CanaryDown)
            ),
            "{outcome:?}"
        );
        assert!(took < SignedDuration::from_secs(14), "{crash}: {took:?}");
        let warnings = shop.warnings();
        let said = "v2 looks bad: taking over without waiting for the lease";
        assert!(
            warnings.iter().any(|warning| warning == said),
            "{warnings:?}"
        );
        shop.assert_restored();
    }
}
