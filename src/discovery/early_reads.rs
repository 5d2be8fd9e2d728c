//! What is read of the cluster as soon as it is known where the routes send, beside its lists.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Service};

use crate::cluster::{CallError, Cluster, Permission};
use crate::istio::{Host, VirtualService};
use crate::preflight::selector;

/// The permissions that a rollout needs on its objects beside those to read.
const PERMISSIONS: [Permission; 5] = [
    Permission::PATCH_ROUTES,
    Permission::WATCH_ROUTES,
    Permission::GET_LEASES,
    Permission::CREATE_LEASES,
    Permission::UPDATE_LEASES,
];

/// Where routes send to more Services than this, those of the two versions are read once they are known.
const MOST_SERVICES: usize = 4;

/// The Service behind a host, and every pod that it selects.
pub(super) type Behind = (
    Result<Option<Service>, CallError>,
    Result<Vec<Pod>, CallError>,
);

/// Answers about permissions.
pub(super) type Answers = Vec<(Permission, Result<bool, CallError>)>;

/// What does not depend on which versions are meant: read at once, it costs the time of the slowest.
#[derive(Clone, Debug, Default)]
pub(super) struct EarlyReads {
    behind: BTreeMap<ServiceName, Behind>,
    autoscalers: BTreeMap<String, Result<Vec<HorizontalPodAutoscaler>, CallError>>,
    permissions: Option<Answers>,
    of_pods: BTreeMap<String, Answers>,
}

/// Name and namespace.
type ServiceName = (String, String);

impl EarlyReads {
    /// Reads what is behind the hosts that `vs` sends to, and asks what may be done.
    ///
    /// RBAC: `get` on `services`, `list` on `pods` and `horizontalpodautoscalers`.
    pub(super) async fn of(cluster: &Cluster, vs: &VirtualService) -> Self {
        let targets = vs.routes().iter().flat_map(|route| &route.targets);
        let hosts: BTreeMap<ServiceName, &Host> = targets
            .filter_map(|target| {
                let host = &target.destination.host;
                Some((name_of(host)?, host))
            })
            .collect();
        let hosts = if hosts.len() > MOST_SERVICES {
            BTreeMap::new()
        } else {
            hosts
        };
        let namespaces: BTreeSet<_> = hosts.keys().map(|(_, namespace)| namespace).collect();
        let (behind, autoscalers, permissions, of_pods) = futures::join!(
            join_all(
                hosts
                    .iter()
                    .map(async |(name, host)| (name.clone(), behind(cluster, host).await))
            ),
            join_all(
                namespaces
                    .iter()
                    .map(async |namespace| cluster.autoscalers(namespace).await)
            ),
            asked(cluster, PERMISSIONS, vs.namespace()),
            join_all(namespaces.iter().map(async |namespace| {
                asked(cluster, [Permission::WATCH_PODS], namespace).await
            })),
        );
        let names = || namespaces.iter().map(|namespace| (*namespace).clone());
        Self {
            behind: behind.into_iter().collect(),
            autoscalers: names().zip(autoscalers).collect(),
            permissions: Some(permissions),
            of_pods: names().zip(of_pods).collect(),
        }
    }

    /// Asks what may be done with an object that only moves along.
    pub(super) async fn of_companion(cluster: &Cluster, vs: &VirtualService) -> Self {
        let needs = [Permission::PATCH_ROUTES, Permission::WATCH_ROUTES];
        Self {
            permissions: Some(asked(cluster, needs, vs.namespace()).await),
            ..Self::default()
        }
    }

    /// What is behind a host.
    pub(super) async fn behind(&self, cluster: &Cluster, host: &Host) -> Behind {
        match name_of(host).and_then(|name| self.behind.get(&name)) {
            Some(known) => known.clone(),
            None => behind(cluster, host).await,
        }
    }

    /// The autoscalers of a namespace.
    pub(super) async fn autoscalers(
        &self,
        cluster: &Cluster,
        namespace: &str,
    ) -> Result<Vec<HorizontalPodAutoscaler>, CallError> {
        match self.autoscalers.get(namespace) {
            Some(known) => known.clone(),
            None => cluster.autoscalers(namespace).await,
        }
    }

    /// What a rollout may do with its objects.
    pub(super) async fn permissions(&self, cluster: &Cluster, namespace: &str) -> Answers {
        match &self.permissions {
            Some(known) => known.clone(),
            None => asked(cluster, PERMISSIONS, namespace).await,
        }
    }

    /// What a rollout may do with its objects, as far as it was asked.
    pub(super) fn into_permissions(self) -> Answers {
        self.permissions.unwrap_or_default()
    }

    /// Whether pods may be watched.
    pub(super) async fn watch_pods(&self, cluster: &Cluster, namespace: &str) -> Answers {
        match self.of_pods.get(namespace) {
            Some(known) => known.clone(),
            None => asked(cluster, [Permission::WATCH_PODS], namespace).await,
        }
    }
}

fn name_of(host: &Host) -> Option<ServiceName> {
    let (name, namespace) = host.service()?;
    Some((name.to_owned(), namespace.to_owned()))
}

/// Asks for permissions in a namespace, all at once.
async fn asked(
    cluster: &Cluster,
    permissions: impl IntoIterator<Item = Permission>,
    namespace: &str,
) -> Answers {
    let asked = permissions.into_iter().map(async |permission| {
        let answer = cluster.may(permission, namespace).await;
        (permission, answer)
    });
    join_all(asked).await
}

/// The Service behind a host, and every pod that it selects.
pub(super) async fn behind(cluster: &Cluster, host: &Host) -> Behind {
    let Some((name, namespace)) = host.service() else {
        return (Ok(None), Ok(Vec::new()));
    };
    let service = cluster.service(namespace, name).await;
    let labels = match &service {
        Ok(service) => selector(service.as_ref(), None),
        Err(_) => None,
    };
    let pods = match labels {
        Some(labels) => cluster.pod_list(namespace, &labels).await,
        None => Ok(Vec::new()),
    };
    (service, pods)
}
