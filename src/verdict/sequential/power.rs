//! How much worse a canary must be to be caught on the way to 100 %, and how soon it is (section 9).
//!
//! The expected counts of a second are bet on by the code that bets on real windows. What each bet
//! then gains is its growth for a second of a step, so the evidence at any time is a sum of
//! exponentials of straight lines: convex, and its crossings are found by bisection.

use jiff::SignedDuration;

use super::Traffic;
use super::block::{Arm, Block, Margin, Rates, project};
use super::decisions::{LEAST_BAD, MIXED, QUIET, Sequential};
use super::history::History;
use super::metric::{Metric, Subject};
use super::mixture::{Alternatives, CASH, EXPERTS, Mixture};
use super::policy::Policy;
use super::promotion::{EXCESSES, Promotion};
use super::regression::combine;
use super::step_record::{LEAST, LEAST_LAST};
use super::traffic_split::MetricCounts;
use super::warmup::{UNTIL_FAST, Warmth};

/// Halvings of an interval; a forecast that is good to a quarter needs fewer.
const HALVINGS: u32 = 24;
/// The least excess that is looked for, as a share of requests.
const LEAST_EXCESS: f64 = 1e-5;

/// One step before 100 %, as its windows will show it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTraffic {
    /// Requests per second to both versions together, mirrored ones included.
    pub per_second: f64,
    /// The canary's share of these, 0 to 1.
    pub share: f64,
    /// The share of the step after it, unless that is 100 %.
    pub next: Option<f64>,
    /// How long it lasts at least.
    pub dwell: SignedDuration,
    /// Whether users get the canary's answers; those to mirrored requests are dropped.
    pub answers: bool,
}

/// A regression that is caught.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caught {
    /// From the start until the canary's traffic is taken away.
    pub after: SignedDuration,
    /// Users' requests that are bad until then because of the canary.
    pub bad: f64,
}

/// What an analysis would notice over the steps of a plan, before any of them is taken.
#[derive(Clone, Debug)]
pub struct Power {
    policy: Policy,
    metrics: Vec<Metric>,
    steps: Vec<StepTraffic>,
    /// What an equal canary's requests do to the bets on each metric, at each step.
    equal: Vec<Vec<Option<Growth>>>,
    /// For how long nothing is bet after a change of weights, in seconds.
    mixed: f64,
    /// For how long the canary is still given room from the start, in seconds.
    warm: f64,
    /// From a request to the look that sees it, in seconds.
    lag: f64,
}

/// What a second of a step adds to the bets on one metric, in nats.
#[derive(Clone, Debug)]
struct Growth {
    regression: [f64; EXPERTS],
    /// The variance of the same, in square nats.
    variance: [f64; EXPERTS],
    promotion: [[f64; 2]; EXCESSES.len()],
}

/// A canary on its way through the steps.
struct Course {
    wealth: [f64; EXPERTS],
    variance: [f64; EXPERTS],
    /// Seconds since the start.
    elapsed: f64,
    /// Bad requests that the canary answered.
    seen: f64,
    /// Users' requests that were bad because of the canary.
    bad: f64,
}

impl Power {
    /// The power of the analysis that starts from `history`. The canary is given room for as long as
    /// `warm` from the start; what it does is seen `lag` later on average.
    pub fn new(
        policy: Policy,
        history: &History,
        steps: Vec<StepTraffic>,
        warm: SignedDuration,
        lag: SignedDuration,
    ) -> Self {
        let longest = history.longest.as_secs_f64();
        let scrape = policy.scrape.as_secs_f64();
        let mut power = Self {
            metrics: Sequential::new(policy.clone(), history).metrics,
            policy,
            steps,
            equal: Vec::new(),
            // Half a window more, since windows that begin before do not count.
            mixed: if longest > scrape / f64::from(MIXED) {
                longest + scrape / 2.0
            } else {
                0.0
            },
            warm: warm.as_secs_f64(),
            lag: lag.as_secs_f64(),
        };
        let equal = |step| {
            let metrics = power.metrics.iter();
            metrics
                .map(|metric| power.growth(metric, step, 0.0))
                .collect()
        };
        power.equal = (0..power.steps.len()).map(equal).collect();
        power
    }

