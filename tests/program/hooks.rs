//! Commands of the user's: `--before-step` before each step, `--on-end` when a run has ended.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Ran, Shop};

/// A rollout that is rolled back, with this command at its end.
async fn ended_with(shop: &Shop, command: &str, more: &[&str]) -> Ran {
    shop.break_canary();
    let mut flags = shop.brief();
    flags.extend(["--on-end".into(), command.into()]);
    flags.extend(more.iter().map(|&word| word.into()));
    shop.run("start reviews --steps 50,100", &flags).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_at_the_end_is_told_how_it_ended_and_no_secret() {
    let shop = Shop::open().await;
    shop.break_canary();
    let mut flags = shop.brief();
    let command = "env | grep ^KUBECTL_CANARY_ | sort";
    flags.extend([
        "--on-end".into(),
        command.into(),
        "-o".into(),
        "json".into(),
    ]);
    let mut program = shop.program("start reviews --steps 50,100 --run-id job-7", &flags);
    program.env("KUBECTL_CANARY_PROMETHEUS_HEADER", "X-Scope: hunter2");
    let ran = Shop::ran(program).await;
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    assert!(
        serde_json::from_str::<Value>(&ran.stdout).is_ok(),
        "{}",
        ran.stdout
    );
    let said = ran
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("on-end: KUBECTL_CANARY_"));
    let said: Vec<_> = said.collect();
    for expected in [
        "NAMESPACE=shop",
        "NAME=reviews",
        "RUN=job-7",
        "STABLE=v1",
        "CANARY=v2",
        "STEP=1",
        "WEIGHT=0",
        "OUTCOME=rolled-back",
        "CAUSE=regression",
        "EXIT_CODE=10",
    ] {
        assert!(said.contains(&expected), "{expected}: {said:?}");
    }
    assert!(
        said.iter()
            .any(|line| line.starts_with("REASON=regression evidence ")),
        "{said:?}"
    );
    assert!(
        !ran.stderr.contains("hunter2") && !ran.stderr.contains("HEADER"),
        "{}",
        ran.stderr
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_fails_or_hangs_is_said_and_recorded_and_changes_nothing() {
    let shop = Shop::open().await;
    let failed = ended_with(&shop, "exit 3", &[]).await;
    let why = "--on-end: the command failed (exit status: 3)";
    assert_eq!(failed.code, 10, "{}", failed.stderr);
    assert!(failed.stderr.contains(why), "{}", failed.stderr);
    assert!(
        failed.stdout.contains(" rolled back: "),
        "{}",
        failed.stdout
    );
    let report = shop.run("report reviews", &[]).await;
    assert!(report.stdout.contains(why), "{}", report.stdout);

    let began = Instant::now();
    let hung = ended_with(&shop, "echo begun; sleep 300", &["--hook-timeout", "1s"]).await;
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(hung.code, 10, "{}", hung.stderr);
    assert!(hung.stderr.contains("on-end: begun"), "{}", hung.stderr);
    let why = "--on-end: the command did not end in time and was killed";
    assert!(hung.stderr.contains(why), "{}", hung.stderr);
}

/// A person who does not want to wait for it any longer presses Ctrl-C.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_the_command_and_not_the_exit_code() {
    let shop = Shop::open().await;
    shop.break_canary();
    let mark = shop.folder().join("begun");
    let mut flags = shop.brief();
    let command = format!("touch {}; sleep 300", mark.display());
    flags.extend(["--on-end".into(), command]);
    let running = shop.spawn("start reviews --steps 50,100", &flags).await;
    while !mark.exists() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ran = running.signal("INT").await;
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    let why = "--on-end: the command was killed by Ctrl-C";
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_runs_where_nothing_was_driven() {
    let shop = Shop::open().await;
    let flags = ["--on-end".to_owned(), "echo ran".to_owned()];
    let detached = shop.run("start reviews --detach --image i", &flags).await;
    assert_eq!(detached.code, 2, "{}", detached.stderr);
    assert!(
        detached
            .stderr
            .contains("--on-end: the Job of --detach has no shell"),
        "{}",
        detached.stderr
    );
    let refused = shop.run("start ratings", &flags).await;
    assert!(
        refused.code != 0 && !refused.stderr.contains("on-end:"),
        "{}",
        refused.stderr
    );
    let without = shop.run("start reviews --hook-timeout 1s", &[]).await;
    assert_eq!(without.code, 2, "{}", without.stderr);
    let no_wait = shop.run("start reviews --no-wait", &flags).await;
    assert_eq!(no_wait.code, 2, "{}", no_wait.stderr);
    let why = "error: --on-end: start --no-wait exits before the run has ended (try: ";
    assert!(no_wait.stderr.starts_with(why), "{}", no_wait.stderr);
    assert_eq!(shop.canary(), 0);
}

/// Who sends a signal kills a little later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_signal_the_command_has_seconds() {
    let shop = Shop::open().await;
    let mut flags = shop.brief();
    flags.extend(["--on-end".into(), "echo begun; sleep 300".into()]);
    let running = shop.spawn("start reviews --steps 20:5m,100", &flags).await;
    shop.until_canary_has(20).await;
    let began = Instant::now();
    let ran = running.signal("TERM").await;
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(ran.code, 11, "{}", ran.stderr);
    for said in [
        "on-end: begun",
        "the command did not end in time and was killed",
    ] {
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    assert_eq!(shop.canary(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_before_a_step_is_told_of_it_and_rolls_back_by_failing() {
    let shop = Shop::open().await;
    let before = shop.reviews()["spec"].clone();
    let mut flags = shop.brief();
    let command = "env | grep ^KUBECTL_CANARY_ | sort; test $KUBECTL_CANARY_WEIGHT -lt 100";
    flags.extend(["--before-step".into(), command.into()]);
    flags.extend(["--on-end".into(), "echo $KUBECTL_CANARY_CAUSE".into()]);
    let mut program = shop.program("start reviews --steps 50,100 --run-id job-7", &flags);
    program.env("KUBECTL_CANARY_PROMETHEUS_HEADER", "X-Scope: hunter2");
    let ran = Shop::ran(program).await;
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    let said = ran
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("before-step: KUBECTL_CANARY_"));
    let said: Vec<_> = said.collect();
    let of = |step, weight| {
        vec![
            "CANARY=v2".to_owned(),
            "NAME=reviews".into(),
            "NAMESPACE=shop".into(),
            "RUN=job-7".into(),
            "STABLE=v1".into(),
            format!("STEP={step}"),
            format!("WEIGHT={weight}"),
        ]
    };
    assert_eq!(said, [of(1, 50), of(2, 100)].concat(), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    let end = "on-end: hook-failed";
    assert!(ran.stderr.contains(end), "{}", ran.stderr);
    let why = "the command before 100 % failed (exit status: 1)";
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
    assert_eq!(shop.reviews()["spec"], before);
    let report = shop.run("report reviews", &[]).await;
    assert!(report.stdout.contains(why), "{}", report.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_before_a_step_that_hangs_is_killed_with_what_it_started() {
    let shop = Shop::open().await;
    let mut flags = shop.brief();
    let mark = shop.folder().join("late");
    let command = format!(
        "test $KUBECTL_CANARY_STEP = 1 || {{ (sleep 4; touch {0}) & sleep 300; }}",
        mark.display()
    );
    flags.extend(["--before-step".into(), command]);
    flags.extend(["--hook-timeout".into(), "1s".into()]);
    let began = Instant::now();
    let ran = shop.run("start reviews --steps 50,100", &flags).await;
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    let why = "the command before 100 % did not end within 1s and was killed";
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
    assert_eq!(shop.canary(), 0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!mark.exists(), "what it started was killed, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_stands_in_the_status_and_promote_passes_it_over() {
    let shop = Shop::open().await;
    let mut flags = shop.brief();
    flags.extend([
        "--before-step".into(),
        "test $KUBECTL_CANARY_STEP != 2".into(),
    ]);
    flags.extend(["--on-hook-failure".into(), "hold".into()]);
    let line = "start reviews --steps 20,50,100 --leave-at-gate";
    let held = shop.run(line, &flags).await;
    assert_eq!(held.code, 13, "{}", held.stderr);
    let status = shop.run("status reviews", &[]).await;
    let why = "paused (the command before 50 % failed (exit status: 1))";
    assert!(status.stdout.contains(why), "{}", status.stdout);
    let status = shop.run("status reviews -o json", &[]).await;
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["hookFailure"]["step"], 2, "{status:#}");
    let promoted = shop.run("promote reviews", &[]).await;
    assert_eq!(promoted.code, 0, "{}", promoted.stderr);
    assert_eq!(shop.canary(), 50);
    let status = shop.run("status reviews -o json", &[]).await;
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["hookFailure"], Value::Null, "{status:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promote_runs_commands_where_it_drives() {
    let shop = Shop::open().await;
    let began = shop
        .run("start reviews --no-wait --steps 20,50,100", &shop.brief())
        .await;
    assert_eq!(began.code, 0, "{}", began.stderr);
    let flags = [
        "--on-end",
        "echo $KUBECTL_CANARY_OUTCOME",
        "--before-step",
        "echo ran",
    ];
    let flags = flags.map(str::to_owned);
    let without = shop.run("promote reviews", &flags).await;
    assert_eq!(without.code, 2, "{}", without.stderr);
    assert!(
        without.stderr.contains("(try: --wait)"),
        "{}",
        without.stderr
    );
    assert_eq!(shop.canary(), 20);
    let ran = shop.run("promote reviews --wait", &flags).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for said in ["before-step: ran", "on-end: step-passed"] {
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    assert_eq!(shop.canary(), 50);
}
