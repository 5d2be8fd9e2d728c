//! Connections to the pods behind a Service, as `kubectl port-forward service/NAME` makes them.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Pod, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::Portforwarder;
use tokio::io::{copy, split};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::call::{CallError, ErrorKind, bounded};
use super::virtual_services::Cluster;
use crate::foreign_text::{foreign_text, root_cause};
use crate::metrics::{ForwardError, ForwardErrorKind, ForwardFailed, PortForward, ServiceAddress};

/// How long the client that asked for a connection may take to make it.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(5);
/// How long the pod's side may take to say why it broke.
const SAID_WITHIN: Duration = Duration::from_millis(100);

impl PortForward for Cluster {
    /// RBAC: `get` on `services`, `list` on `pods`, and `pods/portforward`: its request is a GET, which the API
    /// server allows with `get`, and since Kubernetes 1.35 with `create` as well.
    fn open(
        &self,
        service: ServiceAddress,
        failed: ForwardFailed,
    ) -> BoxFuture<'_, Result<SocketAddr, ForwardError>> {
        async move {
            let (pod, port) = self.forwarded_pod(&service).await?;
            let namespace = &service.namespace;
            let attempted = format!("port-forward to port {port} of pod {namespace}/{pod}");
            let pods: Api<Pod> = Api::namespaced(self.client().clone(), namespace);
            let ports = [port];
            let forward = pods.portforward(&pod, &ports);
            let forwarder = bounded(&attempted, self.deadline, forward).await;
            let forwarder = forwarder.map_err(not_opened)?;
            // Only the one who asked comes in: whoever else on this machine finds the port is turned away, and
            // for as long as the connection lasts nobody else can listen there.
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.map_err(|error| unreachable(root_cause(&error)))?;
            let address = listener.local_addr();
            let address = address.map_err(|error| unreachable(root_cause(&error)))?;
            tokio::spawn(carry(listener, forwarder, port, failed));
            Ok(address)
        }
        .boxed()
    }
}

/// Carries the first connection to the pod, until either side ends.
async fn carry(
    listener: TcpListener,
    mut forwarder: Portforwarder,
    port: u16,
    failed: ForwardFailed,
) {
    let accepted = timeout(ACCEPTED_WITHIN, listener.accept()).await;
    let stream = forwarder.take_stream(port);
    let said = forwarder.take_error(port);
    if let (Ok(Ok((mut here, _))), Some(there), Some(said)) = (accepted, stream, said) {
        let (mut from_here, mut to_here) = here.split();
        let (mut from_there, mut to_there) = split(there);
        let mut said = std::pin::pin!(async {
            match said.await {
                Some(why) => failed(foreign_text(&why)),
                // It ended without a word, and what it sent before is still on its way.
                None => pending().await,
            }
        });
        let others = async {
            loop {
                drop(listener.accept().await);
            }
        };
        tokio::select! {
            biased;
            () = &mut said => {}
            // The client closes its connection as a whole.
            _ = copy(&mut from_here, &mut to_there) => {}
            _ = copy(&mut from_there, &mut to_here) => {
                // It may say why it ends after it has ended, and the client is not to know before.
                let _ = timeout(SAID_WITHIN, said).await;
            }
            () = others => {}
        }
    }
    forwarder.abort();
}

