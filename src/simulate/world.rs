//! Makes windows of counts out of a scenario.

use jiff::{SignedDuration, Timestamp};

use super::sampler::Sampler;
use super::scenario::{DurationModel, Lag, Scenario, SimulatedOperation};
use crate::metrics::{Named, ShareOfWindow, Unattributed};
use crate::verdict::sequential::History;
use crate::verdict::{BesideWeights, Counts, OfOperation, OfStatus, Slow, StatusCode, Window};

/// The status of whatever fails.
const FAILED: StatusCode = StatusCode::Http(500);
/// Correlation time of drift, in seconds.
const DRIFT: f64 = 300.0;
/// Seconds into what is known of the past at which stable failed for a while.
const PAST_OUTAGE_AT: f64 = 600.0;
/// Bounds of the latency histogram, in milliseconds.
const BOUNDS: [f64; 13] = [
    1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0,
];

/// The simulated traffic, scrape by scrape.
#[derive(Clone, Debug)]
pub struct SimulatedWorld<'a> {
    scenario: &'a Scenario,
    sampler: Sampler,
    scrape: f64,
    outage_at: f64,
    pod_factor: f64,
    drift: f64,
    load: f64,
    traffic_began: Option<f64>,
    late: Option<Late>,
    unattributed: Unattributed,
    /// When requests were sent under which share, as far back as they may still be answered.
    sent: Vec<Stretch>,
}

/// A time of constant weights, in seconds into the rollout.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: f64,
    until: f64,
    share: f64,
}

/// One version's counts of a scrape.
#[derive(Clone, Debug, Default)]
struct Late {
    counts: Counts,
    slow: Vec<Counts>,
    operations: Vec<Counts>,
}

impl Late {
    fn add(&mut self, counts: Counts, slow: Vec<Counts>) {
        self.counts += counts;
        add_each(&mut self.slow, slow);
    }

    fn add_operations(&mut self, operations: Vec<Counts>) {
        for counts in &operations {
            self.counts += *counts;
        }
        add_each(&mut self.operations, operations);
    }
}

fn add_each(sums: &mut Vec<Counts>, counts: Vec<Counts>) {
    if sums.is_empty() {
        *sums = counts;
    } else {
        for (sum, counts) in sums.iter_mut().zip(counts) {
            *sum += counts;
        }
    }
}

/// What truly happened in a scrape, whatever the counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Truth {
    /// Canary requests times what its failure rate exceeds stable's by.
    pub excess: f64,
    /// Failed canary requests.
    pub failed: u64,
    /// Requests to either version that failed because of the canary, damage through what both share
    /// included.
    pub damage: f64,
}

impl<'a> SimulatedWorld<'a> {
    /// A world that is drawn anew for each seed. `scrape` is in seconds.
    pub fn new(scenario: &'a Scenario, scrape: f64, seed: u64) -> Self {
        let mut sampler = Sampler::new(seed);
        let disturbance = &scenario.disturbance;
        let outage_at = disturbance.outage.map_or(f64::INFINITY, |o| {
            o.start.0 + (o.start.1 - o.start.0) * sampler.uniform()
        });
        let pod_factor = disturbance
            .pods
            .map_or(1.0, |sd| (sd * sampler.normal()).exp());
        let drift = disturbance.drift.map_or(0.0, |sd| sd * sampler.normal());
        Self {
            scenario,
            sampler,
            scrape,
            outage_at,
            pod_factor,
            drift,
            load: 0.0,
            traffic_began: None,
            late: None,
            unattributed: Unattributed::default(),
            sent: Vec::new(),
        }
    }

    /// What stable did before the rollout, oldest first, as far back as a rollout reads it.
    pub fn history(&mut self) -> Vec<Window> {
        let within = |time: SignedDuration| time.as_secs_f64() / self.scrape;
        let most = (within(History::LONGEST) as usize).min(History::MOST_WINDOWS);
        let least = within(History::SHORTEST).ceil() as usize;
        let mut windows = Vec::new();
        let mut failures = 0;
        while windows.len() < most && (windows.len() < least || failures < History::ENOUGH) {
            let window = self.past(windows.len() as f64 * self.scrape);
            failures += window.stable.failures;
            windows.push(window);
        }
        windows
    }

