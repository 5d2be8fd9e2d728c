//! One of the two versions: what a route says of it, and the pods behind that.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Pod, Service};

use crate::istio::{Destination, EmptyWorkload, ExternalHost, Subset, Workloads};
use crate::metrics::{ServiceKey, VersionSelector};

/// What a version is in the rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It carries the traffic.
    Stable,
    /// The traffic moves to it.
    Canary,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        })
    }
}

/// One of the two versions.
#[derive(Clone, Debug)]
pub struct Version {
    /// What it is in the rollout.
    pub role: Role,
    /// What the route says of it.
    pub destination: Destination,
    /// The Service behind its host, if there is one.
    pub service: Option<Service>,
    /// What defines its subset; several rules may define one of the same name.
    pub subset: Option<Subset>,
    /// Its pods; `None` where they could not be read.
    pub pods: Option<Vec<Pod>>,
    /// Services that may be meant where there is none behind its host.
    pub lookalikes: Vec<ServiceKey>,
    /// What would make its pods, where there is none.
    pub empty: Option<EmptyWorkload>,
    /// What the mesh knows of its host, where there is no Service behind it.
    pub external: ExternalHost,
}

impl Version {
    /// Its pods, or none.
    pub fn pods(&self) -> &[Pod] {
        self.pods.as_deref().unwrap_or_default()
    }

    /// Its pods taken together.
    pub fn workloads(&self) -> Workloads {
        Workloads::of(self.pods())
    }

    /// The namespace its pods are in.
    pub(crate) fn namespace(&self) -> &str {
        let service = self.destination.host.service();
        service.map(|(_, namespace)| namespace).unwrap_or_default()
    }

    /// `shop/reviews`, the Service behind it.
    pub(crate) fn service_name(&self) -> String {
        match self.destination.host.service() {
            Some((name, namespace)) => format!("{namespace}/{name}"),
            None => self.destination.host.to_string(),
        }
    }

    /// Whether its host is none of the cluster's own.
    pub(crate) fn is_external(&self) -> bool {
        let is_entry = matches!(
            self.external,
            ExternalHost::Entry(_) | ExternalHost::Hidden(_)
        );
        is_entry || self.destination.host.service().is_none()
    }

    /// The labels that its pods carry: those of the Service's selector and of the subset.
    pub(crate) fn selector(&self) -> Option<BTreeMap<String, String>> {
        selector(self.service.as_ref(), self.subset.as_ref())
    }

    /// The host that its Service is another name of (type ExternalName).
    pub(crate) fn alias(&self) -> Option<&str> {
        self.service
            .as_ref()?
            .spec
            .as_ref()?
            .external_name
            .as_deref()
    }

    /// Whether its subset is named by the route but defined nowhere.
    pub(crate) fn lacks_subset(&self) -> bool {
        self.destination.subset.is_some() && self.subset.is_none()
    }
}

/// The labels by which a Service and a subset select; `None` where the Service selects nothing.
pub(crate) fn selector(
    service: Option<&Service>,
    subset: Option<&Subset>,
) -> Option<BTreeMap<String, String>> {
    let mut labels = service?.spec.as_ref()?.selector.clone()?;
    if labels.is_empty() {
        return None;
    }
    labels.extend(
        subset
            .map(|subset| subset.labels.clone())
            .unwrap_or_default(),
    );
    Some(labels)
}

/// Whether a pod carries all of these labels.
pub(crate) fn carries(pod: &Pod, labels: &BTreeMap<String, String>) -> bool {
    let own = pod.metadata.labels.as_ref();
    labels
        .iter()
        .all(|(key, value)| own.and_then(|own| own.get(key)) == Some(value))
}

/// `app=reviews,version=v2`, as a command line has it.
pub(crate) fn written(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// What a version is called in the metrics.
pub(crate) fn version_selector(version: &Destination, workloads: Workloads) -> VersionSelector {
    let mut version_selector = VersionSelector {
        workloads: workloads.names,
        versions: workloads.versions,
        ..VersionSelector::default()
    };
    match version.host.service() {
        Some((name, namespace)) => {
            version_selector.services.insert(ServiceKey {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
            });
        }
        None => {
            version_selector
                .hosts
                .insert(version.host.as_str().to_owned());
        }
    }
    version_selector
}
