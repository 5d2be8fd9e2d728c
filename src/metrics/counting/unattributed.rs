//! Which version the requests belong to that reached no upstream.
//!
//! When no upstream can be chosen (no healthy endpoint, a circuit breaker that is open) only the caller's
//! proxy reports, and it names no workload: a dead canary disappears from its own series and its failures
//! stand under `unknown`. The split that is configured says how many requests the canary should have had.
//!
//! # Reasoning
//!
//! Without further knowledge every version has the same share in `unknown` as in the traffic: the part
//! `share` goes to the canary. That is neutral, neither version looks worse by it. Only as far as requests
//! are *missing* at the canary, more than chance explains, must they be among the unknown ones, and as far
//! as they are not missing they cannot be.
//!
//! Giving the canary simply all that it lacks (`min(unknown, max(0, share * all - canary))`) is wrong by the
//! noise of the draw: of 1 000 requests at 10 % the canary gets 100 give or take 9.5, so that 10 unknown
//! failures, of which about 1 is the canary's, would land on it by the handful whenever it happened to get
//! fewer, and never leave it when it got more. An open circuit breaker of the whole service would then roll
//! back a healthy canary. So what is lacking counts only beyond three standard deviations, and beyond an
//! eighth of what it did get: connections that are kept, sticky callers and proxies that lag give a healthy
//! canary a little less or more than its weight says, and at high traffic chance does not cover that. A
//! canary that gets nothing is given no such allowance. It is computed over this window, where a canary that
//! dies shows at once at high traffic, and since the weight changed, where it shows in time at low traffic.
//!
//! Where other rules send to the same versions, the canary's weight is a share of an unknown part of the
//! requests, and so is what it lacks: what it got of its weight's promise in earlier windows stands for that
//! part.
//!
//! Where users of the canary stay on it, its weight is the least that it should have had: what it lacks of that is
//! its own, as above, and what it gets beyond it buys nothing. How many of its users the rest are is not known.
//!
//! As long as the part that goes by the weights is not known, and in a window in which the weight changed and takes effect in every
//! proxy at another moment, it is not known what the canary should have had. There the unknown requests are
//! divided as the named ones are. Where other rules send to the same versions, or users stay on the canary, they are
//! left out instead.

use crate::verdict::{BesideWeights, Counts};

/// How many standard deviations of the random split are put down to chance. It is asked at every window,
/// so two would be exceeded every few minutes.
const CHANCE: f64 = 3.0;

/// By which part of what the canary got the realised share may be off without saying anything.
const SLACK: f64 = 0.125;

/// The canary's share of the requests that a window may have been divided by, each 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ShareOfWindow {
    /// At the window's end.
    pub(crate) at_end: f64,
    /// When the oldest request in it may have been sent, the time aside that proxies need to follow.
    pub(crate) before: f64,
    /// What sends to the versions beside the weights.
    pub(crate) beside: BesideWeights,
}

impl ShareOfWindow {
    /// Whether both versions got requests by their weights all the time.
    pub(crate) fn is_shared(self) -> bool {
        let shared = |share: f64| share > 0.0 && share < 1.0;
        shared(self.before) && shared(self.at_end)
    }
}

/// The canary's weight as a share of the requests that went by it.
#[derive(Clone, Copy, Debug, Default)]
struct Followed {
    promised: f64,
    got: f64,
}

impl Followed {
    /// Promised requests without which nothing is known.
    const LEAST: f64 = 50.0;

    /// The part of all requests that goes by the weights, 0 to 1.
    fn part(self) -> Option<f64> {
        (self.promised >= Self::LEAST).then(|| (self.got / self.promised).min(1.0))
    }
}

/// Counts of one window, as the caller's proxies name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) stable: Counts,
    pub(crate) canary: Counts,
    pub(crate) unknown: Counts,
}

/// What the canary should have had since the weight changed, and what it got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unattributed {
    share: f64,
    /// Over all weights so far.
    followed: Followed,
    expected: f64,
    /// Requests that name the canary, and these with the unknown ones that were given to it.
    named: f64,
    got: f64,
    variance: f64,
    /// Fractions of requests and of failures that are the canary's but not yet a whole one.
    owed: f64,
    owed_failures: f64,
}

