//! The watch on many VirtualServices, for `list --watch` and `status --watch`.

use std::time::Duration;

use futures::StreamExt;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::time::timeout;

use super::call::CallError;
use super::virtual_services::{Cluster, version_of};
use super::watch::{Events, connect};
use crate::istio::VirtualService;

/// The pause before a list that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a watch may be silent before it is opened anew, from where it is: a connection that is lost
/// without a word is silent too.
const QUIET: Duration = Duration::from_secs(5);

/// What a list with its watch reports.
#[derive(Clone, Debug, PartialEq)]
pub enum ListEvent<T> {
    /// All there are: at the beginning, and again after a gap in which something may have been missed.
    All(Vec<T>),
    /// One that is new or different.
    Changed(T),
    /// One that is gone, as it was last.
    Deleted(T),
}

/// Follows the VirtualServices of a namespace, or of all.
pub struct ListWatch<T> {
    cluster: Cluster,
    namespace: Option<String>,
    version: Option<String>,
    events: Option<Events<Value>>,
    listed: bool,
    keep: fn(&str) -> bool,
    make: fn(VirtualService) -> T,
}

impl<T> ListWatch<T> {
    /// Follows those of `namespace`, or of all namespaces; only those are listed whose JSON is to be kept,
    /// and of each no more is held than what is made of it.
    pub fn new(
        cluster: &Cluster,
        namespace: Option<&str>,
        keep: fn(&str) -> bool,
        make: fn(VirtualService) -> T,
    ) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: namespace.map(str::to_owned),
            version: None,
            events: None,
            listed: false,
            keep,
            make,
        }
    }

    /// Waits for the next news; there is always a next one.
    ///
    /// RBAC: `list` and `watch` on `virtualservices`.
    ///
    /// # Errors
    /// If they cannot be listed at the beginning, or may not be watched. Once there was a list, what
    /// may pass is waited for.
    pub async fn next(&mut self) -> Result<ListEvent<T>, CallError> {
        loop {
            let Some(version) = &self.version else {
                match self.list().await {
                    Ok(all) => return Ok(ListEvent::All(all)),
                    Err(error) if self.listed && error.may_pass() => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            };
            let Some(events) = &mut self.events else {
                match connect(&self.cluster, self.namespace.as_deref(), None, version).await {
                    Ok(events) => self.events = Some(events),
                    Err(error) if error.may_pass() => {
                        tokio::time::sleep(PAUSE).await;
                        self.version = None;
                    }
                    Err(error) => return Err(error),
                }
                continue;
            };
            let Ok(event) = timeout(QUIET, events.next()).await else {
                self.events = None;
                continue;
            };
            if let Some(news) = self.heard(event) {
                return Ok(news);
            }
        }
    }

    async fn list(&mut self) -> Result<Vec<T>, CallError> {
        let namespace = self.namespace.as_deref();
        let list = self
            .cluster
            .virtual_services_at(namespace, self.keep, self.make);
        let (all, version) = list.await?;
        self.version = Some(version);
        self.listed = true;
        Ok(all)
    }

    fn heard(&mut self, event: Option<kube::Result<WatchEvent<Value>>>) -> Option<ListEvent<T>> {
        let (raw, news): (_, fn(T) -> ListEvent<T>) = match event {
            Some(Ok(WatchEvent::Added(raw) | WatchEvent::Modified(raw))) => {
                (raw, ListEvent::Changed)
            }
            Some(Ok(WatchEvent::Deleted(raw))) => (raw, ListEvent::Deleted),
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                self.version = Some(bookmark.metadata.resource_version);
                return None;
            }
            // The version is too old to go on from, so there is a gap.
            Some(Ok(WatchEvent::Error(_))) => {
                (self.version, self.events) = (None, None);
                return None;
            }
            // Servers end watches all the time; the next one begins where this one ended.
            Some(Err(_)) | None => {
                self.events = None;
                return None;
            }
        };
        self.version = Some(version_of(&raw));
        let vs = VirtualService::new(raw).ok()?;
        Some(news((self.make)(vs)))
    }
}
