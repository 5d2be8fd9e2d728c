//! Where a route sends requests: host, subset, port.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A host as Istio understands it from within a namespace.
///
/// `reviews` in namespace `shop` and `reviews.shop.svc.cluster.local` are one host; names with a dot
/// stand as they are written.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Host(String);

impl Host {
    /// Resolves `name` as seen from `namespace`, the VirtualService's own.
    pub fn resolve(name: &str, namespace: &str) -> Self {
        if name.contains('.') || name == "*" {
            Self(name.to_owned())
        } else {
            Self(format!("{name}.{namespace}.svc.cluster.local"))
        }
    }

    /// The full name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Service name and namespace, if this is a Service of the cluster.
    pub fn service(&self) -> Option<(&str, &str)> {
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
        Self {
            host: Host::resolve(text("host").unwrap_or_default(), namespace),
            subset: text("subset").map(str::to_owned),
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
