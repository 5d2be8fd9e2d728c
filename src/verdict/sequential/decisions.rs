//! The analysis itself: a state machine that only windows and steps move (section 8).

use jiff::{SignedDuration, Timestamp};

use super::confirmation::Confirmation;
use super::dispersion::SpreadSeen;
use super::evidence::Hold;
use super::history::History;
use super::incident::Incident;
use super::metric::{Metric, Subject};
use super::policy::Policy;
use super::realised_share::RealisedShare;
use super::regression::combine;
use super::step_record::StepRecord;
use super::traffic_split::MetricCounts;
use super::warmup::{Warmth, WarmupClock};
use crate::verdict::BesideWeights;
use crate::verdict::analysis::{Analysis, Decision, StepContext, Verdict};
use crate::verdict::window::Window;

/// Bad canary requests without which nothing trips.
pub(super) const LEAST_BAD: f64 = 3.0;
/// Part of the evidence that answers of 400 to 499 get.
const REFUSALS_WEIGHT: f64 = 0.1;
/// Part of the evidence that all latency bounds get, and the most that one gets.
const SLOW_WEIGHT: f64 = 0.4;
const SLOW_WEIGHT_EACH: f64 = 0.1;
/// Evidence above which a step is not left, in nats.
pub(super) const QUIET: f64 = std::f64::consts::LN_2;
/// Scrapes of a window that count towards the deadline; what lies further apart was time without data.
const LOST: i32 = 3;
/// Weight of the past in the smoothed number of requests in a window.
const SMOOTHING: f64 = 0.75;
/// In a window this many times as long as requests take, those sent before do not matter.
pub(super) const MIXED: i32 = 5;
/// Windows after a retreat before 100 % is tried again.
const HALF_OPEN: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnalysisPhase {
    Waiting,
    Comparing,
    Confirming,
    Baking,
}

/// The sequential verdict on a rollout.
///
/// Fed the same steps and windows it always says the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequential {
    pub(super) policy: Policy,
    pub(super) metrics: Vec<Metric>,
    pub(super) confirmation: Confirmation,
    pub(super) incident: Incident,
    pub(super) phase: AnalysisPhase,
    pub(super) step: Option<StepRecord>,
    pub(super) last_end: Option<Timestamp>,
    pub(super) per_window: Option<f64>,
    pub(super) retreats: u32,
    pub(super) overloads: u32,
    pub(super) half_open: bool,
    pub(super) alone: f64,
    /// How long requests take that were sent before the weights changed.
    pub(super) longest: SignedDuration,
    /// Whether the last window held such requests.
    pub(super) mixed: bool,
    /// Since when the canary serves.
    pub(super) warmup: WarmupClock,
    /// What the canary got over the whole rollout of what its weights promised.
    pub(super) realised: RealisedShare,
    /// The same question about refusals with the versions changed: a canary that suddenly refuses nobody may
    /// have lost its login. That can be meant, so it never rolls back.
    pub(super) fewer_refusals: Option<Metric>,
    /// What is known to send to the versions beside the weights.
    pub(super) beside: BesideWeights,
}