    /// What stable did in the last `seconds` before the rollout, oldest first: what a rollout reads
    /// where stable is not older.
    pub fn recent(&mut self, seconds: f64) -> Vec<Window> {
        let count = (seconds / self.scrape) as usize;
        (0..count)
            .map(|i| self.past(i as f64 * self.scrape))
            .collect()
    }

    fn past(&mut self, at: f64) -> Window {
        self.step_drift();
        let mut rate = self.scenario.stable * self.drift.exp();
        if let Some(outage) = self.scenario.disturbance.past_outage
            && (PAST_OUTAGE_AT..PAST_OUTAGE_AT + outage.lasted).contains(&at)
        {
            rate += outage.rate;
        }
        let rate = self.noisy(rate.min(1.0));
        let mean = self.scenario.requests_per_second * self.scrape;
        let mut past = Late::default();
        if self.scenario.operations.is_empty() {
            past.counts = self.count(mean, rate);
        } else {
            let operations = self.operations(mean, |of| (of.of_stable, of.stable));
            past.add_operations(operations);
        }
        let operations = self.of_operations(&past, &Late::default());
        let mut stable = past.counts;
        stable.requests += self.alongside(self.scrape);
        let slow = match self.scenario.disturbance.response_time {
            Some(seconds) => all_take(seconds, stable),
            None => self.slow_counts(mean, 1.0),
        };
        let slow = BOUNDS
            .iter()
            .zip(slow)
            .map(|(&bound_ms, stable)| Slow {
                bound_ms,
                stable,
                ..Slow::default()
            })
            .collect();
        let before = 48.0 * 3600.0;
        Window {
            start: instant(at - before),
            end: instant(at - before + self.scrape),
            stable,
            failed_with: vec![OfStatus {
                status: FAILED,
                stable: stable.failures,
                canary: 0,
            }],
            refused_with: Some(Vec::new()),
            operations,
            slow,
            ..Window::default()
        }
    }

    /// Requests of each operation of so many that a version gets; which part of them, and how many fail, is said
    /// by `of`.
    fn operations(
        &mut self,
        mean: f64,
        of: impl Fn(&SimulatedOperation) -> (f64, f64),
    ) -> Vec<Counts> {
        let scenario = self.scenario;
        let counts = scenario.operations.iter().map(|operation| {
            let (part, rate) = of(operation);
            let rate = self.noisy(rate);
            self.count(mean * part, rate)
        });
        counts.collect()
    }

    fn of_operations(&self, stable: &Late, canary: &Late) -> Vec<OfOperation> {
        let of = |counts: &Late, at: usize| counts.operations.get(at).copied().unwrap_or_default();
        let names = self.scenario.operations.iter().enumerate();
        let counted = names.map(|(at, operation)| OfOperation {
            operation: Some(operation.name.clone()),
            stable: of(stable, at),
            canary: of(canary, at),
        });
        counted.collect()
    }

