//! The model: requests come in, take the routes of the moment, and are counted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::behaviour::{Behaviour, Episode, Operation};
use super::demand::Demand;
use super::routing::{Backend, MeshRoute, Pod, Routing, Workload};
use super::sampling::Sampling;
use super::stream::{Caller, ReportingProxy, RequestOutcome, Stream, StreamCounters};

/// Requests and how they fare, over time. Pure: time and routes are given to it.
#[derive(Clone, Debug)]
pub struct TrafficModel {
    at: Timestamp,
    sampling: Sampling,
    demands: BTreeMap<String, Demand>,
    versions: BTreeMap<(String, String), Behaviour>,
    streams: BTreeMap<Stream, StreamCounters>,
    /// Workloads whose own proxies are not scraped.
    bare: BTreeSet<(String, String)>,
    proxies: BTreeMap<Pod, u64>,
}

impl TrafficModel {
    /// No traffic, from `at` on.
    pub fn new(at: Timestamp, sampling: Sampling) -> Self {
        Self {
            at,
            sampling,
            demands: BTreeMap::new(),
            versions: BTreeMap::new(),
            streams: BTreeMap::new(),
            bare: BTreeSet::new(),
            proxies: BTreeMap::new(),
        }
    }

    /// How far the model has come.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Chooses between seeded chance and none.
    pub fn sampling(&mut self, sampling: Sampling) -> &mut Self {
        self.sampling = sampling;
        self
    }

    /// What callers want of a host (its full name); no traffic until something is set.
    pub fn demand(&mut self, host: &str) -> &mut Demand {
        self.demands.entry(host.to_owned()).or_default()
    }

    /// How the pods of a workload behave; flawless until something is set.
    pub fn version(&mut self, namespace: &str, workload: &str) -> &mut Behaviour {
        self.versions
            .entry((namespace.to_owned(), workload.to_owned()))
            .or_default()
    }

    /// The proxies of a workload are not scraped: its requests are reported by its callers alone.
    pub fn unscraped(&mut self, namespace: &str, workload: &str) -> &mut Self {
        self.bare
            .insert((namespace.to_owned(), workload.to_owned()));
        self
    }

