//! From a version as routes name it to its pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus, Service};
use kube::core::Request;
use kube::core::params::{GetParams, ListParams, WatchParams};

use super::watch::{Events, events_of};
use super::{CallError, Cluster, ErrorKind};
use crate::istio::{Destination, Subset, Workloads};

/// Where the pods of a version are, and what tells them from others.
#[derive(Clone, Debug)]
pub(super) struct PodScope {
    namespace: String,
    /// As a label selector.
    labels: String,
}

impl PodScope {
    fn new(namespace: &str, labels: &BTreeMap<String, String>) -> Self {
        let labels: Vec<_> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        Self {
            namespace: namespace.to_owned(),
            labels: labels.join(","),
        }
    }

    fn attempted(&self, verb: &str) -> String {
        let Self { namespace, labels } = self;
        format!("{verb} pods of {labels} in namespace {namespace}")
    }

    fn pods(&self) -> Request {
        Request::new(format!("/api/v1/namespaces/{}/pods", self.namespace))
    }
}

/// A pod without what nobody here looks at, which is most of it: a Service may have thousands.
pub(super) fn in_short(mut pod: Pod) -> Pod {
    pod.metadata.managed_fields = None;
    pod.metadata.annotations = None;
    if let Some(spec) = pod.spec.take() {
        let init = spec.init_containers.unwrap_or_default();
        let containers = spec.containers.into_iter();
        pod.spec = Some(PodSpec {
            containers: containers.map(named).collect(),
            init_containers: Some(init.into_iter().map(named).collect()),
            ..PodSpec::default()
        });
    }
    if let Some(status) = pod.status.take() {
        pod.status = Some(PodStatus {
            phase: status.phase,
            conditions: status.conditions,
            container_statuses: status.container_statuses,
            start_time: status.start_time,
            ..PodStatus::default()
        });
    }
    pod
}

fn named(container: Container) -> Container {
    Container {
        name: container.name,
        image: container.image,
        ports: container.ports,
        ..Container::default()
    }
}

impl Cluster {
    /// The pods behind a destination: those of its Service that carry the subset's labels.
    ///
    /// RBAC: `get` on `services`, `list` on `pods`.
    ///
    /// # Errors
    /// See [`CallError`]; a host that is no Service of the cluster, and a Service without a
    /// selector, have no pods that could be listed: both are empty, not errors.
    pub async fn workloads(
        &self,
        destination: &Destination,
        subsets: &[Subset],
    ) -> Result<Workloads, CallError> {
        let Some(scope) = self.pod_scope(destination, subsets).await? else {
            return Ok(Workloads::default());
        };
        let (pods, _) = self.pods_at(&scope).await?;
        Ok(Workloads::of(&pods))
    }

    /// Which pods are behind a destination; `None` where there are none that could be listed.
    ///
    /// RBAC: `get` on `services`.
    pub(super) async fn pod_scope(
        &self,
        destination: &Destination,
        subsets: &[Subset],
    ) -> Result<Option<PodScope>, CallError> {
        let Some((service, namespace)) = destination.host.service() else {
            return Ok(None);
        };
        let service = self.service(namespace, service).await?;
        let selector = service.and_then(|service| service.spec?.selector);
        let Some(mut labels) = selector.filter(|labels| !labels.is_empty()) else {
            return Ok(None);
        };
        if let Some(name) = &destination.subset {
            let subset = subsets
                .iter()
                .find(|subset| subset.host == destination.host && subset.name == *name);
            labels.extend(
                subset
                    .map(|subset| subset.labels.clone())
                    .unwrap_or_default(),
            );
        }
        Ok(Some(PodScope::new(namespace, &labels)))
    }

    /// The pods that carry these labels, each as far as a rollout looks at it.
    ///
    /// RBAC: `list` on `pods`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn pod_list(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<Pod>, CallError> {
        let (pods, _) = self.pods_at(&PodScope::new(namespace, labels)).await?;
        Ok(pods)
    }

    /// The pods there are, with the version of the list, from which a watch goes on.
    ///
    /// RBAC: `list` on `pods`.
    pub(super) async fn pods_at(&self, scope: &PodScope) -> Result<(Vec<Pod>, String), CallError> {
        let attempted = scope.attempted("list");
        let list = |params: &ListParams| {
            let params = params.clone().labels(&scope.labels);
            scope.pods().list(&params)
        };
        let make = |json: &str| {
            let pod = serde_json::from_str(json)
                .map_err(|error| CallError::unreadable(&attempted, error))?;
            Ok(Some(in_short(pod)))
        };
        self.pages_of(&attempted, list, make).await
    }

    /// What happens to the pods from a version on.
    ///
    /// RBAC: `watch` on `pods`.
    pub(super) async fn pod_events(
        &self,
        scope: &PodScope,
        version: &str,
    ) -> Result<Events<Pod>, CallError> {
        let params = WatchParams::default().labels(&scope.labels);
        events_of(
            self,
            &scope.attempted("watch"),
            &scope.pods(),
            params,
            version,
        )
        .await
    }

    /// The Service of that name, if there is one: a host may be a ServiceEntry's.
    ///
    /// RBAC: `get` on `services`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn service(&self, namespace: &str, name: &str) -> Result<Option<Service>, CallError> {
        let attempted = format!("get service {namespace}/{name}");
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/services"))
            .get(name, &GetParams::default());
        match self.send::<Service>(&attempted, request).await {
            Ok(service) => Ok(Some(service)),
            Err(error) if error.kind == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }
}