impl Sequential {
    /// An analysis that has seen only the stable version's history.
    pub fn new(policy: Policy, history: &History) -> Self {
        let bounds = history.slow.len() as f64;
        let each_slow = SLOW_WEIGHT_EACH.min(SLOW_WEIGHT / bounds);
        let refusals = history
            .refusals
            .map(|past| Metric::new(Subject::Refusals, REFUSALS_WEIGHT, &past));
        let weight =
            1.0 - bounds * each_slow - refusals.as_ref().map_or(0.0, |metric| metric.weight);
        // Half for all failures together, half for each status and each operation by itself: a rise of one is
        // drowned in a sum of others, and a rise of many in none.
        let (statuses, operations) = (&history.statuses, &history.operations);
        let (whole, of_kind) = match (statuses.is_empty(), operations.is_empty()) {
            (true, true) => (weight, 0.0),
            (true, false) | (false, true) => (weight / 2.0, weight - weight / 2.0),
            (false, false) => (weight / 2.0, weight / 4.0),
        };
        let each = of_kind / (statuses.len() + 1) as f64;
        let each_operation = of_kind / operations.len().max(1) as f64;
        let mut failures = Metric::new(Subject::Failures, whole, &history.failures);
        if history.recalled {
            failures.observed = Some(SpreadSeen::beside(history.failures.dispersion));
        }
        let strata = statuses
            .iter()
            .map(|(status, past)| Metric::new(Subject::FailedWith { status: *status }, each, past));
        let operations = operations.iter().map(|(operation, past)| {
            let operation = operation.clone();
            Metric::new(Subject::FailedIn { operation }, each_operation, past)
        });
        let otherwise =
            (!statuses.is_empty()).then(|| Metric::otherwise(each, &history.failures, statuses));
        let incident = Incident::new(failures.regression.as_ref().map(|r| r.stable_rate.rate()));
        let slow = history.slow.iter().map(|(bound, past)| {
            let subject = Subject::SlowerThan { bound_ms: *bound };
            Metric::new(subject, each_slow, past)
        });
        Self {
            metrics: std::iter::once(failures)
                .chain(strata)
                .chain(otherwise)
                .chain(operations)
                .chain(refusals)
                .chain(slow)
                .collect(),
            warmup: WarmupClock::new(policy.warmup, history.canary_served()),
            policy,
            confirmation: Confirmation::default(),
            incident,
            phase: AnalysisPhase::Waiting,
            step: None,
            last_end: None,
            per_window: None,
            retreats: 0,
            overloads: 0,
            half_open: false,
            alone: 0.0,
            longest: history.longest,
            mixed: false,
            realised: RealisedShare::default(),
            fewer_refusals: history
                .refusals
                .map(|past| Metric::new(Subject::Refusals, 1.0, &past)),
            beside: BesideWeights::default(),
        }
    }

    /// The same of versions that get requests beside the weights.
    #[must_use]
    pub fn beside(self, beside: BesideWeights) -> Self {
        Self { beside, ..self }
    }

    /// The counts of a window, with the part of stable's requests that did not go by the weights: by what
    /// the canary got in this window, or over all in which the weights had settled. Bets are on failures given
    /// the requests, so they are fair whatever is made of the requests of the same window.
    fn tallies(&self, window: &Window) -> Vec<MetricCounts> {
        let step = self.step.as_ref();
        let share = step.map_or(window.share, |step| step.share_over(window));
        let here = RealisedShare::of(window, share).unrelated();
        let unrelated = self.realised.unrelated().max(here);
        let tally = |metric: &Metric| {
            let tally = MetricCounts {
                share,
                unrelated,
                ..metric.tally(window)
            };
            let operation = metric.operation.as_ref();
            MetricCounts {
                share: operation.map_or(share, |operation| operation.share(&tally, share)),
                ..tally
            }
        };
        self.metrics.iter().map(tally).collect()
    }

    /// Whether requests sent before the weights changed may end in `window`, enough of them to tilt it.
    ///
    /// A request is counted when it ends. Failures that come at once are counted with the weights that
    /// they were sent under, successes that take long with those of a later time: after every increase
    /// a healthy canary looks worse than it is, and after a decrease better.
    fn is_mixed(&self, window: &Window) -> bool {
        let Some(step) = &self.step else {
            return false;
        };
        self.longest > window.length() / MIXED && window.start < step.since + self.longest
    }

    /// Bets nothing on a window, which is always allowed.
    fn pass_over(&mut self, window: &Window) -> Decision {
        self.mixed = true;
        if let Some(step) = &mut self.step {
            step.counted += window.length().min(self.policy.scrape * LOST);
        }
        Decision::Stay(Verdict::NotEnoughData, self.reasons())
    }