    /// The hosts that are asked for.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.demands.keys().map(String::as_str)
    }

    /// Who calls, host by host.
    pub fn sources(&self) -> impl Iterator<Item = &Caller> {
        self.demands.values().map(|demand| &demand.source)
    }

    /// The callers' proxies restart: what they counted begins anew.
    pub fn restart_source(&mut self, host: &str) {
        if let Some(demand) = self.demands.get(host) {
            let pod = demand.source.pod.clone();
            self.streams.retain(|stream, _| stream.pod != pod);
        }
    }

    /// Everything that was counted since the proxies started.
    pub fn streams(&self) -> impl Iterator<Item = (&Stream, &StreamCounters)> {
        self.streams.iter()
    }

    /// Requests so far as the callers saw them, by how the predicate chooses them.
    pub fn seen_at_source(&self, choose: impl Fn(&Stream) -> bool) -> u64 {
        self.streams
            .iter()
            .filter(|(stream, _)| stream.reporter == ReportingProxy::Source && choose(stream))
            .map(|(_, counters)| counters.requests)
            .sum()
    }

    /// Lets requests flow over these routes until `to`.
    pub fn advance(&mut self, to: Timestamp, routing: &Routing) {
        self.note_restarts(routing);
        while self.at < to {
            let end = self.next_change().map_or(to, |change| change.min(to));
            let seconds = end.duration_since(self.at).as_secs_f64();
            let demands = std::mem::take(&mut self.demands);
            for (host, demand) in &demands {
                self.flow(host, demand, seconds, routing);
            }
            self.demands = demands;
            self.at = end;
        }
    }

    /// The next moment at which a rate changes, so that each stretch has one rate.
    fn next_change(&self) -> Option<Timestamp> {
        let rates = self
            .demands
            .values()
            .flat_map(|demand| demand.changes.iter().map(|(at, _)| *at));
        let episodes = self
            .demands
            .values()
            .flat_map(|demand| &demand.episodes)
            .chain(self.versions.values().flat_map(|version| &version.episodes))
            .flat_map(|episode| [episode.from, episode.until]);
        rates.chain(episodes).filter(|at| *at > self.at).min()
    }

    fn note_restarts(&mut self, routing: &Routing) {
        if self.proxies == routing.pods {
            return;
        }
        let before = std::mem::replace(&mut self.proxies, routing.pods.clone());
        self.streams.retain(|stream, _| {
            stream.reporter == ReportingProxy::Source
                || before.get(&stream.pod) == routing.pods.get(&stream.pod)
        });
    }

    fn flow(&mut self, host: &str, demand: &Demand, seconds: f64, routing: &Routing) {
        let mean = demand.rate_at(self.at) * seconds;
        let requests = self.sampling.count(host, mean);
        let routes = if demand.tcp {
            routing.tcp.get(host)
        } else {
            routing.hosts.get(host)
        };
        let routes = routes.map_or(&[][..], Vec::as_slice);
        let catch_all = routes.iter().position(|route| route.catch_all);
        let named: f64 = demand.through.iter().map(|(_, share)| share).sum();
        let mut shares = vec![0.0; routes.len() + 1];
        for (name, share) in &demand.through {
            let at = routes.iter().position(|route| route.name == *name);
            shares[at.or(catch_all).unwrap_or(routes.len())] += share;
        }
        shares[catch_all.unwrap_or(routes.len())] += (1.0 - named).max(0.0);
        let parts = self
            .sampling
            .split(&format!("{host}/routes"), requests, &shares);
        for (route, requests) in routes.iter().zip(&parts) {
            self.take(host, demand, route, *requests);
        }
        let lost = parts.last().copied().unwrap_or(0);
        self.refuse(host, demand, &Backend::default(), "404", "NR", lost);
    }

    fn take(&mut self, host: &str, demand: &Demand, route: &MeshRoute, requests: u64) {
        let weights: Vec<f64> = route
            .backends
            .iter()
            .map(|backend| backend.weight)
            .collect();
        let what = format!("{host}/{}/weights", route.name);
        let parts = self.sampling.split(&what, requests, &weights);
        for (backend, requests) in route.backends.iter().zip(parts) {
            match &backend.workload {
                _ if backend.missing => self.refuse(host, demand, backend, "503", "NC", requests),
                Some(workload) if !backend.ready.is_empty() => {
                    self.answer(demand, backend, workload, requests, Delivery::Request);
                }
                _ => self.refuse(host, demand, backend, "503", "UH", requests),
            }
        }
        for mirror in &route.mirrors {
            let what = format!("{host}/{}/mirror", route.name);
            let parts = [mirror.weight, 1.0 - mirror.weight];
            let copies = self.sampling.split(&what, requests, &parts)[0];
            // No proxy reports a copy that reaches no pod.
            if let Some(workload) = &mirror.workload {
                self.answer(demand, mirror, workload, copies, Delivery::Copy);
            }
        }
    }

    /// Requests that no upstream took: only the caller's proxy knows of them.
    fn refuse(
        &mut self,
        host: &str,
        demand: &Demand,
        backend: &Backend,
        code: &str,
        flags: &str,
        requests: u64,
    ) {
        if requests == 0 {
            return;
        }
        let mut service = backend.service.clone();
        if service.host.is_empty() {
            host.clone_into(&mut service.host);
            host.clone_into(&mut service.name);
            "unknown".clone_into(&mut service.namespace);
        }
        let stream = Stream {
            reporter: ReportingProxy::Source,
            pod: demand.source.pod.clone(),
            source: demand.source.clone(),
            service,
            workload: None,
            outcome: RequestOutcome {
                code: code.to_owned(),
                flags: flags.to_owned(),
                grpc: None,
            },
            operation: None,
            tcp: demand.tcp,
        };
        let mut buckets = [0; super::behaviour::BOUNDS.len() + 1];
        buckets[0] = requests;
        self.streams.entry(stream).or_default().add(&buckets, 0.1);
    }

    fn answer(
        &mut self,
        demand: &Demand,
        backend: &Backend,
        workload: &Workload,
        requests: u64,
        kind: Delivery,
    ) {
        if requests == 0 {
            return;
        }
        let key = (workload.namespace.clone(), workload.name.clone());
        let behaviour = self.versions.get(&key).cloned().unwrap_or_default();
        if behaviour.operations.is_empty() {
            return self.answer_operation(
                demand,
                backend,
                workload,
                requests,
                kind,
                (&behaviour, None),
            );
        }
        let shares: Vec<f64> = behaviour.operations.iter().map(|of| of.share).collect();
        let what = format!("{}/{}/{}/operations", backend.service.host, key.0, key.1);
        let parts = self.sampling.split(&what, requests, &shares);
        for (operation, requests) in behaviour.operations.iter().zip(parts) {
            let of = (&behaviour, Some(operation));
            self.answer_operation(demand, backend, workload, requests, kind, of);
        }
    }

    /// Requests of one operation, or of all where none is named.
    fn answer_operation(
        &mut self,
        demand: &Demand,
        backend: &Backend,
        workload: &Workload,
        requests: u64,
        kind: Delivery,
        (behaviour, operation): (&Behaviour, Option<&Operation>),
    ) {
        if requests == 0 {
            return;
        }
        let key = (workload.namespace.clone(), workload.name.clone());
        let episodes: Vec<Episode> = behaviour
            .episodes
            .iter()
            .chain(&demand.episodes)
            .filter(|episode| episode.covers(self.at))
            .copied()
            .collect();
        let healthy = episodes
            .iter()
            .fold(1.0 - behaviour.error_rate, |share, episode| {
                share * (1.0 - episode.errors)
            });
        let healthy = operation.map_or(healthy, |of| healthy * (1.0 - of.errors));
        let slowdown: f64 = episodes.iter().map(|episode| episode.slowdown).product();
        let mut what = format!("{}/{}/{}", backend.service.host, key.0, key.1);
        if let Some(operation) = operation {
            what = format!("{what}/{}", operation.name);
        }
        let ends = self.sampling.split(
            &format!("{what}/failed"),
            requests,
            &[1.0 - healthy, healthy],
        );
        for (requests, failed) in ends.into_iter().zip([true, false]) {
            let mut outcome = outcome(behaviour, failed);
            if demand.tcp && failed && outcome.flags == "-" {
                // A connection has no status code: it breaks.
                "UF".clone_into(&mut outcome.flags);
            }
            let pods = vec![1.0; backend.ready.len()];
            let parts = self
                .sampling
                .split(&format!("{what}/{failed}/pods"), requests, &pods);
            let shares = behaviour.latency.shares(slowdown);
            let mean = behaviour.latency.mean() * slowdown;
            for (pod, requests) in backend.ready.iter().zip(parts) {
                let buckets =
                    self.sampling
                        .split(&format!("{what}/{failed}/buckets"), requests, &shares);
                let mut report = |reporter, pod: &Pod| {
                    let stream = Stream {
                        reporter,
                        pod: pod.clone(),
                        source: demand.source.clone(),
                        service: backend.service.clone(),
                        workload: Some(workload.clone()),
                        outcome: outcome.clone(),
                        operation: operation.map(|of| of.name.clone()),
                        tcp: demand.tcp,
                    };
                    if requests > 0 {
                        self.streams.entry(stream).or_default().add(&buckets, mean);
                    }
                };
                // The proxy that copies a request does not report the copy.
                if kind == Delivery::Request {
                    report(ReportingProxy::Source, &demand.source.pod);
                }
                let unseen = self.bare.contains(&key) || failed && behaviour.failure.source_only;
                if !unseen {
                    report(ReportingProxy::Destination, pod);
                }
            }
        }
    }
}

