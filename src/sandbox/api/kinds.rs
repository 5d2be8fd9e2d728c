//! The kinds of objects the sandbox knows, and what the API says about each.

use serde_json::{Value, json};

/// One kind of object. The plural is unique in this world, so it names the kind everywhere.
#[derive(Debug)]
pub(crate) struct ResourceKind {
    pub group: &'static str,
    /// Served versions, the preferred one first.
    pub versions: &'static [&'static str],
    pub plural: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub short: &'static [&'static str],
    pub namespaced: bool,
    /// Whether the API server counts `metadata.generation`.
    pub generation: bool,
    /// Whether `status` is a subresource, which a write to the object itself cannot change.
    pub status: bool,
    /// Whether a CustomResourceDefinition stands behind it.
    pub custom: bool,
}

const SECURITY: &[&str] = &["v1", "v1beta1"];
const ISTIO: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const V1: &[&str] = &["v1"];
const V2: &[&str] = &["v2"];

macro_rules! kinds {
    ($($group:literal $versions:ident $plural:literal $singular:literal $kind:literal $short:expr, $($flag:ident)*;)*) => {
        &[$(ResourceKind {
            group: $group,
            versions: $versions,
            plural: $plural,
            singular: $singular,
            kind: $kind,
            short: &$short,
            namespaced: kinds!(@has namespaced $($flag)*),
            generation: kinds!(@has generation $($flag)*),
            status: kinds!(@has status $($flag)*),
            custom: kinds!(@has custom $($flag)*),
        }),*]
    };
    (@has namespaced namespaced $($rest:ident)*) => { true };
    (@has generation generation $($rest:ident)*) => { true };
    (@has status status $($rest:ident)*) => { true };
    (@has custom custom $($rest:ident)*) => { true };
    (@has $wanted:ident $other:ident $($rest:ident)*) => { kinds!(@has $wanted $($rest)*) };
    (@has $wanted:ident) => { false };
}

/// Every kind of this world.
pub(crate) static KINDS: &[ResourceKind] = kinds! {
    "" V1 "namespaces" "namespace" "Namespace" ["ns"], status;
    "" V1 "services" "service" "Service" ["svc"], namespaced status;
    "" V1 "pods" "pod" "Pod" ["po"], namespaced generation status;
    "" V1 "configmaps" "configmap" "ConfigMap" ["cm"], namespaced;
    "" V1 "serviceaccounts" "serviceaccount" "ServiceAccount" ["sa"], namespaced;
    "apps" V1 "deployments" "deployment" "Deployment" ["deploy"], namespaced generation status;
    "apps" V1 "statefulsets" "statefulset" "StatefulSet" ["sts"], namespaced generation status;
    "apps" V1 "replicasets" "replicaset" "ReplicaSet" ["rs"], namespaced generation status;
    "autoscaling" V2 "horizontalpodautoscalers" "horizontalpodautoscaler" "HorizontalPodAutoscaler" ["hpa"], namespaced status;
    "batch" V1 "jobs" "job" "Job" [], namespaced generation status;
    "discovery.k8s.io" V1 "endpointslices" "endpointslice" "EndpointSlice" [], namespaced generation;
    "coordination.k8s.io" V1 "leases" "lease" "Lease" [], namespaced;
    "events.k8s.io" V1 "events" "event" "Event" ["ev"], namespaced;
    "networking.istio.io" ISTIO "virtualservices" "virtualservice" "VirtualService" ["vs"], namespaced generation status custom;
    "networking.istio.io" ISTIO "destinationrules" "destinationrule" "DestinationRule" ["dr"], namespaced generation status custom;
    "networking.istio.io" ISTIO "serviceentries" "serviceentry" "ServiceEntry" ["se"], namespaced generation status custom;
    "security.istio.io" SECURITY "peerauthentications" "peerauthentication" "PeerAuthentication" ["pa"], namespaced generation status;
    "networking.istio.io" ISTIO "gateways" "gateway" "Gateway" ["gw"], namespaced generation status custom;
};

impl ResourceKind {
    /// The kind with this plural.
    pub(crate) fn by_plural(plural: &str) -> Option<&'static ResourceKind> {
        KINDS.iter().find(|kind| kind.plural == plural)
    }

    /// The kind of this object, read from its `apiVersion` and `kind`.
    pub(crate) fn of(object: &Value) -> Option<&'static ResourceKind> {
        let (group, _) = split_version(object["apiVersion"].as_str()?);
        let name = object["kind"].as_str()?;
        KINDS
            .iter()
            .find(|kind| kind.group == group && kind.kind == name)
    }

    /// `plural.group`, as messages of the API server call it.
    pub(crate) fn resource(&self) -> String {
        qualified(self.plural, self.group)
    }

    /// `Kind.group`, as messages about invalid objects call it.
    pub(crate) fn qualified_kind(&self) -> String {
        qualified(self.kind, self.group)
    }

    /// `group/version`, or the version alone in the core group.
    pub(crate) fn api_version(&self, version: &str) -> String {
        join_version(self.group, version)
    }

    /// The verbs discovery announces.
    pub(crate) fn verbs(&self) -> Value {
        json!([
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch"
        ])
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

/// `group/version`, or the version alone in the core group.
pub(crate) fn join_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// Group and version of an `apiVersion`.
pub(crate) fn split_version(api_version: &str) -> (&str, &str) {
    api_version.rsplit_once('/').unwrap_or(("", api_version))
}

/// An object in the version the caller speaks.
pub(crate) fn shown(kind: &ResourceKind, version: &str, object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!(kind.api_version(version));
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_service_is_found_by_any_of_its_versions() {
        for version in ISTIO {
            let object = json!({"apiVersion": format!("networking.istio.io/{version}"), "kind": "VirtualService"});
            let kind = ResourceKind::of(&object).unwrap();
            assert_eq!(kind.resource(), "virtualservices.networking.istio.io");
            assert!(kind.custom && kind.namespaced && kind.generation && kind.status);
        }
    }

    #[test]
    fn flags_of_a_kind_are_only_those_named() {
        let namespaces = ResourceKind::by_plural("namespaces").unwrap();
        assert!(!namespaces.namespaced && namespaces.status && !namespaces.generation);
    }
}
