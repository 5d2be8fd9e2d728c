//! Reading: a fixed number of concurrent calls, whatever the size of the VirtualService.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::Value;

use crate::cluster::{CallError, Cluster, ErrorKind, Permission};
use crate::istio::{
    Destination, Host, Relevance, Route, Selection, Subset, USUAL_DOMAIN, VirtualService,
};
use crate::metrics::ServiceKey;
use crate::preflight::{
    Facts, Grant, Proposal, Role, Source, Unread, Version, carries, is_set, meant, selector,
};

/// The permissions that a rollout needs on its objects beside those to read.
const PERMISSIONS: [Permission; 5] = [
    Permission::PATCH_ROUTES,
    Permission::WATCH_ROUTES,
    Permission::GET_LEASES,
    Permission::CREATE_LEASES,
    Permission::UPDATE_LEASES,
];

/// The most Services that are looked for where there is none behind a host.
const LOOKALIKES: usize = 3;

/// What can be fetched before it is known which versions are meant.
#[derive(Clone, Debug)]
pub struct ClusterSnapshot {
    /// The other VirtualServices.
    pub other_routes: Vec<VirtualService>,
    /// The DestinationRules.
    pub rules: Vec<Value>,
    /// The namespace of the routes.
    pub home: String,
    /// The namespaces that lists were confined to, where all of them may not be read.
    pub within: Option<BTreeSet<String>>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// What is asked of the cluster once the versions are known.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotScope<'a> {
    /// The object.
    pub vs: &'a VirtualService,
    /// Versions and routes.
    pub selection: &'a Selection,
    /// Whether a GitOps owner is known to leave weights alone.
    pub ignore_owner: bool,
    /// The time.
    pub now: Timestamp,
}

impl ClusterSnapshot {
    /// Lists VirtualServices and DestinationRules of the whole cluster, or where that is not allowed of
    /// the namespaces that `vs` is in and sends to.
    ///
    /// What is not allowed becomes an [`Unread`], not an error.
    ///
    /// RBAC: `list` on `virtualservices` and `destinationrules`, in all namespaces or in these.
    /// What has nothing to do with the routes, or with the hosts called `versions`, is not kept.
    ///
    pub async fn look(cluster: &Cluster, vs: &VirtualService, versions: &[&str]) -> Self {
        let targets = || vs.routes().iter().flat_map(|route| &route.targets);
        let named = targets().any(|target| target.destination.subset.is_some());
        let mut namespaces: BTreeSet<String> = targets()
            .filter_map(|target| target.destination.host.service())
            .map(|(_, namespace)| namespace.to_owned())
            .collect();
        namespaces.insert(vs.namespace().to_owned());
        let called = versions.iter();
        let called = called.map(|name| Host::resolve(name, vs.namespace()));
        let relevance = Relevance::to(vs).with_destinations(called);
        let (services, rules) = futures::join!(
            cluster.visible_virtual_services(&namespaces, &relevance),
            cluster.visible_destination_rules(&namespaces, &relevance)
        );
        let mut found = Self {
            other_routes: Vec::new(),
            rules: rules.found,
            home: vs.namespace().to_owned(),
            within: None,
            unread: Vec::new(),
        };
        let others = services.found.into_iter();
        found.other_routes = others.filter(|other| other.uid() != vs.uid()).collect();
        let source = if named {
            Source::Subsets
        } else {
            Source::Rules
        };
        for (source, failed) in [
            (Source::OtherRoutes, services.failed),
            (source, rules.failed),
        ] {
            for (namespace, error) in failed {
                found.keep(source, &namespace, Err::<(), _>(error));
            }
        }
        let elsewhere = [services.elsewhere, rules.elsewhere];
        for error in elsewhere.into_iter().flatten() {
            if error.kind == ErrorKind::Forbidden {
                found.within = Some(namespaces.clone());
            } else {
                found.keep(Source::Elsewhere, "", Err::<(), _>(error));
            }
        }
        found
    }

