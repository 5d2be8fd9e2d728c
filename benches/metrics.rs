//! What a look at the metrics costs as their series grow: with a real Prometheus that scrapes them, and with
//! the rollout's API server in the sandbox.
//!
//! ```text
//! cargo test --bench metrics -- --most 10000
//! ```
//!
//! `cargo test` takes the debug build, `KUBECTL_CANARY_PROGRAM` another one, whose CPU is a fraction of that.
//! `--most SERIES` up to 500000 [default: 10000], `--seconds N` of a rollout [default: 60]. It takes a
//! `prometheus` in the path and two minutes for each row. Nothing is asserted: what counts is how the rows grow.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kubectl_canary::clock::Clock;
use kubectl_canary::sandbox::{World, fixtures};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// So many series in all.
const SIZES: [usize; 5] = [100, 1_000, 10_000, 100_000, 500_000];
/// The bounds of Istio's histogram, in milliseconds.
const BOUNDS: [&str; 21] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
    "30000", "60000", "300000", "600000", "1800000", "3600000", "7200000", "+Inf",
];
/// A caller has these for each version: its counter of requests, and the buckets.
const OF_A_CALLER: usize = 2 * (1 + BOUNDS.len());
/// The callers are spread over so many targets.
const TARGETS: usize = 10;
/// How long Prometheus scrapes before anything is asked.
const BEFORE: Duration = Duration::from_secs(60);

/// The metrics of so many callers, which all get ten requests a second of either version.
struct Exporter {
    address: SocketAddr,
}

impl Exporter {
    async fn serve(callers: usize) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let began = Instant::now();
        let names: Vec<Arc<Vec<String>>> = (0..TARGETS)
            .map(|target| Arc::new(names_of((target..callers).step_by(TARGETS))))
            .collect();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let to = stream.local_addr().expect("it is connected");
                let SocketAddr::V4(to) = to else { continue };
                let target = usize::from(to.ip().octets()[3] - 1);
                tokio::spawn(answer(stream, Arc::clone(&names[target]), began));
            }
        });
        Self { address }
    }
}

/// The series of these callers, each without its value; the sums of requests first, then each bucket.
fn names_of(callers: impl Iterator<Item = usize>) -> Vec<String> {
    let mut names = Vec::new();
    for caller in callers {
        for version in ["v1", "v2"] {
            let labels = format!(
                "reporter=\"source\",source_workload=\"caller-{caller}\",destination_workload=\"reviews-{version}\",destination_version=\"{version}\",destination_service=\"reviews.shop.svc.cluster.local\",destination_service_name=\"reviews\",destination_service_namespace=\"shop\",response_code=\"200\",response_flags=\"-\",request_protocol=\"http\""
            );
            names.push(format!("istio_requests_total{{{labels}}}"));
            for bound in BOUNDS {
                names.push(format!(
                    "istio_request_duration_milliseconds_bucket{{{labels},le=\"{bound}\"}}"
                ));
            }
        }
    }
    names
}

async fn answer(mut stream: TcpStream, names: Arc<Vec<String>>, began: Instant) {
    let mut request = [0; 4096];
    while let Ok(1..) = stream.read(&mut request).await {
        let count = (began.elapsed().as_secs_f64() * 10.0) as u64;
        let mut body = String::new();
        for (index, name) in names.iter().enumerate() {
            // Half of the requests take up to 10 ms, all of them up to 25.
            let bucket = index % (1 + BOUNDS.len());
            let value = match bucket {
                1..=3 => 0,
                4 => count / 2,
                _ => count,
            };
            body.push_str(name);
            let _ = writeln!(body, " {value}");
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(head.as_bytes()).await.is_err()
            || stream.write_all(body.as_bytes()).await.is_err()
        {
            return;
        }
    }
}

/// Counts what passes between the program and Prometheus.
struct Relay {
    address: SocketAddr,
    seen: Arc<Mutex<Traffic>>,
}

#[derive(Default)]
struct Traffic {
    bytes: u64,
    /// The moments that were asked for, as the queries name them.
    moments: BTreeSet<String>,
    slowest: Duration,
}

impl Relay {
    async fn serve(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen: Arc<Mutex<Traffic>> = Arc::default();
        let counted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(stream, to, Arc::clone(&counted)));
            }
        });
        Self { address, seen }
    }

    fn taken(&self) -> Traffic {
        std::mem::take(&mut self.seen.lock().expect("nobody panics with it"))
    }
}

async fn pass_on(mut client: TcpStream, to: SocketAddr, seen: Arc<Mutex<Traffic>>) {
    let mut server = TcpStream::connect(to).await.expect("Prometheus listens");
    let (mut asked, mut told) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut since = None;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&asked[..length]);
                {
                    let mut seen = seen.lock().expect("nobody panics with it");
                    seen.bytes += length as u64;
                    if let Some((_, rest)) = text.split_once("&time=") {
                        let end = rest.find(['&', ' ']).unwrap_or(rest.len());
                        seen.moments.insert(rest[..end].to_owned());
                    }
                }
                since = Some(Instant::now());
                if server.write_all(&asked[..length]).await.is_err() { return }
            }
            read = server.read(&mut told) => {
                let Ok(length @ 1..) = read else { return };
                {
                    let mut seen = seen.lock().expect("nobody panics with it");
                    seen.bytes += length as u64;
                    if let Some(since) = since.take() {
                        seen.slowest = seen.slowest.max(since.elapsed());
                    }
                }
                if client.write_all(&told[..length]).await.is_err() { return }
            }
        }
    }
}

