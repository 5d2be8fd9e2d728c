//! The mesh: the traffic, the routes the proxies have at the moment, and the scrapes of Prometheus.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::prometheus::Storage;
use super::traffic::{Routing, Sampling, TrafficModel};

/// How long a changed route takes to the proxies, as measured on a real mesh.
const PROPAGATION: SignedDuration = SignedDuration::from_millis(80);
const SCRAPE_INTERVAL: SignedDuration = SignedDuration::from_secs(1);
const RETENTION: SignedDuration = SignedDuration::from_hours(2);

/// Everything that moves with time.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub traffic: TrafficModel,
    pub scrapes: Scrapes,
    pub propagation: SignedDuration,
    /// What the proxies have.
    current: Routing,
    /// What is on its way to them.
    coming: VecDeque<(Timestamp, Routing)>,
    /// What the objects say.
    latest: Routing,
}

/// When Prometheus scrapes, and what it has.
#[derive(Debug)]
pub struct Scrapes {
    pub(crate) storage: Storage,
    interval: SignedDuration,
    retention: SignedDuration,
    next: Timestamp,
    pauses: Vec<(Timestamp, Timestamp)>,
}

impl Scrapes {
    /// Scrapes this often from now on; one second until something is set.
    pub fn every(&mut self, interval: SignedDuration) -> &mut Self {
        self.next = self.next - self.interval + interval;
        self.interval = interval;
        self
    }

    /// Moves the scrapes that are to come by this much.
    pub fn shifted_by(&mut self, offset: SignedDuration) -> &mut Self {
        self.next += offset;
        self
    }

    /// Keeps samples for this long; two hours until something is set.
    pub fn keep(&mut self, retention: SignedDuration) -> &mut Self {
        self.storage.keep(retention);
        self.retention = retention;
        self
    }

    /// Stores each series under the labels that become of its own, as by `metric_relabel_configs`: none, one, or
    /// several for one that is scraped more than once. Series that become one are summed.
    pub fn relabel(
        &mut self,
        labels: impl Fn(&BTreeMap<String, String>) -> Vec<BTreeMap<String, String>>
        + Send
        + Sync
        + 'static,
    ) -> &mut Self {
        self.storage.relabel(Arc::new(labels));
        self
    }

    /// Between the two times nothing is scraped: samples stop, queries go on.
    pub fn stop_between(&mut self, from: Timestamp, until: Timestamp) -> &mut Self {
        self.pauses.push((from, until));
        self
    }

    /// Leaves out scrapes that would be forgotten by now, as after a laptop's sleep.
    fn skip_forgotten(&mut self, now: Timestamp) {
        let late = now.duration_since(self.next) - self.retention;
        if late > self.interval {
            let missed = late.as_millis() / self.interval.as_millis().max(1);
            let missed = i32::try_from(missed).unwrap_or(i32::MAX);
            self.next += self.interval.saturating_mul(missed);
        }
    }

    /// Has a series of a user's own, whose samples may be of a time to come; a value of `None` marks where
    /// it ends.
    pub fn have<'l>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        samples: impl IntoIterator<Item = (Timestamp, Option<f64>)>,
    ) -> &mut Self {
        let labels = labels.into_iter();
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let samples = samples.into_iter();
        let samples = samples.map(|(at, value)| (at.as_millisecond(), value));
        self.storage.insert(labels.collect(), samples.collect());
        self
    }

    /// How often it scrapes.
    pub fn interval(&self) -> SignedDuration {
        self.interval
    }
}

impl Mesh {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            traffic: TrafficModel::new(now, Sampling::seeded(1)),
            scrapes: Scrapes {
                storage: Storage::new(RETENTION),
                interval: SCRAPE_INTERVAL,
                retention: RETENTION,
                next: now + SCRAPE_INTERVAL,
                pauses: Vec::new(),
            },
            propagation: PROPAGATION,
            current: Routing::default(),
            coming: VecDeque::new(),
            latest: Routing::default(),
        }
    }

    /// Whether there are routes for exactly these hosts.
    pub(crate) fn knows(&self, hosts: &[String]) -> bool {
        self.latest.hosts.keys().eq(hosts)
    }

    /// Schedules new routes for after the propagation delay. A host that had no traffic yet gets its
    /// routes at once.
    pub(crate) fn reroute(&mut self, now: Timestamp, routing: Routing) {
        if routing == self.latest {
            return;
        }
        for (host, routes) in &routing.hosts {
            if !self.latest.hosts.contains_key(host) {
                self.current.hosts.insert(host.clone(), routes.clone());
                let connections = routing.tcp.get(host).cloned().unwrap_or_default();
                self.current.tcp.insert(host.clone(), connections);
            }
        }
        self.current.pods.clone_from(&routing.pods);
        for (_, coming) in &mut self.coming {
            coming.pods.clone_from(&routing.pods);
        }
        self.latest = routing.clone();
        self.coming.push_back((now + self.propagation, routing));
    }

    /// Brings everything up to `to`.
    pub(crate) fn advance(&mut self, to: Timestamp) {
        self.scrapes.skip_forgotten(to);
        loop {
            let arrival = self.coming.front().map_or(to, |(at, _)| *at);
            let next = arrival.min(self.scrapes.next).min(to);
            self.traffic.advance(next, &self.current);
            let mut moved = false;
            if let Some((at, _)) = self.coming.front()
                && *at <= next
                && let Some((_, routing)) = self.coming.pop_front()
            {
                self.current = routing;
                moved = true;
            }
            if self.scrapes.next <= next {
                self.scrape(next);
                moved = true;
            }
            if !moved && next >= to {
                return;
            }
        }
    }

    fn scrape(&mut self, at: Timestamp) {
        self.scrapes.next = at + self.scrapes.interval;
        let paused = self
            .scrapes
            .pauses
            .iter()
            .any(|(from, until)| *from <= at && at < *until);
        if paused {
            return;
        }
        // A pod that is gone or has restarted no longer shows what it had counted.
        self.traffic.advance(at, &self.current);
        let sources = self.traffic.sources().map(|source| &source.pod);
        let targets = self.current.pods.keys().chain(sources);
        self.scrapes
            .storage
            .scrape(at, targets, self.traffic.streams());
    }
}
