//! Prometheus at a URL.

use std::fmt;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::HOST;
use http::{HeaderMap, StatusCode};
use prometheus_http_query::Client;
use reqwest::{Response, Url};

use super::access::{Prepared, PrometheusAccess, SentThrough};
use super::access_error::AccessError;
use super::address::{Endpoint, ServiceAddress};
use super::error::{MetricsError, by_proxy};
use super::http_reply::HttpReply;
use super::port_forward::Forward;
use super::query::{MetricSource, Query};
use super::query_result::QueryResult;
use super::query_signer::QuerySigner;
use super::reply_reader::{Asked, LARGEST, Transport};
use crate::foreign_text::root_cause;

/// Above this length a query is sent as a form: proxies cut request lines off at a few thousand bytes.
/// Below it GET is better, since read-only proxies let it pass.
const LONGEST_GET: usize = 2000;

/// Asks Prometheus, or what speaks its API, over HTTP.
pub struct HttpSource {
    access: PrometheusAccess,
    url: Url,
    asked: Asked,
}

impl HttpSource {
    /// A source that asks `endpoint`. The process must have installed a TLS provider before.
    ///
    /// # Errors
    /// If the login cannot be used as it is now.
    pub fn new(endpoint: &Endpoint, access: PrometheusAccess) -> Result<Self, AccessError> {
        let url = endpoint.url();
        let at = match access.check(&url)? {
            SentThrough::Nothing => endpoint.shown(),
            SentThrough::ProxyOfEnvironment => by_proxy(&endpoint.shown()),
        };
        Ok(Self::direct(access, url, at))
    }

    /// A source that asks the Service over connections by port-forward.
    ///
    /// # Errors
    /// If a setting of the login would have no effect, or cannot be used as it is now.
    pub(super) fn forwarded(
        service: &ServiceAddress,
        access: PrometheusAccess,
        forward: Forward,
    ) -> Result<Self, AccessError> {
        let (url, at) = (service.inside_url(), forward.shown());
        let access = access.through(forward)?;
        access.check(&url)?;
        Ok(Self::direct(access, url, at))
    }

    fn direct(access: PrometheusAccess, url: Url, at: String) -> Self {
        Self {
            access,
            url,
            asked: Asked {
                at,
                transport: Transport::Direct,
            },
        }
    }

    /// Sends the query, and once more with another token where one was refused.
    async fn reply(&self, query: &Query) -> Result<HttpReply, MetricsError> {
        let prepared = self.access.prepare(&self.url).await;
        let prepared = prepared.map_err(|error| self.no_access(error))?;
        let reply = self.send(query, &prepared).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        let renewed = prepared.renewed().await;
        match renewed.map_err(|error| self.no_access(error))? {
            Some(renewed) => self.send(query, &renewed).await,
            None => Ok(reply),
        }
    }

    /// Sends it in the URL, or as a form; the other way where the server does not take it like that.
    async fn send(&self, query: &Query, prepared: &Prepared) -> Result<HttpReply, MetricsError> {
        if let Some(signer) = &prepared.signer {
            return self.send_signed(query, prepared, signer).await;
        }
        // Gates for tenants give rights by the method, and more often those for GET.
        let in_url = query.text.len() <= LONGEST_GET || !self.access.params().is_empty();
        let reply = self.send_as(in_url, query, prepared).await?;
        let takes_other = match in_url {
            true => matches!(
                reply.status,
                StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            ),
            false => matches!(
                reply.status,
                StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
            ),
        };
        match takes_other {
            true => self.send_as(!in_url, query, prepared).await,
            false => Ok(reply),
        }
    }

