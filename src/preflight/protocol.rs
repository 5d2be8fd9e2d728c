//! What Istio takes a Service's port for: only of HTTP and gRPC does it count requests.

use k8s_openapi::api::core::v1::{Service, ServicePort};

use super::{Facts, Version};
use crate::istio::RouteKind;
use crate::plan::Finding;

/// What Istio makes of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// Requests are routed and counted one by one.
    Requests,
    /// Only bytes and connections are seen.
    Bytes(&'static str),
    /// It looks at the first bytes and guesses.
    Guessed,
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let [stable, canary] = facts.versions();
    let mut missing: Vec<_> = [stable, canary].into_iter().filter_map(no_port).collect();
    missing.dedup();
    // Connections are what TCP and TLS routes are about.
    if !missing.is_empty() || !facts.kinds.contains(&RouteKind::Http) {
        return missing;
    }
    let mut findings = of(stable);
    findings.extend(unnamed_port(stable, canary));
    if canary.destination.host != stable.destination.host {
        findings.extend(of(canary));
    }
    findings
}

/// Whether both versions speak gRPC, as far as the names of their ports tell: of the port that the route names, or
/// of all that requests can come to. `kubernetes.io/h2c` and `grpc-web` are no proof.
pub(crate) fn speaks_grpc(facts: &Facts) -> bool {
    let says_grpc = |port: &ServicePort| {
        let name = port.app_protocol.as_deref().or(port.name.as_deref());
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let is_prefixed = port.app_protocol.is_none() && name.starts_with("grpc-");
        name == "grpc" || is_prefixed && !name.starts_with("grpc-web")
    };
    facts.versions().iter().all(|version| {
        let service = version.service.iter();
        let ports = service.flat_map(ports);
        let mut ports = ports.map(|(_, port)| port).filter(|port| {
            let is_meant = is_meant(version, port);
            is_meant && matches!(protocol(port), Protocol::Requests | Protocol::Guessed)
        });
        let first = ports.next();
        first.is_some_and(says_grpc) && ports.all(says_grpc)
    })
}

/// Whether requests to a version come to a port of its Service.
fn is_meant(version: &Version, port: &ServicePort) -> bool {
    let named = version.destination.port;
    named.is_none_or(|number| i64::try_from(number) == Ok(i64::from(port.port)))
}

/// A port that the route names and the Service does not have.
fn no_port(version: &Version) -> Option<Finding> {
    let number = version.destination.port?;
    let service = version.service.as_ref()?;
    let known: Vec<_> = ports(service).map(|(_, port)| port.port).collect();
    let is_there = known
        .iter()
        .any(|port| i64::try_from(number) == Ok(i64::from(*port)));
    if is_there || known.is_empty() {
        return None;
    }
    let known: Vec<_> = known.iter().map(ToString::to_string).collect();
    Some(Finding::refuse(
        format!(
            "Service {} has no port {number} (spec.http[].route[].destination.port), only {}",
            version.service_name(),
            known.join(", ")
        ),
        "Istio does not know it, so its requests fail (503)",
        "the Service's port, not the pod's, in destination.port.number",
    ))
}

/// A canary with a Service of several ports, none of which the route names: Istio then takes the port that was
/// asked for, which is one of stable's.
fn unnamed_port(stable: &Version, canary: &Version) -> Option<Finding> {
    let numbers = |version: &Version| -> Vec<i32> {
        let service = version.service.iter();
        let ports = service.flat_map(ports);
        ports.map(|(_, port)| port.port).collect()
    };
    let (asked, known) = (numbers(stable), numbers(canary));
    let lacking = asked.iter().find(|port| !known.contains(port))?;
    if canary.destination.port.is_some() || known.len() < 2 {
        return None;
    }
    let known: Vec<_> = known.iter().map(ToString::to_string).collect();
    Some(Finding::warn(
        format!(
            "Service {} of canary {} has ports {}, of which the route names none (spec.http[].route[].destination.port)",
            canary.service_name(),
            canary.destination,
            known.join(", ")
        ),
        format!(
            "Istio takes the port that was asked for, and requests to {lacking} fail there (503)"
        ),
        "destination.port.number with one of them",
    ))
}

