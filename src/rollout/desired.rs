//! What the routes are at each point of a rollout. Everything written to them is drawn here.

use super::outcome::Cause;
use super::segment::Phase;
use super::state::Rollout;
use crate::istio::{
    CookieEdit, DesiredRoutes, HeaderMatch, MissingRoutes, Route, RouteTarget, RuleTarget, Split,
    StickyCookie, VirtualService, Weights,
};
use crate::plan::{AfterRegression, Exposure, Percent};

impl Rollout {
    /// The weights of a route that the state stands for.
    ///
    /// A route on which the canary had more than the step asks for keeps what it had: a rollout
    /// never takes traffic away from the canary on its way up.
    pub fn weights_of(&self, split: &Split) -> Weights {
        match self.phase {
            Phase::Tripped => split.weights_at(Percent::ZERO),
            _ if self.exposure().share() <= split.original_share() => split.untouched(),
            _ => split.weights_at(self.exposure().share()),
        }
    }

    /// What the chosen routes of `vs` are while the state stands as it does.
    ///
    /// # Errors
    /// The routes that are no longer there.
    pub fn desired_on(&self, vs: &VirtualService) -> Result<DesiredRoutes, MissingRoutes> {
        let weights = |split: &Split| self.weights_of(split);
        // A canary that looks bad gets nothing, be it from testers, sticky users or in a mirror.
        let gets_something = self.phase != Phase::Tripped;
        self.desired_routes(vs, &weights, true, self.exposure(), gets_something)
    }

    /// What the chosen routes of `vs` are once the canary has everything.
    ///
    /// # Errors
    /// The routes that are no longer there.
    pub fn promoted_on(&self, vs: &VirtualService) -> Result<DesiredRoutes, MissingRoutes> {
        self.desired_routes(vs, &Split::promoted, true, Exposure::NONE, false)
    }

    /// What the chosen routes of `vs` were before the rollout.
    ///
    /// # Errors
    /// The routes that are no longer there.
    pub fn original_on(&self, vs: &VirtualService) -> Result<DesiredRoutes, MissingRoutes> {
        self.restored_on(vs, AfterRegression::Original)
    }

    /// What the canary gets in a rollback for this cause.
    pub fn after(&self, cause: Cause) -> AfterRegression {
        match cause {
            Cause::Regression => self.plan.after_regression,
            Cause::CanaryDown
            | Cause::Request
            | Cause::Signal
            | Cause::Inconclusive
            | Cause::NoMetrics
            | Cause::Drift
            | Cause::Refused
            | Cause::HookFailed
            | Cause::Undo => AfterRegression::Original,
        }
    }

    /// What the canary of a rollout that was rolled back for this cause has in the end; where routes differ,
    /// the least.
    pub fn share_after(&self, cause: Cause) -> Percent {
        match self.after(cause) {
            AfterRegression::Original => self.original_share(),
            AfterRegression::Zero => Percent::ZERO,
        }
    }

    /// What the chosen routes of `vs` are after a rollback.
    ///
    /// # Errors
    /// The routes that are no longer there.
    pub fn restored_on(
        &self,
        vs: &VirtualService,
        after: AfterRegression,
    ) -> Result<DesiredRoutes, MissingRoutes> {
        let weights = |split: &Split| restored(split, after);
        self.desired_routes(vs, &weights, false, Exposure::NONE, false)
    }

    /// What the chosen routes that `vs` still has are after a rollback.
    pub fn restored_of_rest(&self, vs: &VirtualService, after: AfterRegression) -> DesiredRoutes {
        let weights = |split: &Split| restored(split, after);
        DesiredRoutes::of_rest(
            vs,
            &self.routes,
            &self.target(&weights, false, Exposure::NONE, false),
        )
    }

    /// What the chosen routes that `vs` still has were before the rollout.
    pub fn original_of_rest(&self, vs: &VirtualService) -> DesiredRoutes {
        self.restored_of_rest(vs, AfterRegression::Original)
    }

    /// What these routes of `vs` were before the rollout, each taken for the chosen one beside it.
    pub(super) fn original_of(
        &self,
        vs: &VirtualService,
        pairs: &[(&Split, &Route)],
    ) -> DesiredRoutes {
        let weights = |split: &Split| split.original.clone();
        let target = self.target(&weights, false, Exposure::NONE, false);
        DesiredRoutes::of_pairs(vs, pairs.iter().copied(), &target)
    }

    fn desired_routes(
        &self,
        vs: &VirtualService,
        weights: &dyn Fn(&Split) -> Weights,
        added: bool,
        exposure: Exposure,
        testers: bool,
    ) -> Result<DesiredRoutes, MissingRoutes> {
        let target = self.target(weights, added, exposure, testers);
        DesiredRoutes::of(vs, &self.routes, &target)
    }

    fn target<'a>(
        &'a self,
        weights: &'a dyn Fn(&Split) -> Weights,
        added: bool,
        exposure: Exposure,
        testers: bool,
    ) -> RouteTarget<'a> {
        let cookie = self.plan.sticky.as_ref();
        let cookie = cookie.map(|sticky| StickyCookie::new(sticky, &self.run));
        // At 100 % the weights keep users on the canary, and without any nothing shall.
        let is_sticky = (Percent::ZERO < exposure.share()) && exposure.share() < Percent::HUNDRED;
        let known = self.plan.testers.as_ref().filter(|_| testers);
        let sticky = cookie.as_ref().filter(|_| is_sticky);
        let wanted = known.map(HeaderMatch::from).into_iter();
        let wanted = wanted.chain(sticky.map(StickyCookie::condition)).collect();
        RouteTarget {
            canary: &self.canary,
            weights,
            added,
            exposure,
            mirrors: self.plan.mirrors(),
            rules: self.plan.adds_rules().then_some(RuleTarget {
                run: &self.run,
                wanted,
                // A tester's request is answered once, by the canary, and so is one that is mirrored there.
                copies: self.plan.testers.is_none() && !self.plan.mirrors(),
            }),
            cookie: match cookie {
                None => CookieEdit::Keep,
                Some(cookie) if is_sticky => CookieEdit::Set(cookie),
                Some(cookie) => CookieEdit::Remove(cookie),
            },
        }
    }
}

fn restored(split: &Split, after: AfterRegression) -> Weights {
    match after {
        AfterRegression::Original => split.original.clone(),
        AfterRegression::Zero => split.without_canary(),
    }
}
