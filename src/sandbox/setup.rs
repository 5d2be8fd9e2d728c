//! Everything a set-up, a scheduled event or a test may do to the world.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde_json::Value;

use super::faults::Faults;
use super::mesh::Scrapes;
use super::prometheus::PrometheusFault;
use super::state::{PrometheusBackend, WorldState};
use super::workloads::Pods;
use crate::sandbox::api::{ApiStatus, Denial, ObjectSelector, ResourceKind, Write, split_version};
use crate::sandbox::traffic::TrafficModel;

/// Who writes the set-up.
const MANAGER: &str = "sandbox";

/// The world as a set-up sees it: no access control, no faults, no journal.
pub struct Setup<'w> {
    pub(crate) state: &'w mut WorldState,
}

impl<'w> Setup<'w> {
    /// The world's present.
    pub fn now(&self) -> Timestamp {
        self.state.at
    }

    /// Creates or replaces an object, its status included, and returns it as stored.
    ///
    /// # Panics
    /// If the object is of a kind this world does not have, or the API server would refuse it.
    pub fn apply(&mut self, object: Value) -> Value {
        let kind = ResourceKind::of(&object).expect("a set-up uses kinds of this world");
        let (_, version) = split_version(object["apiVersion"].as_str().unwrap_or_default());
        let version = version.to_owned();
        let write = Write {
            manager: MANAGER,
            version: &version,
            subresource: None,
            dry_run: false,
            with_status: true,
            now: self.state.at,
        };
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let namespace = match text("namespace") {
            "" if kind.namespaced => "default".to_owned(),
            namespace => namespace.to_owned(),
        };
        let name = text("name").to_owned();
        let store = &mut self.state.store;
        let applied = if store.get(kind, &namespace, &name).is_some() {
            store.update(kind, &namespace, &name, &write, |_| {
                let mut wanted = object;
                // What is applied stands for the object as a whole, whatever version it was read at.
                if let Some(metadata) = wanted["metadata"].as_object_mut() {
                    metadata.remove("resourceVersion");
                    metadata.remove("uid");
                }
                Ok(wanted)
            })
        } else {
            store.create(kind, &namespace, object, &write)
        };
        settled(applied)
    }

    /// A foreign edit: another client, `manager`, changes the object.
    ///
    /// # Panics
    /// If not found, or the API server would refuse the change.
    pub fn edit(
        &mut self,
        plural: &str,
        namespace: &str,
        name: &str,
        manager: &str,
        change: impl FnOnce(&mut Value),
    ) {
        let kind = known(plural);
        let write = Write {
            manager,
            version: kind.versions[0],
            subresource: None,
            dry_run: false,
            with_status: true,
            now: self.state.at,
        };
        let edited = self
            .state
            .store
            .update(kind, namespace, name, &write, |live| {
                let mut wanted = live.clone();
                change(&mut wanted);
                Ok(wanted)
            });
        settled(edited);
    }

    /// Deletes an object, if it is there.
    pub fn delete(&mut self, plural: &str, namespace: &str, name: &str) {
        let deleted = self
            .state
            .store
            .delete(known(plural), namespace, name, false);
        drop(deleted);
    }

    /// An object as stored.
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state
            .store
            .get(known(plural), namespace, name)
            .cloned()
    }

    /// The names of all objects of a kind in a namespace; the kind by its plural.
    pub fn names(&self, plural: &str, namespace: &str) -> Vec<String> {
        let listed = self.list(plural, namespace, &ObjectSelector::default());
        let names = listed.iter().map(|object| &object["metadata"]["name"]);
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Pods chosen by a label selector, to be made ready, broken or deleted.
    pub fn pods(&mut self, namespace: &str, selector: &str) -> Pods<'_, 'w> {
        Pods::new(self, namespace, selector)
    }

    /// The traffic model.
    pub fn traffic(&mut self) -> &mut TrafficModel {
        &mut self.state.mesh.traffic
    }

    /// The scrapes of Prometheus.
    pub fn scrapes(&mut self) -> &mut Scrapes {
        &mut self.state.mesh.scrapes
    }

    /// A Service of the set-up gets a Prometheus of the same mesh, below `prefix`, with what is wrong with it.
    pub fn prometheus_behind(
        &mut self,
        namespace: &str,
        service: &str,
        prefix: &str,
        faults: &[PrometheusFault],
    ) {
        let backend = PrometheusBackend {
            prefix: prefix.trim_matches('/').to_owned(),
            faults: faults.to_vec(),
        };
        let place = (namespace.to_owned(), service.to_owned());
        self.state.prometheuses.insert(place, backend);
    }

    /// A port-forward to a port of a pod leads to this address.
    pub fn listen_in_pod(&mut self, namespace: &str, pod: &str, port: u16, address: SocketAddr) {
        let place = (namespace.to_owned(), pod.to_owned(), port);
        self.state.pod_ports.insert(place, address);
    }

    /// The scripted faults.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.state.faults
    }

    /// Takes a right away.
    pub fn deny(&mut self, denial: Denial) {
        self.state.access.deny(denial);
    }

    /// Gives all rights back.
    pub fn allow_all(&mut self) {
        self.state.access.restore();
    }

    /// Serves only these versions of Istio's API; the storage does not change.
    pub fn serve_istio_versions(&mut self, versions: &[&str]) {
        self.state.istio_versions = versions.iter().map(|&version| version.to_owned()).collect();
    }

    /// Takes istiod's webhook away: what the schema allows is stored.
    pub fn remove_webhook(&mut self) {
        self.state.store.has_webhook = false;
    }

    /// How long a changed route takes to the proxies.
    pub fn propagation(&mut self, delay: jiff::SignedDuration) {
        self.state.mesh.propagation = delay;
    }

    /// Ends every running watch, as when a connection breaks.
    pub fn end_watches(&mut self) {
        self.state.watch_epoch += 1;
        self.state.store.history.nudge();
    }

    /// Forgets all changes so far: a watch from before now is answered 410.
    pub fn compact(&mut self) {
        self.state.store.history.compact();
    }

    pub(crate) fn list(
        &self,
        plural: &str,
        namespace: &str,
        selector: &ObjectSelector,
    ) -> Vec<Value> {
        let kind = known(plural);
        let listed = self.state.store.list(kind, Some(namespace), selector);
        listed.cloned().collect()
    }

    pub(crate) fn list_all(&self, plural: &str, selector: &ObjectSelector) -> Vec<Value> {
        let listed = self.state.store.list(known(plural), None, selector);
        listed.cloned().collect()
    }

    /// An address for one more pod.
    pub(crate) fn next_address(&mut self) -> String {
        self.state.addresses += 1;
        let n = self.state.addresses;
        format!("10.244.{}.{}", 1 + n / 250, 1 + n % 250)
    }
}

fn known(plural: &str) -> &'static ResourceKind {
    ResourceKind::by_plural(plural).expect("a set-up uses kinds of this world")
}

fn settled(result: Result<Value, ApiStatus>) -> Value {
    match result {
        Ok(object) => object,
        Err(refusal) => panic!("the API server refuses this set-up: {}", refusal.text()),
    }
}
