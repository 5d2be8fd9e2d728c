//! Where a route sends requests: host, subset, port.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The DNS domain of most clusters; which one it is here shows only in the hosts that objects write out.
pub(crate) const USUAL_DOMAIN: &str = "cluster.local";

/// The domain of Services that several clusters have in common: other Services than the cluster's own.
const CLUSTER_SET: &str = "clusterset.local";

/// A host as Istio understands it from within a namespace.
///
/// `reviews` in namespace `shop` and `reviews.shop.svc.cluster.local` are one host; names with a dot
/// stand as they are written. A Service is the same one in whatever domain its name was completed with, as
/// the domain of the cluster is not known where a single object is read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Host(String);

impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Host {}

impl Hash for Host {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialOrd for Host {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Host {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(other.key())
    }
}

impl Host {
    /// Resolves `name` as seen from `namespace`, the VirtualService's own, in the usual domain.
    pub fn resolve(name: &str, namespace: &str) -> Self {
        Self::resolve_in(name, namespace, USUAL_DOMAIN)
    }

    /// The same where the cluster's domain is known.
    pub(super) fn resolve_in(name: &str, namespace: &str, domain: &str) -> Self {
        if name.contains('.') || name == "*" {
            Self(name.to_owned())
        } else {
            Self(format!("{name}.{namespace}.svc.{domain}"))
        }
    }

    /// What of the name tells it from others: of a cluster's own Service all but the domain.
    fn key(&self) -> &str {
        match self.domain() {
            Some(domain) if domain != CLUSTER_SET => &self.0[..self.0.len() - domain.len()],
            _ => &self.0,
        }
    }

    /// Whether Istio could find a Service by this name: it compares letter by letter, a Service has no capitals,
    /// and a dot at the end is a part of the name.
    fn is_plain(&self) -> bool {
        !self.0.ends_with('.') && !self.0.bytes().any(|byte| byte.is_ascii_uppercase())
    }

    /// The domain that a Service's full name ends in.
    pub(crate) fn domain(&self) -> Option<&str> {
        self.service()?;
        self.0.splitn(4, '.').nth(3)
    }

    /// Name and namespace of the Service that a host looks like which is none, as seen from `home`:
    /// `reviews.shop` and `reviews.shop.svc`, as a resolver would complete them, and Istio does not; and what is
    /// a Service's name but for capitals or a dot at its end.
    pub(crate) fn lookalike(&self, home: &str) -> Option<(String, String)> {
        let plain = self.0.to_ascii_lowercase();
        let plain = Self::resolve(plain.trim_end_matches('.'), home);
        let parts: Vec<_> = plain.0.split('.').collect();
        let found = match parts.as_slice() {
            [name, namespace] | [name, namespace, "svc"] if *name != "*" => {
                Some((*name, *namespace))
            }
            _ if self.is_plain() => None,
            _ => plain.service(),
        };
        found.map(|(name, namespace)| (name.to_owned(), namespace.to_owned()))
    }

    /// Why Istio finds no Service by a name that looks like one's.
    pub(crate) fn no_service_because(&self) -> &'static str {
        if self.0.ends_with('.') {
            "Istio takes the dot at the end for a part of the name"
        } else if self.is_plain() {
            "Istio completes only names without a dot"
        } else {
            "Istio compares hosts letter by letter, and no Service has a capital"
        }
    }

