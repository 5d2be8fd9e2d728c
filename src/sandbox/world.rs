//! The world itself, and the two ways into it: in the process, and over loopback HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::api::Denial;
use super::faults::Faults;
use super::handler::{self, PROMETHEUS};
use super::mesh::Scrapes;
use super::request_log::Call;
use super::setup::Setup;
use super::state::State;
use super::traffic::Traffic;
use crate::clock::Clock;

/// A cluster with a mesh and a Prometheus, in memory. Clones are the same world.
///
/// Time passes lazily: whenever somebody looks, traffic, scrapes and scheduled events are brought up
/// to the clock. There is no task behind it, so a paused clock of tokio's stays paused.
#[derive(Clone)]
pub struct World {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

impl World {
    /// An empty cluster: the namespaces `default` and `istio-system`, and a Prometheus.
    pub fn new(clock: Clock) -> Self {
        let state = State::new(clock.now());
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

    /// A client that calls this world in the process, without a socket.
    pub fn client(&self, namespace: &str) -> kube::Client {
        self.client_as("sandbox", namespace)
    }

    /// A client of this user's.
    pub fn client_as(&self, user: &str, namespace: &str) -> kube::Client {
        let world = self.clone();
        let user = user.to_owned();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let world = world.clone();
            let user = user.clone();
            async move {
                let (mut parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                if let Ok(user) = user.parse() {
                    parts.headers.entry("impersonate-user").or_insert(user);
                }
                let request = http::Request::from_parts(parts, body);
                handler::answer(&world, request)
                    .await
                    .map_err(tower::BoxError::from)
            }
        });
        kube::Client::new(service, namespace)
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

    /// A foreign edit: somebody else, `manager`, changes the object.
    ///
    /// # Panics
    /// If there is no such object, or the API server would refuse the change.
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

    /// The traffic model, to be changed. Let go of it before the next look at the world, and
    /// before any await: it holds the world's lock.
    pub fn traffic(&self) -> impl DerefMut<Target = Traffic> {
        Part {
            guard: self.present(),
            read: |state: &State| &state.mesh.traffic,
            write: |state: &mut State| &mut state.mesh.traffic,
        }
    }

    /// The scrapes of Prometheus, to be changed. Let go of it before the next look at the world, and
    /// before any await: it holds the world's lock.
    pub fn scrapes(&self) -> impl DerefMut<Target = Scrapes> {
        Part {
            guard: self.present(),
            read: |state: &State| &state.mesh.scrapes,
            write: |state: &mut State| &mut state.mesh.scrapes,
        }
    }

    /// The faults, to be scripted. Let go of it before the next look at the world, and
    /// before any await: it holds the world's lock.
    pub fn faults(&self) -> impl DerefMut<Target = Faults> {
        Part {
            guard: self.present(),
            read: |state: &State| &state.faults,
            write: |state: &mut State| &mut state.faults,
        }
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.look(|state| state.request_log.calls())
    }

    /// Serves this world on a port of the loopback interface, until the result is dropped.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn serve(&self) -> std::io::Result<Served> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, self.clone()));
        Ok(Served { addr, task })
    }

    /// Locks the world and brings it up to the present.
    fn present(&self) -> MutexGuard<'_, State> {
        // A panic of a set-up must not hide behind that of everybody who looks afterwards.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up(self.clock.now());
        state
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.present())
    }
}

/// A part of the world under its lock; once it is let go, the mesh takes account of the change.
struct Part<'a, T> {
    guard: MutexGuard<'a, State>,
    read: fn(&State) -> &T,
    write: fn(&mut State) -> &mut T,
}

impl<T> Deref for Part<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        (self.read)(&self.guard)
    }
}

impl<T> DerefMut for Part<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        (self.write)(&mut self.guard)
    }
}

impl<T> Drop for Part<'_, T> {
    fn drop(&mut self) {
        self.guard.settle();
    }
}

/// A world that is being served; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Served {
    /// Where it listens.
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    /// A kubeconfig for this server, with the context `sandbox` in the namespace `default`.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_in("default")
    }

    /// A kubeconfig whose context is in this namespace.
    pub fn kubeconfig_in(&self, namespace: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: sandbox\nclusters:\n- name: sandbox\n  \
             cluster:\n    server: http://{}\ncontexts:\n- name: sandbox\n  context:\n    cluster: \
             sandbox\n    user: sandbox\n    namespace: {namespace}\nusers:\n- name: sandbox\n  user: {{}}\n",
            self.addr
        )
    }

    /// The base URL of Prometheus, to which `/api/v1/query` is added.
    pub fn prometheus_url(&self) -> String {
        format!("http://{}/prometheus", self.addr)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, world: World) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A failed accept is the caller's trouble, not the server's end.
                if let Ok((stream, _)) = accepted {
                    let world = world.clone();
                    let service = hyper::service::service_fn(move |request| serve_one(world.clone(), request));
                    connections.spawn(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service),
                    );
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_one(
    world: World,
    request: http::Request<Incoming>,
) -> Result<http::Response<handler::Body>, tower::BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(handler::answer(&world, http::Request::from_parts(parts, body)).await?)
}