    /// What is compared and has a rate to compare with. Single statuses and operations are left out: which
    /// one a regression would have is not known.
    pub fn subjects(&self) -> impl Iterator<Item = Subject> {
        let known = self.metrics.iter().filter(|m| m.regression.is_some());
        known
            .map(|metric| metric.subject.clone())
            .filter(|subject| match subject {
                Subject::Failures | Subject::Refusals | Subject::SlowerThan { .. } => true,
                Subject::FailedWith { .. }
                | Subject::FailedOtherwise
                | Subject::FailedIn { .. } => false,
            })
    }

    /// When a canary is caught whose rate of bad requests exceeds stable's by `excess`, a share of
    /// requests. `None` where it passes every step, or its time at one is up before.
    pub fn caught(&self, subject: &Subject, excess: f64) -> Option<Caught> {
        let metric = self.metric(subject)?;
        let mut course = Course {
            wealth: Mixture::default().wealth,
            variance: [0.0; EXPERTS],
            elapsed: 0.0,
            seen: 0.0,
            bad: 0.0,
        };
        for (step, traffic) in self.steps.iter().enumerate() {
            if traffic.share <= 0.0 {
                // Testers are not judged.
                let dwell = traffic.dwell.as_secs_f64();
                self.go_on(&mut course, metric, step, excess, dwell + self.lag);
                continue;
            }
            let growth = self.growth(metric, step, excess)?;
            let muted = self.muted(metric, course.elapsed);
            let deadline = self.policy.deadline.as_secs_f64();
            let passes = self.passes(metric, step, &course, &growth);
            let ends = passes.unwrap_or(deadline);
            if let Some(trips) = self.trips(metric, step, &course, &growth, excess, ends) {
                self.go_on(&mut course, metric, step, excess, trips + self.lag);
                return Some(Caught {
                    after: SignedDuration::from_secs_f64(course.elapsed),
                    bad: course.bad,
                });
            }
            passes?;
            let bet = (ends - muted).max(0.0);
            for expert in 0..EXPERTS {
                course.wealth[expert] += growth.regression[expert] * bet;
                course.variance[expert] += growth.variance[expert] * bet;
            }
            self.go_on(&mut course, metric, step, excess, ends + self.lag);
        }
        None
    }

    /// The smallest excess that is caught before the canary has all the traffic, as a share of
    /// requests: one that is as likely to pass as not. `None` where not even a broken canary is.
    pub fn smallest(&self, subject: &Subject) -> Option<f64> {
        let most = 1.0 - self.stable_rate(self.metric(subject)?)?;
        self.caught(subject, most)?;
        let (mut low, mut high) = (LEAST_EXCESS.ln(), most.ln());
        for _ in 0..HALVINGS {
            let middle = 0.5 * (low + high);
            match self.caught(subject, middle.exp()) {
                Some(_) => high = middle,
                None => low = middle,
            }
        }
        Some(high.exp())
    }

    fn metric(&self, subject: &Subject) -> Option<&Metric> {
        self.metrics
            .iter()
            .find(|metric| metric.subject == *subject)
    }

    fn stable_rate(&self, metric: &Metric) -> Option<f64> {
        Some(metric.regression.as_ref()?.stable_rate.rate())
    }

    /// For how many seconds of a step that begins `elapsed` after the start nothing speaks for the canary.
    fn still(&self, elapsed: f64) -> f64 {
        self.mixed.max(self.warm - elapsed)
    }

    /// For how many seconds of such a step a metric does not speak against it.
    fn muted(&self, metric: &Metric, elapsed: f64) -> f64 {
        let warm = match metric.subject {
            Subject::SlowerThan { .. } => self.warm * f64::from(UNTIL_FAST),
            _ => self.warm,
        };
        self.mixed.max(warm - elapsed)
    }

    /// What the expected counts of a second do to the bets; `None` without a rate to bet on.
    fn growth(&self, metric: &Metric, step: usize, excess: f64) -> Option<Growth> {
        let StepTraffic {
            per_second, share, ..
        } = self.steps[step];
        let rate = self.stable_rate(metric)?;
        let scrape = self.policy.scrape.as_secs_f64();
        let arm = |requests: f64, rate: f64| Arm {
            requests,
            bad: requests * rate,
        };
        let requests = per_second * scrape;
        let tally = MetricCounts {
            stable: arm(requests * (1.0 - share), rate),
            canary: arm(requests * share, (rate + excess).min(1.0)),
            share,
            unrelated: 0.0,
        };
        let terms = metric.terms(&self.policy, Warmth::Warm)?;
        let window = tally.block(terms.dispersion, rate);
        let of_a_second = |arm: Arm| Arm {
            requests: arm.requests / scrape,
            bad: arm.bad / scrape,
        };
        let block = Block {
            stable: of_a_second(window.stable),
            canary: of_a_second(window.canary),
        };
        let (start, mut mixture) = (Mixture::default(), Mixture::default());
        mixture.bet(&block, terms.margin, rate, &terms.alternatives);
        let mut regression = mixture.wealth;
        for (gained, before) in regression.iter_mut().zip(start.wealth) {
            *gained -= before;
        }
        let (start, mut bounds) = (Promotion::default(), Promotion::default());
        bounds.bet(&block, self.policy.promotion_ratio, rate);
        let mut promotion = bounds.wealth;
        for (pair, before) in promotion.iter_mut().zip(start.wealth) {
            *pair = [pair[0] - before[0], pair[1] - before[1]];
        }
        Some(Growth {
            regression,
            variance: variance(&block, terms.margin, rate, &terms.alternatives),
            promotion,
        })
    }

