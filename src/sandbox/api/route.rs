//! What a request is about: its path and query, taken apart.

use super::kinds::{KINDS, ResourceKind};

/// Where a path leads.
#[derive(Debug)]
pub(crate) enum ApiRoute<'a> {
    Version,
    Health,
    /// `/api`.
    Core,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(&'a str),
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    Resources(&'a str, &'a str),
    Object(ResourcePath<'a>),
    /// A review of the caller's own rights.
    AccessReview,
    /// Who the caller is.
    SelfReview,
    /// A service reached through the API server.
    Proxy(ProxyTarget<'a>),
    /// A pod reached through the API server; its name stands where a service's does.
    PodProxy(ProxyTarget<'a>),
    /// A port-forward to a pod; its name stands where a service's does.
    PortForward(ProxyTarget<'a>),
    /// Prometheus itself; only on the sandbox's own listener.
    Prometheus(&'a str),
    /// A built-in group without such a resource; its refusal is a `Status`.
    NoSuchResource,
    Unknown,
}

/// One object or one collection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourcePath<'a> {
    pub kind: &'static ResourceKind,
    pub version: &'a str,
    pub namespace: Option<&'a str>,
    pub name: Option<&'a str>,
    pub subresource: Option<&'a str>,
}

/// A port of a service, and the path behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProxyTarget<'a> {
    pub namespace: &'a str,
    /// Service and port as the path has them.
    pub full: &'a str,
    pub service: &'a str,
    pub port: &'a str,
    pub path: &'a str,
}

impl<'a> ApiRoute<'a> {
    /// Takes a path apart. `served` tells which versions of a group this server offers.
    pub(crate) fn of(path: &'a str, served: impl Fn(&ResourceKind, &str) -> bool) -> Self {
        if let Some(rest) = path.strip_prefix("/prometheus/") {
            return Self::Prometheus(rest);
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["version"] => return Self::Version,
            ["healthz" | "livez" | "readyz", ..] => return Self::Health,
            ["api"] => return Self::Core,
            ["apis"] => return Self::Groups,
            ["api", version] => return Self::Resources("", version),
            ["apis", group] => return Self::Group(group),
            ["apis", group, version] => return Self::Resources(group, version),
            [
                "apis",
                "authorization.k8s.io",
                "v1",
                "selfsubjectaccessreviews",
            ] => {
                return Self::AccessReview;
            }
            ["apis", "authentication.k8s.io", "v1", "selfsubjectreviews"] => {
                return Self::SelfReview;
            }
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Self::Unknown,
        };
        if let ["namespaces", namespace, "services", service, "proxy", ..] = rest {
            let path = path.split_once("/proxy/").map_or("", |(_, behind)| behind);
            return ProxyTarget::of(namespace, service, path).map_or(Self::Unknown, Self::Proxy);
        }
        if let ["namespaces", namespace, "pods", pod, "proxy", ..] = rest {
            let path = path.split_once("/proxy/").map_or("", |(_, behind)| behind);
            return ProxyTarget::of(namespace, pod, path).map_or(Self::Unknown, Self::PodProxy);
        }
        if let ["namespaces", namespace, "pods", pod, "portforward"] = rest {
            return ProxyTarget::of(namespace, pod, "").map_or(Self::Unknown, Self::PortForward);
        }
        let (namespace, rest) = match rest {
            // `namespaces/x` alone is the namespace itself, `namespaces/x/pods` its pods.
            ["namespaces", namespace, plural, rest @ ..]
                if KINDS.iter().any(|kind| kind.plural == *plural) =>
            {
                (Some(*namespace), (*plural, rest))
            }
            [plural, rest @ ..] => (None, (*plural, rest)),
            [] => return Self::Unknown,
        };
        let (plural, rest) = rest;
        let kind = KINDS.iter().find(|kind| {
            kind.plural == plural && kind.group == group && kind.versions.contains(&version)
        });
        let Some(kind) = kind.filter(|kind| served(kind, version)) else {
            // Custom resources are served elsewhere, where what is not found is answered in plain text.
            let built_in = KINDS.iter().any(|kind| {
                kind.group == group && !kind.custom && kind.versions.contains(&version)
            });
            return if built_in {
                Self::NoSuchResource
            } else {
                Self::Unknown
            };
        };
        let (name, subresource) = match rest {
            [] => (None, None),
            [name] => (Some(*name), None),
            [name, "status"] if kind.status => (Some(*name), Some("status")),
            _ => return Self::Unknown,
        };
        if name.is_some() && kind.namespaced != namespace.is_some() {
            return Self::Unknown;
        }
        Self::Object(ResourcePath {
            kind,
            version,
            namespace,
            name,
            subresource,
        })
    }
}

impl<'a> ProxyTarget<'a> {
    /// `[scheme:]name[:port]` of a proxy.
    fn of(namespace: &'a str, full: &'a str, path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = full.split(':').collect();
        let (service, port) = match parts.as_slice() {
            [name] => (*name, ""),
            [name, port] => (*name, *port),
            [_scheme, name, port] => (*name, *port),
            _ => return None,
        };
        Some(Self {
            namespace,
            full,
            service,
            port,
            path,
        })
    }
}

/// A query string, decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueryParams(Vec<(String, String)>);

impl QueryParams {
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The parameters of a query string followed by those of a form.
    pub(crate) fn with_form(mut self, form: &[u8]) -> Self {
        self.0.extend(form_urlencoded::parse(form).into_owned());
        self
    }

    /// The first value of a parameter, or the empty text.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(is, _)| is == name)
            .map_or("", |(_, value)| value)
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(is, _)| is == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

    fn object(path: &str) -> Option<Parts<'_>> {
        match ApiRoute::of(path, |_, _| true) {
            ApiRoute::Object(target) => Some((
                target.kind.plural,
                target.namespace,
                target.name,
                target.subresource,
            )),
            _ => None,
        }
    }

    #[test]
    fn paths_lead_to_objects() {
        assert_eq!(
            object("/apis/networking.istio.io/v1/namespaces/shop/virtualservices/reviews"),
            Some(("virtualservices", Some("shop"), Some("reviews"), None))
        );
        assert_eq!(
            object("/api/v1/namespaces/shop"),
            Some(("namespaces", None, Some("shop"), None))
        );
        assert_eq!(object("/api/v1/pods"), Some(("pods", None, None, None)));
        assert_eq!(
            object("/api/v1/namespaces/shop/pods/a/status"),
            Some(("pods", Some("shop"), Some("a"), Some("status")))
        );
        assert_eq!(object("/apis/networking.istio.io/v9/virtualservices"), None);
        assert_eq!(object("/api/v1/namespaces/shop/pods/a/log"), None);
        assert!(matches!(
            ApiRoute::of("/api/v1/things", |_, _| true),
            ApiRoute::NoSuchResource
        ));
    }

    #[test]
    fn the_service_proxy_takes_scheme_name_and_port() {
        let path =
            "/api/v1/namespaces/istio-system/services/http:prometheus:9090/proxy/api/v1/query";
        let ApiRoute::Proxy(target) = ApiRoute::of(path, |_, _| true) else {
            panic!("no proxy");
        };
        assert_eq!(
            (target.service, target.port, target.path),
            ("prometheus", "9090", "api/v1/query")
        );
    }
}
