//! Follows the pods of the cluster.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::world::{Pod, World};

type Error = Box<dyn std::error::Error + Send + Sync>;

pub(crate) async fn connect(kubeconfig: &Path) -> Result<Client, Error> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Follows the pods for ever: a watch that ends or an API server that is away
/// (a test may stop it) only means to begin again with the list.
pub(crate) async fn follow(client: Client, world: World) {
    let api = Api::<KubePod>::all(client);
    loop {
        if let Err(error) = follow_once(&api, &world).await {
            eprintln!("watching pods: {error}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn follow_once(api: &Api<KubePod>, world: &World) -> Result<(), Error> {
    let list = api.list(&ListParams::default()).await?;
    let version = list.metadata.resource_version.unwrap_or_default();
    world.replace_pods(list.items.iter().filter_map(with_address).collect());
    let params = WatchParams::default().timeout(280);
    let mut events = api.watch(&params, &version).await?.boxed();
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                let leaves = pod.metadata.deletion_timestamp.is_some();
                match with_address(&pod) {
                    Some((address, pod)) if leaves => {
                        world.remove_pod(address, &pod.name, &pod.namespace);
                    }
                    Some((address, pod)) => world.insert_pod(address, pod),
                    None => {}
                }
            }
            WatchEvent::Deleted(pod) => {
                if let Some((address, pod)) = with_address(&pod) {
                    world.remove_pod(address, &pod.name, &pod.namespace);
                }
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(status.message.clone().into()),
        }
    }
    Ok(())
}

fn with_address(pod: &KubePod) -> Option<(IpAddr, Pod)> {
    let address = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let image = pod.spec.as_ref()?.containers.first()?.image.as_deref()?;
    let version = image.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    let label = |name: &str| pod.metadata.labels.as_ref()?.get(name).cloned();
    let controller = pod.metadata.owner_references.iter().flatten().next();
    let controller = controller.map_or("", |owner| owner.name.as_str());
    let hash = label("pod-template-hash").unwrap_or_default();
    let workload = controller.strip_suffix(&format!("-{hash}"));
    let pod = Pod {
        app: label("app").unwrap_or_default(),
        workload: workload.unwrap_or(controller).to_owned(),
        namespace: pod.metadata.namespace.clone()?,
        name: pod.metadata.name.clone()?,
        version: version.to_owned(),
    };
    Some((address, pod))
}