    /// The cluster's DNS domain: the one in which most hosts here are written out, those of `vs` included.
    pub fn domain(&self, vs: &VirtualService) -> String {
        let rules = self.rules.iter().filter_map(|rule| {
            let host = rule.pointer("/spec/host")?.as_str()?;
            host.contains('.').then(|| Host::resolve(host, ""))
        });
        let destinations = |vs: &VirtualService| -> Vec<Host> {
            let written = vs.routes().iter().flat_map(|route| {
                let rule = vs.rule(route.at).get("route");
                rule.and_then(Value::as_array).into_iter().flatten()
            });
            let hosts = written.filter_map(|target| target.pointer("/destination/host")?.as_str());
            let hosts = hosts.filter(|host| host.contains('.'));
            hosts.map(|host| Host::resolve(host, "")).collect()
        };
        let routes = self.other_routes.iter().chain([vs]).flat_map(destinations);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for host in rules.chain(routes) {
            // A Service of several clusters is in a domain of its own.
            if let Some(domain) = host.domain().filter(|domain| *domain != "clusterset.local") {
                *counts.entry(domain.to_owned()).or_default() += 1;
            }
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.map_or_else(|| USUAL_DOMAIN.to_owned(), |(domain, _)| domain)
    }

    fn keep<T: Default>(
        &mut self,
        source: Source,
        namespace: &str,
        answer: Result<T, CallError>,
    ) -> T {
        answer.unwrap_or_else(|error| {
            self.unread.push(Unread {
                source,
                namespace: namespace.to_owned(),
                error,
            });
            T::default()
        })
    }

    /// What may be done in a namespace; that it could not be asked is kept once.
    fn grants(
        &mut self,
        namespace: &str,
        answers: Vec<(Permission, Result<bool, CallError>)>,
    ) -> Vec<Grant> {
        let mut grants = Vec::new();
        for (permission, answer) in answers {
            match answer {
                Ok(allowed) => grants.push(Grant {
                    permission,
                    namespace: namespace.to_owned(),
                    allowed,
                }),
                Err(error) if !self.missed(Source::Permissions) => {
                    self.keep(Source::Permissions, namespace, Err::<(), _>(error));
                }
                Err(_) => {}
            }
        }
        grants
    }

    fn missed(&self, source: Source) -> bool {
        self.unread.iter().any(|unread| unread.source == source)
    }

    /// Every subset that a route here can mean, those that count for most callers first.
    pub fn subsets(&self) -> Vec<Subset> {
        subsets_meant(&self.rules, &self.home)
    }

    /// Fetches what depends on the versions, and puts all facts together.
    ///
    /// The rights to read are proven by reading; only the others are asked for.
    ///
    /// RBAC: `get` on `services`, `list` on `pods` and `horizontalpodautoscalers`; `get` on the
    /// namespace only where pods run without a proxy of their own, `list` on `peerauthentications` only
    /// where a DestinationRule sets `tls`.
    pub async fn gather(mut self, cluster: &Cluster, question: SnapshotScope<'_>) -> Facts {
        let SnapshotScope { vs, selection, .. } = question;
        let hosts: BTreeSet<&Host> = [&selection.stable.host, &selection.canary.host].into();
        let namespaces: BTreeSet<&str> = hosts
            .iter()
            .filter_map(|host| host.service())
            .map(|(_, namespace)| namespace)
            .collect();
        let canary = selection.canary.host.service();
        let of_canary = canary.map(|(_, namespace)| namespace);
        let (behind, autoscalers, permissions, of_pods) = futures::join!(
            join_all(
                hosts
                    .iter()
                    .map(async |host| (*host, behind(cluster, host).await))
            ),
            join_all(
                namespaces
                    .iter()
                    .map(async |namespace| { (*namespace, cluster.autoscalers(namespace).await) })
            ),
            asked(cluster, PERMISSIONS, vs.namespace()),
            async {
                match of_canary {
                    Some(namespace) => asked(cluster, [Permission::WATCH_PODS], namespace).await,
                    None => Vec::new(),
                }
            },
        );
        let mut hosts = BTreeMap::new();
        let mut lookalikes = BTreeMap::new();
        for (host, (service, _)) in &behind {
            if matches!(service, Ok(None)) {
                let found = self.lookalikes(cluster, host).await;
                lookalikes.insert(*host, found);
            }
        }
        for (host, (service, pods)) in behind {
            let namespace = host.service().map_or("", |(_, namespace)| namespace);
            let known = service.is_ok() && pods.is_ok();
            let service = self.keep(Source::Services, namespace, service);
            let pods = self.keep(Source::Pods, namespace, pods);
            hosts.insert(host, (service, known.then_some(pods)));
        }
        let autoscalers = autoscalers
            .into_iter()
            .flat_map(|(namespace, list)| self.keep(Source::Autoscalers, namespace, list))
            .collect();
        let mut grants = self.grants(vs.namespace(), permissions);
        grants.extend(self.grants(of_canary.unwrap_or_default(), of_pods));
        let version = |role, destination: &Destination| {
            let found = hosts.get(&destination.host);
            let (service, pods) = found.map_or((None, None), |(service, pods)| {
                (service.clone(), pods.as_deref())
            });
            let found = lookalikes.get(&destination.host).cloned();
            Version {
                lookalikes: found.unwrap_or_default(),
                ..self.version(role, destination, service, pods)
            }
        };
        let stable = version(Role::Stable, &selection.stable);
        let canary = version(Role::Canary, &selection.canary);
        let namespaces = self.namespaces(cluster, [&stable, &canary]).await;
        let authentications = self.authentications(cluster, [&stable, &canary]).await;
        let kinds: BTreeSet<_> = selection
            .splits
            .iter()
            .filter_map(|split| split.find(vs))
            .map(|route| route.at.kind)
            .collect();
        Facts {
            vs: vs.clone(),
            stable,
            canary,
            kinds: kinds.into_iter().collect(),
            left_behind: selection.left_behind.clone(),
            other_routes: self.other_routes,
            rules: self.rules,
            authentications,
            autoscalers,
            namespaces,
            grants,
            within: self.within,
            unread: self.unread,
            samples: None,
            ignore_owner: question.ignore_owner,
            now: question.now,
        }
    }

    /// The facts about a companion of `lead`, between the same versions.
    ///
    /// RBAC: none but to have looked; everybody may ask what they may do.
    pub async fn accompany(
        mut self,
        cluster: &Cluster,
        lead: &Facts,
        vs: &VirtualService,
        selection: &Selection,
    ) -> Facts {
        let needs = [Permission::PATCH_ROUTES, Permission::WATCH_ROUTES];
        let grants = self.grants(vs.namespace(), asked(cluster, needs, vs.namespace()).await);
        Facts {
            vs: vs.clone(),
            left_behind: selection.left_behind.clone(),
            other_routes: self.other_routes,
            rules: self.rules,
            grants,
            unread: self.unread,
            ..lead.clone()
        }
    }

    /// What to apply where `vs` sends everything to one version: `None` if it sends to several, or to
    /// no Service of this cluster.
    ///
    /// RBAC: `get` on `services`, `list` on `pods`.
    pub async fn propose(
        &self,
        cluster: &Cluster,
        vs: &VirtualService,
        named: &[String],
    ) -> Option<Proposal> {
        let is_meant =
            |route: &&Route| named.is_empty() || named.iter().any(|name| route.is_called(name));
        let mut routes = vs.routes().iter().filter(is_meant);
        let route = routes.find(|route| route.targets.len() == 1)?;
        let destination = &route.targets.first()?.destination;
        // Two rules where one is meant: the second never gets a request.
        let unreached = vs.routes().iter().find(|other| {
            let is_behind = vs
                .shadow_of(other.at)
                .is_some_and(|shadow| shadow.at == route.at);
            let target = other.targets.first();
            is_behind
                && other.targets.len() == 1
                && target.is_some_and(|target| !target.destination.same_version(destination))
        });
        if let Some(unreached) = unreached {
            return Some(Proposal::of_two_rules(vs, route, unreached));
        }
        let (service, pods) = behind(cluster, &destination.host).await;
        service.ok()??;
        let pods = pods.unwrap_or_default();
        Some(Proposal::of(vs, route, destination, &self.rules, &pods))
    }

    /// A version with the part of its Service's pods that carries the subset's labels.
    fn version(
        &self,
        role: Role,
        destination: &Destination,
        service: Option<Service>,
        pods: Option<&[Pod]>,
    ) -> Version {
        let subsets = self.subsets();
        let named = destination.subset.as_ref();
        let mut of_name = subsets
            .into_iter()
            .filter(|subset| subset.host == destination.host && Some(&subset.name) == named);
        let subset = of_name.next();
        let unknown = named.is_some() && subset.is_none() && self.missed(Source::Subsets);
        let pods = match (selector(service.as_ref(), subset.as_ref()), pods) {
            _ if unknown => None,
            (_, None) => None,
            // A subset that a route names and no rule defines has no pods.
            _ if named.is_some() && subset.is_none() => Some(Vec::new()),
            (None, Some(_)) => Some(Vec::new()),
            (Some(labels), Some(pods)) => {
                let pods = pods.iter().filter(|pod| carries(pod, &labels));
                Some(pods.cloned().collect())
            }
        };
        Version {
            role,
            destination: destination.clone(),
            service,
            subset,
            pods,
            lookalikes: Vec::new(),
        }
    }

    /// Services that may be meant by a host behind which there is none: what its name abbreviates, and
    /// those of its name in other namespaces, as other objects write them.
    async fn lookalikes(&self, cluster: &Cluster, host: &Host) -> Vec<ServiceKey> {
        let key = |(name, namespace): (&str, &str)| ServiceKey {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        };
        let mut candidates: BTreeSet<_> = host.abbreviated().map(key).into_iter().collect();
        if let Some((name, _)) = host.service() {
            let rules = self.rules.iter().filter_map(|rule| {
                let namespace = rule.pointer("/metadata/namespace")?.as_str()?;
                Some(Host::resolve(
                    rule.pointer("/spec/host")?.as_str()?,
                    namespace,
                ))
            });
            let routes = self.other_routes.iter().flat_map(|other| {
                let targets = other.routes().iter().flat_map(|route| &route.targets);
                targets.map(|target| target.destination.host.clone())
            });
            let others = rules.chain(routes).filter(|other| other != host);
            candidates.extend(others.filter_map(|other| {
                let found = other.service().filter(|(other, _)| *other == name);
                found.map(key)
            }));
        }
        let asked = candidates.into_iter().take(LOOKALIKES).map(async |key| {
            let found = cluster.service(&key.namespace, &key.name).await;
            matches!(found, Ok(Some(_))).then_some(key)
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Read only where a rule sets how connections are encrypted; otherwise nothing can contradict it.
    async fn authentications(&mut self, cluster: &Cluster, versions: [&Version; 2]) -> Vec<Value> {
        if !is_set(
            &self.rules,
            versions.map(|version| &version.destination.host),
        ) {
            return Vec::new();
        }
        let namespaces = versions.map(|version| version.namespace().to_owned());
        let around = cluster
            .peer_authentications_around(&namespaces.into())
            .await;
        for (namespace, error) in around.failed {
            self.keep(Source::Authentications, &namespace, Err::<(), _>(error));
        }
        around.found
    }

    async fn namespaces(
        &mut self,
        cluster: &Cluster,
        versions: [&Version; 2],
    ) -> BTreeMap<String, BTreeMap<String, String>> {
        let bare: BTreeSet<_> = versions
            .into_iter()
            .filter(|version| version.pods().iter().any(crate::preflight::is_bare))
            .map(|version| version.namespace().to_owned())
            .collect();
        let mut found = BTreeMap::new();
        for namespace in bare {
            let labels = cluster.namespace_labels(&namespace).await;
            let labels = self.keep(Source::Namespaces, &namespace, labels);
            found.insert(namespace, labels);
        }
        found
    }
}

/// Every subset that a route in `namespace` can mean, those that count for most callers first.
pub fn subsets_meant(rules: &[Value], namespace: &str) -> Vec<Subset> {
    let rules = meant(rules, namespace).into_iter();
    rules.flat_map(Subset::of_rule).collect()
}

/// Asks for permissions in a namespace, all at once.
async fn asked(
    cluster: &Cluster,
    permissions: impl IntoIterator<Item = Permission>,
    namespace: &str,
) -> Vec<(Permission, Result<bool, CallError>)> {
    let asked = permissions.into_iter().map(async |permission| {
        let answer = cluster.may(permission, namespace).await;
        (permission, answer)
    });
    join_all(asked).await
}

/// The Service behind a host, and every pod that it selects.
async fn behind(
    cluster: &Cluster,
    host: &Host,
) -> (
    Result<Option<Service>, CallError>,
    Result<Vec<Pod>, CallError>,
) {
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
