//! The control port.
//!
//! | request | does |
//! |---|---|
//! | `GET /ready` | 200 once the pods are known, else 503 |
//! | `GET /pods` | the pods by address |
//! | `PUT /behaviours/NAMESPACE/VERSION` | sets a behaviour (JSON body) |
//! | `GET /counts/NAMESPACE` | counts by version and by pod |
//! | `DELETE /counts/NAMESPACE` | the same, and starts again at zero |
//! | `GET /metrics` | what the pods' applications tell of themselves, for Prometheus |
//! | `DELETE /namespaces/NAMESPACE` | forgets behaviours and counts |

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::behaviour::Behaviour;
use crate::orders;
use crate::world::World;

/// Serves the port for ever.
pub(crate) async fn serve(listener: TcpListener, world: World) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let world = world.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &world));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    world: &World,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    let (head, body) = request.into_parts();
    if (&head.method, head.uri.path()) == (&Method::GET, "/metrics") {
        let text = orders::exposition(world);
        return Response::builder()
            .header("content-type", "text/plain; version=0.0.4")
            .body(Full::from(text));
    }
    let (status, value) = match body.collect().await {
        Ok(body) => handle(&head.method, head.uri.path(), &body.to_bytes(), world),
        Err(error) => (StatusCode::BAD_REQUEST, json!({"error": error.to_string()})),
    };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::from(value.to_string()))
}

fn handle(method: &Method, path: &str, body: &[u8], world: &World) -> (StatusCode, Value) {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, segments.as_slice()) {
        (&Method::GET, ["ready"]) if world.is_ready() => (StatusCode::OK, json!({"ready": true})),
        (&Method::GET, ["ready"]) => (StatusCode::SERVICE_UNAVAILABLE, json!({"ready": false})),
        (&Method::GET, ["pods"]) => (StatusCode::OK, json!(world.pods())),
        (&Method::PUT, ["behaviours", namespace, version]) => {
            match serde_json::from_slice::<Behaviour>(body) {
                Ok(behaviour) => {
                    world.behave(namespace, version, behaviour);
                    (StatusCode::OK, json!(behaviour))
                }
                Err(error) => (StatusCode::BAD_REQUEST, json!({"error": error.to_string()})),
            }
        }
        (&Method::GET, ["counts", namespace]) => (StatusCode::OK, json!(world.counts(namespace))),
        (&Method::DELETE, ["counts", namespace]) => {
            (StatusCode::OK, json!(world.take_counts(namespace)))
        }
        (&Method::DELETE, ["namespaces", namespace]) => {
            world.forget(namespace);
            (StatusCode::OK, json!({}))
        }
        _ => (
            StatusCode::NOT_FOUND,
            json!({"error": format!("no such control: {method} {path}")}),
        ),
    }
}
