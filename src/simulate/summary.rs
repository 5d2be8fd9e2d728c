//! Many simulated rollouts, and what became of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{RunEnding, SimulatedRun};

/// A number with the interval in which 95 % of the rollouts lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// Half of them lie below.
    pub median: f64,
    /// 2.5 % lie below.
    pub low: f64,
    /// 10 % lie above.
    pub nine_in_ten: f64,
    /// 5 % lie above.
    pub nineteen_in_twenty: f64,
    /// 2.5 % lie above.
    pub high: f64,
}

/// A chance with the 95 % interval that the number of rollouts leaves (Wilson's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Probability {
    /// How often it happened, as a share.
    pub share: f64,
    /// The least it may be in truth.
    pub low: f64,
    /// The most it may be in truth.
    pub high: f64,
}

/// What became of many rollouts of one scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// Rollouts.
    pub runs: usize,
    /// The canary was rolled back as worse.
    pub rolled_back: Probability,
    /// The canary got all the traffic.
    pub promoted: Probability,
    /// It ended without a verdict.
    pub inconclusive: Probability,
    /// Seconds to the end.
    pub seconds: Spread,
    /// Seconds to a promotion; `null` where there was none.
    pub seconds_to_promote: Option<Spread>,
    /// Failed canary requests.
    pub failed: Spread,
    /// Canary requests that failed because it is worse than stable.
    pub excess: Spread,
    /// The same over the rollouts that were rolled back; `null` where none was.
    pub excess_rolled_back: Option<Spread>,
    /// Requests to either version that failed because of the canary.
    pub damage: Spread,
}

impl RunSummary {
    /// Sums simulated rollouts up.
    pub fn of(runs: &[SimulatedRun]) -> Self {
        let chance = |ending| {
            let times = runs.iter().filter(|o| o.ending == ending).count();
            Probability::of(times, runs.len())
        };
        let spread =
            |of: fn(&SimulatedRun) -> f64| Spread::of(runs.iter().map(of)).unwrap_or_default();
        let ended = |ending: RunEnding| move |o: &&SimulatedRun| o.ending == ending;
        Self {
            runs: runs.len(),
            rolled_back: chance(RunEnding::RolledBack),
            promoted: chance(RunEnding::Promoted),
            inconclusive: chance(RunEnding::Inconclusive),
            seconds: spread(|o| o.seconds),
            seconds_to_promote: Spread::of(
                runs.iter()
                    .filter(ended(RunEnding::Promoted))
                    .map(|o| o.seconds),
            ),
            failed: spread(|o| o.failed as f64),
            excess: spread(|o| o.excess),
            excess_rolled_back: Spread::of(
                runs.iter()
                    .filter(ended(RunEnding::RolledBack))
                    .map(|o| o.excess),
            ),
            damage: spread(|o| o.damage),
        }
    }
}

impl Spread {
    /// Of no value there is none.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| values[(share * last as f64).round() as usize];
        Some(Self {
            mean: values.iter().sum::<f64>() / values.len() as f64,
            median: at(0.5),
            low: at(0.025),
            nine_in_ten: at(0.9),
            nineteen_in_twenty: at(0.95),
            high: at(0.975),
        })
    }
}

impl Probability {
    /// `times` of `runs`. Of no run nothing is known: 0 to 1.
    pub fn of(times: usize, runs: usize) -> Self {
        if runs == 0 {
            return Self {
                share: 0.0,
                low: 0.0,
                high: 1.0,
            };
        }
        let (n, z2) = (runs as f64, 1.96 * 1.96);
        let share = times as f64 / n;
        let middle = share + z2 / (2.0 * n);
        let width = 1.96 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z2 / n;
        Self {
            share,
            low: ((middle - width) / scale).max(0.0),
            // Of all or none the interval ends there, whatever rounding makes of it.
            high: if times == runs {
                1.0
            } else {
                ((middle + width) / scale).min(1.0)
            },
        }
    }
}

/// Runs `times` rollouts on `threads` threads. Rollout `i` gets seed `first_seed + i`, so the threads
/// do not change the result.
pub fn simulate_many(
    times: usize,
    first_seed: u64,
    threads: usize,
    rollout: impl Fn(u64) -> SimulatedRun + Sync,
) -> Vec<SimulatedRun> {
    let threads = threads.clamp(1, times.max(1));
    let part = times.div_ceil(threads);
    std::thread::scope(|scope| {
        let rollout = &rollout;
        let parts: Vec<_> = (0..threads)
            .map(|thread| {
                let seeds = (thread * part).min(times)..((thread + 1) * part).min(times);
                scope.spawn(move || {
                    seeds
                        .map(|i| rollout(first_seed.wrapping_add(i as u64)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().expect("a rollout does not panic"))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_of_none_in_many_is_not_none() {
        let chance = Probability::of(0, 1000);
        assert_eq!(chance.low, 0.0);
        assert!((0.003..0.005).contains(&chance.high));
    }

    #[test]
    fn a_spread_has_its_middle_and_ends() {
        let spread = Spread::of((0..=1000).map(f64::from)).unwrap();
        assert_eq!(
            (spread.low, spread.median, spread.high),
            (25.0, 500.0, 975.0)
        );
        assert_eq!(Spread::of(std::iter::empty()), None);
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let run = |seed| SimulatedRun {
            ending: RunEnding::Promoted,
            seconds: seed as f64,
            failed: 0,
            excess: 0.0,
            damage: 0.0,
            trips: 0,
            retreats: 0,
        };
        assert_eq!(simulate_many(7, 3, 1, run), simulate_many(7, 3, 4, run));
    }
}
