//! How to log in at Prometheus, in the schema of Prometheus' own HTTP client configuration.
//!
//! What `promtool --http.config.file` takes is taken here, less what needs a secret manager. Relative paths
//! start at the folder of the file.

mod sigv4;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::HeaderName;
use serde::Deserialize;

use super::access_error::AccessError;
use crate::foreign_text::{foreign_text, keep_secret, root_cause};

pub(super) use sigv4::SigV4;

/// Headers that the client writes itself, or that have a section of their own.
const RESERVED_HEADERS: [&str; 12] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
];

/// Prometheus' `http_config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpConfig {
    pub basic_auth: Option<BasicAuth>,
    pub authorization: Option<Authorization>,
    pub oauth2: Option<OAuth2>,
    /// Of Prometheus' remote storage, where it stands beside the rest.
    pub sigv4: Option<SigV4>,
    bearer_token: Option<String>,
    bearer_token_file: Option<PathBuf>,
    pub tls_config: TlsConfig,
    pub follow_redirects: Option<bool>,
    /// Of no effect: queries are sent over HTTP/1.1.
    #[serde(rename = "enable_http2")]
    _enable_http2: Option<bool>,
    proxy_url: Option<String>,
    no_proxy: Option<String>,
    proxy_from_environment: Option<bool>,
    proxy_connect_header: BTreeMap<String, Vec<String>>,
    pub http_headers: BTreeMap<String, HeaderValues>,
}

/// Name and password.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BasicAuth {
    pub username: Option<String>,
    pub username_file: Option<PathBuf>,
    pub password: Option<String>,
    pub password_file: Option<PathBuf>,
}

/// An `Authorization` header.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Authorization {
    #[serde(rename = "type")]
    pub scheme: Option<String>,
    pub credentials: Option<String>,
    pub credentials_file: Option<PathBuf>,
}

/// Client credentials for which a token endpoint gives a token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OAuth2 {
    pub client_id: String,
    pub client_secret: Option<String>,
    pub client_secret_file: Option<PathBuf>,
    pub scopes: Vec<String>,
    pub token_url: String,
    pub endpoint_params: BTreeMap<String, String>,
    pub tls_config: TlsConfig,
    proxy_url: Option<String>,
    no_proxy: Option<String>,
    proxy_from_environment: Option<bool>,
    proxy_connect_header: BTreeMap<String, Vec<String>>,
}

/// Certificates, and how the server's is checked.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsConfig {
    pub ca: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub cert: Option<String>,
    pub cert_file: Option<PathBuf>,
    pub key: Option<String>,
    pub key_file: Option<PathBuf>,
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS. Neither 1.0 nor 1.1 is ever spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum TlsVersion {
    #[serde(rename = "TLS10")]
    Tls10,
    #[serde(rename = "TLS11")]
    Tls11,
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// The values of one header, whose last one counts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HeaderValues {
    pub values: Vec<String>,
    pub secrets: Vec<String>,
    pub files: Vec<PathBuf>,
}

/// The proxy on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProxyChoice {
    /// That of the environment, if any.
    Environment,
    /// None.
    Direct,
    /// This one, less the hosts of `no_proxy`.
    Url {
        url: String,
        no_proxy: Option<String>,
    },
}

impl ProxyChoice {
    /// The same where the environment's proxy is of no use.
    pub(super) fn but_not_of_environment(self) -> Self {
        match self {
            Self::Environment => Self::Direct,
            chosen => chosen,
        }
    }
}

impl HttpConfig {
    /// Reads a configuration, with all its paths made whole and everything that contradicts itself refused.
    ///
    /// # Errors
    /// Names the file, the key and what to write instead, and quotes no value.
    pub(super) fn read(path: &Path) -> Result<Self, AccessError> {
        let unusable = |problem: String, fix: &str| AccessError {
            what: format!("--prometheus-config {}: {problem}", path.display()),
            fix: fix.to_owned(),
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| unusable(root_cause(&error), "the path of a file that can be read"))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")))
            .map_err(|error| unusable(error.what, &error.fix))
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, AccessError> {
        let blank = |line: &str| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line == "---"
        };
        if text.lines().all(blank) {
            return Ok(Self::default());
        }
        let mut config: Self = serde_saphyr::from_str(text).map_err(|error| malformed(&error))?;
        config.normalize()?;
        config.check()?;
        config.set_folder(folder);
        config.keep_secrets();
        Ok(config)
    }

