//! How one route's weight is divided between stable and canary.

use serde::{Deserialize, Serialize};

use super::{Route, RouteId, VirtualService};
use crate::plan::Percent;

/// The weights of one route, destination by destination, as they are to be written.
pub type Weights = Vec<Option<i64>>;

/// One chosen route: which of its destinations are stable and canary, and its original weights.
///
/// It holds everything that is needed to put the route back, and nothing that depends on where in
/// the list the route stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Which route.
    pub id: RouteId,
    /// Which of those that are alike, from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nth: usize,
    /// Position of the stable destination in the route.
    pub stable: usize,
    /// Position of the canary in the route.
    pub canary: usize,
    /// The weights before the rollout, as they were written.
    pub original: Weights,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Why a route cannot be divided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A weight below 0.
    #[error("{route} has the weight {weight} for {destination} (try: a weight of 0 or more)")]
    Negative {
        /// The route.
        route: String,
        /// Its destination.
        destination: String,
        /// The weight.
        weight: i64,
    },
    /// Stable and canary share no weight.
    #[error(
        "{route} gives {stable} and {canary} no weight, so there is nothing to shift (try: weight 100 for {stable} and 0 for {canary})"
    )]
    Nothing {
        /// The route.
        route: String,
        /// The stable version.
        stable: String,
        /// The canary.
        canary: String,
    },
    /// The weights are too large to be added up.
    #[error("{route} has weights that do not add up (try: weights that sum to 100)")]
    Overflow {
        /// The route.
        route: String,
    },
    /// The total is too small for the step.
    #[error(
        "{route} divides a total of {total}, which is too coarse for a step of {step} % (try: a first step of {finest} %, or weights that sum to 100)"
    )]
    TooCoarse {
        /// The route.
        route: String,
        /// What stable and canary share.
        total: i64,
        /// The step.
        step: Percent,
        /// The smallest step that moves something.
        finest: String,
    },
}

impl Split {
    /// Divides `route` between the destinations at `stable` and `canary`.
    ///
    /// # Errors
    /// If the weights are negative, share nothing, or do not add up.
    pub fn new(
        vs: &VirtualService,
        route: &Route,
        stable: usize,
        canary: usize,
    ) -> Result<Self, SplitError> {
        let name = || route.to_string();
        let mut total: i64 = 0;
        for target in &route.targets {
            let weight = target.weight.unwrap_or(0);
            if weight < 0 {
                return Err(SplitError::Negative {
                    route: name(),
                    destination: target.destination.to_string(),
                    weight,
                });
            }
            total = total
                .checked_add(weight)
                .ok_or_else(|| SplitError::Overflow { route: name() })?;
        }
        let split = Self {
            id: route.id,
            nth: vs.nth(route),
            stable,
            canary,
            original: route.weights(),
        };
        if split.shared() == 0 {
            return Err(SplitError::Nothing {
                route: name(),
                stable: route.targets[stable].destination.to_string(),
                canary: route.targets[canary].destination.to_string(),
            });
        }
        Ok(split)
    }

    /// Whether `step` moves anything on this route.
    ///
    /// # Errors
    /// If the total is so small that the step would round to nothing.
    pub fn check_step(&self, route: &Route, step: Percent) -> Result<(), SplitError> {
        if step.floor_of(self.shared()) > 0 {
            return Ok(());
        }
        let finest = (1..=100).find(|percent| Percent::whole(*percent).floor_of(self.shared()) > 0);
        Err(SplitError::TooCoarse {
            route: route.to_string(),
            total: self.shared(),
            step,
            finest: finest.unwrap_or(100).to_string(),
        })
    }

    fn weight(&self, position: usize) -> i64 {
        self.original.get(position).copied().flatten().unwrap_or(0)
    }

    /// What stable and canary share; it never changes.
    pub fn shared(&self) -> i64 {
        self.weight(self.stable)
            .saturating_add(self.weight(self.canary))
    }

    /// The canary's percentage before the rollout.
    pub fn original_share(&self) -> Percent {
        Percent::of(self.weight(self.canary), self.shared())
    }

    /// The weights with the canary at `share` of what the two have in common.
    ///
    /// The canary never gets more than asked, the route's total stays, and other destinations keep
    /// what they have, even if that is no weight at all.
    pub fn weights_at(&self, share: Percent) -> Weights {
        let canary = share.floor_of(self.shared());
        let mut weights = self.original.clone();
        weights[self.canary] = Some(canary);
        weights[self.stable] = Some(self.shared() - canary);
        weights
    }