    async fn send_as(
        &self,
        in_url: bool,
        query: &Query,
        prepared: &Prepared,
    ) -> Result<HttpReply, MetricsError> {
        let mut url = self.url.clone();
        let mut headers = prepared.headers.clone();
        if let Some(name) = &prepared.server_name {
            let host = self.url.authority().parse().ok();
            headers.extend(host.map(|host| (HOST, host)));
            // The client knows no other way of asking for another certificate than the host's.
            let _ = url.set_host(Some(name));
        }
        let sent = match in_url {
            true => self.get(url, headers, query, prepared).await?,
            false => {
                url.set_path(&self.query_path());
                // Gates for tenants look for their parameters in the URL, whatever the method.
                if !self.access.params().is_empty() {
                    url.query_pairs_mut().extend_pairs(self.access.params());
                }
                self.post(url, headers, query, prepared).await?
            }
        };
        self.reply_of(sent, prepared).await
    }

    async fn get(
        &self,
        url: Url,
        headers: HeaderMap,
        query: &Query,
        prepared: &Prepared,
    ) -> Result<Response, MetricsError> {
        let client = Client::from(prepared.client.clone(), url.as_str())
            .map_err(|_| self.not_sent("the URL cannot be used"))?;
        let mut request = client
            .query(&query.text)
            // The library's own `at` takes whole seconds only.
            .query("time", query.time())
            .query("timeout", query.timeout());
        for &(name, ref value) in self.access.params() {
            request = request.query(name, value);
        }
        for (name, value) in &headers {
            request = request.header(name.clone(), value.clone());
        }
        let sent = request.get_raw().await;
        sent.map_err(|problem| self.refused(problem))
    }

    /// Sends a form, and again to where it was redirected to within the host: a redirect of 301 or 302 makes a
    /// GET of it, without the form.
    async fn post(
        &self,
        url: Url,
        headers: HeaderMap,
        query: &Query,
        prepared: &Prepared,
    ) -> Result<Response, MetricsError> {
        let form = |url: Url| {
            let request = prepared.client.post(url).form(&query.parameters());
            request.headers(headers.clone()).send()
        };
        let sent = form(url.clone()).await;
        let answer = sent.map_err(|problem| self.unreachable(problem))?;
        if *answer.url() == url || answer.status().is_success() {
            return Ok(answer);
        }
        let mut moved = answer.url().clone();
        if moved.query().is_none() {
            moved.set_query(url.query());
        }
        let sent = form(moved).await;
        sent.map_err(|problem| self.unreachable(problem))
    }

    fn query_path(&self) -> String {
        format!("{}/api/v1/query", self.url.path().trim_end_matches('/'))
    }

    /// Sends the query as a form, whose bytes are signed: how a URL's are read differs from server to server.
    async fn send_signed(
        &self,
        query: &Query,
        prepared: &Prepared,
        signer: &QuerySigner,
    ) -> Result<HttpReply, MetricsError> {
        let parameters = query.parameters().into_iter();
        let form: Vec<_> = parameters
            .chain(self.access.params().iter().cloned())
            .collect();
        let mut url = self.url.clone();
        url.set_path(&self.query_path());
        let request = prepared.client.post(url).headers(prepared.headers.clone());
        let request = request.form(&form).build();
        let request = request.map_err(|problem| self.unreachable(problem))?;
        let signed = signer.sign(request).await;
        let signed = signed.map_err(|error| self.no_access(error))?;
        let sent = prepared.client.execute(signed).await;
        self.reply_of(sent.map_err(|problem| self.unreachable(problem))?, prepared)
            .await
    }

