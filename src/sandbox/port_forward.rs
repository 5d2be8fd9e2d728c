//! Port-forwards into pods: the kubelet's side, over a WebSocket as kube's client asks for it.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::world::World;
use crate::sandbox::api::ResourceKind;

/// The protocol that is spoken: data on even channels, errors on odd ones.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// The channels of the only port.
const DATA: u8 = 0;
const ERROR: u8 = 1;

/// A port-forward that was allowed.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel {
    pub namespace: String,
    pub pod: String,
    pub port: u16,
    /// What listens at the port of the pod, if anything does.
    pub target: Option<SocketAddr>,
}

/// The answer that begins it; whoever holds the connection carries the tunnel that is with it.
pub(crate) fn begin(tunnel: Tunnel, headers: &HeaderMap) -> Option<Response<()>> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(
            header::SEC_WEBSOCKET_ACCEPT,
            derive_accept_key(key.as_bytes()),
        )
        .header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        .extension(tunnel);
    response.body(()).ok()
}

/// Carries it until either side ends, or the pod is gone.
pub(super) async fn carry(world: World, tunnel: Tunnel, upgraded: Upgraded) {
    let socket = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(socket, Role::Server, None).await;
    if through(&world, &tunnel, &mut socket).await.is_ok() {
        // The client may have closed it already.
        let _ = socket.close(None).await;
    }
}

async fn through(
    world: &World,
    tunnel: &Tunnel,
    socket: &mut WebSocketStream<TokioIo<Upgraded>>,
) -> Result<(), Error> {
    let [low, high] = tunnel.port.to_le_bytes();
    for channel in [DATA, ERROR] {
        let opened = vec![channel, low, high];
        socket.send(Message::binary(opened)).await?;
    }
    let connected = match tunnel.target {
        Some(target) => TcpStream::connect(target).await.ok(),
        None => None,
    };
    let Some(mut pod) = connected else {
        let Tunnel { pod, port, .. } = tunnel;
        let why = format!(
            "error forwarding port {port} to pod {pod}, uid : failed to connect to localhost:{port}: connect: connection refused"
        );
        return socket.send(on(ERROR, why.as_bytes())).await;
    };
    let mut changes = world.look(|state| state.store.history.subscribe());
    let mut buffer = vec![0; 16 << 10];
    loop {
        tokio::select! {
            read = pod.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return Ok(()),
                Ok(read) => socket.send(on(DATA, &buffer[..read])).await?,
            },
            message = socket.next() => match message {
                None | Some(Ok(Message::Close(_))) => return Ok(()),
                Some(Ok(Message::Binary(bytes))) if bytes.first() == Some(&DATA) => {
                    if pod.write_all(&bytes[1..]).await.is_err() {
                        return Ok(());
                    }
                }
                Some(message) => drop(message?),
            },
            _ = changes.changed() => if !exists(world, tunnel) {
                return Ok(());
            },
        }
    }
}

fn on(channel: u8, bytes: &[u8]) -> Message {
    let mut message = vec![channel];
    message.extend_from_slice(bytes);
    Message::binary(message)
}

fn exists(world: &World, tunnel: &Tunnel) -> bool {
    let pods = ResourceKind::by_plural("pods");
    pods.is_some_and(|pods| {
        world.look(|state| {
            let pod = state.store.get(pods, &tunnel.namespace, &tunnel.pod);
            pod.is_some()
        })
    })
}
