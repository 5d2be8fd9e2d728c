//! Client credentials of OAuth 2.0: a token for an id and a secret (RFC 6749, section 4.4).

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Response, Url};
use serde::Deserialize;

use super::access_error::AccessError;
use super::error::excerpt;
use super::token_cache::FetchedToken;
use crate::foreign_text::root_cause;

/// How long a token endpoint may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// No answer of a token endpoint is longer, in bytes.
const LONGEST: usize = 1 << 20;

/// What is asked for, and where.
#[derive(Clone, PartialEq)]
pub(super) struct TokenRequest {
    pub url: String,
    pub id: String,
    pub secret: String,
    pub scopes: Vec<String>,
    pub params: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    #[serde(default)]
    expires_in: Option<f64>,
}

/// How a token endpoint says no.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenRefusal {
    error: String,
    error_description: String,
}

impl TokenRequest {
    /// Asks for a token: first with the secret in the header, as the standard has it, then in the form, as
    /// many servers want it.
    ///
    /// # Errors
    /// Names the endpoint's server and what it said.
    pub(super) async fn fetch(self, client: Client) -> Result<FetchedToken, AccessError> {
        let fetched = tokio::time::timeout(DEADLINE, self.ask(&client)).await;
        fetched.unwrap_or_else(|_| {
            Err(self.failed(format!("no answer within {}s", DEADLINE.as_secs())))
        })
    }

    async fn ask(&self, client: &Client) -> Result<FetchedToken, AccessError> {
        let first = self.send(client, true).await?;
        let response = match first.status().is_client_error() {
            true => self.send(client, false).await?,
            false => first,
        };
        let status = response.status();
        let body = self.body(response).await?;
        if !status.is_success() {
            let refusal: TokenRefusal = serde_json::from_slice(&body).unwrap_or_default();
            let said = match (refusal.error.as_str(), refusal.error_description.as_str()) {
                ("", _) => excerpt(&String::from_utf8_lossy(&body)),
                (error, "") => excerpt(error),
                (error, description) => excerpt(&format!("{error}, {description}")),
            };
            return Err(self.failed(format!("HTTP {status} {said}").trim_end().to_owned()));
        }
        let token: TokenResponse = serde_json::from_slice(&body)
            .map_err(|_| self.failed("the answer holds no access_token".into()))?;
        let lasts = token.expires_in.filter(|seconds| *seconds > 0.0);
        Ok(FetchedToken {
            token: token.access_token,
            lasts: lasts.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    /// What is sent in the body.
    fn form(&self, in_header: bool) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.scopes.is_empty() {
            form.append_pair("scope", &self.scopes.join(" "));
        }
        form.extend_pairs(&self.params);
        if !in_header {
            form.append_pair("client_id", &self.id);
            form.append_pair("client_secret", &self.secret);
        }
        form.finish()
    }

    async fn send(&self, client: &Client, in_header: bool) -> Result<Response, AccessError> {
        let url = Url::parse(&self.url).map_err(|_| self.failed("it is not a URL".into()))?;
        let request = client
            .post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(self.form(in_header));
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let request = match in_header {
            true => request.basic_auth(encoded(&self.id), Some(encoded(&self.secret))),
            false => request,
        };
        let sent = request.send().await;
        sent.map_err(|problem| self.failed(root_cause(&problem.without_url())))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, AccessError> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(body),
                Ok(Some(chunk)) if body.len() + chunk.len() <= LONGEST => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => return Err(self.failed("the answer is too long".into())),
                Err(problem) => {
                    return Err(self.failed(root_cause(&problem.without_url())));
                }
            }
        }
    }

    fn failed(&self, why: String) -> AccessError {
        let server = Url::parse(&self.url).map(|url| url.origin().ascii_serialization());
        let server = server.unwrap_or_else(|_| "oauth2.token_url".into());
        AccessError {
            what: format!("no token for Prometheus from {server}: {why}"),
            fix: "oauth2 in --prometheus-config with the right client_id, client_secret and scopes"
                .into(),
        }
    }
}