    /// All evidence `bet` seconds of betting into a step, in nats; the metrics that are as usual have
    /// lost all but their cash.
    fn evidence(metric: &Metric, course: &Course, growth: &Growth, bet: f64) -> f64 {
        let experts = course.wealth.iter().zip(growth.regression);
        // A wealth of zero nats each: together they are the metric's own.
        let own = combine(experts.map(|(wealth, growth)| (1.0, wealth + growth * bet)));
        let others = 1.0 - metric.weight;
        combine([(metric.weight, own), (others, CASH.ln())].into_iter())
    }

    /// Whether the evidence keeps a step from being left even where luck helps the canary: at one
    /// standard deviation of the leading expert's below what is expected.
    fn is_loud(metric: &Metric, course: &Course, growth: &Growth, bet: f64) -> bool {
        let wealth = |expert: usize| course.wealth[expert] + growth.regression[expert] * bet;
        let leading = (0..EXPERTS).max_by(|&a, &b| wealth(a).total_cmp(&wealth(b)));
        let variance = leading.map_or(0.0, |expert| {
            course.variance[expert] + growth.variance[expert] * bet
        });
        Self::evidence(metric, course, growth, bet) - variance.sqrt() >= QUIET
    }

    /// Seconds into a step at which it trips, if it does before `ends`.
    fn trips(
        &self,
        metric: &Metric,
        step: usize,
        course: &Course,
        growth: &Growth,
        excess: f64,
        ends: f64,
    ) -> Option<f64> {
        let muted = self.muted(metric, course.elapsed);
        let enough = |bet: f64| Self::evidence(metric, course, growth, bet) >= self.policy.trip();
        let bet = first(ends - muted, enough)?;
        let StepTraffic {
            per_second, share, ..
        } = self.steps[step];
        let rate = (self.stable_rate(metric)? + excess).min(1.0);
        let seen = (LEAST_BAD - course.seen) / (per_second * share * rate);
        let trips = (muted + bet).max(seen);
        (trips <= ends).then_some(trips)
    }

    /// Seconds into a step at which it is left for the next; `None` where its time is up before.
    fn passes(
        &self,
        metric: &Metric,
        step: usize,
        course: &Course,
        growth: &Growth,
    ) -> Option<f64> {
        let deadline = self.policy.deadline.as_secs_f64();
        let muted = self.muted(metric, course.elapsed);
        let still = self.still(course.elapsed);
        let dwell = self.steps[step].dwell.as_secs_f64();
        let good = self.ruled_out(metric, step, growth, still)?.max(dwell);
        let loud = |at: f64| {
            let bet = (at - muted).max(0.0);
            Self::is_loud(metric, course, growth, bet)
        };
        if good > deadline {
            None
        } else if !loud(good) {
            Some(good)
        } else if loud(deadline) {
            None
        } else {
            Some(good + first(deadline - good, |more| !loud(good + more))?)
        }
    }

