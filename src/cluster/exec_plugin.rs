//! The credential plugin that a kubeconfig names.
//!
//! kube runs it on the thread of the runtime, without a deadline and several times for one client, and its
//! errors quote the command line and all that was printed. So it is run here.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use kube::config::{ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use super::call::spoken;
use crate::foreign_text::{keep_secret, root_cause};

/// How long a plugin may take that cannot wait for a person.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a plugin gave.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExecCredentials {
    pub token: Option<String>,
    /// In PEM.
    pub client_certificate_data: Option<String>,
    /// In PEM.
    pub client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

impl ExecCredentials {
    /// When they run out, if they say so.
    pub fn expire(&self) -> Option<Timestamp> {
        self.expiration_timestamp.as_deref()?.parse().ok()
    }
}

/// What a plugin prints; YAML as well as JSON, as client-go reads it.
#[derive(Deserialize)]
struct ExecCredential {
    status: Option<ExecCredentials>,
}

/// Runs the plugin. `attended` is whether a person at a terminal can answer it now: then it may take its
/// time, and what it says on stderr is between the two. Otherwise nothing that it prints is shown, and it
/// ends at a deadline.
///
/// # Errors
/// Names the plugin's command without its path and arguments, and how it ended.
pub(super) async fn run(exec: &ExecConfig, attended: bool) -> Result<ExecCredentials, String> {
    let program = exec.command.as_deref().unwrap_or_default();
    let name = Path::new(program).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    let interactive = match &exec.interactive_mode {
        Some(ExecInteractiveMode::Never) => false,
        Some(ExecInteractiveMode::Always) if !attended => {
            return Err(format!(
                "the credential plugin {name} needs a terminal (interactiveMode: Always)"
            ));
        }
        _ => attended,
    };
    let mut command = command(exec, program, interactive);
    let ended = async {
        let child = command.spawn()?;
        child.wait_with_output().await
    };
    let ended = match interactive {
        true => Ok(ended.await),
        false => timeout(DEADLINE, ended).await,
    };
    let output = ended
        .map_err(|_| {
            format!(
                "the credential plugin {name} has not ended after {}",
                spoken(DEADLINE)
            )
        })?
        .map_err(|error| {
            format!(
                "the credential plugin {name} cannot be run: {}",
                root_cause(&error)
            )
        })?;
    if !output.status.success() {
        return Err(format!(
            "the credential plugin {name} failed ({})",
            output.status
        ));
    }
    let printed = std::str::from_utf8(&output.stdout).unwrap_or_default();
    let credential = serde_saphyr::from_str::<ExecCredential>(printed).ok();
    let credentials = credential
        .and_then(|credential| credential.status)
        .ok_or_else(|| format!("the credential plugin {name} prints no ExecCredential"))?;
    for secret in [&credentials.token, &credentials.client_key_data] {
        secret.iter().for_each(|secret| keep_secret(secret));
    }
    Ok(credentials)
}

fn command(exec: &ExecConfig, program: &str, interactive: bool) -> Command {
    let mut spec = json!({"interactive": interactive});
    if let Some(cluster) = exec.cluster.as_ref().filter(|_| exec.provide_cluster_info) {
        spec["cluster"] = json!(cluster);
    }
    let request =
        json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec}).to_string();
    let given = exec.env.iter().flatten();
    let given = given.filter_map(|pair| pair.get("name").zip(pair.get("value")));
    let mut command = Command::new(program);
    command
        .args(exec.args.iter().flatten())
        .envs(given)
        .env("KUBERNETES_EXEC_INFO", request)
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if !interactive {
        command.stdin(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C ends the rollout, which needs the credentials for its rollback.
        #[cfg(unix)]
        command.process_group(0);
    }
    command
}