    /// What is scraped of the time from `at` seconds into the rollout on, and what happened in truth.
    /// The weights may change in it: `stretches` are seconds, each with the canary's share. The window
    /// has the last share.
    pub fn window(&mut self, at: f64, stretches: &[(f64, f64)]) -> (Window, Truth) {
        self.step_drift();
        let (mut stable, mut canary) = (Late::default(), Late::default());
        let mut truth = Truth::default();
        let (mut now, mut last) = (at, 0.0);
        for &(seconds, share) in stretches {
            let realised = share * self.scenario.disturbance.realised.unwrap_or(1.0);
            self.stretch(
                now,
                seconds,
                realised,
                [&mut stable, &mut canary],
                &mut truth,
            );
            if self.scenario.disturbance.response_time.is_some() {
                self.sent.push(Stretch {
                    from: now,
                    until: now + seconds,
                    share: realised,
                });
            }
            now += seconds;
            last = share;
        }
        if let Some(took) = self.scenario.disturbance.response_time {
            self.answer(at - took, now - took, [&mut stable, &mut canary]);
            for version in [&mut stable, &mut canary] {
                version.slow = all_take(took, version.counts);
            }
        }
        if let Some(rate) = self.scenario.disturbance.unreached {
            let share = ShareOfWindow {
                at_end: last,
                before: stretches.first().map_or(last, |first| first.1),
                beside: BesideWeights::default(),
            };
            self.leave_unreached(rate, now - at, share, [&mut stable, &mut canary]);
        }
        stable.counts.requests += self.alongside(now - at);
        let (stable, canary) = match self.scenario.disturbance.lag {
            None => (stable, canary),
            Some(Lag::Stable) => (self.delay(stable), canary),
            Some(Lag::Canary) => (stable, self.delay(canary)),
        };
        let operations = self.of_operations(&stable, &canary);
        let failed_with = vec![OfStatus {
            status: FAILED,
            stable: stable.counts.failures,
            canary: canary.counts.failures,
        }];
        let slow = BOUNDS
            .iter()
            .zip(stable.slow.into_iter().zip(canary.slow))
            .map(|(&bound_ms, (stable, canary))| Slow {
                bound_ms,
                stable,
                canary,
            })
            .collect();
        let window = Window {
            start: instant(at),
            end: instant(now),
            share: last,
            stable: stable.counts,
            canary: canary.counts,
            failed_with,
            refused_with: Some(Vec::new()),
            operations,
            slow,
            ..Window::default()
        };
        (window, truth)
    }

    /// What other rules send to stable in so many seconds.
    fn alongside(&mut self, seconds: f64) -> u64 {
        let times = self.scenario.disturbance.alongside.unwrap_or(0.0);
        self.sampler
            .poisson(times * self.scenario.requests_per_second * seconds)
    }

    /// Counts the successes of what was sent between two times.
    fn answer(&mut self, from: f64, until: f64, [stable, canary]: [&mut Late; 2]) {
        let scenario = self.scenario;
        let rate = scenario.requests_per_second;
        let canary_rate = scenario.ratio * scenario.stable + scenario.added;
        let mut sent = std::mem::take(&mut self.sent);
        // Before the rollout stable had everything.
        let before = Stretch {
            from: f64::NEG_INFINITY,
            until: 0.0,
            share: 0.0,
        };
        for part in sent.iter().chain([&before]) {
            let seconds = part.until.min(until) - part.from.max(from);
            if seconds > 0.0 {
                let mean = rate * seconds;
                let [of_stable, of_canary] = [
                    mean * (1.0 - part.share) * (1.0 - scenario.stable),
                    mean * part.share * (1.0 - canary_rate),
                ]
                .map(|mean| self.sampler.poisson(mean));
                stable.counts.requests += of_stable;
                canary.counts.requests += of_canary;
            }
        }
        sent.retain(|part| part.until > from);
        self.sent = sent;
    }

    /// Requests that reach no upstream, put to a version as the metrics put them.
    fn leave_unreached(
        &mut self,
        rate: f64,
        seconds: f64,
        share: ShareOfWindow,
        [stable, canary]: [&mut Late; 2],
    ) {
        let mean = self.scenario.requests_per_second * seconds * rate;
        let requests = self.sampler.poisson(mean);
        let named = Named {
            stable: stable.counts,
            canary: canary.counts,
            unknown: Counts {
                requests,
                failures: requests,
            },
        };
        (stable.counts, canary.counts) = self.unattributed.assign(named, share);
    }

