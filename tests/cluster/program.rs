//! `kubectl canary` as a child process, and what it says and does.

use std::fs::{self, File};
use std::io::{PipeReader, pipe};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use kubectl_canary::rollout::{Event, EventKind};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::stack::Description;

/// How long a process may run unless it is given more, far longer than most should.
const PATIENCE: Duration = Duration::from_secs(120);

/// Names another build of the program, for measuring one that is optimized.
const PROGRAM: &str = "KUBECTL_CANARY_PROGRAM";

/// How often what a process wrote is looked at.
const POLL: Duration = Duration::from_millis(20);

/// A process that is not started yet.
pub(crate) struct Program {
    program: PathBuf,
    words: Vec<String>,
    kubeconfig: PathBuf,
    path: Option<String>,
    dev: PathBuf,
    patience: Duration,
    unread: bool,
    disk: Option<PathBuf>,
}

/// A process in a group of its own, which ends with this value at the latest.
pub(crate) struct Running {
    child: Child,
    group: u32,
    folder: TempDir,
    events: PathBuf,
    begun: Instant,
    patience: Duration,
    _unread: Option<PipeReader>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Nothing when a signal killed it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) events: Vec<Event>,
    pub(crate) took: Duration,
}

/// The program of this build, unless another is named.
pub(crate) fn program() -> PathBuf {
    let named = std::env::var_os(PROGRAM);
    named.map_or_else(
        || env!("CARGO_BIN_EXE_kubectl-canary").into(),
        PathBuf::from,
    )
}

impl Program {
    /// The program, as the administrator.
    pub(crate) fn new(description: &Description, namespace: &str, words: &str) -> Self {
        let words = words.split_whitespace().chain(["-n", namespace]);
        Self {
            program: program(),
            words: words.map(str::to_owned).collect(),
            kubeconfig: description.kubeconfig.admin.clone(),
            path: None,
            dev: description.kubeconfig.dev.clone(),
            patience: PATIENCE,
            unread: false,
            disk: None,
        }
    }

