//! The objects of one source, applied as they are and taken away again.

use std::time::{Duration, Instant};

use kube::api::{DynamicObject, Patch, PatchParams};
use reqwest::Method;
use serde_json::{Value, json};

use super::BRISK;
use crate::app::Counts;
use crate::load::Load;
use crate::program::Program;
use crate::stack::Stack;

/// What all objects here are labelled with, so that leftovers are found whatever their names.
const LABEL: &str = "kubectl-canary.stack/part";
const SOURCES: &str = "sources";

/// How long new pods may take to be ready and reached.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// The kinds of the objects, as kubectl takes them.
const KINDS: &str =
    "virtualservices,destinationrules,gateways.networking.istio.io,services,deployments";

/// Where a source is called from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    /// From outside, with this host.
    Gateway(&'static str),
    /// By a client inside the mesh, with the Service's full name.
    Mesh(&'static str),
}

/// Objects of a source, and the VirtualService among them that is rolled out.
pub(super) struct Source {
    pub(super) stack: Stack,
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    caller: Caller,
    finished: bool,
}

impl Source {
    /// Applies the objects, workloads before routes, and waits for the pods.
    pub(super) async fn open(
        stack: &Stack,
        (namespace, name): (&'static str, &'static str),
        caller: Caller,
        files: &[&str],
    ) -> Self {
        let objects: Vec<_> = files.iter().flat_map(|file| objects(file)).collect();
        let source = Self {
            stack: stack.clone(),
            namespace,
            name,
            caller,
            finished: false,
        };
        source.take_away(true);
        let (first, then): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|object| !is_of_the_mesh(object));
        source.apply_all(&first).await;
        source.pods_are_ready(&first).await;
        source.apply_all(&then).await;
        source.forget_counts().await;
        source
    }

    async fn apply_all(&self, objects: &[Value]) {
        for object in objects {
            let mut object = object.clone();
            object["metadata"]["labels"][LABEL] = SOURCES.into();
            let applied = self.stack.apply(&object).await;
            applied.unwrap_or_else(|error| panic!("{object} was refused: {error}"));
        }
    }

    async fn pods_are_ready(&self, objects: &[Value]) {
        let deployments = self.stack.api("apps/v1", "Deployment", self.namespace);
        let began = Instant::now();
        for object in objects
            .iter()
            .filter(|object| object["kind"] == "Deployment")
        {
            let name = object["metadata"]["name"].as_str().expect("it has a name");
            loop {
                let deployment = deployments.get(name).await.expect("it was just made");
                if deployment.data["status"]["availableReplicas"] == object["spec"]["replicas"] {
                    break;
                }
                assert!(began.elapsed() < READY_WITHIN, "{deployment:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Load as the source's callers send it.
    pub(super) fn load(&self) -> Load {
        let description = &self.stack.description;
        match self.caller {
            Caller::Gateway(host) => Load::new(&description.gateway.http, host),
            Caller::Mesh(service) => Load::new(&description.client.http, service),
        }
    }

    /// Waits until a version answers its callers.
    pub(super) async fn answers(&self) {
        let began = Instant::now();
        loop {
            let report = self.load().requests(1).run().await;
            if report.total() - report.failed() == 1
                && report.counts.keys().all(|(of, _)| of.is_some())
            {
                break;
            }
            assert!(began.elapsed() < READY_WITHIN, "no answer: {report:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.forget_counts().await;
    }

    /// Sets how a version behaves; see the backend's `Behaviour`.
    pub(super) async fn behave(&self, version: &str, behaviour: Value) {
        let path = format!("/behaviours/{}/{version}", self.namespace);
        self.stack.control(Method::PUT, &path, &behaviour).await;
    }

    /// What the backends counted since the last [`Self::forget_counts`].
    pub(super) async fn counts(&self) -> Counts {
        let path = format!("/counts/{}", self.namespace);
        let counts = self.stack.control(Method::GET, &path, &Value::Null).await;
        serde_json::from_value(counts).expect("the backends tell counts")
    }

    /// The counts start again at zero.
    pub(super) async fn forget_counts(&self) {
        let path = format!("/counts/{}", self.namespace);
        self.stack
            .control(Method::DELETE, &path, &Value::Null)
            .await;
    }

    /// `kubectl canary COMMAND` on the source's VirtualService.
    pub(super) fn canary(&self, command: &str, words: &str) -> Program {
        let words = format!("{command} {} {words}", self.name);
        Program::new(&self.stack.description, self.namespace, &words)
    }

    /// `kubectl canary start`, quick enough for a test.
    pub(super) fn rollout(&self, words: &str) -> Program {
        self.canary("start", &format!("{BRISK} {words}"))
    }

    pub(super) async fn object(&self) -> DynamicObject {
        let services = self.stack.virtual_services(self.namespace);
        services.get(self.name).await.expect("it was applied")
    }

    pub(super) async fn spec(&self) -> Value {
        self.object().await.data["spec"].clone()
    }

    /// The weights of a rule, in order; an absent one is 0.
    pub(super) async fn weights(&self, kind: &str, rule: usize) -> Vec<u64> {
        let spec = self.spec().await;
        let route = spec[kind][rule]["route"]
            .as_array()
            .expect("it has destinations");
        route
            .iter()
            .map(|to| to["weight"].as_u64().unwrap_or(0))
            .collect()
    }

    /// A merge patch by somebody else.
    pub(super) async fn edit(&self, manager: &str, change: &Value) {
        let manager = PatchParams {
            field_manager: Some(manager.into()),
            ..PatchParams::default()
        };
        let services = self.stack.virtual_services(self.namespace);
        let patch = Patch::Merge(change);
        let edited = services.patch(self.name, &manager, &patch).await;
        edited.expect("Istio's webhook takes it");
    }

    /// Fails unless the spec is as `before`, and no rollout is under way.
    pub(super) async fn is_as_it_was(&self, before: &Value) {
        let object = self.object().await;
        assert_eq!(&object.data["spec"], before);
        let annotations = object.metadata.annotations.unwrap_or_default();
        assert!(
            !annotations.contains_key("kubectl-canary.dev/rollout"),
            "{annotations:?}"
        );
    }

    /// Takes the objects away. One that is dropped without this does so too.
    pub(super) async fn finish(mut self) {
        let path = format!("/namespaces/{}", self.namespace);
        self.stack
            .control(Method::DELETE, &path, &Value::Null)
            .await;
        self.take_away(false);
        self.finished = true;
    }

    /// Deletes whatever is labelled as ours in the namespace. The namespace itself stays, empty: to wait
    /// for its end would take longer than most tests here.
    fn take_away(&self, wait: bool) {
        let words = format!(
            "delete {KINDS} -n {} -l {LABEL}={SOURCES} --cascade=foreground --ignore-not-found --wait={wait}",
            self.namespace
        );
        let deleted = self.stack.kubectl(&words, "");
        if !deleted.status.success() {
            eprintln!("{words}: {}", String::from_utf8_lossy(&deleted.stderr));
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if !self.finished {
            self.take_away(false);
        }
    }
}

pub(crate) fn objects(file: &str) -> Vec<Value> {
    let documents = file.split("\n---\n");
    documents
        .map(|text| {
            serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
        })
        .collect()
}

pub(crate) fn is_of_the_mesh(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    version.starts_with("networking.istio.io/")
}

/// A destination with a weight, as a route holds it.
pub(super) fn to(host: &str, subset: &str, weight: u64) -> Value {
    json!({"destination": {"host": host, "subset": subset}, "weight": weight})
}