/// What reaches a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// The caller waits for the answer.
    Request,
    /// A mirrored copy, whose answer is dropped.
    Copy,
}

fn outcome(behaviour: &Behaviour, failed: bool) -> RequestOutcome {
    let failure = &behaviour.failure;
    match (behaviour.grpc, failed) {
        (true, failed) => RequestOutcome {
            code: "200".to_owned(),
            flags: if failed {
                failure.flags.clone()
            } else {
                "-".to_owned()
            },
            grpc: Some(if failed {
                failure.grpc.clone()
            } else {
                "0".to_owned()
            }),
        },
        (false, true) => RequestOutcome {
            code: failure.code.clone(),
            flags: failure.flags.clone(),
            grpc: None,
        },
        (false, false) => RequestOutcome {
            code: "200".to_owned(),
            flags: "-".to_owned(),
            grpc: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    const HOST: &str = "reviews.shop.svc.cluster.local";

    fn routing(v1: f64, v2: f64, canary_pods: usize) -> Routing {
        Routing::split(HOST, &[("v1", v1, 2), ("v2", v2, canary_pods)])
    }

    fn traffic(sampling: Sampling) -> TrafficModel {
        let mut traffic = TrafficModel::new(Timestamp::UNIX_EPOCH, sampling);
        traffic.demand(HOST).per_second(100.0);
        traffic
    }

    fn run(traffic: &mut TrafficModel, routing: &Routing, seconds: i64) {
        for _ in 0..seconds {
            let to = traffic.at() + SignedDuration::from_secs(1);
            traffic.advance(to, routing);
        }
    }

    fn version(stream: &Stream) -> &str {
        stream.workload.as_ref().map_or("", |w| &w.version)
    }

    #[test]
    fn without_chance_every_rate_is_met_to_the_request() {
        let mut traffic = traffic(Sampling::exact());
        traffic.version("shop", "reviews-v2").fails(0.1);
        run(&mut traffic, &routing(90.0, 10.0, 2), 100);
        assert_eq!(traffic.seen_at_source(|_| true), 10_000);
        assert_eq!(traffic.seen_at_source(|s| version(s) == "v2"), 1_000);
        assert_eq!(traffic.seen_at_source(|s| s.outcome.code == "500"), 100);
        let at_destination: u64 = traffic
            .streams()
            .filter(|(s, _)| s.reporter == ReportingProxy::Destination)
            .map(|(_, counters)| counters.buckets.iter().sum::<u64>())
            .sum();
        assert_eq!(at_destination, 10_000);
    }

    #[test]
    fn a_canary_without_ready_pods_is_seen_by_the_caller_only() {
        let mut traffic = traffic(Sampling::exact());
        run(&mut traffic, &routing(50.0, 50.0, 0), 10);
        let refused: Vec<&Stream> = traffic
            .streams()
            .map(|(stream, _)| stream)
            .filter(|stream| stream.outcome.flags == "UH")
            .collect();
        assert_eq!(refused.len(), 1);
        let labels = refused[0].labels();
        assert_eq!(labels["reporter"], "source");
        assert_eq!(labels["destination_version"], "unknown");
        assert_eq!(labels["destination_service"], HOST);
        assert_eq!(labels["response_code"], "503");
    }

    #[test]
    fn spells_begin_and_end_at_their_own_time() {
        let mut traffic = traffic(Sampling::exact());
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        traffic.demand(HOST).fails_between(at(2), at(4), 0.5);
        traffic.demand(HOST).per_second_from(at(8), 0.0);
        traffic.advance(at(10), &routing(100.0, 0.0, 2));
        assert_eq!(traffic.seen_at_source(|s| s.outcome.code == "500"), 100);
        assert_eq!(traffic.seen_at_source(|_| true), 800);
    }

    #[test]
    fn a_restarted_proxy_counts_from_zero() {
        let mut traffic = traffic(Sampling::exact());
        let mut routing = routing(100.0, 0.0, 2);
        run(&mut traffic, &routing, 10);
        if let Some(mut first) = routing.pods.first_entry() {
            *first.get_mut() += 1;
        }
        run(&mut traffic, &routing, 1);
        let counted: BTreeMap<&str, u64> = traffic
            .streams()
            .filter(|(s, _)| s.reporter == ReportingProxy::Destination)
            .map(|(s, counters)| (s.pod.name.as_str(), counters.requests))
            .collect();
        assert_eq!(counted["reviews-v1-0"], 50);
        assert_eq!(counted["reviews-v1-1"], 550);
    }

    #[test]
    fn copies_are_reported_by_whom_they_reach_alone() {
        let mut traffic = traffic(Sampling::exact());
        traffic.version("shop", "reviews-v2").fails(0.5);
        let mut routing = routing(100.0, 0.0, 2);
        for route in routing.hosts.get_mut(HOST).unwrap() {
            let mirror = route.backends[1].clone();
            route.mirrors.push(Backend {
                weight: 0.1,
                ..mirror
            });
        }
        run(&mut traffic, &routing, 10);
        assert_eq!(traffic.seen_at_source(|_| true), 1_000);
        assert_eq!(traffic.seen_at_source(|s| version(s) == "v2"), 0);
        let copies: Vec<(&str, u64)> = traffic
            .streams()
            .filter(|(s, _)| s.reporter == ReportingProxy::Destination && version(s) == "v2")
            .map(|(s, counters)| (s.outcome.code.as_str(), counters.requests))
            .collect();
        let of = |code| {
            copies
                .iter()
                .filter(|(is, _)| *is == code)
                .map(|c| c.1)
                .sum::<u64>()
        };
        assert_eq!((of("200"), of("500")), (50, 50), "{copies:?}");
    }

    #[test]
    fn requests_without_a_route_are_answered_404() {
        let mut traffic = traffic(Sampling::exact());
        run(&mut traffic, &Routing::default(), 1);
        assert_eq!(traffic.seen_at_source(|s| s.outcome.flags == "NR"), 100);
    }
}