    /// The program with exactly these words.
    pub(crate) fn exactly(
        description: &Description,
        words: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            words: words.into_iter().collect(),
            ..Self::new(description, "", "")
        }
    }

    /// With a flag whose value has spaces.
    pub(crate) fn with(mut self, flag: &str, value: &str) -> Self {
        self.words.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// May run for so long.
    pub(crate) fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// With a full pipe for stderr, which nobody reads.
    pub(crate) fn unread(self) -> Self {
        Self {
            unread: true,
            ..self
        }
    }

    /// With its events, its record and its summary in this folder.
    pub(crate) fn writing_to(self, disk: &Path) -> Self {
        Self {
            disk: Some(disk.to_owned()),
            ..self
        }
    }

    /// As the user who may do nothing until a test grants it.
    pub(crate) fn by_dev(self) -> Self {
        Self {
            kubeconfig: self.dev.clone(),
            ..self
        }
    }

    /// With this kubeconfig.
    pub(crate) fn with_kubeconfig(self, kubeconfig: PathBuf) -> Self {
        Self { kubeconfig, ..self }
    }

    /// As people call it: kubectl finds the plugin on the PATH.
    pub(crate) fn through(self, kubectl: &Path) -> Self {
        let plugin = self.program.parent().expect("a program is in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let words = std::iter::once("canary".to_owned()).chain(self.words);
        Self {
            path: Some(format!("{}:{path}", plugin.display())),
            program: kubectl.to_owned(),
            words: words.collect(),
            ..self
        }
    }

    /// Starts it; its events go to a file.
    pub(crate) fn launch(self) -> Running {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let file = |name| File::create(folder.path().join(name)).expect("the folder is ours");
        let disk = self.disk.as_deref().unwrap_or(folder.path());
        let events = disk.join("events");
        let mut command = Command::new(&self.program);
        command
            .args(&self.words)
            .arg("--events")
            .arg(&events)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("XDG_STATE_HOME", disk.join("state"))
            .env_remove("KUBECTL_CANARY_PROMETHEUS_URL")
            .env_remove("CI")
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .process_group(0)
            .kill_on_drop(true);
        if let Some(disk) = &self.disk {
            command.arg("--summary").arg(disk.join("summary"));
        }
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let mut unread = None;
        if self.unread {
            let (reader, writer) = pipe().expect("there are pipes");
            fill(&writer).expect("a pipe takes bytes until it is full");
            command.stderr(writer);
            unread = Some(reader);
        }
        let child = command.spawn().expect("the program was built");
        Running {
            group: child.id().expect("it was not waited for yet"),
            child,
            folder,
            events,
            begun: Instant::now(),
            patience: self.patience,
            _unread: unread,
        }
    }

    /// Starts it and waits for its end.
    pub(crate) async fn run(self) -> Ended {
        self.launch().end().await
    }
}

impl Running {
    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.group
    }

    /// The events told so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        let text = text(&self.events);
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{line:?} is no event: {error}"))
            })
            .collect()
    }

    fn text(&self, name: &str) -> String {
        text(&self.folder.path().join(name))
    }

    /// Waits for an event; fails if the process ends without it.
    pub(crate) async fn until(&mut self, what: impl Fn(&EventKind) -> bool) -> Event {
        loop {
            let ended = self.child.try_wait().expect("it can be waited for");
            if let Some(event) = self.events().into_iter().find(|event| what(&event.event)) {
                return event;
            }
            let tale = || format!("{}{}", self.text("stdout"), self.text("stderr"));
            assert!(ended.is_none(), "it ended first: {ended:?}\n{}", tale());
            assert!(
                self.begun.elapsed() < self.patience,
                "not seen:\n{}",
                tale()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the canary has got requests at this percentage.
    pub(crate) async fn until_flowing_at(&mut self, percentage: &str) {
        self.until(|event| {
            matches!(event, EventKind::TrafficSeen { exposure, .. } if exposure.share().to_string() == percentage)
        })
        .await;
    }

    /// Sends a signal, by its name without `SIG`, to the whole group, as a terminal does.
    pub(crate) fn signal(&self, name: &str) {
        send(name, self.id());
    }

    /// Waits until it has ended.
    pub(crate) async fn over(&mut self) {
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends it as a power cut does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it was running");
    }

    /// Waits for its end, and says what it said.
    pub(crate) async fn end(self) -> Ended {
        let ended = self.wait().await;
        println!(
            "exit {:?} after {:?}\n{}{}",
            ended.code, ended.took, ended.stdout, ended.stderr
        );
        ended
    }

    /// Waits for its end.
    pub(crate) async fn wait(mut self) -> Ended {
        let left = self.patience.saturating_sub(self.begun.elapsed());
        let status = tokio::time::timeout(left, self.child.wait()).await;
        let (stdout, stderr) = (self.text("stdout"), self.text("stderr"));
        let status = status
            .unwrap_or_else(|_| panic!("it does not end:\n{stdout}{stderr}"))
            .expect("it can be waited for");
        Ended {
            code: status.code(),
            stdout,
            stderr,
            events: self.events(),
            took: self.begun.elapsed(),
        }
    }
}

fn text(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    String::from_utf8(bytes).expect("the program writes UTF-8")
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only while it was not waited for: the number may be somebody else's after that.
        if self.child.id().is_some() {
            send("KILL", self.group);
        }
    }
}

/// Writes until there is no room.
fn fill(pipe: &impl std::os::fd::AsFd) -> rustix::io::Result<()> {
    let flags = fcntl_getfl(pipe)?;
    fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
    for size in [4096, 1] {
        while rustix::io::write(pipe, &vec![b'.'; size]).is_ok() {}
    }
    fcntl_setfl(pipe, flags)
}

/// There is no call for this without `unsafe`, but every system has the command.
fn send(signal: &str, group: u32) {
    let sent = std::process::Command::new("kill")
        .args([&format!("-{signal}"), "--", &format!("-{group}")])
        .status();
    if !sent.as_ref().is_ok_and(std::process::ExitStatus::success) {
        eprintln!("SIG{signal} was not sent to {group}: {sent:?}");
    }
}

impl Ended {
    /// The percentages of the steps that were taken, in order.
    pub(crate) fn steps(&self) -> Vec<String> {
        let steps = self.events.iter().filter_map(|event| match &event.event {
            EventKind::StepStarted { exposure, .. } => Some(exposure.share().to_string()),
            _ => None,
        });
        steps.collect()
    }

    /// Whether an event was told.
    pub(crate) fn told(&self, what: impl Fn(&EventKind) -> bool) -> bool {
        self.events.iter().any(|event| what(&event.event))
    }
}
