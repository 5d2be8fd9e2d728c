//! The connections to a port that all pods have, each to the pod whose address it came to.

use std::net::IpAddr;

use tokio::net::{TcpListener, TcpStream};

/// Serves each connection beside the others, for ever.
pub(crate) async fn serve_each<F>(listener: TcpListener, serve: impl Fn(TcpStream, IpAddr) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        // Out of descriptors, say: the next connection may fare better.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        tokio::spawn(serve(stream, local.ip()));
    }
}
