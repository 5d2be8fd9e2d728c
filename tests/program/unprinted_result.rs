//! A result that cannot be printed: the exit code is that of the outcome all the same.

use std::fs::File;
use std::io::pipe;
use std::process::Stdio;
use std::time::Duration;

use crate::harness::{Ran, Shop, ended};

const LIMIT: Duration = Duration::from_secs(30);

/// A stdout that takes nothing: nobody is there to read, or the disk is full.
#[derive(Clone, Copy, Debug)]
enum Stdout {
    Closed,
    FullDisk,
}

impl Stdout {
    const ALL: [Self; 2] = [Self::Closed, Self::FullDisk];

    fn open(self) -> Stdio {
        match self {
            Self::Closed => pipe().unwrap().1.into(),
            Self::FullDisk => File::options()
                .write(true)
                .open("/dev/full")
                .unwrap()
                .into(),
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Closed => "broken pipe",
            Self::FullDisk => "no space left on device",
        }
    }
}

async fn run(shop: &Shop, line: &str, flags: &[String], stdout: Stdout) -> Ran {
    let child = shop
        .program(line, flags)
        .stdout(stdout.open())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    ended(child, LIMIT).await
}

#[track_caller]
fn assert_said(ran: &Ran, stdout: Stdout) {
    let expected = format!("warning: the result could not be printed: {}", stdout.why());
    let last = ran.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with(&expected), "{stdout:?}: {}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_keeps_its_exit_code() {
    for stdout in Stdout::ALL {
        let shop = Shop::open().await;
        let before = shop.reviews()["spec"].clone();
        let held = run(
            &shop,
            "start reviews --no-wait --steps 20,100",
            &shop.brief(),
            stdout,
        )
        .await;
        assert_eq!(held.code, 0, "{stdout:?}: {}", held.stderr);
        assert_said(&held, stdout);
        for (line, code) in [
            ("pause reviews -o yaml", 0),
            ("abort reviews", 0),
            ("promote reviews", 1),
        ] {
            let ran = run(&shop, line, &[], stdout).await;
            assert_eq!(ran.code, code, "{line} {stdout:?}: {}", ran.stderr);
            if code == 0 {
                assert_said(&ran, stdout);
            }
        }
        shop.break_canary();
        for format in ["", " -o json"] {
            let line = format!("start reviews{format}");
            let ran = run(&shop, &line, &shop.brief(), stdout).await;
            assert_eq!(ran.code, 10, "{line} {stdout:?}: {}", ran.stderr);
            assert_said(&ran, stdout);
            assert_eq!(shop.reviews()["spec"], before);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_rollback_is_20_whoever_reads() {
    for stdout in Stdout::ALL {
        let shop = Shop::open().await;
        shop.break_canary();
        shop.world.faults().istiod_down(|rule| rule.after(1));
        let line = "start reviews --steps 20:60s,100 --rollback-timeout 2s";
        let ran = run(&shop, line, &shop.brief(), stdout).await;
        assert_eq!(ran.code, 20, "{stdout:?}: {}", ran.stderr);
        assert_said(&ran, stdout);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_into_a_closed_pipe_is_quiet_and_into_a_full_disk_an_error() {
    let shop = Shop::open().await;
    let brief = shop.brief();
    let held = shop
        .run("start reviews --no-wait --steps 20,100", &brief)
        .await;
    assert_eq!(held.code, 0, "{}", held.stderr);
    shop.break_canary();
    // Until there is enough of it for a verdict.
    while shop.run("analyze reviews", &[]).await.code != 10 {}
    for line in [
        "status reviews",
        "status reviews -o json",
        "list",
        "list -o yaml",
        "analyze reviews",
        "abort reviews --dry-run",
        "rbac",
        "schema",
        "schema event",
        "simulate --runs 5",
        "status reviews --watch",
        "list --watch",
        "--help",
        "--version",
    ] {
        let watched = line.ends_with("--watch");
        let expected = if watched {
            0
        } else {
            shop.run(line, &[]).await.code
        };
        let (closed, full) = if watched {
            // It is noticed at the next change.
            let changes = async {
                for verb in ["pause", "abort"] {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    let _ = shop.run(&format!("{verb} reviews"), &[]).await;
                }
                let _ = shop
                    .run("start reviews --no-wait --steps 20,100", &brief)
                    .await;
                tokio::time::sleep(Duration::from_millis(500)).await;
                let _ = shop.run("pause reviews", &[]).await;
            };
            let both = async {
                tokio::join!(
                    run(&shop, line, &[], Stdout::Closed),
                    run(&shop, line, &[], Stdout::FullDisk)
                )
            };
            tokio::join!(both, changes).0
        } else {
            (
                run(&shop, line, &[], Stdout::Closed).await,
                run(&shop, line, &[], Stdout::FullDisk).await,
            )
        };
        assert_eq!(closed.code, expected, "{line}: {}", closed.stderr);
        assert!(!closed.stderr.contains("pipe"), "{line}: {}", closed.stderr);
        let error = if expected == 0 { 1 } else { expected };
        assert_eq!(full.code, error, "{line}: {}", full.stderr);
        let said = "error: cannot write the output: no space left on device";
        assert!(full.stderr.contains(said), "{line}: {}", full.stderr);
    }
}
