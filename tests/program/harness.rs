//! A world served over loopback, and the program run against it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use kubectl_canary::clock::Clock;
use kubectl_canary::sandbox::{Served, World, fixtures};
use serde_json::Value;
use tokio::process::{Child, Command};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_kubectl-canary");

/// The shop, with a kubeconfig to reach it.
pub struct Shop {
    pub world: World,
    served: Served,
    folder: tempfile::TempDir,
}

/// The program while it runs.
pub struct Running(Child);

impl Running {
    /// Sends it a signal and waits for its end.
    pub async fn signal(self, name: &str) -> Ran {
        let process = self.0.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &process])
            .status();
        assert!(sent.unwrap().success());
        let ended = tokio::time::timeout(Duration::from_secs(60), self.0.wait_with_output());
        let ended = ended.await.expect("the program ends within a minute");
        ended.unwrap().into()
    }
}

/// How a run of the program went.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Shop {
    /// A busy shop: a thousand requests a second, scraped four times a second, for a second already.
    pub async fn open() -> Self {
        let world = World::new(Clock::System);
        world.set(|stage| {
            fixtures::shop(stage);
            stage.scrapes().every(SignedDuration::from_millis(250));
            stage.traffic().demand(fixtures::REVIEWS).per_second(1000.0);
        });
        let served = world.serve().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("kubeconfig"),
            served.kubeconfig_in("shop"),
        )
        .unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        Self {
            world,
            served,
            folder,
        }
    }

    /// The options that make a rollout brief.
    pub fn brief(&self) -> Vec<String> {
        let prometheus = self.served.prometheus_url();
        let flags = format!(
            "--preset quick --dwell 1s --warmup 0s --interval 500ms --prometheus {prometheus}"
        );
        flags.split(' ').map(str::to_owned).collect()
    }

    /// The URL of Prometheus.
    pub fn prometheus(&self) -> String {
        self.served.prometheus_url()
    }

    /// The URL of the API server.
    pub fn server(&self) -> String {
        format!("http://{}", self.served.addr)
    }

    /// Where the program keeps the user's state.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A folder for files of this test's.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The kubeconfig from now on has this user, in JSON.
    pub fn log_in_as(&self, user: &Value) {
        let anonymous = self.served.kubeconfig_in("shop");
        let kubeconfig = anonymous.replace("user: {}", &format!("user: {user}"));
        assert_ne!(kubeconfig, anonymous);
        std::fs::write(self.folder.path().join("kubeconfig"), kubeconfig).unwrap();
    }

    /// The program with these words, not started yet; it is killed when nobody waits for it any more.
    pub fn program(&self, line: &str, more: &[String]) -> Command {
        self.command(PROGRAM, line, more)
    }

    fn command(&self, program: &str, line: &str, more: &[String]) -> Command {
        let mut command = Command::new(program);
        command
            .args(line.split(' '))
            .args(more)
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .env("XDG_STATE_HOME", self.state())
            .env_remove("CI")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Begins to run the program with these words, and lets it come as far as its first call.
    pub async fn spawn(&self, line: &str, more: &[String]) -> Running {
        self.begin(self.program(line, more)).await
    }

    /// The same as `nohup` does it.
    pub async fn spawn_ignoring_hangup(&self, line: &str, more: &[String]) -> Running {
        let script = r#"trap "" HUP; exec "$0" "$@""#;
        let mut command = self.command("sh", "-c", &[script.to_owned(), PROGRAM.to_owned()]);
        command.args(line.split(' ')).args(more);
        self.begin(command).await
    }

    async fn begin(&self, mut command: Command) -> Running {
        let before = self.world.calls().len();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        self.until(|shop| shop.world.calls().len() > before).await;
        Running(child)
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "it never came to that"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs the program with these words and waits for its end.
    pub async fn run(&self, line: &str, more: &[String]) -> Ran {
        Self::ran(self.program(line, more)).await
    }

    /// Waits for the end of a program.
    pub async fn ran(mut program: Command) -> Ran {
        let output = tokio::time::timeout(Duration::from_secs(60), program.output()).await;
        output
            .expect("the program ends within a minute")
            .unwrap()
            .into()
    }

    /// From now on half of the canary's requests fail.
    pub fn break_canary(&self) {
        let mut traffic = self.world.traffic();
        traffic.version("shop", "reviews-v2").fails(0.5);
    }

    /// The canary's weight on the first route.
    pub fn canary(&self) -> u64 {
        let weight = &self.reviews()["spec"]["http"][0]["route"][1]["weight"];
        weight.as_u64().unwrap_or(0)
    }

    /// Waits until the canary has this weight on the first route.
    pub async fn until_canary_has(&self, weight: u64) {
        self.until(|shop| shop.canary() == weight).await;
    }

    /// The VirtualService as it is now.
    pub fn reviews(&self) -> Value {
        self.world
            .object("virtualservices", "shop", "reviews")
            .unwrap()
    }
}

/// Waits for the end of a program, which comes within this time.
pub async fn ended(child: Child, limit: Duration) -> Ran {
    let output = tokio::time::timeout(limit, child.wait_with_output()).await;
    output
        .unwrap_or_else(|_| panic!("the program does not end within {limit:?}"))
        .unwrap()
        .into()
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}
