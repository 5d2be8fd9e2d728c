//! The user's command before each step: it runs beside the driver, and has a say in nothing but that step.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::SignedDuration;
use kubectl_canary::cli::Exit;
use kubectl_canary::commands::{Drive, Promote, Start};
use kubectl_canary::istio::VirtualService;
use kubectl_canary::plan::{Exposure, HumanDuration, OnDrift, OnHookFailure, Options, Percent};
use kubectl_canary::rollout::{Cause, EventKind, HookFailure, Outcome, Phase, Reason, Rollout};
use kubectl_canary::{BeforeStep, CommandError, Signal, Signals, StepCheck};

use crate::harness::{Shop, brisk_with, signals, start};

/// How long the command runs, and how it ends, by the step to come, from 1.
type Script = fn(usize, usize) -> (u64, Result<(), String>);

/// A command that takes virtual time. It notes what it was asked for, and whether it ran to its end.
struct Scripted {
    script: Script,
    shop: Shop,
    /// The steps for which it ran, and the canary's weight at that time.
    began: Mutex<Vec<(usize, i64)>>,
    ended: AtomicUsize,
    killed: AtomicUsize,
}

/// A run of it, which is killed by being dropped.
struct Run<'a>(&'a Scripted, bool);

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let count = if self.1 {
            &self.0.ended
        } else {
            &self.0.killed
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl StepCheck for Scripted {
    fn run(&self, vs: &VirtualService, next: &Rollout) -> BoxFuture<'_, Result<(), String>> {
        assert_eq!(vs.full_name(), "shop/reviews");
        let step = next.step + 1;
        let mut began = self.began.lock().unwrap();
        began.push((step, self.shop.weights()[1]));
        let times = began.iter().filter(|(begun, _)| *begun == step).count();
        let (seconds, ended) = (self.script)(step, times);
        Box::pin(async move {
            let mut run = Run(self, false);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            run.1 = true;
            ended
        })
    }
}

impl Scripted {
    fn began(&self) -> Vec<(usize, i64)> {
        self.began.lock().unwrap().clone()
    }

    /// How many runs came to their end, and how many were killed.
    fn counts(&self) -> (usize, usize) {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (of(&self.ended), of(&self.killed))
    }
}

/// A shop whose drivers run this before each step, for a minute at most.
async fn shop_with(script: Script, on_failure: OnHookFailure) -> (Shop, Arc<Scripted>) {
    let shop = Shop::open().await;
    let scripted = Arc::new(Scripted {
        script,
        shop: shop.clone(),
        began: Mutex::default(),
        ended: AtomicUsize::new(0),
        killed: AtomicUsize::new(0),
    });
    let before_step = Some(BeforeStep {
        check: Arc::clone(&scripted) as Arc<dyn StepCheck>,
        timeout: HumanDuration::minutes(1),
        on_failure,
    });
    (shop.with_hook(before_step), scripted)
}

fn failed() -> Result<(), String> {
    Err("failed (exit status: 1)".into())
}

/// The third step fails.
fn third_fails(step: usize, _: usize) -> (u64, Result<(), String>) {
    (2, if step == 3 { failed() } else { Ok(()) })
}

/// Before the second step it runs for longer than anybody waits.
fn second_hangs(step: usize, _: usize) -> (u64, Result<(), String>) {
    (if step == 2 { 3600 } else { 0 }, Ok(()))
}

fn why_of(step: usize, percent: u32, why: &str) -> HookFailure {
    HookFailure {
        step,
        exposure: Exposure::Share(Percent::whole(percent)),
        why: why.into(),
    }
}

/// Whether the command was started and not told to have ended.
fn is_running(shop: &Shop, step: usize) -> bool {
    let told = shop.told();
    let last = told.iter().rev().find(|event| {
        matches!(
            event,
            EventKind::HookStarted { .. }
                | EventKind::HookPassed { .. }
                | EventKind::HookFailed { .. }
        )
    });
    matches!(last, Some(EventKind::HookStarted { step: begun, .. }) if *begun == step)
}

