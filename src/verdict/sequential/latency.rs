//! Which bounds of a latency histogram to watch (section 5).

use jiff::SignedDuration;

use crate::verdict::{Slow, Window};

/// Shares of slow requests for which a bound is looked for.
const WANTED: [f64; 4] = [0.5, 0.1, 0.01, 0.001];
/// A bound that nearly every request exceeds says nothing about getting slower.
const USELESS: f64 = 0.95;
/// So few requests that are still under way hardly change a rate.
const LATE: f64 = 0.02;
/// Nobody waits for less, in milliseconds, and any stall of a machine shows in it.
const LEAST_MS: f64 = 5.0;
/// How far beyond what stable never exceeded a bound lies that tells a slow canary from one that is a
/// little slower.
const BEYOND: f64 = 2.0;

/// The counts of `window` at exactly this bound.
pub fn at(window: &Window, bound_ms: f64) -> Option<&Slow> {
    window
        .slow
        .iter()
        .find(|slow| slow.bound_ms.total_cmp(&bound_ms).is_eq())
}

/// The share of stable requests slower than each bound over all windows, by bound.
pub fn tails(windows: &[&Window]) -> Vec<(f64, f64)> {
    let mut sums: Vec<(f64, u64, u64)> = Vec::new();
    for slow in windows.iter().flat_map(|w| &w.slow) {
        let (requests, late) = (slow.stable.requests, slow.stable.failures);
        match sums
            .iter_mut()
            .find(|sum| sum.0.total_cmp(&slow.bound_ms).is_eq())
        {
            Some(sum) => {
                sum.1 += requests;
                sum.2 += late;
            }
            None => sums.push((slow.bound_ms, requests, late)),
        }
    }
    sums.sort_by(|a, b| a.0.total_cmp(&b.0));
    sums.into_iter()
        .filter(|&(_, requests, _)| requests > 0)
        .map(|(bound, requests, late)| (bound, late as f64 / requests as f64))
        .collect()
}

/// How long all but [`LATE`] of the requests took at most, by the bounds of the histogram.
pub fn longest(tails: &[(f64, f64)]) -> SignedDuration {
    let within = tails.iter().find(|(_, share)| *share <= LATE);
    let bound = within.or(tails.last()).map_or(0.0, |(bound, _)| *bound);
    SignedDuration::from_secs_f64(bound / 1000.0)
}

/// The bounds of 5 ms and more whose share of slow requests is closest, as a ratio, to 50, 10, 1 and
/// 0.1 %, and one well beyond what any request took, without repetition, in ascending order; where no
/// request was that slow, the least of them too. Takes pairs of bound and share as [`tails`] gives them.
/// Counting at bounds that the histogram has is exact: nothing is interpolated.
///
/// At a bound that stable never exceeds, every slow request of the canary tells; beside a bound that a tenth
/// of stable's requests exceed, a few that take seconds are lost in the many.
pub fn choose(tails: &[(f64, f64)]) -> Vec<f64> {
    let felt = |bound: f64| bound >= LEAST_MS;
    let tails: Vec<_> = tails.iter().filter(|tail| felt(tail.0)).collect();
    let mut chosen: Vec<f64> = Vec::new();
    if let Some(&(least, share)) = tails.first().copied()
        && share == 0.0
    {
        chosen.push(least);
    }
    let never = tails.iter().find(|(_, share)| *share == 0.0);
    let beyond = never.and_then(|(never, _)| {
        let far = tails.iter().find(|(bound, _)| *bound >= BEYOND * never);
        far.map(|(bound, _)| *bound)
    });
    chosen.extend(beyond);
    for wanted in WANTED {
        let distance = |share: f64| (share.ln() - f64::ln(wanted)).abs();
        let closest = tails
            .iter()
            .filter(|(_, share)| *share > 0.0 && *share < USELESS)
            .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)));
        if let Some((bound, _)) = closest
            && !chosen.contains(bound)
        {
            chosen.push(*bound);
        }
    }
    chosen.sort_by(f64::total_cmp);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_bounds_near_the_wanted_tails() {
        type Row = (&'static [(f64, f64)], &'static [f64]);
        let table: [Row; 8] = [
            (&[], &[]),
            (&[(1.0, 1.0), (5.0, 0.97)], &[]),
            (
                &[
                    (5.0, 0.99),
                    (10.0, 0.6),
                    (25.0, 0.3),
                    (50.0, 0.08),
                    (100.0, 0.02),
                    (250.0, 0.0009),
                    (500.0, 0.0),
                ],
                &[10.0, 50.0, 100.0, 250.0],
            ),
            // Differences too short for a user to feel are not watched.
            (&[(0.5, 0.9), (1.0, 0.2), (5.0, 0.001), (10.0, 0.0)], &[5.0]),
            (&[(1.0, 0.2), (5.0, 0.0), (10.0, 0.0)], &[5.0, 10.0]),
            // Every tenth request over a second is far beyond what never took 25 ms.
            (
                &[
                    (5.0, 0.9),
                    (10.0, 0.6),
                    (25.0, 0.0),
                    (50.0, 0.0),
                    (100.0, 0.0),
                ],
                &[10.0, 50.0],
            ),
            (&[(1.0, 0.2)], &[]),
            // One bound serves all.
            (&[(10.0, 0.2), (25.0, 0.0)], &[10.0]),
        ];
        for (tails, expected) in table {
            assert_eq!(choose(tails), expected, "{tails:?}");
        }
    }
}
