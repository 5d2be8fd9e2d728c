//! Services that look like a Prometheus, by the names and labels that charts and operators give them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Service, ServicePort};

/// A Service that may hold the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PrometheusCandidate {
    /// As `--prometheus` takes it.
    pub address: String,
    /// What makes it look like one, such as `label app.kubernetes.io/name=prometheus`.
    pub looks: String,
}

/// Where charts put it by default, for those who may not list Services.
const WELL_KNOWN: [&str; 12] = [
    "istio-system/prometheus:9090",
    "mimir/mimir-gateway:80/prometheus",
    "mimir/mimir-nginx:80/prometheus",
    "monitoring/kube-prometheus-stack-prometheus:9090",
    "monitoring/prometheus-kube-prometheus-prometheus:9090",
    "monitoring/prometheus-k8s:9090",
    "monitoring/prometheus-server:80",
    "monitoring/prometheus:9090",
    "monitoring/thanos-query:9090",
    "monitoring/vmselect-victoria-metrics-k8s-stack:8481/select/0/prometheus",
    "monitoring/vmsingle-victoria-metrics-k8s-stack:8428",
    "prometheus/prometheus-server:80",
];

/// What is to be in the JSON of a Service that may be one.
const WORDS: [&str; 6] = [
    "prometheus",
    "thanos",
    "vmsingle",
    "vmselect",
    "victoria-metrics",
    "mimir",
];

/// The labels that say what something is.
const NAME_LABELS: [&str; 2] = ["app.kubernetes.io/name", "app"];
/// The labels that say which part of it.
const COMPONENT_LABELS: [&str; 2] = ["app.kubernetes.io/component", "component"];

/// Of a Prometheus that the operator runs: one Service for all of a namespace.
const OPERATED: &str = "operated-prometheus";

/// Something that answers PromQL.
struct Product {
    /// Values of a name label, with the components that answer; none means all.
    labels: &'static [(&'static str, &'static [&'static str])],
    /// Names of Services, alone or after a release's name.
    names: &'static [&'static str],
    /// How names of Services begin.
    starts: &'static [&'static str],
    /// Names of the port, the best first.
    ports: &'static [&'static str],
    /// Numbers of the port.
    numbers: &'static [i32],
    /// What stands before `/api/v1`.
    prefix: &'static str,
}

static PRODUCTS: [Product; 5] = [
    Product {
        labels: &[
            ("thanos-query", &[]),
            ("thanos-querier", &[]),
            ("thanos", &["query", "querier"]),
        ],
        names: &["thanos-query", "thanos-querier"],
        starts: &[],
        ports: &["http", "web"],
        numbers: &[10902, 9090, 9091],
        prefix: "",
    },
    Product {
        labels: &[("vmsingle", &[]), ("victoria-metrics-single", &[])],
        names: &["vmsingle", "victoria-metrics-single-server"],
        starts: &["vmsingle-"],
        ports: &["http"],
        numbers: &[8428, 8429],
        prefix: "",
    },
    Product {
        labels: &[
            ("vmselect", &[]),
            ("victoria-metrics-cluster", &["vmselect"]),
        ],
        names: &["vmselect"],
        starts: &["vmselect-"],
        ports: &["http"],
        numbers: &[8481],
        prefix: "/select/0/prometheus",
    },
    Product {
        labels: &[("mimir", &["gateway", "nginx", "query-frontend"])],
        names: &["mimir-gateway", "mimir-nginx", "mimir-query-frontend"],
        starts: &[],
        ports: &["http-metrics", "http"],
        numbers: &[8080, 80],
        prefix: "/prometheus",
    },
    Product {
        labels: &[("prometheus", &["", "server", "prometheus"])],
        names: &["prometheus", "prometheus-server", "prometheus-k8s"],
        starts: &[],
        ports: &["http-web", "web", "http", "https-web", "https"],
        numbers: &[9090, 9091, 80],
        prefix: "",
    },
];

/// Whether the JSON of a Service has a word without which it is no candidate.
pub(super) fn may_be_one(json: &str) -> bool {
    WORDS.iter().any(|word| json.contains(word))
}

