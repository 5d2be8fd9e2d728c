//! What is left of a run when it is over: its record, on this machine and in the cluster.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use kubectl_canary::sandbox::Denial;
use tokio::process::Command;

use crate::harness::{PROGRAM, Ran, Shop};

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

async fn rolled_back(shop: &Shop, line: &str, more: &[String]) -> Ran {
    shop.break_canary();
    let ran = shop
        .run(line, &[shop.brief(), more.to_vec()].concat())
        .await;
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    ran
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_on_record_here_and_in_the_cluster() {
    let shop = Shop::open().await;
    let summary = shop.folder().join("summary.md");
    let flag = ["--summary".into(), summary.display().to_string()];
    let ran = rolled_back(&shop, "start reviews --run-id job-7 --steps 50,100", &flag).await;
    assert!(
        !ran.stderr.contains("warning: the record"),
        "{}",
        ran.stderr
    );
    let markdown = std::fs::read_to_string(&summary).unwrap();
    assert!(
        markdown.starts_with("## ❌ shop/reviews: rolled back: "),
        "{markdown}"
    );

    let here = files(&shop.state());
    assert_eq!(here.len(), 1, "{here:?}");
    assert!(here[0].ends_with("shop/reviews/job-7.jsonl"), "{here:?}");
    // The same from what is left when the machine is gone.
    let both = shop.run("report reviews -o json", &[]).await;
    std::fs::remove_dir_all(shop.state()).unwrap();
    let copied = shop.run("report reviews -o json", &[]).await;
    assert_eq!(copied.stdout, both.stdout, "{}", copied.stderr);
    let list = shop.run("history reviews", &[]).await;
    assert_eq!(
        (list.code, list.stdout.lines().count()),
        (0, 2),
        "{}",
        list.stdout
    );
    let row = list.stdout.lines().nth(1).unwrap();
    assert!(row.contains("v1 -> v2") && row.ends_with("job-7"), "{row}");

    for (format, begins, holds) in [
        ("html", "<!DOCTYPE html>", "rollback threshold"),
        (
            "markdown",
            "## ❌ shop/reviews: rolled back",
            "| regressed |",
        ),
        ("junit", "<?xml ", "<failure message="),
        (
            "wide",
            "virtualservice.networking.istio.io/reviews -n shop",
            "regressed",
        ),
    ] {
        let ran = shop
            .run(&format!("report reviews --run job-7 -o {format}"), &[])
            .await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.starts_with(begins), "{}", ran.stdout);
        assert!(ran.stdout.contains(holds), "{format}: {}", ran.stdout);
    }
    let unknown = shop.run("report reviews --run job-8", &[]).await;
    assert_eq!(unknown.code, 2);
    assert!(
        unknown
            .stderr
            .contains("try: kubectl canary history reviews -n shop"),
        "{}",
        unknown.stderr
    );
    let none = shop.run("history ratings", &[]).await;
    assert_eq!(none.code, 2);
    assert!(
        none.stderr
            .contains("no run of shop/ratings is recorded here or in the cluster"),
        "{}",
        none.stderr
    );
}

