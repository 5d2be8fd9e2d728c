//! What the TAB key offers, asked for as kubectl does it: the program under its other name, with the words
//! after `canary`.

use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::harness::{Ran, Shop};

impl Shop {
    /// The completer's answer to these words, the last of which may be empty.
    async fn completes(&self, line: &str) -> Vec<String> {
        let name = self.folder().join("kubectl_complete-canary");
        if !name.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kubectl-canary"), &name).unwrap();
        }
        let mut program = Command::new(name);
        program
            .args(line.split(' '))
            .env("KUBECONFIG", self.folder().join("kubeconfig"))
            .env("XDG_STATE_HOME", self.state());
        let Ran {
            code,
            stdout,
            stderr,
        } = Self::ran(program).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{line}");
        let value = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        stdout.lines().map(value).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_come_from_the_cluster_and_the_kubeconfig() {
    let shop = Shop::open().await;
    for (line, expected) in [
        ("start rev", "reviews"),
        ("start -n shop rev", "reviews"),
        ("start vs/rev", "vs/reviews"),
        ("status --watch rev", "reviews"),
        ("start reviews --canary v2", "v2"),
        ("start reviews --stable=v1", "v1"),
        ("start reviews --route prim", "primary"),
        ("start --also rev", "reviews"),
        ("start --also x,rev", "x,reviews"),
        ("list -n sho", "shop"),
    ] {
        assert_eq!(shop.completes(line).await, [expected, ":4"], "{line}");
    }
    let contexts = shop.completes("start --context ").await;
    assert_eq!(contexts.len(), 2, "{contexts:?}");
    let none = shop.completes("start -n nowhere ").await;
    assert_eq!(none, [":4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_in_progress_is_what_there_is_to_abort() {
    let shop = Shop::open().await;
    shop.world.set(|stage| {
        stage.apply(serde_json::json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "ratings", "namespace": "shop"},
            "spec": {
                "hosts": ["ratings"],
                "http": [{"route": [{"destination": {"host": "ratings"}}]}],
            },
        }));
    });
    let all = shop.completes("start ").await;
    assert_eq!(all, ["ratings", "reviews", ":4"]);
    let ran = shop
        .run("start reviews --no-wait --steps 20,100", &shop.brief())
        .await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(shop.completes("abort ").await, ["reviews", ":4"]);
    assert_eq!(shop.completes("start ").await, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_does_not_answer_keeps_nobody_waiting() {
    let shop = Shop::open().await;
    // Nothing listens there that would ever answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    let begun = Instant::now();
    let offered = shop.completes(&format!("abort --server {server} ")).await;
    assert_eq!(offered, [":4"]);
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_offered_where_it_is_on_record() {
    let shop = Shop::open().await;
    for run in ["first", "second"] {
        let line = format!("start reviews --no-wait --steps 50,100 --run-id {run}");
        let ran = shop.run(&line, &shop.brief()).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        if run == "first" {
            assert_eq!(shop.run("abort reviews", &[]).await.code, 0);
        }
    }
    let records = ["first", "second", ":4"];
    assert_eq!(shop.completes("report reviews --run ").await, records);
    assert_eq!(shop.completes("analyze reviews --run ").await, records);
    assert_eq!(
        shop.completes("abort reviews --run s").await,
        ["second", ":4"]
    );
    // What is left when the machine is gone.
    std::fs::remove_dir_all(shop.state()).unwrap();
    assert_eq!(shop.completes("report reviews --run ").await, records);
}
