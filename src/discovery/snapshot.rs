//! Reading: a fixed number of concurrent calls, whatever the size of the VirtualService.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::Value;

use super::early_reads::EarlyReads;
use crate::cluster::{CallError, Cluster, ErrorKind, Permission, VisibleScope};
use crate::istio::{
    Destination, ExternalHost, Host, MeshConfig, ROOT, Relevance, Route, Selection, ServiceEntry,
    Subset, USUAL_DOMAIN, VirtualService,
};
use crate::metrics::ServiceKey;
use crate::preflight::{
    Facts, Grant, Proposal, Role, Source, Unread, Version, carries, is_set, meant, selector,
    waypoint_of,
};

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
    /// The hosts that they send to, and those called like a version.
    hosts: BTreeSet<Host>,
    /// The namespaces that lists were confined to, where all of them may not be read.
    pub within: Option<BTreeSet<String>>,
    /// What could not be read.
    pub unread: Vec<Unread>,
    mesh: MeshConfig,
    early: EarlyReads,
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
    async fn look(cluster: &Cluster, vs: &VirtualService, versions: &[&str]) -> Self {
        let targets = || vs.routes().iter().flat_map(|route| &route.targets);
        let named = targets().any(|target| target.destination.subset.is_some());
        let mut namespaces: BTreeSet<String> = targets()
            .filter_map(|target| target.destination.host.service())
            .map(|(_, namespace)| namespace.to_owned())
            .collect();
        namespaces.insert(vs.namespace().to_owned());
        let called = versions.iter();
        let called: Vec<_> = called
            .map(|name| Host::resolve(name, vs.namespace()))
            .collect();
        let relevance = Relevance::to(vs).with_destinations(called.iter().cloned());
        let hosts = targets().map(|target| target.destination.host.clone());
        let hosts: BTreeSet<Host> = hosts.chain(called).collect();
        let (services, rules) = futures::join!(
            cluster.visible_virtual_services(&namespaces, &relevance),
            cluster.visible_destination_rules(&namespaces, &relevance)
        );
        let mut found = Self {
            other_routes: Vec::new(),
            rules: rules.found,
            home: vs.namespace().to_owned(),
            hosts,
            within: None,
            unread: Vec::new(),
            mesh: MeshConfig::default(),
            early: EarlyReads::default(),
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

    /// The same, and beside the lists everything else that can be read before the versions are known.
    ///
    /// RBAC: beside the above `get` on `services`, `list` on `pods` and `horizontalpodautoscalers`;
    /// `get` on the mesh config.
    pub async fn look_ahead(cluster: &Cluster, vs: &VirtualService, versions: &[&str]) -> Self {
        let (looked, early, mesh) = futures::join!(
            Self::look(cluster, vs, versions),
            EarlyReads::of(cluster, vs),
            cluster.mesh_config()
        );
        let mut found = Self { early, ..looked };
        found.mesh = found.keep(Source::MeshConfig, ROOT, mesh);
        found
    }

    /// The objects as Istio reads them, to be judged; what is printed of them is as it was written.
    fn fill_in(mut self) -> Self {
        let (routes, rules) = (self.other_routes.into_iter(), self.rules.into_iter());
        let mesh = &self.mesh;
        self.other_routes = routes.map(|route| mesh.fill_route(route)).collect();
        self.rules = rules.map(|rule| mesh.fill_rule(rule)).collect();
        self
    }

    /// The same of a companion, of which beside the lists only the permissions matter.
    ///
    /// RBAC: as to look; everybody may ask what they may do.
    pub async fn look_around(cluster: &Cluster, vs: &VirtualService) -> Self {
        let (looked, early) = futures::join!(
            Self::look(cluster, vs, &[]),
            EarlyReads::of_companion(cluster, vs)
        );
        Self { early, ..looked }
    }

    /// The cluster's DNS domain: the one in which most hosts here are written out, those of `vs` and of the
    /// mesh config included.
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
        let hosts: Vec<Host> = rules.chain(routes).collect();
        let written = hosts.iter().filter_map(Host::domain);
        for domain in written.chain(self.mesh.domains()) {
            // A Service of several clusters is in a domain of its own.
            if domain != "clusterset.local" {
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
        subsets_meant(&self.rules, self.mesh.root(), &self.home, &self.hosts)
    }

    /// Fetches what depends on the versions, and puts all facts together.
    ///
    /// The rights to read are proven by reading; only the others are asked for.
    ///
    /// RBAC: `get` on `services`, `list` on `pods` and `horizontalpodautoscalers`; `get` on the
    /// namespace, and on the Gateway that is its waypoint, only where pods run without a proxy of their own, `list` on `peerauthentications` only
    /// where a DestinationRule sets `tls`.
    pub async fn gather(mut self, cluster: &Cluster, question: SnapshotScope<'_>) -> Facts {
        let SnapshotScope { vs, selection, .. } = question;
        let hosts: BTreeSet<&Host> = [&selection.stable.host, &selection.canary.host].into();
        let namespaces: BTreeSet<&str> = hosts
            .iter()
            .filter_map(|host| host.service())
            .map(|(_, namespace)| namespace)
            .collect();
        self = self.fill_in();
        let canary = selection.canary.host.service();
        let of_canary = canary.map(|(_, namespace)| namespace);
        let early = std::mem::take(&mut self.early);
        let (behind, autoscalers, permissions, of_pods) = futures::join!(
            join_all(
                hosts
                    .iter()
                    .map(async |host| (*host, early.behind(cluster, host).await))
            ),
            join_all(namespaces.iter().map(async |namespace| {
                (*namespace, early.autoscalers(cluster, namespace).await)
            })),
            early.permissions(cluster, vs.namespace()),
            async {
                match of_canary {
                    Some(namespace) => early.watch_pods(cluster, namespace).await,
                    None => Vec::new(),
                }
            },
        );
        let missing = behind
            .iter()
            .filter(|(_, (service, _))| matches!(service, Ok(None)));
        let this = &self;
        let missing: Vec<&Host> = missing.map(|(host, _)| *host).collect();
        let (lookalikes, entries) = futures::join!(
            join_all(
                missing
                    .iter()
                    .map(async |host| (*host, this.lookalikes(cluster, host).await))
            ),
            this.service_entries(cluster, &missing)
        );
        let lookalikes: BTreeMap<_, _> = lookalikes.into_iter().collect();
        for (namespace, error) in &entries.failed {
            self.keep(
                Source::ServiceEntries,
                namespace,
                Err::<(), _>(error.clone()),
            );
        }
        let mut hosts = BTreeMap::new();
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
                external: external(&entries, &missing, (&destination.host, vs.namespace())),
                ..self.version(role, destination, service, pods)
            }
        };
        let (stable, canary) = futures::join!(
            with_workload(cluster, version(Role::Stable, &selection.stable)),
            with_workload(cluster, version(Role::Canary, &selection.canary))
        );
        let versions = [&stable, &canary];
        let (labels, authentications) = futures::join!(
            self.namespaces(cluster, versions),
            self.authentications(cluster, versions)
        );
        let mut namespaces = BTreeMap::new();
        for (namespace, labels) in labels {
            let labels = self.keep(Source::Namespaces, &namespace, labels);
            namespaces.insert(namespace, labels);
        }
        let asked = self.asked(cluster, vs, versions).await;
        let waypoints = self.waypoints(cluster, &asked, &namespaces).await;
        for (namespace, error) in authentications.failed {
            self.keep(Source::Authentications, &namespace, Err::<(), _>(error));
        }
        let kinds: BTreeSet<_> = selection
            .splits
            .iter()
            .filter_map(|split| split.find(vs))
            .map(|route| route.at.kind)
            .collect();
        Facts {
            vs: self.mesh.fill_route(vs.clone()),
            stable,
            canary,
            kinds: kinds.into_iter().collect(),
            left_behind: selection.left_behind.clone(),
            other_routes: self.other_routes,
            rules: self.rules,
            mesh: self.mesh,
            authentications: authentications.found,
            autoscalers,
            asked,
            waypoints,
            namespaces,
            grants,
            within: self.within,
            unread: self.unread,
            samples: None,
            sampled_pods: None,
            search: None,
            ignore_owner: question.ignore_owner,
            now: question.now,
        }
    }

    /// The facts about a companion of `lead`, between the same versions.
    pub fn accompany(self, lead: &Facts, vs: &VirtualService, selection: &Selection) -> Facts {
        let mesh = lead.mesh.clone();
        let mut this = Self { mesh, ..self }.fill_in();
        let permissions = std::mem::take(&mut this.early).into_permissions();
        let grants = this.grants(vs.namespace(), permissions);
        Facts {
            vs: this.mesh.fill_route(vs.clone()),
            left_behind: selection.left_behind.clone(),
            other_routes: this.other_routes,
            rules: this.rules,
            grants,
            unread: this.unread,
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
                .is_some_and(|shadow| shadow.at == route.at && vs.takes_everything(shadow.at));
            let target = other.targets.first();
            is_behind
                && other.targets.len() == 1
                && target.is_some_and(|target| !target.destination.same_version(destination))
        });
        if let Some(unreached) = unreached {
            return Some(Proposal::of_two_rules(vs, route, unreached));
        }
        let (service, pods) = self.early.behind(cluster, &destination.host).await;
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
            empty: None,
            external: ExternalHost::NotRead,
        }
    }

    /// The ServiceEntries of the hosts behind which there is no Service.
    async fn service_entries(
        &self,
        cluster: &Cluster,
        hosts: &[&Host],
    ) -> VisibleScope<ServiceEntry> {
        if hosts.is_empty() {
            return VisibleScope::of_all(Vec::new());
        }
        let namespaces = BTreeSet::from([self.home.clone()]);
        cluster.visible_service_entries(&namespaces, hosts).await
    }

    /// Services that may be meant by a host behind which there is none: what its name abbreviates, and
    /// those of its name in other namespaces, as other objects write them.
    async fn lookalikes(&self, cluster: &Cluster, host: &Host) -> Vec<ServiceKey> {
        let key = |(name, namespace): (&str, &str)| ServiceKey {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        };
        let abbreviated = host.lookalike(&self.home);
        let abbreviated = abbreviated.map(|(name, namespace)| ServiceKey { name, namespace });
        let mut candidates: BTreeSet<_> = abbreviated.into_iter().collect();
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
    async fn authentications(
        &self,
        cluster: &Cluster,
        versions: [&Version; 2],
    ) -> VisibleScope<Value> {
        let hosts = versions.map(|version| &version.destination.host);
        if !is_set(&self.rules, self.mesh.root(), hosts) {
            return VisibleScope::of_all(Vec::new());
        }
        let namespaces = versions.map(|version| version.namespace().to_owned());
        cluster
            .peer_authentications_around(&namespaces.into())
            .await
    }

    /// The Services that callers ask. Others than the versions' matter only where there is no sidecar that
    /// follows the routes: a waypoint is the Service's own.
    async fn asked(
        &self,
        cluster: &Cluster,
        vs: &VirtualService,
        versions: [&Version; 2],
    ) -> Vec<Service> {
        let of_versions = versions
            .into_iter()
            .filter_map(|version| version.service.clone());
        let mut of_versions: Vec<Service> = of_versions.collect();
        of_versions.dedup();
        let is_bare = |version: &&Version| version.pods().iter().any(crate::preflight::is_bare);
        let hosts = vs.hosts();
        let hosts: BTreeSet<_> = hosts.iter().filter_map(Host::service).collect();
        if hosts.is_empty() || !versions.iter().any(is_bare) {
            return of_versions;
        }
        let is = |service: &Service, (name, namespace): (&str, &str)| {
            let metadata = &service.metadata;
            metadata.name.as_deref() == Some(name)
                && metadata.namespace.as_deref() == Some(namespace)
        };
        let found = hosts.into_iter().map(async |host| {
            match of_versions.iter().find(|service| is(service, host)) {
                Some(known) => Some(known.clone()),
                None => cluster.service(host.1, host.0).await.ok().flatten(),
            }
        });
        let found: Vec<_> = join_all(found).await.into_iter().flatten().collect();
        match found.is_empty() {
            true => of_versions,
            false => found,
        }
    }

    /// The Gateways that these Services, or their namespaces, name as waypoints, as far as that can be seen.
    async fn waypoints(
        &mut self,
        cluster: &Cluster,
        asked: &[Service],
        namespaces: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> BTreeMap<String, Option<Value>> {
        // Without bare pods nobody read the labels of a namespace, and nobody needs a waypoint.
        let asked = asked.iter().filter(|_| !namespaces.is_empty());
        let named: BTreeSet<_> = asked
            .filter_map(|service| waypoint_of(service, namespaces))
            .collect();
        let read = named.iter().map(async |(namespace, name)| {
            let found = cluster.waypoint(namespace, name).await;
            (namespace, format!("{namespace}/{name}"), found)
        });
        let mut waypoints = BTreeMap::new();
        for (namespace, name, found) in join_all(read).await {
            match found {
                Ok(found) => {
                    waypoints.insert(name, found);
                }
                // A server without this kind has waypoints of another make.
                Err(error) if error.kind == ErrorKind::Unserved => {}
                Err(error) => self.keep(Source::Waypoints, namespace, Err::<(), _>(error)),
            }
        }
        waypoints
    }

    async fn namespaces(
        &self,
        cluster: &Cluster,
        versions: [&Version; 2],
    ) -> Vec<(String, Result<BTreeMap<String, String>, CallError>)> {
        let bare: BTreeSet<_> = versions
            .into_iter()
            .filter(|version| version.pods().iter().any(crate::preflight::is_bare))
            .map(|version| version.namespace().to_owned())
            .collect();
        let asked = bare.into_iter().map(async |namespace| {
            let labels = cluster.namespace_labels(&namespace).await;
            (namespace, labels)
        });
        join_all(asked).await
    }
}

/// A version, and what would make its pods where there is none.
async fn with_workload(cluster: &Cluster, mut version: Version) -> Version {
    let is_empty = version.pods.as_ref().is_some_and(Vec::is_empty) && !version.lacks_subset();
    if let Some(labels) = version.selector().filter(|_| is_empty) {
        version.empty = cluster.empty_workload(version.namespace(), &labels).await;
    }
    version
}

/// Every subset of these hosts that a route in `namespace` can mean, those that count for most callers first.
pub fn subsets_meant<'h>(
    rules: &[Value],
    root: &str,
    namespace: &str,
    hosts: impl IntoIterator<Item = &'h Host>,
) -> Vec<Subset> {
    let of_host = |host: &'h Host| {
        let rules = meant(rules, root, namespace, host).into_iter();
        let subsets = rules.flat_map(Subset::of_rule);
        // A rule for a wildcard defines them for each of its hosts.
        subsets.map(|subset| Subset {
            host: host.clone(),
            ..subset
        })
    };
    hosts.into_iter().flat_map(of_host).collect()
}

/// What the ServiceEntries say of a host, if it is one of those without a Service.
fn external(
    entries: &VisibleScope<ServiceEntry>,
    missing: &[&Host],
    (host, home): (&Host, &str),
) -> ExternalHost {
    if !missing.contains(&host) {
        return ExternalHost::NotRead;
    }
    let mut known = entries.found.iter().filter(|entry| entry.has(host));
    let first = known.clone().next();
    match known.find(|entry| entry.is_seen_in(home)).or(first) {
        Some(entry) if entry.is_seen_in(home) => ExternalHost::Entry(entry.clone()),
        Some(entry) => ExternalHost::Hidden(entry.clone()),
        None if entries.elsewhere.is_none() => ExternalHost::Nowhere,
        None => ExternalHost::NotRead,
    }
}
