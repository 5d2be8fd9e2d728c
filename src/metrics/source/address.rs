//! Where Prometheus is: a URL, or a Service behind the API server's proxy.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::foreign_text::keep_secret;

/// Where Prometheus is unless `--prometheus` says otherwise: the place of Istio's own add-on.
pub const DEFAULT_ADDRESS: &str = "istio-system/prometheus:9090";

/// Where to ask for metrics.
///
/// Written as `https://host:port/prefix`, or as `NAMESPACE/SERVICE:PORT` for a Service that is reached
/// through the API server (`NAMESPACE/https:SERVICE:PORT` when it serves TLS, and `/prefix` at the end when
/// the API does not live at the root).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrometheusAddress {
    /// Asked directly.
    Url(Endpoint),
    /// Asked through the API server.
    Service(ServiceAddress),
}

/// A URL without credentials, which could not be kept out of messages and of the plan on the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

/// A port of a Service that speaks Prometheus' API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Number or name of the port.
    pub port: String,
    /// Whether the Service itself serves TLS.
    pub tls: bool,
    /// What stands before `/api/v1`, with a leading and without a trailing slash; usually empty.
    pub prefix: String,
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Neither a URL nor `NAMESPACE/SERVICE:PORT`.
    #[error(
        "not a Prometheus address: expected a URL or NAMESPACE/SERVICE:PORT (try: {DEFAULT_ADDRESS})"
    )]
    Malformed,
    /// The host of a URL, without what a URL begins with.
    #[error(
        "not a Prometheus address: a URL begins with http:// or https://, and a Service is NAMESPACE/SERVICE:PORT (try: https://HOST, or http://HOST:9090)"
    )]
    Scheme,
    /// A URL that does not parse, or of another scheme.
    #[error("not an http or https URL (try: http://HOST:9090)")]
    Url,
    /// A URL with a user or a password.
    #[error(
        "the URL holds credentials, and it would be stored with them (try: --prometheus-config FILE with basic_auth)"
    )]
    Credentials,
    /// A part of the URL that an address has no use for.
    #[error(
        "a Prometheus URL has no query and no fragment (try: it without what follows ? or #; --prometheus-param NAME=VALUE for a parameter of each query)"
    )]
    Extra,
    /// A part that no Service, namespace or port can be called.
    #[error("the {what} is not a name that Kubernetes allows (try: {DEFAULT_ADDRESS})")]
    Name {
        /// The part: namespace, service or port. What was written may hold a password, so it is not repeated.
        what: &'static str,
    },
}

impl Default for PrometheusAddress {
    fn default() -> Self {
        Self::Service(ServiceAddress {
            namespace: "istio-system".into(),
            name: "prometheus".into(),
            port: "9090".into(),
            tls: false,
            prefix: String::new(),
        })
    }
}

impl FromStr for PrometheusAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.contains("://") {
            return Endpoint::parse(text).map(Self::Url);
        }
        // A namespace has neither.
        let first = text.split('/').next().unwrap_or_default();
        if first.contains(['.', ':']) {
            return Err(AddressError::Scheme);
        }
        ServiceAddress::parse(text).map(Self::Service)
    }
}

impl Endpoint {
    /// As messages show it: without its path, in which some services expect a token.
    ///
    /// From then on the path is masked where a server repeats it.
    pub(super) fn shown(&self) -> String {
        let server = self.0.origin().ascii_serialization();
        match self.0.path() {
            "" | "/" => server,
            path => {
                keep_secret(path);
                format!("{server}/…")
            }
        }
    }

    /// The URL below which the API is.
    pub(super) fn url(&self) -> Url {
        self.0.clone()
    }

    fn parse(text: &str) -> Result<Self, AddressError> {
        let mut url = Url::parse(text).map_err(|_| AddressError::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AddressError::Url);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Credentials);
        }
        let has_more = url.query().is_some() || url.fragment().is_some();
        let page_state = [url.query(), url.fragment()];
        let of_page = page_state
            .into_iter()
            .flatten()
            .any(|text| text.trim_start_matches(['/', '?']).starts_with("g0."));
        let (path, is_pasted) = api_root(url.path(), of_page);
        // What stands behind a page's or the API's own path is of that page or query.
        if has_more && !is_pasted {
            return Err(AddressError::Extra);
        }
        url.set_query(None);
        url.set_fragment(None);
        url.set_path(&path);
        Ok(Self(url))
    }
}

/// Cuts off an address what is of a page or of one query, where it was pasted from a browser.
pub(super) fn cut_page(address: &mut Option<String>) {
    let is_pasted = |text: &&String| text.contains(['?', '#']) && !text.contains('@');
    let url = address.as_ref().filter(is_pasted);
    if let Some(Ok(PrometheusAddress::Url(endpoint))) = url.map(|text| text.parse()) {
        *address = Some(endpoint.to_string());
    }
}

