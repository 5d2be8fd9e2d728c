//! An application in two versions, in a namespace of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::load::Load;
use crate::program::Program;
use crate::stack::{PUSHED_WITHIN, Stack};

/// How long the pods and the proxies may take until a first request is answered.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How many pods each version has.
const REPLICAS: usize = 2;

/// Flags that make steps of three seconds, judged by a limit.
const BRISK: &str = "--analysis threshold --max-error-rate 5% --margin 5% --min-requests 20 \
                     --dwell 3s --interval 1s";

/// The application: Service, DestinationRule and VirtualService `reviews`,
/// Deployments `reviews-v1` and `reviews-v2`, all requests on `v1`.
pub(crate) struct App {
    pub(crate) stack: Stack,
    pub(crate) namespace: String,
    owner: Owner,
    finished: bool,
}

/// What the pods of each version belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Deployment,
    /// The ReplicaSet that an Argo Rollout makes.
    Rollout,
    /// The ReplicationController that an OpenShift DeploymentConfig makes.
    DeploymentConfig,
}

/// What the backends counted, by version and by pod.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Counts {
    pub(crate) versions: BTreeMap<String, Count>,
    pub(crate) pods: BTreeMap<String, Count>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Count {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) connections: u64,
}

/// A VirtualService with its spec as the server wrote it, byte for byte.
#[derive(Deserialize)]
pub(crate) struct Route {
    pub(crate) metadata: Metadata,
    pub(crate) spec: Box<RawValue>,
}