/// The candidates at the well-known places.
pub(super) fn well_known() -> Vec<PrometheusCandidate> {
    let known = WELL_KNOWN.iter();
    known
        .map(|address| PrometheusCandidate {
            address: (*address).to_owned(),
            looks: "a well-known name".to_owned(),
        })
        .collect()
}

/// The candidates among these Services, by address. Several Services of the same pods are one.
pub(super) fn candidates(services: &[Service]) -> Vec<PrometheusCandidate> {
    let mut found: Vec<_> = services.iter().filter_map(Recognized::of).collect();
    found.sort_by(|a, b| (a.rank, &a.address).cmp(&(b.rank, &b.address)));
    let mut pods = BTreeSet::new();
    let mut instances = BTreeSet::new();
    let mut with_prometheus = BTreeSet::new();
    let mut candidates = Vec::new();
    for one in found {
        let of_same_pods =
            !one.selector.is_empty() && !pods.insert((one.namespace.clone(), one.selector.clone()));
        let is_same_store = match one.same {
            // A gateway and the query frontend behind it.
            SameStore::Mimir => !instances.insert((one.namespace.clone(), one.instance.clone())),
            // It stands for all of its namespace, which have Services of their own as a rule.
            SameStore::Operated => with_prometheus.contains(&one.namespace),
            SameStore::Prometheus => {
                with_prometheus.insert(one.namespace.clone());
                false
            }
            SameStore::Other => false,
        };
        if !of_same_pods && !is_same_store {
            candidates.push(PrometheusCandidate {
                address: one.address,
                looks: one.looks,
            });
        }
    }
    candidates.sort_by(|a, b| a.address.cmp(&b.address));
    candidates
}

/// What has a rule of its own where several Services are the same store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SameStore {
    Mimir,
    Operated,
    Prometheus,
    Other,
}

/// A Service that is one, with what tells whether another is the same.
struct Recognized {
    same: SameStore,
    /// The lower, the rather it stands for others that are the same.
    rank: usize,
    namespace: String,
    instance: String,
    selector: BTreeMap<String, String>,
    address: String,
    looks: String,
}

impl Recognized {
    fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        // Its name leads out of the cluster, and the API server does not follow it.
        if spec.type_.as_deref() == Some("ExternalName") {
            return None;
        }
        let namespace = service.metadata.namespace.as_deref()?;
        let name = service.metadata.name.as_deref()?;
        let labels = service.metadata.labels.clone().unwrap_or_default();
        let is_operated = labels.get(OPERATED).is_some_and(|value| value == "true");
        let looked = PRODUCTS.iter().enumerate().find_map(|(index, product)| {
            let looks = product.looks(name, &labels)?;
            Some((index, product, looks))
        });
        let (index, product, looks) = match looked {
            Some(looked) => looked,
            None if is_operated => {
                let index = PRODUCTS.len() - 1;
                (index, &PRODUCTS[index], format!("label {OPERATED}=true"))
            }
            None => return None,
        };
        let port = product.port(spec.ports.as_deref().unwrap_or_default())?;
        let scheme = if serves_tls(service, port) {
            "https:"
        } else {
            ""
        };
        let component = component(&labels);
        let (same, rank) = match (index, is_operated) {
            (3, _) => {
                let parts = product.labels[0].1.iter();
                let place = parts.clone().position(|part| {
                    *part == component || name.ends_with(&format!("mimir-{part}"))
                });
                (SameStore::Mimir, place.unwrap_or(parts.len()))
            }
            (_, true) => (SameStore::Operated, usize::MAX),
            (4, false) => (SameStore::Prometheus, 0),
            (_, false) => (SameStore::Other, 0),
        };
        let instance = labels.get("app.kubernetes.io/instance").cloned();
        Some(Self {
            same,
            rank,
            namespace: namespace.to_owned(),
            instance: instance.unwrap_or_default(),
            selector: spec.selector.clone().unwrap_or_default(),
            address: format!("{namespace}/{scheme}{name}:{}{}", port.port, product.prefix),
            looks,
        })
    }
}

