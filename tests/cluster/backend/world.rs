//! What the listeners share: which pod an address belongs to, how each version
//! behaves, and what was counted.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::behaviour::Behaviour;

/// How long a deleted pod still answers. In a cluster its container gets a signal
/// and time to finish; here the proxies need that time to learn it is gone.
const GRACE: Duration = Duration::from_secs(5);

/// How long a request waits for a pod nobody has heard of. A proxy may learn of a
/// new pod some milliseconds before this process does.
const PATIENCE: Duration = Duration::from_millis(500);

/// A pod that has an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// The Service that it stands behind, by its label `app`.
    #[serde(skip)]
    pub(crate) app: String,
    /// Its Deployment, as Istio names it.
    #[serde(skip)]
    pub(crate) workload: String,
}

/// How a request was answered, as a sidecar tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) grpc: Option<u32>,
}

/// What a pod's application tells of its orders.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Orders {
    pub(crate) placed: u64,
    pub(crate) lost: u64,
    pub(crate) waiting: u64,
}

/// How a request is to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) behaviour: Behaviour,
    pub(crate) fails: bool,
    pub(crate) loses_order: bool,
}

/// What was counted for a version or a pod.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Count {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) connections: u64,
    pub(crate) bytes: u64,
}

/// The counts of one namespace.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) versions: BTreeMap<String, Count>,
    pub(crate) pods: BTreeMap<String, Count>,
}

#[derive(Default)]
struct Version {
    behaviour: Behaviour,
    requests: u64,
}

#[derive(Default)]
struct State {
    ready: bool,
    pods: HashMap<IpAddr, (Pod, Option<Instant>)>,
    versions: HashMap<(String, String), Version>,
    counts: HashMap<String, Counts>,
    /// By namespace and pod, since the pod began.
    answers: HashMap<(String, String), BTreeMap<Answer, u64>>,
    /// By namespace and pod, since the pod began.
    orders: HashMap<(String, String), Orders>,
}

/// The shared state; a clone is the same world.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<State>>);

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Takes the full list of pods, after which the world is ready.
    pub(crate) fn replace_pods(&self, pods: Vec<(IpAddr, Pod)>) {
        let mut state = self.state();
        let now = Instant::now();
        for (_, gone) in state.pods.values_mut() {
            gone.get_or_insert(now);
        }
        state.pods.extend(
            pods.into_iter()
                .map(|(address, pod)| (address, (pod, None))),
        );
        state.ready = true;
    }

    /// A pod has this address now, even if another had it before.
    pub(crate) fn insert_pod(&self, address: IpAddr, pod: Pod) {
        self.state().pods.insert(address, (pod, None));
    }

    /// A pod is gone. Its address may belong to another one by now.
    pub(crate) fn remove_pod(&self, address: IpAddr, name: &str, namespace: &str) {
        if let Some((pod, gone)) = self.state().pods.get_mut(&address)
            && pod.name == name
            && pod.namespace == namespace
        {
            gone.get_or_insert_with(Instant::now);
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.state().ready
    }

    pub(crate) fn pods(&self) -> BTreeMap<IpAddr, Pod> {
        let mut state = self.state();
        state.pods.retain(|_, (_, gone)| !over(*gone));
        state
            .pods
            .iter()
            .map(|(address, (pod, _))| (*address, pod.clone()))
            .collect()
    }

    /// The pod that has this address, waiting a little for one that is new.
    pub(crate) async fn pod_at(&self, address: IpAddr) -> Option<Pod> {
        let asked = Instant::now();
        loop {
            match self.state().pods.get(&address) {
                Some((pod, gone)) if !over(*gone) => return Some(pod.clone()),
                Some(_) | None if asked.elapsed() > PATIENCE => return None,
                Some(_) | None => {}
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sets how a version behaves, and starts numbering its requests anew.
    pub(crate) fn behave(&self, namespace: &str, version: &str, behaviour: Behaviour) {
        let key = (namespace.to_owned(), version.to_owned());
        let fresh = Version {
            behaviour,
            requests: 0,
        };
        self.state().versions.insert(key, fresh);
    }

    /// What the pod's next request meets.
    pub(crate) fn next_request(&self, pod: &Pod) -> Turn {
        let key = (pod.namespace.clone(), pod.version.clone());
        let mut state = self.state();
        let version = state.versions.entry(key).or_default();
        let turn = Turn {
            behaviour: version.behaviour,
            fails: version.behaviour.fails(version.requests),
            loses_order: version.behaviour.loses(version.requests),
        };
        version.requests += 1;
        turn
    }

    /// Counts for a pod and for its version.
    pub(crate) fn count(&self, pod: &Pod, change: impl Fn(&mut Count)) {
        let mut state = self.state();
        let counts = state.counts.entry(pod.namespace.clone()).or_default();
        change(counts.versions.entry(pod.version.clone()).or_default());
        change(counts.pods.entry(pod.name.clone()).or_default());
    }

    /// Counts an answer as the pod's sidecar does.
    pub(crate) fn note(&self, pod: &Pod, answer: Answer) {
        let key = (pod.namespace.clone(), pod.name.clone());
        let mut state = self.state();
        *state
            .answers
            .entry(key)
            .or_default()
            .entry(answer)
            .or_default() += 1;
    }

    /// Counts the order of a request that did not fail.
    pub(crate) fn order(&self, pod: &Pod, is_lost: bool) {
        let key = (pod.namespace.clone(), pod.name.clone());
        let mut state = self.state();
        let orders = state.orders.entry(key).or_default();
        match is_lost {
            true => orders.lost += 1,
            false => orders.placed += 1,
        }
    }

    /// What the application of each pod that has an address tells of its orders.
    pub(crate) fn orders(&self) -> Vec<(Pod, Orders)> {
        let pods = self.pods();
        let state = self.state();
        let told = pods.into_values().map(|pod| {
            let name = (pod.namespace.clone(), pod.name.clone());
            let version = (pod.namespace.clone(), pod.version.clone());
            let counted = state.orders.get(&name).copied().unwrap_or_default();
            let waiting = state.versions.get(&version);
            let waiting = waiting.map_or(0, |version| version.behaviour.queue);
            (pod, Orders { waiting, ..counted })
        });
        told.collect()
    }

    /// What the pod's sidecar has counted.
    pub(crate) fn answers(&self, pod: &Pod) -> BTreeMap<Answer, u64> {
        let key = (pod.namespace.clone(), pod.name.clone());
        self.state().answers.get(&key).cloned().unwrap_or_default()
    }

    pub(crate) fn counts(&self, namespace: &str) -> Counts {
        let state = self.state();
        state.counts.get(namespace).cloned().unwrap_or_default()
    }

    /// Takes the counts away and starts at zero, with no request in between.
    pub(crate) fn take_counts(&self, namespace: &str) -> Counts {
        self.state().counts.remove(namespace).unwrap_or_default()
    }

    /// Forgets all about a namespace that a test is done with.
    pub(crate) fn forget(&self, namespace: &str) {
        let mut state = self.state();
        state.counts.remove(namespace);
        state.answers.retain(|(of, _), _| of != namespace);
        state.orders.retain(|(of, _), _| of != namespace);
        state.versions.retain(|(of, _), _| of != namespace);
    }
}

fn over(gone: Option<Instant>) -> bool {
    gone.is_some_and(|since| since.elapsed() > GRACE)
}
