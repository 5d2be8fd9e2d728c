//! How one route's weight is divided between stable and canary.

use super::destination::Destination;
use super::route::{Route, RouteId, RouteKind};
use super::virtual_service::VirtualService;
use crate::plan::Percent;

/// The weights of one route, destination by destination, as they are to be written.
pub type Weights = Vec<Option<i64>>;

/// What a lone destination is taken to have, where nothing is written: everything.
const EVERYTHING: i64 = 100;

/// The most that a total may be: weights are 32-bit numbers in the schema, and proxies add them up.
const LARGEST_TOTAL: i64 = i32::MAX as i64;

/// The finest scale: steps are exact to a thousandth of a percent, so nothing finer is ever needed.
const FINEST_SCALE: i64 = 100_000;

/// One chosen route: which of its destinations are stable and canary, and its original weights.
///
/// It holds everything that is needed to put the route back, and nothing that depends on where in
/// the list the route stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The list it stands in.
    pub kind: RouteKind,
    /// Which route, as it was before the rollout.
    pub id: RouteId,
    /// Which of those that are alike, from 0.
    pub nth: usize,
    /// Position of the stable destination in the route.
    pub stable: usize,
    /// Position of the canary in the route; one behind the last where the rollout adds it.
    pub canary: usize,
    /// The weights before the rollout, as they were written.
    pub original: Weights,
    /// By what all weights are multiplied while the rollout runs: a power of ten.
    pub scale: i64,
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
        "{route} has weights that sum to {total}, too coarse for a step of {step} % (try: --fine-weights, or a first step of {finest} %)"
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
    /// With the canary added, it would look like another chosen route.
    #[error(
        "{route} would be identical to {other} once its canary is added (try: a name for one of them, or --route with one of them)"
    )]
    Twins {
        /// The route that lacks the canary.
        route: String,
        /// The one that has it.
        other: String,
    },
    /// It mirrors requests already.
    #[error(
        "{route} already has a mirror, which a mirror step would replace (try: steps without mirror, or remove `mirror` from the route first)"
    )]
    Mirrors {
        /// The route.
        route: String,
    },
    /// Its match looks at the header that tells testers.
    #[error(
        "{route} already matches on header {header}, so it cannot select testers (try: --match with another header, or --route without {route})"
    )]
    MatchesHeader {
        /// The route.
        route: String,
        /// The header.
        header: String,
    },
    /// It has no room for what keeps users on the canary.
    #[error(
        "{route} {why}, so --sticky cannot keep users on its canary (try: --route without {route}, or without --sticky)"
    )]
    Unsticky {
        /// The route.
        route: String,
        /// What is in the way.
        why: &'static str,
    },
    /// No chosen route is an HTTP route.
    #[error("{route} is not an http route, which {what} requires (try: without {what})")]
    NoHttp {
        /// The first chosen route.
        route: String,
        /// What needs it.
        what: &'static str,
    },
    /// Even a larger total cannot express the step.
    #[error(
        "{route} has weights that sum to {total}, and no sum that a proxy accepts can express a step of {step} % (try: weights that sum to 100)"
    )]
    TooFine {
        /// The route.
        route: String,
        /// What stable and canary share.
        total: i64,
        /// The step.
        step: Percent,
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
        let mut split = Self {
            kind: route.at.kind,
            id: route.id,
            nth: 0,
            stable,
            canary,
            original: route.weights(),
            scale: 1,
        };
        let alike = vs.routes().iter().filter(|other| split.is_of(other));
        split.nth = alike.take_while(|other| other.at != route.at).count();
        if split.shared() == 0 {
            return Err(SplitError::Nothing {
                route: name(),
                stable: route.targets[stable].destination.to_string(),
                canary: route
                    .targets
                    .get(canary)
                    .map_or_else(|| "the canary".to_owned(), |t| t.destination.to_string()),
            });
        }
        Ok(split)
    }

    /// Whether the rollout adds the canary to this route.
    pub fn adds(&self) -> bool {
        self.canary == self.original.len()
    }

    /// What keeps this from being a split at all, if it was read from somewhere.
    pub(crate) fn is_sane(&self) -> bool {
        let sum = self
            .original
            .iter()
            .flatten()
            .try_fold(0_i64, |sum, weight| sum.checked_add(*weight));
        let scales = [1, 10, 100, 1_000, 10_000, FINEST_SCALE];
        self.stable < self.original.len()
            && self.canary <= self.original.len()
            && self.stable != self.canary
            && self.original.iter().flatten().all(|weight| *weight >= 0)
            && scales.contains(&self.scale)
            && sum.is_some_and(|sum| self.scale == 1 || sum <= LARGEST_TOTAL / self.scale)
    }

    /// Whether `step` moves anything on this route.
    ///
    /// # Errors
    /// If the total is so small that the step would round to nothing.
    pub fn check_step(&self, route: &Route, step: Percent) -> Result<(), SplitError> {
        if step == Percent::ZERO || step.floor_of(self.shared() * self.scale) > 0 {
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

    /// The same on a larger total, so that every one of `steps` is met exactly, or at least moves
    /// something where no total that a proxy takes is large enough.
    ///
    /// # Errors
    /// If even the largest total rounds a step to nothing.
    pub fn refined(mut self, route: &Route, steps: &[Percent]) -> Result<Self, SplitError> {
        let moving = || steps.iter().filter(|step| **step > Percent::ZERO);
        let sum: i64 = self.base().iter().flatten().sum();
        loop {
            let total = self.shared() * self.scale;
            if moving().all(|step| step.divides(total)) {
                return Ok(self);
            }
            let next = self.scale * 10;
            if next > FINEST_SCALE || sum > LARGEST_TOTAL / next {
                break;
            }
            self.scale = next;
        }
        match moving().find(|step| step.floor_of(self.shared() * self.scale) == 0) {
            None => Ok(self),
            Some(step) => Err(SplitError::TooFine {
                route: route.to_string(),
                total: self.shared(),
                step: *step,
            }),
        }
    }

    /// The weights that are divided: the original ones, with an added canary at 0.
    fn base(&self) -> Weights {
        // Beside another destination a lone one needs a number.
        let mut weights = in_force(&self.original);
        if self.adds() {
            weights.push(Some(0));
        }
        weights
    }

    fn weight(&self, position: usize) -> i64 {
        self.base().get(position).copied().flatten().unwrap_or(0)
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

    /// The weights with the canary at `share` of what the two have in common, on the scale of the
    /// rollout.
    ///
    /// The canary never gets more than asked, the route's total stays, and other destinations keep
    /// what they have, even if that is no weight at all.
    pub fn weights_at(&self, share: Percent) -> Weights {
        self.divided(share, self.scale)
    }

    /// The weights with everything on the canary, on the route's own scale: how a rollout ends well.
    pub fn promoted(&self) -> Weights {
        self.divided(Percent::HUNDRED, 1)
    }

    /// The original weights without the canary's, which go to stable.
    pub fn without_canary(&self) -> Weights {
        match self.original_weight() {
            0 => self.original.clone(),
            _ => self.divided(Percent::ZERO, 1),
        }
    }

    /// The canary's weight before the rollout.
    fn original_weight(&self) -> i64 {
        self.weight(self.canary)
    }

    /// The weights while the rollout has yet to move anything here: the original ones, and an added
    /// canary at 0.
    pub fn untouched(&self) -> Weights {
        if self.adds() {
            self.base()
        } else {
            self.original.clone()
        }
    }

    fn divided(&self, share: Percent, scale: i64) -> Weights {
        let shared = self.shared().saturating_mul(scale);
        let canary = share.floor_of(shared);
        let mut weights = self.base();
        for weight in weights.iter_mut().flatten() {
            *weight = weight.saturating_mul(scale);
        }
        weights[self.canary] = Some(canary);
        weights[self.stable] = Some(shared - canary);
        weights
    }

    /// Whether `route` is this route, with an added canary in it or without.
    pub(super) fn is_of(&self, route: &Route) -> bool {
        let destinations = self.original.len();
        let as_it_was = route.id == self.id && route.targets.len() == destinations;
        let grown = route.base_id == self.id && route.targets.len() == destinations + 1;
        route.at.kind == self.kind && (as_it_was || self.adds() && grown)
    }

    /// Whether `route` may be this route after it was renamed or its match was changed: the two versions
    /// stand where they stood, among as many destinations.
    pub(crate) fn resembles(
        &self,
        route: &Route,
        (stable, canary): (&Destination, &Destination),
    ) -> bool {
        let is = |place: usize, version: &Destination| {
            let target = route.targets.get(place);
            target.is_some_and(|target| target.destination.same_version(version))
        };
        let destinations = self.original.len() + usize::from(self.adds());
        route.at.kind == self.kind
            && route.targets.len() == destinations
            && is(self.stable, stable)
            && is(self.canary, canary)
    }

    /// The route in `vs`, if it still exists.
    pub fn find<'vs>(&self, vs: &'vs VirtualService) -> Option<&'vs Route> {
        let alike = vs.routes().iter().filter(|route| self.is_of(route));
        alike.into_iter().nth(self.nth)
    }
}

/// The weights as proxies take them: a lone destination has everything, whatever is written.
pub(crate) fn in_force(written: &[Option<i64>]) -> Weights {
    match written {
        [None | Some(0)] => vec![Some(EVERYTHING)],
        weights => weights.to_vec(),
    }
}

/// Whether two lists of weights route alike: an absent weight beside others is 0.
pub(super) fn route_alike(left: &[Option<i64>], right: &[Option<i64>]) -> bool {
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
            "http[primary] has weights that sum to 20, too coarse for a step of 1 % (try: --fine-weights, or a first step of 5 %)"
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
