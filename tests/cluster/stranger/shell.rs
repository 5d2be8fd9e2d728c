//! The one who reads, with a shell.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use regex::Regex;
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::load::{self, Load};
use crate::program::program;
use crate::stack::Stack;

/// Requests a second.
const RATE: f64 = 200.0;
/// How long a command may take; a rollout takes some forty seconds.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the requests flow before a rollout, so that there is something to compare with.
const WATCHED: Duration = Duration::from_secs(5);
/// Pods of each version, as the pages have it.
const REPLICAS: usize = 3;
/// The stranger's own file of defaults, which makes steps of seconds. Durations are left aside: one stall of a
/// machine on which everything runs at once would decide.
const DEFAULTS: &str = "{apiVersion: kubectl-canary.dev/v1, kind: Config, contexts: [
  {name: '*', spec: {preset: quicker, warmup: 0s, ignoreLatency: true}}]}";
/// An editor that makes the change in `$CHANGE`.
const EDITOR: &str = "#!/bin/sh
kubectl patch --local -f \"$1\" --type json -p \"$CHANGE\" -o yaml > \"$1.new\" && mv \"$1.new\" \"$1\"
";

/// Somebody with a shell, in a folder and a namespace of their own.
pub(crate) struct Stranger {
    stack: Stack,
    namespace: String,
    pub(crate) folder: TempDir,
    images: Regex,
}

/// A command that goes on in a terminal, in a group of its own, which ends with this value at the latest.
pub(crate) struct Terminal {
    child: Child,
    typed: String,
    said: TempDir,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let group = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Terminal {
    /// Waits for its end, which has this exit code; what it said on stdout.
    pub(crate) async fn ends(mut self, code: i32) -> String {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let said = |name: &str| {
            let said = std::fs::read_to_string(self.said.path().join(name));
            said.expect("it is text")
        };
        let (stdout, stderr) = (said("stdout"), said("stderr"));
        println!("$ {}\n{stdout}{stderr}", self.typed);
        let status = ended.expect("it ends in time");
        let status = status.expect("it can be waited for");
        assert_eq!(
            status.code(),
            Some(code),
            "$ {}\n{stdout}{stderr}",
            self.typed
        );
        stdout
    }
}

impl Stranger {
    pub(crate) async fn arrive(name: &str) -> Self {
        let stack = Stack::open().await;
        let namespace = format!("{name}-{}", std::process::id());
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        stack.apply(&object).await.expect("it is a namespace");
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("defaults.yaml"), DEFAULTS).expect("the folder is ours");
        std::fs::write(file("editor"), EDITOR).expect("the folder is ours");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(file("editor"), executable).expect("the file is ours");
        Self {
            stack,
            namespace,
            folder,
            images: Regex::new(r"registry\.example\.com/reviews:(\d+)\.0").expect("it is one"),
        }
    }

    /// What a page says, as it is here: the pages' namespace is taken, and a pod of the stack is of the version
    /// that its image's tag says.
    pub(crate) fn here(&self, text: &str) -> String {
        let text = text.replace("-n shop", &format!("-n {}", self.namespace));
        let text = text.replace("namespace: shop", &format!("namespace: {}", self.namespace));
        self.images
            .replace_all(&text, "stack/reviews:v$1")
            .into_owned()
    }

    /// Types a command, and leaves it running.
    pub(crate) fn begins(&self, command: &str) -> Terminal {
        self.begins_with(command, ("RUN_ID", "job-1"))
    }

    pub(crate) fn begins_with(&self, command: &str, variable: (&str, &str)) -> Terminal {
        let typed = self.here(command);
        let said = tempfile::tempdir().expect("there is a folder for temporary files");
        let file = |name: &str| File::create(said.path().join(name)).expect("the folder is ours");
        let description = &self.stack.description;
        let kubectl = description.kubectl.parent().expect("it is in a folder");
        let program = program();
        let plugin = program.parent().expect("it is in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{}:{path}", plugin.display(), kubectl.display());
        let child = Command::new("sh")
            .args(["-c", &typed])
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("KUBECONFIG", &description.kubeconfig.admin)
            .env(
                "KUBECTL_CANARY_CONFIG",
                self.folder.path().join("defaults.yaml"),
            )
            .env("KUBE_EDITOR", self.folder.path().join("editor"))
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env(variable.0, variable.1)
            .env_remove("KUBECTL_CANARY_PROMETHEUS_URL")
            .env_remove("CI")
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .process_group(0)
            .spawn()
            .expect("there is a shell");
        Terminal { child, typed, said }
    }

    /// Types a command and waits for its end; what it said on stdout.
    pub(crate) async fn types(&self, command: &str) -> String {
        self.begins(command).ends(0).await
    }

    /// Applies what a page shows.
    pub(crate) fn applies(&self, yaml: &str) {
        let yaml = self.here(yaml);
        let applied = self.stack.kubectl("apply -f -", &yaml);
        let said = String::from_utf8_lossy(&applied.stderr).into_owned();
        assert!(applied.status.success(), "{said}\n{yaml}");
    }

    /// The first route's destinations with their weights.
    pub(crate) async fn route(&self) -> Vec<(String, i64)> {
        let routes = self.stack.virtual_services(&self.namespace);
        let vs = routes.get("reviews").await.expect("it was applied");
        let route = vs.data["spec"]["http"][0]["route"].as_array().cloned();
        let route = route.expect("it is a route").into_iter();
        route
            .map(|to| {
                let subset = to["destination"]["subset"].as_str().unwrap_or_default();
                (subset.to_owned(), to["weight"].as_i64().unwrap_or(0))
            })
            .collect()
    }

    pub(crate) async fn weight(&self, subset: &str) -> i64 {
        let route = self.route().await.into_iter();
        route
            .filter(|(of, _)| of == subset)
            .map(|(_, weight)| weight)
            .sum()
    }

    pub(crate) async fn until_weight(&self, subset: &str, least: i64) {
        let began = Instant::now();
        while self.weight(subset).await < least {
            assert!(began.elapsed() < PATIENCE, "{:?}", self.route().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn service(&self) -> String {
        format!("reviews.{}.svc.cluster.local", self.namespace)
    }

    /// Waits until the clients' sidecar knows the pods of a version.
    pub(crate) async fn sees_pods_of(&self, subset: &str) {
        self.types(&format!(
            "kubectl rollout status deployment/reviews-{subset} -n shop --timeout 60s"
        ))
        .await;
        let cluster = format!("80|{subset}|{}", self.service());
        let admin = &self.stack.description.client.admin;
        self.stack.await_endpoints(admin, &cluster, REPLICAS).await;
    }

    /// Sends requests as a client in the mesh does.
    pub(crate) async fn load(&self) -> load::Running {
        let client = &self.stack.description.client;
        let cluster = format!("80|v1|{}", self.service());
        self.stack.await_route(&client.admin, &cluster).await;
        let load = Load::new(&client.http, &self.service()).rate(RATE).start();
        tokio::time::sleep(WATCHED).await;
        load
    }

    /// Changes an object in the editor, as a command opens it.
    pub(crate) async fn edits(&self, command: &str, change: &Value) {
        let change = change.to_string();
        self.begins_with(command, ("CHANGE", &change)).ends(0).await;
    }

    pub(crate) async fn leaves(self) {
        let path = format!("/namespaces/{}", self.namespace);
        self.stack
            .control(Method::DELETE, &path, &Value::Null)
            .await;
        let delete = format!("delete namespace {} --wait=false", self.namespace);
        self.stack.kubectl(&delete, "");
    }
}
