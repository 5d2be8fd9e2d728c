//! What commands cost on clusters of every size, beside `kubectl get virtualservices -A`.
//!
//! ```text
//! cargo test --bench cluster                      # the sandbox, over loopback
//! scripts/cluster run cargo test --bench cluster  # the real stack
//! ```
//!
//! `cargo test` takes the debug build, `KUBECTL_CANARY_PROGRAM` another one. `--runs N`, `--most OBJECTS`.
//! Nothing is asserted: what counts is how the rows of one table compare.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kubectl_canary::clock::Clock;
use kubectl_canary::sandbox::{Served, Setup, World, fixtures};
use serde_json::{Value, json};
use tokio::process::Command;

#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/cluster/stack.rs"]
mod stack;

use stack::Stack;

/// So many VirtualServices, and as many DestinationRules, beside those of the shop.
const SIZES: [usize; 4] = [100, 1_000, 3_000, 10_000];
/// So many pods of stable and of the canary.
const PODS: [[usize; 2]; 4] = [[50, 50], [500, 500], [1_000, 1_000], [1_900, 100]];
/// How many objects are written to the real stack at a time.
const WRITERS: usize = 16;

/// A cluster that grows.
enum Cluster {
    Sandbox {
        world: World,
        _served: Served,
        folder: tempfile::TempDir,
    },
    Stack(Box<Stack>),
}

impl Cluster {
    async fn open() -> Self {
        if std::env::var_os(stack::VARIABLE).is_some() {
            return Self::Stack(Box::new(Stack::open().await));
        }
        let world = World::new(Clock::System);
        world.set(fixtures::shop);
        let served = world.serve().await.expect("there is a free port");
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let kubeconfig = served.kubeconfig_in("shop");
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig).expect("it is ours");
        Self::Sandbox {
            world,
            _served: served,
            folder,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Sandbox { .. } => "sandbox, over loopback",
            Self::Stack(_) => "real stack",
        }
    }

    fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Sandbox { folder, .. } => folder.path().join("kubeconfig"),
            Self::Stack(stack) => stack.description.kubeconfig.admin.clone(),
        }
    }

    fn kubectl(&self) -> PathBuf {
        match self {
            Self::Sandbox { .. } => "kubectl".into(),
            Self::Stack(stack) => stack.description.kubectl.clone(),
        }
    }

    /// Creates the services of these numbers.
    async fn grow(&self, numbers: std::ops::Range<usize>) {
        let first = numbers.start;
        let objects = numbers.clone().flat_map(service);
        match self {
            Self::Sandbox { world, .. } => world.set(|stage| {
                for object in namespaces(first).chain(objects) {
                    stage.apply(object);
                }
            }),
            Self::Stack(stack) => {
                for object in namespaces(first) {
                    stack.apply(&object).await.expect("a namespace is stored");
                }
                let writes = objects.map(|object| async move {
                    stack.apply(&object).await.expect("an object is stored");
                });
                let mut writes = futures::stream::iter(writes).buffer_unordered(WRITERS);
                while writes.next().await.is_some() {}
            }
        }
    }
}

/// How many namespaces the services from this number on are in.
fn spread(number: usize) -> usize {
    if number < 3_000 { 30 } else { 300 }
}

fn namespaces(first: usize) -> impl Iterator<Item = Value> {
    (0..spread(first)).map(|index| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{index}")}})
    })
}

/// A service as teams have them: two versions, a few rules, timeouts and retries.
fn service(number: usize) -> [Value; 2] {
    let name = format!("service-{number}");
    let host = format!("{name}.team-{}.svc.cluster.local", number % spread(number));
    let metadata = json!({
        "namespace": format!("team-{}", number % spread(number)), "name": name,
        "labels": {"app": name, "app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": name},
    });
    let route = |prefix: &str| {
        json!({
            "match": [{"uri": {"prefix": prefix}}],
            "route": [
                {"destination": {"host": host, "subset": "v1"}, "weight": 100},
                {"destination": {"host": host, "subset": "v2"}, "weight": 0},
            ],
            "timeout": "5s", "retries": {"attempts": 2, "perTryTimeout": "2s"},
        })
    };
    let subset = |version: &str| json!({"name": version, "labels": {"version": version}});
    [
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
            "spec": {"hosts": [host], "http": [route("/api"), route("/")]},
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata,
            "spec": {"host": host, "subsets": [subset("v1"), subset("v2")]},
        }),
    ]
}

/// What one run of a program took.
struct Cost {
    wall: f64,
    cpu: f64,
    megabytes: f64,
}

impl Cost {
    fn median(runs: &[Self], of: impl Fn(&Self) -> f64) -> f64 {
        let mut values: Vec<_> = runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

/// Runs a program; GNU time tells what the system knows of it.
async fn run(kubeconfig: &Path, program: &Path, words: &[&str]) -> Cost {
    let begun = Instant::now();
    let output = Command::new("time")
        .args(["--quiet", "--format=%U %S %M"])
        .arg(program)
        .args(words)
        .env("KUBECONFIG", kubeconfig)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(300), output);
    let output = output
        .await
        .expect("it ends")
        .expect("GNU time is installed");
    let wall = begun.elapsed().as_secs_f64();
    let told = String::from_utf8_lossy(&output.stderr);
    let numbers: Vec<f64> = told
        .lines()
        .last()
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|number| number.parse().ok())
        .collect();
    let [user, system, kilobytes] = numbers[..] else {
        panic!("{words:?}: {told}");
    };
    // A plan that refuses was made all the same; anything else is no figure.
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 4)), "{words:?}: {code:?} {told}");
    Cost {
        wall,
        cpu: user + system,
        megabytes: kilobytes / 1024.0,
    }
}

