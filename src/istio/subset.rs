//! What DestinationRules say of a host's subsets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::destination::Host;

/// A named part of a host's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    /// The host, resolved.
    pub host: Host,
    /// The subset's name.
    pub name: String,
    /// The labels that its pods carry beside those of the Service.
    pub labels: BTreeMap<String, String>,
    /// The DestinationRule that defines it.
    pub rule: String,
}

impl Subset {
    /// What a DestinationRule defines.
    pub(crate) fn of_rule(rule: &Value) -> Vec<Self> {
        let text = |pointer| rule.pointer(pointer).and_then(Value::as_str);
        let (namespace, name) = (
            text("/metadata/namespace").unwrap_or_default(),
            text("/metadata/name").unwrap_or_default(),
        );
        let Some(host) = text("/spec/host") else {
            return Vec::new();
        };
        let host = Host::resolve(host, namespace);
        let subsets = rule.pointer("/spec/subsets").and_then(Value::as_array);
        subsets
            .into_iter()
            .flatten()
            .filter_map(|subset| {
                let labels = subset.get("labels").and_then(Value::as_object);
                Some(Self {
                    host: host.clone(),
                    name: subset.get("name")?.as_str()?.to_owned(),
                    labels: labels
                        .into_iter()
                        .flatten()
                        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                        .collect(),
                    rule: format!("{namespace}/{name}"),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn subsets_are_read_with_the_host_resolved() {
        let rule = json!({
            "metadata": {"namespace": "shop", "name": "r"},
            "spec": {"host": "reviews", "subsets": [
                {"name": "v1", "labels": {"version": "v1"}},
                {"name": "all"},
                {"labels": {"version": "nameless"}},
            ]},
        });
        let subsets = Subset::of_rule(&rule);
        assert_eq!(subsets.len(), 2);
        assert_eq!(subsets[0].host.as_str(), "reviews.shop.svc.cluster.local");
        assert_eq!(subsets[0].labels["version"], "v1");
        assert!(subsets[1].labels.is_empty());
    }
}
