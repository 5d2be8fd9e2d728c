//! Where requests go: the data plane's view, already resolved to pods.

use std::collections::BTreeMap;

/// The routes of every host, and the pods that are there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// By the host that callers ask for.
    pub hosts: BTreeMap<String, Vec<MeshRoute>>,
    /// The same for connections: TLS routes, then TCP routes.
    pub tcp: BTreeMap<String, Vec<MeshRoute>>,
    /// Every pod there is, with the restarts of its proxy; counters of a pod that restarted begin anew.
    pub pods: BTreeMap<Pod, u64>,
}

impl Routing {
    /// One host whose requests are split over versions: label, weight, ready pods.
    ///
    /// For a model without objects: the workloads are called `NAME-VERSION` after the host's first part.
    pub fn split(host: &str, versions: &[(&str, f64, usize)]) -> Self {
        let mut parts = host.splitn(3, '.').map(str::to_owned);
        let name = parts.next().unwrap_or_default();
        let namespace = parts.next().unwrap_or_default();
        let mut pods = BTreeMap::new();
        let mut backends = Vec::new();
        for (version, weight, ready) in versions {
            let workload = format!("{name}-{version}");
            let ready: Vec<Pod> = (0..*ready)
                .map(|i| Pod {
                    name: format!("{workload}-{i}"),
                    namespace: namespace.clone(),
                    instance: format!("{workload}-{i}:15020"),
                })
                .collect();
            pods.extend(ready.iter().map(|pod| (pod.clone(), 0)));
            backends.push(Backend {
                weight: *weight,
                service: Service {
                    host: host.to_owned(),
                    name: name.clone(),
                    namespace: namespace.clone(),
                },
                workload: Some(Workload {
                    name: workload,
                    namespace: namespace.clone(),
                    app: name.clone(),
                    version: (*version).to_owned(),
                    revision: (*version).to_owned(),
                }),
                ready,
                missing: false,
            });
        }
        let route = MeshRoute {
            name: String::new(),
            catch_all: true,
            backends,
            mirrors: Vec::new(),
        };
        Self {
            hosts: BTreeMap::from([(host.to_owned(), vec![route])]),
            tcp: BTreeMap::new(),
            pods,
        }
    }
}

/// One route of a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshRoute {
    /// The route's name, if it has one.
    pub name: String,
    /// Whether it takes whatever reaches it, having no match.
    pub catch_all: bool,
    /// Where it leads.
    pub backends: Vec<Backend>,
    /// Where copies of requests go; the weight of each is the share that is copied, 0 to 1.
    pub mirrors: Vec<Backend>,
}

/// One destination of a route, resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backend {
    /// Its share of the route, relative to the others.
    pub weight: f64,
    /// The service it belongs to.
    pub service: Service,
    /// What runs there; `None` where nothing is found.
    pub workload: Option<Workload>,
    /// The pods that take requests.
    pub ready: Vec<Pod>,
    /// Whether the mesh has no such destination, as with an unknown subset.
    pub missing: bool,
}

/// A service as the metrics name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// The full name, `reviews.shop.svc.cluster.local`.
    pub host: String,
    /// The name alone.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// A workload as the metrics name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// The Deployment's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The pods' label `app`.
    pub app: String,
    /// The pods' label `version`.
    pub version: String,
    /// Istio's canonical revision.
    pub revision: String,
}

/// A pod that takes requests and reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Where it is scraped, `10.244.1.2:15020`.
    pub instance: String,
}
