//! Listing as far as one may: everywhere, or else in the namespaces that matter most.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, join_all, select};
use serde_json::Value;
use tokio::time::timeout;

use super::call::CallError;
use super::virtual_services::Cluster;
use crate::istio::{Relevance, VirtualService};

/// How long a list of everything is waited for before the namespaces are listed beside it.
const SOON: Duration = Duration::from_secs(1);

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
        around(self, namespaces, async |cluster, namespace| {
            let keep = |json: &str| relevance.is_met_by_route(json);
            cluster.virtual_services(namespace, keep, |vs| vs).await
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
        around(self, namespaces, async |cluster, namespace| {
            let keep = |json: &str| relevance.is_met_by_rule(json);
            cluster.destination_rules(namespace, keep).await
        })
        .await
    }
}

/// Lists everywhere, and where that fails in each of these namespaces.
///
/// What matters most is not to wait for what takes long: after a moment both are asked, and of a limited
/// time the list of everything gets no more than half.
pub(super) async fn around<T>(
    cluster: &Cluster,
    namespaces: &BTreeSet<String>,
    list: impl AsyncFn(&Cluster, Option<&str>) -> Result<Vec<T>, CallError>,
) -> VisibleScope<T> {
    let list = &list;
    let half = cluster.time_left().map(|left| left / 2);
    let limited = half.map_or_else(|| cluster.clone(), |half| cluster.clone().within(half));
    let mut everywhere = pin!(list(&limited, None));
    let near = pin!(join_all(namespaces.iter().map(async |namespace| {
        (namespace, list(cluster, Some(namespace)).await)
    })));
    let (elsewhere, near) = match timeout(SOON, &mut everywhere).await {
        Ok(Ok(found)) => return VisibleScope::of_all(found),
        Ok(Err(error)) => (error, near.await),
        Err(_) => match select(everywhere, near).await {
            Either::Left((Ok(found), _)) => return VisibleScope::of_all(found),
            Either::Left((Err(error), near)) => (error, near.await),
            Either::Right((near, everywhere)) => match everywhere.await {
                Ok(found) => return VisibleScope::of_all(found),
                Err(error) => (error, near),
            },
        },
    };
    let mut around = VisibleScope {
        found: Vec::new(),
        elsewhere: Some(elsewhere),
        failed: Vec::new(),
    };
    for (namespace, answer) in near {
        match answer {
            Ok(found) => around.found.extend(found),
            Err(error) => around.failed.push((namespace.clone(), error)),
        }
    }
    around
}

impl<T> VisibleScope<T> {
    /// Everything, seen everywhere.
    pub fn of_all(found: Vec<T>) -> Self {
        Self {
            found,
            elsewhere: None,
            failed: Vec::new(),
        }
    }
}
