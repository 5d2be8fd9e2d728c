//! The counters of both versions straight from their pods' proxies, so that nobody has to scrape them.
//!
//! Read are the versions' own pods, which can always be found: what they report (`reporter="destination"`) is
//! what reached them. What they call themselves is left out, since it is of other services, or a small part of
//! what this one gets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join, join_all};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::version_facts::VersionFacts;
use crate::cluster::{CallError, Cluster, ErrorKind};
use crate::context::Context;
use crate::error::CommandError;
use crate::istio::{Destination, Host, Subset, workload_names};
use crate::metrics::{
    Coverage, Labels, MetricSource, MetricsError, Query, QueryResult, SampleStore, Unit, samples,
};
use crate::preflight::SampledPods;
use crate::rollout::Rollout;

/// Where Istio's sidecar shows its counters, and what a pod calls that port.
const PORT: u16 = 15090;
const PORT_NAME: &str = "http-envoy-prom";
/// The most pods of a version that are read: the API server passes each answer on, every second.
const MOST_PODS: usize = 10;
/// The longest that one pod may take. The next look comes after a second.
const DEADLINE: Duration = Duration::from_millis(800);
/// How long a list of pods is good for.
const LISTED: SignedDuration = SignedDuration::from_secs(5);
const DURATIONS: &str = "istio_request_duration_milliseconds_bucket";

type Round = Shared<BoxFuture<'static, Result<(), MetricsError>>>;

/// Reads the pods anew for each moment that is asked for.
pub(crate) struct PodSampler {
    reader: Arc<PodReader>,
    /// The round of the newest moment, which several queries share.
    round: Mutex<Option<(Timestamp, Round)>>,
}

struct PodReader {
    cluster: Cluster,
    versions: [Destination; 2],
    subsets: Vec<Subset>,
    counted: Unit,
    /// The bounds of the buckets that are counted, in milliseconds.
    bounds: Vec<f64>,
    state: Mutex<ReaderState>,
}

#[derive(Default)]
struct ReaderState {
    store: SampleStore,
    listed: Option<(Timestamp, [Listed; 2])>,
}

/// The pods of a version.
#[derive(Clone, Debug, Default)]
struct Listed {
    pods: usize,
    read: Vec<PodAddress>,
}

#[derive(Clone, Debug)]
struct PodAddress {
    namespace: String,
    name: String,
    port: u16,
    /// What names it as the one that gets requests.
    destination: Labels,
}

/// Where the samples of a rollout under way come from: its pods if it says so, else Prometheus.
///
/// # Errors
/// If the address of Prometheus cannot be used.
pub(crate) fn live_metrics(
    context: &Context<'_>,
    rollout: &Rollout,
    versions: &VersionFacts,
) -> Result<Box<dyn MetricSource>, CommandError> {
    if !rollout.plan.samples_pods() {
        return context.metrics_of(rollout);
    }
    let slow = versions.history.slow.iter();
    let bounds = slow.map(|(bound, _)| *bound).collect();
    let sampler = PodSampler::new(&context.cluster, rollout, &versions.subsets, bounds);
    Ok(Box::new(sampler))
}

impl PodSampler {
    pub(crate) fn new(
        cluster: &Cluster,
        rollout: &Rollout,
        subsets: &[Subset],
        bounds: Vec<f64>,
    ) -> Self {
        Self {
            reader: Arc::new(PodReader {
                cluster: cluster.clone(),
                versions: [rollout.stable.clone(), rollout.canary.clone()],
                subsets: subsets.to_vec(),
                counted: rollout.counted(),
                bounds,
                state: Mutex::default(),
            }),
            round: Mutex::default(),
        }
    }

    /// What a preflight has to know: which pods there are, and whether they answer.
    pub(crate) async fn survey(&self, now: Timestamp) -> [SampledPods; 2] {
        self.reader.survey(now).await
    }

    fn round(&self, at: Timestamp) -> Round {
        let mut round = lock(&self.round);
        if let Some((_, round)) = round.as_ref().filter(|(of, _)| *of == at) {
            return round.clone();
        }
        let reader = Arc::clone(&self.reader);
        let next = async move { reader.read(at).await }.boxed().shared();
        *round = Some((at, next.clone()));
        next
    }
}