/// The events of one process are a record as well, also of a run that is not over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_events_is_a_record() {
    let shop = Shop::open().await;
    let events = shop.folder().join("events.jsonl").display().to_string();
    let flag = ["--events".into(), events.clone()];
    rolled_back(
        &shop,
        "start reviews --steps 50,100 --keep-record none",
        &flag,
    )
    .await;
    assert!(files(&shop.state()).is_empty());
    let none = shop.run("history reviews", &[]).await;
    assert_eq!(none.code, 2, "{}", none.stdout);
    let report = shop
        .run(&format!("report --from-events {events}"), &[])
        .await;
    assert!(
        report.stdout.contains("rolled back: the canary was worse"),
        "{}{}",
        report.stdout,
        report.stderr
    );

    let lines = std::fs::read_to_string(&events).unwrap();
    let unfinished: Vec<_> = lines.lines().take(3).collect();
    std::fs::write(&events, unfinished.join("\n")).unwrap();
    let report = shop
        .run(&format!("report --from-events {events}"), &[])
        .await;
    assert!(
        report.stdout.contains("under way at 50 %"),
        "{}{}",
        report.stdout,
        report.stderr
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_kept_is_said_and_changes_nothing() {
    let shop = Shop::open().await;
    shop.world.deny(Denial::of("get", "configmaps"));
    // Where a file is, no directory can be made.
    std::fs::write(shop.state(), "in the way").unwrap();
    let ran = rolled_back(&shop, "start reviews --steps 50,100", &[]).await;
    assert_eq!(shop.canary(), 0);
    for said in [
        "is not in the cluster: cannot get configmap shop/kubectl-canary-history-reviews: ",
        "warning: the record of the run on this machine is not whole: ",
    ] {
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_has_no_such_form_is_refused_before_anything_is_done() {
    let shop = Shop::open().await;
    for format in ["html", "markdown", "junit"] {
        let ran = shop
            .run(
                &format!("start reviews --no-wait -o {format}"),
                &shop.brief(),
            )
            .await;
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(
            ran.stderr.contains("kubectl canary report NAME"),
            "{}",
            ran.stderr
        );
        assert_eq!(shop.canary(), 0);
    }
}

/// Ends by another command than the one that began it, and by none at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_run_that_ends_on_the_object_ends_in_its_record() {
    let shop = Shop::open().await;
    let rows = async || -> Vec<serde_json::Value> {
        let ran = shop.run("history reviews -o json", &[]).await;
        let list: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        list["items"].as_array().unwrap().clone()
    };
    let begun = async |run: &str| {
        let line = format!("start reviews --no-wait --steps 50,100 --run-id {run}");
        let ran = shop.run(&line, &shop.brief()).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(rows().await[0]["outcome"], serde_json::Value::Null);
    };
    begun("aborted").await;
    assert_eq!(shop.run("abort reviews", &[]).await.code, 0);
    assert_eq!(rows().await[0]["outcome"]["cause"], "request");
    // By a process that keeps no record, and with none in the cluster.
    begun("elsewhere").await;
    let ran = shop.run("abort reviews --keep-record none", &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(rows().await[0]["outcome"]["cause"], "request");
    begun("in-full").await;
    assert_eq!(shop.run("promote reviews --full", &[]).await.code, 0);
    let row = &rows().await[0];
    assert_eq!(row["outcome"]["kind"], "promoted", "{row:#}");
    let again = [
        "--run-id".into(),
        "again".into(),
        "--stable".into(),
        "v1".into(),
    ];
    let flags = [&again[..], &["--canary".into(), "v2".into()]].concat();
    let ran = shop
        .run("start reviews", &[shop.brief(), flags].concat())
        .await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let row = &rows().await[0];
    assert_eq!(row["run"], "again", "{row:#}");
    assert_eq!(row["outcome"]["kind"], "already-promoted", "{row:#}");
    assert_eq!(
        (&row["stable"], &row["canary"]),
        (&"v1".into(), &"v2".into())
    );
}

/// A finished run is judged at the weights that it set: today's have one version alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_run_is_analyzed_at_the_weights_of_its_time() {
    let shop = Shop::open().await;
    rolled_back(&shop, "start reviews --steps 50,100 --run-id job-7", &[]).await;
    let list = shop.run("history reviews -o json", &[]).await;
    let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    let row = &list["items"][0];
    let time = |key: &str| row[key].as_str().unwrap().to_owned();
    let at = ["--prometheus".into(), shop.prometheus()];
    let period = ["--from".into(), time("began"), "--to".into(), time("ended")];
    let of_run = ["--run".into(), "job-7".into()];
    for asked in [period.to_vec(), of_run.to_vec()] {
        let ran = shop
            .run("analyze reviews -o json", &[&at[..], &asked].concat())
            .await;
        let view: serde_json::Value = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", ran.stderr));
        assert_eq!(
            (ran.code, &view["verdict"]),
            (10, &"regressed".into()),
            "{view:#}"
        );
        assert_eq!(view["run"], "job-7", "{view:#}");
        assert_eq!(view["exposure"]["percent"], 50, "{view:#}");
        assert!(
            view["totalCounts"]["canary"]["requests"].as_u64() > Some(50),
            "{view:#}"
        );
    }
    let unknown = ["--run".into(), "job-8".into()];
    let ran = shop
        .run("analyze reviews", &[&at[..], &unknown].concat())
        .await;
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("kubectl canary history reviews -n shop"),
        "{}",
        ran.stderr
    );
}

/// The last rollout's reason and numbers are a part of its status, from wherever they are on record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_why_the_last_rollout_ended_as_it_did() {
    let shop = Shop::open().await;
    rolled_back(&shop, "start reviews --run-id job-7 --steps 50,100", &[]).await;
    let said = |ran: &Ran| {
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let line = |title: &str| {
            let lines = ran.stdout.lines();
            let mut found = lines.filter_map(|line| line.strip_prefix(title));
            found.next().map(|text| text.trim().to_owned())
        };
        (line("Reason:"), line("Requests:"), line("not read:"))
    };
    let here = said(&shop.run("status reviews", &[]).await);
    let (reason, requests, unread) = &here;
    assert!(
        reason.as_ref().unwrap().starts_with("regression evidence "),
        "{here:?}"
    );
    assert!(requests.as_ref().unwrap().contains(" failed"), "{here:?}");
    assert_eq!(*unread, None);
    // The end of a long record is enough.
    let file = files(&shop.state()).pop().unwrap();
    let record = std::fs::read_to_string(&file).unwrap();
    let look = record
        .lines()
        .find(|line| line.contains(r#""kind":"analyzed""#));
    let looks = format!("{}\n", look.unwrap()).repeat(1_000);
    let (first, rest) = record.split_once('\n').unwrap();
    std::fs::write(&file, format!("{first}\n{looks}{rest}")).unwrap();
    assert_eq!(said(&shop.run("status reviews", &[]).await), here);
    // The same where the machine is gone.
    std::fs::remove_dir_all(shop.state()).unwrap();
    assert_eq!(said(&shop.run("status reviews", &[]).await), here);
    shop.world.deny(Denial::of("get", "configmaps"));
    let (reason, requests, unread) = said(&shop.run("status reviews", &[]).await);
    assert_eq!((reason, requests), (None, None));
    assert!(unread.unwrap().contains("configmap"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_after_a_promotion_what_was_ruled_out() {
    let shop = Shop::open().await;
    let ran = shop
        .run("start reviews --steps 50,100", &shop.brief())
        .await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let status = shop.run("status reviews", &[]).await.stdout;
    let bound = "v2's error rate is at most 1.5x v1's + ";
    assert!(status.contains(bound), "{status}");
}

/// Who watches the demo tries the next commands in its cluster, and not on runs that are the user's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runs_of_the_demo_are_on_record_in_its_cluster_alone() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let told = folder.path().join("told");
    let program = |words: &str| {
        let mut command = Command::new(PROGRAM);
        command
            .args(words.split(' '))
            .env("XDG_STATE_HOME", &state)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    };
    let demo = program("demo --keep")
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&told).unwrap())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let last = "kubectl canary report reviews -o html";
    let said = loop {
        let said = std::fs::read_to_string(&told).unwrap();
        if said.contains(last) {
            break said;
        }
        assert!(began.elapsed() < Duration::from_secs(300), "{said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let export = "export KUBECONFIG=";
    let kubeconfig = said
        .lines()
        .find_map(|line| line.trim().strip_prefix(export));
    let ran = async |words: &str| {
        let mut program = program(words);
        program.env("KUBECONFIG", kubeconfig.unwrap());
        let ran = Shop::ran(program).await;
        assert_eq!(ran.code, 0, "{words}: {}", ran.stderr);
        ran.stdout
    };
    let list = ran("history reviews -o json").await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let runs = list["items"].as_array().unwrap().iter();
    let runs: Vec<_> = runs
        .map(|run| [&run["canary"], &run["outcome"]["kind"]].map(|text| text.as_str().unwrap()))
        .collect();
    assert_eq!(runs, [["v1", "rolled-back"], ["v2", "promoted"]]);
    let page = ran("report reviews -o html").await;
    assert!(page.contains("rollback threshold"), "{page}");
    assert!(files(&state).is_empty());
    drop(demo);
}
