//! What the sidecar beside each pod would show of it: requests by status, as Istio names them.
//!
//! The pods have no sidecar of their own here, so who answers for them counts for it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::connections::serve_each;
use crate::world::{Answer, Pod, World};

/// Serves the port for ever.
pub(crate) async fn serve(listener: TcpListener, world: World) {
    serve_each(listener, |stream, address| {
        let world = world.clone();
        async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (world, path) = (world.clone(), request.uri().path().to_owned());
                async move {
                    let pod = world.pod_at(address).await;
                    let pod = pod.filter(|_| path == "/stats/prometheus");
                    let (status, text) = match pod {
                        Some(pod) => (StatusCode::OK, exposition(&pod, &world.answers(&pod))),
                        None => (StatusCode::NOT_FOUND, String::new()),
                    };
                    let mut response = Response::new(Full::new(Bytes::from(text)));
                    *response.status_mut() = status;
                    Ok::<_, Infallible>(response)
                }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
}

fn exposition(pod: &Pod, answers: &BTreeMap<Answer, u64>) -> String {
    let Pod {
        namespace,
        app,
        workload,
        version,
        ..
    } = pod;
    let mut text = String::from("# TYPE istio_requests_total counter\n");
    for (Answer { status, grpc }, count) in answers {
        let grpc = grpc.map(|grpc| grpc.to_string()).unwrap_or_default();
        writeln!(
            text,
            "istio_requests_total{{reporter=\"destination\",source_workload=\"unknown\",\
            destination_workload=\"{workload}\",destination_workload_namespace=\"{namespace}\",\
            destination_version=\"{version}\",destination_canonical_revision=\"{version}\",\
            destination_service=\"{app}.{namespace}.svc.cluster.local\",\
            destination_service_name=\"{app}\",destination_service_namespace=\"{namespace}\",\
            request_protocol=\"http\",response_code=\"{status}\",response_flags=\"-\",\
            grpc_response_status=\"{grpc}\"}} {count}"
        )
        .expect("a text takes any line");
    }
    text
}