    fn compare(&mut self, window: &Window) -> Decision {
        self.mixed = false;
        let warmth = self.warmup.warmth();
        if let Some(step) = &self.step
            && step.is_settled(window)
            && !step.alone()
        {
            self.realised.note(window);
        }
        let tallies = self.tallies(window);
        self.review(&tallies);
        self.confirmation.record(&self.metrics, &tallies, warmth);
        for (metric, tally) in self.metrics.iter_mut().zip(&tallies) {
            metric.bet(tally, &self.policy, warmth);
        }
        self.compare_refusals(window, warmth);
        if let Some(step) = &mut self.step {
            step.count(window, tallies[0].exposure().canary);
        }
        if self.total() >= self.policy.trip() && self.leader().seen >= LEAST_BAD {
            if self.step.as_ref().is_some_and(StepRecord::is_disputed) {
                // To and fro without end would be no answer either.
                return Decision::Inconclusive(self.reasons());
            }
            self.phase = AnalysisPhase::Confirming;
            return Decision::Trip(self.reasons());
        }
        self.learn(window, &tallies);
        if self.phase == AnalysisPhase::Baking {
            return self.bake(window, &tallies);
        }
        if self.blamed() {
            self.overloads += 1;
            return Decision::Retreat(self.reasons());
        }
        self.decide(window)
    }

    /// Bets that stable refuses more than the canary, where both get the same kinds of requests.
    fn compare_refusals(&mut self, window: &Window, warmth: Warmth) {
        let comparable = self.beside.is_nothing() && self.realised.unrelated() <= 0.0;
        if let Some(metric) = self.fewer_refusals.as_mut().filter(|_| comparable) {
            let tally = metric.tally(window).reversed();
            metric.bet(&tally, &self.policy, warmth);
            metric.learn(&tally);
        }
    }

    /// Takes back evidence that an incident left behind.
    ///
    /// A canary whose counters lag looks worse alone in the scrape after an outage. When that is too
    /// little to trip, and so to be confirmed, it would stay, and the next ordinary failure would trip
    /// on windows that are no longer at hand. Evidence is only ever thrown away here.
    fn review(&mut self, now: &[MetricCounts]) {
        let evidence = self.total();
        if self.incident.ongoing() && evidence >= self.policy.confirm() {
            let least = self.confirmation.least(&self.metrics, now, &self.policy);
            if least < 0.5 * evidence {
                self.confirmation.clear(&mut self.metrics);
            }
        }
    }

    fn learn(&mut self, window: &Window, tallies: &[MetricCounts]) {
        for (metric, tally) in self.metrics.iter_mut().zip(tallies) {
            metric.learn(tally);
        }
        let before = self.incident.ongoing();
        self.incident
            .observe(tallies[0].stable, tallies[0].canary, window.end);
        if before && !self.incident.ongoing() {
            // What was bet while both failed says little about either.
            self.promise_nothing();
        }
        let total = (window.stable.requests + window.canary.requests) as f64;
        self.per_window = Some(match self.per_window {
            Some(past) => SMOOTHING * past + (1.0 - SMOOTHING) * total,
            None => total,
        });
        if !self.in_incident()
            && let Some(step) = &mut self.step
        {
            step.counted += window.length().min(self.policy.scrape * LOST);
        }
    }

    fn promise_nothing(&mut self) {
        for metric in &mut self.metrics {
            metric.promotion = Default::default();
        }
    }

    fn decide(&self, window: &Window) -> Decision {
        let Some(step) = &self.step else {
            return Decision::Stay(Verdict::NotEnoughData, self.reasons());
        };
        let held = self.hold().is_some();
        let quiet = self.total() < QUIET;
        let flowing = step.stable.requests + step.canary.requests > 0;
        let patient = !step.half_open || step.windows >= HALF_OPEN;
        let good = !held && quiet && flowing && patient && self.ruled_out(step);
        if good && step.dwelt(window.end) {
            Decision::Advance(self.reasons())
        } else if step.counted >= self.policy.deadline
            || matches!(self.hold(), Some(Hold::Overload | Hold::FewerRefusals))
        {
            // More patience would not change what has been shown.
            Decision::Inconclusive(self.reasons())
        } else if good {
            Decision::Stay(Verdict::Healthy, self.reasons())
        } else {
            Decision::Stay(Verdict::NotEnoughData, self.reasons())
        }
    }