    /// What the canary does with copies of this share of the requests of a window, seen beside stable.
    /// No user's request depends on it.
    pub fn copies(&mut self, at: f64, window: &Window, share: f64) -> Window {
        let seconds = window.length().as_secs_f64();
        let (_, _, canary) = self.rates(at, seconds, share);
        let rate = self.noisy(canary);
        let mean = (window.stable.requests + window.canary.requests) as f64 * share;
        let slowdown = self.scenario.latency.map_or(1.0, |l| l.slowdown);
        let slow = self.slow_counts(mean, slowdown);
        Window {
            canary: self.count(mean, rate),
            slow: window
                .slow
                .iter()
                .zip(slow)
                .map(|(beside, canary)| Slow {
                    canary,
                    ..beside.clone()
                })
                .collect(),
            by_callees: true,
            ..window.clone()
        }
    }

    /// A time of constant weights, added to what both versions did.
    fn stretch(
        &mut self,
        at: f64,
        seconds: f64,
        share: f64,
        [stable_did, canary_did]: [&mut Late; 2],
        truth: &mut Truth,
    ) {
        if !self.scenario.operations.is_empty() {
            let mean = self.scenario.requests_per_second * seconds;
            let of_stable = self.operations(mean * (1.0 - share), |of| (of.of_stable, of.stable));
            let of_canary = self.operations(mean * share, |of| (of.of_canary, of.canary));
            truth.failed += of_canary.iter().map(|counts| counts.failures).sum::<u64>();
            for (counts, of) in of_canary.iter().zip(&self.scenario.operations) {
                truth.excess += counts.requests as f64 * (of.canary - of.stable);
            }
            truth.damage = truth.excess;
            stable_did.add_operations(of_stable);
            canary_did.add_operations(of_canary);
            return;
        }
        let (usual, stable, canary) = self.rates(at, seconds, share);
        let mean = self.scenario.requests_per_second * seconds;
        let (noisy_stable, noisy_canary) = (self.noisy(stable), self.noisy(canary));
        let mut stable_counts = self.count(mean * (1.0 - share), noisy_stable);
        let mut canary_counts = self.count(mean * share, noisy_canary);
        if self.scenario.disturbance.response_time.is_some() {
            // Only what failed has ended.
            stable_counts.requests = stable_counts.failures;
            canary_counts.requests = canary_counts.failures;
        }
        let mut slowdown = self.scenario.latency.map_or(1.0, |l| l.slowdown);
        if let (Some(slow), Some(began)) =
            (self.scenario.disturbance.slow_start, self.traffic_began)
        {
            let left = (1.0 - (at - began) / slow.lasts).max(0.0);
            slowdown *= 1.0 + (slow.factor - 1.0) * left;
        }
        stable_did.add(stable_counts, self.slow_counts(mean * (1.0 - share), 1.0));
        canary_did.add(canary_counts, self.slow_counts(mean * share, slowdown));
        let excess = canary_counts.requests as f64 * (canary - stable);
        truth.excess += excess;
        truth.failed += canary_counts.failures;
        truth.damage +=
            excess + (stable_counts.requests + canary_counts.requests) as f64 * (stable - usual);
    }

    /// The usual rate, and the two versions' rates now.
    fn rates(&mut self, at: f64, seconds: f64, share: f64) -> (f64, f64, f64) {
        let scenario = self.scenario;
        let disturbance = &scenario.disturbance;
        let usual = (scenario.stable * self.drift.exp()).min(1.0);
        let mut shared = usual;
        if let Some(outage) = disturbance.outage
            && (self.outage_at..self.outage_at + outage.lasts).contains(&at)
        {
            shared += outage.rate;
        }
        let healthy = shared;
        if let Some(overload) = disturbance.overload {
            let target = ((share - overload.from_share) / (1.0 - overload.from_share)).max(0.0);
            let follow = 1.0 - (-seconds / overload.inertia).exp();
            self.load += follow * (target - self.load);
            shared += overload.at_full * self.load;
        }
        let mut canary = shared;
        if at >= scenario.onset && share >= scenario.bad_from_share {
            canary = scenario.ratio * shared + scenario.added;
        }
        canary *= self.pod_factor;
        if share > 0.0 {
            let began = *self.traffic_began.get_or_insert(at);
            if let Some(warmup) = disturbance.warmup
                && at - began < warmup.lasts
            {
                canary += warmup.added;
            }
        }
        let of_stable = shared + disturbance.broken_stable.unwrap_or(0.0);
        (healthy.min(1.0), of_stable.min(1.0), canary.min(1.0))
    }

