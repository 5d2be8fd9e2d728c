//! The pods' HTTP port.

use std::io;
use std::net::IpAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::behaviour::Failure;
use crate::connections::serve_each;
use crate::world::{Answer, Turn, World};

/// Serves the port for ever.
pub(crate) async fn serve(listener: TcpListener, world: World) {
    serve_each(listener, |stream, address| {
        let world = world.clone();
        async move {
            let _ = stream.set_nodelay(true);
            let service = service_fn(|request| answer(request, address, &world));
            // An error here is a client that went away, or our own reset.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
}

/// An error closes the connection without an answer: hyper does that for us.
async fn answer(
    request: Request<Incoming>,
    address: IpAddr,
    world: &World,
) -> io::Result<Response<Full<Bytes>>> {
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    // A body that nobody reads would make hyper close the connection after the
    // answer, which the next request on it would see as a reset.
    request
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?;

    let pod = world
        .pod_at(address)
        .await
        .ok_or_else(|| io::Error::other("no pod has this address"))?;
    let Turn {
        behaviour,
        fails,
        loses_order,
    } = world.next_request(&pod);
    tokio::time::sleep(behaviour.latency(fails)).await;
    world.count(&pod, |count| match fails {
        true => count.failed += 1,
        false => count.ok += 1,
    });
    if !fails {
        world.order(&pod, loses_order);
    }

    if matches!(behaviour.failure, Failure::Reset) && fails {
        // What a sidecar makes of a connection that its application closes.
        let answer = Answer {
            status: 503,
            grpc: None,
        };
        world.note(&pod, answer);
    }
    let (status, grpc) = match behaviour.failure {
        Failure::Reset if fails => return Err(io::Error::other("reset, as it was set")),
        Failure::Status(status) if fails => (status, None),
        Failure::Grpc(grpc) if fails => (200, Some(grpc)),
        Failure::Reset | Failure::Status(_) | Failure::Grpc(_) => (200, is_grpc.then_some(0)),
    };
    world.note(&pod, Answer { status, grpc });
    let mut response = Response::builder()
        .status(StatusCode::from_u16(status).map_err(io::Error::other)?)
        .header("x-version", &pod.version)
        .header("x-pod", &pod.name);
    if let Some(grpc) = grpc {
        response = response
            .header(CONTENT_TYPE, "application/grpc")
            .header("grpc-status", grpc);
    }
    response
        .body(Full::from(pod.version))
        .map_err(io::Error::other)
}