impl Unattributed {
    /// Divides the unknown requests of a window between stable and canary. Where not all go by the weights,
    /// what is not the canary's is left out: stable would hide behind failures that are not its own.
    ///
    /// A share outside of 0 to 1 is taken for the nearer end.
    pub(crate) fn assign(&mut self, named: Named, share: ShareOfWindow) -> (Counts, Counts) {
        let part = |share: f64| match share.is_nan() {
            true => 0.0,
            false => share.clamp(0.0, 1.0),
        };
        let (share, before, beside) = (part(share.at_end), part(share.before), share.beside);
        let of_all = beside.is_nothing();
        if share != self.share {
            *self = Self {
                share,
                followed: self.followed,
                ..Self::default()
            };
        }
        let followed = match beside.other_rules {
            true => self.followed.part(),
            false => Some(1.0),
        };
        let Named {
            mut stable,
            mut canary,
            unknown,
        } = named;
        let unknown_requests = unknown.requests as f64;
        // Of requests that any rule may have sent none is the canary's, unless it lacks them.
        let neutral = |part: f64| if of_all { part } else { 0.0 };
        let seen = (stable.requests + canary.requests) as f64;
        let settled = share == before;
        let given = if let Some(followed) = followed.filter(|_| settled) {
            let share = followed * share;
            let expected = share * (seen + unknown_requests);
            let variance = expected * (1.0 - share);
            self.expected += expected;
            self.variance += variance;
            let named = canary.requests as f64;
            self.named += named;
            self.got += named;

            let lacking = expected - named;
            let may_lack = |named: f64, variance: f64| CHANCE * variance.sqrt() + SLACK * named;
            let chance = may_lack(named, variance);
            let at_least = (lacking - chance)
                .max(self.expected - self.got - may_lack(self.named, self.variance));
            let at_most = (lacking + chance).max(at_least);
            let given = (neutral(share) * unknown_requests)
                .clamp(at_least, at_most)
                .clamp(0.0, unknown_requests);
            self.got += given;
            if beside.sticky_users && self.got >= self.expected {
                self.owe_nothing();
            }
            given
        } else {
            let realised = match seen > 0.0 {
                true => canary.requests as f64 / seen,
                false => share.min(before),
            };
            neutral(realised) * unknown_requests
        };
        if settled {
            self.followed.promised += share * seen;
            self.followed.got += canary.requests as f64;
        }

        let requests = whole(&mut self.owed, given).min(unknown.requests);
        let rate = unknown.failure_rate().unwrap_or_default();
        let failures = whole(&mut self.owed_failures, given * rate)
            .min(requests)
            .min(unknown.failures)
            // The others must fit into what is left for stable.
            .max((unknown.failures + requests).saturating_sub(unknown.requests));
        canary += Counts { requests, failures };
        if of_all {
            stable += Counts {
                requests: unknown.requests - requests,
                failures: unknown.failures - failures,
            };
        }
        (stable, canary)
    }

    /// The canary has had what it should have had so far.
    fn owe_nothing(&mut self) {
        self.expected = 0.0;
        self.named = 0.0;
        self.got = 0.0;
        self.variance = 0.0;
    }
}