impl MetricSource for PodSampler {
    fn ask<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<QueryResult, MetricsError>> {
        async move {
            let round = self.round(query.at);
            let read = tokio::time::timeout(query.within, round).await;
            read.map_err(|_| MetricsError::TimedOut {
                at: self.name(),
                after: query.within,
            })??;
            lock(&self.reader.state).store.answer(query)
        }
        .boxed()
    }

    fn name(&self) -> String {
        let [stable, canary] = &self.reader.versions;
        format!("the pods of {stable} and {canary}")
    }

    fn coverage(&self) -> Coverage {
        let state = lock(&self.reader.state);
        let Some((_, listed)) = &state.listed else {
            return Coverage::default();
        };
        let [stable, canary] = listed.each_ref().map(|version| match version.pods {
            0 => 1.0,
            pods => version.read.len() as f64 / pods as f64,
        });
        Coverage { stable, canary }
    }
}

impl PodReader {
    /// Reads every pod once. The samples are of the moment before the first was asked, so that a weight that is
    /// set after the answers counts for none of them.
    async fn read(&self, at: Timestamp) -> Result<(), MetricsError> {
        let versions = self.survey(at).await;
        // A version without pods has its own verdict; one whose pods are silent is not to look idle.
        match versions.into_iter().find_map(SampledPods::silent) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    async fn survey(&self, at: Timestamp) -> [SampledPods; 2] {
        let listed = match self.listed(at).await {
            Ok(listed) => listed,
            Err(error) => {
                let failed = |version: &Destination| SampledPods {
                    version: version.to_string(),
                    problem: Some(error.clone()),
                    ..SampledPods::default()
                };
                return self.versions.each_ref().map(failed);
            }
        };
        let [stable, canary] = &listed;
        let (stable, canary) = join(self.read_pods(stable), self.read_pods(canary)).await;
        let mut state = lock(&self.state);
        let mut take = |index: usize, answers: Vec<Result<Vec<(Labels, f64)>, CallError>>| {
            let mut found = SampledPods {
                version: self.versions[index].to_string(),
                pods: listed[index].pods,
                read: listed[index].read.len(),
                ..SampledPods::default()
            };
            for answer in answers {
                match answer {
                    Ok(samples) => {
                        found.answered += 1;
                        let of_version = |(labels, value): &&(Labels, f64)| {
                            labels.contains_key("reporter") && *value > 0.0
                        };
                        found.series += samples.iter().filter(of_version).count();
                        state.store.add(at, samples);
                    }
                    Err(error) => found.problem = Some(error),
                }
            }
            found
        };
        [take(0, stable), take(1, canary)]
    }

    async fn read_pods(&self, listed: &Listed) -> Vec<Result<Vec<(Labels, f64)>, CallError>> {
        join_all(listed.read.iter().map(|pod| self.read_pod(pod))).await
    }

    async fn read_pod(&self, pod: &PodAddress) -> Result<Vec<(Labels, f64)>, CallError> {
        let metric = self.counted.metric();
        let has_durations = self.counted.has_durations() && !self.bounds.is_empty();
        let metrics: &[&str] = match has_durations {
            true => &[metric, DURATIONS],
            false => &[metric],
        };
        // Proxies leave out the rest of their statistics, which are many times as much.
        let filter = match has_durations {
            true => format!("{metric}%7Cistio_request_duration_milliseconds"),
            false => metric.to_owned(),
        };
        let path = format!("stats/prometheus?usedonly&filter={filter}");
        let whose = (pod.namespace.as_str(), pod.name.as_str());
        let answer = self.cluster.pod_answer(whose, pod.port, &path, DEADLINE);
        let text = answer.await?;
        let found = samples(&text, metrics, |labels| self.is_counted(labels));
        let found = found.map_err(|unreadable| CallError {
            kind: ErrorKind::Refused,
            attempted: format!("read the counters of pod {}/{}", pod.namespace, pod.name),
            why: unreadable.0,
        })?;
        Ok(pod.shown(found, metrics))
    }

    fn is_counted(&self, labels: &Labels) -> bool {
        let is_bound = |le: &String| {
            let bound = le.parse::<f64>();
            le == "+Inf" || bound.is_ok_and(|bound| self.bounds.contains(&bound))
        };
        let is_inbound = labels
            .get("reporter")
            .is_some_and(|reporter| reporter == "destination");
        is_inbound && labels.get("le").is_none_or(is_bound)
    }

    /// The pods of both versions, listed anew from time to time.
    async fn listed(&self, at: Timestamp) -> Result<[Listed; 2], CallError> {
        let known = lock(&self.state).listed.clone();
        if let Some((since, listed)) = &known
            && at.duration_since(*since) < LISTED
        {
            return Ok(listed.clone());
        }
        let [stable, canary] = &self.versions;
        let pods = |version| self.cluster.pods_behind(version, &self.subsets);
        match join(pods(stable), pods(canary)).await {
            (Ok(stable), Ok(canary)) => {
                let [of_stable, of_canary] = &self.versions;
                let listed = [
                    Listed::of(&stable, &of_stable.host),
                    Listed::of(&canary, &of_canary.host),
                ];
                lock(&self.state).listed = Some((at, listed.clone()));
                Ok(listed)
            }
            // Pods that were there most likely still are, and those that are not do not answer.
            (Err(error), _) | (_, Err(error)) => known.map(|(_, listed)| listed).ok_or(error),
        }
    }
}

impl Listed {
    /// The first pods by name that can have counted anything: the same ones every time.
    fn of(pods: &[Pod], host: &Host) -> Self {
        let is_running = |pod: &Pod| {
            let phase = pod
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref());
            phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
        };
        let mut running: Vec<_> = pods.iter().filter(|pod| is_running(pod)).collect();
        running.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        Self {
            pods: running.len(),
            read: running
                .into_iter()
                .take(MOST_PODS)
                .filter_map(|pod| PodAddress::of(pod, host))
                .collect(),
        }
    }
}

