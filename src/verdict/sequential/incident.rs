//! Does the stable version itself fail more than usual, and the canary with it? (Section 8.)

use jiff::Timestamp;

use super::block::Arm;

/// What of a window remains in the next.
const DECAY: f64 = 0.75;
/// Times the usual rate, and points above it, at which it is an incident.
const RATIO: f64 = 3.0;
const OFFSET: f64 = 0.01;
/// Failures that must be remembered, so that a single one is no incident.
const LEAST: f64 = 5.0;
/// Windows after which an incident is no passing moment.
const LASTING: u32 = 2;
/// Failures that the canary should have had, were it failing as stable does, before it is taken for sound.
const SPARED: f64 = 10.0;
/// Windows that it must have gone on for by then: of two counters one may lag.
const SPARED_AFTER: u32 = 4;
/// Part of these that it may have had.
const SPARED_MOST: f64 = 1.0 / 3.0;
/// Windows from which the usual rate is taken when there is no history.
const LEARNING: u32 = 4;

/// Follows the stable rate over about four windows and compares it with the usual one.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    usual: Option<f64>,
    recent: Arm,
    learned: Arm,
    windows: u32,
    began: Option<Timestamp>,
    lasting: u32,
    /// What stable and the canary did since it began.
    meanwhile: [Arm; 2],
}

impl Incident {
    /// Compares with `usual`, a share of requests; without one, with the first four windows.
    pub fn new(usual: Option<f64>) -> Self {
        Self {
            usual,
            recent: Arm::default(),
            learned: Arm::default(),
            windows: 0,
            began: None,
            lasting: 0,
            meanwhile: Default::default(),
        }
    }

    /// Takes in what stable and the canary did in a window that ended at `end`.
    pub fn observe(&mut self, stable: Arm, canary: Arm, end: Timestamp) {
        self.recent.bad = DECAY * self.recent.bad + stable.bad;
        self.recent.requests = DECAY * self.recent.requests + stable.requests;
        if self.usual.is_none() {
            self.learned.bad += stable.bad;
            self.learned.requests += stable.requests;
            self.windows += 1;
            if self.windows >= LEARNING && self.learned.requests > 0.0 {
                self.usual = Some(self.learned.bad / self.learned.requests);
            }
        }
        if self.ongoing() {
            self.began.get_or_insert(end);
            self.lasting += 1;
            for (sum, arm) in self.meanwhile.iter_mut().zip([stable, canary]) {
                sum.bad += arm.bad;
                sum.requests += arm.requests;
            }
        } else {
            self.began = None;
            self.lasting = 0;
            self.meanwhile = Default::default();
        }
    }

    /// When the incident was first seen, if it has lasted at least two windows.
    pub fn lasting_since(&self) -> Option<Timestamp> {
        self.began.filter(|_| self.lasting >= LASTING)
    }

    /// The stable version fails more than three times, or a point above, its usual rate.
    pub fn ongoing(&self) -> bool {
        let is_over = |limit| self.recent.bad > limit * self.recent.requests;
        self.recent.bad >= LEAST && self.limit().is_some_and(is_over)
    }

    /// It is stable's alone: what breaks stable leaves the canary as good as stable used to be. Such a canary
    /// is the way out, and waiting for stable to recover would be waiting for ever.
    pub fn spares_canary(&self) -> bool {
        let [stable, canary] = self.meanwhile;
        let would_fail = stable.bad / stable.requests.max(1.0) * canary.requests;
        let is_usual = |limit| canary.bad <= limit * canary.requests;
        self.ongoing()
            && self.lasting >= SPARED_AFTER
            && would_fail >= SPARED
            && canary.bad <= SPARED_MOST * would_fail
            && self.limit().is_some_and(is_usual)
    }

    fn limit(&self) -> Option<f64> {
        self.usual.map(Self::limit_of)
    }

    /// The share of failures above which stable fails more than usual.
    pub fn limit_of(usual: f64) -> f64 {
        (RATIO * usual).max(usual + OFFSET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_is_a_jump_of_stable_and_ends_with_it() {
        let arm = |bad| Arm {
            requests: 1000.0,
            bad,
        };
        let table: [(Option<f64>, &[f64], bool); 6] = [
            (Some(0.001), &[1.0, 1.0, 2.0], false),
            (Some(0.001), &[1.0, 50.0], true),
            (Some(0.001), &[300.0, 0.0, 0.0, 0.0], true),
            (Some(0.001), &[50.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], false),
            (None, &[50.0, 50.0, 50.0, 50.0, 50.0], false),
            (None, &[1.0, 1.0, 1.0, 1.0, 100.0], true),
        ];
        for (usual, bad, expected) in table {
            let mut incident = Incident::new(usual);
            bad.iter()
                .for_each(|&bad| incident.observe(arm(bad), arm(bad), Timestamp::UNIX_EPOCH));
            assert_eq!(incident.ongoing(), expected, "{usual:?} {bad:?}");
        }
    }

    #[test]
    fn a_sound_canary_beside_a_broken_stable_is_told_from_one_that_fails_with_it() {
        let arm = |(requests, bad)| Arm { requests, bad };
        for (stable, canary, spared) in [
            ((1000.0, 200.0), (15.0, 0.0), true),
            // Too few requests to tell.
            ((1000.0, 200.0), (10.0, 0.0), false),
            ((1000.0, 200.0), (1000.0, 150.0), false),
            // Better than stable, and worse than usual.
            ((1000.0, 200.0), (1000.0, 50.0), false),
            ((1000.0, 2.0), (1000.0, 0.0), false),
        ] {
            let mut incident = Incident::new(Some(0.001));
            for _ in 0..SPARED_AFTER {
                assert!(!incident.spares_canary(), "one counter may lag");
                incident.observe(arm(stable), arm(canary), Timestamp::UNIX_EPOCH);
            }
            assert_eq!(incident.spares_canary(), spared, "{stable:?} {canary:?}");
        }
    }
}
