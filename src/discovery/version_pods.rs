//! The pods of the versions that an object sends to, for who only looks: soon, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;

use super::early_reads::{Behind, behind};
use super::snapshot::subsets_meant;
use crate::cluster::{CallError, Cluster};
use crate::istio::{
    Destination, Host, ROOT, Relevance, Subset, VirtualService, Workloads, versions,
};
use crate::preflight::{carries, selector};

/// How long all of it is waited for.
const SOON: Duration = Duration::from_secs(1);

/// Services behind which is looked; who sends to more has other tools.
const MOST_SERVICES: usize = 4;

/// A version, and what runs there.
#[derive(Clone, Debug)]
pub(crate) struct VersionPods {
    /// The version as routes name it, whatever the port.
    pub version: Destination,
    /// Its pods, or why they are not known.
    pub pods: Result<Workloads, String>,
}

/// The versions that `vs` sends to, in that order, with their pods. Hosts that are no Services of the cluster
/// have none.
///
/// RBAC: `get` on `services`, `list` on `pods`, and on `destinationrules` where routes name subsets. What is not
/// allowed, and what takes longer than a second in all, is a reason in the answer.
pub(crate) async fn version_pods(cluster: &Cluster, vs: &VirtualService) -> Vec<VersionPods> {
    let cluster = &cluster.clone().within(SOON);
    let versions = versions_of(vs);
    let hosts: BTreeSet<&Host> = versions.iter().map(|version| &version.host).collect();
    let asked = hosts.into_iter().take(MOST_SERVICES);
    let (subsets, found) = futures::join!(
        subsets(cluster, vs, &versions),
        join_all(asked.map(async |host| (host.clone(), behind(cluster, host).await)))
    );
    let found: BTreeMap<Host, Behind> = found.into_iter().collect();
    let pods = |version: &Destination| match found.get(&version.host) {
        Some(behind) => pods_of(version, behind, &subsets),
        None => Err(format!(
            "only the pods of {MOST_SERVICES} services are looked at"
        )),
    };
    let pods: Vec<_> = versions.iter().map(pods).collect();
    let known = versions.into_iter().zip(pods);
    known
        .map(|(version, pods)| VersionPods { version, pods })
        .collect()
}

/// The versions behind Services, whatever the port.
fn versions_of(vs: &VirtualService) -> Vec<Destination> {
    let versions = versions(vs.routes()).into_iter();
    let versions = versions.filter(|version| version.host.service().is_some());
    let versions = versions.map(|version| Destination {
        port: None,
        ..version.clone()
    });
    versions.collect()
}

/// The subsets that the versions can be, from the namespaces where they are defined as a rule.
async fn subsets(
    cluster: &Cluster,
    vs: &VirtualService,
    versions: &[Destination],
) -> Result<Vec<Subset>, CallError> {
    let named = || versions.iter().filter(|version| version.subset.is_some());
    let mut namespaces: BTreeSet<&str> = named()
        .filter_map(|version| version.host.service())
        .map(|(_, namespace)| namespace)
        .collect();
    if !namespaces.is_empty() {
        namespaces.insert(vs.namespace());
    }
    let hosts = named().map(|version| version.host.clone());
    let relevance = &Relevance::default().with_destinations(hosts);
    let lists = join_all(namespaces.into_iter().map(async |namespace| {
        let keep = |json: &str| relevance.is_met_by_rule(json);
        cluster.destination_rules(Some(namespace), keep).await
    }));
    let mut rules = Vec::new();
    for list in lists.await {
        rules.extend(list?);
    }
    let hosts: BTreeSet<&Host> = versions.iter().map(|version| &version.host).collect();
    Ok(subsets_meant(&rules, ROOT, vs.namespace(), hosts))
}

fn pods_of(
    version: &Destination,
    (service, pods): &Behind,
    subsets: &Result<Vec<Subset>, CallError>,
) -> Result<Workloads, String> {
    let service = service.as_ref().map_err(CallError::to_string)?;
    let pods = pods.as_ref().map_err(CallError::to_string)?;
    let subset = match &version.subset {
        None => None,
        Some(name) => {
            let subsets = subsets.as_ref().map_err(CallError::to_string)?;
            let mut of_host = subsets.iter().filter(|one| one.host == version.host);
            let Some(subset) = of_host.find(|one| one.name == *name) else {
                return Err(format!(
                    "no DestinationRule there defines subset {name} of {}",
                    version.host.short()
                ));
            };
            Some(subset)
        }
    };
    let labels = selector(service.as_ref(), subset).unwrap_or_default();
    // A Service that selects nothing has no pods.
    let own = pods.iter().filter(|pod| carries(pod, &labels));
    Ok(Workloads::of(own))
}
