//! Reading ServiceEntries.

use std::collections::BTreeSet;

use super::call::CallError;
use super::virtual_services::Cluster;
use super::visible_scope::{VisibleScope, around};
use crate::istio::{Host, ServiceEntry};

impl Cluster {
    /// The ServiceEntries of all namespaces that have one of these hosts, or only of these namespaces where
    /// that is not possible.
    ///
    /// RBAC: `list` on `serviceentries`, in all namespaces or in these.
    pub async fn visible_service_entries(
        &self,
        namespaces: &BTreeSet<String>,
        hosts: &[&Host],
    ) -> VisibleScope<ServiceEntry> {
        around(self, namespaces, async |cluster, namespace| {
            let make = |attempted: &str, json: &str| {
                let entry = serde_json::from_str(json)
                    .map_err(|error| CallError::unreadable(attempted, error))?;
                let entry = ServiceEntry::of(&entry);
                Ok(Some(entry).filter(|entry| hosts.iter().any(|host| entry.has(host))))
            };
            let (found, _) = cluster
                .istio_pages("serviceentries", namespace, make)
                .await?;
            Ok(found)
        })
        .await
    }
}