fn of(version: &Version) -> Vec<Finding> {
    let Some(service) = &version.service else {
        return Vec::new();
    };
    let ports: Vec<_> = ports(service)
        .filter(|(_, port)| is_meant(version, port))
        .collect();
    // A Service of several ports may well have others for something else.
    let counted = |(_, port): &(usize, &ServicePort)| protocol(port) == Protocol::Requests;
    if ports.iter().any(counted) {
        return Vec::new();
    }
    ports
        .into_iter()
        .filter_map(|(index, port)| told(version, index, port))
        .collect()
}

fn ports(service: &Service) -> impl Iterator<Item = (usize, &ServicePort)> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    ports.into_iter().flatten().enumerate()
}

fn protocol(port: &ServicePort) -> Protocol {
    if port.protocol.as_deref() == Some("UDP") {
        return Protocol::Bytes("UDP");
    }
    match (port.app_protocol.as_deref(), port.name.as_deref()) {
        (Some("kubernetes.io/h2c" | "kubernetes.io/ws"), _) => Protocol::Requests,
        (Some("kubernetes.io/wss"), _) => Protocol::Bytes("TLS"),
        (Some(name), _) => by_name(name),
        // `grpc-web` is a name of its own, which the part before the hyphen stands for as well.
        (None, Some(name)) => by_name(name.split('-').next().unwrap_or_default()),
        (None, None) => Protocol::Guessed,
    }
}

fn by_name(name: &str) -> Protocol {
    match name.to_ascii_lowercase().as_str() {
        "http" | "http2" | "http_proxy" | "grpc" | "grpc-web" => Protocol::Requests,
        "tcp" => Protocol::Bytes("TCP"),
        "https" | "tls" => Protocol::Bytes("TLS"),
        "udp" => Protocol::Bytes("UDP"),
        "mongo" => Protocol::Bytes("MongoDB"),
        "mysql" => Protocol::Bytes("MySQL"),
        "redis" => Protocol::Bytes("Redis"),
        _ => Protocol::Guessed,
    }
}