fn number_after(words: &[String], flag: &str) -> Option<usize> {
    let at = words.iter().position(|word| word == flag)?;
    words.get(at + 1)?.parse().ok()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let words: Vec<String> = std::env::args().collect();
    let runs = number_after(&words, "--runs").unwrap_or(3).max(1);
    let most = number_after(&words, "--most").unwrap_or(usize::MAX);
    let named = std::env::var_os("KUBECTL_CANARY_PROGRAM");
    let ours = named.map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_kubectl-canary")),
        PathBuf::from,
    );
    let cluster = Cluster::open().await;
    let (kubeconfig, kubectl) = (cluster.kubeconfig(), cluster.kubectl());
    let commands: [(&str, &Path, &[&str]); 4] = [
        (
            "kubectl get vs -A",
            &kubectl,
            &["get", "virtualservices", "-A"],
        ),
        (
            "plan",
            &ours,
            &["plan", "reviews", "-n", "shop", "--canary", "v2"],
        ),
        ("list -A", &ours, &["list", "-A"]),
        ("status", &ours, &["status", "reviews", "-n", "shop"]),
    ];
    let mut table = format!(
        "{}, {}, median of {runs}: seconds of wall time, seconds of CPU, MB at most\n\n|",
        cluster.name(),
        ours.display()
    );
    table.push_str(" VirtualServices, and as many DestinationRules |");
    for (name, ..) in &commands {
        let _ = write!(table, " {name} |");
    }
    table.push_str("\n|--|--|--|--|--|\n");
    let mut size = 0;
    for next in SIZES.into_iter().filter(|size| *size <= most) {
        let begun = Instant::now();
        cluster.grow(size..next).await;
        size = next;
        eprintln!("{size} of each after {:?}", begun.elapsed());
        let _ = write!(
            table,
            "| {size} |{}",
            row(&kubeconfig, &commands, runs).await
        );
        table.push('\n');
        eprintln!("{table}");
    }
    let commands: [(&str, &Path, &[&str]); 2] = [
        ("kubectl get pods", &kubectl, &["get", "pods", "-n", "shop"]),
        commands[1],
    ];
    // Pods on the real stack would have to be run.
    if let Cluster::Sandbox { world, .. } = &cluster {
        table.push_str(
            "\n| pods of stable and of the canary | kubectl get pods | plan |\n|--|--|--|\n",
        );
        for pods in PODS
            .into_iter()
            .filter(|pods| pods.iter().sum::<usize>() <= most)
        {
            world.set(|stage| scale(stage, pods));
            let [stable, canary] = pods;
            let cells = row(&kubeconfig, &commands, runs).await;
            let _ = writeln!(table, "| {stable} + {canary} |{cells}");
        }
    }
    println!("{table}");
}

/// What each command costs, a cell each.
async fn row(kubeconfig: &Path, commands: &[(&str, &Path, &[&str])], runs: usize) -> String {
    let mut costs: Vec<Vec<Cost>> = commands.iter().map(|_| Vec::new()).collect();
    // The programs take turns, so that whatever else the machine does falls on all; the first turn
    // is not counted.
    for turn in 0..=runs {
        for ((_, program, words), costs) in commands.iter().zip(&mut costs) {
            let cost = run(kubeconfig, program, words).await;
            if turn > 0 {
                costs.push(cost);
            }
        }
    }
    let mut cells = String::new();
    for costs in &costs {
        let _ = write!(
            cells,
            " {:.2} s, {:.2} s, {:.0} MB |",
            Cost::median(costs, |cost| cost.wall),
            Cost::median(costs, |cost| cost.cpu),
            Cost::median(costs, |cost| cost.megabytes),
        );
    }
    cells
}

/// Gives the two versions of the shop so many pods in all, with as much in each as a pod has that nobody
/// here looks at.
fn scale(stage: &mut Setup<'_>, pods: [usize; 2]) {
    for (version, wanted) in ["v1", "v2"].into_iter().zip(pods) {
        let names = stage.names("pods", "shop");
        let named = |name: &&String| name.contains(&format!("reviews-{version}-"));
        let name = names.iter().find(named).expect("the shop has pods of it");
        let pod = stage.object("pods", "shop", name).expect("it is there");
        let there = names.iter().filter(named).count();
        for index in there..wanted {
            let mut pod = pod.clone();
            pod["metadata"]["name"] = json!(format!("reviews-{version}-more-{index}"));
            pod["metadata"]["annotations"] = json!({"sidecar.istio.io/status": "x".repeat(4_000)});
            stage.apply(pod);
        }
    }
}
