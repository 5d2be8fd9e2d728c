//! The watch that a driver keeps open on a VirtualService, and what it shares with other watches.

use std::pin::Pin;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use kube::core::params::WatchParams;
use kube::core::{Request, WatchEvent};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::call::{CallError, ErrorKind, bounded};
use super::virtual_services::{Cluster, version_of};
use crate::istio::VirtualService;

/// The first pause before a watch is opened again after it failed twice, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What happened to the object.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectEvent {
    /// The object as it is now.
    Changed(Box<VirtualService>),
    /// The object is gone.
    Deleted,
}

pub(super) type Events<K> = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<K>>> + Send>>;

/// Opening a watch takes longer than those who wait for it have patience at a time, so it goes on from
/// one call of [`Watch::next`] to the next.
pub(super) type Opening<K, R> = BoxFuture<'static, Result<Opened<K, R>, CallError>>;

/// What opening brought.
pub(super) enum Opened<K, R> {
    /// The events after the version at hand.
    Events(Events<K>),
    /// There was no version to go on from, so what is watched was read.
    Read(R),
}

/// A watch on objects of kind `K`, which are read as an `R` where there is no version to go on from.
pub(super) enum WatchState<K, R> {
    Closed,
    Opening(Opening<K, R>),
    Open(Events<K>),
}

/// What is particular about a watch.
pub(super) trait Follow {
    /// What is watched.
    type Object;
    /// What is read where there is no version to go on from.
    type Read;
    /// What is told of it.
    type News;

    /// Where the watch stands.
    fn state(&mut self) -> &mut WatchState<Self::Object, Self::Read>;

    /// Opens it.
    fn open(&self) -> Opening<Self::Object, Self::Read>;

    /// Takes what opening brought.
    fn opened(
        &mut self,
        opened: Result<Opened<Self::Object, Self::Read>, CallError>,
    ) -> Option<Self::News>;

    /// Takes an event; `None` when the watch has ended.
    fn heard(
        &mut self,
        event: Option<kube::Result<WatchEvent<Self::Object>>>,
    ) -> Option<Self::News>;
}

/// Waits for the next news of a watch; there is always a next one.
///
/// Cancel safe: neither what was received nor the opening of a connection is lost when the future is dropped
/// while it waits.
pub(super) async fn next<W: Follow>(watch: &mut W) -> W::News {
    loop {
        let news = match watch.state() {
            WatchState::Closed => {
                *watch.state() = WatchState::Opening(watch.open());
                None
            }
            WatchState::Opening(opening) => {
                let opened = opening.await;
                watch.opened(opened)
            }
            WatchState::Open(events) => {
                let event = events.next().await;
                watch.heard(event)
            }
        };
        if let Some(news) = news {
            return news;
        }
    }
}

/// Follows one VirtualService, across broken connections and expired versions.
pub struct Watch {
    cluster: Cluster,
    namespace: String,
    name: String,
    version: String,
    state: WatchState<Value, Box<VirtualService>>,
    failures: u32,
}

impl Watch {
    /// Follows `vs` from the state that is at hand.
    pub fn from(cluster: &Cluster, vs: &VirtualService) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: vs.namespace().to_owned(),
            name: vs.name().to_owned(),
            version: version_of(vs.raw()),
            state: WatchState::Closed,
            failures: 0,
        }
    }

    /// Waits for the next change; there is always a next one.
    ///
    /// Cancel safe, as every watch is.
    ///
    /// RBAC: `watch` and `get` on `virtualservices`.
    pub async fn next(&mut self) -> ObjectEvent {
        next(self).await
    }
}

impl Follow for Watch {
    type Object = Value;
    type Read = Box<VirtualService>;
    type News = ObjectEvent;

    fn state(&mut self) -> &mut WatchState<Value, Box<VirtualService>> {
        &mut self.state
    }

