//! The program, run on documents with something wrong in them.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use kubectl_canary::clock::Clock;
use kubectl_canary::sandbox::{World, fixtures};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};
use tower::BoxError;

use super::mutation::Mutation;

/// Stands wherever a secret may stand.
pub const SECRET: &str = "s3cr3t-planted-9f2c";

/// A plan file with everything in it.
pub const PLAN_FILE: &str = "apiVersion: kubectl-canary.dev/v1
kind: Rollout
metadata:
  name: reviews
  namespace: shop
spec:
  stable: v1
  canary: v2
  routes: [primary]
  steps: 10,50:pause,100
  dwell: 1s
  interval: 1s
  warmup: 0s
  stepTimeout: 5s
  metricsGrace: 2s
  onDrift: stop
  onInconclusive: rollback
  failures: 5xx,0,grpc
  prometheus: istio-system/prometheus:9090
";

/// A document that the program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    VirtualService,
    DestinationRules,
    /// The annotation of a rollout under way.
    State,
    /// The annotation of the last rollout.
    LastRollout,
    Prometheus,
    Kubeconfig,
    PlanFile,
}

/// How a run went.
pub struct Ran {
    /// `None` where a signal or the clock ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// What is wrong with the answers to some calls.
type Twist = Arc<Mutex<Option<(Document, Mutation)>>>;

/// A served world, for all cases in turn.
struct Bench {
    runtime: Runtime,
    world: World,
    addr: SocketAddr,
    twist: Twist,
    /// The object with a rollout under way, and with a record of the last.
    reviews: Value,
    turn: Mutex<()>,
}

static BENCH: LazyLock<Bench> = LazyLock::new(Bench::set_up);

/// One of our records, as it stands on an object.
pub fn state(name: &str) -> String {
    let annotations = &BENCH.reviews["metadata"]["annotations"];
    annotations[format!("kubectl-canary.dev/{name}")]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Runs a command with something wrong in one of the documents that it reads.
pub fn with(document: Document, mutation: &Mutation, command: &str) -> Ran {
    BENCH.with(document, mutation, command)
}

impl Bench {
    fn set_up() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let twist = Twist::default();
        let (world, addr) = runtime.block_on(async {
            let world = World::new(Clock::System);
            world.set(|setup| {
                fixtures::shop(setup);
                setup.scrapes().every(SignedDuration::from_millis(250));
                setup.traffic().demand(fixtures::REVIEWS).per_second(1000.0);
            });
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let addr = listener.local_addr().unwrap();
            tokio::spawn(accept(listener, world.clone(), Arc::clone(&twist)));
            sleep(Duration::from_secs(2)).await;
            (world, addr)
        });
        let mut bench = Self {
            runtime,
            world,
            addr,
            twist,
            reviews: Value::Null,
            turn: Mutex::new(()),
        };
        let kubeconfig = bench.kubeconfig();
        for command in [
            "start reviews --no-wait --steps 10,100 --dwell 1s",
            "abort reviews",
            "start reviews --no-wait --steps 10,100 --dwell 1s --stable v1 --canary v2",
        ] {
            let ran = bench.run(command, kubeconfig.as_bytes(), PLAN_FILE.as_bytes());
            assert_ne!(ran.code, None, "{}", ran.stderr);
        }
        bench.reviews = bench
            .world
            .object("virtualservices", "shop", "reviews")
            .unwrap();
        let annotations = &bench.reviews["metadata"]["annotations"];
        assert!(
            annotations["kubectl-canary.dev/rollout"].is_string(),
            "{annotations}"
        );
        assert!(
            annotations["kubectl-canary.dev/last"].is_string(),
            "{annotations}"
        );
        bench
    }

    fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1
kind: Config
current-context: sandbox
clusters:
- name: sandbox
  cluster:
    server: http://{}
contexts:
- name: sandbox
  context:
    cluster: sandbox
    user: sandbox
    namespace: shop
users:
- name: sandbox
  user:
    token: {SECRET}
    as-user-extra: {{}}
",
            self.addr
        )
    }

    fn with(&self, document: Document, mutation: &Mutation, command: &str) -> Ran {
        let turn = self.turn.lock();
        let mut reviews = self.reviews.clone();
        // Half of the commands are for a rollout that is still to come.
        if command.starts_with("start") || command.starts_with("plan") {
            let annotations = reviews["metadata"]["annotations"].as_object_mut().unwrap();
            annotations.remove("kubectl-canary.dev/rollout");
        }
        let record = match document {
            Document::State => Some("kubectl-canary.dev/rollout"),
            Document::LastRollout => Some("kubectl-canary.dev/last"),
            _ => None,
        };
        if let Some(record) = record {
            let text = self.reviews["metadata"]["annotations"][record]
                .as_str()
                .unwrap();
            let text = String::from_utf8_lossy(&mutation.of(text.as_bytes())).into_owned();
            reviews["metadata"]["annotations"][record] = text.into();
        }
        self.world.apply(reviews);
        let (mut kubeconfig, mut plan) = (
            self.kubeconfig().into_bytes(),
            PLAN_FILE.as_bytes().to_vec(),
        );
        match document {
            Document::Kubeconfig => kubeconfig = mutation.of(&kubeconfig),
            Document::PlanFile => plan = mutation.of(&plan),
            Document::VirtualService | Document::DestinationRules | Document::Prometheus => {
                *self.twist.lock().unwrap() = Some((document, mutation.clone()));
            }
            Document::State | Document::LastRollout => {}
        }
        let ran = self.run(command, &kubeconfig, &plan);
        *self.twist.lock().unwrap() = None;
        drop(turn);
        ran
    }

    fn run(&self, command: &str, kubeconfig: &[u8], plan: &[u8]) -> Ran {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("kubeconfig"), kubeconfig).unwrap();
        std::fs::write(path("plan.yaml"), plan).unwrap();
        let plan_path = path("plan.yaml").display().to_string();
        let words = command.split(' ').map(|word| {
            if word == "PLAN" {
                plan_path.as_str()
            } else {
                word
            }
        });
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_kubectl-canary"));
        program
            .args(words)
            .args(["--request-timeout", "2s"])
            .env("KUBECONFIG", path("kubeconfig"))
            .env_remove("CI")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = self
            .runtime
            .block_on(async { timeout(Duration::from_secs(60), program.output()).await });
        match output {
            Ok(output) => {
                let output = output.unwrap();
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                Ran {
                    code: output.status.code(),
                    stdout: text(output.stdout),
                    stderr: text(output.stderr),
                }
            }
            Err(_) => Ran {
                code: None,
                stdout: String::new(),
                stderr: "no end within a minute".to_owned(),
            },
        }
    }
}

async fn accept(listener: TcpListener, world: World, twist: Twist) {
    while let Ok((stream, _)) = listener.accept().await {
        let (client, twist) = (world.client("shop"), Arc::clone(&twist));
        let service = hyper::service::service_fn(move |request| {
            answer(client.clone(), Arc::clone(&twist), request)
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(
    client: kube::Client,
    twist: Twist,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, BoxError> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let body = body.collect().await?.to_bytes();
    let answer = client
        .send(Request::from_parts(parts, kube::client::Body::from(body)))
        .await?;
    let (parts, body) = answer.into_parts();
    let mut bytes = body.collect_bytes().await?;
    let twisted = twist.lock().unwrap().clone();
    if let Some((document, mutation)) = twisted {
        let is_meant = match document {
            Document::VirtualService => path.contains("/virtualservices"),
            Document::DestinationRules => path.contains("/destinationrules"),
            Document::Prometheus => path.contains("/proxy/"),
            _ => false,
        };
        if is_meant {
            bytes = mutation.of(&bytes).into();
        }
    }
    let mut response = Response::from_parts(parts, Full::new(bytes));
    response.headers_mut().remove(http::header::CONTENT_LENGTH);
    Ok(response)
}
