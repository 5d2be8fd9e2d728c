//! How long a short command takes, and how much memory, beside kubectl's.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::figures::{Figures, median};
use crate::program::program;
use crate::stack::Stack;

/// Runs of each; the two sides take turns, so that whatever else the machine does
/// falls on both.
const RUNS: usize = 15;

pub(crate) fn measure(stack: &Stack, figures: &mut Figures) {
    let ours = program();
    let first: Vec<f64> = (0..2 * RUNS).map(|_| first_byte(&ours)).collect();
    figures.add("first byte of --help", "ms", &first, "goal: under 10 ms");

    let kubectl = stack.description.kubectl.as_path();
    let help = ["--help"];
    let warm_up = (wall(stack, &ours, &help), wall(stack, kubectl, &help));
    eprintln!("first runs, not counted: {warm_up:?} ms");
    let pairs: Vec<_> = (0..RUNS)
        .map(|_| (wall(stack, &ours, &help), wall(stack, kubectl, &help)))
        .collect();
    compare(
        figures,
        "--help beside kubectl --help, time",
        "ms",
        &pairs,
        "",
    );
    let status = ["status", "reviews", "-n", "shop"];
    let get = ["get", "virtualservices", "reviews", "-n", "shop"];
    // Both have run once before they count: the files are in memory then.
    let warm_up = (wall(stack, &ours, &status), wall(stack, kubectl, &get));
    eprintln!("first runs, not counted: {warm_up:?} ms");
    let pairs: Vec<_> = (0..RUNS)
        .map(|_| (wall(stack, &ours, &status), wall(stack, kubectl, &get)))
        .collect();
    let goal = "; goal: under 20 %";
    compare(
        figures,
        "status beside kubectl get, time",
        "ms",
        &pairs,
        goal,
    );
    let pairs: Vec<_> = (0..RUNS)
        .map(|_| (memory(stack, &ours, &status), memory(stack, kubectl, &get)))
        .collect();
    compare(
        figures,
        "status beside kubectl get, memory",
        "MB",
        &pairs,
        "",
    );
}

fn compare(
    figures: &mut Figures,
    name: &str,
    unit: &'static str,
    pairs: &[(f64, f64)],
    goal: &str,
) {
    let (ours, theirs): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let share = 100.0 * median(&ours) / median(&theirs);
    figures.add(format!("{name}: ours"), unit, &ours, "");
    let remark = format!("ours takes {share:.0} % of it{goal}");
    figures.add(format!("{name}: kubectl"), unit, &theirs, remark);
}

/// Milliseconds from the start of the process to its first word.
fn first_byte(program: &Path) -> f64 {
    let begun = Instant::now();
    let mut child = Command::new(program)
        .arg("--help")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program was built");
    let mut out = child.stdout.take().expect("it is piped");
    out.read_exact(&mut [0]).expect("there is a help");
    let took = begun.elapsed();
    let _ = out.read_to_end(&mut Vec::new());
    child.wait().expect("it can be waited for");
    1000.0 * took.as_secs_f64()
}

fn quiet(stack: &Stack, program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(words)
        .env("KUBECONFIG", &stack.description.kubeconfig.admin)
        .stdout(Stdio::null());
    command
}

/// Milliseconds from its start to its end.
fn wall(stack: &Stack, program: &Path, words: &[&str]) -> f64 {
    let begun = Instant::now();
    let status = quiet(stack, program, words).status();
    assert!(status.expect("it runs").success(), "{words:?}");
    1000.0 * begun.elapsed().as_secs_f64()
}

/// The most memory it held, in MB, as GNU time tells.
fn memory(stack: &Stack, program: &Path, words: &[&str]) -> f64 {
    let mut command = quiet(stack, Path::new("time"), &["--format=%M"]);
    let output = command.arg(program).args(words).output();
    let output = output.expect("GNU time is installed");
    let told = String::from_utf8_lossy(&output.stderr);
    let kilobytes = told
        .lines()
        .last()
        .and_then(|line| line.parse::<f64>().ok());
    kilobytes.unwrap_or_else(|| panic!("GNU time told no number: {told}")) / 1024.0
}
