//! A command that prints a token: `oc whoami -t`, `gcloud auth print-access-token`, or a credential plugin.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use super::access_error::AccessError;
use super::token_cache::FetchedToken;
use crate::foreign_text::root_cause;

/// How long the command may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The words of a command, as a shell would split them; there is no shell.
#[derive(Clone)]
pub(super) struct TokenCommand(Vec<String>);

/// What a credential plugin of kubectl prints.
#[derive(Deserialize)]
struct PluginOutput {
    status: PluginToken,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PluginToken {
    token: String,
    expiration_timestamp: Option<String>,
}

/// What the tools of clouds and token endpoints print.
#[derive(Deserialize)]
struct CloudOutput {
    #[serde(alias = "accessToken")]
    access_token: String,
    /// Seconds since 1970.
    expires_on: Option<i64>,
    /// Seconds from now on.
    expires_in: Option<u64>,
}

impl TokenCommand {
    /// # Errors
    /// If a quote is not closed, or no word stands there.
    pub(super) fn parse(line: &str) -> Result<Self, AccessError> {
        let words = shlex::split(line).filter(|words| !words.is_empty());
        words.map(Self).ok_or_else(|| AccessError {
            what: "--prometheus-token-command is empty or has a quote that is not closed".into(),
            fix: "--prometheus-token-command 'oc whoami -t'".into(),
        })
    }

    /// Runs it. Nothing that it prints is shown, since that may be the token.
    ///
    /// # Errors
    /// Names the program without its path and arguments, and how it ended.
    pub(super) async fn run(self) -> Result<FetchedToken, AccessError> {
        let (program, arguments) = self.0.split_first().expect("a command has a word");
        let name = Path::new(program).file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        let failed = |how: String| AccessError {
            what: format!("--prometheus-token-command: {name} {how}"),
            fix: "the same command in this shell, to see what it prints".into(),
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        // Ctrl-C ends the rollout, which may need the token for its last look.
        #[cfg(unix)]
        command.process_group(0);
        let output = timeout(DEADLINE, command.output())
            .await
            .map_err(|_| failed(format!("has not ended after {}s", DEADLINE.as_secs())))?
            .map_err(|error| failed(format!("cannot be run: {}", root_cause(&error))))?;
        if !output.status.success() {
            return Err(failed(format!("failed ({})", output.status)));
        }
        let printed = std::str::from_utf8(&output.stdout).unwrap_or_default();
        read(printed.trim())
            .ok_or_else(|| failed("prints neither a token nor JSON that holds one".into()))
    }
}

/// The token in what was printed: alone on its line, in an ExecCredential, or as clouds print it.
fn read(printed: &str) -> Option<FetchedToken> {
    if let Ok(PluginOutput { status }) = serde_json::from_str::<PluginOutput>(printed) {
        let end = status.expiration_timestamp;
        let end = end.and_then(|end| end.parse::<Timestamp>().ok());
        let lasts = end.map(|end| end.duration_since(Timestamp::now()));
        return Some(FetchedToken {
            token: status.token,
            lasts: lasts.map(|lasts| Duration::try_from(lasts).unwrap_or_default()),
        });
    }
    if let Ok(output) = serde_json::from_str::<CloudOutput>(printed) {
        let until = |end: i64| {
            let left = end - Timestamp::now().as_second();
            Duration::from_secs(left.try_into().unwrap_or(0))
        };
        let lasts = output.expires_in.map(Duration::from_secs);
        return Some(FetchedToken {
            token: output.access_token,
            lasts: lasts.or(output.expires_on.map(until)),
        });
    }
    let is_token = !printed.is_empty() && printed.bytes().all(|byte| byte.is_ascii_graphic());
    (is_token && !printed.starts_with(['{', '<'])).then(|| FetchedToken {
        token: printed.to_owned(),
        lasts: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(line: &str) -> Result<FetchedToken, String> {
        let command = TokenCommand::parse(line).map_err(|error| error.to_string())?;
        command.run().await.map_err(|error| error.to_string())
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_token_is_what_stands_alone_or_in_an_exec_credential() {
        assert_eq!(run("echo 'abc.def'").await.unwrap().token, "abc.def");
        let plugin = r#"echo '{"kind":"ExecCredential","status":{"token":"abc","expirationTimestamp":"2999-01-01T00:00:00Z"}}'"#;
        let fetched = run(plugin).await.unwrap();
        assert_eq!(fetched.token, "abc");
        assert!(fetched.lasts.unwrap() > Duration::from_secs(3600));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_the_tools_of_clouds_print_as_json_is_read() {
        // `az account get-access-token`, whose `expiresOn` is in local time.
        let of_azure = r#"echo '{"accessToken":"abc","expiresOn":"2999-01-01 00:00:00.000000","expires_on":32472144000,"tokenType":"Bearer"}'"#;
        let fetched = run(of_azure).await.unwrap();
        assert_eq!(fetched.token, "abc");
        assert!(fetched.lasts.unwrap() > Duration::from_secs(3600));
        // As a token endpoint answers.
        let of_endpoint =
            r#"echo '{"access_token":"abc","expires_in":3599,"token_type":"Bearer"}'"#;
        let fetched = run(of_endpoint).await.unwrap();
        assert_eq!(fetched.token, "abc");
        assert_eq!(fetched.lasts, Some(Duration::from_secs(3599)));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_gives_no_token_is_told_without_what_it_printed() {
        for (line, expected) in [
            ("", "is empty"),
            ("sh -c 'echo", "a quote that is not closed"),
            (
                "/none/hunter --password hunter2",
                "hunter cannot be run: no such file",
            ),
            ("sh -c 'echo hunter2; exit 3'", "sh failed (exit status: 3)"),
            ("echo hunter2 hunter2", "prints neither"),
            ("echo '{\"token\":\"hunter2\"}'", "prints neither"),
            ("true", "prints neither"),
        ] {
            let Err(error) = run(line).await else {
                panic!("{line} gives a token");
            };
            assert!(error.contains(expected), "{line}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