    /// The route in `vs`, if it still exists.
    pub fn find<'vs>(&self, vs: &'vs VirtualService) -> Option<&'vs Route> {
        let route = vs.route(self.id, self.nth)?;
        (route.targets.len() == self.original.len()).then_some(route)
    }
}

/// Whether two lists of weights route alike: an absent weight beside others is 0.
pub(crate) fn route_alike(left: &[Option<i64>], right: &[Option<i64>]) -> bool {
    let plain = |weights: &[Option<i64>]| {
        weights
            .iter()
            .map(|weight| weight.unwrap_or(0))
            .collect::<Vec<_>>()
    };
    plain(left) == plain(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn route(weights: &[Option<i64>]) -> (VirtualService, Route) {
        let targets: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(index, weight)| {
                let mut target = json!({"destination": {"host": "reviews", "subset": format!("v{}", index + 1)}});
                if let Some(weight) = weight {
                    target["weight"] = json!(weight);
                }
                target
            })
            .collect();
        let vs = VirtualService::new(json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1"},
            "spec": {"http": [{"name": "primary", "route": targets}]},
        }))
        .unwrap();
        let route = vs.routes()[0].clone();
        (vs, route)
    }

    fn split(weights: &[Option<i64>]) -> Result<Split, SplitError> {
        let (vs, route) = route(weights);
        Split::new(&vs, &route, 0, 1)
    }

    #[test]
    fn the_canary_gets_its_percent_of_what_the_two_share() {
        let percent = |number| Percent::whole(number);
        for (original, step, expected) in [
            (vec![Some(100), Some(0)], 1, vec![Some(99), Some(1)]),
            (vec![Some(100), None], 10, vec![Some(90), Some(10)]),
            (
                vec![Some(80), Some(0), Some(20)],
                50,
                vec![Some(40), Some(40), Some(20)],
            ),
            (
                vec![Some(80), Some(0), None],
                100,
                vec![Some(0), Some(80), None],
            ),
            (vec![Some(7), Some(0)], 50, vec![Some(4), Some(3)]),
        ] {
            assert_eq!(
                split(&original).unwrap().weights_at(percent(step)),
                expected
            );
        }
    }

    #[test]
    fn weights_that_cannot_be_divided_are_refused_with_the_fix() {
        for (weights, expected) in [
            (
                vec![None, None],
                "http[primary] gives v1 and v2 no weight, so there is nothing to shift (try: weight 100 for v1 and 0 for v2)",
            ),
            (
                vec![Some(100), Some(-1)],
                "http[primary] has the weight -1 for v2 (try: a weight of 0 or more)",
            ),
            (
                vec![Some(i64::MAX), Some(1)],
                "http[primary] has weights that do not add up (try: weights that sum to 100)",
            ),
        ] {
            assert_eq!(split(&weights).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_step_that_would_round_to_nothing_is_refused() {
        let (vs, route) = route(&[Some(20), Some(0)]);
        let split = Split::new(&vs, &route, 0, 1).unwrap();
        let error = split
            .check_step(&route, Percent::whole(1))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "http[primary] divides a total of 20, which is too coarse for a step of 1 % (try: a first step of 5 %, or weights that sum to 100)"
        );
        assert!(split.check_step(&route, Percent::whole(5)).is_ok());
    }

    proptest! {
        #[test]
        fn totals_stay_and_the_canary_never_gets_more_than_asked(
            weights in prop::collection::vec(prop::option::of(0_i64..100_000), 2..6),
            thousandths in 0_u32..=100_000,
        ) {
            let Ok(split) = split(&weights) else { return Ok(()) };
            let share: Percent = format!("{}.{:03}", thousandths / 1000, thousandths % 1000).parse().unwrap();
            let shifted = split.weights_at(share);
            let sum = |weights: &[Option<i64>]| weights.iter().flatten().sum::<i64>();
            prop_assert_eq!(sum(&shifted), sum(&weights));
            prop_assert_eq!(&shifted[2..], &weights[2..]);
            let canary = shifted[1].unwrap();
            prop_assert!(canary as f64 <= share.share() * split.shared() as f64 + 1e-6);
        }
    }
}