    /// Which section logs in, if any does.
    pub(super) fn login(&self) -> Option<&'static str> {
        self.logins().next()
    }

    fn logins(&self) -> impl Iterator<Item = &'static str> {
        let sections = [
            ("basic_auth", self.basic_auth.is_some()),
            ("authorization", self.authorization.is_some()),
            ("oauth2", self.oauth2.is_some()),
            ("sigv4", self.sigv4.is_some()),
        ];
        let used = sections.into_iter().filter(|(_, is_used)| *is_used);
        used.map(|(section, _)| section)
    }

    pub(super) fn proxy(&self) -> ProxyChoice {
        let url = self.proxy_url.clone();
        proxy(url, self.no_proxy.clone(), self.proxy_from_environment)
    }

    /// The old spelling of a bearer token becomes the new one.
    fn normalize(&mut self) -> Result<(), AccessError> {
        let old = (self.bearer_token.take(), self.bearer_token_file.take());
        if old == (None, None) {
            return Ok(());
        }
        if self.authorization.is_some() {
            return Err(both("bearer_token", "authorization"));
        }
        self.authorization = Some(Authorization {
            scheme: None,
            credentials: old.0,
            credentials_file: old.1,
        });
        Ok(())
    }

    fn check(&self) -> Result<(), AccessError> {
        let mut logins = self.logins();
        if let (Some(first), Some(second)) = (logins.next(), logins.next()) {
            return Err(both(first, second));
        }
        if let Some(basic) = &self.basic_auth {
            one_of(
                "basic_auth",
                ("username", basic.username.is_some()),
                ("username_file", basic.username_file.is_some()),
            )?;
            one_of(
                "basic_auth",
                ("password", basic.password.is_some()),
                ("password_file", basic.password_file.is_some()),
            )?;
        }
        if let Some(authorization) = &self.authorization {
            authorization.check()?;
        }
        if let Some(oauth2) = &self.oauth2 {
            oauth2.check()?;
        }
        if let Some(sigv4) = &self.sigv4 {
            sigv4.check()?;
        }
        self.tls_config.check("tls_config")?;
        check_proxy(
            "",
            (&self.proxy_url, &self.no_proxy, self.proxy_from_environment),
            &self.proxy_connect_header,
        )?;
        if self.tls_config.server_name.is_some() && self.proxy_url.is_some() {
            return Err(both("tls_config.server_name", "proxy_url"));
        }
        for name in self.http_headers.keys() {
            check_header(name).map_err(|error| AccessError {
                what: format!("http_headers: {}", error.what),
                ..error
            })?;
        }
        Ok(())
    }

    fn set_folder(&mut self, folder: &Path) {
        let Self {
            basic_auth,
            authorization,
            oauth2,
            tls_config,
            http_headers,
            ..
        } = self;
        let basic = basic_auth
            .iter_mut()
            .flat_map(|basic| [&mut basic.username_file, &mut basic.password_file]);
        let authorization = authorization
            .iter_mut()
            .map(|authorization| &mut authorization.credentials_file);
        let oauth2 = oauth2.iter_mut().flat_map(|oauth2| {
            std::iter::once(&mut oauth2.client_secret_file).chain(oauth2.tls_config.files())
        });
        let files = basic.chain(authorization).chain(oauth2);
        let files = files.chain(tls_config.files()).flatten();
        let headers = http_headers
            .values_mut()
            .flat_map(|values| &mut values.files);
        for file in files.chain(headers) {
            // An absolute path stays what it is.
            *file = folder.join(&*file);
        }
    }

    /// What the filter of foreign texts shall know.
    fn keep_secrets(&self) {
        let basic = self.basic_auth.as_ref();
        let authorization = self.authorization.as_ref();
        let oauth2 = self.oauth2.as_ref();
        let sigv4 = self.sigv4.as_ref();
        let single = [
            sigv4.and_then(|sigv4| sigv4.secret_key.as_ref()),
            basic.and_then(|basic| basic.password.as_ref()),
            authorization.and_then(|authorization| authorization.credentials.as_ref()),
            oauth2.and_then(|oauth2| oauth2.client_secret.as_ref()),
            self.tls_config.key.as_ref(),
            oauth2.and_then(|oauth2| oauth2.tls_config.key.as_ref()),
        ];
        let headers = self.http_headers.values();
        let headers = headers.flat_map(|values| &values.secrets);
        let urls = [
            self.proxy_url.as_deref(),
            oauth2.map(|oauth2| oauth2.token_url.as_str()),
        ];
        let single = single.into_iter().flatten().chain(headers);
        single.for_each(|secret| keep_secret(secret));
        urls.into_iter().flatten().for_each(keep_password);
    }
}