/// A Prometheus that scrapes the exporter, in a folder of its own.
async fn prometheus(folder: &Path, exporter: &Exporter, every: u64) -> (Child, SocketAddr) {
    let port = exporter.address.port();
    let targets: Vec<String> = (1..=TARGETS)
        .map(|target| format!("\"127.0.0.{target}:{port}\""))
        .collect();
    let config = format!(
        "global: {{scrape_interval: {every}s, scrape_timeout: {every}s}}\nscrape_configs:\n- job_name: mesh\n  static_configs: [{{targets: [{}]}}]\n",
        targets.join(", ")
    );
    std::fs::write(folder.join("prometheus.yml"), config).expect("it is ours");
    let free = TcpListener::bind("127.0.0.1:0").await;
    let address = free
        .and_then(|free| free.local_addr())
        .expect("a free port");
    let child = Command::new("prometheus")
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .arg(format!("--web.listen-address={address}"))
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("prometheus is in the path");
    (child, address)
}

/// Seconds of CPU of a process so far, and the most memory that it had, in MB.
fn used(process: u32) -> (f64, f64) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}"));
    let stat = read("stat").unwrap_or_default();
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> f64 {
        let field = fields.get(index).and_then(|field| field.parse().ok());
        field.unwrap_or(0.0)
    };
    let status = read("status").unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = most.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
    // A tick is a hundredth of a second on every Linux that runs this.
    (
        (ticks(11) + ticks(12)) / 100.0,
        kilobytes.unwrap_or(0.0) / 1024.0,
    )
}

async fn row(series: usize, program: &Path, seconds: u64) -> String {
    let callers = (series / OF_A_CALLER).max(1);
    let every = if series > 10_000 { 5 } else { 2 };
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let exporter = Exporter::serve(callers).await;
    let (server, address) = prometheus(folder.path(), &exporter, every).await;
    let world = World::new(Clock::System);
    world.set(fixtures::shop);
    let served = world.serve().await.expect("there is a free port");
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, served.kubeconfig_in("shop")).expect("it is ours");
    tokio::time::sleep(BEFORE).await;
    let relay = Relay::serve(address).await;
    let url = format!("http://{}", relay.address);
    let words = "start reviews --canary v2 --steps 50,100 --dwell 5m --step-timeout 20m --warmup 0s --interval 5s -o json";
    let mut driver = Command::new(program)
        .args(words.split(' '))
        .args(["--prometheus", &url])
        .env("KUBECONFIG", &kubeconfig)
        .env("XDG_STATE_HOME", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("the program was built");
    let process = driver.id().expect("it runs");
    let begun = Instant::now();
    while !world.calls().iter().any(|call| call.verb == "patch") {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "it never started"
        );
        assert!(
            driver.try_wait().is_ok_and(|ended| ended.is_none()),
            "it ended"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (start, before) = (begun.elapsed(), relay.taken());
    let (cpu_before, _) = used(process);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (looks, (cpu, megabytes)) = (relay.taken(), used(process));
    let (_, of_server) = used(server.id().expect("it runs"));
    let count = looks.moments.len().max(1);
    format!(
        "| {series} | {} | {:.1} s, {} kB | {count} | {:.1} kB | {:.2} s | {:.0} ms | {megabytes:.0} MB | {of_server:.0} MB |\n",
        callers * 2,
        start.as_secs_f64(),
        before.bytes / 1000,
        looks.bytes as f64 / 1000.0 / count as f64,
        looks.slowest.as_secs_f64(),
        (cpu - cpu_before) * 1000.0 / count as f64,
    )
}

fn number_after(words: &[String], flag: &str) -> Option<usize> {
    let at = words.iter().position(|word| word == flag)?;
    words.get(at + 1)?.parse().ok()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let words: Vec<String> = std::env::args().collect();
    let most = number_after(&words, "--most").unwrap_or(10_000);
    let seconds = number_after(&words, "--seconds").unwrap_or(60) as u64;
    let named = std::env::var_os("KUBECTL_CANARY_PROGRAM");
    let program = named.map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_kubectl-canary")),
        PathBuf::from,
    );
    let mut table = String::from(
        "| series in all | of requests | preflight | looks | bytes of a look | slowest query | CPU of a look | most memory | of Prometheus |\n|--|--|--|--|--|--|--|--|--|\n",
    );
    for series in SIZES.into_iter().filter(|series| *series <= most) {
        table.push_str(&row(series, &program, seconds).await);
        eprintln!("{table}");
    }
    println!("{}\n\n{table}", program.display());
}
