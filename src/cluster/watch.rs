//! The one watch that a driver keeps open on its VirtualService.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::core::WatchEvent;
use kube::core::params::WatchParams;
use serde_json::Value;

use super::{CallError, Cluster};
use crate::traffic::VirtualService;

/// What a watch has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The object as it is now.
    Changed(Box<VirtualService>),
    /// The object is gone.
    Deleted,
}

type Events = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<Value>>> + Send>>;

/// Follows one VirtualService, across broken connections and expired versions.
pub struct Watch {
    cluster: Cluster,
    namespace: String,
    name: String,
    version: String,
    events: Option<Events>,
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
            events: None,
            failures: 0,
        }
    }

    /// Waits for the next change; there is always a next one.
    ///
    /// Cancel safe: what was received is not lost when the future is dropped while it waits.
    ///
    /// RBAC: `watch` and `get` on `virtualservices`.
    pub async fn next(&mut self) -> Seen {
        loop {
            let Some(events) = &mut self.events else {
                if let Some(seen) = self.open().await {
                    return seen;
                }
                continue;
            };
            match events.next().await {
                Some(Ok(WatchEvent::Added(raw) | WatchEvent::Modified(raw))) => {
                    self.failures = 0;
                    self.version = version_of(&raw);
                    if let Ok(vs) = VirtualService::new(raw) {
                        return Seen::Changed(Box::new(vs));
                    }
                }
                Some(Ok(WatchEvent::Deleted(_))) => return Seen::Deleted,
                Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                    self.failures = 0;
                    self.version = bookmark.metadata.resource_version;
                }
                Some(Ok(WatchEvent::Error(_))) => {
                    // 410 Gone and its kin: the version is too old to go on from.
                    self.version.clear();
                    self.events = None;
                }
                Some(Err(_)) | None => {
                    self.failures += 1;
                    self.events = None;
                }
            }
        }
    }

    /// Opens the watch; where there is no version to go on from, reads the object first.
    async fn open(&mut self) -> Option<Seen> {
        if self.failures > 0 {
            let delay = Duration::from_millis(250) * 2_u32.saturating_pow(self.failures.min(6) - 1);
            tokio::time::sleep(delay).await;
        }
        if self.version.is_empty() {
            match self
                .cluster
                .virtual_service(&self.namespace, &self.name)
                .await
            {
                Ok(vs) => {
                    self.version = version_of(vs.raw());
                    return Some(Seen::Changed(Box::new(vs)));
                }
                Err(error) if error.class == super::Class::Missing => return Some(Seen::Deleted),
                Err(_) => {
                    self.failures += 1;
                    return None;
                }
            }
        }
        match self.connect().await {
            Ok(events) => self.events = Some(events),
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

    async fn connect(&self) -> Result<Events, CallError> {
        let attempted = format!("watch virtualservice {}/{}", self.namespace, self.name);
        let params = WatchParams::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(290);
        let request = self
            .cluster
            .istio(
                self.cluster.version(),
                Some(&self.namespace),
                "virtualservices",
            )
            .watch(&params, &self.version)
            .map_err(|error| {
                CallError::new(super::Class::Refused, &attempted, error.to_string())
            })?;
        let events = self.cluster.client.request_events::<Value>(request);
        let events = super::call::bounded(&attempted, self.cluster.deadline, events).await?;
        Ok(events.boxed())
    }
}

fn version_of(raw: &Value) -> String {
    let version = raw
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str);
    version.unwrap_or_default().to_owned()
}
