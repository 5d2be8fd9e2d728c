//! Signed queries, as Amazon Managed Service for Prometheus wants them (AWS Signature Version 4).

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, Credential, DefaultCredentialProvider, RequestSigner,
    StaticCredentialProvider,
};
use reqsign_command_execute_tokio::TokioCommandExecute;
use reqsign_core::hash::hex_sha256;
use reqsign_core::{Context, Env as _, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;
use reqsign_http_send_reqwest::ReqwestHttpSend;
use reqwest::{Body, Client, Request, Url};

use super::access_error::AccessError;
use super::http_client::USER_AGENT;
use super::http_config::SigV4;
use crate::foreign_text::{foreign_text, keep_secret};

/// The service that the signature is for: queries of Amazon Managed Service for Prometheus.
const SERVICE: &str = "aps";

/// How long an address that gives credentials may take to accept a connection. That of a machine in the
/// cloud is nobody's elsewhere.
const CONNECTED_WITHIN: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

/// Holds the hash of what is sent; without it only a few services take a signature.
const CONTENT_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SESSION_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Signs queries, and keeps what it signs with until that ends.
#[derive(Clone)]
pub(super) struct QuerySigner(Signer<Credential>);

impl QuerySigner {
    /// A signer for queries to `url`. The process must have installed a TLS provider before.
    ///
    /// # Errors
    /// If nothing names the region.
    pub(super) fn new(settings: &SigV4, url: &Url) -> Result<Self, AccessError> {
        let region = settings.region(url).ok_or_else(|| AccessError {
            what: "no region to sign queries for".into(),
            fix: "AWS_REGION, or region below sigv4 in --prometheus-config".into(),
        })?;
        let client = Client::builder().user_agent(USER_AGENT);
        let client = client
            .connect_timeout(CONNECTED_WITHIN)
            .timeout(ANSWERED_WITHIN);
        let client = client.build().map_err(|problem| AccessError {
            what: format!("no client for credentials: {}", problem.without_url()),
            fix: "access_key and secret_key below sigv4".into(),
        })?;
        let context = Context::new()
            .with_file_read(TokioFileRead)
            .with_command_execute(TokioCommandExecute)
            .with_http_send(ReqwestHttpSend::new(client))
            .with_env(OsEnv);
        let own = settings.credentials();
        let loader = match &settings.role_arn {
            None => own,
            Some(role) => {
                let sts = RequestSigner::new("sts", &region);
                let sts = Signer::new(context.clone(), own, sts);
                let mut role = AssumeRoleCredentialProvider::new(role.clone(), sts)
                    .with_role_session_name("kubectl-canary".into())
                    .with_region(region.clone())
                    .with_regional_sts_endpoint();
                if let Some(id) = &settings.external_id {
                    role = role.with_external_id(id.clone());
                }
                ProvideCredentialChain::new().push(role)
            }
        };
        let request = RequestSigner::new(SERVICE, &region);
        Ok(Self(Signer::new(context, loader, request)))
    }

    /// Adds the signature to a query.
    ///
    /// # Errors
    /// Why there are no credentials.
    pub(super) async fn sign(&self, query: Request) -> Result<Request, AccessError> {
        let body = query.body().and_then(Body::as_bytes).unwrap_or_default();
        let hash = HeaderValue::from_str(&hex_sha256(body));
        let unsigned = http::Request::<Body>::try_from(query).map_err(|_| unsignable())?;
        let (mut head, body) = unsigned.into_parts();
        head.headers
            .insert(CONTENT_HASH, hash.map_err(|_| unsignable())?);
        let signed = self.0.sign(&mut head, None).await;
        signed.map_err(|error| AccessError {
            what: format!(
                "cannot sign the query: {}",
                foreign_text(&error.to_string())
            ),
            fix: "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into(),
        })?;
        let token = head.headers.get(SESSION_TOKEN);
        let token = token.and_then(|token| token.to_str().ok());
        token.into_iter().for_each(keep_secret);
        Request::try_from(http::Request::from_parts(head, body)).map_err(|_| unsignable())
    }
}

impl SigV4 {
    /// The region: as given, as in the host of a workspace, or as in the environment.
    fn region(&self, url: &Url) -> Option<String> {
        let host = url.host_str().unwrap_or_default();
        let of_host = host
            .strip_prefix("aps-workspaces.")
            .and_then(|rest| rest.split('.').next());
        let variables = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let of_environment = || variables.into_iter().find_map(|name| OsEnv.var(name));
        let given = self.region.clone().or(of_host.map(str::to_owned));
        given.or_else(of_environment)
    }

    fn credentials(&self) -> ProvideCredentialChain<Credential> {
        let chain = ProvideCredentialChain::new();
        match (&self.access_key, &self.secret_key, &self.profile) {
            (Some(key), Some(secret), _) => chain.push(StaticCredentialProvider::new(key, secret)),
            (_, _, Some(profile)) => {
                // Else the environment would win over the profile that is asked for.
                let named = DefaultCredentialProvider::builder().no_env();
                chain.push(named.with_profile(profile).build())
            }
            _ => chain.push(DefaultCredentialProvider::new()),
        }
    }
}

fn unsignable() -> AccessError {
    AccessError {
        what: "the query cannot be signed".into(),
        fix: "--prometheus with a URL that a header may hold".into(),
    }
}