fn told(version: &Version, index: usize, port: &ServicePort) -> Option<Finding> {
    let (number, service) = (port.port, version.service_name());
    let (field, called) = match (&port.app_protocol, &port.name) {
        (Some(protocol), _) => ("appProtocol", protocol.as_str()),
        (None, Some(name)) => ("name", name.as_str()),
        (None, None) => ("name", ""),
    };
    let (what, why) = match protocol(port) {
        Protocol::Requests => return None,
        Protocol::Bytes(taken) => (
            format!(
                "port {number} of Service {service} is {called:?} (spec.ports[{index}].{field}), which Istio treats as {taken}"
            ),
            "no HTTP route applies to it, and no requests are counted",
        ),
        Protocol::Guessed if called.is_empty() => (
            format!(
                "port {number} of Service {service} has neither name nor appProtocol (spec.ports[{index}])"
            ),
            "Istio detects the protocol from the first bytes; where it detects TCP, no requests are counted",
        ),
        Protocol::Guessed => (
            format!(
                "port {number} of Service {service} is {called:?} (spec.ports[{index}].{field}), which names no protocol"
            ),
            "Istio detects the protocol from the first bytes; where it detects TCP, no requests are counted",
        ),
    };
    let (name, namespace) = version.destination.host.service()?;
    Some(Finding::warn(
        what,
        why,
        format!(
            "kubectl patch service {name} -n {namespace} --type json -p '[{{\"op\":\"add\",\"path\":\"/spec/ports/{index}/appProtocol\",\"value\":\"http\"}}]'"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::test_facts::{facts, told};
    use serde_json::{Value, json};

    fn found(ports: &Value) -> Vec<String> {
        let mut facts = facts();
        let spec = facts.stable.service.as_mut().unwrap().spec.as_mut();
        spec.unwrap().ports = Some(serde_json::from_value(ports.clone()).unwrap());
        told(check(&facts))
    }

    const FIX: &str = "(try: kubectl patch service reviews -n shop --type json -p '[{\"op\":\"add\",\"path\":\"/spec/ports/0/appProtocol\",\"value\":\"http\"}]')";

    #[test]
    fn only_a_port_that_says_so_speaks_grpc() {
        for (ports, expected) in [
            (json!([{"port": 80, "name": "grpc"}]), true),
            (json!([{"port": 80, "name": "grpc-api"}]), true),
            (
                json!([{"port": 80, "name": "x", "appProtocol": "grpc"}]),
                true,
            ),
            (json!([{"port": 80, "name": "grpc-web"}]), false),
            (
                json!([{"port": 80, "name": "grpc", "appProtocol": "kubernetes.io/h2c"}]),
                false,
            ),
            (json!([{"port": 80, "name": "http"}]), false),
            (
                json!([{"port": 80, "name": "grpc"}, {"port": 81, "name": "http-admin"}]),
                false,
            ),
            (
                json!([{"port": 80, "name": "grpc"}, {"port": 81, "name": "tcp-db"}]),
                true,
            ),
            (json!([{"port": 80, "name": "web"}]), false),
        ] {
            let mut facts = facts();
            for version in [&mut facts.stable, &mut facts.canary] {
                let spec = json!({"spec": {"ports": ports}});
                version.service = serde_json::from_value(spec).unwrap();
            }
            assert_eq!(speaks_grpc(&facts), expected, "{ports}");
        }
    }

    #[test]
    fn ports_whose_requests_nobody_counts_are_named() {
        let bytes = "no HTTP route applies to it, and no requests are counted";
        let guess = "Istio detects the protocol from the first bytes; where it detects TCP, no requests are counted";
        for (port, what, why) in [
            (
                json!({"port": 80, "name": "tcp-web"}),
                "port 80 of Service shop/reviews is \"tcp-web\" (spec.ports[0].name), which Istio treats as TCP",
                bytes,
            ),
            (
                json!({"port": 443, "name": "https"}),
                "port 443 of Service shop/reviews is \"https\" (spec.ports[0].name), which Istio treats as TLS",
                bytes,
            ),
            (
                json!({"port": 80, "name": "http", "appProtocol": "tcp"}),
                "port 80 of Service shop/reviews is \"tcp\" (spec.ports[0].appProtocol), which Istio treats as TCP",
                bytes,
            ),
            (
                json!({"port": 80}),
                "port 80 of Service shop/reviews has neither name nor appProtocol (spec.ports[0])",
                guess,
            ),
            (
                json!({"port": 80, "name": "web"}),
                "port 80 of Service shop/reviews is \"web\" (spec.ports[0].name), which names no protocol",
                guess,
            ),
        ] {
            assert_eq!(
                found(&json!([port])),
                [format!("warn: {what}: {why} {FIX}")]
            );
        }
    }

    #[test]
    fn http_and_grpc_are_counted_and_other_ports_may_stand_beside_them() {
        for name in ["http", "http-web", "http2", "grpc", "grpc-web", "HTTP"] {
            assert!(
                found(&json!([{"port": 80, "name": name}])).is_empty(),
                "{name}"
            );
        }
        assert!(
            found(&json!([{"port": 80, "name": "web", "appProtocol": "kubernetes.io/h2c"}]))
                .is_empty()
        );
        assert!(
            found(&json!([{"port": 9000, "name": "tcp-admin"}, {"port": 80, "name": "http"}]))
                .is_empty()
        );
    }

    #[test]
    fn the_port_that_the_route_names_is_the_one_that_counts() {
        let mut facts = facts();
        facts.stable.destination.port = Some(9000);
        let spec = facts.stable.service.as_mut().unwrap().spec.as_mut();
        spec.unwrap().ports = Some(
            serde_json::from_value(
                json!([{"port": 80, "name": "http"}, {"port": 9000, "name": "tcp"}]),
            )
            .unwrap(),
        );
        assert_eq!(check(&facts).len(), 1);
        facts.kinds = vec![RouteKind::Tcp];
        assert!(check(&facts).is_empty(), "a tcp route counts connections");
    }
}
