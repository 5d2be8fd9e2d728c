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