    /// The full name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Service name and namespace, if this is a Service of the cluster.
    pub fn service(&self) -> Option<(&str, &str)> {
        if !self.is_plain() {
            return None;
        }
        let mut parts = self.0.splitn(4, '.');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(namespace), Some("svc"), Some(_)) => Some((name, namespace)),
            _ => None,
        }
    }

    /// The first label: what people call the host.
    pub fn short(&self) -> &str {
        self.service().map_or(self.0.as_str(), |(name, _)| name)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A version of a service as routes name it.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Destination {
    /// The host, resolved.
    pub host: Host,
    /// The DestinationRule's subset.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subset: Option<String>,
    /// The port, where the route names one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<u64>,
}

impl Destination {
    /// Reads a route's `destination`; a missing host reads as the empty host.
    pub(super) fn read(value: &Value, namespace: &str) -> Self {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        // As in every message of protobuf an empty text is none.
        let subset = text("subset").filter(|subset| !subset.is_empty());
        Self {
            host: Host::resolve(text("host").unwrap_or_default(), namespace),
            subset: subset.map(str::to_owned),
            port: value.pointer("/port/number").and_then(Value::as_u64),
        }
    }

    /// Whether both are the same version; the port is a detail of the route.
    pub fn same_version(&self, other: &Self) -> bool {
        self.host == other.host && self.subset == other.subset
    }

    /// Whether a person may have meant this version by `name`: the subset, or the host in any spelling.
    pub fn is_called(&self, name: &str) -> bool {
        let by_host = self.host.as_str() == name || self.host.short() == name;
        match &self.subset {
            Some(subset) => subset == name || self.to_string() == name,
            None => by_host,
        }
    }
}

impl fmt::Display for Destination {
    /// The subset where there is one, else the host's short name: what people say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.subset.as_deref().unwrap_or_else(|| self.host.short()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_full_names_are_one_host() {
        let short = Host::resolve("reviews", "shop");
        assert_eq!(
            short,
            Host::resolve("reviews.shop.svc.cluster.local", "elsewhere")
        );
        assert_eq!(short.service(), Some(("reviews", "shop")));
        assert_eq!(Host::resolve("api.example.com", "shop").service(), None);
        assert_eq!(
            Host::resolve("api.example.com", "shop").short(),
            "api.example.com"
        );
    }

    #[test]
    fn a_service_is_the_same_in_whatever_domain_its_name_was_completed() {
        let host = |name: &str| Host::resolve(name, "shop");
        assert_eq!(host("reviews"), host("reviews.shop.svc.corp.internal"));
        assert_eq!(
            host("reviews.shop.svc.corp.internal").domain(),
            Some("corp.internal")
        );
        for other in [
            "reviews.shop.svc.clusterset.local",
            "reviews.bank.svc.cluster.local",
            "reviews.shop",
            "reviews.shop.svc",
            "reviews.example.com",
        ] {
            assert_ne!(host("reviews"), host(other), "{other}");
        }
    }

    #[test]
    fn a_name_that_only_looks_like_a_services_is_none() {
        let host = |name: &str| Host::resolve(name, "shop");
        for (name, expected) in [
            ("reviews.shop", true),
            ("reviews.shop.svc", true),
            ("Reviews", true),
            ("reviews.", true),
            ("reviews.shop.svc.cluster.local.", true),
            ("reviews.shop.svc.Cluster.Local", true),
            ("Reviews.Shop", true),
            ("reviews", false),
            ("reviews.shop.svc.cluster.local", false),
            ("api.example.com", false),
            ("Api.example.com", false),
            ("*.example", false),
        ] {
            let expected = expected.then(|| ("reviews".to_owned(), "shop".to_owned()));
            assert_eq!(host(name).lookalike("shop"), expected, "{name}");
            if expected.is_some() {
                assert_eq!(host(name).service(), None, "{name}");
                assert_ne!(host(name), host("reviews"), "{name}");
            }
        }
    }

    #[test]
    fn an_empty_subset_is_none() {
        let value = serde_json::json!({"host": "reviews", "subset": ""});
        assert_eq!(Destination::read(&value, "shop").subset, None);
    }

    #[test]
    fn a_version_answers_to_the_names_people_use() {
        let subset = Destination {
            host: Host::resolve("reviews", "shop"),
            subset: Some("v2".into()),
            port: None,
        };
        assert!(subset.is_called("v2"));
        assert!(
            !subset.is_called("reviews"),
            "a host with subsets is no version"
        );
        let host = Destination {
            subset: None,
            ..subset
        };
        assert!(host.is_called("reviews") && host.is_called("reviews.shop.svc.cluster.local"));
    }
}
