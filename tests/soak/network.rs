//! The way between a process and the API server, on which calls and answers are lost, late or refused.
//!
//! A call that was sent goes on by itself, whatever becomes of who sent it: it may arrive after its sender
//! has given up, or died.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body as ClientBody;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tower::BoxError;

use crate::history::revision_of;
use crate::stage::{InFlight, Stage};

type Answer = Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

/// What may become of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status and not carried out.
    Status(u16),
    /// It is carried out and answered with this status all the same.
    DoneBut(u16),
    /// A webhook denies it.
    Webhook,
    /// The connection is refused.
    Refused,
    /// It never arrives, and no answer comes.
    Lost,
    /// It is carried out, and no answer comes.
    AnswerLost,
    /// It is carried out, and the connection breaks.
    Broken,
    /// It arrives this late, in milliseconds.
    Late(u64),
    /// It is carried out at once, and the answer takes this long, in milliseconds.
    Slow(u64),
}

/// Faults of some time.
#[derive(Clone, Debug)]
pub struct Weather {
    pub until: Instant,
    /// Whose calls; all of them without.
    pub whose: Option<usize>,
    pub fault: Fault,
    /// How many of a hundred calls.
    pub percent: u64,
    /// How many calls at most.
    pub times: u64,
    pub writes_only: bool,
}

/// A call on its way.
struct Sent {
    process: usize,
    method: String,
    /// The VirtualService that it is about, if it is about one.
    object: Option<String>,
    watch: bool,
    rehearsed: bool,
    asks_metrics: bool,
    /// The newest version of the object that its sender knew of.
    known: u64,
    label: String,
}

impl Sent {
    fn is_write(&self) -> bool {
        self.method != "GET"
    }

    fn is_patch(&self) -> bool {
        self.method == "PATCH" && self.object.is_some() && !self.rehearsed
    }
}

/// A client of one process.
pub fn client(stage: &Stage, process: usize, actor: &str) -> kube::Client {
    let server = stage.world().client_as(actor, "shop");
    let stage = stage.clone();
    let service = tower::service_fn(move |request: Request<ClientBody>| {
        call(stage.clone(), server.clone(), process, request)
    });
    kube::Client::new(service, "shop")
}

async fn call(
    stage: Stage,
    server: kube::Client,
    process: usize,
    request: Request<ClientBody>,
) -> Answer {
    // A process that does not run sends nothing and hears nothing.
    stage.running(process).await;
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default();
    let watch = query.contains("watch=true");
    let rehearsed = query.contains("dryRun");
    let object = path
        .split_once("/virtualservices/")
        .map(|(_, name)| name.to_owned())
        .or_else(|| {
            let named = query.split_once("metadata.name%3D")?.1;
            Some(named.split('&').next()?.to_owned())
        });
    let known = object
        .as_deref()
        .map_or(0, |name| stage.known(process, name));
    let sent = Sent {
        process,
        method: request.method().to_string(),
        label: format!(
            "{} {}{}",
            request.method(),
            shortened(&path),
            if watch { " (watch)" } else { "" }
        ),
        object,
        watch,
        rehearsed,
        asks_metrics: path.contains("/proxy/"),
        known,
    };
    let (tell, told) = oneshot::channel();
    let in_flight = stage.sent();
    tokio::spawn(async move {
        let answer = deliver(&stage, server, sent, request, in_flight).await;
        let _ = tell.send((stage, answer));
    });
    let Ok((stage, answer)) = told.await else {
        return std::future::pending().await;
    };
    stage.running(process).await;
    let (answer, seen) = answer?;
    if let Some((object, revision)) = seen {
        stage.knows(process, &object, revision);
    }
    Ok(answer)
}

