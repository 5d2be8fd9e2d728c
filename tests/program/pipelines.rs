//! The shell parts of docs/pipelines.md and of the action, run by the shell that the CI runs them with.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::blocked_output::signal;
use crate::harness::{PROGRAM, Ran, Shop, ended};

const LIMIT: Duration = Duration::from_secs(60);
const GITHUB_DEFAULT: &[&str] = &["bash", "-e"];
const GITHUB_BASH: &[&str] = &["bash", "--noprofile", "--norc", "-eo", "pipefail"];
const GITLAB: &[&str] = &["bash", "-eo", "pipefail"];
const JENKINS: &[&str] = &["sh", "-xe"];
const SH: &[&str] = &["sh"];

type Environment = Vec<(String, String)>;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of the page with the heading above each.
fn blocks() -> Vec<(String, String)> {
    let page = file("docs/pipelines.md");
    let (mut blocks, mut heading, mut open) = (Vec::new(), String::new(), None);
    for line in page.lines() {
        match (&mut open, line.starts_with("```")) {
            (None, true) => open = Some(String::new()),
            (None, false) => {
                if let Some(text) = line.strip_prefix("## ") {
                    heading = text.to_owned();
                }
            }
            (Some(_), true) => blocks.extend(open.take().map(|text| (heading.clone(), text))),
            (Some(text), false) => *text += &format!("{line}\n"),
        }
    }
    blocks
}

/// The block whose first line is a comment with this name.
fn named(name: &str) -> String {
    let firsts = [format!("# {name}"), format!("// {name}")];
    let block = blocks().into_iter().find(|(_, text)| {
        firsts
            .iter()
            .any(|first| text.lines().next() == Some(first))
    });
    block.unwrap_or_else(|| panic!("no block {name}")).1
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&named(name)).unwrap()
}

/// The shell blocks under a heading.
fn shell_under(heading: &str) -> Vec<String> {
    let found: Vec<_> = blocks()
        .into_iter()
        .filter(|(above, _)| above == heading)
        .map(|(_, text)| text)
        .collect();
    assert!(!found.is_empty(), "nothing under {heading}");
    found
}

/// A piece of shell, and what its CI sets for it.
#[derive(Clone, Debug)]
struct Script {
    shell: &'static [&'static str],
    text: String,
    environment: Environment,
}

impl Script {
    fn new(shell: &'static [&'static str], text: impl Into<String>) -> Self {
        Self {
            shell,
            text: text.into(),
            environment: Vec::new(),
        }
    }

    /// With the variables of these maps, the last one first, where `known` says what the CI puts in.
    fn with(mut self, maps: &[&Value], known: &[(&str, &str)]) -> Self {
        for map in maps {
            for (name, value) in map.as_object().into_iter().flatten() {
                let template = value.as_str().unwrap();
                let (mut value, mut left) = (template.to_owned(), template.to_owned());
                for (word, text) in known {
                    value = value.replace(word, text);
                    left = left.replace(word, "");
                }
                let is_filled_in = !left.contains("{{") && !left.contains("$(");
                assert!(is_filled_in, "{template} is not filled in");
                self.environment.push((name.clone(), value));
            }
        }
        self
    }

    fn with_run(mut self, run: &str) -> Self {
        self.environment.push(("RUN_ID".into(), run.into()));
        self
    }
}

/// The steps of a pipeline: what starts, and what always runs.
struct Pipeline {
    start: Script,
    always: Vec<Script>,
}

/// A machine on which steps run, in front of the shop.
struct Runner {
    shop: Shop,
    bin: PathBuf,
}

impl Runner {
    async fn open() -> Self {
        let shop = Shop::open().await;
        let bin = shop.folder().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let runner = Self { shop, bin };
        // Steps of a second instead of ten.
        let brief = "--dwell 1s --warmup 0s --interval 500ms";
        runner.install(
            "kubectl-canary",
            &format!(
                "if [ \"$1\" = start ]; then shift; exec {PROGRAM} start {brief} \"$@\"; fi\nexec {PROGRAM} \"$@\""
            ),
        );
        runner.install(
            "kubectl",
            "[ \"$1\" = canary ] || exit 64\nshift\nexec kubectl-canary \"$@\"",
        );
        std::fs::write(runner.file("canary.yaml"), named("canary.yaml")).unwrap();
        runner
    }