impl PodAddress {
    fn of(pod: &Pod, host: &Host) -> Option<Self> {
        let spec = pod.spec.as_ref();
        // Since Kubernetes 1.29 a sidecar is an init container.
        let containers = spec.into_iter().flat_map(|spec| {
            let init = spec.init_containers.iter().flatten();
            spec.containers.iter().chain(init)
        });
        let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
        let named = ports.find(|port| port.name.as_deref() == Some(PORT_NAME));
        let port = named.and_then(|port| u16::try_from(port.container_port).ok());
        Some(Self {
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.name.clone()?,
            port: port.unwrap_or(PORT),
            destination: destination(pod, host),
        })
    }

    /// What was found at its proxy, and that it was read.
    fn shown(&self, found: Vec<(Labels, f64)>, metrics: &[&str]) -> Vec<(Labels, f64)> {
        let idle = found.is_empty().then(|| self.idle(metrics[0]));
        let found = found.into_iter();
        let found = found.map(|(labels, value)| (self.label(labels), value));
        let answered = metrics.iter().map(|metric| self.answered(metric));
        found.chain(idle).chain(answered).collect()
    }

    /// A series of no version, that shows when the pod was read: one that it has later counted from zero then.
    fn answered(&self, metric: &str) -> (Labels, f64) {
        let name = Labels::from([("__name__".to_owned(), metric.to_owned())]);
        (self.label(name), 1.0)
    }

    /// What a proxy does not show that has counted nothing yet: no request of the version. Without it the pod
    /// would be awaited only some samples after its first request.
    fn idle(&self, metric: &str) -> (Labels, f64) {
        let own = [
            ("__name__", metric),
            ("reporter", "destination"),
            ("response_code", "200"),
        ];
        let own = own.map(|(label, value)| (label.to_owned(), value.to_owned()));
        let labels = self.destination.clone().into_iter().chain(own).collect();
        (self.label(labels), 0.0)
    }