impl ServiceAddress {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let (namespace, rest) = text.split_once('/').ok_or(AddressError::Malformed)?;
        let (service, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let parts: Vec<&str> = service.split(':').collect();
        let (tls, name, port) = match parts[..] {
            [name, port] => (false, name, port),
            ["http", name, port] => (false, name, port),
            ["https", name, port] => (true, name, port),
            _ => return Err(AddressError::Malformed),
        };
        Self::check("namespace", namespace)?;
        Self::check("service", name)?;
        Self::check("port", port)?;
        if port.parse::<u16>() == Ok(0) || port.parse::<u64>().is_ok_and(|port| port > 65535) {
            return Err(AddressError::Name { what: "port" });
        }
        let (prefix, _) = api_root(prefix, false);
        let prefix = prefix.trim_matches('/');
        // The prefix becomes part of a path below the API server: it must not climb out of the proxy.
        let plain = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
        };
        if !prefix.is_empty() && !prefix.split('/').all(plain) {
            return Err(AddressError::Malformed);
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port: port.to_owned(),
            tls,
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("/{prefix}")
            },
        })
    }

    /// Only what a DNS label holds: the parts end up in a path of the API server.
    fn check(what: &'static str, text: &str) -> Result<(), AddressError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let ends = !text.starts_with('-') && !text.ends_with('-');
        if (1..=63).contains(&text.len()) && ends && text.bytes().all(allowed) {
            Ok(())
        } else {
            Err(AddressError::Name { what })
        }
    }

    /// The path of the proxied API, up to and without `/api/v1`.
    pub(super) fn proxy_path(&self) -> String {
        let Self {
            namespace, prefix, ..
        } = self;
        let proxied = self.proxied();
        format!("/api/v1/namespaces/{namespace}/services/{proxied}/proxy{prefix}")
    }

    /// The URL inside the cluster, as its certificate has it; the port is that of the pod that is connected to.
    pub(super) fn inside_url(&self) -> Url {
        let scheme = if self.tls { "https" } else { "http" };
        let Self {
            namespace,
            name,
            prefix,
            ..
        } = self;
        let url = format!("{scheme}://{name}.{namespace}.svc{prefix}");
        Url::parse(&url).expect("names and prefix are checked")
    }

    /// The Service as it is named to the proxy, and in a Role's `resourceNames` for it.
    pub fn proxied(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}:{}:{}", self.name, self.port)
    }
}

/// What stands before `/api/v1`, of a path that may be pasted from a browser's address of a page or of the API
/// itself; and whether it was. `of_page` says that the state of a page came with it.
fn api_root(path: &str, of_page: bool) -> (String, bool) {
    let path = path.trim_end_matches('/');
    if let Some(before) = path.strip_suffix("/vmui") {
        // The API of VictoriaMetrics is beside its page.
        return (format!("{before}/prometheus"), true);
    }
    let pages: &[&str] = match of_page {
        // Without that it may be the prefix of Thanos Query.
        true => &["/classic/graph", "/graph", "/query"],
        false => &["/classic/graph", "/graph"],
    };
    let endpoints = ["/api/v1/query_range", "/api/v1/query", "/api/v1"];
    for suffix in pages.iter().chain(&endpoints) {
        let rooted = format!("/{}", path.trim_start_matches('/'));
        if let Some(before) = rooted.strip_suffix(suffix) {
            return (before.to_owned(), true);
        }
    }
    (path.to_owned(), false)
}

impl fmt::Display for PrometheusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(endpoint) => endpoint.fmt(f),
            Self::Service(service) => service.fmt(f),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https:" } else { "" };
        let Self {
            namespace,
            name,
            port,
            tls: _,
            prefix,
        } = self;
        write!(f, "{namespace}/{scheme}{name}:{port}{prefix}")
    }
}

impl Serialize for PrometheusAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PrometheusAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_show_the_same() {
        for (text, shown) in [
            (
                "istio-system/prometheus:9090",
                "istio-system/prometheus:9090",
            ),
            ("monitoring/http:prom:http-web", "monitoring/prom:http-web"),
            ("m/https:thanos:10902/", "m/https:thanos:10902"),
            ("mimir/nginx:80/prometheus/", "mimir/nginx:80/prometheus"),
            ("http://localhost:9090", "http://localhost:9090"),
            (
                "https://prom.example.com/a/b/",
                "https://prom.example.com/a/b",
            ),
        ] {
            let address: PrometheusAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown, "{text}");
            let json = serde_json::to_string(&address).unwrap();
            let back: PrometheusAddress = serde_json::from_str(&json).unwrap();
            assert_eq!(back.to_string(), shown);
        }
        assert_eq!(
            PrometheusAddress::default(),
            DEFAULT_ADDRESS.parse().unwrap()
        );
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_secrets() {
        for text in [
            "",
            "prometheus",
            "prometheus:9090",
            "ns/prometheus",
            "ns/ftp:prometheus:9090",
            "ns/../secrets:80",
            "ns/prom:0",
            "ns/prom:70000",
            "ns/prom:9090/../../x",
            "Ns/prom:9090",
            "ftp://me:secret@host",
            "http://me:secret@",
            "https://me:secret@prom.example.com",
            "https://secret@prom.example.com",
            "http://me:secret@host/?token=secret",
            "me:secret@prom.example.com",
            "me:secret@prom.example.com/x:9090",
            "mon/secret@prom:9090",
            "mon/prom:secret@x",
        ] {
            let error = text.parse::<PrometheusAddress>().unwrap_err().to_string();
            assert!(
                !error.contains("secret") || text.contains("secrets"),
                "{error}"
            );
        }
    }
}
