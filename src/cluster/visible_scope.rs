//! Listing as far as one may: everywhere, or else in the namespaces that matter most.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::Value;

use super::call::CallError;
use super::virtual_services::Cluster;
use crate::istio::{Relevance, VirtualService};

/// The objects of one kind, and in which namespaces they could be listed.
#[derive(Clone, Debug)]
pub struct VisibleScope<T> {
    /// What was found.
    pub found: Vec<T>,
    /// Why not everywhere; `None` where everything was seen.
    pub elsewhere: Option<CallError>,
    /// Of the namespaces that matter most, those that could not be read either.
    pub failed: Vec<(String, CallError)>,
}

impl Cluster {
    /// The VirtualServices of all namespaces that are relevant, or only of these namespaces where that is
    /// not possible.
    ///
    /// RBAC: `list` on `virtualservices`, in all namespaces or in these.
    pub async fn visible_virtual_services(
        &self,
        namespaces: &BTreeSet<String>,
        relevance: &Relevance,
    ) -> VisibleScope<VirtualService> {
        around(namespaces, async |namespace| {
            let keep = |json: &str| relevance.is_met_by_route(json);
            self.virtual_services(namespace, keep, |vs| vs).await
        })
        .await
    }

    /// The DestinationRules of all namespaces that are relevant, or only of these namespaces where that is
    /// not possible.
    ///
    /// RBAC: `list` on `destinationrules`, in all namespaces or in these.
    pub async fn visible_destination_rules(
        &self,
        namespaces: &BTreeSet<String>,
        relevance: &Relevance,
    ) -> VisibleScope<Value> {
        around(namespaces, async |namespace| {
            let keep = |json: &str| relevance.is_met_by_rule(json);
            self.destination_rules(namespace, keep).await
        })
        .await
    }
}

pub(super) async fn around<T>(
    namespaces: &BTreeSet<String>,
    list: impl AsyncFn(Option<&str>) -> Result<Vec<T>, CallError>,
) -> VisibleScope<T> {
    let elsewhere = match list(None).await {
        Ok(found) => {
            return VisibleScope {
                found,
                elsewhere: None,
                failed: Vec::new(),
            };
        }
        Err(error) => Some(error),
    };
    let list = &list;
    let lists = namespaces
        .iter()
        .map(async |namespace| (namespace, list(Some(namespace)).await));
    let mut around = VisibleScope {
        found: Vec::new(),
        elsewhere,
        failed: Vec::new(),
    };
    for (namespace, answer) in join_all(lists).await {
        match answer {
            Ok(found) => around.found.extend(found),
            Err(error) => around.failed.push((namespace.clone(), error)),
        }
    }
    around
}