    async fn reply_of(
        &self,
        mut response: Response,
        prepared: &Prepared,
    ) -> Result<HttpReply, MetricsError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|problem| self.unreachable(problem))?
        {
            if body.len() + chunk.len() > LARGEST {
                return Err(self.asked.too_large());
            }
            body.extend_from_slice(&chunk);
        }
        let login = prepared.login.clone();
        Ok(HttpReply::new(status, &headers, body, login))
    }

    fn refused(&self, problem: prometheus_http_query::Error) -> MetricsError {
        let prometheus_http_query::Error::Client(problem) = problem else {
            return self.not_sent("the request could not be sent");
        };
        if let Some(error) = self.not_forwarded(problem.inner()) {
            return error;
        }
        // A copy without the URL cannot be made of a borrowed error, so its cause is read below the level
        // that names the URL.
        let cause = problem.inner().and_then(std::error::Error::source);
        self.not_sent(&cause.map_or_else(|| "the request could not be sent".into(), root_cause))
    }

    fn not_sent(&self, cause: &str) -> MetricsError {
        MetricsError::Unreachable {
            at: self.asked.at.clone(),
            cause: cause.to_owned(),
        }
    }

    /// What it means, if it is about the port-forward.
    fn not_forwarded(&self, problem: Option<&reqwest::Error>) -> Option<MetricsError> {
        let forward = self.access.forward()?;
        forward.error(problem?)
    }

    fn unreachable(&self, problem: reqwest::Error) -> MetricsError {
        if let Some(error) = self.not_forwarded(Some(&problem)) {
            return error;
        }
        MetricsError::Unreachable {
            at: self.asked.at.clone(),
            cause: root_cause(&problem.without_url()),
        }
    }

    fn no_access(&self, error: AccessError) -> MetricsError {
        MetricsError::NoAccess {
            at: self.asked.at.clone(),
            error,
        }
    }
}

impl MetricSource for HttpSource {
    fn ask<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<QueryResult, MetricsError>> {
        async move {
            let reply = tokio::time::timeout(query.within, self.reply(query))
                .await
                .map_err(|_| MetricsError::TimedOut {
                    at: self.asked.at.clone(),
                    after: query.within,
                })
                .and_then(|reply| reply);
            reply.and_then(|reply| reply.read(&self.asked))
        }
        .boxed()
    }

    fn name(&self) -> String {
        self.asked.at.clone()
    }
}