impl Product {
    /// What makes a Service of this name and these labels look like it.
    fn looks(&self, name: &str, labels: &BTreeMap<String, String>) -> Option<String> {
        let component = component(labels);
        let by_label = NAME_LABELS.iter().find_map(|label| {
            let value = labels.get(*label)?;
            let fits = self.labels.iter().any(|(is, components)| {
                is == value && (components.is_empty() || components.contains(&component))
            });
            fits.then(|| format!("label {label}={value}"))
        });
        let by_name = || {
            let is_called = self.names.iter().any(|is| {
                name.strip_suffix(*is)
                    .is_some_and(|before| before.is_empty() || before.ends_with('-'))
            });
            let begins = self.starts.iter().any(|start| name.starts_with(*start));
            (is_called || begins).then(|| "its name".to_owned())
        };
        by_label.or_else(by_name)
    }

    fn port<'p>(&self, ports: &'p [ServicePort]) -> Option<&'p ServicePort> {
        let named = |name: &&str| {
            let mut ports = ports.iter();
            ports.find(|port| port.name.as_deref() == Some(*name))
        };
        let numbered = |number: &i32| ports.iter().find(|port| port.port == *number);
        let only = match ports {
            [only] => Some(only),
            _ => None,
        };
        let by_name = self.ports.iter().find_map(named);
        by_name
            .or_else(|| self.numbers.iter().find_map(numbered))
            .or(only)
    }
}

fn component(labels: &BTreeMap<String, String>) -> &str {
    let mut known = COMPONENT_LABELS.iter();
    let found = known.find_map(|label| labels.get(*label));
    found.map_or("", String::as_str)
}

