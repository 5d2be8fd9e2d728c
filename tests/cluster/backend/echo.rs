//! The pods' TCP port: says its version first, then echoes what it gets.

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::behaviour::Failure;
use crate::connections::serve_each;
use crate::world::{Turn, World};

/// Serves the port for ever.
pub(crate) async fn serve(listener: TcpListener, world: World) {
    serve_each(listener, |stream, address| {
        let world = world.clone();
        async move {
            // An error is a client that went away.
            let _ = converse(stream, address, &world).await;
        }
    })
    .await;
}

async fn converse(mut stream: TcpStream, address: IpAddr, world: &World) -> io::Result<()> {
    let Some(pod) = world.pod_at(address).await else {
        return Ok(());
    };
    let Turn {
        behaviour, fails, ..
    } = world.next_request(&pod);
    world.count(&pod, |count| count.connections += 1);
    tokio::time::sleep(behaviour.latency(fails)).await;
    // A connection has no status to fail with: only a reset is a failure here.
    if fails && behaviour.failure == Failure::Reset {
        return Ok(());
    }
    stream
        .write_all(format!("{}\n", pod.version).as_bytes())
        .await?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        world.count(&pod, |count| count.bytes += length as u64);
        stream.write_all(&buffer[..length]).await?;
    }
}
