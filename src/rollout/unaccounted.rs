//! Routes that may be chosen ones which were renamed or rewritten while the rollout ran. Pure.
//!
//! Which they are cannot be told, so nothing is written to them. They are shown to a person.

use super::state::Rollout;
use crate::istio::{DesiredRoutes, Route, VirtualService};

impl Rollout {
    /// The routes of `vs` that are none of the chosen ones and send to another version than stable, be it
    /// by weight or, where the rollout mirrors, by a mirror.
    ///
    /// Without any, a chosen route that is missing has taken its traffic with it: nothing is left to restore.
    pub fn unaccounted<'vs>(&self, vs: &'vs VirtualService) -> Vec<&'vs Route> {
        self.original_of_rest(vs)
            .unaccounted(vs, (&self.stable, &self.canary))
    }

    /// All routes of `vs` that send to another version than stable, chosen or not.
    pub fn unaccounted_of_all<'vs>(&self, vs: &'vs VirtualService) -> Vec<&'vs Route> {
        let nothing = self.original_of(vs, &[]);
        nothing.unaccounted(vs, (&self.stable, &self.canary))
    }

    /// What the unaccounted routes of `vs` were before the rollout, if each is the only one that a missing
    /// route can have become.
    pub fn original_of_unaccounted(&self, vs: &VirtualService) -> DesiredRoutes {
        let unaccounted = self.unaccounted(vs);
        let missing = self.routes.iter().filter(|split| split.find(vs).is_none());
        let pairs = missing.filter_map(|split| {
            let mut alike = unaccounted
                .iter()
                .filter(|route| split.resembles(route, (&self.stable, &self.canary)));
            match (alike.next(), alike.next()) {
                (Some(route), None) => Some((split, *route)),
                _ => None,
            }
        });
        let mut pairs: Vec<_> = pairs.collect();
        let taken = |at| pairs.iter().filter(|(_, route)| route.at == at).count();
        let clear: Vec<_> = pairs
            .iter()
            .map(|(_, route)| taken(route.at) == 1)
            .collect();
        let mut clear = clear.into_iter();
        pairs.retain(|_| clear.next().unwrap_or_default());
        self.original_of(vs, &pairs)
    }
}
