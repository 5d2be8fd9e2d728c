//! Whether the canary gets what its weight promises (section 2 of the module docs).
//!
//! Not every request of a service goes by the routes whose weights are moved: other rules send to stable,
//! callers go past the routes, a second object serves a gateway. What the canary really gets tells.

use super::evidence::OddShare;
use crate::verdict::Window;

/// Nominal requests of the canary before which nothing is said of what it lacks, and requests that it must
/// have got before it is said that they are too many.
const LEAST: f64 = 50.0;
const LEAST_GOT: f64 = 10.0;
/// Nominal requests that are remembered of a step.
const MEMORY: f64 = 200.0;
/// Standard deviations of a random split that are put down to chance. It is asked at every window.
const CHANCE: f64 = 3.0;
/// Part of its nominal requests below which the canary evidently gets less than its weight says: proxies
/// that lag and connections that are kept stay above it.
const LESS: f64 = 0.9;
/// The same so far below that the step is held.
const STARVED: f64 = 0.5;
/// Times its nominal requests above which callers evidently reach it past the weights.
const MORE: f64 = 1.5;

/// What the canary should have got and what it got, over windows in which the weights had settled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RealisedShare {
    all: f64,
    canary: f64,
    nominal: f64,
    variance: f64,
}

impl RealisedShare {
    /// What one window shows by itself, in which the weights gave the canary `share` of the requests, 0 to 1.
    pub fn of(window: &Window, share: f64) -> Self {
        let mut realised = Self::default();
        realised.add(window, share);
        realised
    }

    /// Counts a window as [`Self::note`] does, and forgets what is long ago: a share that is lost in mid-step shows as one that
    /// never came.
    pub fn note_lately(&mut self, window: &Window) {
        self.note(window);
        if self.nominal > MEMORY {
            let keep = MEMORY / self.nominal;
            self.all *= keep;
            self.canary *= keep;
            self.nominal *= keep;
            self.variance *= keep;
        }
    }

    /// Counts a window in which the proxies had followed the weights.
    pub fn note(&mut self, window: &Window) {
        self.add(window, window.share);
    }

    fn add(&mut self, window: &Window, share: f64) {
        let all = (window.stable.requests + window.canary.requests) as f64;
        let nominal = all * share;
        self.all += all;
        self.canary += window.canary.requests as f64;
        self.nominal += nominal;
        self.variance += nominal * (1.0 - share);
    }

    fn chance(&self) -> f64 {
        CHANCE * self.variance.sqrt()
    }

    fn is_less(&self) -> bool {
        self.nominal >= LEAST && self.canary < LESS * self.nominal - self.chance()
    }

    /// The canary evidently gets less than half of what its weight says.
    pub fn is_starved(&self) -> bool {
        self.nominal >= LEAST && self.canary < STARVED * self.nominal
    }

    /// Callers evidently reach the canary past the weights.
    pub fn is_exceeded(&self) -> bool {
        self.canary >= LEAST_GOT && self.canary > MORE * self.nominal + self.chance()
    }

    /// What the canary gets and what was set, where they differ by more than chance and delays explain.
    pub fn deviation(&self) -> Option<OddShare> {
        let differs = self.is_less() || self.is_exceeded();
        differs.then(|| OddShare {
            got: self.canary / self.all,
            set: self.nominal / self.all,
        })
    }

    /// The part of stable's requests that other rules sent to it, 0 to 1.
    ///
    /// Of `T` requests a part `φ` follows the weights; at weight `w` the canary gets `n1 = w φ T`, so that
    /// `φ = n1 / (w T)`, and of stable's `T - n1` requests `(1 - w) φ T` followed. 0 as long as chance
    /// explains what is missing.
    pub fn unrelated(&self) -> f64 {
        if !self.is_less() {
            return 0.0;
        }
        let (followed, share) = (self.canary / self.nominal, self.nominal / self.all);
        1.0 - (1.0 - share) * followed / (1.0 - share * followed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Counts;

    fn seen(stable: u64, canary: u64, share: f64) -> RealisedShare {
        let of = |requests| Counts {
            requests,
            failures: 0,
        };
        let window = Window {
            stable: of(stable),
            canary: of(canary),
            ..Window::default()
        };
        RealisedShare::of(&window, share)
    }

    #[test]
    fn a_share_is_off_when_neither_chance_nor_delay_explains_it() {
        for (stable, canary, share, deviation) in [
            (900, 100, 0.1, None),
            // A tenth less is what kept connections and slow proxies come to.
            (9_090, 910, 0.1, None),
            (925, 75, 0.1, None),
            (9_500, 500, 0.1, Some((0.05, 0.1))),
            (8_000, 2_000, 0.1, Some((0.2, 0.1))),
            // Of few requests nothing is said.
            (40, 0, 0.5, None),
            (60, 9, 0.01, None),
            (60, 60, 0.01, Some((0.5, 0.01))),
        ] {
            let realised = seen(stable, canary, share);
            let found = realised
                .deviation()
                .map(|share| ((share.got * 1e3).round() / 1e3, share.set));
            assert_eq!(found, deviation, "{stable} {canary} {share}");
        }
        assert!(seen(9_600, 400, 0.1).is_starved());
        assert!(!seen(9_400, 600, 0.1).is_starved());
        assert!(seen(8_000, 2_000, 0.1).is_exceeded());
    }

    #[test]
    fn a_share_that_is_lost_in_mid_step_shows() {
        let window = |canary: u64| Window {
            share: 0.1,
            stable: Counts {
                requests: 1_000 - canary,
                failures: 0,
            },
            canary: Counts {
                requests: canary,
                failures: 0,
            },
            ..Window::default()
        };
        let mut lately = RealisedShare::default();
        (0..100).for_each(|_| lately.note_lately(&window(100)));
        assert!(!lately.is_starved());
        (0..3).for_each(|_| lately.note_lately(&window(10)));
        assert!(lately.is_starved());
    }

    #[test]
    fn what_other_rules_send_to_stable_is_told_from_what_the_canary_lacks() {
        // As much again goes to stable by another rule.
        let realised = seen(9_000 + 10_000, 1_000, 0.1);
        let of_the_route = 19_000.0 * (1.0 - realised.unrelated());
        assert!((of_the_route - 9_000.0).abs() < 1e-6, "{of_the_route}");
        assert_eq!(seen(9_000, 1_000, 0.1).unrelated(), 0.0);
        assert_eq!(seen(1_000, 0, 0.1).unrelated(), 1.0);
    }
}
