//! The proxy that the environment names for an API server, as kubectl finds it: Go's `ProxyFromEnvironment`.
//!
//! kube's own way asks every server through `HTTPS_PROXY`, those on the loopback as well, and holds `NO_PROXY`
//! against the proxy in place of the server.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// The proxy for `server`, by the variables that `variable` reads.
///
/// # Errors
/// Names the variable that is no URL.
pub(super) fn proxy_for(
    server: &Uri,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, String> {
    let either = |name: &'static str| {
        let names = [name.to_owned(), name.to_lowercase()];
        let mut values = names.iter().filter_map(|name| variable(name));
        values.find(|value| !value.trim().is_empty())
    };
    let name = match server.scheme_str() {
        Some("https") => "HTTPS_PROXY",
        _ => "HTTP_PROXY",
    };
    let Some(proxy) = either(name) else {
        return Ok(None);
    };
    let without = either("NO_PROXY").unwrap_or_default();
    if is_loopback(server) || is_excepted(server, &without) {
        return Ok(None);
    }
    let proxy = proxy.trim();
    let url = match proxy.contains("://") {
        true => proxy.to_owned(),
        false => format!("http://{proxy}"),
    };
    url.parse()
        .map(Some)
        .map_err(|_| format!("{name} of the environment is no URL"))
}

fn host(server: &Uri) -> &str {
    // An IPv6 address stands in brackets.
    let host = server.host().unwrap_or_default();
    host.trim_matches(['[', ']'])
}

fn is_loopback(server: &Uri) -> bool {
    let host = host(server);
    let address = host.parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// Whether `NO_PROXY` has the server: by name, with the names below it, by address or network, each also with a
/// port; `*` has all.
fn is_excepted(server: &Uri, without: &str) -> bool {
    let port = server.port_u16().unwrap_or(match server.scheme_str() {
        Some("https") => 443,
        _ => 80,
    });
    let entries: Vec<_> = without
        .split(',')
        .map(str::trim)
        .filter_map(|entry| match entry.rsplit_once(':') {
            Some((before, after)) if !before.contains(':') || before.ends_with(']') => {
                (after.parse::<u16>() == Ok(port)).then(|| before.trim_matches(['[', ']']))
            }
            _ => Some(entry),
        })
        .map(|entry| entry.strip_prefix("*.").unwrap_or(entry))
        .filter(|entry| !entry.is_empty())
        .collect();
    if entries.contains(&"*") {
        return true;
    }
    let proxy = "http://proxy";
    let matcher = Matcher::builder().http(proxy).https(proxy);
    let matcher = matcher.no(entries.join(",")).build();
    matcher.intercept(server).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(server: &str, variables: &[(&str, &str)]) -> Option<String> {
        let server = server.parse().unwrap();
        let variable = |name: &str| {
            let mut all = variables.iter();
            let found = all.find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let proxy = proxy_for(&server, variable).unwrap();
        proxy.map(|proxy| proxy.to_string())
    }

    #[test]
    fn the_proxy_is_that_of_the_scheme() {
        let both = [
            ("HTTPS_PROXY", "http://secure:3128"),
            ("HTTP_PROXY", "plain:3128"),
        ];
        let secure = Some("http://secure:3128/".to_owned());
        assert_eq!(proxy("https://api.example.com:6443", &both), secure);
        let plain = Some("http://plain:3128/".to_owned());
        assert_eq!(proxy("http://api.example.com:8080", &both), plain);
        assert_eq!(proxy("https://api.example.com", &[]), None);
        let lower = [
            ("HTTPS_PROXY", " "),
            ("https_proxy", "http://me:secret@p:1"),
        ];
        assert_eq!(
            proxy("https://api", &lower),
            Some("http://me:secret@p:1/".to_owned())
        );
        let bad = proxy_for(&"https://api".parse().unwrap(), |_| {
            Some("http://se cret".into())
        });
        assert_eq!(bad.unwrap_err(), "HTTPS_PROXY of the environment is no URL");
    }

    #[test]
    fn nothing_on_the_loopback_is_asked_through_a_proxy() {
        let variables = [
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("HTTP_PROXY", "http://proxy:3128"),
        ];
        for server in [
            "https://127.0.0.1:6443",
            "https://127.8.0.1",
            "https://[::1]:6443",
            "https://localhost:6443",
            "http://localhost:8080",
        ] {
            assert_eq!(proxy(server, &variables), None, "{server}");
        }
        assert!(proxy("https://localhost.example.com", &variables).is_some());
    }

    #[test]
    fn no_proxy_has_names_networks_and_ports() {
        for (server, without, is_proxied) in [
            ("https://api.example.com", "example.com", false),
            ("https://api.example.com", ".example.com", false),
            ("https://api.example.com", "*.example.com", false),
            (
                "https://api.example.com",
                "other.com, api.example.com,",
                false,
            ),
            ("https://api.example.com", "ample.com", true),
            ("https://api.example.com:6443", "example.com:6443", false),
            ("https://api.example.com:6443", "example.com:443", true),
            ("https://api.example.com", "example.com:443", false),
            ("https://10.1.2.3:6443", "10.0.0.0/8", false),
            ("https://10.1.2.3:6443", "10.1.2.3", false),
            ("https://10.1.2.3:6443", "10.1.2.3:6443", false),
            ("https://10.1.2.3:6443", "192.168.0.0/16", true),
            ("https://[fd00::1]:6443", "fd00::/8", false),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", false),
            ("https://api.example.com", "*", false),
            ("https://api.example.com", "", true),
        ] {
            let variables = [("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", without)];
            let found = proxy(server, &variables).is_some();
            assert_eq!(found, is_proxied, "{server} without {without}");
        }
    }
}
