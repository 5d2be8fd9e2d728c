//! A command of the user's, run by a shell: bounded in what it prints, and gone with all that it started when
//! nobody waits for it any more, as after its time.

use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::foreign_text::root_cause;

/// What is shown of its output, in bytes: it waits in memory where a terminal stands still.
const SHOWN: usize = 64 * 1024;
/// The longest line that is kept whole, in bytes.
const LINE: usize = 4 * 1024;
/// How long output is read on that something else holds open when the command itself has ended.
const REST: Duration = Duration::from_millis(500);

/// The variables with which a user logs in elsewhere; no command gets them by the way.
const SECRETS: [&str; 2] = ["KUBECTL_CANARY_PROMETHEUS_", "KUBECTL_CANARY_NOTIFY_URL"];

/// A command to be run.
#[derive(Clone, Debug)]
pub(crate) struct Hook<'a> {
    /// What `sh -c` takes.
    pub command: &'a str,
    /// Variables beside those of this process.
    pub environment: Vec<(&'static str, String)>,
}

/// Why a command did not succeed; what comes after its name in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HookError {
    /// There is no shell, or no process to be had.
    #[error("cannot be run: {0}")]
    NotStarted(String),
    /// It ended with something else than 0.
    #[error("failed ({0})")]
    Failed(ExitStatus),
}

impl Hook<'_> {
    /// Runs it to its end, and passes each line that it prints on to `tell`. Without anybody waiting for the
    /// answer it is killed, and so is every process of its group.
    ///
    /// # Errors
    /// If it does not end with 0.
    pub async fn run(&self, tell: &(dyn Fn(&str) + Sync)) -> Result<(), HookError> {
        let not_started = |error: std::io::Error| HookError::NotStarted(root_cause(&error));
        let mut child = self.process().spawn().map_err(not_started)?;
        #[cfg(unix)]
        let mut group = ProcessGroup::of(&child);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let left = AtomicUsize::new(SHOWN);
        let status = {
            let said = async { tokio::join!(pass_on(out, &left, tell), pass_on(err, &left, tell)) };
            let mut said = std::pin::pin!(said);
            let ended = tokio::select! {
                _ = &mut said => None,
                status = child.wait() => Some(status),
            };
            match ended {
                None => child.wait().await,
                Some(status) => {
                    let _ = timeout(REST, said).await;
                    status
                }
            }
        };
        let status = status.map_err(not_started)?;
        // Its number may be another's from now on; what it left running on purpose runs on.
        #[cfg(unix)]
        group.forget();
        match status.success() {
            true => Ok(()),
            false => Err(HookError::Failed(status)),
        }
    }

    fn process(&self) -> Command {
        #[cfg(unix)]
        let (shell, flag) = ("sh", "-c");
        #[cfg(not(unix))]
        let (shell, flag) = ("cmd", "/C");
        let mut process = Command::new(shell);
        process.args([flag, self.command]);
        for (name, _) in std::env::vars_os() {
            let is_secret = |start: &&str| name.to_string_lossy().starts_with(*start);
            if SECRETS.iter().any(is_secret) {
                process.env_remove(name);
            }
        }
        process
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C is for the rollout, which ends the command itself.
        #[cfg(unix)]
        process.process_group(0);
        process
    }
}

/// Reads a stream to its end, however much there is, and shows as much of it as is left.
async fn pass_on(
    stream: Option<impl AsyncRead + Unpin>,
    left: &AtomicUsize,
    tell: &(dyn Fn(&str) + Sync),
) {
    let Some(mut stream) = stream else {
        return;
    };
    let say = |line: &mut Vec<u8>| {
        // Its own words: what only looks like a secret is not masked.
        let text = String::from_utf8_lossy(line).into_owned();
        let before = left.load(Ordering::Relaxed);
        let after = before.saturating_sub(line.len() + 1);
        left.store(after, Ordering::Relaxed);
        line.clear();
        match (before, after) {
            (0, _) => {}
            (_, 0) => tell("(the rest of its output is not shown)"),
            _ => tell(&text),
        }
    };
    let (mut line, mut chunk) = (Vec::new(), [0; LINE]);
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        for byte in &chunk[..length] {
            match byte {
                b'\n' => say(&mut line),
                byte if line.len() < LINE => line.push(*byte),
                _ => {}
            }
        }
    }
    if !line.is_empty() {
        say(&mut line);
    }
}

/// A process and all that it started, killed together unless it has ended before.
#[cfg(unix)]
struct ProcessGroup(Option<rustix::process::Pid>);

#[cfg(unix)]
impl ProcessGroup {
    /// That of a child that is the first of its group.
    fn of(child: &tokio::process::Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(rustix::process::Pid::from_raw))
    }

    fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(unix)]
impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // What is gone already needs no signal.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

// Whether a process is running is read from /proc.
#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// How it ended, if it did within this time, and what it said.
    async fn run(command: &str, within: Duration) -> (Option<Result<(), HookError>>, Vec<String>) {
        let said = Mutex::new(Vec::new());
        let hook = Hook {
            command,
            environment: vec![("KUBECTL_CANARY_NAME", "reviews".into())],
        };
        let tell = |line: &str| said.lock().unwrap().push(line.to_owned());
        let ended = timeout(within, hook.run(&tell)).await.ok();
        (ended, said.into_inner().unwrap())
    }

    /// The number that a command printed, and whether a process of that number is running.
    fn is_running(said: &[String]) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", said[0]));
        // One that nobody has waited for yet is no process any more.
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn ends(said: &[String]) {
        for _ in 0..200 {
            if !is_running(said) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{said:?} is still running");
    }

    #[tokio::test]
    async fn its_lines_are_passed_on_and_its_status_is_the_answer() {
        let (ended, said) = run("echo $KUBECTL_CANARY_NAME; printf last", SOON).await;
        assert_eq!(
            (ended, said),
            (Some(Ok(())), vec!["reviews".into(), "last".into()])
        );
        let (ended, said) = run("echo no >&2; exit 3", SOON).await;
        let why = ended.unwrap().unwrap_err().to_string();
        assert_eq!(why, "failed (exit status: 3)");
        assert_eq!(said, ["no"]);
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_any_longer_is_killed_with_what_it_started() {
        let (ended, said) = run("sleep 300 & echo $!; wait", Duration::from_secs(3)).await;
        assert_eq!(ended, None);
        ends(&said).await;
    }

    #[tokio::test]
    async fn output_without_end_is_read_and_not_kept() {
        let (ended, said) = run("yes 0123456789 | head -c 3000000; echo end", SOON).await;
        assert_eq!(ended, Some(Ok(())));
        let kept: usize = said.iter().map(String::len).sum();
        assert!(kept <= SHOWN, "{kept}");
        assert_eq!(
            said.last().unwrap(),
            "(the rest of its output is not shown)"
        );
    }

    #[tokio::test]
    async fn what_it_leaves_running_on_purpose_keeps_nobody_waiting() {
        let began = Instant::now();
        let (ended, said) = run("sleep 30 & echo $!", SOON).await;
        assert_eq!(ended, Some(Ok(())));
        assert!(began.elapsed() < Duration::from_secs(20));
        assert!(is_running(&said));
    }
}
