//! The pods of the canary as a driver sees them.

use jiff::Timestamp;

use crate::cluster::{Cluster, PodWatch};
use crate::discovery::VersionFacts;
use crate::istio::Workloads;
use crate::rollout::{PodSummary, Rollout};

/// The canary's pods under watch.
pub(super) struct CanaryPods {
    watch: PodWatch,
    /// What they are together, once that is known.
    now: Option<Workloads>,
    /// Whether there ever were any. There are none to see for us of a host outside the cluster.
    were_there: bool,
    /// When the youngest that is or last was ready started.
    since: Option<Timestamp>,
}

impl CanaryPods {
    pub fn new(cluster: &Cluster, rollout: &Rollout, versions: VersionFacts) -> Self {
        Self {
            watch: PodWatch::new(cluster, rollout.canary.clone(), versions.subsets),
            now: None,
            were_there: versions.canary_pods.pods > 0,
            since: versions.canary_since,
        }
    }

    /// Waits for the next change of them.
    ///
    /// Cancel safe, as the watch is.
    pub async fn next(&mut self) {
        let pods = self.watch.next().await;
        self.were_there |= pods.pods > 0;
        self.since = pods.youngest.or(self.since);
        self.now = Some(pods);
    }

    /// Waits until they go down; where they are, until they do so again.
    ///
    /// Cancel safe, as the watch is.
    pub async fn go_down(&mut self) {
        loop {
            let were_down = self.are_down();
            self.next().await;
            if self.are_down() && !were_down {
                return;
            }
        }
    }

    /// Whether none is ready.
    pub fn are_down(&self) -> bool {
        self.were_there && self.now.as_ref().is_some_and(Workloads::is_down)
    }

    /// How many there are, and whether any of them cannot stay up.
    pub fn count(&self) -> (usize, bool) {
        let pods = self.now.as_ref();
        pods.map_or((0, false), |pods| (pods.pods, pods.crashing > 0))
    }

    /// The same, to be told.
    pub fn now(&self) -> Option<PodSummary> {
        self.now.as_ref().map(PodSummary::from)
    }

    /// When the youngest of them started, as far as is known.
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }
}
