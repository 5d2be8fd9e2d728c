//! The counters of the proxies: one stream for each set of labels.

use std::collections::BTreeMap;

use super::behaviour::BOUNDS;
use super::routing::{Pod, Service, Workload};

/// Which proxy reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReportingProxy {
    /// The caller's.
    Source,
    /// The callee's.
    Destination,
}

/// The caller of a service, as the metrics name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller {
    /// Its workload.
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// The pod of its proxy.
    pub pod: Pod,
}

impl Default for Caller {
    fn default() -> Self {
        let namespace = "istio-system".to_owned();
        Self {
            workload: "istio-ingressgateway".to_owned(),
            pod: Pod {
                name: "istio-ingressgateway-0".to_owned(),
                namespace: namespace.clone(),
                instance: "10.244.0.10:15020".to_owned(),
            },
            namespace,
        }
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestOutcome {
    /// The HTTP status, `0` for none.
    pub code: String,
    /// Envoy's response flags, `-` for none.
    pub flags: String,
    /// The gRPC status, where gRPC was spoken.
    pub grpc: Option<String>,
}

/// What one proxy counts separately.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    /// Which side reports.
    pub reporter: ReportingProxy,
    /// The pod of the reporting proxy.
    pub pod: Pod,
    /// Who calls.
    pub source: Caller,
    /// Who is called.
    pub service: Service,
    /// What answered; `None` where no upstream was reached.
    pub workload: Option<Workload>,
    /// How it ended.
    pub outcome: RequestOutcome,
    /// The operation, where a label names it.
    pub operation: Option<String>,
    /// Whether it is a connection rather than requests.
    pub tcp: bool,
}

impl Stream {
    /// The labels Istio gives this stream, those of the scrape included, without a name.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let unknown = || "unknown".to_owned();
        let side = match self.reporter {
            ReportingProxy::Source => "source",
            ReportingProxy::Destination => "destination",
        };
        let workload = self.workload.as_ref();
        let of =
            |field: fn(&Workload) -> &String| workload.map_or_else(unknown, |w| field(w).clone());
        let security = match self.reporter {
            ReportingProxy::Source => "unknown",
            ReportingProxy::Destination => "mutual_tls",
        };
        let protocol = if self.tcp {
            "tcp"
        } else if self.outcome.grpc.is_some() {
            "grpc"
        } else {
            "http"
        };
        let mut labels = BTreeMap::from(
            [
                ("reporter", side.to_owned()),
                ("source_workload", self.source.workload.clone()),
                ("source_workload_namespace", self.source.namespace.clone()),
                ("source_app", self.source.workload.clone()),
                ("source_version", unknown()),
                ("source_canonical_service", self.source.workload.clone()),
                ("source_canonical_revision", "latest".to_owned()),
                ("source_cluster", "Kubernetes".to_owned()),
                ("destination_service", self.service.host.clone()),
                ("destination_service_name", self.service.name.clone()),
                (
                    "destination_service_namespace",
                    self.service.namespace.clone(),
                ),
                ("destination_workload", of(|w| &w.name)),
                ("destination_workload_namespace", of(|w| &w.namespace)),
                ("destination_app", of(|w| &w.app)),
                ("destination_version", of(|w| &w.version)),
                ("destination_canonical_service", of(|w| &w.app)),
                (
                    "destination_canonical_revision",
                    workload.map_or_else(|| "latest".to_owned(), |w| w.revision.clone()),
                ),
                ("destination_cluster", "Kubernetes".to_owned()),
                ("request_protocol", protocol.to_owned()),
                ("response_code", self.outcome.code.clone()),
                ("response_flags", self.outcome.flags.clone()),
                ("connection_security_policy", security.to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        if let Some(status) = &self.outcome.grpc {
            labels.insert("grpc_response_status".to_owned(), status.clone());
        }
        if let Some(operation) = &self.operation {
            labels.insert("request_operation".to_owned(), operation.clone());
        }
        if self.tcp {
            labels.remove("response_code");
        }
        labels.extend(target_labels(&self.pod));
        labels
    }
}

/// The labels Prometheus adds to everything it scrapes from a pod.
pub fn target_labels(pod: &Pod) -> BTreeMap<String, String> {
    BTreeMap::from(
        [
            ("job", "kubernetes-pods".to_owned()),
            ("instance", pod.instance.clone()),
            ("namespace", pod.namespace.clone()),
            ("pod", pod.name.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

/// What a stream has counted since its proxy started.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamCounters {
    /// Requests.
    pub requests: u64,
    /// Requests by duration, each bucket on its own; the last has no upper bound.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// Milliseconds of all requests together.
    pub milliseconds: f64,
}

impl Default for StreamCounters {
    fn default() -> Self {
        Self {
            requests: 0,
            buckets: [0; BOUNDS.len() + 1],
            milliseconds: 0.0,
        }
    }
}

impl StreamCounters {
    pub(crate) fn add(&mut self, buckets: &[u64], mean: f64) {
        let requests: u64 = buckets.iter().sum();
        self.requests += requests;
        self.milliseconds += requests as f64 * mean;
        for (sum, part) in self.buckets.iter_mut().zip(buckets) {
            *sum += part;
        }
    }
}
