//! HTTP in, HTTP out: one request after the other against the world, faults included.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use serde_json::Value;

use super::faults::{ApiFault, FaultContext};
use super::port_forward::{self, Tunnel};
use super::request_log::Call;
use super::state::{PrometheusBackend, WorldState};
use super::world::World;
use crate::sandbox::api::{
    self, AccessAttempt, ApiRoute, ApiStatus, ProxyTarget, QueryParams, Request, ResourceKind,
    WatchLine, WatchStream,
};
use crate::sandbox::prometheus::{PrometheusFault, Question, exposition};

/// The body of an answer: whole, or as the lines of a watch.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The connection breaks instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("connection reset by peer")]
pub(crate) struct Reset;

/// The user of a call without credentials.
const DEFAULT_USER: &str = "sandbox";

const JSON: &str = "application/json";

/// Answers one request.
pub(crate) async fn answer(
    world: &World,
    request: http::Request<Bytes>,
) -> Result<Response<Body>, Reset> {
    RequestContext::of(world, &request).answer().await
}

struct RequestContext<'a> {
    world: &'a World,
    request: &'a http::Request<Bytes>,
    method: &'a Method,
    headers: &'a HeaderMap,
    path: &'a str,
    query_text: &'a str,
    query: QueryParams,
    body: &'a [u8],
}

impl<'a> RequestContext<'a> {
    fn of(world: &'a World, request: &'a http::Request<Bytes>) -> Self {
        let query_text = request.uri().query().unwrap_or_default();
        Self {
            world,
            request,
            method: request.method(),
            headers: request.headers(),
            path: request.uri().path(),
            query_text,
            query: QueryParams::parse(query_text),
            body: request.body(),
        }
    }

    async fn answer(&self) -> Result<Response<Body>, Reset> {
        let (number, faults) = self.arrive();
        if self.is_revoked() {
            let unknown = refused(&ApiStatus::unauthorized());
            let status = unknown.status().as_u16();
            self.world
                .look(|state| state.request_log.end(number, status));
            return Ok(unknown);
        }
        let mut broken = None;
        for fault in faults {
            match fault {
                ApiFault::Slow(delay) => tokio::time::sleep(delay).await,
                other => broken = broken.or(Some(other)),
            }
        }
        let answer = match broken {
            None => self.carry_out().await?,
            Some(fault) => self.fail(fault).await?,
        };
        let status = answer.status().as_u16();
        self.world
            .look(|state| state.request_log.end(number, status));
        Ok(answer)
    }

    /// Notes the call and asks what is to go wrong with it.
    fn arrive(&self) -> (usize, Vec<ApiFault>) {
        self.world.look(|state| {
            let route = self.route(state);
            let verb = api::verb(self.method.as_str(), &route, &self.query);
            let resource = match &route {
                ApiRoute::Object(target) => target.kind.plural,
                ApiRoute::Proxy(_) => "services/proxy",
                ApiRoute::PodProxy(_) => "pods/proxy",
                ApiRoute::PortForward(_) => "pods/portforward",
                ApiRoute::AccessReview => "selfsubjectaccessreviews",
                ApiRoute::SelfReview => "selfsubjectreviews",
                _ => "",
            };
            let user = self.user();
            let context = FaultContext {
                at: state.at,
                verb,
                resource,
                user: &user,
                path: self.path,
                query: self.query_text,
                body: self.body,
            };
            // Prometheus on the sandbox's own listener is no part of the API server.
            let faults = if matches!(route, ApiRoute::Prometheus(_)) {
                Vec::new()
            } else {
                state.faults.of_api(&context)
            };
            let number = state.request_log.begin(Call {
                at: state.at,
                verb: verb.to_owned(),
                path: self.path.to_owned(),
                query: self.query_text.to_owned(),
                status: None,
                user_agent: self.header("user-agent").to_owned(),
                user,
                body: self.sent(),
            });
            (number, faults)
        })
    }

    fn route(&self, state: &WorldState) -> ApiRoute<'_> {
        ApiRoute::of(self.path, |kind: &ResourceKind, version: &str| {
            state.serves(kind, version)
        })
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    fn is_revoked(&self) -> bool {
        let token = self.header("authorization").strip_prefix("Bearer ");
        token.is_some_and(|token| self.world.look(|state| state.access.is_revoked(token)))
    }