    fn bake(&mut self, window: &Window, tallies: &[MetricCounts]) -> Decision {
        let policy = &self.policy;
        self.alone = combine(
            self.metrics
                .iter_mut()
                .zip(tallies)
                .map(|(metric, tally)| (metric.weight, metric.watch(tally, policy))),
        );
        let seen = self.metrics.iter().any(|m| m.seen >= LEAST_BAD);
        if self.alone >= self.policy.trip() && seen {
            self.half_open = true;
            self.retreats += 1;
            return Decision::Retreat(self.reasons());
        }
        let Some(step) = &self.step else {
            return Decision::Stay(Verdict::NotEnoughData, self.reasons());
        };
        let quiet = self.alone < QUIET && step.canary.requests > 0;
        if quiet && step.dwelt(window.end) {
            Decision::Advance(self.reasons())
        } else if step.counted >= self.policy.deadline.max(step.context.dwell * 2) {
            Decision::Inconclusive(self.reasons())
        } else if quiet {
            Decision::Stay(Verdict::Healthy, self.reasons())
        } else {
            Decision::Stay(Verdict::NotEnoughData, self.reasons())
        }
    }

    fn confirm(&mut self, window: &Window) -> Decision {
        let after = self.tallies(window);
        let least = self.confirmation.least(&self.metrics, &after, &self.policy);
        if least.min(self.total()) >= self.policy.confirm() {
            return Decision::Rollback(self.reasons());
        }
        self.confirmation.clear(&mut self.metrics);
        for (metric, tally) in self.metrics.iter_mut().zip(&after) {
            metric.learn_baseline(tally);
        }
        self.incident
            .observe(after[0].stable, after[0].canary, window.end);
        self.promise_nothing();
        if let Some(step) = &mut self.step {
            step.resume(window.end);
        }
        self.phase = self.phase_of_step();
        Decision::Resume(self.reasons())
    }

    fn phase_of_step(&self) -> AnalysisPhase {
        match &self.step {
            None => AnalysisPhase::Waiting,
            Some(step) if step.alone() => AnalysisPhase::Baking,
            Some(_) => AnalysisPhase::Comparing,
        }
    }
}

impl Analysis for Sequential {
    fn begin_step(&mut self, step: StepContext) {
        if self.hold() == Some(Hold::FewerRefusals) {
            // A person has promoted it in spite of that.
            self.fewer_refusals = None;
        }
        let half_open = std::mem::take(&mut self.half_open);
        self.step = Some(StepRecord::new(step, self.step.as_ref(), half_open));
        self.phase = self.phase_of_step();
        self.alone = 0.0;
        self.promise_nothing();
        for metric in &mut self.metrics {
            if let Some(operation) = &mut metric.operation {
                operation.begin_step();
            }
            if self.phase == AnalysisPhase::Baking {
                metric.freeze();
            } else {
                metric.guard = None;
            }
        }
    }

    fn observe(&mut self, window: &Window) -> Decision {
        if self.last_end.is_some_and(|last| window.end <= last) {
            // A replay may overlap what was already seen; nothing is bet on twice.
            return Decision::Stay(Verdict::NotEnoughData, self.reasons());
        }
        self.last_end = Some(window.end);
        if self.phase != AnalysisPhase::Waiting {
            self.warmup.note(window);
        }
        match self.phase {
            AnalysisPhase::Waiting => Decision::Stay(Verdict::NotEnoughData, self.reasons()),
            AnalysisPhase::Comparing | AnalysisPhase::Baking if self.is_mixed(window) => {
                self.pass_over(window)
            }
            AnalysisPhase::Comparing | AnalysisPhase::Baking => self.compare(window),
            AnalysisPhase::Confirming => self.confirm(window),
        }
    }

    fn evidence(&self) -> Option<super::Evidence> {
        Some(Self::evidence(self))
    }
}
