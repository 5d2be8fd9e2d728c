//! Tokens that end before the rollout does, and plugins that are asked for others.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Ran, Shop};

/// A user whose plugin prints the token in the file `token`, notes each run, and hangs while there is a file
/// `hang`.
fn plugin_user(shop: &Shop) -> Value {
    let folder = shop.folder().display();
    let script = format!(
        "echo \"$KUBERNETES_EXEC_INFO\" >> {folder}/runs; \
         while [ -e {folder}/hang ]; do sleep 0.1; done; \
         echo '{{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{{\"token\":\"'$(cat {folder}/token)'\"}}}}'"
    );
    json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
        "interactiveMode": "IfAvailable",
    }})
}

fn write(shop: &Shop, name: &str, text: &str) {
    std::fs::write(shop.folder().join(name), text).unwrap();
}

fn canary_weight(shop: &Shop) -> Value {
    shop.reviews()["spec"]["http"][0]["route"][1]["weight"].clone()
}

async fn until_weight(shop: &Shop, weight: i64) {
    let began = Instant::now();
    while canary_weight(shop) != weight {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "never at {weight}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a rollout of four steps whose token is replaced at the first.
async fn with_a_token_that_is_replaced(shop: &Shop) -> Ran {
    write(shop, "token", "one");
    let flags = shop.brief();
    let driving = shop.run(
        "start reviews --preset quick --steps 20,40,60,80,100 --dwell 2s",
        &flags[4..],
    );
    let replacing = async {
        until_weight(shop, 20).await;
        shop.world.revoke("one");
        tokio::time::sleep(Duration::from_secs(1)).await;
        write(shop, "token", "two");
    };
    let (ran, ()) = tokio::join!(driving, replacing);
    let last = shop.world.calls().pop().expect("there were calls");
    assert_eq!(last.user, "two");
    ran
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_asked_again_when_its_token_is_revoked() {
    let shop = Shop::open().await;
    shop.log_in_as(&plugin_user(&shop));
    let ran = with_a_token_that_is_replaced(&shop).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let runs = std::fs::read_to_string(shop.folder().join("runs")).unwrap();
    let runs: Vec<_> = runs.lines().collect();
    assert!((2..=5).contains(&runs.len()), "{} runs", runs.len());
    for request in runs {
        let request: Value = serde_json::from_str(request).unwrap();
        assert_eq!(request["spec"]["interactive"], false, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_file_is_read_again_when_its_token_is_revoked() {
    let shop = Shop::open().await;
    let file = shop.folder().join("token");
    shop.log_in_as(&json!({"tokenFile": file}));
    let ran = with_a_token_that_is_replaced(&shop).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_hangs_keeps_neither_signals_nor_the_rollback() {
    let shop = Shop::open().await;
    let before = shop.reviews()["spec"].clone();
    shop.log_in_as(&plugin_user(&shop));
    write(&shop, "token", "one");
    let flags = shop.brief();
    let line = "start reviews --preset quick --steps 20,100 --dwell 1m --step-timeout 5m --request-timeout 2s";
    let mut command = shop.program(line, &flags[4..]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until_weight(&shop, 20).await;
    write(&shop, "hang", "");
    shop.world.revoke("one");
    // Long enough for the plugin to be asked, and to hang.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let runs = std::fs::read_to_string(shop.folder().join("runs")).unwrap();
    assert_eq!(runs.lines().count(), 2, "{runs}");
    let pid = child.id().unwrap().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(sent.unwrap().success());
    tokio::time::sleep(Duration::from_secs(1)).await;
    shop.world.accept("one");
    let began = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output()).await;
    let ran = Ran::from(ended.expect("it ends").unwrap());
    assert_eq!(ran.code, 11, "{}", ran.stderr);
    assert!(began.elapsed() < Duration::from_secs(8), "{}", ran.stderr);
    assert_eq!(shop.reviews()["spec"], before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_credentials_stay_refused_learns_why() {
    let shop = Shop::open().await;
    write(&shop, "token", "one");
    shop.log_in_as(&json!({"tokenFile": shop.folder().join("none")}));
    let ran = shop.run("status reviews", &[]).await;
    assert_eq!(ran.code, 1);
    let expected = "error: cannot get credentials for the API server: cannot read token file";
    assert!(ran.stderr.starts_with(expected), "{}", ran.stderr);

    shop.log_in_as(&json!({"token": "one"}));
    shop.world.revoke("one");
    let ran = shop.run("status reviews", &[]).await;
    assert_eq!(
        ran.stderr,
        "error: cannot get virtualservice shop/reviews: Unauthorized (try: log in again, or use another --context or --user)\n"
    );
}