    /// The user a caller claims to be; a token is its owner's name here.
    fn user(&self) -> String {
        let token = self.header("authorization").strip_prefix("Bearer ");
        match (self.header("impersonate-user"), token) {
            ("", Some(token)) => token.to_owned(),
            ("", None) => DEFAULT_USER.to_owned(),
            (user, _) => user.to_owned(),
        }
    }

    fn sent(&self) -> Option<Value> {
        if self.body.is_empty() {
            return None;
        }
        serde_json::from_slice(self.body).ok().or_else(|| {
            Some(Value::String(
                String::from_utf8_lossy(self.body).into_owned(),
            ))
        })
    }

    async fn fail(&self, fault: ApiFault) -> Result<Response<Body>, Reset> {
        let applied = match fault {
            ApiFault::Answer { applied, .. }
            | ApiFault::Hang { applied }
            | ApiFault::Reset { applied } => applied,
            _ => false,
        };
        if applied {
            self.carry_out().await?;
        }
        match fault {
            ApiFault::Answer {
                code, retry_after, ..
            } => Ok(refused(&ApiStatus::trouble(code, retry_after))),
            ApiFault::Hang { .. } => std::future::pending().await,
            ApiFault::Reset { .. } => Err(Reset),
            ApiFault::Late(delay) => {
                let (world, request) = (self.world.clone(), self.request.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    // Nobody waits for the answer any more.
                    let _ = RequestContext::of(&world, &request).carry_out().await;
                });
                std::future::pending().await
            }
            ApiFault::WebhookDown => Ok(refused(&ApiStatus::webhook_down())),
            ApiFault::WebhookDenies(why) => Ok(refused(&ApiStatus::webhook_denied(&why))),
            ApiFault::Gone => Ok(self.world.look(|state| {
                let asked = self.query.get("resourceVersion").parse().unwrap_or(0);
                whole(200, JSON, api::expired(asked, state.store.revision()))
            })),
            ApiFault::EndWatch => Ok(whole(200, JSON, String::new())),
            ApiFault::NotFound => Ok(refused(&self.world.look(|state| match self.route(state) {
                ApiRoute::Object(target) => {
                    ApiStatus::not_found(target.kind, target.name.unwrap_or_default())
                }
                _ => ApiStatus::no_such_path(),
            }))),
            ApiFault::SilentWatch => {
                let silence = StreamBody::new(stream::pending()).boxed_unsync();
                Ok(response(200, JSON, silence))
            }
            ApiFault::Slow(_) => self.carry_out().await,
        }
    }

    async fn carry_out(&self) -> Result<Response<Body>, Reset> {
        enum Way<'a> {
            Done(Result<api::Reply, ApiStatus>),
            Prometheus(&'a str, Option<(String, PrometheusBackend)>),
            Tunnel(Tunnel),
        }
        let way = self.world.look(|state| {
            let route = self.route(state);
            match &route {
                ApiRoute::Prometheus(path) => Way::Prometheus(path, None),
                ApiRoute::Proxy(target) => match self.enter_proxy(state, target) {
                    Ok(backend) => {
                        let service = format!("{}:{}", target.service, target.port);
                        Way::Prometheus(target.path, Some((service, backend)))
                    }
                    Err(refusal) => Way::Done(Err(refusal)),
                },
                ApiRoute::PortForward(target) => match self.enter_pod(state, target) {
                    Ok(tunnel) => Way::Tunnel(tunnel),
                    Err(refusal) => Way::Done(Err(refusal)),
                },
                ApiRoute::PodProxy(target) => {
                    Way::Done(self.ask_pod(state, target).map(api::Reply::Text))
                }
                route => {
                    let user = self.user();
                    let request = Request {
                        verb: api::verb(self.method.as_str(), route, &self.query),
                        route,
                        query: &self.query,
                        accept: self.header("accept"),
                        content_type: self.header("content-type"),
                        user: &user,
                        user_agent: self.header("user-agent"),
                        body: self.body,
                    };
                    let done = api::perform(state, &request);
                    state.settle();
                    Way::Done(done)
                }
            }
        });
        match way {
            Way::Done(Ok(reply)) => Ok(self.reply(reply)),
            Way::Done(Err(refusal)) => Ok(refused(&refusal)),
            Way::Tunnel(tunnel) => Ok(match port_forward::begin(tunnel, self.headers) {
                Some(begun) => begun.map(|()| Empty::new().boxed_unsync()),
                None => refused(&ApiStatus::method_not_allowed()),
            }),
            Way::Prometheus(path, proxied) => self.ask_prometheus(path, proxied).await,
        }
    }

    fn reply(&self, reply: api::Reply) -> Response<Body> {
        match reply {
            api::Reply::Json(code, value) => whole(code, JSON, value.to_string()),
            api::Reply::Typed(value, media) => whole(200, media, value.to_string()),
            api::Reply::Text(text) => whole(200, "text/plain; charset=utf-8", text),
            api::Reply::Watch(watch) => response(200, JSON, lines(self.world.clone(), *watch)),
        }
    }

    fn may_enter(
        &self,
        state: &WorldState,
        resource: &str,
        target: &ProxyTarget<'_>,
    ) -> Result<(), ApiStatus> {
        let verb = if self.method == Method::GET {
            "get"
        } else {
            "create"
        };
        self.may(state, verb, (resource, "proxy"), target)
    }

    fn may(
        &self,
        state: &WorldState,
        verb: &str,
        (resource, subresource): (&str, &str),
        target: &ProxyTarget<'_>,
    ) -> Result<(), ApiStatus> {
        let user = self.user();
        let attempt = AccessAttempt {
            user: &user,
            verb,
            group: "",
            resource,
            subresource: Some(subresource),
            namespace: Some(target.namespace),
            name: Some(target.full),
        };
        match state.access.allows(&attempt) {
            true => Ok(()),
            false => Err(ApiStatus::forbidden(&attempt)),
        }
    }

    /// The API server's way to a pod, whose proxy shows what it counted.
    fn ask_pod(&self, state: &WorldState, target: &ProxyTarget<'_>) -> Result<String, ApiStatus> {
        self.may_enter(state, "pods", target)?;
        let pods = ResourceKind::by_plural("pods").ok_or_else(ApiStatus::no_such_path)?;
        state
            .store
            .get(pods, target.namespace, target.service)
            .ok_or_else(|| ApiStatus::not_found(pods, target.service))?;
        if (target.port, target.path) != ("15090", "stats/prometheus") {
            return Err(ApiStatus::service_unreachable(&format!(
                "error trying to reach service: dial tcp: port {}: connect: connection refused",
                target.port
            )));
        }
        let streams = state.mesh.traffic.streams();
        Ok(exposition(streams.filter(|(stream, _)| {
            let pod = &stream.pod;
            pod.name == target.service && pod.namespace == target.namespace
        })))
    }

    /// A port of a pod, for who may forward it: with a GET that takes two rights since Kubernetes 1.35.
    fn enter_pod(&self, state: &WorldState, target: &ProxyTarget<'_>) -> Result<Tunnel, ApiStatus> {
        for verb in ["get", "create"] {
            self.may(state, verb, ("pods", "portforward"), target)?;
        }
        let pods = ResourceKind::by_plural("pods").ok_or_else(ApiStatus::no_such_path)?;
        let (namespace, pod) = (target.namespace, target.service);
        state
            .store
            .get(pods, namespace, pod)
            .ok_or_else(|| ApiStatus::not_found(pods, pod))?;
        let port = self.query.get("ports").parse();
        let port = port.map_err(|_| ApiStatus::method_not_allowed())?;
        let place = (namespace.to_owned(), pod.to_owned(), port);
        Ok(Tunnel {
            target: state.pod_ports.get(&place).copied(),
            namespace: place.0,
            pod: place.1,
            port,
        })
    }

    /// The API server's way to a service: the right to it, the service, its port.
    fn enter_proxy(
        &self,
        state: &WorldState,
        target: &ProxyTarget<'_>,
    ) -> Result<PrometheusBackend, ApiStatus> {
        self.may_enter(state, "services", target)?;
        let services = ResourceKind::by_plural("services").ok_or_else(ApiStatus::no_such_path)?;
        let service = state
            .store
            .get(services, target.namespace, target.service)
            .ok_or_else(|| ApiStatus::not_found(services, target.service))?;
        let ports = service["spec"]["ports"].as_array();
        let has_port = ports.is_some_and(|ports| {
            ports.iter().any(|port| {
                target.port.is_empty()
                    || port["port"].as_u64() == target.port.parse().ok()
                    || port["name"] == target.port
            })
        });
        if !has_port {
            return Err(ApiStatus::service_unreachable(&format!(
                "no service port \"{}\" found for service \"{}\"",
                target.port, target.service
            )));
        }
        let place = (target.namespace.to_owned(), target.service.to_owned());
        let backend = state.prometheuses.get(&place);
        let service = || format!("{}:{}", target.service, target.port);
        backend.cloned().ok_or_else(|| unreachable(&service()))
    }

    /// `proxied` is the Service that leads there, with what is behind it.
    async fn ask_prometheus(
        &self,
        path: &str,
        proxied: Option<(String, PrometheusBackend)>,
    ) -> Result<Response<Body>, Reset> {
        let query = if self.method == Method::POST {
            self.query.clone().with_form(self.body)
        } else {
            self.query.clone()
        };
        let mut faults = self.world.look(|state| {
            let context = FaultContext {
                at: state.at,
                verb: "query",
                resource: "prometheus",
                user: "",
                path,
                query: query.get("query"),
                body: b"",
            };
            state.faults.of_prometheus(&context)
        });
        let (service, backend) = proxied.unzip();
        let backend = backend.unwrap_or_default();
        faults.extend(backend.faults);
        for fault in &faults {
            match fault {
                PrometheusFault::Slow(delay) => tokio::time::sleep(*delay).await,
                PrometheusFault::Hang => std::future::pending().await,
                PrometheusFault::Limited { retry_after } => {
                    let mut answer = whole(429, "text/plain", "rate limit exceeded".to_owned());
                    let headers = answer.headers_mut();
                    headers.insert(header::RETRY_AFTER, (*retry_after).into());
                    return Ok(answer);
                }
                PrometheusFault::Down => {
                    return match &service {
                        Some(service) => Ok(refused(&unreachable(service))),
                        None => Err(Reset),
                    };
                }
                _ => {}
            }
        }
        let (code, text) = self.world.look(|state| {
            let scrapes = &state.mesh.scrapes;
            let question = Question {
                storage: &scrapes.storage,
                now: state.at,
                interval: scrapes.interval().as_millis() as i64,
                faults: &faults,
            };
            let below = path.strip_prefix(backend.prefix.as_str());
            // Beside its prefix there is nothing.
            let below = below.unwrap_or_default().trim_start_matches('/');
            question.answer(below, &query)
        });
        let media = if text.starts_with('{') {
            JSON
        } else {
            "text/plain; charset=utf-8"
        };
        Ok(whole(code, media, text))
    }
}