async fn until_it_runs(shop: &Shop, step: usize) {
    shop.until(|shop| is_running(shop, step)).await;
    // Long enough that the driver looks at the metrics meanwhile.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(is_running(shop, step));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_succeeds_is_followed_by_its_step() {
    let (shop, scripted) = shop_with(|_, _| (3, Ok(())), OnHookFailure::Rollback).await;
    let finish = shop.start(brisk_with("10,50,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    // Before the first weight, and each time at the weight of the step before.
    assert_eq!(scripted.began(), [(1, 0), (2, 10), (3, 50)]);
    assert_eq!(scripted.counts(), (3, 0));
    assert_eq!(shop.climbed(), ["10", "50", "100"]);
    let passed: Vec<_> = shop
        .told()
        .into_iter()
        .filter_map(|event| match event {
            EventKind::HookPassed {
                step, took_millis, ..
            } => Some((step, took_millis / 1000)),
            _ => None,
        })
        .collect();
    assert_eq!(passed, [(1, 3), (2, 3), (3, 3)]);
}

#[tokio::test(start_paused = true)]
async fn the_canary_is_watched_while_the_command_runs() {
    let (shop, _) = shop_with(
        |step, _| (if step == 2 { 30 } else { 0 }, Ok(())),
        OnHookFailure::Rollback,
    )
    .await;
    shop.start(brisk_with("10,100")).await.unwrap();
    let began = shop.when(|event| matches!(event, EventKind::HookStarted { step: 2, .. }));
    let passed = shop.when(|event| matches!(event, EventKind::HookPassed { step: 2, .. }));
    let events = shop.events.lock().unwrap().clone();
    let looks = events.iter().filter(|event| {
        let is_look = matches!(event.event, EventKind::Analyzed { .. });
        is_look && event.at > began && event.at < passed
    });
    assert!(looks.count() > 20);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_fails_rolls_back() {
    let (shop, scripted) = shop_with(third_fails, OnHookFailure::Rollback).await;
    let finish = shop.start(brisk_with("1,10,50,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::HookFailed));
    assert_eq!(Exit::from(finish.outcome), Exit::Regressed);
    let failure = why_of(3, 50, "failed (exit status: 1)");
    assert_eq!(finish.reasons, [Reason::HookFailed(failure)]);
    assert_eq!(scripted.began(), [(1, 0), (2, 1), (3, 10)]);
    assert_eq!(shop.climbed(), ["1", "10"], "50 % was never set");
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_command_that_fails_before_the_first_step_leaves_everything_alone() {
    for on_failure in [OnHookFailure::Rollback, OnHookFailure::Hold] {
        let (shop, _) = shop_with(|_, _| (1, failed()), on_failure).await;
        let error = shop.start(brisk_with("10,100")).await.unwrap_err();
        assert_eq!(Exit::from(&error), Exit::Preflight);
        let text = error.to_string();
        assert!(
            text.contains("the command before 10 % failed (exit status: 1)"),
            "{text}"
        );
        assert_eq!(shop.patches().len(), 0);
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_before_the_first_step_ends_the_command() {
    let (shop, scripted) = shop_with(|_, _| (3600, Ok(())), OnHookFailure::Rollback).await;
    let (tell, heard) = signals();
    let driver = shop.start_with(brisk_with("10,100"), heard);
    let other = async {
        shop.until(|shop| is_running(shop, 1)).await;
        tell.send(Signal::Interrupt).unwrap();
    };
    let (ended, ()) = tokio::join!(driver, other);
    assert!(matches!(
        ended,
        Err(CommandError::Interrupted(Signal::Interrupt))
    ));
    assert_eq!(scripted.counts(), (0, 1));
    assert_eq!(shop.patches().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_hangs_is_killed_and_has_failed() {
    let (shop, scripted) = shop_with(second_hangs, OnHookFailure::Rollback).await;
    let finish = shop.start(brisk_with("10,100")).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::HookFailed));
    let failure = why_of(2, 100, "did not end within 1m and was killed");
    assert_eq!(finish.reasons, [Reason::HookFailed(failure)]);
    assert_eq!(scripted.counts(), (1, 1));
    let began = shop.when(|event| matches!(event, EventKind::HookStarted { step: 2, .. }));
    let failed = shop.when(|event| matches!(event, EventKind::HookFailed { .. }));
    let lasted = failed.duration_since(began);
    assert!(lasted < SignedDuration::from_secs(61), "{lasted:?}");
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_resumed_to_run_the_command_again() {
    // The second time it succeeds.
    let script: Script = |step, times| match (step, times) {
        (2, 1) => (1, failed()),
        _ => (1, Ok(())),
    };
    let (shop, scripted) = shop_with(script, OnHookFailure::Hold).await;
    let driver = shop.start(brisk_with("10,50,100"));
    let other = async {
        shop.until(|shop| shop.rollout().is_some_and(|now| now.phase == Phase::Paused))
            .await;
        let held = shop.rollout().unwrap();
        let failure = why_of(2, 50, "failed (exit status: 1)");
        assert_eq!(held.hook_failure, Some(failure));
        assert_eq!(shop.weights(), [90, 10]);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(scripted.began().len(), 2, "it is not run in a hold");
        shop.resume("bob@desk").await.unwrap();
        assert_eq!(shop.rollout().unwrap().hook_failure, None);
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(scripted.began(), [(1, 0), (2, 10), (2, 10), (3, 50)]);
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_promoted_without_the_command() {
    let script: Script = |step, _| (1, if step == 2 { failed() } else { Ok(()) });
    let (shop, scripted) = shop_with(script, OnHookFailure::Hold).await;
    let driver = shop.start(brisk_with("10,50,100"));
    let other = async {
        shop.until(|shop| shop.rollout().is_some_and(|now| now.phase == Phase::Paused))
            .await;
        shop.promote("bob@desk").await.unwrap();
        assert_eq!(shop.weights(), [50, 50]);
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    // Step 2 was promoted by a person; the next is the driver's again.
    assert_eq!(scripted.began(), [(1, 0), (2, 10), (3, 50)]);
}

#[tokio::test(start_paused = true)]
async fn a_regression_in_a_hold_is_rolled_back() {
    let script: Script = |step, _| (1, if step == 2 { failed() } else { Ok(()) });
    let (shop, _) = shop_with(script, OnHookFailure::Hold).await;
    let driver = shop.start(brisk_with("10,100"));
    let other = async {
        shop.until(|shop| shop.rollout().is_some_and(|now| now.phase == Phase::Paused))
            .await;
        shop.world
            .traffic()
            .version("shop", "reviews-v2")
            .fails(0.5);
    };
    let (finish, ()) = tokio::join!(driver, other);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn with_leave_at_gate_a_hold_is_left_and_its_reason_stands_on_the_object() {
    let script: Script = |step, _| (1, if step == 2 { failed() } else { Ok(()) });
    let (shop, _) = shop_with(script, OnHookFailure::Hold).await;
    let args = Start {
        drive: Drive {
            leave_at_gate: true,
            ..Drive::default()
        },
        ..start(brisk_with("10,100"))
    };
    let finish = shop.start_as("alice@desk", args, Signals::none()).await;
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::Held);
    let failure = why_of(2, 100, "failed (exit status: 1)");
    assert_eq!(finish.reasons, [Reason::HookFailed(failure.clone())]);
    let left = shop.rollout().unwrap();
    assert_eq!(
        (left.phase, left.hook_failure),
        (Phase::Paused, Some(failure))
    );
    // Whoever comes by has no command, and needs none.
    let other = shop.with_hook(None);
    let finish = other.resume("bob@desk").await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
}

/// What else ends a rollout is answered as always, and the command is killed for it.
#[tokio::test(start_paused = true)]
async fn a_regression_kills_the_command_and_rolls_back() {
    let (shop, scripted) = shop_with(second_hangs, OnHookFailure::Hold).await;
    let driver = shop.start(brisk_with("10,100"));
    let other = async {
        until_it_runs(&shop, 2).await;
        shop.world
            .traffic()
            .version("shop", "reviews-v2")
            .fails(0.5);
    };
    let (finish, ()) = tokio::join!(driver, other);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    assert_eq!(scripted.counts(), (1, 1));
    let began = shop.when(|event| matches!(event, EventKind::HookStarted { step: 2, .. }));
    assert!(
        finish.at.duration_since(began) < SignedDuration::from_secs(40),
        "before its time is up"
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn an_abort_kills_the_command() {
    let (shop, scripted) = shop_with(second_hangs, OnHookFailure::Rollback).await;
    let driver = shop.start(brisk_with("10,100"));
    let other = async {
        until_it_runs(&shop, 2).await;
        shop.abort("bob@desk").await.unwrap();
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::RolledBack(Cause::Request));
    assert_eq!(scripted.counts(), (1, 1));
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_signal_kills_the_command_and_rolls_back() {
    let (shop, scripted) = shop_with(second_hangs, OnHookFailure::Rollback).await;
    let (tell, heard) = signals();
    let driver = shop.start_with(brisk_with("10,100"), heard);
    let other = async {
        until_it_runs(&shop, 2).await;
        tell.send(Signal::Terminate).unwrap();
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::RolledBack(Cause::Signal));
    assert_eq!(scripted.counts(), (1, 1));
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_foreign_edit_kills_the_command() {
    for (policy, outcome) in [
        (OnDrift::Stop, Outcome::Drifted),
        (OnDrift::Rollback, Outcome::RolledBack(Cause::Drift)),
    ] {
        let (shop, scripted) = shop_with(second_hangs, OnHookFailure::Rollback).await;
        let driver = shop.start(Options {
            on_drift: Some(policy),
            ..brisk_with("10,100")
        });
        let other = async {
            until_it_runs(&shop, 2).await;
            shop.set_weights(70, 30);
        };
        let (finish, ()) = tokio::join!(driver, other);
        assert_eq!(finish.unwrap().outcome, outcome);
        assert_eq!(scripted.counts(), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_kills_the_command_and_a_resume_runs_it_again() {
    let script: Script = |step, times| match (step, times) {
        (2, 1) => (3600, Ok(())),
        _ => (1, Ok(())),
    };
    let (shop, scripted) = shop_with(script, OnHookFailure::Rollback).await;
    let driver = shop.start(brisk_with("10,100"));
    let other = async {
        until_it_runs(&shop, 2).await;
        shop.pause("bob@desk").await.unwrap();
        shop.until(|_| scripted.counts() == (1, 1)).await;
        // It would be over by now, had it been left to itself.
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(shop.weights(), [90, 10]);
        shop.resume("bob@desk").await.unwrap();
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(scripted.began(), [(1, 0), (2, 10), (2, 10)]);
}

#[tokio::test(start_paused = true)]
async fn a_promote_passes_the_command_over() {
    let (shop, scripted) = shop_with(second_hangs, OnHookFailure::Rollback).await;
    let driver = shop.start(brisk_with("10,50,100"));
    let other = async {
        until_it_runs(&shop, 2).await;
        shop.promote("bob@desk").await.unwrap();
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(scripted.counts(), (2, 1));
}

/// A pipeline that takes each step with a command of its own.
#[tokio::test(start_paused = true)]
async fn promote_and_wait_runs_it_before_the_step_that_it_takes() {
    for (script, outcome, weights) in [
        (
            (|_, _| (3, Ok(()))) as Script,
            Outcome::StepPassed,
            [50, 50],
        ),
        (
            |_, _| (3, failed()),
            Outcome::RolledBack(Cause::HookFailed),
            [100, 0],
        ),
    ] {
        let (shop, scripted) = shop_with(script, OnHookFailure::Rollback).await;
        let beginner = shop.with_hook(None);
        let args = Start {
            no_wait: true,
            ..start(brisk_with("1,10,50,100"))
        };
        beginner
            .start_as("alice@desk", args, Signals::none())
            .await
            .unwrap();
        beginner.promote_and_wait("alice@desk").await.unwrap();
        assert!(shop.rollout().unwrap().step_passed);
        let finish = shop.promote_and_wait("bob@desk").await.unwrap();
        assert_eq!(finish.outcome, outcome);
        assert_eq!(scripted.began(), [(3, 10)]);
        assert_eq!(shop.weights(), weights);
    }
}

#[tokio::test(start_paused = true)]
async fn promote_and_wait_at_a_gate_runs_it_before_the_next_step_and_leaves_a_hold() {
    let script: Script = |_, times| (3, if times == 1 { failed() } else { Ok(()) });
    let (shop, scripted) = shop_with(script, OnHookFailure::Hold).await;
    let beginner = shop.with_hook(None);
    let args = Start {
        drive: Drive {
            leave_at_gate: true,
            ..Drive::default()
        },
        ..start(brisk_with("10:pause,50,100"))
    };
    let held = beginner.start_as("alice@desk", args, Signals::none()).await;
    assert_eq!(held.unwrap().outcome, Outcome::Held);
    let finish = shop
        .promote_with(
            "bob@desk",
            Promote {
                wait: true,
                ..Promote::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(finish.outcome, Outcome::Held);
    assert_eq!(shop.rollout().unwrap().phase, Phase::Paused);
    assert_eq!(shop.weights(), [90, 10]);
    let finish = shop.promote_and_wait("bob@desk").await.unwrap();
    assert_eq!(finish.outcome, Outcome::StepPassed);
    assert_eq!(scripted.began(), [(2, 10), (2, 10)]);
    assert_eq!(shop.weights(), [50, 50]);
}
