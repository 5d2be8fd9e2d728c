//! Reads a reply to a query: the answer in it, or what kept it from being one.

use http::StatusCode;
use reqwest::Url;
use serde::Deserialize;

use super::error::{MetricsError, RefusedBy, TOO_MANY, excerpt, or_web_page};
use super::gateway::Gateway;
use super::http_reply::HttpReply;
use super::query_result::{QueryResult, api_error, decode};

/// No reply may be larger, in bytes; the samples of a busy service take a few MiB.
pub(super) const LARGEST: usize = 64 << 20;

/// The server that is asked, and the way to it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The address as it may be shown.
    pub(super) at: String,
    pub(super) transport: Transport,
}

/// The way that a query takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Direct,
    /// Through the API server, which writes replies of its own and passes no credentials on.
    ApiServer,
}

/// How the API server reports an error.
#[derive(Deserialize)]
struct KubeStatus {
    kind: String,
    #[serde(default)]
    message: String,
}

impl Asked {
    pub(super) fn too_large(&self) -> MetricsError {
        MetricsError::TooLarge {
            at: self.at.clone(),
            limit: (LARGEST >> 20) as u64,
        }
    }
}

impl HttpReply {
    /// The answer in it, or what kept it from being one.
    pub(super) fn read(mut self, asked: &Asked) -> Result<QueryResult, MetricsError> {
        let (login, wait) = (self.login.take(), self.retry_after);
        self.read_unnamed(asked)
            .map_err(|error| match (error, login) {
                (MetricsError::Unavailable { at, message, .. }, _) => MetricsError::Unavailable {
                    at,
                    message,
                    retry_after: wait,
                },
                (
                    MetricsError::Unauthorized { at, by, message }
                    | MetricsError::Forbidden { at, by, message },
                    Some(login),
                ) if by.is_about_login() => MetricsError::LoginRefused {
                    at,
                    login,
                    by,
                    message,
                },
                (error, _) => error,
            })
    }

    /// The same, whatever the query was sent with.
    fn read_unnamed(self, asked: &Asked) -> Result<QueryResult, MetricsError> {
        let at = asked.at.clone();
        if self.status.is_success() && !self.body.trim_ascii_start().starts_with(b"<") {
            return decode(&self.body, &at);
        }
        if asked.transport == Transport::ApiServer
            && let Ok(status) = serde_json::from_slice::<KubeStatus>(&self.body)
            && status.kind == "Status"
        {
            return Err(self.by_api_server(at, excerpt(&status.message)));
        }
        if let Some(gateway) = Gateway::of(&self) {
            return Err(self.by_gateway(at, gateway));
        }
        if self.status.is_success() {
            return decode(&self.body, &at);
        }
        let said = api_error(&self.body);
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let words = said.map_or_else(|| self.words(), |error| error.message);
            let message = match words.is_empty() {
                true => TOO_MANY.to_owned(),
                false => format!("{TOO_MANY}: {words}"),
            };
            return Err(MetricsError::Unavailable {
                at,
                message,
                retry_after: None,
            });
        }
        match said {
            Some(api_error) => Err(api_error.into_error(at)),
            None => Err(self.by_prometheus(at, asked.transport)),
        }
    }

    /// What a reply of the API server itself means.
    fn by_api_server(&self, at: String, message: String) -> MetricsError {
        let by = RefusedBy::ApiServer;
        match self.status {
            StatusCode::UNAUTHORIZED => MetricsError::Unauthorized { at, by, message },
            StatusCode::FORBIDDEN => MetricsError::Forbidden { at, by, message },
            StatusCode::NOT_FOUND => MetricsError::NotFound { at, message },
            status if is_temporary(status) || status.is_server_error() => {
                MetricsError::Unavailable {
                    at,
                    message,
                    retry_after: None,
                }
            }
            status => MetricsError::NotPrometheus {
                at,
                saw: format!("the API server says {status}: {message}"),
            },
        }
    }

    /// What a reply of a known form means.
    fn by_gateway(&self, at: String, gateway: Gateway) -> MetricsError {
        let message = match api_error(&self.body) {
            _ if self.status.is_redirection() => {
                format!("it redirects to {}", self.redirected_to())
            }
            Some(api_error) => api_error.message,
            None => excerpt(&String::from_utf8_lossy(&self.body)),
        };
        let message = match (message.as_str(), gateway) {
            ("", Gateway::LoginPage | Gateway::OpenShift | Gateway::Cloudflare) => {
                "a login page".to_owned()
            }
            _ => message,
        };
        let by = RefusedBy::Gateway(gateway);
        match gateway.is_forbidden() {
            true => MetricsError::Forbidden { at, by, message },
            false => MetricsError::Unauthorized { at, by, message },
        }
    }

    /// What a reply means that has neither Prometheus' nor the API server's form: a proxy's, a login page.
    fn by_prometheus(&self, at: String, transport: Transport) -> MetricsError {
        let message = self.words();
        let by = match transport {
            Transport::Direct => RefusedBy::Prometheus,
            Transport::ApiServer => RefusedBy::PrometheusBehindApiServer,
        };
        match self.status {
            StatusCode::UNAUTHORIZED => MetricsError::Unauthorized { at, by, message },
            StatusCode::FORBIDDEN => MetricsError::Forbidden { at, by, message },
            StatusCode::NOT_FOUND => MetricsError::NotFound { at, message },
            // As VictoriaMetrics says it.
            StatusCode::BAD_REQUEST if message.contains("unsupported path requested") => {
                MetricsError::NotFound { at, message }
            }
            // nginx says it on a web page.
            StatusCode::BAD_REQUEST
                if String::from_utf8_lossy(&self.body).contains("sent to HTTPS port") =>
            {
                let saw = "it is an HTTPS server".to_owned();
                MetricsError::NotPrometheus { at, saw }
            }
            status if status.is_redirection() => MetricsError::Redirected {
                at,
                to: self.redirected_to(),
            },
            status if is_temporary(status) => MetricsError::Unavailable {
                at,
                message: if message.is_empty() {
                    format!("HTTP {status}")
                } else {
                    message
                },
                retry_after: None,
            },
            status => MetricsError::NotPrometheus {
                at,
                saw: format!("HTTP {status}: {}", or_web_page(message)),
            },
        }
    }

    /// What stands in it, as far as it is shown.
    fn words(&self) -> String {
        excerpt(&String::from_utf8_lossy(&self.body))
    }

    /// Scheme and host only: the address of a login page carries state that must not be shown.
    fn redirected_to(&self) -> String {
        self.location
            .as_deref()
            .and_then(|location| Url::parse(location).ok())
            .map_or_else(
                || "another path".to_owned(),
                |url| url.origin().ascii_serialization(),
            )
    }
}

/// Whether the same request may well succeed later.
fn is_temporary(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}
