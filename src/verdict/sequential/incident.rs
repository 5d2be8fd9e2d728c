//! Does the stable version itself fail more than usual? (Section 8.)

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
        }
    }

    /// Takes in what stable did in a window that ended at `end`.
    pub fn observe(&mut self, stable: Arm, end: Timestamp) {
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
        } else {
            self.began = None;
            self.lasting = 0;
        }
    }

    /// When the incident was first seen, if it has lasted at least two windows.
    pub fn lasting_since(&self) -> Option<Timestamp> {
        self.began.filter(|_| self.lasting >= LASTING)
    }

    /// The stable version fails more than three times, or a point above, its usual rate.
    pub fn ongoing(&self) -> bool {
        let Some(usual) = self.usual else {
            return false;
        };
        self.recent.bad >= LEAST
            && self.recent.bad > (RATIO * usual).max(usual + OFFSET) * self.recent.requests
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
                .for_each(|&bad| incident.observe(arm(bad), Timestamp::UNIX_EPOCH));
            assert_eq!(incident.ongoing(), expected, "{usual:?} {bad:?}");
        }
    }
}
