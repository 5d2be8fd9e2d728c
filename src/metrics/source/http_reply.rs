//! An HTTP reply to a query, and who wrote it: Prometheus, the API server, or something in between.

use http::StatusCode;
use reqwest::Url;
use serde::Deserialize;

use super::error::MetricsError;
use super::error::excerpt;
use super::query_result::QueryResult;
use super::query_result::{api_error, decode};

/// No reply may be larger; a look at a busy service is a few MiB.
pub(crate) const LARGEST: usize = 64 << 20;

/// What came back.
#[derive(Debug)]
pub(crate) struct HttpReply {
    pub(crate) status: StatusCode,
    /// Where it sends the caller, if it does.
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Who was asked, and over which way.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The address as it may be shown.
    pub(crate) at: String,
    pub(crate) transport: Transport,
}

/// The way a query took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    HttpSource,
    /// Through the API server, which writes replies of its own and passes no credentials on.
    ApiServer,
}

/// The API server's own words.
#[derive(Deserialize)]
struct KubeStatus {
    kind: String,
    #[serde(default)]
    message: String,
}

const DIRECT_CREDENTIALS: &str = "a URL with user and password, or a header with a token";
const PROXIED_CREDENTIALS: &str =
    "--prometheus, since the API server passes no credentials on to Prometheus";

impl Asked {
    pub(crate) fn too_large(&self) -> MetricsError {
        MetricsError::TooLarge {
            at: self.at.clone(),
            limit: (LARGEST >> 20) as u64,
        }
    }
}

impl HttpReply {
    /// The answer in it, or what kept it from being one.
    pub(crate) fn read(self, asked: &Asked) -> Result<QueryResult, MetricsError> {
        let at = asked.at.clone();
        if self.status.is_success() {
            return decode(&self.body, &at);
        }
        if asked.transport == Transport::ApiServer
            && let Ok(status) = serde_json::from_slice::<KubeStatus>(&self.body)
            && status.kind == "Status"
        {
            return Err(self.api_server_says(at, &excerpt(&status.message)));
        }
        if let Some(api_error) = api_error(&self.body) {
            return Err(api_error.into_error(at));
        }
        Err(self.plain_words(at, asked.transport))
    }

    fn api_server_says(&self, at: String, message: &str) -> MetricsError {
        let who = format!("the API server, asked for {at},");
        let message = message.to_owned();
        match self.status {
            StatusCode::UNAUTHORIZED => MetricsError::Unauthorized {
                who,
                message,
                advice: "kubectl auth whoami",
            },
            StatusCode::FORBIDDEN => MetricsError::Forbidden {
                who,
                message,
                advice: "a Role with get on services/proxy there, or --prometheus",
            },
            StatusCode::NOT_FOUND => MetricsError::NotFound { at, message },
            status if is_for_now(status) || status.is_server_error() => {
                MetricsError::Unavailable { at, message }
            }
            status => MetricsError::NotPrometheus {
                at,
                saw: format!("the API server says {status}: {message}"),
            },
        }
    }

    /// A reply that is neither Prometheus' nor the API server's envelope: a proxy, a login page, text.
    fn plain_words(&self, at: String, transport: Transport) -> MetricsError {
        let said = String::from_utf8_lossy(&self.body);
        let is_html = said.trim_start().starts_with('<');
        let message = if is_html {
            String::new()
        } else {
            excerpt(&said)
        };
        let advice = match transport {
            Transport::HttpSource => DIRECT_CREDENTIALS,
            Transport::ApiServer => PROXIED_CREDENTIALS,
        };
        match self.status {
            StatusCode::UNAUTHORIZED => MetricsError::Unauthorized {
                who: at,
                message,
                advice,
            },
            StatusCode::FORBIDDEN => MetricsError::Forbidden {
                who: at,
                message,
                advice,
            },
            StatusCode::NOT_FOUND => MetricsError::NotFound { at, message },
            status if status.is_redirection() => MetricsError::Redirected {
                at,
                to: self.destination(),
            },
            status if is_for_now(status) => MetricsError::Unavailable {
                at,
                message: if message.is_empty() {
                    status.to_string()
                } else {
                    message
                },
            },
            status => MetricsError::NotPrometheus {
                at,
                saw: format!("HTTP {status}: {}", excerpt(&said)),
            },
        }
    }

    /// Scheme and host only: a login page's address carries state that is nobody's business.
    fn destination(&self) -> String {
        self.location
            .as_deref()
            .and_then(|location| Url::parse(location).ok())
            .map_or_else(
                || "another path".to_owned(),
                |url| url.origin().ascii_serialization(),
            )
    }
}

/// Whether a status means "not now".
fn is_for_now(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}
