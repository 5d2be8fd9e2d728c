//! Reading and patching VirtualServices.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use json_patch::Patch;
use kube::Client;
use kube::core::Request;
use kube::core::params::{GetParams, ListParams, PatchParams, ValidationDirective};
use serde_json::Value;
use tokio::time::Instant;

use super::call::{CallError, ErrorKind, bounded};
use super::dry_run::{DryRun, rehearse};
use super::pages::{Listed, pages};
use super::trace::traced;
use crate::istio::{FIELD_MANAGER, VirtualService};
use crate::metrics::Tell;

const GROUP: &str = "/apis/networking.istio.io";

/// Served versions share one schema, so the first that answers is as good as any.
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha3"];

/// How many names there are to choose from where one is missing.
const NAMES: usize = 20;

/// The API server, as far as a rollout needs it.
#[derive(Clone)]
pub struct Cluster {
    pub(super) client: Client,
    pub(super) deadline: Duration,
    /// When all reads together have to be over.
    until: Option<Instant>,
    version: Arc<OnceLock<&'static str>>,
    dry_run: DryRun,
    changes: Arc<Mutex<Vec<(String, String)>>>,
    trace: Option<Tell>,
}

impl Cluster {
    /// Calls through `client` end after `deadline` at the latest.
    pub fn new(client: Client, deadline: Duration) -> Self {
        Self {
            client,
            deadline,
            until: None,
            version: Arc::default(),
            dry_run: DryRun::None,
            changes: Arc::default(),
            trace: None,
        }
    }

    /// The same, but `tell` is told of each request.
    #[must_use]
    pub fn with_trace(mut self, tell: Option<Tell>) -> Self {
        if let Some(tell) = &tell {
            self.client = traced(self.client, tell.clone());
        }
        self.trace = tell;
        self
    }

    /// Who is told of each request.
    pub fn trace(&self) -> Option<&Tell> {
        self.trace.as_ref()
    }

