//! The objects of a rollout, as last seen.

use super::{Companion, Intent, Rollout, RouteChange, blocker, route_of};
use crate::istio::{Split, VirtualService};

/// The lead, which holds the state, and the companions that are patched with it.
#[derive(Clone, Debug)]
pub struct Group {
    /// The object with the rollout's state.
    pub lead: VirtualService,
    /// The companions, in the order in which the rollout names them; empty as long as they
    /// have not been read.
    pub companions: Vec<VirtualService>,
}

impl Group {
    /// A lead whose companions have not been read, or that has none.
    pub fn of_lead(lead: VirtualService) -> Self {
        Self {
            lead,
            companions: Vec::new(),
        }
    }

    /// What `rollout` knows of each companion, beside the object.
    pub fn members<'a>(
        &'a self,
        rollout: &'a Rollout,
    ) -> impl Iterator<Item = (&'a Companion, &'a VirtualService)> {
        rollout.companions.iter().zip(&self.companions)
    }

    /// The chosen routes by name; those of companions with their object's name.
    pub fn route_names(&self, rollout: &Rollout) -> Vec<String> {
        let own = rollout.routes.iter();
        let own = own.filter_map(|split| Some(split.find(&self.lead)?.to_string()));
        let theirs = self.members(rollout).flat_map(|(companion, vs)| {
            let found = companion.routes.iter().filter_map(|split| split.find(vs));
            found.map(|route| route_of(&route.to_string(), vs))
        });
        own.chain(theirs).collect()
    }

    /// How the weights of all chosen routes differ between two states of a rollout.
    pub fn changes(&self, before: &Rollout, after: &Rollout) -> Vec<RouteChange> {
        let of_object = |splits: &[Split], vs: &VirtualService, name: &dyn Fn(&str) -> String| {
            let changes = splits.iter().filter_map(|split| {
                Some(RouteChange {
                    route: name(&split.find(vs)?.to_string()),
                    before: before.weights_of(split),
                    after: after.weights_of(split),
                    stable: split.stable,
                    canary: split.canary,
                })
            });
            changes.collect::<Vec<_>>()
        };
        let mut changes = of_object(&after.routes, &self.lead, &str::to_owned);
        for (companion, vs) in self.members(after) {
            changes.extend(of_object(&companion.routes, vs, &|route| {
                route_of(route, vs)
            }));
        }
        changes
    }

    /// The first companion that `intent` could not be applied to, and why, as far as the objects tell.
    pub fn blocker(&self, intent: &Intent) -> Option<(&VirtualService, String)> {
        let known = intent.rollout().companions.iter();
        known
            .zip(&self.companions)
            .find_map(|(companion, vs)| Some((vs, blocker(intent, &self.lead, companion, vs)?)))
    }
}
