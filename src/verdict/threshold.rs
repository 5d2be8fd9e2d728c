//! The plain gate: a limit on the canary's failures, and never much worse than stable beside it.

use serde::{Deserialize, Serialize};

use super::analysis::{Analysis, Decision, StepContext, Verdict};
use super::reason::AnalysisReason;
use super::{Counts, Window};

/// How many standard deviations of the difference between the versions are put down to chance.
const CHANCE: f64 = 3.0;

/// The limits of the gate, as shares between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Most failures of the canary per request in a step.
    pub max_error_rate: f64,
    /// Most that the canary's rate may exceed stable's.
    pub margin: f64,
    /// Least requests of the canary in a step, and of stable where it has traffic.
    pub min_requests: u64,
}

/// Judges each step by its own counts, from the step's beginning on.
#[derive(Clone, Debug)]
pub struct ThresholdGate {
    limits: Limits,
    step: Option<StepContext>,
    stable: Counts,
    canary: Counts,
}

impl ThresholdGate {
    /// A gate with these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            step: None,
            stable: Counts::default(),
            canary: Counts::default(),
        }
    }

    fn judge(&self, step: StepContext) -> (Verdict, AnalysisReason) {
        let Limits {
            max_error_rate,
            margin,
            min_requests,
        } = self.limits;
        let canary = self.canary.failure_rate().unwrap_or(0.0);
        let stable = self.stable.failure_rate();
        let is_alone = step.share >= 1.0;
        // With more failures than the least number of requests may hold, no further success can
        // bring the rate below the limit in time: the gate is lost already.
        let lost = self.canary.failures as f64
            > max_error_rate * min_requests.max(self.canary.requests) as f64;
        let beside_stable = stable.filter(|_| !is_alone && self.stable.requests >= min_requests);
        if lost {
            // Where stable fails alike, the canary is not to blame.
            return match stable.filter(|_| !is_alone) {
                Some(stable)
                    if stable > max_error_rate && canary <= stable + margin
                        || self.may_be_chance() =>
                {
                    (
                        Verdict::NotEnoughData,
                        AnalysisReason::BothFail { canary, stable },
                    )
                }
                _ => (
                    Verdict::Regressed,
                    AnalysisReason::OverLimit {
                        rate: canary,
                        limit: max_error_rate,
                    },
                ),
            };
        }
        if self.canary.requests < min_requests {
            let reason = AnalysisReason::TooFewCanaryRequests {
                requests: self.canary.requests,
                needed: min_requests,
            };
            return (Verdict::NotEnoughData, reason);
        }
        match beside_stable {
            None if !is_alone => (
                Verdict::NotEnoughData,
                AnalysisReason::TooFewStableRequests {
                    requests: self.stable.requests,
                    needed: min_requests,
                },
            ),
            Some(stable) if canary > stable + margin && self.may_be_chance() => (
                Verdict::NotEnoughData,
                AnalysisReason::MaybeChance { canary, stable },
            ),
            Some(stable) if canary > stable + margin => (
                Verdict::Regressed,
                AnalysisReason::OverMargin {
                    canary,
                    stable,
                    margin,
                },
            ),
            _ => (
                Verdict::Healthy,
                AnalysisReason::WithinLimit {
                    rate: canary,
                    limit: max_error_rate,
                },
            ),
        }
    }
}

impl ThresholdGate {
    /// Whether the canary's rate is no further above stable's than the draw of the requests explains.
    ///
    /// In an outage of both versions a handful of requests at the canary scatter widely around what
    /// thousands at stable show.
    fn may_be_chance(&self) -> bool {
        let (Some(stable), Some(canary)) = (self.stable.failure_rate(), self.canary.failure_rate())
        else {
            return false;
        };
        let (most, few) = (self.stable.requests as f64, self.canary.requests as f64);
        let both = (self.stable.failures + self.canary.failures) as f64 / (most + few);
        let deviation = (both * (1.0 - both) * (1.0 / most + 1.0 / few)).sqrt();
        self.stable.failures > 0 && canary - stable <= CHANCE * deviation
    }
}

impl Analysis for ThresholdGate {
    fn begin_step(&mut self, step: StepContext) {
        self.step = Some(step);
        self.stable = Counts::default();
        self.canary = Counts::default();
    }

