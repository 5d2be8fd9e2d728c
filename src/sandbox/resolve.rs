//! From objects to routes: what a mesh makes of VirtualServices, DestinationRules, Services and Pods.

use std::collections::BTreeMap;

use serde_json::Value;

use super::api::kinds::ResourceKind;
use super::api::selector::ObjectSelector;
use super::api::store::Store;
use super::traffic::{Backend, MeshRoute, Pod, Routing, Service, Workload};

/// The port on which a sidecar shows its metrics.
const METRICS_PORT: u16 = 15020;

/// The container whose restart resets the counters of a pod.
const PROXY: &str = "istio-proxy";

/// Resolves the routes of these hosts, and lists the pods that can be scraped.
pub(crate) fn routing<'a>(store: &Store, hosts: impl Iterator<Item = &'a str>) -> Routing {
    let resolver = Resolver { store };
    let hosts: Vec<&str> = hosts.collect();
    Routing {
        tcp: hosts
            .iter()
            .map(|host| ((*host).to_owned(), resolver.connections(host)))
            .collect(),
        hosts: hosts
            .iter()
            .map(|host| ((*host).to_owned(), resolver.routes(host)))
            .collect(),
        pods: resolver
            .all("pods")
            .filter_map(|pod| Some((scraped(pod)?, proxy_restarts(pod))))
            .collect(),
    }
}

/// A short name is one of the namespace it is used in; a name with a dot is taken as it is.
fn full_name(host: &str, namespace: &str) -> String {
    if host.contains('.') || host == "*" {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.cluster.local")
    }
}

struct Resolver<'a> {
    store: &'a Store,
}

impl<'a> Resolver<'a> {
    fn all(&self, plural: &str) -> impl Iterator<Item = &'a Value> {
        static EVERY: std::sync::LazyLock<ObjectSelector> =
            std::sync::LazyLock::new(ObjectSelector::default);
        let kind = ResourceKind::by_plural(plural);
        let store = self.store;
        kind.into_iter()
            .flat_map(move |kind| store.list(kind, None, &EVERY))
    }

    /// The VirtualService that answers for a host.
    fn of_host(&self, host: &str) -> Option<&'a Value> {
        self.all("virtualservices").find(|service| {
            let hosts = service["spec"]["hosts"].as_array();
            hosts.is_some_and(|hosts| {
                hosts
                    .iter()
                    .filter_map(Value::as_str)
                    .any(|is| full_name(is, namespace(service)) == host)
            })
        })
    }

    /// The ways of connections. Ports and names of servers are not modelled: the first way takes all.
    fn connections(&self, host: &str) -> Vec<MeshRoute> {
        let Some(service) = self.of_host(host) else {
            return Vec::new();
        };
        let lists = ["tls", "tcp"].map(|kind| service["spec"][kind].as_array());
        let routes = lists.into_iter().flatten().flatten();
        routes
            .map(|route| MeshRoute {
                catch_all: true,
                ..self.route(route, namespace(service))
            })
            .collect()
    }

    fn routes(&self, host: &str) -> Vec<MeshRoute> {
        let Some(service) = self.of_host(host) else {
            let backends = self.backends(host, "", None, 1.0);
            return vec![MeshRoute {
                name: String::new(),
                catch_all: true,
                backends,
                mirrors: Vec::new(),
            }];
        };
        let mut routes = Vec::new();
        for route in http(service) {
            let delegate = &route["delegate"];
            let Some(name) = delegate["name"].as_str() else {
                routes.push(self.route(route, namespace(service)));
                continue;
            };
            let place = delegate["namespace"]
                .as_str()
                .unwrap_or_else(|| namespace(service));
            let delegate = self
                .all("virtualservices")
                .find(|other| namespace(other) == place && other["metadata"]["name"] == name);
            for below in delegate.into_iter().flat_map(http) {
                let mut below = self.route(below, place);
                below.catch_all &= has_no_match(route);
                routes.push(below);
            }
        }
        routes
    }

    fn route(&self, route: &Value, namespace: &str) -> MeshRoute {
        let destinations = route["route"].as_array().map_or(&[][..], Vec::as_slice);
        let backends = destinations
            .iter()
            .flat_map(|destination| {
                // A lone destination takes everything; beside others a missing weight is 0.
                let weight = match destinations {
                    [_] => 1.0,
                    _ => destination["weight"].as_f64().unwrap_or(0.0),
                };
                let destination = &destination["destination"];
                let host = destination["host"].as_str().unwrap_or_default();
                self.backends(host, namespace, destination["subset"].as_str(), weight)
            })
            .collect();
        MeshRoute {
            name: route["name"].as_str().unwrap_or_default().to_owned(),
            catch_all: has_no_match(route),
            backends,
            mirrors: self.mirrors(route, namespace),
        }
    }

    /// Where copies of a route's requests go: `mirror`, all of them unless `mirrorPercentage` says less,
    /// and `mirrors`.
    fn mirrors(&self, route: &Value, namespace: &str) -> Vec<Backend> {
        let share = |percentage: &Value| percentage["value"].as_f64().unwrap_or(100.0) / 100.0;
        let one = (&route["mirror"], share(&route["mirrorPercentage"]));
        let several = route["mirrors"].as_array();
        let several = several.into_iter().flatten();
        let several = several.map(|mirror| (&mirror["destination"], share(&mirror["percentage"])));
        std::iter::once(one)
            .chain(several)
            .filter_map(|(to, share)| {
                let subset = to["subset"].as_str();
                Some(self.backends(to["host"].as_str()?, namespace, subset, share))
            })
            .flatten()
            .collect()
    }

    /// One backend for each workload behind a destination, or one that says what is missing.
    fn backends(&self, host: &str, place: &str, subset: Option<&str>, weight: f64) -> Vec<Backend> {
        let host = full_name(host, place);
        let (name, place) = split_host(&host);
        let service = Service {
            host: host.clone(),
            name: name.to_owned(),
            namespace: place.to_owned(),
        };
        let nowhere = |missing| {
            vec![Backend {
                weight,
                service: service.clone(),
                missing,
                ..Backend::default()
            }]
        };
        let found = self
            .all("services")
            .find(|service| namespace(service) == place && service["metadata"]["name"] == name);
        let mut labels = found
            .and_then(|service| service["spec"]["selector"].as_object().cloned())
            .unwrap_or_default();
        if labels.is_empty() {
            return nowhere(true);
        }
        if let Some(subset) = subset {
            match self.subset(&host, subset) {
                Some(more) => labels.extend(more),
                None => return nowhere(true),
            }
        }
        let selector = ObjectSelector::of_labels(&labels);
        let mut groups: BTreeMap<Workload, Vec<Pod>> = BTreeMap::new();
        for pod in self.all("pods") {
            if namespace(pod) == place && selector.matches(pod) {
                let ready = groups.entry(workload(pod)).or_default();
                ready.extend(scraped(pod).filter(|_| is_ready(pod)));
            }
        }
        let ready: usize = groups.values().map(Vec::len).sum();
        if ready == 0 {
            return nowhere(false);
        }
        groups
            .into_iter()
            .filter(|(_, pods)| !pods.is_empty())
            .map(|(workload, pods)| Backend {
                weight: weight * pods.len() as f64 / ready as f64,
                service: service.clone(),
                workload: Some(workload),
                ready: pods,
                missing: false,
            })
            .collect()
    }

    fn subset(&self, host: &str, subset: &str) -> Option<serde_json::Map<String, Value>> {
        self.all("destinationrules")
            .filter(|rule| {
                let is = rule["spec"]["host"].as_str().unwrap_or_default();
                full_name(is, namespace(rule)) == host
            })
            .filter_map(|rule| rule["spec"]["subsets"].as_array())
            .flatten()
            .find(|is| is["name"] == subset)
            .map(|is| is["labels"].as_object().cloned().unwrap_or_default())
    }
}

fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn http(service: &Value) -> &[Value] {
    service["spec"]["http"]
        .as_array()
        .map_or(&[], Vec::as_slice)
}

fn has_no_match(route: &Value) -> bool {
    route["match"].as_array().is_none_or(Vec::is_empty)
}

fn split_host(host: &str) -> (&str, &str) {
    let mut parts = host.splitn(3, '.');
    let name = parts.next().unwrap_or_default();
    (name, parts.next().unwrap_or_default())
}

/// Whether a pod takes requests.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions.is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        })
}

fn scraped(pod: &Value) -> Option<Pod> {
    let address = pod["status"]["podIP"].as_str()?;
    Some(Pod {
        name: pod["metadata"]["name"].as_str()?.to_owned(),
        namespace: namespace(pod).to_owned(),
        instance: format!("{address}:{METRICS_PORT}"),
    })
}

fn proxy_restarts(pod: &Value) -> u64 {
    ["containerStatuses", "initContainerStatuses"]
        .iter()
        .filter_map(|list| pod["status"][list].as_array())
        .flatten()
        .find(|container| container["name"] == PROXY)
        .and_then(|container| container["restartCount"].as_u64())
        .unwrap_or(0)
}

/// The workload as a sidecar names it: the Deployment behind the ReplicaSet that owns the pod.
fn workload(pod: &Value) -> Workload {
    let labels = &pod["metadata"]["labels"];
    let label = |name: &str| labels[name].as_str().filter(|label| !label.is_empty());
    let owner = pod["metadata"]["ownerReferences"][0]["name"]
        .as_str()
        .or_else(|| pod["metadata"]["name"].as_str())
        .unwrap_or_default();
    let name = label("pod-template-hash")
        .and_then(|hash| owner.strip_suffix(hash)?.strip_suffix('-'))
        .unwrap_or(owner);
    let revision = [
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ]
    .into_iter()
    .find_map(label);
    Workload {
        name: name.to_owned(),
        namespace: namespace(pod).to_owned(),
        app: label("app").unwrap_or("unknown").to_owned(),
        version: label("version").unwrap_or("unknown").to_owned(),
        revision: revision.unwrap_or("latest").to_owned(),
    }
}