    /// Seconds into a step at which every metric's excess is ruled out, `metric` growing by `growth`
    /// and the others as those of an equal canary do; nothing is bet for `still` seconds.
    fn ruled_out(&self, metric: &Metric, step: usize, growth: &Growth, still: f64) -> Option<f64> {
        let policy = &self.policy;
        let StepTraffic {
            per_second,
            share,
            next,
            ..
        } = self.steps[step];
        let per_window = per_second * policy.scrape.as_secs_f64();
        let floor = next.map_or(0.0, |next| policy.blast_floor(next, per_window));
        let least = if next.is_none() { LEAST_LAST } else { LEAST };
        let served = least as f64 / (per_second * share);
        let until = |tolerance: f64| {
            let failures = tolerance.max(floor);
            let mut longest = 0.0_f64;
            for (other, equal) in self.metrics.iter().zip(&self.equal[step]) {
                let tolerance = other.tolerance(failures, policy);
                if tolerance >= 1.0 {
                    continue;
                }
                let bet = if other.subject == metric.subject {
                    bound_holds(growth, tolerance, policy)
                } else {
                    bound_holds(equal.as_ref()?, tolerance, policy)
                };
                longest = longest.max(still + bet?).max(served);
            }
            Some(longest)
        };
        let widens = policy.tolerance.widens_after.as_secs_f64();
        let traffic = Traffic {
            per_second,
            failure_rate: self.stable_rate(self.metrics.first()?)?,
        };
        // Where an equal canary could show it, this one is waited for as long.
        let patience = match traffic.reaches_early(share, floor, policy) {
            true => widens,
            false => 0.0,
        };
        match until(policy.tolerance.early).filter(|&time| time <= patience) {
            Some(time) => Some(time),
            None => Some(until(policy.tolerance.late)?.max(patience)),
        }
    }

    /// Counts the requests of `seconds` at a step.
    fn go_on(&self, course: &mut Course, metric: &Metric, step: usize, excess: f64, seconds: f64) {
        let StepTraffic {
            per_second,
            share,
            answers,
            ..
        } = self.steps[step];
        let rate = self.stable_rate(metric).unwrap_or_default();
        let requests = per_second * share * seconds;
        course.elapsed += seconds;
        course.seen += requests * (rate + excess).min(1.0);
        if answers {
            course.bad += requests * excess.min(1.0 - rate);
        }
    }
}

/// The variance of what each expert gains in a second: a bad request is worth `ln(a/q)`, and thinned
/// counts vary as Poisson counts do.
fn variance(
    block: &Block,
    margin: Margin,
    rate: f64,
    alternatives: &Alternatives,
) -> [f64; EXPERTS] {
    let mut variance = [0.0; EXPERTS];
    let limit = margin.at(rate);
    for (variance, boldness) in variance[1..].iter_mut().zip(alternatives) {
        let bet = Rates {
            stable: rate,
            canary: (boldness * limit).min(1.0),
        };
        if bet.canary > limit {
            let null = project(margin, bet, block.stable.requests, block.canary.requests);
            *variance = block.canary.bad * (bet.canary / null.canary).ln().powi(2)
                + block.stable.bad * (bet.stable / null.stable).ln().powi(2);
        }
    }
    variance
}

/// Seconds of betting after which an excess within `tolerance` is ruled out.
fn bound_holds(growth: &Growth, tolerance: f64, policy: &Policy) -> Option<f64> {
    let within = EXCESSES.iter().rposition(|&excess| excess <= tolerance)?;
    let [equal, leaning] = growth.promotion[within];
    let needed = -policy.false_promotion.ln();
    first(policy.deadline.as_secs_f64(), |bet| {
        combine([(0.5, equal * bet), (0.5, leaning * bet)].into_iter()) >= needed
    })
}

