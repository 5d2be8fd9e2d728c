//! The watch that a driver keeps open on a VirtualService, and what it shares with other watches.

use std::pin::Pin;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use kube::core::params::WatchParams;
use kube::core::{Request, WatchEvent};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::call::{CallError, ErrorKind, bounded, soon};
use super::virtual_services::{Cluster, version_of};
use crate::istio::VirtualService;

/// The first pause before a watch is opened again after it failed twice, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How long a watch may be silent before the object is read: a connection that is lost without a word is
/// silent too, and together with two reads that are lost with it this makes no more than ten seconds.
const QUIET: Duration = Duration::from_secs(4);
/// How often in a row an object is not found before it counts as deleted.
const DELETED_AFTER: u32 = 3;

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
    Open(OpenWatch<K, R>),
}

/// A read of what is watched.
pub(super) type Reading<R> = BoxFuture<'static, Result<R, CallError>>;

/// A watch whose silence is not believed for ever: after a while what it watches is read.
pub(super) struct OpenWatch<K, R> {
    events: Events<K>,
    quiet: Duration,
    /// When the next read begins, unless an event comes before.
    read_at: Instant,
    reading: Option<Reading<R>>,
    failures: u32,
}

/// What an open watch brings.
enum Heard<K, R> {
    Event(Option<kube::Result<WatchEvent<K>>>),
    Silence,
    Read(Result<R, CallError>),
}

impl<K, R> OpenWatch<K, R> {
    /// On these events, which may be absent for as long as `quiet`.
    pub fn new(events: Events<K>, quiet: Duration) -> Self {
        Self {
            events,
            quiet,
            read_at: Instant::now() + quiet,
            reading: None,
            failures: 0,
        }
    }

    /// Cancel safe: a read goes on with the next call.
    async fn next(&mut self) -> Heard<K, R> {
        let (reading, read_at) = (&mut self.reading, self.read_at);
        let silence = async {
            match reading {
                Some(reading) => Heard::Read(reading.await),
                None => {
                    tokio::time::sleep_until(read_at).await;
                    Heard::Silence
                }
            }
        };
        let heard = tokio::select! {
            biased;
            event = self.events.next() => Heard::Event(event),
            heard = silence => heard,
        };
        match &heard {
            Heard::Silence => return heard,
            // The next one begins at once; on another connection, since this one's is given up.
            Heard::Read(Err(_)) => {
                self.failures += 1;
                self.read_at = Instant::now() + pause_after(self.failures).min(self.quiet);
            }
            Heard::Event(_) | Heard::Read(Ok(_)) => {
                self.failures = 0;
                self.read_at = Instant::now() + self.quiet;
            }
        }
        self.reading = None;
        heard
    }
}

/// What is particular about a watch.
pub(super) trait Follow {
    /// What is watched.
    type Object;
    /// What is read where there is no version to go on from.
    type Read: 'static;
    /// What is told of it.
    type News;

    /// Where the watch stands.
    fn state(&mut self) -> &mut WatchState<Self::Object, Self::Read>;

    /// Opens it.
    fn open(&self) -> Opening<Self::Object, Self::Read>;

    /// Reads what is watched.
    fn read(&self) -> Reading<Self::Read>;

    /// Takes what was read while the watch was silent, of which it has not told if that is news.
    fn read_in_silence(&mut self, read: Result<Self::Read, CallError>) -> Option<Self::News>;

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
            WatchState::Open(open) => match open.next().await {
                Heard::Event(event) => watch.heard(event),
                Heard::Silence => {
                    let reading = soon("read what is watched", watch.read()).boxed();
                    if let WatchState::Open(open) = watch.state() {
                        open.reading = Some(reading);
                    }
                    None
                }
                Heard::Read(read) => watch.read_in_silence(read),
            },
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
    /// From which the watch goes on; empty where there is none.
    version: String,
    /// The object's own as it was last told; a bookmark's is not the object's.
    told: String,
    state: WatchState<Value, Box<VirtualService>>,
    failures: u32,
    /// How often in a row the object was not found.
    missing: u32,
}

impl Watch {
    /// Follows `vs` from the state that is at hand.
    pub fn from(cluster: &Cluster, vs: &VirtualService) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: vs.namespace().to_owned(),
            name: vs.name().to_owned(),
            version: version_of(vs.raw()),
            told: version_of(vs.raw()),
            state: WatchState::Closed,
            failures: 0,
            missing: 0,
        }
    }

    /// Waits for the next change; there is always a next one. It is told within ten seconds even where the
    /// watch falls silent.
    ///
    /// Cancel safe, as every watch is.
    ///
    /// RBAC: `watch` and `get` on `virtualservices`.
    pub async fn next(&mut self) -> ObjectEvent {
        next(self).await
    }

    /// Takes the object as it is now.
    fn tell(&mut self, vs: VirtualService) -> ObjectEvent {
        self.version = version_of(vs.raw());
        self.told.clone_from(&self.version);
        self.missing = 0;
        ObjectEvent::Changed(Box::new(vs))
    }

    /// An object that is not found once may be behind a proxy that is being replaced.
    fn not_found(&mut self) -> Option<ObjectEvent> {
        self.state = WatchState::Closed;
        self.version.clear();
        self.failures += 1;
        self.missing += 1;
        (self.missing >= DELETED_AFTER).then_some(ObjectEvent::Deleted)
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
            Ok(Opened::Events(events)) => {
                self.state = WatchState::Open(OpenWatch::new(events, QUIET));
            }
            Ok(Opened::Read(vs)) => return Some(self.tell(*vs)),
            Err(error) if error.kind == ErrorKind::Missing => return self.not_found(),
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
                return VirtualService::new(raw).ok().map(|vs| self.tell(vs));
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
                let reading = cluster.read(&namespace, &name);
                let vs = soon("get virtualservice", reading).await?;
                return Ok(Opened::Read(Box::new(vs)));
            }
            connect(&cluster, Some(&namespace), Some(&name), &version)
                .await
                .map(Opened::Events)
        }
        .boxed()
    }

    fn read(&self) -> Reading<Box<VirtualService>> {
        let cluster = self.cluster.clone();
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        async move { cluster.read(&namespace, &name).await.map(Box::new) }.boxed()
    }

    fn read_in_silence(
        &mut self,
        read: Result<Box<VirtualService>, CallError>,
    ) -> Option<ObjectEvent> {
        match read {
            Ok(vs) if version_of(vs.raw()) == self.told => None,
            // The watch would have told of it.
            Ok(vs) => {
                self.state = WatchState::Closed;
                Some(self.tell(*vs))
            }
            Err(error) if error.kind == ErrorKind::Missing => self.not_found(),
            Err(_) => None,
        }
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
    let events = soon(attempted, bounded(attempted, cluster.deadline, events)).await?;
    Ok(events.boxed())
}
