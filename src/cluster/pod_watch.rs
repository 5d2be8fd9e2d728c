//! The watch that a driver keeps open on the pods of the canary.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::core::WatchEvent;

use super::call::{CallError, ErrorKind};
use super::virtual_services::Cluster;
use super::watch::{Follow, OpenWatch, Opened, Opening, Reading, WatchState, next, pause_after};
use super::workloads::{PodScope, in_short};
use crate::istio::{Destination, Subset, Workloads};

/// The pause between two lists where pods may not be watched, and the longest before a watch that failed
/// is opened again: a version that dies meanwhile fails all its requests.
const POLL: Duration = Duration::from_secs(2);
/// How long the watch may be silent before the pods are listed: they may be silent for hours, and so is a
/// connection that is lost without a word.
const QUIET: Duration = Duration::from_secs(10);

/// Follows the pods behind a destination, across broken connections and expired versions.
pub struct PodWatch {
    cluster: Cluster,
    destination: Destination,
    subsets: Vec<Subset>,
    scope: Option<PodScope>,
    /// Empty where there is none to go on from.
    version: String,
    pods: BTreeMap<String, Pod>,
    /// What was reported last.
    reported: Option<Workloads>,
    may_watch: bool,
    state: WatchState<Pod, Option<PodList>>,
    failures: u32,
}

/// All pods there are.
pub(super) struct PodList {
    scope: PodScope,
    pods: Vec<Pod>,
    version: String,
}

impl PodWatch {
    /// Follows the pods of a Service that carry the labels of a subset.
    pub fn new(cluster: &Cluster, destination: Destination, subsets: Vec<Subset>) -> Self {
        Self {
            cluster: cluster.clone(),
            destination,
            subsets,
            scope: None,
            version: String::new(),
            pods: BTreeMap::new(),
            reported: None,
            may_watch: true,
            state: WatchState::Closed,
            failures: 0,
        }
    }

    /// Waits for the next change of what the pods are together; the first is what they are now.
    ///
    /// That no pod is ready any more is reported only of a list: an event may be late, and a canary
    /// without pods is rolled back at once. As long as the pods cannot be listed, nothing is reported.
    ///
    /// Cancel safe, as [`Watch::next`](super::Watch::next) is.
    ///
    /// RBAC: `get` on `services`, `list` and `watch` on `pods`; without `watch` they are listed again and
    /// again.
    pub async fn next(&mut self) -> Workloads {
        next(self).await
    }

    /// Has the pods listed before anything else.
    fn read_anew(&mut self) {
        self.state = WatchState::Closed;
        self.version.clear();
    }

    /// The pods together, if they are not as reported.
    fn news(&mut self) -> Option<Workloads> {
        let pods = Workloads::of(self.pods.values());
        let is_news = self.reported.as_ref() != Some(&pods);
        is_news.then(|| self.reported.insert(pods).clone())
    }
}

impl Follow for PodWatch {
    type Object = Pod;
    type Read = Option<PodList>;
    type News = Workloads;

    fn state(&mut self) -> &mut WatchState<Pod, Option<PodList>> {
        &mut self.state
    }

    fn opened(
        &mut self,
        opened: Result<Opened<Pod, Option<PodList>>, CallError>,
    ) -> Option<Workloads> {
        self.state = WatchState::Closed;
        match opened {
            Ok(Opened::Events(events)) => {
                self.state = WatchState::Open(OpenWatch::new(events, QUIET));
                None
            }
            Ok(Opened::Read(Some(list))) => {
                let pods = list.pods.into_iter();
                self.pods = pods.map(|pod| (name_of(&pod), pod)).collect();
                (self.scope, self.version) = (Some(list.scope), list.version);
                self.news()
            }
            Ok(Opened::Read(None)) => {
                self.scope = None;
                self.pods.clear();
                self.read_anew();
                self.news()
            }
            Err(error) => {
                let is_list = self.version.is_empty();
                self.may_watch &= is_list || error.kind != ErrorKind::Forbidden;
                self.failures += 1;
                self.read_anew();
                None
            }
        }
    }

    fn heard(&mut self, event: Option<kube::Result<WatchEvent<Pod>>>) -> Option<Workloads> {
        match event {
            Some(Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod))) => {
                self.version = version_of(&pod);
                self.pods.insert(name_of(&pod), in_short(pod));
            }
            Some(Ok(WatchEvent::Deleted(pod))) => {
                self.version = version_of(&pod);
                self.pods.remove(&name_of(&pod));
            }
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                self.version = bookmark.metadata.resource_version;
            }
            // 410 Gone and its kin: the version is too old to go on from.
            Some(Ok(WatchEvent::Error(_))) => {
                self.failures += 1;
                self.read_anew();
                return None;
            }
            // The next watch begins where this one ended, unless that does not work either.
            Some(Err(_)) | None => {
                self.failures += 1;
                self.state = WatchState::Closed;
                if self.failures > 2 {
                    self.read_anew();
                }
                return None;
            }
        }
        self.failures = 0;
        let was_up = self.reported.as_ref().is_some_and(|pods| !pods.is_down());
        if was_up && Workloads::of(self.pods.values()).is_down() {
            self.read_anew();
            return None;
        }
        self.news()
    }

    /// Opens the watch; where there is no version to go on from, lists the pods first. Which pods they are
    /// is asked again as well: a Service may select others by now.
    fn open(&self) -> Opening<Pod, Option<PodList>> {
        let (cluster, version) = (self.cluster.clone(), self.version.clone());
        let watched = self
            .scope
            .clone()
            .filter(|_| self.may_watch && !version.is_empty());
        let nothing_to_watch = self.reported.is_some() && self.scope.is_none();
        let pause = match self.may_watch && !nothing_to_watch {
            true => pause_after(self.failures).min(POLL),
            false => POLL,
        };
        let reading = self.read();
        async move {
            tokio::time::sleep(pause).await;
            if let Some(scope) = watched {
                let events = cluster.pod_events(&scope, &version).await?;
                return Ok(Opened::Events(events));
            }
            reading.await.map(Opened::Read)
        }
        .boxed()
    }

    fn read(&self) -> Reading<Option<PodList>> {
        let cluster = self.cluster.clone();
        let (destination, subsets) = (self.destination.clone(), self.subsets.clone());
        async move {
            let Some(scope) = cluster.pod_scope(&destination, &subsets).await? else {
                return Ok(None);
            };
            let (pods, version) = cluster.pods_at(&scope).await?;
            Ok(Some(PodList {
                scope,
                pods,
                version,
            }))
        }
        .boxed()
    }

    fn read_in_silence(&mut self, read: Result<Option<PodList>, CallError>) -> Option<Workloads> {
        let list = read.ok()?;
        let is_known = list.as_ref().is_some_and(|list| {
            let known = |pod: &Pod| {
                let known = self.pods.get(&name_of(pod));
                known.is_some_and(|known| version_of(known) == version_of(pod))
            };
            list.pods.len() == self.pods.len() && list.pods.iter().all(known)
        });
        match is_known {
            true => None,
            // The watch would have told of it.
            false => self.opened(Ok(Opened::Read(list))),
        }
    }
}

fn name_of(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

fn version_of(pod: &Pod) -> String {
    pod.metadata.resource_version.clone().unwrap_or_default()
}
