//! Scenes that are ready to play in.

use serde_json::{Value, json};

use super::setup::Setup;
use super::workloads::Deployment;

/// The host at which the callers of the [`shop`] ask.
pub const REVIEWS: &str = "reviews.shop.svc.cluster.local";

/// A shop whose service `reviews` has two versions: all traffic on v1, v2 ready beside it.
///
/// Namespace `shop` with the Service, DestinationRule (subsets `v1` and `v2`), Gateway and
/// VirtualService `reviews` (route `primary`), and the Deployments `reviews-v1` (3 pods) and
/// `reviews-v2` (2 pods). There are 200 requests a second, none of which fails.
pub fn shop(stage: &mut Setup<'_>) {
    stage.apply(json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}},
        "status": {"phase": "Active"},
    }));
    stage.apply(service("reviews", "reviews", "10.96.0.20"));
    for (version, replicas) in [("v1", 3), ("v2", 2)] {
        let name = format!("reviews-{version}");
        Deployment {
            namespace: "shop",
            name: &name,
            app: "reviews",
            version,
            replicas,
        }
        .put_on(stage);
    }
    stage.apply(istio("Gateway", "shop", &json!({
        "selector": {"istio": "ingressgateway"},
        "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["shop.example.com"]}],
    })));
    stage.apply(istio(
        "DestinationRule",
        "reviews",
        &json!({
            "host": "reviews",
            "subsets": [
                {"name": "v1", "labels": {"version": "v1"}},
                {"name": "v2", "labels": {"version": "v2"}},
            ],
        }),
    ));
    stage.apply(istio(
        "VirtualService",
        "reviews",
        &json!({
            "hosts": ["reviews", "shop.example.com"],
            "gateways": ["mesh", "shop"],
            "http": [{
                "name": "primary",
                "route": [
                    {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100},
                    {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
                ],
                "timeout": "5s",
            }],
        }),
    ));
    stage.traffic().demand(REVIEWS).per_second(200.0);
}

fn service(name: &str, app: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "shop", "name": name, "labels": {"app": app}},
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "selector": {"app": app},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    })
}

fn istio(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"namespace": "shop", "name": name}, "spec": spec,
    })
}
