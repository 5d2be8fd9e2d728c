//! The world itself: what it is set up with, changed by and asked for.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::api::Denial;
use super::faults::Faults;
use super::mesh::Scrapes;
use super::request_log::Call;
use super::setup::Setup;
use super::state::WorldState;
use super::traffic::TrafficModel;
use crate::clock::Clock;

/// Where Prometheus is found through the API server.
const PROMETHEUS: (&str, &str) = ("istio-system", "prometheus");

/// A cluster with a mesh and a Prometheus, in memory. Clones are the same world.
///
/// Time passes lazily: at every access, traffic, scrapes and scheduled events are brought up to the
/// clock. There is no task behind it, so a paused clock of tokio's stays paused.
#[derive(Clone)]
pub struct World {
    clock: Clock,
    state: Arc<Mutex<WorldState>>,
}

impl World {
    /// An empty cluster: the namespaces `default` and `istio-system`, and a Prometheus.
    pub fn new(clock: Clock) -> Self {
        let state = WorldState::new(clock.now());
        let world = Self {
            clock,
            state: Arc::new(Mutex::new(state)),
        };
        world.set(|stage| {
            for name in ["default", PROMETHEUS.0] {
                stage.apply(json!({
                    "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
                    "status": {"phase": "Active"},
                }));
            }
            stage.apply(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"namespace": "istio-system", "name": "istio", "labels": {"istio.io/rev": "default"}},
                "data": {"mesh": "defaultConfig: {discoveryAddress: 'istiod.istio-system.svc:15012'}\nrootNamespace: istio-system\ntrustDomain: cluster.local\n"},
            }));
            stage.prometheus_behind(PROMETHEUS.0, PROMETHEUS.1, "", &[]);
            stage.apply(json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {
                    "namespace": PROMETHEUS.0, "name": PROMETHEUS.1,
                    "labels": {"app": "prometheus", "app.kubernetes.io/name": "prometheus"},
                },
                "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.90", "ports": [{"name": "http", "port": 9090, "targetPort": 9090, "protocol": "TCP"}]},
            }));
        });
        world
    }

    /// The world's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Changes the world all at once: a set-up, or something that happens to it.
    pub fn set<T>(&self, change: impl FnOnce(&mut Setup<'_>) -> T) -> T {
        self.look(|state| {
            let changed = change(&mut Setup { state });
            state.settle();
            changed
        })
    }

    /// Has something happen at a time to come.
    pub fn at(&self, at: Timestamp, event: impl FnOnce(&mut Setup<'_>) + Send + 'static) {
        self.look(|state| state.schedule(at, Box::new(event)));
    }

    /// Creates or replaces an object, its status included.
    ///
    /// # Panics
    /// If the object is of a kind this world does not have, or the API server would refuse it.
    pub fn apply(&self, object: Value) {
        self.set(|stage| stage.apply(object));
    }

    /// An object as stored; the kind by its plural.
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.set(|stage| stage.object(plural, namespace, name))
    }

    /// A foreign edit: another client, `manager`, changes the object.
    ///
    /// # Panics
    /// If not found, or the API server would refuse the change.
    pub fn edit(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        manager: &str,
        change: impl FnOnce(&mut Value),
    ) {
        self.set(|stage| stage.edit(plural, namespace, name, manager, change));
    }

    /// Takes a right away.
    pub fn deny(&self, denial: Denial) {
        self.set(|stage| stage.deny(denial));
    }

    /// No longer accepts a token.
    pub fn revoke(&self, token: &str) {
        self.look(|state| state.access.revoke(token));
    }

    /// Accepts a token again.
    pub fn accept(&self, token: &str) {
        self.look(|state| state.access.accept(token));
    }

    /// The traffic model, to be changed. Let go of it before the next look at the world, and
    /// before any await: it holds the world's lock.
    pub fn traffic(&self) -> impl DerefMut<Target = TrafficModel> {
        LockedPart {
            guard: self.present(),
            read: |state: &WorldState| &state.mesh.traffic,
            write: |state: &mut WorldState| &mut state.mesh.traffic,
        }
    }

    /// The scrapes of Prometheus, to be changed. Let go of it before the next look at the world, and
    /// before any await: it holds the world's lock.
    pub fn scrapes(&self) -> impl DerefMut<Target = Scrapes> {
        LockedPart {
            guard: self.present(),
            read: |state: &WorldState| &state.mesh.scrapes,
            write: |state: &mut WorldState| &mut state.mesh.scrapes,
        }
    }

    /// The faults, to be scripted. Let go of it before the next look at the world, and
    /// before any await: it holds the world's lock.
    pub fn faults(&self) -> impl DerefMut<Target = Faults> {
        LockedPart {
            guard: self.present(),
            read: |state: &WorldState| &state.faults,
            write: |state: &mut WorldState| &mut state.faults,
        }
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.look(|state| state.request_log.calls())
    }

    /// Locks the world and brings it up to the present.
    fn present(&self) -> MutexGuard<'_, WorldState> {
        // A panic of a set-up must not hide behind that of everybody who looks afterwards.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up(self.clock.now());
        state
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut WorldState) -> T) -> T {
        look(&mut self.present())
    }
}

/// A part of the world under its lock; once it is let go, the mesh takes account of the change.
struct LockedPart<'a, T> {
    guard: MutexGuard<'a, WorldState>,
    read: fn(&WorldState) -> &T,
    write: fn(&mut WorldState) -> &mut T,
}

impl<T> Deref for LockedPart<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        (self.read)(&self.guard)
    }
}

impl<T> DerefMut for LockedPart<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        (self.write)(&mut self.guard)
    }
}

impl<T> Drop for LockedPart<'_, T> {
    fn drop(&mut self) {
        self.guard.settle();
    }
}