    fn opened(
        &mut self,
        opened: Result<Opened<Value, Box<VirtualService>>, CallError>,
    ) -> Option<ObjectEvent> {
        self.state = WatchState::Closed;
        match opened {
            Ok(Opened::Events(events)) => self.state = WatchState::Open(events),
            Ok(Opened::Read(vs)) => {
                self.version = version_of(vs.raw());
                return Some(ObjectEvent::Changed(vs));
            }
            Err(error) if error.kind == ErrorKind::Missing => return Some(ObjectEvent::Deleted),
            Err(_) => {
                self.failures += 1;
                // Whatever the reason was, reading the object tells more than guessing.
                if self.failures > 2 {
                    self.version.clear();
                }
            }
        }
        None
    }

    fn heard(&mut self, event: Option<kube::Result<WatchEvent<Value>>>) -> Option<ObjectEvent> {
        match event {
            Some(Ok(WatchEvent::Added(raw) | WatchEvent::Modified(raw))) => {
                self.failures = 0;
                self.version = version_of(&raw);
                return VirtualService::new(raw)
                    .ok()
                    .map(|vs| ObjectEvent::Changed(Box::new(vs)));
            }
            Some(Ok(WatchEvent::Deleted(_))) => return Some(ObjectEvent::Deleted),
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                self.failures = 0;
                self.version = bookmark.metadata.resource_version;
            }
            Some(Ok(WatchEvent::Error(_))) => {
                // 410 Gone and its kin: the version is too old to go on from.
                self.version.clear();
                self.failures += 1;
                self.state = WatchState::Closed;
            }
            Some(Err(_)) | None => {
                self.failures += 1;
                self.state = WatchState::Closed;
            }
        }
        None
    }

    /// Opens the watch; where there is no version to go on from, reads the object first.
    fn open(&self) -> Opening<Value, Box<VirtualService>> {
        let (cluster, version) = (self.cluster.clone(), self.version.clone());
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        let pause = pause_after(self.failures);
        async move {
            tokio::time::sleep(pause).await;
            if version.is_empty() {
                let vs = cluster.virtual_service(&namespace, &name).await?;
                return Ok(Opened::Read(Box::new(vs)));
            }
            connect(&cluster, Some(&namespace), Some(&name), &version)
                .await
                .map(Opened::Events)
        }
        .boxed()
    }
}

/// How long to wait before a watch is opened again that has failed so often in a row.
pub(super) fn pause_after(failures: u32) -> Duration {
    // A watch that ends is no failure the first time: servers end them all the time.
    match failures.saturating_sub(1).min(6) {
        0 => Duration::ZERO,
        failures => FIRST_PAUSE * 2_u32.pow(failures - 1),
    }
}

/// Opens a watch on one VirtualService, or on all of a namespace or of the cluster.
pub(super) async fn connect(
    cluster: &Cluster,
    namespace: Option<&str>,
    name: Option<&str>,
    version: &str,
) -> Result<Events<Value>, CallError> {
    let attempted = match (namespace, name) {
        (Some(namespace), Some(name)) => format!("watch virtualservice {namespace}/{name}"),
        (Some(namespace), None) => format!("watch virtualservices in namespace {namespace}"),
        (None, _) => "watch virtualservices in all namespaces".to_owned(),
    };
    let mut params = WatchParams::default();
    if let Some(name) = name {
        params = params.fields(&format!("metadata.name={name}"));
    }
    let objects = cluster.istio(cluster.version(), namespace, "virtualservices");
    events_of(cluster, &attempted, &objects, params, version).await
}

/// What happens to these objects from a version on; the server ends it after some minutes.
pub(super) async fn events_of<K: DeserializeOwned + Clone + Send + 'static>(
    cluster: &Cluster,
    attempted: &str,
    objects: &Request,
    params: WatchParams,
    version: &str,
) -> Result<Events<K>, CallError> {
    let request = objects
        .watch(&params.timeout(290), version)
        .map_err(|error| CallError::new(ErrorKind::Refused, attempted, error.to_string()))?;
    let events = cluster.client.request_events::<K>(request);
    let events = bounded(attempted, cluster.deadline, events).await?;
    Ok(events.boxed())
}
