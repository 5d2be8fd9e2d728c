//! The load: how many requests, of which route, and what goes wrong with all of them.

use jiff::Timestamp;

use super::behaviour::Episode;
use super::stream::Caller;

/// What callers want of one host.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// Requests per second.
    pub per_second: f64,
    /// From these times on, another number of requests per second.
    pub changes: Vec<(Timestamp, f64)>,
    /// Shares of the requests that match the route of this name; the rest takes the catch-all.
    pub through: Vec<(String, f64)>,
    /// Whether callers open TCP connections instead of sending requests.
    pub tcp: bool,
    /// Who calls.
    pub source: Caller,
    /// Times in which every version behind the host is worse: a shared outage.
    pub episodes: Vec<Episode>,
}

impl Demand {
    /// This many requests per second.
    pub fn per_second(&mut self, rate: f64) -> &mut Self {
        self.per_second = rate;
        self
    }

    /// From `at` on, this many requests per second.
    pub fn per_second_from(&mut self, at: Timestamp, rate: f64) -> &mut Self {
        self.changes.push((at, rate));
        self.changes.sort_by_key(|(at, _)| *at);
        self
    }

    /// This share of the requests matches the route of this name.
    pub fn through(&mut self, route: &str, share: f64) -> &mut Self {
        self.through.push((route.to_owned(), share));
        self
    }

    /// Between the two times this share of requests fails, whichever version answers.
    pub fn fails_between(&mut self, from: Timestamp, until: Timestamp, errors: f64) -> &mut Self {
        self.episodes.push(Episode {
            from,
            until,
            errors,
            slowdown: 1.0,
        });
        self
    }

    /// Callers open connections, as many as they would send requests.
    pub fn over_tcp(&mut self) -> &mut Self {
        self.tcp = true;
        self
    }

    pub(crate) fn rate_at(&self, at: Timestamp) -> f64 {
        let changed = self.changes.iter().rev().find(|(from, _)| *from <= at);
        changed.map_or(self.per_second, |(_, rate)| *rate)
    }
}
