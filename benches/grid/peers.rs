//! The rules that peers decide by, as analyses that the same machine asks.
//!
//! Only the rule is modelled, not the tool around it: no pods, no webhooks, no time to reconcile.

use std::collections::VecDeque;

use kubectl_canary::verdict::{Analysis, Counts, Decision, StepContext, Verdict, Window};

fn stay() -> Decision {
    Decision::Stay(Verdict::NotEnoughData, Vec::new())
}

/// A threshold on the canary's success rate, checked at an interval: Flagger and Argo Rollouts.
pub struct Threshold {
    /// Windows between checks.
    pub every: usize,
    /// Windows that a check looks back.
    pub range: usize,
    /// Share of requests that must succeed.
    pub success: f64,
    /// Failed checks over the whole rollout at which it is rolled back.
    pub failures: u32,
    /// Windows that a step lasts; `None` leaves it with the first check that passes.
    pub pause: Option<usize>,
    /// The decision falls at the check after the one that failed.
    pub one_late: bool,
    seen: VecDeque<Counts>,
    windows: usize,
    in_step: usize,
    failed: u32,
}

impl Threshold {
    fn new(every: usize, range: usize, success: f64, failures: u32) -> Self {
        Self {
            every,
            range,
            success,
            failures,
            pause: None,
            one_late: false,
            seen: VecDeque::new(),
            windows: 0,
            in_step: 0,
            failed: 0,
        }
    }

    /// Flagger as documented: every minute, 99 % of the last minute, five failed checks, no data is a
    /// failed check, the rollback follows at the next check.
    pub fn flagger(windows_a_minute: usize) -> Self {
        Self {
            one_late: true,
            ..Self::new(windows_a_minute, windows_a_minute, 0.99, 5)
        }
    }

    /// Flagger tuned to be fast: every scrape, 99 % of the last two, one failed check.
    pub fn flagger_tuned() -> Self {
        Self {
            one_late: true,
            ..Self::new(1, 2, 0.99, 1)
        }
    }

    /// Argo Rollouts' documented template: every five minutes, 95 % by `irate` (the last scrape), more
    /// than three failed measurements, steps of ten minutes; a measurement without data fails.
    pub fn argo(windows_a_minute: usize) -> Self {
        Self {
            pause: Some(10 * windows_a_minute),
            ..Self::new(5 * windows_a_minute, 1, 0.95, 4)
        }
    }

    /// Argo Rollouts tuned to be fast: every scrape, 99 % of the last minute, one failed measurement,
    /// steps of a minute.
    pub fn argo_tuned(windows_a_minute: usize) -> Self {
        Self {
            pause: Some(windows_a_minute),
            ..Self::new(1, windows_a_minute, 0.99, 1)
        }
    }

    fn passes(&self) -> bool {
        let mut counts = Counts::default();
        self.seen.iter().for_each(|&seen| counts += seen);
        let limit = 1.0 - self.success;
        counts.failure_rate().is_some_and(|rate| rate <= limit)
    }
}

impl Analysis for Threshold {
    fn begin_step(&mut self, _: StepContext) {
        self.in_step = 0;
    }

    fn observe(&mut self, window: &Window) -> Decision {
        self.seen.push_back(window.canary);
        if self.seen.len() > self.range {
            self.seen.pop_front();
        }
        self.windows += 1;
        self.in_step += 1;
        let mut passed = false;
        if self.windows.is_multiple_of(self.every) {
            if self.one_late && self.failed >= self.failures {
                return Decision::Rollback(Vec::new());
            }
            passed = self.passes();
            self.failed += u32::from(!passed);
            if !self.one_late && self.failed >= self.failures {
                return Decision::Rollback(Vec::new());
            }
        }
        match self.pause {
            None if passed => Decision::Advance(Vec::new()),
            Some(pause) if self.in_step >= pause => Decision::Advance(Vec::new()),
            _ => stay(),
        }
    }
}

/// Kayenta's judge, simply: ten points of a minute each in every step, Mann and Whitney's test at
/// 98 %, a canary that is a quarter worse fails; no data fails.
pub struct Kayenta {
    windows_a_minute: usize,
    minute: (Counts, Counts),
    stable: Vec<f64>,
    canary: Vec<f64>,
    windows: usize,
}

/// Points that Kayenta compares in a step.
const POINTS: usize = 10;

impl Kayenta {
    /// A judge for a scrape interval.
    pub fn new(windows_a_minute: usize) -> Self {
        Self {
            windows_a_minute,
            minute: Default::default(),
            stable: Vec::new(),
            canary: Vec::new(),
            windows: 0,
        }
    }

    /// How many standard deviations the canary's ranks exceed chance, a quarter of stable's mean
    /// being forgiven.
    fn deviation(&self) -> Option<f64> {
        if self.stable.is_empty() || self.canary.is_empty() {
            return None;
        }
        let forgiven = 0.25 * self.stable.iter().sum::<f64>() / self.stable.len() as f64;
        let mut above = 0.0;
        for canary in &self.canary {
            for stable in &self.stable {
                let gap = canary - forgiven - stable;
                above += if gap > 0.0 {
                    1.0
                } else if gap == 0.0 {
                    0.5
                } else {
                    0.0
                };
            }
        }
        let (n, m) = (self.canary.len() as f64, self.stable.len() as f64);
        Some((above - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt())
    }
}

impl Analysis for Kayenta {
    fn begin_step(&mut self, _: StepContext) {
        self.stable.clear();
        self.canary.clear();
        self.windows = 0;
        self.minute = Default::default();
    }

    fn observe(&mut self, window: &Window) -> Decision {
        self.minute.0 += window.stable;
        self.minute.1 += window.canary;
        self.windows += 1;
        if !self.windows.is_multiple_of(self.windows_a_minute) {
            return stay();
        }
        self.stable.extend(self.minute.0.failure_rate());
        self.canary.extend(self.minute.1.failure_rate());
        self.minute = Default::default();
        if self.windows < POINTS * self.windows_a_minute {
            return stay();
        }
        match self.deviation() {
            Some(deviation) if deviation <= 2.326 => Decision::Advance(Vec::new()),
            _ => Decision::Rollback(Vec::new()),
        }
    }
}

/// Wald's test between the true rates, which no test can know: the least that any test needs. It never
/// promotes, but takes the steps after a minute each.
pub struct Wald {
    stable: f64,
    canary: f64,
    needed: f64,
    windows_a_step: usize,
    evidence: f64,
    windows: usize,
    last: bool,
}

impl Wald {
    /// The test that knows both rates.
    pub fn new(stable: f64, canary: f64, alpha: f64, windows_a_step: usize) -> Self {
        Self {
            stable,
            canary,
            needed: -alpha.ln(),
            windows_a_step,
            evidence: 0.0,
            windows: 0,
            last: false,
        }
    }
}

impl Analysis for Wald {
    fn begin_step(&mut self, step: StepContext) {
        self.windows = 0;
        self.last = step.next_share.is_none_or(|share| share >= 1.0);
    }

    fn observe(&mut self, window: &Window) -> Decision {
        let bad = window.canary.failures as f64;
        let good = (window.canary.requests - window.canary.failures) as f64;
        if bad > 0.0 {
            self.evidence += bad * (self.canary / self.stable).ln();
        }
        if good > 0.0 {
            self.evidence += good * ((1.0 - self.canary) / (1.0 - self.stable)).ln();
        }
        self.windows += 1;
        if self.evidence >= self.needed {
            Decision::Rollback(Vec::new())
        } else if !self.last && self.windows >= self.windows_a_step {
            Decision::Advance(Vec::new())
        } else {
            stay()
        }
    }
}