    /// The same, but changes are only rehearsed.
    #[must_use]
    pub fn with_dry_run(mut self, dry_run: DryRun) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The same, but all reads together are over after `time`: what has no answer by then fails.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.until = Some(Instant::now() + time);
        self
    }

    /// How long reads may still take together; `None` where only each by itself is bounded.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(Instant::now());
        // It is shown where it was not enough.
        Some(Duration::from_millis(
            left.as_millis().try_into().unwrap_or(u64::MAX),
        ))
    }

    /// Whether what was written is there to be read.
    pub fn stores(&self) -> bool {
        self.dry_run == DryRun::None
    }

    /// Namespace and name of the objects that were changed through this, or may have been: once for each
    /// PATCH that was sent and not refused, in order.
    pub fn changes(&self) -> Vec<(String, String)> {
        self.changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note_change(&self, vs: &VirtualService) {
        let object = (vs.namespace().to_owned(), vs.name().to_owned());
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.push(object);
    }

    fn forget_change(&self, vs: &VirtualService) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let last = changes
            .iter()
            .rposition(|(namespace, name)| namespace == vs.namespace() && name == vs.name());
        if let Some(index) = last {
            changes.remove(index);
        }
    }

    /// The client, for what is not Kubernetes' own: Prometheus behind the service proxy.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn istio(&self, version: &str, namespace: Option<&str>, plural: &str) -> Request {
        Request::new(match namespace {
            Some(namespace) => format!("{GROUP}/{version}/namespaces/{namespace}/{plural}"),
            None => format!("{GROUP}/{version}/{plural}"),
        })
    }

    pub(super) fn version(&self) -> &'static str {
        self.version.get().copied().unwrap_or(VERSIONS[0])
    }

    /// Calls with v1 first and an older version only where the server does not know it: no
    /// discovery call on the way that nearly everybody goes.
    pub(super) async fn istio_call(
        &self,
        attempted: &str,
        build: impl Fn(&str) -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, CallError> {
        let text = self.istio_text(attempted, build).await?;
        serde_json::from_str(&text).map_err(|error| CallError::unreadable(attempted, error))
    }

    /// The same, as the text that the server sent.
    async fn istio_text(
        &self,
        attempted: &str,
        build: impl Fn(&str) -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<String, CallError> {
        if let Some(version) = self.version.get() {
            return self.text(attempted, build(version)).await;
        }
        let mut unserved = None;
        for version in VERSIONS {
            match self.text(attempted, build(version)).await {
                Err(error) if error.kind == ErrorKind::Unserved => {
                    unserved.get_or_insert(error);
                }
                answer => {
                    // A refused or missing object proves the version as well as a found one does.
                    let proves = answer
                        .as_ref()
                        .map_or_else(|error| error.kind != ErrorKind::Unknown, |_| true);
                    if proves {
                        let _ = self.version.set(version);
                    }
                    return answer;
                }
            }
        }
        Err(unserved.map_or_else(
            || CallError::new(ErrorKind::Unserved, attempted, "no version is served"),
            |error| {
                CallError::new(
                    ErrorKind::Unserved,
                    attempted,
                    format!(
                        "the server does not know networking.istio.io ({})",
                        error.why
                    ),
                )
            },
        ))
    }

    pub(super) async fn send<T: serde::de::DeserializeOwned>(
        &self,
        attempted: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, CallError> {
        let text = self.text(attempted, request).await?;
        serde_json::from_str(&text).map_err(|error| CallError::unreadable(attempted, error))
    }

    async fn text(
        &self,
        attempted: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<String, CallError> {
        let request = request
            .map_err(|error| CallError::new(ErrorKind::Refused, attempted, error.to_string()))?;
        let deadline = match self.time_left() {
            Some(Duration::ZERO) => {
                let why = "no time was left for it";
                return Err(CallError::new(ErrorKind::Unknown, attempted, why));
            }
            left => left.map_or(self.deadline, |left| left.min(self.deadline)),
        };
        bounded(attempted, deadline, self.client.request_text(request)).await
    }

    /// What `make` makes of each object of a list, page by page; with it the version of the list.
    pub(super) async fn pages_of<T>(
        &self,
        attempted: &str,
        list: impl Fn(&ListParams) -> Listed,
        make: impl Fn(&str) -> Result<Option<T>, CallError>,
    ) -> Result<(Vec<T>, String), CallError> {
        let get = |params: ListParams| self.text(attempted, list(&params));
        pages(attempted, get, make).await
    }

    /// The same of a kind of Istio's networking, in a namespace or in all.
    pub(super) async fn istio_pages<T>(
        &self,
        plural: &str,
        namespace: Option<&str>,
        make: impl Fn(&str, &str) -> Result<Option<T>, CallError>,
    ) -> Result<(Vec<T>, String), CallError> {
        let attempted = match namespace {
            Some(namespace) => format!("list {plural} in namespace {namespace}"),
            None => format!("list {plural} in all namespaces"),
        };
        let attempted = attempted.as_str();
        let get = |params: ListParams| async move {
            let build = |version: &str| self.istio(version, namespace, plural).list(&params);
            self.istio_text(attempted, build).await
        };
        pages(attempted, get, |text| make(attempted, text)).await
    }

    /// The VirtualService of that name.
    ///
    /// RBAC: `get` on `virtualservices`.
    ///
    /// # Errors
    /// See [`CallError`]; a missing one comes with the names there are, where we may list them.
    pub async fn virtual_service(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<VirtualService, CallError> {
        match self.read(namespace, name).await {
            Err(error) if error.kind == ErrorKind::Missing => {
                Err(self.missing(namespace, error).await)
            }
            found => found,
        }
    }

    /// The same for a watch, which has no use for the names of others.
    pub(super) async fn read(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<VirtualService, CallError> {
        let attempted = format!("get virtualservice {namespace}/{name}");
        let found = self.istio_call(&attempted, |version| {
            self.istio(version, Some(namespace), "virtualservices")
                .get(name, &GetParams::default())
        });
        view(&attempted, found.await?)
    }

    async fn missing(&self, namespace: &str, error: CallError) -> CallError {
        let name_of = |vs: VirtualService| vs.name().to_owned();
        let all = self.virtual_services(Some(namespace), |_| true, name_of);
        let Ok(names) = all.await else {
            return error;
        };
        let hint = if names.is_empty() {
            format!(
                "there is none in namespace {namespace} (try: another --namespace or --context)"
            )
        } else {
            let (shown, others) = names.split_at(names.len().min(NAMES));
            let others = match others.len() {
                0 => String::new(),
                count => format!(" and {count} others"),
            };
            format!("not found (try: one of {}{others})", shown.join(", "))
        };
        CallError { why: hint, ..error }
    }

    /// The VirtualServices of a namespace, or of all, whose JSON is to be kept; what is made of them is
    /// all that stays in memory.
    ///
    /// RBAC: `list` on `virtualservices`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn virtual_services<T>(
        &self,
        namespace: Option<&str>,
        keep: impl Fn(&str) -> bool,
        make: impl Fn(VirtualService) -> T,
    ) -> Result<Vec<T>, CallError> {
        let (found, _) = self.virtual_services_at(namespace, keep, make).await?;
        Ok(found)
    }

    /// The same, with the version of the list, from which a watch goes on.
    pub(super) async fn virtual_services_at<T>(
        &self,
        namespace: Option<&str>,
        keep: impl Fn(&str) -> bool,
        make: impl Fn(VirtualService) -> T,
    ) -> Result<(Vec<T>, String), CallError> {
        self.istio_pages("virtualservices", namespace, |attempted, json| {
            let is_kept = keep(json);
            let kept = is_kept.then(|| {
                let raw = serde_json::from_str(json)
                    .map_err(|error| CallError::unreadable(attempted, error))?;
                view(attempted, raw).map(&make)
            });
            kept.transpose()
        })
        .await
    }

    /// Changes a VirtualService by one guarded JSON Patch and returns it as it is now.
    ///
    /// RBAC: `patch` on `virtualservices`.
    ///
    /// # Errors
    /// [`ErrorKind::Precondition`] if the object is not what the patch's tests believe; after
    /// [`ErrorKind::Unknown`] the change may have been made: read the object before anything else.
    pub async fn patch(
        &self,
        vs: &VirtualService,
        patch: Patch,
    ) -> Result<VirtualService, CallError> {
        let attempted = format!("patch virtualservice {}", vs.full_name());
        if self.dry_run == DryRun::Client {
            let after = rehearse(vs.raw(), patch).map_err(|error| {
                CallError::new(ErrorKind::Refused, &attempted, error.to_string())
            })?;
            return view(&attempted, after);
        }
        let params = PatchParams {
            dry_run: self.dry_run == DryRun::Server,
            field_manager: Some(FIELD_MANAGER.into()),
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        let patch = kube::core::params::Patch::Json::<()>(patch);
        // Whoever stops waiting for the answer does not know what became of it.
        if self.stores() {
            self.note_change(vs);
        }
        let sent = self.istio_call(&attempted, |version| {
            self.istio(version, Some(vs.namespace()), "virtualservices")
                .patch(vs.name(), &params, &patch)
        });
        let answer = sent.await;
        if answer
            .as_ref()
            .is_err_and(|error| error.kind != ErrorKind::Unknown)
        {
            self.forget_change(vs);
        }
        view(&attempted, answer?)
    }
}

fn view(attempted: &str, raw: Value) -> Result<VirtualService, CallError> {
    VirtualService::new(raw)
        .map_err(|error| CallError::new(ErrorKind::Unknown, attempted, error.to_string()))
}

pub(super) fn version_of(raw: &Value) -> String {
    let version = raw
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str);
    version.unwrap_or_default().to_owned()
}