/// Whether the port speaks TLS, as far as the Service says.
fn serves_tls(service: &Service, port: &ServicePort) -> bool {
    let named = port.name.as_deref().unwrap_or_default();
    // OpenShift gives a certificate to the Services that ask for one.
    let mut annotations = service.metadata.annotations.iter().flatten();
    let has_certificate =
        annotations.any(|(key, _)| key.ends_with(".openshift.io/serving-cert-secret-name"));
    named.starts_with("https")
        || port.app_protocol.as_deref() == Some("https")
        || matches!(port.port, 443 | 8443)
        || has_certificate
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(name: &str, labels: Value, selector: Value, ports: Value) -> Service {
        let object = json!({
            "metadata": {"namespace": "mon", "name": name, "labels": labels},
            "spec": {"selector": selector, "ports": ports},
        });
        assert!(may_be_one(&object.to_string()), "{object}");
        serde_json::from_value(object).unwrap()
    }

    fn found(services: &[Service]) -> Vec<String> {
        let found = candidates(services).into_iter();
        found
            .map(|one| format!("{} by {}", one.address, one.looks))
            .collect()
    }

    #[test]
    fn each_chart_and_operator_is_recognized_with_its_port_and_prefix() {
        let name = "app.kubernetes.io/name";
        let part = "app.kubernetes.io/component";
        for (service, expected) in [
            (
                service(
                    "prometheus",
                    json!({name: "prometheus", part: "server"}),
                    json!({}),
                    json!([{"name": "http", "port": 9090}]),
                ),
                "mon/prometheus:9090 by label app.kubernetes.io/name=prometheus",
            ),
            (
                service(
                    "prometheus-server",
                    json!({"app": "prometheus", "component": "server"}),
                    json!({}),
                    json!([{"name": "http", "port": 80}]),
                ),
                "mon/prometheus-server:80 by label app=prometheus",
            ),
            (
                service(
                    "kps-kube-prometheus-stack-prometheus",
                    json!({"app": "kube-prometheus-stack-prometheus"}),
                    json!({}),
                    json!([{"name": "reloader-web", "port": 8080}, {"name": "http-web", "port": 9090}]),
                ),
                "mon/kps-kube-prometheus-stack-prometheus:9090 by its name",
            ),
            (
                service(
                    "prometheus-operated",
                    json!({"operated-prometheus": "true"}),
                    json!({}),
                    json!([{"name": "grpc", "port": 10901}, {"name": "web", "port": 9090}]),
                ),
                "mon/prometheus-operated:9090 by label operated-prometheus=true",
            ),
            (
                service(
                    "prometheus-k8s",
                    json!({}),
                    json!({}),
                    json!([{"name": "https", "port": 9091}]),
                ),
                "mon/https:prometheus-k8s:9091 by its name",
            ),
            (
                service(
                    "query",
                    json!({name: "thanos", part: "query"}),
                    json!({}),
                    json!([{"name": "grpc", "port": 10901}, {"name": "http", "port": 9090}]),
                ),
                "mon/query:9090 by label app.kubernetes.io/name=thanos",
            ),
            (
                service(
                    "thanos-query",
                    json!({name: "thanos-query", part: "query-layer"}),
                    json!({}),
                    json!([{"port": 10902}]),
                ),
                "mon/thanos-query:10902 by label app.kubernetes.io/name=thanos-query",
            ),
            (
                service(
                    "vmsingle-shop",
                    json!({name: "vmsingle"}),
                    json!({}),
                    json!([{"name": "http", "port": 8429}]),
                ),
                "mon/vmsingle-shop:8429 by label app.kubernetes.io/name=vmsingle",
            ),
            (
                service(
                    "vm-vmselect",
                    json!({"app": "vmselect"}),
                    json!({}),
                    json!([{"name": "http", "port": 8481}]),
                ),
                "mon/vm-vmselect:8481/select/0/prometheus by label app=vmselect",
            ),
            (
                service(
                    "mimir-gateway",
                    json!({name: "mimir", part: "gateway"}),
                    json!({}),
                    json!([{"name": "http-metrics", "port": 80}]),
                ),
                "mon/mimir-gateway:80/prometheus by label app.kubernetes.io/name=mimir",
            ),
        ] {
            assert_eq!(found(&[service]), [expected]);
        }
        for address in WELL_KNOWN {
            let parsed: crate::metrics::PrometheusAddress = address.parse().unwrap();
            assert_eq!(parsed.to_string(), address);
        }
    }

    #[test]
    fn what_belongs_to_a_prometheus_without_being_one_is_left_aside() {
        let name = "app.kubernetes.io/name";
        let part = "app.kubernetes.io/component";
        let port = json!([{"name": "http", "port": 9090}]);
        let others = [
            (
                "prometheus-alertmanager",
                json!({"app": "prometheus", "component": "alertmanager"}),
            ),
            (
                "prometheus-pushgateway",
                json!({name: "prometheus-pushgateway"}),
            ),
            (
                "prometheus-node-exporter",
                json!({name: "prometheus-node-exporter"}),
            ),
            ("prometheus-operator", json!({name: "prometheus-operator"})),
            ("kube-prometheus-stack-thanos-discovery", json!({})),
            (
                "thanos-store",
                json!({name: "thanos", part: "storegateway"}),
            ),
            ("mimir-ingester", json!({name: "mimir", part: "ingester"})),
            ("victoria-metrics-agent", json!({name: "vmagent"})),
        ];
        for (name, labels) in others {
            assert_eq!(
                found(&[service(name, labels, json!({}), port.clone())]),
                [""; 0],
                "{name}"
            );
        }
        let outside = json!({
            "metadata": {"namespace": "mon", "name": "prometheus"},
            "spec": {"type": "ExternalName", "externalName": "prom.example.com", "ports": port},
        });
        assert!(candidates(&[serde_json::from_value(outside).unwrap()]).is_empty());
    }

    #[test]
    fn services_of_the_same_store_are_one_candidate() {
        let name = "app.kubernetes.io/name";
        let part = "app.kubernetes.io/component";
        let port = json!([{"name": "http", "port": 9090}]);
        let own = json!({name: "prometheus", "operator.prometheus.io/name": "kps"});
        let of_stack = [
            service(
                "prometheus-operated",
                json!({"operated-prometheus": "true"}),
                json!({name: "prometheus"}),
                port.clone(),
            ),
            service("kps-prometheus", json!({}), own.clone(), port.clone()),
            service("kps-prometheus-2-prometheus", json!({}), own, port.clone()),
        ];
        assert_eq!(
            found(&of_stack),
            ["mon/kps-prometheus-2-prometheus:9090 by its name"]
        );
        let of_mimir = ["query-frontend", "nginx"].map(|component| {
            let labels = json!({name: "mimir", part: component});
            service(
                &format!("mimir-{component}"),
                labels.clone(),
                labels,
                port.clone(),
            )
        });
        assert_eq!(
            found(&of_mimir),
            ["mon/mimir-nginx:9090/prometheus by label app.kubernetes.io/name=mimir"]
        );
    }
}
