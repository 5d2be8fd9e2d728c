//! The HTTP client for a configuration, made anew only when its certificates or its proxy have changed.

use std::path::Path;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, ClientBuilder, Identity, NoProxy, Proxy, tls};

use super::access_error::AccessError;
use super::http_config::{ProxyChoice, TlsConfig, TlsVersion};
use super::port_forward::Forward;
use crate::foreign_text::{keep_secret, root_cause};

/// How this program names itself.
pub(crate) const USER_AGENT: &str = concat!("kubectl-canary/", env!("CARGO_PKG_VERSION"));

/// Redirects are followed this often, and only within the host.
const REDIRECTS: usize = 3;

/// All that a client is made of; two that are equal make the same client.
#[derive(Clone, PartialEq)]
pub(super) struct ClientSettings {
    pub tls: TlsMaterial,
    pub proxy: ProxyChoice,
    pub follow_redirects: bool,
    /// Whether a login is sent, which goes nowhere but where it was given for.
    pub has_login: bool,
    /// The host to connect to where it is not the one of the certificate.
    pub host: Option<String>,
    /// What opens its connections, where that is a port-forward.
    pub forward: Option<Forward>,
}

/// The contents of the files that TLS needs.
#[derive(Clone, Default, PartialEq)]
pub(super) struct TlsMaterial {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    pub server_name: Option<String>,
    insecure: bool,
    min_version: Option<TlsVersion>,
    max_version: Option<TlsVersion>,
}

impl TlsMaterial {
    /// Reads the files of a configuration.
    ///
    /// # Errors
    /// Names the key and the file that cannot be read.
    pub(super) fn read(config: &TlsConfig) -> Result<Self, AccessError> {
        let key = contents("key", config.key.as_deref(), config.key_file.as_deref())?;
        if let Some(key) = key.as_deref().and_then(|key| std::str::from_utf8(key).ok()) {
            keep_secret(key);
        }
        Ok(Self {
            ca: contents("ca", config.ca.as_deref(), config.ca_file.as_deref())?,
            cert: contents("cert", config.cert.as_deref(), config.cert_file.as_deref())?,
            key,
            server_name: config.server_name.clone(),
            insecure: config.insecure_skip_verify,
            min_version: config.min_version,
            max_version: config.max_version,
        })
    }
}

fn contents(
    key: &str,
    inline: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<Vec<u8>>, AccessError> {
    match (inline, file) {
        (Some(text), _) => Ok(Some(text.as_bytes().to_vec())),
        (None, None) => Ok(None),
        (None, Some(file)) => std::fs::read(file).map(Some).map_err(|error| AccessError {
            what: format!(
                "cannot read {key}_file {}: {}",
                file.display(),
                root_cause(&error)
            ),
            fix: "the path of a file that can be read".into(),
        }),
    }
}

impl ClientSettings {
    /// Makes the client. The process must have installed a TLS provider before.
    ///
    /// # Errors
    /// Names the certificate, key or proxy that cannot be used.
    pub(super) fn client(&self) -> Result<Client, AccessError> {
        let mut builder = Client::builder().user_agent(USER_AGENT).referer(false);
        let upgrades = !self.has_login && self.forward.is_none();
        builder = builder.redirect(match self.follow_redirects {
            true => Policy::custom(move |attempt| {
                let stays = is_same_place(&attempt) || (upgrades && is_upgrade(&attempt));
                if stays && attempt.previous().len() <= REDIRECTS {
                    attempt.follow()
                } else {
                    attempt.stop()
                }
            }),
            false => Policy::none(),
        });
        builder = self.with_proxy(builder)?;
        if let Some(host) = &self.host {
            // Only the certificate's name is asked for, and the connection goes to the host of the URL.
            builder = builder
                .no_proxy()
                .dns_resolver(Arc::new(FixedHost(host.clone())));
        }
        if let Some(forward) = &self.forward {
            builder = builder.no_proxy().dns_resolver(Arc::new(forward.clone()));
        }
        builder = self.tls.apply(builder)?;
        builder.build().map_err(|problem| {
            let cause = root_cause(&problem.without_url());
            unusable("certificates", &cause)
        })
    }

    fn with_proxy(&self, builder: ClientBuilder) -> Result<ClientBuilder, AccessError> {
        match &self.proxy {
            ProxyChoice::Environment => Ok(builder),
            ProxyChoice::Direct => Ok(builder.no_proxy()),
            ProxyChoice::Url { url, no_proxy } => {
                let proxy = Proxy::all(url).map_err(|problem| {
                    unusable("proxy_url", &root_cause(&problem.without_url()))
                })?;
                let none = no_proxy.as_deref().and_then(NoProxy::from_string);
                Ok(builder.proxy(proxy.no_proxy(none)))
            }
        }
    }
}

impl TlsMaterial {
    fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, AccessError> {
        if let Some(ca) = &self.ca {
            let certificates = Certificate::from_pem_bundle(ca).unwrap_or_default();
            if certificates.is_empty() {
                return Err(unusable("ca", "it holds no certificate in PEM"));
            }
            builder = builder.tls_certs_only(certificates);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let pem = [cert.as_slice(), b"\n", key.as_slice()].concat();
            let identity = Identity::from_pem(&pem).map_err(|_| {
                unusable(
                    "cert and key",
                    "they are not a certificate and a key in PEM",
                )
            })?;
            builder = builder.identity(identity);
        }
        if let Some(version) = self.min_version {
            builder = builder.tls_version_min(spoken(version));
        }
        if let Some(version) = self.max_version {
            builder = builder.tls_version_max(spoken(version));
        }
        Ok(builder.tls_danger_accept_invalid_certs(self.insecure))
    }
}

/// Whoever is content with an older version is content with 1.2.
fn spoken(version: TlsVersion) -> tls::Version {
    match version {
        TlsVersion::Tls10 | TlsVersion::Tls11 | TlsVersion::Tls12 => tls::Version::TLS_1_2,
        TlsVersion::Tls13 => tls::Version::TLS_1_3,
    }
}

fn unusable(what: &str, why: &str) -> AccessError {
    AccessError {
        what: format!("cannot use the {what} for Prometheus: {why}"),
        fix: "--prometheus-ca, or tls_config in --prometheus-config, with files in PEM".into(),
    }
}

/// Whether a redirect stays on the configured host.
fn is_same_place(attempt: &Attempt<'_>) -> bool {
    attempt
        .previous()
        .first()
        .is_some_and(|first| first.origin() == attempt.url().origin())
}

/// Whether a redirect leads from HTTP to HTTPS of the configured host.
fn is_upgrade(attempt: &Attempt<'_>) -> bool {
    let (first, to) = (attempt.previous().first(), attempt.url());
    first.is_some_and(|first| first.host() == to.host()) && to.scheme() == "https"
}

/// Finds the same host under every name.
struct FixedHost(String);

impl Resolve for FixedHost {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let found: Vec<_> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
