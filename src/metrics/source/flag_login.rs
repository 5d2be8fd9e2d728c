//! What the flags of a login say, each read by itself.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use reqwest::Url;

use super::access_error::AccessError;
use super::http_config::check_header;
use super::token_cache::{TokenCache, TokenSource};
use super::token_command::TokenCommand;
use crate::foreign_text::keep_secret;

/// Headers whose values name a tenant and are no secret.
pub(super) const TENANT_HEADERS: [&str; 5] = [
    "x-scope-orgid",
    "thanos-tenant",
    "x-grafana-org-id",
    "x-tenant",
    "accountid",
];

/// The flag for a login that a pod has as well.
pub(super) const LOGIN: &str = "--prometheus-login";

/// A login that a flag asks for.
pub(super) enum FlagLogin {
    Basic {
        user: String,
        password: String,
    },
    TokenFile(PathBuf),
    Tokens(&'static str, Arc<dyn TokenSource>),
    /// The token that the API server gets, too.
    Cluster(Arc<dyn TokenSource>),
    /// A signature with AWS' credentials.
    Aws,
    Header,
}

impl FlagLogin {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Basic { .. } => "the user in --prometheus",
            Self::TokenFile(_) => "--prometheus-token-file",
            Self::Tokens(flag, _) => flag,
            Self::Cluster(_) | Self::Aws => LOGIN,
            Self::Header => "the header Authorization of --prometheus-header",
        }
    }

    /// With which value of `--prometheus-login` a pod logs in in the same way, where it can.
    pub fn of_pod(&self) -> Option<&'static str> {
        match self {
            Self::Cluster(_) => Some("cluster"),
            Self::Aws => Some("aws"),
            Self::Basic { .. } | Self::TokenFile(_) | Self::Tokens(..) | Self::Header => None,
        }
    }
}

/// The headers of `--prometheus-header`, and whether any of them may be a secret.
pub(super) fn headers(
    lines: &[String],
) -> Result<(Vec<(HeaderName, HeaderValue)>, bool), AccessError> {
    let mut headers = Vec::new();
    let mut is_secret = false;
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| AccessError {
            what: "--prometheus-header without a colon".into(),
            fix: "--prometheus-header 'X-Scope-OrgID: shop'".into(),
        })?;
        let (name, value) = (name.trim(), value.trim());
        let name = match name.eq_ignore_ascii_case("authorization") {
            true => AUTHORIZATION,
            false => check_header(name).map_err(|error| AccessError {
                what: format!("--prometheus-header: {}", error.what),
                ..error
            })?,
        };
        if !TENANT_HEADERS.contains(&name.as_str()) {
            is_secret = true;
            keep_secret(value);
            // Behind the scheme stands what a server may repeat alone.
            value
                .split_once(' ')
                .into_iter()
                .for_each(|(_, rest)| keep_secret(rest));
        }
        headers.push((name.clone(), header_value(name.as_str(), value)?));
    }
    Ok((headers, is_secret))
}

pub(super) fn header_value(name: &str, value: &str) -> Result<HeaderValue, AccessError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| AccessError {
        what: format!("the value of the header {name} holds a character that none may hold"),
        fix: "it on one line".into(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) fn params(given: &[String]) -> Result<Vec<(&'static str, String)>, AccessError> {
    let given = given.iter().filter(|param| !param.trim().is_empty());
    let params = given.map(|param| {
        let pair = param.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = pair.ok_or_else(|| AccessError {
            what: "--prometheus-param without a name or a value".into(),
            fix: "--prometheus-param namespace=shop".into(),
        })?;
        if ["query", "time", "timeout"].contains(&name) {
            return Err(AccessError {
                what: format!("--prometheus-param {name} is a parameter of every query already"),
                fix: "another parameter".into(),
            });
        }
        // The client library takes names that live as long as the process; there are a handful.
        let name: &'static str = name.to_owned().leak();
        Ok((name, value.to_owned()))
    });
    params.collect()
}

pub(super) fn tokens_of_command(line: &str) -> Result<FlagLogin, AccessError> {
    let command = TokenCommand::parse(line)?;
    let fetch = Box::new(move || command.clone().run().boxed());
    let cache = Arc::new(TokenCache::new(fetch));
    Ok(FlagLogin::Tokens("--prometheus-token-command", cache))
}

/// User and password of a URL, which has neither from then on.
pub(crate) fn take_user(address: &mut Option<String>) -> Option<(String, String)> {
    let text = address.as_deref().filter(|text| text.contains("://"))?;
    let mut url = Url::parse(text).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https");
    if !is_web || (url.username().is_empty() && url.password().is_none()) {
        return None;
    }
    let decoded = |text: &str| {
        let text = percent_encoding::percent_decode_str(text);
        text.decode_utf8_lossy().into_owned()
    };
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    let login = (decoded(user), decoded(password));
    // A token may stand alone in the place of the user.
    let secrets = match password {
        "" => [user, login.0.as_str()],
        password => [password, login.1.as_str()],
    };
    secrets.into_iter().for_each(keep_secret);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    *address = Some(url.to_string());
    Some(login)
}

pub(super) fn two_logins(first: &str, second: &str) -> AccessError {
    AccessError {
        what: format!("{first} and {second} both log in at Prometheus"),
        fix: "only one of them, as flag or in the environment".into(),
    }
}
