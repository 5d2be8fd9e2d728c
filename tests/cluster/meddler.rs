//! A Prometheus that lies, stalls or fails: the real one, with a proxy before it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::stack::Stack;

/// What happens to an answer on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// Nothing.
    None,
    /// Every sample is `NaN`.
    NotANumber,
    /// Half of the series are missing, and a warning says so, as of a store that is away.
    Half,
    /// An error that Prometheus gives.
    Error,
    /// A success without any series.
    Empty,
    /// The canary's series are missing, as where nothing scrapes them, and nothing says so.
    NoCanary,
    /// No series names a workload, as where a scrape drops `destination_workload`.
    NoWorkload,
    /// No answer.
    Silence,
    /// A page of somebody else's.
    Page,
}

/// The proxy. It ends with this value.
pub(crate) struct Meddler {
    /// What to give to `--prometheus`.
    pub(crate) url: String,
    mischief: Arc<Mutex<Mischief>>,
    task: JoinHandle<()>,
}

impl Meddler {
    /// Starts before the stack's Prometheus, honest until told otherwise.
    pub(crate) async fn start(stack: &Stack) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let mischief = Arc::new(Mutex::new(Mischief::None));
        let upstream = stack.description.prometheus.url.clone();
        let task = tokio::spawn(serve(listener, upstream, mischief.clone()));
        Self {
            url: format!("http://{address}"),
            mischief,
            task,
        }
    }

    /// From now on.
    pub(crate) fn turn(&self, to: Mischief) {
        *self.mischief.lock().expect("no holder panics") = to;
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, upstream: String, mischief: Arc<Mutex<Mischief>>) {
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.expect("the provider is installed");
    while let Ok((stream, _)) = listener.accept().await {
        let (client, upstream, mischief) = (client.clone(), upstream.clone(), mischief.clone());
        let service = service_fn(move |request| {
            let (client, upstream) = (client.clone(), upstream.clone());
            let mischief = *mischief.lock().expect("no holder panics");
            async move {
                let (status, body) = match pass(&client, &upstream, request).await {
                    Ok((status, body)) => meddle(mischief, status, body).await,
                    Err(error) => (StatusCode::BAD_GATEWAY, error.to_string().into_bytes()),
                };
                let mut response = Response::new(Full::new(Bytes::from(body)));
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn pass(
    client: &reqwest::Client,
    upstream: &str,
    request: Request<Incoming>,
) -> reqwest::Result<(StatusCode, Vec<u8>)> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_or_else(|_| Bytes::default(), http_body_util::Collected::to_bytes);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut onward = client.request(parts.method, format!("{upstream}{path}"));
    if let Some(kind) = parts.headers.get(http::header::CONTENT_TYPE) {
        onward = onward.header(http::header::CONTENT_TYPE, kind);
    }
    let answer = onward.body(body).send().await?;
    Ok((answer.status(), answer.bytes().await?.to_vec()))
}

async fn meddle(mischief: Mischief, status: StatusCode, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
    let rewritten = |rewrite: fn(&mut Value)| {
        let mut answer = serde_json::from_slice(&body).expect("Prometheus answers in JSON");
        rewrite(&mut answer);
        (status, answer.to_string().into_bytes())
    };
    match mischief {
        Mischief::None => (status, body),
        Mischief::NotANumber => rewritten(|answer| {
            for series in series(answer) {
                if let Some(samples) = series["values"].as_array_mut() {
                    samples
                        .iter_mut()
                        .for_each(|sample| sample[1] = json!("NaN"));
                }
            }
        }),
        Mischief::Half => rewritten(|answer| {
            let all = series(answer);
            all.truncate(all.len() / 2);
            answer["warnings"] = json!(["a store is away"]);
        }),
        Mischief::NoCanary => rewritten(|answer| {
            series(answer).retain(|series| series["metric"]["destination_version"] != "v2");
        }),
        Mischief::NoWorkload => rewritten(|answer| {
            for series in series(answer) {
                if let Some(labels) = series["metric"].as_object_mut() {
                    labels.remove("destination_workload");
                }
            }
        }),
        Mischief::Empty => rewritten(|answer| series(answer).clear()),
        Mischief::Error => (
            StatusCode::SERVICE_UNAVAILABLE,
            br#"{"status":"error","errorType":"timeout","error":"query timed out"}"#.to_vec(),
        ),
        Mischief::Silence => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            (status, body)
        }
        Mischief::Page => (StatusCode::OK, b"<html>please log in</html>".to_vec()),
    }
}

fn series(answer: &mut Value) -> &mut Vec<Value> {
    let series = answer.pointer_mut("/data/result");
    series
        .and_then(Value::as_array_mut)
        .expect("Prometheus answers with series")
}