    fn observe(&mut self, window: &Window) -> Decision {
        let Some(step) = self.step else {
            return Decision::Stay(Verdict::NotEnoughData, Vec::new());
        };
        // A window that opened before the step holds requests of the weight before.
        if window.lies_after(step.began) {
            self.stable += window.stable;
            self.canary += window.canary;
        }
        match self.judge(step) {
            (Verdict::Healthy, reason) if window.end.duration_since(step.began) >= step.dwell => {
                Decision::Advance(vec![reason])
            }
            (Verdict::Regressed, reason) => Decision::Rollback(vec![reason]),
            (verdict, reason) => Decision::Stay(verdict, vec![reason]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{SignedDuration, Timestamp};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn gate(share: f64) -> ThresholdGate {
        let mut gate = ThresholdGate::new(Limits {
            max_error_rate: 0.01,
            margin: 0.01,
            min_requests: 100,
        });
        gate.begin_step(StepContext {
            share,
            next_share: Some(0.5),
            began: at(0),
            dwell: SignedDuration::from_secs(10),
        });
        gate
    }

    fn window(start: i64, stable: (u64, u64), canary: (u64, u64)) -> Window {
        let counts = |(requests, failures)| Counts { requests, failures };
        Window {
            start: at(start),
            end: at(start + 5),
            share: 0.1,
            stable: counts(stable),
            canary: counts(canary),
            ..Window::default()
        }
    }

    fn verdict(share: f64, windows: &[Window]) -> (&'static str, AnalysisReason) {
        let mut gate = gate(share);
        let mut last = None;
        for window in windows {
            last = Some(gate.observe(window));
        }
        match last.unwrap() {
            Decision::Stay(Verdict::Healthy, reasons) => ("healthy", reasons[0].clone()),
            Decision::Stay(_, reasons) => ("not enough", reasons[0].clone()),
            Decision::Advance(reasons) => ("advance", reasons[0].clone()),
            Decision::Rollback(reasons) => ("rollback", reasons[0].clone()),
            other => panic!("the gate never says {other:?}"),
        }
    }

    #[test]
    fn each_situation_has_its_verdict() {
        for (share, windows, expected, why) in [
            (
                0.1,
                vec![window(0, (900, 1), (99, 0))],
                "not enough",
                AnalysisReason::TooFewCanaryRequests {
                    requests: 99,
                    needed: 100,
                },
            ),
            (
                0.1,
                vec![window(0, (900, 1), (100, 1))],
                "healthy",
                AnalysisReason::WithinLimit {
                    rate: 0.01,
                    limit: 0.01,
                },
            ),
            (
                0.1,
                vec![window(0, (900, 1), (100, 1)), window(5, (900, 0), (100, 0))],
                "advance",
                AnalysisReason::WithinLimit {
                    rate: 0.005,
                    limit: 0.01,
                },
            ),
            (
                0.1,
                vec![window(0, (900, 1), (100, 20))],
                "rollback",
                AnalysisReason::OverLimit {
                    rate: 0.2,
                    limit: 0.01,
                },
            ),
            (
                0.1,
                vec![window(0, (90, 0), (4, 2))],
                "rollback",
                AnalysisReason::OverLimit {
                    rate: 0.5,
                    limit: 0.01,
                },
            ),
            (
                0.1,
                vec![window(0, (900, 300), (100, 33))],
                "not enough",
                AnalysisReason::BothFail {
                    canary: 0.33,
                    stable: 300.0 / 900.0,
                },
            ),
            (
                0.1,
                vec![window(0, (900, 90), (100, 33))],
                "rollback",
                AnalysisReason::OverLimit {
                    rate: 0.33,
                    limit: 0.01,
                },
            ),
            (
                0.9,
                vec![window(0, (10, 0), (900, 0))],
                "not enough",
                AnalysisReason::TooFewStableRequests {
                    requests: 10,
                    needed: 100,
                },
            ),
            (
                1.0,
                vec![window(0, (0, 0), (900, 0)), window(5, (0, 0), (1, 0))],
                "advance",
                AnalysisReason::WithinLimit {
                    rate: 0.0,
                    limit: 0.01,
                },
            ),
        ] {
            assert_eq!(verdict(share, &windows), (expected, why));
        }
    }

    #[test]
    fn a_canary_below_the_limit_but_worse_than_stable_is_regressed() {
        let mut gate = ThresholdGate::new(Limits {
            max_error_rate: 0.10,
            margin: 0.01,
            min_requests: 100,
        });
        gate.begin_step(gate_step());
        let decision = gate.observe(&window(0, (10_000, 10), (1000, 50)));
        assert_eq!(
            decision,
            Decision::Rollback(vec![AnalysisReason::OverMargin {
                canary: 0.05,
                stable: 0.001,
                margin: 0.01
            }])
        );
    }

    #[test]
    fn a_limit_is_what_may_still_be_reached() {
        let over = |canary, stable| {
            let mut gate = ThresholdGate::new(Limits {
                max_error_rate: 0.10,
                margin: 0.01,
                min_requests: 100,
            });
            gate.begin_step(gate_step());
            gate.observe(&window(0, stable, canary))
        };
        let is_healthy = |decision| matches!(decision, Decision::Stay(Verdict::Healthy, _));
        // At the margin: 2 % beside 1 %.
        assert!(is_healthy(over((1000, 20), (1000, 10))));
        // Stable fails exactly at the limit, so it does not fail too: the canary is to blame.
        assert!(matches!(
            over((1_000_000, 105_000), (1_000_000, 100_000)),
            Decision::Rollback(_)
        ));
        // Both fail, the canary exactly by the margin more, which is more than chance explains.
        assert!(matches!(
            over((1_000_000, 210_000), (1_000_000, 200_000)),
            Decision::Stay(_, reasons) if matches!(reasons[0], AnalysisReason::BothFail { .. })
        ));
        // And by three times the margin.
        assert!(matches!(
            over((1_000_000, 230_000), (1_000_000, 200_000)),
            Decision::Rollback(_)
        ));
    }

    #[test]
    fn a_difference_of_less_than_three_standard_deviations_may_be_chance() {
        let counts = |(requests, failures)| Counts { requests, failures };
        for (stable, canary, verdict) in [
            // Of 1,000 requests each with 1 and 11 failures the rate of both is 0.6 %, and the deviation of
            // the difference sqrt(2 p (1 - p) / 1,000): 2.90 of them, and 3.06 with 12.
            ((1000, 1), (1000, 11), true),
            ((1000, 1), (1000, 12), false),
            // 100 requests say less than 1,000: sqrt(p (1 - p) (1 / 1,000 + 1 / 100)).
            ((1000, 1), (100, 1), true),
            ((1000, 1), (100, 2), false),
            // Half of all fail: a deviation of 0.022.
            ((1000, 450), (1000, 550), false),
            // Stable does not fail at all.
            ((1000, 0), (1000, 1), false),
        ] {
            let mut gate = gate(0.1);
            (gate.stable, gate.canary) = (counts(stable), counts(canary));
            assert_eq!(gate.may_be_chance(), verdict, "{stable:?} {canary:?}");
        }
    }

    #[test]
    fn a_canary_between_the_margin_and_chance_waits_for_more_requests() {
        let mut gate = ThresholdGate::new(Limits {
            max_error_rate: 0.10,
            margin: 0.01,
            min_requests: 100,
        });
        gate.begin_step(gate_step());
        let decision = gate.observe(&window(0, (1000, 10), (100, 3)));
        assert_eq!(
            decision,
            Decision::Stay(
                Verdict::NotEnoughData,
                vec![AnalysisReason::MaybeChance {
                    canary: 0.03,
                    stable: 0.01
                }]
            )
        );
    }

    fn gate_step() -> StepContext {
        gate(0.1).step.unwrap()
    }

    #[test]
    fn a_handful_of_requests_in_an_outage_of_both_is_not_held_against_the_canary() {
        let (verdict, why) = verdict(0.1, &[window(0, (1980, 9), (220, 3))]);
        assert_eq!(verdict, "not enough");
        assert!(matches!(why, AnalysisReason::BothFail { .. }), "{why:?}");
    }

    #[test]
    fn requests_from_before_the_step_never_count_for_it() {
        let mut gate = gate(0.1);
        let early = Window {
            start: at(-3),
            ..window(0, (900, 0), (500, 500))
        };
        assert!(matches!(
            gate.observe(&early),
            Decision::Stay(Verdict::NotEnoughData, _)
        ));
    }

    #[test]
    fn a_window_without_requests_is_no_good_news() {
        assert_eq!(
            verdict(
                0.1,
                &[window(0, (0, 0), (0, 0)), window(10, (0, 0), (0, 0))]
            )
            .0,
            "not enough"
        );
    }
}
