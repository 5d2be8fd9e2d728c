//! Discovery: which groups, versions and kinds there are, in the old form and in the aggregated one.

use serde_json::{Value, json};

use super::kinds::{KINDS, ResourceKind, join_version};

/// The media type of aggregated discovery.
pub(crate) const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Groups that exist for one kind of review only, which is no stored object.
const REVIEWS: &str = "authorization.k8s.io";

/// Answers `/version`.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.4", "gitCommit": "sandbox",
        "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.26",
        "compiler": "gc", "platform": "linux/amd64",
    })
}

/// Answers discovery for the versions that are served.
pub(crate) struct Discovery<F: Fn(&ResourceKind, &str) -> bool> {
    pub served: F,
}

impl<F: Fn(&ResourceKind, &str) -> bool> Discovery<F> {
    fn versions(&self, group: &str) -> Vec<&'static str> {
        if group == REVIEWS {
            return vec!["v1"];
        }
        KINDS
            .iter()
            .find(|kind| kind.group == group)
            .map(|kind| {
                kind.versions
                    .iter()
                    .copied()
                    .filter(|version| (self.served)(kind, version))
                    .collect()
            })
            .unwrap_or_default()
    }

    fn groups(&self) -> Vec<&'static str> {
        let mut groups: Vec<&'static str> = vec![REVIEWS];
        for kind in KINDS {
            if !kind.group.is_empty() && !groups.contains(&kind.group) {
                groups.push(kind.group);
            }
        }
        groups.retain(|group| !self.versions(group).is_empty());
        groups
    }

    /// `/api`, in the old form.
    pub(crate) fn core(&self) -> Value {
        json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
    }

    /// `/apis`, in the old form.
    pub(crate) fn group_list(&self) -> Value {
        let groups: Vec<Value> = self
            .groups()
            .into_iter()
            .filter_map(|group| self.group(group))
            .collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    /// `/apis/GROUP`.
    pub(crate) fn group(&self, group: &str) -> Option<Value> {
        let versions: Vec<Value> = self
            .versions(group)
            .into_iter()
            .map(
                |version| json!({"groupVersion": join_version(group, version), "version": version}),
            )
            .collect();
        let preferred = versions.first()?.clone();
        Some(json!({
            "kind": "APIGroup", "apiVersion": "v1", "name": group,
            "versions": versions, "preferredVersion": preferred,
        }))
    }

    /// `/api/v1` and `/apis/GROUP/VERSION`.
    pub(crate) fn resources(&self, group: &str, version: &str) -> Option<Value> {
        if !self.versions(group).contains(&version) {
            return None;
        }
        let mut resources = Vec::new();
        for kind in KINDS.iter().filter(|kind| kind.group == group) {
            resources.push(json!({
                "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
                "kind": kind.kind, "shortNames": kind.short, "verbs": kind.verbs(),
            }));
            if kind.status {
                resources.push(json!({
                    "name": format!("{}/status", kind.plural), "singularName": "",
                    "namespaced": kind.namespaced, "kind": kind.kind,
                    "verbs": ["get", "patch", "update"],
                }));
            }
        }
        if group == REVIEWS {
            resources.push(json!({
                "name": "selfsubjectaccessreviews", "singularName": "selfsubjectaccessreview",
                "namespaced": false, "kind": "SelfSubjectAccessReview", "verbs": ["create"],
            }));
        }
        Some(json!({
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": join_version(group, version), "resources": resources,
        }))
    }

    /// `/api` or `/apis` in the aggregated form.
    pub(crate) fn aggregated(&self, core: bool) -> Value {
        let groups = if core { vec![""] } else { self.groups() };
        let items: Vec<Value> = groups
            .into_iter()
            .map(|group| {
                let versions: Vec<Value> = self
                    .versions(group)
                    .into_iter()
                    .map(|version| {
                        json!({
                            "version": version, "freshness": "Current",
                            "resources": self.aggregated_resources(group, version),
                        })
                    })
                    .collect();
                let metadata = if group.is_empty() {
                    json!({})
                } else {
                    json!({"name": group})
                };
                json!({"metadata": metadata, "versions": versions})
            })
            .collect();
        json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {}, "items": items,
        })
    }

    fn aggregated_resources(&self, group: &str, version: &str) -> Vec<Value> {
        let scope = |namespaced: bool| if namespaced { "Namespaced" } else { "Cluster" };
        let mut resources: Vec<Value> = KINDS
            .iter()
            .filter(|kind| kind.group == group)
            .map(|kind| {
                let response = json!({"group": group, "version": version, "kind": kind.kind});
                let mut resource = json!({
                    "resource": kind.plural, "singularResource": kind.singular,
                    "responseKind": response, "scope": scope(kind.namespaced),
                    "shortNames": kind.short, "verbs": kind.verbs(),
                });
                if kind.status {
                    resource["subresources"] = json!([{
                        "subresource": "status", "responseKind": response,
                        "verbs": ["get", "patch", "update"],
                    }]);
                }
                resource
            })
            .collect();
        if group == REVIEWS {
            resources.push(json!({
                "resource": "selfsubjectaccessreviews", "singularResource": "selfsubjectaccessreview",
                "responseKind": {"group": group, "version": version, "kind": "SelfSubjectAccessReview"},
                "scope": scope(false), "verbs": ["create"],
            }));
        }
        resources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_not_served_are_not_announced() {
        let discovery = Discovery {
            served: |kind: &ResourceKind, version: &str| !kind.custom || version == "v1beta1",
        };
        let group = discovery.group("networking.istio.io").unwrap();
        assert_eq!(group["preferredVersion"]["version"], "v1beta1");
        assert_eq!(group["versions"].as_array().unwrap().len(), 1);
        assert!(discovery.resources("networking.istio.io", "v1").is_none());
        let text = discovery.aggregated(false).to_string();
        assert!(text.contains("\"resource\":\"virtualservices\"") && !text.contains("v1alpha3"));
    }
}