/// The password in a URL, if there is one, is masked from now on.
fn keep_password(url: &str) {
    let Ok(url) = reqwest::Url::parse(url) else {
        return;
    };
    if let Some(password) = url.password() {
        keep_secret(password);
        keep_secret(&percent_encoding::percent_decode_str(password).decode_utf8_lossy());
    }
}

impl Authorization {
    fn check(&self) -> Result<(), AccessError> {
        one_of(
            "authorization",
            ("credentials", self.credentials.is_some()),
            ("credentials_file", self.credentials_file.is_some()),
        )?;
        let scheme = self.scheme.as_deref().unwrap_or("Bearer").trim();
        if scheme.eq_ignore_ascii_case("basic") {
            return Err(AccessError {
                what: "authorization.type is basic".into(),
                fix: "basic_auth with username and password".into(),
            });
        }
        if self.credentials.is_none() && self.credentials_file.is_none() {
            return Err(AccessError {
                what: "authorization has no credentials".into(),
                fix: "authorization.credentials_file".into(),
            });
        }
        Ok(())
    }
}

impl OAuth2 {
    pub(super) fn proxy(&self) -> ProxyChoice {
        let url = self.proxy_url.clone();
        proxy(url, self.no_proxy.clone(), self.proxy_from_environment)
    }

    fn check(&self) -> Result<(), AccessError> {
        for (key, value) in [
            ("client_id", &self.client_id),
            ("token_url", &self.token_url),
        ] {
            if value.is_empty() {
                return Err(AccessError {
                    what: format!("oauth2 has no {key}"),
                    fix: format!("oauth2.{key}"),
                });
            }
        }
        let url = reqwest::Url::parse(&self.token_url);
        if !url.is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(AccessError {
                what: "oauth2.token_url is not an http or https URL".into(),
                fix: "https://HOST/PATH".into(),
            });
        }
        one_of(
            "oauth2",
            ("client_secret", self.client_secret.is_some()),
            ("client_secret_file", self.client_secret_file.is_some()),
        )?;
        self.tls_config.check("oauth2.tls_config")?;
        check_proxy(
            "oauth2.",
            (&self.proxy_url, &self.no_proxy, self.proxy_from_environment),
            &self.proxy_connect_header,
        )
    }
}

impl TlsConfig {
    fn files(&mut self) -> [&mut Option<PathBuf>; 3] {
        [&mut self.ca_file, &mut self.cert_file, &mut self.key_file]
    }

    fn check(&self, section: &str) -> Result<(), AccessError> {
        let (cert, key) = (
            self.cert.is_some() || self.cert_file.is_some(),
            self.key.is_some() || self.key_file.is_some(),
        );
        for (inline, file) in [
            (
                ("ca", self.ca.is_some()),
                ("ca_file", self.ca_file.is_some()),
            ),
            (
                ("cert", self.cert.is_some()),
                ("cert_file", self.cert_file.is_some()),
            ),
            (
                ("key", self.key.is_some()),
                ("key_file", self.key_file.is_some()),
            ),
        ] {
            one_of(section, inline, file)?;
        }
        if cert != key {
            let (given, absent) = if cert {
                ("cert", "key")
            } else {
                ("key", "cert")
            };
            return Err(AccessError {
                what: format!("{section} has a {given} and no {absent}"),
                fix: format!("{section}.{absent}_file"),
            });
        }
        if let Some(TlsVersion::Tls10 | TlsVersion::Tls11) = self.max_version {
            return Err(AccessError {
                what: format!("{section}.max_version is older than TLS12, which is never spoken"),
                fix: format!("{section}.max_version: TLS12"),
            });
        }
        let is_address = |name: &String| name.parse::<std::net::IpAddr>().is_ok();
        if self.server_name.as_ref().is_some_and(is_address) {
            return Err(AccessError {
                what: format!("{section}.server_name is an address"),
                fix: format!("{section}.server_name with a DNS name of the certificate"),
            });
        }
        Ok(())
    }
}

