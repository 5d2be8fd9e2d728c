//! Prometheus behind the API server's service proxy.

use std::fmt;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Request;
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use reqwest::Url;

use super::access::PrometheusAccess;
use super::access_error::AccessError;
use super::address::ServiceAddress;
use super::error::MetricsError;
use super::http_client::USER_AGENT;
use super::http_reply::HttpReply;
use super::query::{MetricSource, Query};
use super::query_result::QueryResult;
use super::reply_reader::{Asked, LARGEST, Transport};
use crate::foreign_text::root_cause;

/// Asks a Service in the cluster over the connection the API server already gives.
///
/// It needs no port and no second set of certificates, and works with every way of logging in to the
/// cluster. The API server removes the `Authorization` header, so a Prometheus that wants a login of its own
/// cannot be reached like this, and is by port-forward; other headers and parameters arrive.
///
/// # RBAC
///
/// ```yaml
/// rules:
/// - apiGroups: [""]
///   resources: ["services/proxy"]
///   verbs: ["get"]
/// ```
#[derive(Clone)]
pub struct ServiceProxy {
    client: kube::Client,
    access: PrometheusAccess,
    path: String,
    asked: Asked,
}

impl ServiceProxy {
    /// A source that asks the Service at `address`.
    ///
    /// # Errors
    /// If a setting of the login would have no effect, or cannot be used as it is now.
    pub fn new(
        client: kube::Client,
        address: &ServiceAddress,
        access: PrometheusAccess,
    ) -> Result<Self, AccessError> {
        access.check_proxied()?;
        Ok(Self {
            client,
            access,
            path: format!("{}/api/v1/query", address.proxy_path()),
            asked: Asked {
                at: address.to_string(),
                transport: Transport::ApiServer,
            },
        })
    }

    async fn reply(&self, query: &Query) -> Result<HttpReply, MetricsError> {
        let headers = self.access.proxied_headers().await;
        let headers = headers.map_err(|error| MetricsError::NoAccess {
            at: self.asked.at.clone(),
            error,
        })?;
        let mut request = Request::get(self.path_with(query))
            .header(http::header::USER_AGENT, USER_AGENT)
            .header(http::header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|problem| MetricsError::Client {
                at: self.asked.at.clone(),
                cause: root_cause(&problem),
            })?;
        request.headers_mut().extend(headers);
        let unreachable = |cause| MetricsError::Unreachable {
            at: format!("the API server in front of {}", self.asked.at),
            cause,
        };
        let response = self
            .client
            .send(request)
            .await
            .map_err(|problem| unreachable(cause(&problem)))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LARGEST)
            .collect()
            .await
            .map_err(|problem| {
                if problem.is::<http_body_util::LengthLimitError>() {
                    self.asked.too_large()
                } else {
                    unreachable(root_cause(problem.as_ref()))
                }
            })?;
        let body = body.to_bytes().to_vec();
        Ok(HttpReply::new(parts.status, &parts.headers, body, None))
    }

    fn path_with(&self, query: &Query) -> String {
        let mut url = Url::parse("http://api").expect("a constant URL parses");
        url.query_pairs_mut()
            .extend_pairs(self.access.params())
            .extend_pairs(query.parameters());
        format!("{}?{}", self.path, url.query().unwrap_or_default())
    }
}

/// Why no answer came, without what a login helper printed: that may hold a token.
fn cause(problem: &kube::Error) -> String {
    match problem {
        kube::Error::Auth(_) => "the credential plugin of the kubeconfig failed".to_owned(),
        other => root_cause(other),
    }
}

impl MetricSource for ServiceProxy {
    fn ask<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<QueryResult, MetricsError>> {
        async move {
            tokio::time::timeout(query.within, self.reply(query))
                .await
                .map_err(|_| MetricsError::TimedOut {
                    at: self.asked.at.clone(),
                    after: query.within,
                })?
                .and_then(|reply| reply.read(&self.asked))
        }
        .boxed()
    }

    fn name(&self) -> String {
        self.asked.at.clone()
    }
}