    fn install(&self, name: &str, script: &str) {
        let path = self.bin.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.shop.folder().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    fn command(&self, script: &Script) -> Command {
        let path = tempfile::NamedTempFile::new_in(self.shop.folder()).unwrap();
        std::fs::write(path.path(), &script.text).unwrap();
        let (_, path) = path.keep().unwrap();
        let [shell, flags @ ..] = script.shell else {
            panic!("no shell");
        };
        let mut command = Command::new(shell);
        command
            .args(flags)
            .arg(path)
            .current_dir(self.shop.folder())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.bin.display()))
            .env("HOME", self.shop.folder())
            .env("KUBECONFIG", self.file("kubeconfig"))
            .env("XDG_STATE_HOME", self.shop.state())
            .env(
                "KUBECTL_CANARY_PROMETHEUS_URL",
                self.shop.brief().last().unwrap(),
            );
        for name in ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH"] {
            command.env(name, self.file(name));
        }
        for (name, value) in [
            ("GITHUB_RUN_ID", "4711"),
            ("GITHUB_RUN_ATTEMPT", "1"),
            ("RUNNER_OS", "Linux"),
            ("RUNNER_ARCH", "X64"),
        ] {
            command.env(name, value);
        }
        command
            .env("RUNNER_TEMP", self.shop.folder())
            .envs(script.environment.clone())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, script: &Script) -> Ran {
        Shop::ran(self.command(script)).await
    }

    /// Starts it and waits until it has shifted traffic.
    async fn begin(&self, script: &Script) -> Child {
        let mut command = self.command(script);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = child.spawn().unwrap();
        self.shop.until_canary_has(1).await;
        child
    }

    async fn ends_with(&self, script: &Script, code: i32) -> Ran {
        let ran = self.run(script).await;
        assert_eq!(ran.code, code, "{script:?}\n{}{}", ran.stdout, ran.stderr);
        ran
    }

    async fn all_end_well(&self, scripts: &[Script]) {
        for script in scripts {
            self.ends_with(script, 0).await;
        }
    }
}

/// What a pipeline without a gate promises.
async fn keeps_its_promises(pipeline: impl Fn(&str) -> Pipeline) {
    let is_promoted_once = async {
        let runner = Runner::open().await;
        for run in ["1", "2"] {
            let Pipeline { start, always } = pipeline(run);
            let ran = runner.ends_with(&start, 0).await;
            let again = ran
                .stdout
                .contains("already promoted, all traffic is on v2");
            assert_eq!(again, run == "2", "{}", ran.stdout);
            runner.all_end_well(&always).await;
            assert_eq!(runner.shop.canary(), 100);
        }
    };
    let is_rolled_back = async {
        let runner = Runner::open().await;
        runner.shop.break_canary();
        let before = runner.shop.reviews()["spec"].clone();
        let Pipeline { start, always } = pipeline("1");
        runner.ends_with(&start, 10).await;
        runner.all_end_well(&always).await;
        assert_eq!(runner.shop.reviews()["spec"], before);
    };
    let survives_its_runner = async {
        let runner = Runner::open().await;
        let before = runner.shop.reviews()["spec"].clone();
        let Pipeline { start, always } = pipeline("1");
        let child = runner.begin(&start).await;
        // The shell and the rollout, as when the machine is gone.
        for process in processes_below(child.id().unwrap()) {
            let process = rustix::process::Pid::from_raw(process).unwrap();
            let _ = rustix::process::kill_process(process, Signal::KILL);
        }
        ended(child, LIMIT).await;
        assert_ne!(runner.shop.reviews()["spec"], before);
        runner.all_end_well(&always).await;
        assert_eq!(runner.shop.reviews()["spec"], before);
    };
    tokio::join!(is_promoted_once, is_rolled_back, survives_its_runner);
}

/// A process and its children.
fn processes_below(parent: u32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let children = children.unwrap_or_default();
    let children = children
        .split_whitespace()
        .flat_map(|child| processes_below(child.parse().unwrap()));
    [parent.try_into().unwrap()]
        .into_iter()
        .chain(children)
        .collect()
}

