//! Everything the checks need, read before anything is concluded.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

use super::prometheus_search::PrometheusSearch;
use super::sampled_pods::SampledPods;
use super::version::{Version, version_selector};
use crate::cluster::{CallError, Permission};
use crate::istio::{MeshConfig, RouteKind, VirtualService, Workloads};
use crate::metrics::{Flaw, MetricsError, MetricsWarning, Targets, TargetsError, Unit};

/// One moment of the cluster, as far as a rollout depends on it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The VirtualService whose weights would move.
    pub vs: VirtualService,
    /// The version that carries the traffic.
    pub stable: Version,
    /// The version that it moves to.
    pub canary: Version,
    /// In which lists the chosen routes stand.
    pub kinds: Vec<RouteKind>,
    /// Routes that send to stable and are not chosen.
    pub left_behind: Vec<String>,
    /// The other VirtualServices, as far as they may be read.
    pub other_routes: Vec<VirtualService>,
    /// The DestinationRules, as far as they may be read.
    pub rules: Vec<Value>,
    /// The mesh config, or Istio's default where it could not be read.
    pub mesh: MeshConfig,
    /// The PeerAuthentications, where a DestinationRule sets how connections are encrypted.
    pub authentications: Vec<Value>,
    /// Who scales the versions' workloads.
    pub autoscalers: Vec<HorizontalPodAutoscaler>,
    /// The Services that callers ask: those of the object's hosts, or else those of the versions.
    pub asked: Vec<Service>,
    /// The Gateways that are named as waypoints, by `namespace/name`; `None` where there is none.
    pub waypoints: BTreeMap<String, Option<Value>>,
    /// Labels of the versions' namespaces, where pods run without a proxy of their own.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// What we may do, and what not.
    pub grants: Vec<Grant>,
    /// The namespaces that lists were confined to, where all of them may not be read.
    pub within: Option<BTreeSet<String>>,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// What the metrics hold of the two versions; `None` as long as they have not been asked.
    pub samples: Option<Result<Samples, MetricsError>>,
    /// What came of reading stable's and the canary's pods, where their counters are read from them.
    pub sampled_pods: Option<[SampledPods; 2]>,
    /// Which other Services were asked for metrics, where the default one was of no use.
    pub search: Option<PrometheusSearch>,
    /// Whether a GitOps controller that owns the object is known to leave weights alone.
    pub ignore_owner: bool,
    /// When this was.
    pub now: Timestamp,
}

/// A place where facts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The other VirtualServices.
    OtherRoutes,
    /// DestinationRules, for a route that names subsets.
    Subsets,
    /// DestinationRules, for a route that names none.
    Rules,
    /// What is in other namespaces.
    Elsewhere,
    /// Istio's mesh config.
    MeshConfig,
    /// The Service of a version.
    Services,
    /// The ServiceEntries, for a host that is no Service.
    ServiceEntries,
    /// The pods of a version.
    Pods,
    /// PeerAuthentications.
    Authentications,
    /// HorizontalPodAutoscalers.
    Autoscalers,
    /// The namespace's own labels.
    Namespaces,
    /// The waypoint of a Service.
    Waypoints,
    /// The answers about permissions.
    Permissions,
}

/// Something that could not be read.
#[derive(Clone, Debug)]
pub struct Unread {
    /// What.
    pub source: Source,
    /// In which namespace.
    pub namespace: String,
    /// Why not.
    pub error: CallError,
}

/// The answer to one question about a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What was asked for.
    pub permission: Permission,
    /// Where.
    pub namespace: String,
    /// The answer.
    pub allowed: bool,
}

/// What the metrics hold of the two versions.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// What is counted.
    pub counted: Unit,
    /// Who answered, as it may be shown.
    pub source: String,
    /// How many series there are.
    pub series: usize,
    /// How many of them Prometheus adds up, where there are too many to read one by one.
    pub added_up: Option<usize>,
    /// How far back stable's past was read.
    pub depth: SignedDuration,
    /// The newest sample, by Prometheus' clock.
    pub newest: Option<Timestamp>,
    /// How often it scrapes.
    pub scrape: Option<SignedDuration>,
    /// Whether the versions' own proxies have reported of late (`reporter="destination"`).
    pub callees_report: bool,
    /// What keeps them from being used.
    pub flaw: Option<Flaw>,
    /// The canary's share of the requests of late, 0 to 1; `None` of too few.
    pub canary_share: Option<f64>,
    /// What limits what they show.
    pub warnings: Vec<MetricsWarning>,
}

impl Facts {
    /// Stable, then canary.
    pub fn versions(&self) -> [&Version; 2] {
        [&self.stable, &self.canary]
    }

    /// Whom to count in the metrics.
    ///
    /// # Errors
    /// If the metrics do not distinguish the two versions.
    pub fn targets(&self) -> Result<Targets, TargetsError> {
        let [stable, canary] = self
            .versions()
            .map(|version| version_selector(&version.destination, version.workloads()));
        Targets::new(stable, canary)
    }

    /// The canary's pods.
    pub fn canary_workloads(&self) -> Workloads {
        self.canary.workloads()
    }

    /// Whether pods or what selects them could not be read, so that nothing is known of them.
    pub(super) fn pods_unknown(&self) -> bool {
        self.versions().iter().any(|version| version.pods.is_none())
    }
}