fn unreachable(service: &str) -> ApiStatus {
    ApiStatus::service_unreachable(&format!("no endpoints available for service \"{service}\""))
}

fn response(code: u16, media: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(media) = media.parse() {
        response.headers_mut().insert(header::CONTENT_TYPE, media);
    }
    response
}

fn whole(code: u16, media: &str, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).boxed_unsync();
    response(code, media, body)
}

fn refused(refusal: &ApiStatus) -> Response<Body> {
    let text = refusal.text();
    let media = if text.starts_with('{') {
        JSON
    } else {
        "text/plain; charset=utf-8"
    };
    let mut response = whole(refusal.code, media, text);
    if let Some(seconds) = refusal.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The lines of a watch, as they come.
fn lines(world: World, watch: WatchStream) -> Body {
    let changes = world.look(|state| state.store.history.subscribe());
    let frames = stream::unfold(
        (world, watch, changes),
        |(world, mut watch, mut changes)| async move {
            loop {
                changes.borrow_and_update();
                let (line, wait) = world.look(|state| {
                    let line = watch.next(state);
                    let next = state
                        .next_event()
                        .map_or(watch.ends, |at| at.min(watch.ends));
                    (line, next.duration_since(state.at))
                });
                match line {
                    WatchLine::Event(mut text) => {
                        text.push('\n');
                        let frame = Ok::<_, Infallible>(Frame::data(Bytes::from(text)));
                        return Some((frame, (world, watch, changes)));
                    }
                    WatchLine::End => return None,
                    WatchLine::Nothing => {
                        let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
                        tokio::select! {
                            _ = changes.changed() => {}
                            () = tokio::time::sleep(wait) => {}
                        }
                    }
                }
            }
        },
    );
    StreamBody::new(frames).boxed_unsync()
}