/// The whole requests in what is owed by now; the rest stays owed.
fn whole(owed: &mut f64, more: f64) -> u64 {
    *owed += more;
    let whole = (*owed + 1e-9).floor().max(0.0);
    *owed -= whole;
    whole as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(requests: u64, failures: u64) -> Counts {
        Counts { requests, failures }
    }

    fn assign(
        stable: (u64, u64),
        canary: (u64, u64),
        unknown: (u64, u64),
        share: f64,
    ) -> (Counts, Counts) {
        let named = Named {
            stable: counts(stable.0, stable.1),
            canary: counts(canary.0, canary.1),
            unknown: counts(unknown.0, unknown.1),
        };
        Unattributed::default().assign(named, settled(share))
    }

    /// A share that has been in force for long.
    fn settled(share: f64) -> ShareOfWindow {
        ShareOfWindow {
            at_end: share,
            before: share,
            beside: BesideWeights::default(),
        }
    }

    /// Other rules send to stable, and one of them to nobody: nothing of that is the canary's.
    #[test]
    fn what_a_lane_without_pods_fails_is_not_the_canarys() {
        let among_others = ShareOfWindow {
            beside: BesideWeights {
                other_rules: true,
                ..BesideWeights::default()
            },
            ..settled(0.1)
        };
        let mut unattributed = Unattributed::default();
        let mut total = [Counts::default(); 2];
        for _ in 0..40 {
            let named = Named {
                stable: counts(900 + 850, 0),
                canary: counts(98, 0),
                unknown: counts(45, 45),
            };
            let (stable, canary) = unattributed.assign(named, among_others);
            total[0] += stable;
            total[1] += canary;
        }
        assert_eq!(total.map(|counts| counts.failures), [0, 0], "{total:?}");
        // The canary dies, and what it lacks now are its requests.
        let named = Named {
            stable: counts(900 + 850, 0),
            canary: counts(0, 0),
            unknown: counts(145, 145),
        };
        let (_, canary) = unattributed.assign(named, among_others);
        assert!(canary.failures > 50, "{canary:?}");
    }

    /// Users who stay on the canary give it half of the requests at a weight of 10 %.
    #[test]
    fn a_canary_with_sticky_users_pays_for_what_it_lacks_and_for_nothing_else() {
        let beside = BesideWeights {
            sticky_users: true,
            ..BesideWeights::default()
        };
        let share = ShareOfWindow {
            beside,
            ..settled(0.1)
        };
        for rate in [20, 1_000] {
            let mut unattributed = Unattributed::default();
            let mut play = |windows: u64, canary: u64, unknown: u64| {
                let mut total = [Counts::default(); 2];
                for _ in 0..windows {
                    let named = Named {
                        stable: counts(rate / 2, 0),
                        canary: counts(canary, 0),
                        unknown: counts(unknown, unknown),
                    };
                    let (stable, canary) = unattributed.assign(named, share);
                    total[0] += stable;
                    total[1] += canary;
                }
                total.map(|counts| counts.failures)
            };
            // Stable's circuit breaker is open: nobody is blamed.
            assert_eq!(play(40, rate / 2, rate / 20), [0, 0]);
            // The canary dies, whatever it had before: most of what its weight promised has failed.
            let [stable, canary] = play(20, 0, rate / 2);
            assert_eq!(stable, 0);
            let promised = 20 * rate / 10;
            assert!(
                (promised / 2..=promised).contains(&canary),
                "{canary} of {promised}"
            );
        }
    }

    #[test]
    fn unknown_requests_go_where_they_are_missing() {
        // (stable, canary, unknown, share) -> canary
        let cases = [
            // A dead canary at high traffic: nearly all at once, and all of it failed.
            (((9_000, 0), (0, 0), (1_000, 1_000)), 0.1, counts(910, 910)),
            // A healthy canary beside an open circuit breaker of the whole service: its share.
            (((891, 0), (99, 0), (10, 10)), 0.1, counts(100, 1)),
            (((895, 0), (95, 0), (10, 10)), 0.1, counts(96, 1)),
            // Stable is dead instead: the canary has more than its share, so nothing is its own.
            (((0, 0), (500, 0), (500, 500)), 0.5, counts(609, 109)),
            // All of it at 100 %, none of it at 0 %.
            (((0, 0), (0, 0), (7, 7)), 1.0, counts(7, 7)),
            (((10, 0), (0, 0), (7, 7)), 0.0, counts(0, 0)),
            // Nothing unknown, nothing moves.
            (((10, 1), (3, 2), (0, 0)), 0.5, counts(3, 2)),
            // Unknown requests that did not fail stay unfailed.
            (((900, 0), (0, 0), (100, 0)), 0.1, counts(71, 0)),
        ];
        for ((stable, canary, unknown), share, expected) in cases {
            let (_, got) = assign(stable, canary, unknown, share);
            assert_eq!(got, expected, "{stable:?} {canary:?} {unknown:?} {share}");
        }
    }

    #[test]
    fn a_dead_canary_shows_in_time_at_low_traffic() {
        let mut unattributed = Unattributed::default();
        let mut failed = 0;
        for _ in 0..40 {
            let named = Named {
                stable: counts(9, 0),
                canary: counts(0, 0),
                unknown: counts(1, 1),
            };
            failed += unattributed.assign(named, settled(0.1)).1.failures;
        }
        assert!((20..=40).contains(&failed), "{failed} of 40");
    }

    #[test]
    fn chance_does_not_blame_a_healthy_canary() {
        // A split drawn at random, 1 % of the requests of the whole service fail without an upstream.
        let mut state = 1_u64;
        let mut draw = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as f64 / (1_u64 << 31) as f64
        };
        let mut unattributed = Unattributed::default();
        let mut total = [Counts::default(); 2];
        for _ in 0..500 {
            let mut named = Named::default();
            for _ in 0..1_000 {
                if draw() < 0.01 {
                    named.unknown += counts(1, 1);
                } else if draw() < 0.1 {
                    named.canary += counts(1, 0);
                } else {
                    named.stable += counts(1, 0);
                }
            }
            let (stable, canary) = unattributed.assign(named, settled(0.1));
            total[0] += stable;
            total[1] += canary;
        }
        let rates = total.map(|counts| counts.failure_rate().unwrap());
        // Within rollback's own margin of a quarter.
        assert!(rates[1] < 1.25 * rates[0], "{rates:?}");
        assert!(rates[1] > 0.8 * rates[0], "{rates:?}");
    }

    /// 0.1 % of a service's requests fail without an upstream, and the canary gets a little less than its
    /// weight says, or its weight takes effect a second late.
    #[test]
    fn a_healthy_canary_with_not_quite_its_share_is_not_blamed() {
        let second = |share: f64| counts((10_000.0 * share) as u64, 0);
        let window = |canary: Counts| Named {
            stable: counts(149_850 - canary.requests, 0),
            canary,
            unknown: counts(150, 150),
        };
        for got in [0.9, 0.95, 1.0, 1.05] {
            let mut unattributed = Unattributed::default();
            let mut total = Counts::default();
            for _ in 0..40 {
                let named = window(counts((1_500.0 * got) as u64, 0));
                total += unattributed.assign(named, settled(0.01)).1;
            }
            let rate = total.failure_rate().unwrap();
            assert!((rate - 0.001).abs() < 0.000_3, "{got}: {rate}");
        }
        let mut unattributed = Unattributed::default();
        let mut late = second(0.01);
        late.requests *= 14;
        let changed = ShareOfWindow {
            at_end: 0.01,
            before: 0.0,
            beside: BesideWeights::default(),
        };
        let (_, canary) = unattributed.assign(window(late), changed);
        assert!(canary.failure_rate().unwrap() < 0.001_1, "{canary:?}");
    }

    #[test]
    fn an_impossible_share_does_no_harm() {
        for share in [f64::NAN, -1.0, 7.0, f64::INFINITY] {
            let (stable, canary) = assign((5, 0), (0, 0), (5, 5), share);
            assert_eq!(stable.requests + canary.requests, 10);
        }
    }

    proptest! {
        #[test]
        fn no_request_is_lost_or_made_up(
            windows in proptest::collection::vec(
                ((0_u64..500, 0_u64..500), (0_u64..500, 0_u64..500), (0_u64..500, 0_u64..500)), 1..20),
            share in 0.0_f64..=1.0,
        ) {
            let mut unattributed = Unattributed::default();
            for (stable, canary, unknown) in windows {
                let of = |(requests, failures): (u64, u64)| counts(requests, failures.min(requests));
                let named = Named { stable: of(stable), canary: of(canary), unknown: of(unknown) };
                let mut before = named.stable;
                before += named.canary;
                before += named.unknown;
                let (stable, canary) = unattributed.assign(named, settled(share));
                prop_assert!(stable.failures <= stable.requests);
                prop_assert!(canary.failures <= canary.requests);
                prop_assert!(canary.requests >= named.canary.requests);
                prop_assert!(stable.requests >= named.stable.requests);
                let mut after = stable;
                after += canary;
                prop_assert_eq!(before, after);
            }
        }
    }
}