/// Refuses what no header may be called, and what another setting is for.
pub(super) fn check_header(name: &str) -> Result<HeaderName, AccessError> {
    let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| AccessError {
        what: "a header's name holds a character that none may hold".into(),
        fix: "NAME: VALUE".into(),
    })?;
    if RESERVED_HEADERS.contains(&known.as_str()) {
        return Err(AccessError {
            what: format!("the header {known} cannot be set"),
            fix: match known.as_str() {
                "authorization" => "the section authorization".into(),
                _ => "it without this header".into(),
            },
        });
    }
    Ok(known)
}

fn proxy(
    url: Option<String>,
    no_proxy: Option<String>,
    from_environment: Option<bool>,
) -> ProxyChoice {
    match (url, from_environment) {
        (Some(url), _) => ProxyChoice::Url { url, no_proxy },
        (None, Some(false)) => ProxyChoice::Direct,
        (None, Some(true) | None) => ProxyChoice::Environment,
    }
}

fn check_proxy(
    section: &str,
    (url, no_proxy, from_environment): (&Option<String>, &Option<String>, Option<bool>),
    connect_header: &BTreeMap<String, Vec<String>>,
) -> Result<(), AccessError> {
    if !connect_header.is_empty() {
        return Err(AccessError {
            what: format!("{section}proxy_connect_header is not supported"),
            fix: format!("{section}proxy_url with user and password"),
        });
    }
    if url.is_some() && from_environment == Some(true) {
        return Err(both("proxy_url", "proxy_from_environment"));
    }
    if no_proxy.is_some() && url.is_none() {
        return Err(AccessError {
            what: format!("{section}no_proxy has no effect without proxy_url"),
            fix: format!("{section}proxy_url, or NO_PROXY in the environment"),
        });
    }
    let is_proxy = |url: &String| {
        reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    };
    if url.as_ref().is_some_and(|url| !is_proxy(url)) {
        return Err(AccessError {
            what: format!("{section}proxy_url is not an http or https URL"),
            fix: "http://HOST:PORT".into(),
        });
    }
    Ok(())
}

fn both(first: &str, second: &str) -> AccessError {
    AccessError {
        what: format!("{first} and {second} cannot stand together"),
        fix: format!("only one of {first} and {second}"),
    }
}

fn one_of(
    section: &str,
    (first, has_first): (&str, bool),
    (second, has_second): (&str, bool),
) -> Result<(), AccessError> {
    if has_first && has_second {
        return Err(both(
            &format!("{section}.{first}"),
            &format!("{section}.{second}"),
        ));
    }
    Ok(())
}

/// What is wrong with the YAML, without any value of it: that may be the password.
fn malformed(error: &serde_saphyr::Error) -> AccessError {
    let place = error.location().map_or_else(String::new, |place| {
        format!(" at line {} column {}", place.line(), place.column())
    });
    let text = error.to_string();
    let named = |what: &str| {
        let (_, rest) = text.split_once(&format!("{what} `"))?;
        Some(rest.split_once('`')?.0.to_owned())
    };
    let fix = "a file as promtool --http.config.file takes it".to_owned();
    if let Some(key) = named("unknown field") {
        return AccessError {
            what: format!("unknown key {}{place}", foreign_text(&key)),
            fix: suggestion(&key).map_or(fix, str::to_owned),
        };
    }
    let what = match named("unknown variant") {
        Some(_) => format!("a value that is not among the allowed ones{place}"),
        None if text.contains("duplicate") => format!("a key stands there twice{place}"),
        None => format!("not the YAML of an HTTP client configuration{place}"),
    };
    AccessError { what, fix }
}

/// What a key that people write by mistake is called.
fn suggestion(key: &str) -> Option<&'static str> {
    Some(match key {
        "basicAuth" => "basic_auth",
        "bearerToken" | "bearerTokenFile" | "token" | "token_file" => {
            "authorization with credentials_file"
        }
        "tlsConfig" | "tls" | "insecureSkipVerify" => "tls_config",
        "headers" => "http_headers with values",
        "http_config" | "http_client_config" => "what stands below it, without that key",
        "azuread" | "google_iam" => "--prometheus-token-command",
        key if key.ends_with("_ref") => "the same key with _file, since there is no secret manager",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
