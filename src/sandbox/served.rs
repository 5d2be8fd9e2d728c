//! The two ways into a world: a client in the process, and loopback HTTP.

use std::net::{Ipv4Addr, SocketAddr};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::handler;
use super::port_forward::{self, Tunnel};
use super::world::World;

impl World {
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
                            .serve_connection(TokioIo::new(stream), service)
                            .with_upgrades(),
                    );
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_one(
    world: World,
    mut request: http::Request<Incoming>,
) -> Result<http::Response<handler::Body>, tower::BoxError> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut answer = handler::answer(&world, http::Request::from_parts(parts, body)).await?;
    if let Some(tunnel) = answer.extensions_mut().remove::<Tunnel>() {
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                port_forward::carry(world, tunnel, upgraded).await;
            }
        });
    }
    Ok(answer)
}