impl Cluster {
    /// A ready pod behind the Service, and the number of its port.
    async fn forwarded_pod(&self, address: &ServiceAddress) -> Result<(String, u16), ForwardError> {
        let ServiceAddress {
            namespace,
            name,
            port,
            ..
        } = address;
        let service = self.service(namespace, name).await.map_err(not_opened)?;
        let missing = |why: String| ForwardError {
            kind: ForwardErrorKind::Missing,
            why,
        };
        let spec = service.and_then(|service| service.spec);
        let spec =
            spec.ok_or_else(|| missing(format!("service {namespace}/{name} does not exist")))?;
        let ports = spec.ports.unwrap_or_default();
        let is_meant = |one: &&ServicePort| {
            one.port.to_string() == *port || one.name.as_deref() == Some(port.as_str())
        };
        let Some(wanted) = ports.iter().find(is_meant) else {
            return Err(missing(format!(
                "service {namespace}/{name} has no port {port}"
            )));
        };
        let selector = spec.selector.filter(|selector| !selector.is_empty());
        let selector = selector.ok_or_else(|| {
            unreachable(format!("service {namespace}/{name} selects no pods itself"))
        })?;
        let pods = self.pod_list(namespace, &selector).await;
        let pods = pods.map_err(not_opened)?;
        let mut ready: Vec<_> = pods.iter().filter(|pod| is_ready(pod)).collect();
        ready.sort_by_key(|pod| pod.metadata.name.clone());
        let Some(pod) = ready.first() else {
            return Err(unreachable(format!(
                "no pod of service {namespace}/{name} is ready"
            )));
        };
        let pod_name = pod.metadata.name.clone().unwrap_or_default();
        match target_port(wanted, pod) {
            Some(number) => Ok((pod_name, number)),
            None => Err(missing(format!(
                "pod {namespace}/{pod_name} has no port for port {port} of service {name}"
            ))),
        }
    }
}

/// The number in the pod of a Service's port.
fn target_port(port: &ServicePort, pod: &Pod) -> Option<u16> {
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => match name.parse() {
            Ok(number) => number,
            Err(_) => {
                let spec = pod.spec.as_ref()?;
                let init = spec.init_containers.iter().flatten();
                let mut ports = spec
                    .containers
                    .iter()
                    .chain(init)
                    .flat_map(|one| one.ports.iter().flatten());
                let named = ports.find(|one| one.name.as_deref() == Some(name.as_str()))?;
                named.container_port
            }
        },
    };
    u16::try_from(number).ok()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| {
        let conditions = status.conditions.as_ref()?;
        conditions.iter().find(|one| one.type_ == "Ready")
    });
    pod.metadata.deletion_timestamp.is_none() && conditions.is_some_and(|one| one.status == "True")
}

fn unreachable(why: String) -> ForwardError {
    ForwardError {
        kind: ForwardErrorKind::Unreachable,
        why,
    }
}

fn not_opened(error: CallError) -> ForwardError {
    ForwardError {
        kind: match error.kind {
            ErrorKind::Forbidden => ForwardErrorKind::Forbidden,
            ErrorKind::Unauthorized => ForwardErrorKind::Unauthorized,
            ErrorKind::Missing
            | ErrorKind::Unserved
            | ErrorKind::Precondition
            | ErrorKind::Expired
            | ErrorKind::Exists
            | ErrorKind::Refused
            | ErrorKind::Busy { .. }
            | ErrorKind::Unknown => ForwardErrorKind::Unreachable,
        },
        why: format!("cannot {}: {}", error.attempted, error.why),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_port_of_a_pod_is_the_services_target() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "proxy"}, {"name": "prometheus", "ports": [
                {"name": "reload", "containerPort": 8080}, {"name": "web", "containerPort": 9091}]}],
            "initContainers": [{"name": "sidecar", "ports": [{"name": "side", "containerPort": 7}]}],
        }}))
        .unwrap();
        for (port, expected) in [
            (json!({"port": 9090}), Some(9090)),
            (json!({"port": 80, "targetPort": 9090}), Some(9090)),
            (json!({"port": 80, "targetPort": "web"}), Some(9091)),
            (json!({"port": 80, "targetPort": "side"}), Some(7)),
            (json!({"port": 80, "targetPort": "other"}), None),
            (json!({"port": 80, "targetPort": 70000}), None),
        ] {
            let port = serde_json::from_value(port).unwrap();
            assert_eq!(target_port(&port, &pod), expected, "{port:?}");
        }
    }

    #[test]
    fn only_a_pod_that_is_ready_and_stays_is_connected_to() {
        let pod = |value| serde_json::from_value::<Pod>(value).unwrap();
        let status = |is: &str| json!({"conditions": [{"type": "Ready", "status": is}]});
        assert!(is_ready(&pod(json!({"status": status("True")}))));
        assert!(!is_ready(&pod(json!({"status": status("False")}))));
        assert!(!is_ready(&pod(json!({}))));
        let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": status("True")});
        assert!(!is_ready(&pod(leaving)));
    }
}