    /// The labels that Prometheus would have given to what it scrapes here.
    fn label(&self, mut labels: Labels) -> Labels {
        let Self {
            namespace,
            name,
            port,
            ..
        } = self;
        let of_target = HashMap::from([
            ("instance", format!("{name}.{namespace}:{port}")),
            ("namespace", namespace.clone()),
            ("pod", name.clone()),
        ]);
        labels.extend(
            of_target
                .into_iter()
                .map(|(label, value)| (label.to_owned(), value)),
        );
        labels
    }
}

/// The labels by which Istio names a pod of a Service that is called.
fn destination(pod: &Pod, host: &Host) -> Labels {
    let (service, namespace) = host.service().unwrap_or_default();
    let labels = pod.metadata.labels.as_ref();
    let version = labels.and_then(|labels| labels.get("version")).cloned();
    let workload = workload_names(pod).into_iter().next();
    Labels::from(
        [
            ("destination_service_name", service.to_owned()),
            ("destination_service_namespace", namespace.to_owned()),
            ("destination_workload", workload.unwrap_or_default()),
            ("destination_version", version.unwrap_or_default()),
        ]
        .map(|(label, value)| (label.to_owned(), value)),
    )
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change of it is made in one step.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::metrics::{Collector, MetricsReading, ServiceKey, Targets, VersionSelector};

    /// What one pod's proxy has counted: successes and failures.
    #[derive(Clone, Debug, Default)]
    struct Proxy {
        counters: [u64; 2],
        /// Of all requests, whatever was lost with a restart.
        truth: [u64; 2],
    }

    /// What a pod does in a second: new requests, and whether it restarts before them, and answers after.
    type Second = ([u64; 2], bool, bool);

    struct Stored(SampleStore);

    impl MetricSource for Stored {
        fn ask<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<QueryResult, MetricsError>> {
            std::future::ready(self.0.answer(query)).boxed()
        }

        fn name(&self) -> String {
            "the store".into()
        }
    }

    fn version(workload: &str) -> VersionSelector {
        VersionSelector {
            services: BTreeSet::from([ServiceKey {
                name: "reviews".into(),
                namespace: "shop".into(),
            }]),
            workloads: BTreeSet::from([workload.to_owned()]),
            ..VersionSelector::default()
        }
    }

    /// What the text of a proxy is read as.
    fn shown(workload: &str, index: usize, proxy: &Proxy) -> Vec<(Labels, f64)> {
        let lines = proxy.counters.iter().zip(["200", "503"]);
        let lines = lines.filter(|(count, _)| **count > 0).map(|(count, code)| {
            format!(
                "istio_requests_total{{reporter=\"destination\",destination_service_name=\"reviews\",destination_service_namespace=\"shop\",destination_workload=\"{workload}\",response_code=\"{code}\"}} {count}\n"
            )
        });
        let pod = PodAddress {
            namespace: "shop".into(),
            name: format!("{workload}-{index}"),
            port: PORT,
            destination: Labels::from(
                [
                    ("destination_service_name", "reviews"),
                    ("destination_service_namespace", "shop"),
                    ("destination_workload", workload),
                ]
                .map(|(label, value)| (label.to_owned(), value.to_owned())),
            ),
        };
        let text: String = lines.collect();
        let metrics = ["istio_requests_total"];
        let found = samples(&text, &metrics, |_| true).unwrap();
        pod.shown(found, &metrics)
    }

    /// Counts what the proxies show second by second; with it all that there was.
    fn counted(seconds: &[[Second; 3]]) -> ([u64; 2], [u64; 2], Vec<Proxy>) {
        let begin = Timestamp::from_second(1_000_000).unwrap();
        let targets = Targets::new(version("reviews-v1"), version("reviews-v2")).unwrap();
        // The first sample after the weight moved is what all later ones are compared with.
        let moved = begin - SignedDuration::from_millis(1);
        let mut collector = Collector::new(targets, moved, Vec::new(), &MetricsReading::default());
        let mut stored = Stored(SampleStore::default());
        let mut proxies = vec![Proxy::default(); 3];
        let (mut stable, mut canary) = ([0; 2], [0; 2]);
        for (second, pods) in seconds.iter().enumerate() {
            let at = begin + SignedDuration::from_secs(second as i64);
            for (index, (requests, restarts, answers)) in pods.iter().enumerate() {
                let proxy = &mut proxies[index];
                if *restarts {
                    proxy.counters = [0; 2];
                }
                for (kind, count) in requests.iter().enumerate() {
                    proxy.counters[kind] += count;
                    proxy.truth[kind] += count;
                }
                if *answers {
                    let workload = ["reviews-v1", "reviews-v1", "reviews-v2"][index];
                    stored.0.add(at, shown(workload, index, proxy));
                }
            }
            let asked = collector.ask(&stored, at, Duration::from_secs(1));
            let answers = asked.now_or_never().unwrap().unwrap();
            for window in collector.take(&answers, |_| 0.5).windows {
                for (sum, counts) in [(&mut stable, window.stable), (&mut canary, window.canary)] {
                    sum[0] += counts.requests - counts.failures;
                    sum[1] += counts.failures;
                }
            }
        }
        (stable, canary, proxies)
    }

    fn second() -> impl Strategy<Value = Second> {
        let requests = [0..20u64, 0..5u64];
        (
            requests,
            prop::bool::weighted(0.05),
            prop::bool::weighted(0.85),
        )
    }

    proptest! {
        #[test]
        fn no_request_is_counted_that_there_was_not(
            seconds in prop::collection::vec([second(), second(), second()], 1..80)
        ) {
            let (stable, canary, proxies) = counted(&seconds);
            for kind in 0..2 {
                let truth = proxies[0].truth[kind] + proxies[1].truth[kind];
                prop_assert!(stable[kind] <= truth, "{} of {truth}", stable[kind]);
                let truth = proxies[2].truth[kind];
                prop_assert!(canary[kind] <= truth, "{} of {truth}", canary[kind]);
            }
        }

        #[test]
        fn every_request_is_counted_once_where_each_pod_answers(
            mut seconds in prop::collection::vec([second(), second(), second()], 4..80)
        ) {
            for pod in seconds.iter_mut().flatten() {
                (pod.1, pod.2) = (false, true);
            }
            // Stable has requests from the beginning, the canary's series are born later.
            let had = ([1, 1], false, true);
            seconds[0] = [had, had, ([0, 0], false, true)];
            let quiet = [([0, 0], false, true); 3];
            seconds.extend([quiet; 4]);
            let (stable, canary, proxies) = counted(&seconds);
            for kind in 0..2 {
                // Its first sample only shows where a counter stood.
                let truth = proxies[0].truth[kind] + proxies[1].truth[kind] - 2;
                prop_assert_eq!(stable[kind], truth);
                prop_assert_eq!(canary[kind], proxies[2].truth[kind]);
            }
        }
    }

    fn pod(name: &str, phase: &str, ports: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"containers": [{"name": "app"}], "initContainers": [{"name": "istio-proxy", "ports": ports}]},
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    #[test]
    fn a_few_running_pods_are_read_always_the_same_ones() {
        let mut pods: Vec<_> = (0..30)
            .map(|n| pod(&format!("b{n:02}"), "Running", json!([])))
            .collect();
        pods.push(pod("a", "Pending", json!([])));
        let leaving = json!({"metadata": {"namespace": "shop", "name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}});
        pods.push(serde_json::from_value(leaving).unwrap());
        pods.reverse();
        let listed = Listed::of(&pods, &Host::resolve("reviews", "shop"));
        assert_eq!((listed.pods, listed.read.len()), (30, MOST_PODS));
        assert_eq!(listed.read[0].name, "b00");
    }

    #[test]
    fn the_port_is_the_one_that_the_sidecar_names() {
        let of = |ports| {
            PodAddress::of(
                &pod("a", "Running", ports),
                &Host::resolve("reviews", "shop"),
            )
            .unwrap()
            .port
        };
        assert_eq!(of(json!([])), PORT);
        assert_eq!(
            of(json!([{"containerPort": 80}, {"name": PORT_NAME, "containerPort": 15190}])),
            15190
        );
    }
}