#[derive(Deserialize)]
pub(crate) struct Metadata {
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl App {
    /// Makes the application and waits until the gateway reaches it.
    pub(crate) async fn start(stack: &Stack, name: &str) -> Self {
        Self::start_owned(stack, name, Owner::Deployment).await
    }

    /// The same with pods that belong to something else.
    pub(crate) async fn start_owned(stack: &Stack, name: &str, owner: Owner) -> Self {
        // The process' id keeps this run apart from one that was interrupted.
        let namespace = format!("{name}-{}", std::process::id());
        let app = Self {
            stack: stack.clone(),
            namespace,
            owner,
            finished: false,
        };
        app.apply(app.workloads()).await;
        // A route to pods that are not there yet would answer 503, and those
        // answers would stand in the namespace's metrics for the whole test.
        app.pods_are_ready().await;
        app.apply(app.routes()).await;
        app.answers().await;
        app
    }

    async fn apply(&self, objects: Vec<Value>) {
        for object in objects {
            let applied = self.stack.apply(&object).await;
            applied.unwrap_or_else(|error| panic!("{object} was refused: {error}"));
        }
    }

    async fn pods_are_ready(&self) {
        let started = Instant::now();
        for workload in ["v1", "v2"].map(|version| self.workload(version)) {
            let text = |pointer| workload.pointer(pointer).and_then(Value::as_str);
            let [version, kind, name] = ["/apiVersion", "/kind", "/metadata/name"]
                .map(|pointer| text(pointer).expect("every object has it"));
            let api = self.stack.api(version, kind, &self.namespace);
            loop {
                let made = api.get(name).await.expect("it was just made");
                if made.data["status"]["availableReplicas"] == REPLICAS {
                    break;
                }
                assert!(started.elapsed() < READY_WITHIN, "{made:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// The host of the gateway's route.
    pub(crate) fn host(&self) -> String {
        format!("{}.example", self.namespace)
    }

    /// The Service's full name, which is a mesh-internal route's host.
    pub(crate) fn service(&self) -> String {
        format!("reviews.{}.svc.cluster.local", self.namespace)
    }

    /// Load through the gateway.
    pub(crate) fn load(&self) -> Load {
        Load::new(&self.stack.description.gateway.http, &self.host())
    }

    /// Load as a client inside the mesh sends it.
    pub(crate) fn internal_load(&self) -> Load {
        Load::new(&self.stack.description.client.http, &self.service())
    }

    /// Sets how a version behaves, for example `{"errors": 0.1}`; see the
    /// backend's `Behaviour` for all of it.
    pub(crate) async fn behave(&self, version: &str, behaviour: Value) {
        let path = format!("/behaviours/{}/{version}", self.namespace);
        self.stack.control(Method::PUT, &path, &behaviour).await;
    }

    /// What the backends counted since the start or since the last [`Self::take_counts`].
    pub(crate) async fn counts(&self) -> Counts {
        self.ask_counts(Method::GET).await
    }

    /// The counts, which start again at zero.
    pub(crate) async fn take_counts(&self) -> Counts {
        self.ask_counts(Method::DELETE).await
    }

    async fn ask_counts(&self, method: Method) -> Counts {
        let path = format!("/counts/{}", self.namespace);
        let counts = self.stack.control(method, &path, &Value::Null).await;
        serde_json::from_value(counts).expect("the backends tell counts")
    }

    /// Writes the weights of the gateway's route, and waits until the gateway has them.
    pub(crate) async fn set_weights(&self, stable: u32, canary: u32) -> kube::Result<()> {
        self.patch_weights(json!(stable), json!(canary)).await?;
        self.until_served(stable, canary).await;
        Ok(())
    }

    /// Waits until the gateway works with these weights; a write takes a moment to reach it.
    pub(crate) async fn until_served(&self, stable: u32, canary: u32) {
        let mut expected = BTreeMap::from([
            ("v1".to_owned(), u64::from(stable)),
            ("v2".to_owned(), u64::from(canary)),
        ]);
        expected.retain(|_, weight| *weight > 0);
        let written = Instant::now();
        loop {
            let served = self.served_weights().await;
            if served == expected {
                return;
            }
            assert!(written.elapsed() < PUSHED_WITHIN, "served: {served:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The weights by subset that the gateway works with, which is what counts in
    /// the end. istiod leaves out a destination whose weight is 0.
    pub(crate) async fn served_weights(&self) -> BTreeMap<String, u64> {
        let admin = &self.stack.description.gateway.admin;
        let dump = self.stack.configuration(admin, "dynamic_route_configs");
        let dump: Value = serde_json::from_str(&dump.await).expect("Envoy dumps JSON");
        let entries = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let subset = |cluster: &Value| {
            let name = cluster.as_str().unwrap_or_default();
            name.split('|').nth(2).unwrap_or_default().to_owned()
        };
        let host = Value::from(self.host());
        entries(&dump["configs"])
            .iter()
            .flat_map(|config| entries(&config["route_config"]["virtual_hosts"]))
            .filter(|virtual_host| entries(&virtual_host["domains"]).contains(&host))
            .flat_map(|virtual_host| entries(&virtual_host["routes"]))
            .filter(|route| route["name"] == "primary")
            .flat_map(|route| match &route["route"]["cluster"] {
                Value::Null => entries(&route["route"]["weighted_clusters"]["clusters"])
                    .iter()
                    .map(|of| (subset(&of["name"]), of["weight"].as_u64().unwrap_or(0)))
                    .collect(),
                cluster => vec![(subset(cluster), 100)],
            })
            .collect()
    }

    /// Writes whatever stands for weights; the API server may refuse it.
    pub(crate) async fn patch_weights(&self, stable: Value, canary: Value) -> kube::Result<()> {
        let patch: json_patch::Patch = serde_json::from_value(json!([
            {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": stable},
            {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": canary},
        ]))
        .expect("this is a JSON Patch");
        self.stack
            .virtual_services(&self.namespace)
            .patch(
                "reviews",
                &PatchParams::default(),
                &Patch::<()>::Json(patch),
            )
            .await?;
        Ok(())
    }

    /// `kubectl canary` with these words, in the application's namespace.
    pub(crate) fn canary(&self, words: &str) -> Program {
        Program::new(&self.stack.description, &self.namespace, words)
    }

    /// `kubectl canary start reviews` with these words, quick enough for a test.
    pub(crate) fn rollout(&self, words: &str) -> Program {
        self.canary(&format!("start reviews {BRISK} {words}"))
    }

    /// A VirtualService of the application's namespace.
    pub(crate) async fn route(&self, name: &str) -> Route {
        let path = format!(
            "/apis/networking.istio.io/v1/namespaces/{}/virtualservices/{name}",
            self.namespace
        );
        let request = http::Request::get(&path).body(Vec::new());
        let request = request.expect("a namespace makes a path");
        let answer = self.stack.client.request_text(request).await;
        let answer = answer.unwrap_or_else(|error| panic!("{path} was not read: {error}"));
        serde_json::from_str(&answer).expect("the API server answers with the object")
    }

    /// The spec of the route as the API server sends it, byte for byte.
    pub(crate) async fn spec(&self) -> String {
        self.route("reviews").await.spec.get().to_owned()
    }

    /// What the route's annotation `kubectl-canary.dev/NAME` says.
    pub(crate) async fn annotation(&self, name: &str) -> Option<String> {
        let mut annotations = self.route("reviews").await.metadata.annotations;
        annotations.remove(&format!("kubectl-canary.dev/{name}"))
    }

    /// Fails unless the spec is `before` to the last byte, no rollout is under way,
    /// and the last one has left its word.
    pub(crate) async fn is_restored_to(&self, before: &str) {
        assert_eq!(self.spec().await, before);
        assert_eq!(self.annotation("rollout").await, None);
        let last = self.annotation("last").await.unwrap_or_default();
        assert!(last.contains("rolled-back"), "{last}");
    }

    /// Deletes the application. One that is dropped without this is deleted too,
    /// only without waiting for it.
    pub(crate) async fn finish(mut self) {
        let path = format!("/namespaces/{}", self.namespace);
        self.stack
            .control(Method::DELETE, &path, &Value::Null)
            .await;
        self.delete();
        self.finished = true;
    }

    fn delete(&self) {
        let description = &self.stack.description;
        let deleted = std::process::Command::new(&description.kubectl)
            .arg("--kubeconfig")
            .arg(&description.kubeconfig.admin)
            .args(["delete", "namespace", "--wait=false", "--ignore-not-found"])
            .arg(&self.namespace)
            .output();
        match deleted {
            Ok(output) if output.status.success() => {}
            Ok(output) => eprintln!("{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => eprintln!("kubectl did not run: {error}"),
        }
    }

    async fn answers(&self) {
        let started = Instant::now();
        loop {
            let report = self.load().requests(1).run().await;
            if report.answered("v1") == 1 {
                break;
            }
            assert!(started.elapsed() < READY_WITHIN, "no answer: {report:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // An answer of v1 says nothing of v2, whose requests would fail until its pods are known too.
        for version in ["v1", "v2"] {
            let cluster = format!("80|{version}|{}", self.service());
            let admin = &self.stack.description.gateway.admin;
            self.stack.await_endpoints(admin, &cluster, REPLICAS).await;
        }
        self.take_counts().await;
    }

    fn workloads(&self) -> Vec<Value> {
        let namespace = &self.namespace;
        vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "reviews", "namespace": namespace},
                "spec": {
                    "selector": {"app": "reviews"},
                    "ports": [
                        {"name": "http", "port": 80, "targetPort": 8080},
                        {"name": "tcp", "port": 9000, "targetPort": 9000},
                    ],
                },
            }),
            self.workload("v1"),
            self.workload("v2"),
        ]
    }

    fn routes(&self) -> Vec<Value> {
        let namespace = &self.namespace;
        let mesh = "networking.istio.io/v1";
        vec![
            json!({
                "apiVersion": mesh, "kind": "DestinationRule",
                "metadata": {"name": "reviews", "namespace": namespace},
                "spec": {"host": "reviews", "subsets": [
                    {"name": "v1", "labels": {"version": "v1"}},
                    {"name": "v2", "labels": {"version": "v2"}},
                ]},
            }),
            json!({
                "apiVersion": mesh, "kind": "VirtualService",
                "metadata": {"name": "reviews", "namespace": namespace},
                "spec": {
                    "hosts": [self.host()],
                    "gateways": [self.stack.description.gateway.name],
                    "http": [{"name": "primary", "route": [
                        {"destination": {"host": "reviews", "port": {"number": 80}, "subset": "v1"}, "weight": 100},
                        {"destination": {"host": "reviews", "port": {"number": 80}, "subset": "v2"}, "weight": 0},
                    ]}],
                },
            }),
        ]
    }

    fn workload(&self, version: &str) -> Value {
        let mut labels = json!({"app": "reviews", "version": version});
        let (api_version, kind, name) = match self.owner {
            Owner::Deployment => ("apps/v1", "Deployment", format!("reviews-{version}")),
            Owner::Rollout => (
                "apps/v1",
                "ReplicaSet",
                format!("reviews-{version}-6d54c7f9b8"),
            ),
            Owner::DeploymentConfig => (
                "v1",
                "ReplicationController",
                format!("reviews-{version}-3"),
            ),
        };
        match self.owner {
            Owner::Deployment => {}
            Owner::Rollout => labels["rollouts-pod-template-hash"] = json!("6d54c7f9b8"),
            Owner::DeploymentConfig => {
                labels["deploymentconfig"] = json!(format!("reviews-{version}"))
            }
        }
        let mut workload = json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels},
            "spec": {
                "replicas": REPLICAS,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "reviews", "image": format!("stack/reviews:{version}")}]},
                },
            },
        });
        match self.owner {
            // So that a change of the pods takes the old ones away even if the new ones never
            // become ready.
            Owner::Deployment => workload["spec"]["strategy"] = json!({"type": "Recreate"}),
            Owner::Rollout => {}
            Owner::DeploymentConfig => workload["spec"]["selector"] = labels,
        }
        workload
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if !self.finished {
            self.delete();
        }
    }
}
