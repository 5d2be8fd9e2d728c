//! What is simulated: a pair of versions, their traffic, and what goes wrong.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pair of versions under traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Scenario {
    /// Requests per second to both versions together.
    pub requests_per_second: f64,
    /// Share of stable's requests that fail.
    pub stable: f64,
    /// The canary fails `ratio * stable + added` of its requests.
    pub ratio: f64,
    /// See `ratio`.
    pub added: f64,
    /// Seconds into the rollout at which the canary becomes what `ratio` and `added` say; before, it
    /// is as good as stable.
    pub onset: f64,
    /// The canary is only bad at this share of the traffic or above; 0 for always.
    pub bad_from_share: f64,
    /// How long requests take, if that is to be judged.
    pub latency: Option<DurationModel>,
    /// Operations that a label tells apart, each failing at rates of its own instead of the above; none for
    /// requests that are all alike.
    pub operations: Vec<SimulatedOperation>,
    /// What else happens.
    pub disturbance: Disturbance,
}

/// One kind of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SimulatedOperation {
    /// What the label calls it.
    pub name: String,
    /// Its part of stable's requests.
    pub of_stable: f64,
    /// Its part of the canary's requests.
    pub of_canary: f64,
    /// Share of its requests that fail on stable.
    pub stable: f64,
    /// Share of its requests that fail on the canary.
    pub canary: f64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            requests_per_second: 100.0,
            stable: 0.001,
            ratio: 1.0,
            added: 0.0,
            onset: 0.0,
            bad_from_share: 0.0,
            latency: None,
            operations: Vec::new(),
            disturbance: Disturbance::default(),
        }
    }
}

/// Log-normal request durations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DurationModel {
    /// Stable's median in milliseconds.
    pub median_ms: f64,
    /// Standard deviation of the logarithm.
    pub spread: f64,
    /// How many times slower the canary is.
    pub slowdown: f64,
    /// Standard deviation of the logarithm of the median from window to window, each version by
    /// itself.
    pub jitter: f64,
}

/// What goes wrong beside the versions themselves. All of it may happen at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Disturbance {
    /// Both versions fail together.
    pub outage: Option<Outage>,
    /// One version's counters arrive late.
    pub lag: Option<Lag>,
    /// The failure rate of each version varies from scrape to scrape: intra-class correlation of a
    /// beta distribution.
    pub noise: Option<f64>,
    /// Failures come in clusters of this mean size.
    pub clusters: Option<f64>,
    /// Both rates drift together: standard deviation of their logarithm, correlated over five minutes.
    pub drift: Option<f64>,
    /// The canary's rate differs by a log-normal factor of this standard deviation.
    pub pods: Option<f64>,
    /// The canary fails more while it is young.
    pub warmup: Option<Warmup>,
    /// The canary overloads what both versions share.
    pub overload: Option<Overload>,
    /// Share of all requests that fail without reaching an upstream, so that no version is named.
    pub unreached: Option<f64>,
    /// The canary gets this part of what its weight says: kept connections, sticky callers.
    pub realised: Option<f64>,
    /// Requests that other rules send to stable and that never fail, as a multiple of those that go by the
    /// weights.
    pub alongside: Option<f64>,
    /// Share of stable's requests that fail on top from the rollout's beginning on: the canary is the fix.
    pub broken_stable: Option<f64>,
    /// An outage ten minutes into what is known of the time before the rollout.
    pub past_outage: Option<PastOutage>,
    /// The canary takes longer while it is young.
    pub slow_start: Option<SlowStart>,
    /// Seconds that a request takes that succeeds; failures come at once, and each is counted when it
    /// ends.
    pub response_time: Option<f64>,
}

/// Both versions fail together for a while.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    /// Earliest and latest start, in seconds into the rollout; uniform between.
    pub start: (f64, f64),
    /// How many seconds it lasts.
    pub lasts: f64,
    /// Share of requests that fail, of either version.
    pub rate: f64,
}

/// Stable failed for a while before the rollout.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastOutage {
    /// How many seconds it lasted.
    pub lasted: f64,
    /// Share of requests that failed.
    pub rate: f64,
}

/// A canary that compiles what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlowStart {
    /// How many times slower it is at its first request.
    pub factor: f64,
    /// In how many seconds that fades, evenly.
    pub lasts: f64,
}

/// Whose counters arrive a scrape late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lag {
    /// Stable's.
    Stable,
    /// The canary's.
    Canary,
}

/// A canary that has to warm up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Warmup {
    /// For how many seconds.
    pub lasts: f64,
    /// Share of its requests that fail on top.
    pub added: f64,
}

/// A shared resource that the canary's traffic exhausts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overload {
    /// Share of the traffic from which it hurts.
    pub from_share: f64,
    /// Share of requests that fail of both versions at full canary share; in proportion to what
    /// exceeds `from_share`.
    pub at_full: f64,
    /// Seconds the resource takes to follow the load, up and down.
    pub inertia: f64,
}