    fn step_drift(&mut self) {
        if let Some(sd) = self.scenario.disturbance.drift {
            let keep = (-self.scrape / DRIFT).exp();
            self.drift =
                keep * self.drift + sd * (1.0 - keep * keep).sqrt() * self.sampler.normal();
        }
    }

    fn noisy(&mut self, rate: f64) -> f64 {
        match self.scenario.disturbance.noise {
            Some(rho) if rate > 0.0 && rate < 1.0 => self.sampler.beta(rate, rho),
            _ => rate,
        }
    }

    /// Poisson requests of which a share fails: failures and successes are independent counts.
    fn count(&mut self, mean: f64, rate: f64) -> Counts {
        let failures = match self.scenario.disturbance.clusters {
            Some(size) if rate < 0.3 => self.sampler.clusters(mean * rate, size),
            _ => self.sampler.poisson(mean * rate),
        };
        Counts {
            requests: failures + self.sampler.poisson(mean * (1.0 - rate)),
            failures,
        }
    }

    /// Requests slower than each bound; empty if durations are not simulated.
    fn slow_counts(&mut self, mean: f64, slowdown: f64) -> Vec<Counts> {
        let Some(latency) = self.scenario.latency else {
            return Vec::new();
        };
        let median = latency.median_ms * slowdown * (latency.jitter * self.sampler.normal()).exp();
        // The buckets are independent counts; what is slower than a bound is the sum above it.
        let mut faster = 0.0;
        let mut buckets: Vec<u64> = Vec::with_capacity(BOUNDS.len() + 1);
        for bound in BOUNDS {
            let below = below(bound, median, latency);
            buckets.push(self.sampler.poisson(mean * (below - faster)));
            faster = below;
        }
        buckets.push(self.sampler.poisson(mean * (1.0 - faster)));
        let requests: u64 = buckets.iter().sum();
        let mut slow = requests;
        buckets
            .iter()
            .take(BOUNDS.len())
            .map(|bucket| {
                slow -= bucket;
                Counts {
                    requests,
                    failures: slow,
                }
            })
            .collect()
    }

    /// What the counters of a late version say: the scrape before.
    fn delay(&mut self, now: Late) -> Late {
        let late = self.late.replace(now.clone());
        // Before the rollout there was a scrape too, but only of stable; the canary had nothing yet.
        late.unwrap_or_else(|| {
            if self.scenario.disturbance.lag == Some(Lag::Stable) {
                now
            } else {
                Late {
                    counts: Counts::default(),
                    slow: vec![Counts::default(); now.slow.len()],
                    operations: Vec::new(),
                }
            }
        })
    }
}

/// Requests slower than each bound where all that succeed take so many seconds.
fn all_take(seconds: f64, counts: Counts) -> Vec<Counts> {
    let slow = |bound: &f64| Counts {
        requests: counts.requests,
        failures: match seconds * 1000.0 > *bound {
            true => counts.requests - counts.failures,
            false => 0,
        },
    };
    BOUNDS.iter().map(slow).collect()
}

/// The share of requests faster than `bound`.
fn below(bound: f64, median: f64, latency: DurationModel) -> f64 {
    let z = (bound / median).ln() / latency.spread;
    // The logistic approximation of the normal distribution is within 0.01 and monotonous, which is
    // all that simulated latency needs.
    1.0 / (1.0 + (-1.702 * z).exp())
}

/// The time `seconds` into a simulated rollout.
pub(super) fn instant(seconds: f64) -> Timestamp {
    let origin = Timestamp::from_second(1_767_225_600).expect("the year 2026 is in range");
    origin + SignedDuration::from_secs_f64(seconds)
}