impl fmt::Debug for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpSource({})", self.asked.at)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;
    use std::time::Duration;

    use http::{Request, Response};
    use http_body_util::{BodyExt, Full};
    use hyper::body::{Bytes, Incoming};
    use hyper_util::rt::TokioIo;
    use jiff::Timestamp;
    use tokio::net::TcpListener;

    use super::*;
    use crate::metrics::source::address::PrometheusAddress;
    use crate::metrics::source::http_client::USER_AGENT;

    const GOOD: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"a":"b"},"values":[[1700000000.5,"7"]]}]},"warnings":["a store is away"]}"#;

    /// A server over loopback that answers every path in its own way.
    async fn serve() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer)),
                );
            }
        });
        address
    }

    async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let prefix = parts
            .uri
            .path()
            .trim_end_matches("/api/v1/query")
            .to_owned();
        let reply = |status: u16, text: &str| {
            Response::builder()
                .status(status)
                .body(Full::from(text.to_owned()))
                .unwrap()
        };
        let redirect = |to: &str| {
            let mut response = reply(302, "");
            response
                .headers_mut()
                .insert("location", to.parse().unwrap());
            response
        };
        Ok(match prefix.as_str() {
            "/good" => reply(200, GOOD),
            "/echo" => {
                let said = format!(
                    "{} {} {:?} {:?} {}",
                    parts.method,
                    parts.uri.query().unwrap_or_default(),
                    parts.headers.get("user-agent"),
                    parts.headers.get("authorization"),
                    String::from_utf8_lossy(&body),
                );
                let error =
                    serde_json::json!({"status": "error", "errorType": "bad_data", "error": said});
                reply(400, &error.to_string())
            }
            "/execution" => reply(
                422,
                r#"{"status":"error","errorType":"execution","error":"query processing would load too many samples"}"#,
            ),
            "/html" => reply(200, "<html><body>Sign in</body></html>"),
            "/login" => reply(401, "<html>Sign in</html>"),
            "/token" => reply(403, "token tok-123 is no good"),
            "/away" => redirect("https://login.example.com/?state=x"),
            "/round" => redirect("/round/api/v1/query"),
            "/moved" => redirect("/good/api/v1/query"),
            "/down" => reply(503, "no healthy upstream"),
            "/hang" => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                reply(200, GOOD)
            }
            _ => reply(404, "404 page not found"),
        })
    }

    fn query(text: &str) -> Query {
        Query {
            text: text.into(),
            at: Timestamp::from_millisecond(1_700_000_000_250).unwrap(),
            within: Duration::from_secs(5),
        }
    }

    fn source(url: &str) -> HttpSource {
        // Another test may have been first; the provider is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let PrometheusAddress::Url(endpoint) = url.parse().unwrap() else {
            panic!("a URL");
        };
        HttpSource::new(&endpoint, PrometheusAccess::default()).unwrap()
    }

    #[tokio::test]
    async fn a_success_keeps_its_warnings_also_behind_a_redirect_within_the_host() {
        let address = serve().await;
        for path in ["good", "moved", "good/"] {
            let source = source(&format!("http://{address}/{path}"));
            let answer = source.ask(&query("x[1m]")).await.unwrap();
            assert_eq!(answer.series[0].samples[0].1, 7.0);
            assert_eq!(answer.warnings, ["a store is away"]);
            assert!(answer.is_partial());
        }
    }

    #[tokio::test]
    async fn every_failure_has_its_name() {
        let address = serve().await;
        let ask = async |path: &str| {
            source(&format!("http://{address}/{path}"))
                .ask(&query("x"))
                .await
                .unwrap_err()
        };
        use MetricsError as E;
        assert!(
            matches!(ask("execution").await, E::QueryFailed { message, .. } if message.contains("too many samples"))
        );
        assert!(
            matches!(ask("html").await, E::Unauthorized { message, .. } if message == "a login page")
        );
        assert!(
            matches!(ask("login").await, E::Unauthorized { message, .. } if message == "a login page")
        );
        assert!(matches!(ask("token").await, E::Forbidden { .. }));
        assert!(
            matches!(ask("away").await, E::Unauthorized { message, .. } if message == "it redirects to https://login.example.com")
        );
        assert!(matches!(ask("round").await, E::Redirected { .. }));
        assert!(
            matches!(ask("down").await, E::Unavailable { message, .. } if message == "no healthy upstream")
        );
        assert!(matches!(ask("nowhere").await, E::NotFound { .. }));
    }

    #[tokio::test]
    async fn a_server_that_hangs_costs_the_deadline_and_no_more() {
        let address = serve().await;
        let source = source(&format!("http://{address}/hang"));
        let mut query = query("x");
        query.within = Duration::from_millis(50);
        assert!(matches!(
            source.ask(&query).await,
            Err(MetricsError::TimedOut { .. })
        ));
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let source = source(&format!("http://{address}"));
        let error = source.ask(&query("x")).await.unwrap_err();
        assert!(
            matches!(&error, MetricsError::Unreachable { cause, .. } if cause.contains("refused")),
            "{error}"
        );
        // The last cause alone, not the layers of the client.
        assert!(!error.to_string().contains("client error"), "{error}");
    }

    #[tokio::test]
    async fn what_is_sent_is_complete() {
        let address = serve().await;
        let source = source(&format!("http://{address}/echo"));
        let MetricsError::BadQuery { message, .. } =
            source.ask(&query("x{a=~\"b+\"}")).await.unwrap_err()
        else {
            panic!("an echo");
        };
        assert!(
            message.starts_with(
                "GET query=x%7Ba%3D%7E%22b%2B%22%7D&time=1700000000.250&timeout=5000ms"
            ),
            "{message}"
        );
        assert!(message.contains(USER_AGENT), "{message}");
        // Nothing by which Prometheus would know the user.
        assert!(message.contains("None"), "{message}");

        let long = format!("x{{a=~\"{}\"}}", "b".repeat(LONGEST_GET));
        let error = source.ask(&query(&long)).await.unwrap_err();
        assert!(error.to_string().contains("POST"), "{error}");
    }
}
