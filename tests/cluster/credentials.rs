//! A token that dies in the middle of a rollout, and a plugin that gives another.

use std::path::Path;
use std::time::Duration;

use kube::config::{AuthInfo, Kubeconfig};
use serde_json::json;

use crate::app::App;
use crate::detached;
use crate::stack::Stack;

/// How long the API server believes a token that it has checked: its cache lasts ten seconds.
const BELIEVED: Duration = Duration::from_secs(15);

/// A token that lives as long as the Secret of this name.
fn token_bound_to(app: &App, secret: &str) -> String {
    let kubectl = |words: &[&str]| {
        let ran = std::process::Command::new(&app.stack.description.kubectl)
            .arg("--kubeconfig")
            .arg(&app.stack.description.kubeconfig.admin)
            .args(["-n", &app.namespace])
            .args(words)
            .output()
            .expect("kubectl is there");
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).expect("kubectl writes text")
    };
    kubectl(&["create", "secret", "generic", secret]);
    let bound = [
        "--bound-object-kind",
        "Secret",
        "--bound-object-name",
        secret,
    ];
    let words = [&["create", "token", "kubectl-canary"][..], &bound].concat();
    kubectl(&words).trim().to_owned()
}

/// The stack's kubeconfig with a user whose plugin prints the file `credential` in this folder.
fn write_kubeconfig(app: &App, folder: &Path) {
    let admin = &app.stack.description.kubeconfig.admin;
    let mut config = Kubeconfig::read_from(admin).expect("the stack has kubeconfigs");
    let exec = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "cat",
        "args": [folder.join("credential")],
    }});
    let user: AuthInfo = serde_json::from_value(exec).expect("a user");
    config.auth_infos[0].auth_info = Some(user);
    let text = serde_json::to_string(&config).expect("a kubeconfig is plain data");
    std::fs::write(folder.join("kubeconfig"), text).expect("the folder is ours");
}

fn write_token(folder: &Path, token: &str) {
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token},
    });
    std::fs::write(folder.join("credential"), credential.to_string()).expect("the folder is ours");
}

/// Takes the first token away at 20 %, and has the plugin print the second a while later.
async fn replace_the_token(app: &App, folder: &Path) {
    let secrets = app.stack.api("v1", "Secret", &app.namespace);
    let deleted = secrets.delete("first", &Default::default()).await;
    deleted.expect("it was made");
    tokio::time::sleep(BELIEVED).await;
    write_token(folder, &token_bound_to(app, "second"));
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_rollout_goes_on_with_another_token() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "token").await;
    detached::grant(&app, "").await;
    let _load = app.load().rate(200.0).start();
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    write_kubeconfig(&app, folder.path());
    write_token(folder.path(), &token_bound_to(&app, "first"));
    let words = format!(
        "--steps 20:30s,100 --prometheus {}",
        stack.description.prometheus.url
    );
    let mut driver = app
        .rollout(&words)
        .with_kubeconfig(folder.path().join("kubeconfig"))
        .launch();
    driver.until_flowing_at("20").await;
    replace_the_token(&app, folder.path()).await;
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_rollback_waits_for_another_token() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "token-back").await;
    let before = app.spec().await;
    detached::grant(&app, "").await;
    let _load = app.load().rate(200.0).start();
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    write_kubeconfig(&app, folder.path());
    write_token(folder.path(), &token_bound_to(&app, "first"));
    let words = format!(
        "--steps 20:60s,100 --prometheus {}",
        stack.description.prometheus.url
    );
    let mut driver = app
        .rollout(&words)
        .with_kubeconfig(folder.path().join("kubeconfig"))
        .launch();
    driver.until_flowing_at("20").await;
    let secrets = app.stack.api("v1", "Secret", &app.namespace);
    let deleted = secrets.delete("first", &Default::default()).await;
    deleted.expect("it was made");
    tokio::time::sleep(BELIEVED).await;
    app.behave("v2", json!({"errors": 0.5})).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    write_token(folder.path(), &token_bound_to(&app, "second"));
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    app.is_restored_to(&before).await;
    app.finish().await;
}