/// The end of a path, which tells what it is about.
fn shortened(path: &str) -> String {
    let words: Vec<_> = path.rsplit('/').take(2).collect();
    words.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// What an answer tells its reader: of which object, up to which version.
type Seen = Option<(String, u64)>;

async fn deliver(
    stage: &Stage,
    server: kube::Client,
    sent: Sent,
    request: Request<ClientBody>,
    in_flight: InFlight,
) -> Result<(Response<UnsyncBoxBody<Bytes, BoxError>>, Seen), BoxError> {
    let (there, back, fault) = stage.route(sent.process, sent.is_write());
    if let Some(fault) = fault {
        stage.log(|| format!("{fault:?}: p{} {}", sent.process, sent.label));
    }
    tokio::time::sleep(there).await;
    let (mut back, mut broken) = (back, None);
    match fault {
        None => {}
        Some(Fault::Status(code)) => return Ok((refusal(code), None)),
        Some(Fault::Webhook) if sent.is_patch() => return Ok((refusal(400), None)),
        Some(Fault::Webhook) => {}
        Some(Fault::Refused) => return Err("connection refused".into()),
        Some(Fault::Lost) => {
            drop(in_flight);
            return std::future::pending().await;
        }
        Some(Fault::Late(millis)) => tokio::time::sleep(Duration::from_millis(millis)).await,
        Some(Fault::Slow(millis)) => back += Duration::from_millis(millis),
        Some(done @ (Fault::DoneBut(_) | Fault::AnswerLost | Fault::Broken)) => broken = Some(done),
    }
    let answer = server.send(request).await?;
    drop(in_flight);
    let answered = if sent.watch && answer.status().is_success() {
        Ok((watched(stage.clone(), &sent, answer), None))
    } else {
        whole(stage, &sent, answer).await
    };
    match broken {
        Some(Fault::DoneBut(code)) => return Ok((refusal(code), None)),
        Some(Fault::AnswerLost) => return std::future::pending().await,
        Some(_) => return Err("connection reset".into()),
        None => {}
    }
    tokio::time::sleep(back).await;
    answered
}

/// An answer that is read as a whole; a write that was made is noted with who made it.
async fn whole(
    stage: &Stage,
    sent: &Sent,
    answer: Response<ClientBody>,
) -> Result<(Response<UnsyncBoxBody<Bytes, BoxError>>, Seen), BoxError> {
    let (parts, body) = answer.into_parts();
    let mut bytes = body.collect_bytes().await?;
    let mut seen = None;
    if sent.asks_metrics && stage.other_replica() {
        bytes = behind(&bytes).unwrap_or(bytes);
    }
    if let Some(name) = &sent.object
        && parts.status.is_success()
        && let Ok(object) = serde_json::from_slice::<Value>(&bytes)
        && let Some(revision) = revision_of(&object)
    {
        if sent.is_patch() {
            stage.written(sent.process, name, sent.known, object);
        }
        seen = Some((name.clone(), revision));
    }
    let body = Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync();
    Ok((Response::from_parts(parts, body), seen))
}

/// An answer of Prometheus as a replica gives it that is a scrape behind.
fn behind(answer: &[u8]) -> Option<Bytes> {
    let mut answer: Value = serde_json::from_slice(answer).ok()?;
    for series in answer["data"]["result"].as_array_mut()? {
        let samples = series["values"].as_array_mut()?;
        for place in (1..samples.len()).rev() {
            samples[place][1] = samples[place - 1][1].take();
        }
        if !samples.is_empty() {
            samples.remove(0);
        }
    }
    Some(answer.to_string().into())
}

/// The lines of a watch, as they come through.
fn watched(
    stage: Stage,
    sent: &Sent,
    answer: Response<ClientBody>,
) -> Response<UnsyncBoxBody<Bytes, BoxError>> {
    let (process, object) = (sent.process, sent.object.clone());
    let (parts, body) = answer.into_parts();
    let frames = stream::unfold(Some(body), move |body| {
        let (stage, object) = (stage.clone(), object.clone());
        async move {
            let mut body = body?;
            let frame = body.frame().await?;
            tokio::time::sleep(stage.delay()).await;
            stage.heard(process).await;
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return Some((Err(BoxError::from(error)), None)),
            };
            if let Some(name) = object
                && let Some(line) = frame.data_ref()
                && let Ok(event) = serde_json::from_slice::<Value>(line)
                && let Some(revision) = revision_of(&event["object"])
            {
                stage.knows(process, &name, revision);
            }
            Some((Ok::<Frame<Bytes>, BoxError>(frame), Some(body)))
        }
    });
    Response::from_parts(parts, StreamBody::new(frames).boxed_unsync())
}

/// An answer that says that something is wrong.
fn refusal(code: u16) -> Response<UnsyncBoxBody<Bytes, BoxError>> {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": "", "message": "the server is in trouble",
    });
    if code == 400 {
        status["message"] = json!("admission webhook \"validation.istio.io\" denied the request");
    }
    if code == 429 {
        status["details"] = json!({"retryAfterSeconds": 1});
    }
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
    response
}
