//! The stack that `scripts/cluster` started, as its description tells of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Once;
use std::time::{Duration, Instant};

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

pub(crate) const VARIABLE: &str = "KUBECTL_CANARY_STACK";

/// How long istiod may take to tell the proxies; it takes a tenth of a second.
pub(crate) const PUSHED_WITHIN: Duration = Duration::from_secs(10);

/// What `scripts/cluster` writes about the stack.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Description {
    pub(crate) kubeconfig: Kubeconfigs,
    pub(crate) kubectl: PathBuf,
    pub(crate) gateway: Gateway,
    pub(crate) client: MeshClient,
    pub(crate) prometheus: Prometheus,
    pub(crate) backend: Backend,
    pub(crate) parts: BTreeMap<String, Part>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Kubeconfigs {
    /// May do everything.
    pub(crate) admin: PathBuf,
    /// User `dev`, group `developers`: may do nothing until a test grants it.
    pub(crate) dev: PathBuf,
}

/// The one gateway; a VirtualService binds to it by name.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Gateway {
    pub(crate) name: String,
    pub(crate) http: String,
    pub(crate) tcp: Vec<String>,
    /// Envoy's own port.
    pub(crate) admin: String,
}

/// Where a client inside the mesh sends, with the Service's name as the host.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MeshClient {
    pub(crate) http: String,
    pub(crate) workload: String,
    /// Envoy's own port.
    pub(crate) admin: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Prometheus {
    pub(crate) url: String,
    /// `NAMESPACE/SERVICE:PORT`, for the API server's service proxy.
    pub(crate) service: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Backend {
    pub(crate) control: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Part {
    pid_file: PathBuf,
    start: Vec<String>,
    stop: Vec<String>,
}

/// The stack, with connections to its API server and its HTTP ports.
#[derive(Clone)]
pub(crate) struct Stack {
    pub(crate) description: Description,
    /// Connected as the administrator.
    pub(crate) client: Client,
    http: reqwest::Client,
}

/// A value of Prometheus' answer with its labels.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Stack {
    /// kubectl as a person uses it, with this on its standard input.
    pub(crate) fn kubectl(&self, words: &str, input: &str) -> std::process::Output {
        let description = &self.description;
        let mut child = std::process::Command::new(&description.kubectl)
            .arg("--kubeconfig")
            .arg(&description.kubeconfig.admin)
            .args(words.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the stack has kubectl");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).expect("kubectl reads it");
        drop(stdin);
        child.wait_with_output().expect("kubectl ends")
    }

    /// The stack this test was started in; the test fails where there is none.
    pub(crate) async fn open() -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // A test binary may have installed one already; either will do.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let path = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!("{VARIABLE} is not set: start this test with scripts/test --cluster")
        });
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{VARIABLE} names {path}, which cannot be read: {error}")
        });
        let description: Description =
            serde_json::from_str(&text).expect("scripts/cluster writes the description");
        let client = connect(&description.kubeconfig.admin).await;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .expect("the provider is installed");
        Self {
            description,
            client,
            http,
        }
    }

    /// A connection as the user without rights.
    pub(crate) async fn dev_client(&self) -> Client {
        connect(&self.description.kubeconfig.dev).await
    }

    /// An API for objects of a kind such as `networking.istio.io/v1`, `VirtualService`.
    pub(crate) fn api(&self, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource(api_version, kind))
    }

    /// The VirtualServices of a namespace.
    pub(crate) fn virtual_services(&self, namespace: &str) -> Api<DynamicObject> {
        self.api("networking.istio.io/v1", "VirtualService", namespace)
    }

    /// Creates or changes an object; without a namespace in it, one of the cluster.
    pub(crate) async fn apply(&self, object: &Value) -> kube::Result<DynamicObject> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let resource = resource(
            text("/apiVersion").expect("an object has an apiVersion"),
            text("/kind").expect("an object has a kind"),
        );
        let api = match text("/metadata/namespace") {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let name = text("/metadata/name").expect("an object has a name");
        api.patch(
            name,
            &PatchParams::apply("tests").force(),
            &Patch::Apply(object),
        )
        .await
    }

    /// Asks Prometheus for a vector.
    pub(crate) async fn query(&self, promql: &str) -> Vec<Sample> {
        let url = format!("{}/api/v1/query", self.description.prometheus.url);
        let answer: Value = self
            .http
            .get(url)
            .query(&[("query", promql)])
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .unwrap_or_else(|error| panic!("Prometheus did not answer {promql}: {error}"))
            .json()
            .await
            .expect("Prometheus answers in JSON");
        samples(&answer)
    }

    /// Asks until the answer pleases, at most so long; the last answer either way.
    /// A request is in Prometheus only after the next scrape, a second later.
    pub(crate) async fn query_until(
        &self,
        promql: &str,
        patience: Duration,
        pleases: impl Fn(&[Sample]) -> bool,
    ) -> Vec<Sample> {
        let asked = Instant::now();
        loop {
            let samples = self.query(promql).await;
            if pleases(&samples) || asked.elapsed() > patience {
                return samples;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// One kind of what a proxy is configured with, as its admin port dumps it:
    /// `dynamic_route_configs` or `dynamic_listeners`.
    pub(crate) async fn configuration(&self, admin: &str, kind: &str) -> String {
        let url = format!("{admin}/config_dump?resource={kind}");
        let answer = self.http.get(url).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("Envoy did not answer: {error}"));
        answer.text().await.expect("Envoy answers in text")
    }

    /// Waits until a proxy sends something to a subset of a Service, say
    /// `80|v1|reviews.shop.svc.cluster.local`.
    pub(crate) async fn await_route(&self, admin: &str, cluster: &str) {
        let begun = Instant::now();
        loop {
            for kind in ["dynamic_route_configs", "dynamic_listeners"] {
                let configuration = self.configuration(admin, kind).await;
                if configuration.contains(&format!("\"outbound|{cluster}\"")) {
                    return;
                }
            }
            assert!(begun.elapsed() < PUSHED_WITHIN, "no route to {cluster}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a proxy has a cluster whose name has this in it, be there endpoints or not.
    pub(crate) async fn await_cluster(&self, admin: &str, part: &str) {
        let begun = Instant::now();
        loop {
            let answer = self.http.get(format!("{admin}/clusters")).send().await;
            let answer = answer.unwrap_or_else(|error| panic!("Envoy did not answer: {error}"));
            let clusters = answer.text().await.expect("Envoy answers in text");
            if clusters.contains(part) {
                return;
            }
            assert!(begun.elapsed() < PUSHED_WITHIN, "no cluster {part}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a proxy knows so many healthy endpoints of a subset of a Service, named as above. The
    /// API server may call pods ready well before they have come all the way through istiod.
    pub(crate) async fn await_endpoints(&self, admin: &str, cluster: &str, count: usize) {
        let begun = Instant::now();
        let prefix = format!("outbound|{cluster}::");
        loop {
            let answer = self.http.get(format!("{admin}/clusters")).send().await;
            let answer = answer.unwrap_or_else(|error| panic!("Envoy did not answer: {error}"));
            let clusters = answer.text().await.expect("Envoy answers in text");
            let lines = clusters.lines().filter(|line| line.starts_with(&prefix));
            let healthy = lines.filter(|line| line.ends_with("::health_flags::healthy"));
            let known = healthy.count();
            if known >= count {
                return;
            }
            assert!(
                begun.elapsed() < PUSHED_WITHIN,
                "{known} endpoints of {cluster}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A request to the backends' control port.
    pub(crate) async fn control(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.description.backend.control);
        self.http
            .request(method, url)
            .body(body.to_string())
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .unwrap_or_else(|error| panic!("the backends refused {path}: {error}"))
            .json()
            .await
            .expect("the backends answer in JSON")
    }

    fn part(&self, name: &str) -> &Part {
        let part = self.description.parts.get(name);
        part.unwrap_or_else(|| panic!("the stack has no part {name}"))
    }

    /// Has a part of the stack stand still, with its connections open, until the guard is gone.
    pub(crate) fn freeze(&self, part: &str) -> Frozen {
        let text = std::fs::read_to_string(&self.part(part).pid_file);
        let text = text.unwrap_or_else(|error| panic!("{part} does not run: {error}"));
        let pid = text.split_whitespace().next().expect("the file names it");
        signal("STOP", pid);
        Frozen {
            pid: pid.to_owned(),
        }
    }

    /// Stops a part of the stack until the guard is gone or asked to start it again.
    pub(crate) async fn stop(&self, part: &str) -> Stopped {
        let Part { start, stop, .. } = self.part(part).clone();
        assert!(command(&stop).status().await.expect("it runs").success());
        Stopped { start: Some(start) }
    }
}

/// A part that stands still until this is dropped.
#[must_use = "the part goes on as soon as this is dropped"]
pub(crate) struct Frozen {
    pid: String,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("CONT", &self.pid);
    }
}

/// Sends a signal, by its name without `SIG`.
fn signal(name: &str, pid: &str) {
    let sent = std::process::Command::new("kill")
        .args([&format!("-{name}"), pid])
        .status();
    let sent = sent.is_ok_and(|status| status.success());
    assert!(sent, "SIG{name} was not sent to {pid}");
}

/// A part that is stopped. It starts again with this value's end at the latest,
/// so that a test that fails does not take the tests after it along.
#[must_use = "the part starts again as soon as this is dropped"]
pub(crate) struct Stopped {
    start: Option<Vec<String>>,
}

impl Stopped {
    /// Starts the part and waits until it is ready.
    pub(crate) async fn start(mut self) {
        let start = self.start.take().expect("only this takes it");
        assert!(command(&start).status().await.expect("it runs").success());
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some([program, arguments @ ..]) = self.start.as_deref() {
            let started = std::process::Command::new(program).args(arguments).status();
            eprintln!("started again after a failure: {started:?}");
        }
    }
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    // What it says would stand between the results of the tests.
    command.args(&words[1..]).stdout(Stdio::null());
    command
}

async fn connect(kubeconfig: &PathBuf) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the stack has kubeconfigs");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("the stack's kubeconfigs are whole");
    Client::try_from(config).expect("the stack's certificates are whole")
}

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// The samples of Prometheus' answer to an instant query.
pub(crate) fn samples(answer: &Value) -> Vec<Sample> {
    let result = answer.pointer("/data/result").and_then(Value::as_array);
    result
        .unwrap_or_else(|| panic!("this is no vector: {answer}"))
        .iter()
        .map(|sample| Sample {
            labels: serde_json::from_value(sample["metric"].clone()).expect("labels are texts"),
            value: sample["value"][1]
                .as_str()
                .and_then(|value| value.parse().ok())
                .expect("a value is a number in a text"),
        })
        .collect()
}
