//! Would the canary still look worse if one version's counters lag a scrape? (Section 4.)

use super::block::Arm;
use super::regression::{Regression, Terms};
use super::traffic_split::MetricCounts;

/// A window of the dispute, with the stable counts of its neighbours in time.
#[derive(Clone, Copy, Debug)]
pub struct Disputed {
    /// What was counted.
    pub tally: MetricCounts,
    /// On what terms the bet was.
    pub terms: Terms,
    /// Stable one window earlier, if it is known.
    pub earlier: Option<Arm>,
    /// Stable one window later, if it is known.
    pub later: Option<Arm>,
}

/// Which neighbour stands in for stable's own window, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// The window before replaces it.
    Earlier,
    /// The window after replaces it.
    Later,
    /// What the window before has above the expected is added to it.
    PlusEarlier,
    /// What the window after has above the expected is added to it.
    PlusLater,
}

impl Alignment {
    /// All four.
    pub const ALL: [Self; 4] = [
        Self::Earlier,
        Self::Later,
        Self::PlusEarlier,
        Self::PlusLater,
    ];

    /// The window as it would look so aligned, `rate` being the stable rate expected. A neighbour
    /// without a request leaves it as it is.
    fn apply(self, disputed: &Disputed, rate: f64) -> MetricCounts {
        let mut tally = disputed.tally;
        let neighbour = match self {
            Self::Earlier | Self::PlusEarlier => disputed.earlier,
            Self::Later | Self::PlusLater => disputed.later,
        };
        if let Some(neighbour) = neighbour.filter(|arm| arm.requests > 0.0) {
            let exposure = tally.exposure().stable;
            let there = neighbour.bad * exposure / neighbour.requests;
            tally.stable.bad = match self {
                Self::Earlier | Self::Later => there,
                Self::PlusEarlier | Self::PlusLater => {
                    // Both counts stand for the same exposure before they are added.
                    let own = if tally.stable.requests > 0.0 {
                        tally.stable.bad * exposure / tally.stable.requests
                    } else {
                        0.0
                    };
                    own + (there - rate * exposure).max(0.0)
                }
            };
        }
        tally
    }
}

/// The evidence in nats had the windows been aligned so. `before` is the state before the first.
///
/// Only the bets see the aligned counts; the stable rate is learned from what was counted.
pub fn realigned(before: &Regression, windows: &[Disputed], alignment: Alignment) -> f64 {
    let mut process = before.clone();
    for (i, window) in windows.iter().enumerate() {
        let tally = alignment.apply(window, process.stable_rate.rate());
        process.bet(&tally, &window.terms);
        if i + 1 < windows.len() {
            process.learn(&window.tally);
        }
    }
    process.evidence()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::sequential::block::Margin;
    use crate::verdict::sequential::dispersion::Dispersion;
    use crate::verdict::sequential::mixture::Alternatives;

    fn arm(requests: f64, bad: f64) -> Arm {
        Arm { requests, bad }
    }

    /// A tenth of a thousand requests goes to the canary; stable has 9 failures in 900.
    fn disputed(stable: Arm, neighbour: Option<Arm>) -> Disputed {
        Disputed {
            tally: MetricCounts {
                stable,
                canary: arm(100.0, 20.0),
                share: 0.1,
                unrelated: 0.0,
            },
            terms: Terms {
                margin: Margin {
                    ratio: 1.25,
                    offset: 0.0001,
                },
                alternatives: Alternatives::default(),
                dispersion: Dispersion::POISSON,
            },
            earlier: neighbour,
            later: None,
        }
    }

    #[test]
    fn a_neighbour_stands_in_or_is_added_at_the_same_exposure() {
        let bad = |stable, neighbour, alignment: Alignment| {
            let tally = alignment.apply(&disputed(stable, neighbour), 0.01);
            (tally.stable.bad * 1e6).round() / 1e6
        };
        let own = arm(900.0, 9.0);
        // Half the exposure with 90 failures is 180 at the whole.
        let neighbour = Some(arm(450.0, 90.0));
        assert_eq!(bad(own, neighbour, Alignment::Earlier), 180.0);
        // Of these 9 were expected.
        assert_eq!(bad(own, neighbour, Alignment::PlusEarlier), 180.0);
        // A neighbour with less than what was expected takes nothing away.
        let quiet = Some(arm(900.0, 1.0));
        assert_eq!(bad(own, quiet, Alignment::PlusEarlier), 9.0);
        // Where there is none, or one without a request, the window stays as it is.
        for nobody in [None, Some(arm(0.0, 0.0))] {
            for alignment in Alignment::ALL {
                assert_eq!(bad(own, nobody, alignment), 9.0, "{alignment:?}");
            }
        }
        // A window without a request of stable's has no failure of its own, but may have its neighbour's.
        let added = bad(arm(0.0, 0.0), neighbour, Alignment::PlusEarlier);
        assert!(added.is_finite() && added > 0.0, "{added}");
    }
}