impl fmt::Debug for ServiceProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceProxy({})", self.asked.at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use http::Response;
    use jiff::Timestamp;
    use tower::BoxError;

    use super::*;
    use crate::metrics::source::address::PrometheusAddress;
    use crate::metrics::source::error::RefusedBy;

    type Seen = Arc<Mutex<Vec<Request<()>>>>;

    /// A source whose API server always answers the same.
    fn source(address: &str, status: u16, body: &'static str) -> (ServiceProxy, Seen) {
        let seen = Seen::default();
        let log = Arc::clone(&seen);
        let service = tower::service_fn(move |request: Request<Body>| {
            log.lock().unwrap().push(request.map(|_| ()));
            async move {
                if body == "hang" {
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                }
                if body == "broken" {
                    return Err(BoxError::from("connection reset by peer"));
                }
                Ok(Response::builder()
                    .status(status)
                    .body(Body::from(body.as_bytes().to_vec()))
                    .expect("a response"))
            }
        });
        let PrometheusAddress::Service(address) = address.parse().unwrap() else {
            panic!("a Service");
        };
        let client = kube::Client::new(service, "default");
        let access = PrometheusAccess::default();
        (ServiceProxy::new(client, &address, access).unwrap(), seen)
    }

    fn query() -> Query {
        Query {
            text: "x{a=~\"b+ &\"}[1m]".into(),
            at: Timestamp::from_millisecond(1_700_000_000_250).unwrap(),
            within: Duration::from_secs(5),
        }
    }

    const GOOD: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

    #[tokio::test(start_paused = true)]
    async fn the_query_goes_through_the_services_proxy() {
        let (source, seen) = source("mon/https:thanos:web/prefix", 200, GOOD);
        assert!(source.ask(&query()).await.unwrap().series.is_empty());
        let seen = seen.lock().unwrap();
        assert_eq!(
            seen[0].uri(),
            "/api/v1/namespaces/mon/services/https:thanos:web/proxy/prefix/api/v1/query\
             ?query=x%7Ba%3D%7E%22b%2B+%26%22%7D%5B1m%5D&time=1700000000.250&timeout=5000ms"
        );
        assert_eq!(seen[0].headers()["user-agent"], USER_AGENT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_api_server_and_prometheus_are_told_apart() {
        use MetricsError as E;
        let ask = async |status, body| {
            source("mon/prom:9090", status, body)
                .0
                .ask(&query())
                .await
                .unwrap_err()
        };

        let forbidden = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"services \"http:prom:9090\" is forbidden","reason":"Forbidden","code":403}"#;
        let error = ask(403, forbidden).await;
        assert!(matches!(
            &error,
            E::Forbidden {
                by: RefusedBy::ApiServer,
                ..
            }
        ));
        assert!(error.to_string().contains("services/proxy"), "{error}");
        assert!(
            matches!(ask(403, "go away").await, E::Forbidden { at, by: RefusedBy::PrometheusBehindApiServer, .. }
            if at == "mon/prom:9090")
        );

        let missing = r#"{"kind":"Status","status":"Failure","message":"services \"prom\" not found","code":404}"#;
        assert!(
            matches!(ask(404, missing).await, E::NotFound { message, .. } if message.contains("not found"))
        );
        let empty = r#"{"kind":"Status","status":"Failure","message":"no endpoints available for service \"prom\"","code":503}"#;
        assert!(
            matches!(ask(503, empty).await, E::Unavailable { message, .. } if message.contains("no endpoints"))
        );
        let who = r#"{"kind":"Status","status":"Failure","message":"Unauthorized","code":401}"#;
        assert!(matches!(ask(401, who).await, E::Unauthorized { .. }));

        let bad = r#"{"status":"error","errorType":"bad_data","error":"parse error: x"}"#;
        assert!(
            matches!(ask(400, bad).await, E::BadQuery { message, .. } if message == "parse error: x")
        );
        assert!(matches!(
            ask(502, "error trying to reach service: dial tcp").await,
            E::Unavailable { .. }
        ));
        assert!(matches!(ask(200, "<html>").await, E::NotPrometheus { .. }));
        assert!(
            matches!(ask(200, "broken").await, E::Unreachable { cause, .. } if cause.contains("reset"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_black_hole_costs_the_deadline() {
        let (source, _) = source("mon/prom:9090", 200, "hang");
        let began = tokio::time::Instant::now();
        assert!(matches!(
            source.ask(&query()).await,
            Err(MetricsError::TimedOut { .. })
        ));
        assert_eq!(began.elapsed(), Duration::from_secs(5));
    }
}
