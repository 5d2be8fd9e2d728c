//! What the world is made of, and how time passes in it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use jiff::Timestamp;

use super::api::access::Access;
use super::api::kinds::ResourceKind;
use super::api::store::Store;
use super::faults::Faults;
use super::mesh::Mesh;
use super::prometheus::PrometheusFault;
use super::request_log::RequestLog;
use super::setup::Setup;
use super::{resolve, workloads};

/// Something that is going to happen.
type Event = Box<dyn FnOnce(&mut Setup<'_>) + Send>;

/// The world behind its lock.
pub(crate) struct WorldState {
    /// The world's present. It moves only when the world is accessed.
    pub at: Timestamp,
    pub store: Store,
    pub access: Access,
    pub faults: Faults,
    pub request_log: RequestLog,
    pub mesh: Mesh,
    pub istio_versions: Vec<String>,
    /// The Services behind which there is a Prometheus, by namespace and name.
    pub prometheuses: BTreeMap<(String, String), PrometheusBackend>,
    /// What listens at ports of pods, by namespace, name and port.
    pub pod_ports: BTreeMap<(String, String, u16), SocketAddr>,
    pub addresses: usize,
    /// Watches of an earlier epoch are over.
    pub watch_epoch: u64,
    agenda: Vec<(Timestamp, Event)>,
    /// The changes up to here have been taken account of.
    settled: u64,
}

/// What is behind a Service of Prometheus. All have the samples of the same mesh.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrometheusBackend {
    /// What stands before `/api/v1`, without slashes at the ends.
    pub prefix: String,
    /// What is wrong with this one alone.
    pub faults: Vec<PrometheusFault>,
}

impl WorldState {
    pub(crate) fn new(now: Timestamp) -> Self {
        let store = Store::new();
        let settled = store.revision();
        Self {
            at: now,
            store,
            access: Access::default(),
            faults: Faults::default(),
            request_log: RequestLog::default(),
            mesh: Mesh::new(now),
            istio_versions: ["v1", "v1beta1", "v1alpha3"].map(str::to_owned).to_vec(),
            prometheuses: BTreeMap::new(),
            pod_ports: BTreeMap::new(),
            addresses: 0,
            watch_epoch: 0,
            agenda: Vec::new(),
            settled,
        }
    }

    /// Whether this version of a kind is served.
    pub(crate) fn serves(&self, kind: &ResourceKind, version: &str) -> bool {
        !kind.custom || self.istio_versions.iter().any(|served| served == version)
    }

    pub(crate) fn schedule(&mut self, at: Timestamp, event: Event) {
        let place = self.agenda.partition_point(|(when, _)| *when <= at);
        self.agenda.insert(place, (at, event));
        // Watches wait no longer than until the next event.
        self.store.history.nudge();
    }

    /// When the next thing happens by itself.
    pub(crate) fn next_event(&self) -> Option<Timestamp> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// Lets time pass: what is due happens at its own time, requests flow, Prometheus scrapes.
    pub(crate) fn catch_up(&mut self, now: Timestamp) {
        while self.agenda.first().is_some_and(|(at, _)| *at <= now) {
            let (at, event) = self.agenda.remove(0);
            self.at = self.at.max(at);
            self.mesh.advance(self.at);
            event(&mut Setup { state: self });
            self.settle();
        }
        self.at = self.at.max(now);
        self.mesh.advance(self.at);
    }

    /// Takes account of what has just been changed: controllers first, then the mesh.
    pub(crate) fn settle(&mut self) {
        let since = self.settled;
        let pods_changed = self
            .store
            .history
            .since(since)
            .any(|change| workloads::concerns(change.key.0));
        if pods_changed {
            workloads::reconcile(&mut Setup { state: self });
        }
        self.settled = self.store.revision();
        let hosts: Vec<String> = self.mesh.traffic.hosts().map(str::to_owned).collect();
        let unchanged = since == self.settled && self.mesh.knows(&hosts);
        if !unchanged {
            let routing = resolve::routing(&self.store, hosts.iter().map(String::as_str));
            self.mesh.reroute(self.at, routing);
        }
    }
}
