//! Hosts that are no Services of the cluster, as ServiceEntries make them known to the mesh.

use std::collections::BTreeMap;

use serde_json::Value;

use super::destination::Host;
use super::export::Export;

/// A ServiceEntry as far as a rollout looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// `namespace/name`.
    pub name: String,
    hosts: Vec<Host>,
    export: Export,
    /// The labels of each endpoint; `None` where the endpoints are not written in it.
    endpoints: Option<Vec<BTreeMap<String, String>>>,
}

/// What the mesh knows of a host that is no Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExternalHost {
    /// That was not asked, or could not be seen.
    #[default]
    NotRead,
    /// No ServiceEntry has it.
    Nowhere,
    /// This one has it, and keeps it from callers in the namespace of the routes.
    Hidden(ServiceEntry),
    /// This one has it.
    Entry(ServiceEntry),
}

impl ServiceEntry {
    /// Reads one as the API server returned it.
    pub fn of(entry: &Value) -> Self {
        let text = |pointer| {
            let found = entry.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default()
        };
        let list = |pointer| {
            let found = entry.pointer(pointer).and_then(Value::as_array);
            found.into_iter().flatten()
        };
        let labels = |endpoint: &Value| {
            let labels = endpoint.get("labels").and_then(Value::as_object);
            let labels = labels.into_iter().flatten();
            labels
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect()
        };
        let endpoints: Vec<_> = list("/spec/endpoints").map(labels).collect();
        let namespace = text("/metadata/namespace");
        Self {
            name: format!("{namespace}/{}", text("/metadata/name")),
            hosts: list("/spec/hosts")
                .filter_map(Value::as_str)
                .map(|host| Host::resolve(host, namespace))
                .collect(),
            export: Export::of_object(entry),
            endpoints: Some(endpoints).filter(|endpoints| !endpoints.is_empty()),
        }
    }

    /// Whether it makes this host known, by its name or by a wildcard.
    pub fn has(&self, host: &Host) -> bool {
        self.hosts
            .iter()
            .any(|own| match own.as_str().strip_prefix('*') {
                Some(rest) => host.as_str().ends_with(rest),
                None => own == host,
            })
    }

    /// Whether callers in a namespace see it.
    pub fn is_seen_in(&self, namespace: &str) -> bool {
        self.export.reaches(namespace)
    }

    /// How many of its endpoints carry all of these labels; `None` where they are not written in it.
    pub fn endpoints_with(&self, labels: &BTreeMap<String, String>) -> Option<usize> {
        let carries = |own: &&BTreeMap<String, String>| {
            labels
                .iter()
                .all(|(key, value)| own.get(key) == Some(value))
        };
        let endpoints = self.endpoints.as_ref()?;
        Some(endpoints.iter().filter(carries).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hosts_and_the_labels_of_endpoints_are_read() {
        let entry = |spec: Value| {
            let metadata = json!({"namespace": "shop", "name": "bank"});
            ServiceEntry::of(&json!({"metadata": metadata, "spec": spec}))
        };
        let bank = entry(
            json!({"hosts": ["bank.example.org", "*.pay.example"], "endpoints": [
                {"address": "10.0.0.1", "labels": {"version": "v1"}}, {"address": "10.0.0.2"},
            ]}),
        );
        let host = |name: &str| Host::resolve(name, "shop");
        assert!(bank.has(&host("bank.example.org")) && bank.has(&host("a.pay.example")));
        assert!(!bank.has(&host("example.org")) && !bank.has(&host("bank")));
        let labels = |version: &str| BTreeMap::from([("version".to_owned(), version.to_owned())]);
        assert_eq!(bank.endpoints_with(&labels("v1")), Some(1));
        assert_eq!(bank.endpoints_with(&labels("v2")), Some(0));
        assert_eq!(bank.endpoints_with(&BTreeMap::new()), Some(2));
        let exported = |to: Value| entry(json!({"hosts": ["a.example"], "exportTo": to}));
        assert!(bank.is_seen_in("web") && exported(json!(["*"])).is_seen_in("web"));
        assert!(
            exported(json!(["."])).is_seen_in("shop") && !exported(json!(["."])).is_seen_in("web")
        );
        assert!(
            exported(json!([".", "web"])).is_seen_in("web")
                && !exported(json!(["~"])).is_seen_in("shop")
        );
        let selects = entry(json!({"workloadSelector": {"labels": {"app": "bank"}}}));
        assert_eq!(selects.endpoints_with(&labels("v1")), None);
    }
}