/// A start that is the shell's last command rolls back on the signal that the shell gets.
async fn is_cancelled_by(name: Signal, start: &Script) {
    let runner = Runner::open().await;
    let before = runner.shop.reviews()["spec"].clone();
    let child = runner.begin(start).await;
    signal(&child, name);
    let ran = ended(child, LIMIT).await;
    assert_eq!(ran.code, 11, "{}", ran.stderr);
    assert_eq!(runner.shop.reviews()["spec"], before);
}

/// What a pipeline with a gate promises; `held` is the code of a job that waits.
async fn opens_its_gate(start: &Script, held: i32, promote: &Script, abort: &Script) {
    let approved = async {
        let runner = Runner::open().await;
        runner.ends_with(start, held).await;
        assert_eq!(runner.shop.canary(), 50);
        runner.ends_with(promote, 0).await;
        assert_eq!(runner.shop.canary(), 100);
        runner.ends_with(abort, 0).await;
        assert_eq!(runner.shop.canary(), 100);
    };
    let rejected = async {
        let runner = Runner::open().await;
        let before = runner.shop.reviews()["spec"].clone();
        runner.ends_with(start, held).await;
        runner.ends_with(abort, 0).await;
        assert_eq!(runner.shop.reviews()["spec"], before);
    };
    let worse = async {
        let runner = Runner::open().await;
        runner.shop.break_canary();
        runner.ends_with(start, 10).await;
        runner.ends_with(abort, 0).await;
    };
    tokio::join!(approved, rejected, worse);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_page_says_of_every_pipeline() {
    let always = shell_under("The step that always runs");
    let [abort, orphaned] = always.as_slice() else {
        panic!("{always:?}");
    };
    let start = &shell_under("Start")[0];
    keeps_its_promises(|run| Pipeline {
        start: Script::new(SH, start).with_run(&format!("job-{run}")),
        always: vec![
            Script::new(SH, abort).with_run(&format!("job-{run}")),
            Script::new(SH, orphaned),
        ],
    })
    .await;
    is_cancelled_by(Signal::TERM, &Script::new(SH, start).with_run("job-1")).await;

    let runner = Runner::open().await;
    let child = runner
        .begin(&Script::new(SH, start).with_run("job-1"))
        .await;
    let second = Script::new(SH, start).with_run("job-2");
    runner.ends_with(&second, 5).await;
    let other = Script::new(SH, abort).with_run("job-2");
    let ran = runner.ends_with(&other, 0).await;
    assert!(
        ran.stdout.contains("run job-1 is left alone"),
        "{}",
        ran.stdout
    );
    assert_ne!(runner.shop.canary(), 0);
    signal(&child, Signal::KILL);
    ended(child, LIMIT).await;
    let begun = std::time::Instant::now();
    while runner.run(&Script::new(SH, orphaned)).await.code != 3 {
        assert!(begun.elapsed() < LIMIT, "it is not found");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let id = Script::new(SH, abort).with_run("job-1");
    runner.ends_with(&id, 0).await;
    let ended_already = Script::new(SH, start).with_run("job-1");
    runner.ends_with(&ended_already, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_log_costs_no_exit_code() {
    for (index, text) in shell_under("A copy of the log").iter().enumerate() {
        let script = Script::new(GITHUB_DEFAULT, text).with_run("job-1");
        let runner = Runner::open().await;
        runner.shop.break_canary();
        runner.ends_with(&script, 10).await;
        let begun = std::time::Instant::now();
        while !runner.read("rollout.log").contains("rolled back") {
            assert!(begun.elapsed() < LIMIT, "{}", runner.read("rollout.log"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if index == 0 {
            is_cancelled_by(Signal::TERM, &script).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_made_of_what_is_on_record() {
    let runner = Runner::open().await;
    let start = Script::new(SH, &shell_under("Start")[0]).with_run("job-1");
    runner.ends_with(&start, 0).await;
    let reports = &shell_under("Reports")[0];
    let script = Script::new(GITHUB_BASH, reports).with_run("job-1");
    runner.ends_with(&script, 0).await;
    assert!(runner.read("rollout.xml").starts_with("<?xml"));
    assert!(runner.read("rollout.html").starts_with("<!DOCTYPE html>"));
    assert!(runner.read("rollout.jsonl").ends_with("}\n"));
    let unknown = Script::new(GITHUB_BASH, reports).with_run("job-2");
    runner.ends_with(&unknown, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_at_the_end_is_told_how_it_ended() {
    let runner = Runner::open().await;
    runner.shop.break_canary();
    let start = &shell_under("A command at the end")[0];
    let start = Script::new(SH, start).with_run("job-1");
    runner.ends_with(&start, 10).await;
    let ended = runner.read("ended.txt");
    assert!(
        ended.starts_with("reviews rolled-back: regression evidence "),
        "{ended}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smoke_test_runs_before_each_step() {
    let runner = Runner::open().await;
    let test = "#!/bin/sh\necho \"$1 $KUBECTL_CANARY_WEIGHT\" >> tested.txt\n";
    std::fs::write(runner.file("smoke-test.sh"), test).unwrap();
    let start = &shell_under("A smoke test before each step")[0];
    let start = Script::new(SH, start).with_run("job-1");
    runner.ends_with(&start, 0).await;
    let tested = runner.read("tested.txt");
    assert!(
        tested.starts_with("v2 ") && tested.ends_with("v2 100\n"),
        "{tested}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_is_left_and_opened() {
    let runner = Runner::open().await;
    let gate = Script::new(GITHUB_BASH, &shell_under("Gates")[0]).with_run("job-1");
    runner.ends_with(&gate, 0).await;
    assert_eq!(runner.shop.canary(), 100);
}

/// The `run` steps of a job of GitHub's.
fn github_steps(workflow: &Value, job: &str, known: &[(&str, &str)]) -> Vec<Script> {
    let job = &workflow["jobs"][job];
    let steps = job["steps"].as_array().unwrap().iter();
    let steps = steps.filter(|step| step["run"].is_string());
    let steps = steps.map(|step| {
        let script = Script::new(GITHUB_DEFAULT, step["run"].as_str().unwrap());
        script.with(&[&workflow["env"], &job["env"], &step["env"]], known)
    });
    steps.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github() {
    let workflow = yaml("github");
    let pipeline = |attempt: &str| {
        let known = [
            ("${{ github.run_id }}", "4711"),
            ("${{ github.run_attempt }}", attempt),
        ];
        let mut steps = github_steps(&workflow, "canary", &known);
        let start = steps.remove(0);
        Pipeline {
            start,
            always: steps,
        }
    };
    for step in &workflow["jobs"]["canary"]["steps"].as_array().unwrap()[2..] {
        assert_eq!(step["if"], "always()");
    }
    keeps_its_promises(pipeline).await;
    is_cancelled_by(Signal::INT, &pipeline("1").start).await;

    let runner = Runner::open().await;
    let Pipeline { start, always } = pipeline("1");
    runner.ends_with(&start, 0).await;
    runner.all_end_well(&always).await;
    let summary = runner.read("GITHUB_STEP_SUMMARY");
    assert!(summary.contains("shop/reviews: promoted"), "{summary}");
    assert!(runner.read("rollout.xml").contains("failures=\"0\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_with_an_approval() {
    let workflow = yaml("github-gate");
    let known = [
        ("${{ steps.id.outputs.run }}", "github-4711-1"),
        ("${{ needs.canary.outputs.run }}", "github-4711-1"),
    ];
    let steps = github_steps(&workflow, "canary", &known);
    let [id, start] = steps.as_slice() else {
        panic!("{steps:?}");
    };
    let promote = &github_steps(&workflow, "promote", &known)[0];
    let abort = &github_steps(&workflow, "clean-up", &known)[0];
    opens_its_gate(start, 0, promote, abort).await;

    let runner = Runner::open().await;
    runner.ends_with(id, 0).await;
    runner.ends_with(start, 0).await;
    assert_eq!(
        runner.read("GITHUB_OUTPUT"),
        "run=github-4711-1\nwaiting=true\n"
    );
}

/// The action's steps by what they begin with, and what is put in.
fn action(inputs: &[(&str, &str)], run: &str) -> Vec<Script> {
    let action: Value = serde_saphyr::from_str(&file("action.yml")).unwrap();
    let mut values = BTreeMap::new();
    for (name, input) in action["inputs"].as_object().unwrap() {
        let given = inputs.iter().find(|(given, _)| given == name);
        let value = given.map(|(_, value)| *value);
        let value = value.or(input["default"].as_str());
        let value = value.unwrap_or_else(|| panic!("{name} is required"));
        values.insert(format!("${{{{ inputs.{name} }}}}"), value.to_owned());
    }
    for (name, _) in inputs {
        assert!(
            action["inputs"].get(name).is_some(),
            "the action has no {name}"
        );
    }
    values.insert("${{ steps.prepare.outputs.run }}".into(), run.into());
    let known: Vec<_> = values
        .iter()
        .map(|(word, value)| (word.as_str(), value.as_str()))
        .collect();
    let steps = action["runs"]["steps"].as_array().unwrap().iter();
    let steps = steps.map(|step| {
        assert_eq!(step["shell"], "bash");
        Script::new(GITHUB_BASH, step["run"].as_str().unwrap()).with(&[&step["env"]], &known)
    });
    steps.collect()
}

/// What the page puts into the action.
fn inputs(workflow: &Value) -> Vec<(&str, &str)> {
    let steps = workflow["jobs"]["canary"]["steps"].as_array().unwrap();
    let with = steps.iter().find_map(|step| step["with"].as_object());
    let with = with.unwrap().iter();
    with.map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_action() {
    let workflow = yaml("github-action");
    let inputs = inputs(&workflow);
    keeps_its_promises(|attempt| {
        let mut steps = action(&inputs, &format!("github-4711-{attempt}-1"));
        steps.remove(0);
        let start = steps.remove(0);
        Pipeline {
            start,
            always: steps,
        }
    })
    .await;
    let steps = action(&inputs, "github-4711-1-1");
    is_cancelled_by(Signal::INT, &steps[1]).await;

    let runner = Runner::open().await;
    runner.ends_with(&steps[0], 0).await;
    let said = runner.read("GITHUB_OUTPUT");
    let run = said.strip_prefix("run=").unwrap().trim_end();
    let steps = action(&inputs, run);
    runner.all_end_well(&steps[1..]).await;
    assert!(
        runner
            .read("GITHUB_STEP_SUMMARY")
            .contains("shop/reviews: promoted")
    );
    assert!(runner.read("rollout.xml").contains("failures=\"0\""));
    assert_eq!(runner.read("GITHUB_PATH"), "", "nothing was installed");

    // What is put in is never code.
    let steps = action(
        &[
            ("name", "reviews; touch owned"),
            ("namespace", "$(touch owned)"),
            ("canary", "`touch owned`"),
            ("args", "$(touch owned) ; touch owned"),
            ("junit", "rollout-2.xml"),
        ],
        "github-4711-1-2",
    );
    assert_ne!(runner.run(&steps[1]).await.code, 0);
    assert!(!runner.file("owned").exists());
    // A run that was refused has no report, and that is no failure of its own.
    runner.ends_with(&steps[3], 0).await;
    assert!(!runner.file("rollout-2.xml").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_action_installs_what_has_the_checksum() {
    let runner = Runner::open().await;
    std::fs::remove_file(runner.bin.join("kubectl-canary")).unwrap();
    let workflow = yaml("github-action");
    let prepare = &action(&inputs(&workflow), "")[0];
    let releases = runner.file("releases");
    let archive = "kubectl-canary-v0.1.0-x86_64-unknown-linux-musl.tar.gz";
    let pack = format!(
        "mkdir {releases}; cd {releases}; printf '#!/bin/sh\\necho installed\\n' > kubectl-canary; chmod +x kubectl-canary; touch LICENSE; tar -czf {archive} LICENSE kubectl-canary; sha256sum {archive} > checksums.txt",
        releases = releases.display()
    );
    runner.ends_with(&Script::new(SH, pack), 0).await;
    // curl -fsSL --retry 3 -o FILE URL
    let urls = runner.file("urls");
    runner.install(
        "curl",
        &format!(
            "echo \"$6\" >> {}; cp \"{}/$5\" \"$5\"",
            urls.display(),
            releases.display()
        ),
    );
    runner.ends_with(prepare, 0).await;
    let folder = runner.read("GITHUB_PATH");
    let ran = Shop::ran(Command::new(
        Path::new(folder.trim_end()).join("kubectl-canary"),
    ));
    assert_eq!(ran.await.code, 0);
    let base = format!("{}/releases/download/v0.1.0", env!("CARGO_PKG_REPOSITORY"));
    assert_eq!(
        runner.read("urls"),
        format!("{base}/{archive}\n{base}/checksums.txt\n")
    );

    std::fs::write(releases.join(archive), "something else").unwrap();
    std::fs::remove_file(runner.file("GITHUB_PATH")).unwrap();
    assert_ne!(runner.run(prepare).await.code, 0);
    assert_eq!(runner.read("GITHUB_PATH"), "");
}

/// The lines of a job's script.
fn gitlab(pipeline: &Value, job: &str, script: &str, id: &str) -> Vec<Script> {
    let job = &pipeline[job];
    let variables = [&pipeline["variables"], &job["variables"]];
    let known = [("$CI_JOB_ID", id), ("$CI_PIPELINE_ID", id)];
    let lines = job[script].as_array().unwrap().iter();
    lines
        .map(|line| Script::new(GITLAB, line.as_str().unwrap()).with(&variables, &known))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gitlab_with_and_without_an_approval() {
    let plain = yaml("gitlab");
    keeps_its_promises(|id| Pipeline {
        start: gitlab(&plain, "canary", "script", id).remove(0),
        always: gitlab(&plain, "canary", "after_script", id),
    })
    .await;
    let gate = yaml("gitlab-gate");
    let script = |job| gitlab(&gate, job, "script", "7").remove(0);
    assert_eq!(gate["canary"]["allow_failure"]["exit_codes"], 13);
    opens_its_gate(
        &script("canary"),
        13,
        &script("promote"),
        &script("roll-back"),
    )
    .await;
}

/// The words in single quotes that are shell.
fn jenkins(name: &str, build: &str) -> Vec<Script> {
    let text = named(name);
    assert!(text.contains("RUN_ID = \"jenkins-reviews-${BUILD_NUMBER}\""));
    let quoted = text.split('\'').skip(1).step_by(2);
    let scripts = quoted.filter(|words| words.contains("kubectl canary"));
    scripts
        .map(|words| Script::new(JENKINS, words).with_run(&format!("jenkins-reviews-{build}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jenkins_with_and_without_an_approval() {
    keeps_its_promises(|build| {
        let mut scripts = jenkins("jenkins", build);
        let start = scripts.remove(0);
        Pipeline {
            start,
            always: scripts,
        }
    })
    .await;
    is_cancelled_by(Signal::TERM, &jenkins("jenkins", "1")[0]).await;
    let scripts = jenkins("jenkins-gate", "1");
    let [start, promote, abort] = scripts.as_slice() else {
        panic!("{scripts:?}");
    };
    opens_its_gate(start, 13, promote, abort).await;
}

/// A list of names and values as a map.
fn variables(list: &Value) -> Value {
    let list = list.as_array().unwrap().iter();
    let list = list.map(|entry| {
        (
            entry["name"].as_str().unwrap().to_owned(),
            entry["value"].clone(),
        )
    });
    Value::Object(list.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tekton() {
    let pipeline = yaml("tekton");
    let script = |group: &str, run: &str| {
        let task = &pipeline["spec"][group][0];
        assert_eq!(task["params"][0]["value"], "$(context.pipelineRun.name)");
        let step = &task["taskSpec"]["steps"][0];
        let known = [("$(params.run)", run)];
        Script::new(SH, step["script"].as_str().unwrap()).with(&[&variables(&step["env"])], &known)
    };
    keeps_its_promises(|run| {
        let run = format!("reviews-canary-{run}");
        Pipeline {
            start: script("tasks", &run),
            always: vec![script("finally", &run)],
        }
    })
    .await;
    is_cancelled_by(Signal::TERM, &script("tasks", "reviews-canary-1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn argo_workflows() {
    let workflow = yaml("argo-workflows");
    let script = |field: &str, run: &str| {
        let name = &workflow["spec"][field];
        let templates = workflow["spec"]["templates"].as_array().unwrap();
        let template = templates.iter().find(|template| &template["name"] == name);
        let script = &template.unwrap()["script"];
        assert_eq!(script["command"], serde_json::json!(["sh"]));
        let known = [("{{workflow.name}}", run)];
        Script::new(SH, script["source"].as_str().unwrap())
            .with(&[&variables(&script["env"])], &known)
    };
    keeps_its_promises(|run| {
        let run = format!("reviews-canary-{run}");
        Pipeline {
            start: script("entrypoint", &run),
            always: vec![script("onExit", &run)],
        }
    })
    .await;
    is_cancelled_by(Signal::TERM, &script("entrypoint", "reviews-canary-1")).await;
}