/// The first time within `most` seconds at which something is so that is not at first and then stays.
fn first(most: f64, is_so: impl Fn(f64) -> bool) -> Option<f64> {
    if most < 0.0 || !is_so(most) {
        return None;
    }
    let (mut low, mut high) = (0.0, most);
    if is_so(low) {
        return Some(low);
    }
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if is_so(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::super::dispersion::Dispersion;
    use super::super::history::Past;
    use super::super::policy::Preset;
    use super::*;

    fn past(bad: u64, requests: u64) -> Past {
        Past {
            bad,
            requests,
            dispersion: Dispersion::POISSON,
        }
    }

    /// Failures at a permille, and what else is compared.
    fn history(slow: &[(f64, u64)], refusals: Option<u64>) -> History {
        History {
            failures: past(200, 200_000),
            slow: slow
                .iter()
                .map(|&(bound, bad)| (bound, past(bad, 200_000)))
                .collect(),
            refusals: refusals.map(|bad| past(bad, 200_000)),
            ..History::unknown()
        }
    }

    fn power(per_second: f64, shares: &[f64], history: &History) -> Power {
        let policy = Preset::Careful.policy(SignedDuration::from_secs(15));
        let steps = (0..shares.len()).map(|step| StepTraffic {
            per_second,
            share: shares[step],
            next: shares.get(step + 1).copied(),
            dwell: policy.dwell,
            answers: true,
        });
        let steps = steps.collect();
        let lag = SignedDuration::from_secs(10);
        Power::new(policy, history, steps, SignedDuration::ZERO, lag)
    }

    const SHARES: [f64; 3] = [0.01, 0.1, 0.5];

    #[test]
    fn at_one_share_it_is_the_threshold_over_the_growth() {
        // At half of the traffic, with enough requests that three bad ones are no matter.
        let power = power(10.0, &[0.5], &history(&[], None));
        let excess = 0.01;
        let caught = power.caught(&Subject::Failures, excess).unwrap();
        let metric = power.metric(&Subject::Failures).unwrap();
        let growth = power.growth(metric, 0, excess).unwrap().regression;
        let best = growth.into_iter().fold(0.0, f64::max);
        let prior = (7.0_f64 / 0.9).ln();
        let alone = (power.policy.trip() + prior) / best;
        let ours = caught.after.as_secs_f64() - power.lag;
        // Several experts win something, so the mixture is a little sooner than its best one.
        assert!((0.7..=1.0).contains(&(ours / alone)), "{ours} for {alone}");
        let bad = 10.0 * 0.5 * excess * caught.after.as_secs_f64();
        assert!((caught.bad / bad - 1.0).abs() < 1e-6, "{caught:?}");
    }

    #[test]
    fn a_worse_canary_is_caught_sooner_and_more_traffic_shows_less() {
        let history = history(&[], None);
        let excesses = [0.01, 0.02, 0.05, 0.1, 0.3];
        let busy = power(100.0, &SHARES, &history);
        let times = excesses.map(|excess| busy.caught(&Subject::Failures, excess).unwrap().after);
        assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
        let smallest = [0.2, 1.0, 10.0, 100.0, 1000.0]
            .map(|per_second| power(per_second, &SHARES, &history))
            .map(|power| power.smallest(&Subject::Failures).unwrap());
        assert!(smallest.is_sorted_by(|a, b| a > b), "{smallest:?}");
    }

    #[test]
    fn what_is_within_the_margin_is_not_seen_at_any_traffic() {
        let history = history(&[(100.0, 20_000)], Some(2_000));
        let power = power(1e6, &SHARES, &history);
        // The margins: 1.25 times and 0.01 points, 1.25 times and 0.1 points, 1.5 times and 2 points.
        for (subject, within) in [
            (Subject::Failures, 0.000_35),
            (Subject::SlowerThan { bound_ms: 100.0 }, 0.026),
            (Subject::Refusals, 0.025),
        ] {
            let smallest = power.smallest(&subject).unwrap();
            assert!(smallest > within && smallest < 4.0 * within, "{smallest}");
            assert_eq!(power.caught(&subject, within), None);
        }
    }

    #[test]
    fn a_metric_with_a_small_part_of_the_evidence_needs_more_of_it() {
        let alone = power(100.0, &SHARES, &history(&[], None));
        let slow = [50.0, 100.0, 250.0].map(|bound| (bound, 200));
        let among = power(100.0, &SHARES, &history(&slow, Some(200)));
        let after = |power: &Power| power.caught(&Subject::Failures, 0.02).unwrap().after;
        assert!(after(&among) >= after(&alone));
        assert_eq!(alone.subjects().count(), 1);
        assert_eq!(among.subjects().count(), 5);
    }

    #[test]
    fn where_nothing_is_served_nothing_is_seen() {
        let history = history(&[], None);
        assert_eq!(
            power(1e-5, &SHARES, &history).smallest(&Subject::Failures),
            None
        );
        assert_eq!(
            power(100.0, &[], &history).smallest(&Subject::Failures),
            None
        );
        let unknown = power(100.0, &SHARES, &History::unknown());
        assert_eq!(unknown.subjects().count(), 0);
        assert_eq!(unknown.caught(&Subject::Failures, 0.5), None);
    }

    #[test]
    fn a_canary_that_is_warming_up_is_caught_later() {
        let mut power = power(1000.0, &SHARES, &history(&[], None));
        let cold = power.caught(&Subject::Failures, 0.05).unwrap();
        power.warm = 30.0;
        let warm = power.caught(&Subject::Failures, 0.05).unwrap();
        let later = (warm.after - cold.after).as_secs_f64();
        assert!((later - 30.0).abs() < 1.0, "{later}");
        assert!(warm.bad > cold.bad);
    }
}
