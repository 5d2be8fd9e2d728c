//! Which versions a rollout moves between, and on which routes.

use std::collections::BTreeSet;

use super::destination::{Destination, Host};
use super::route::Route;
use super::split::Split;
use super::version_pair::{VersionQuery, list, pair, pair_or_addition};
use super::versions_error::VersionsError;
use super::virtual_service::VirtualService;

/// What a rollout works on.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The version that carries the traffic.
    pub stable: Destination,
    /// The version that the traffic moves to.
    pub canary: Destination,
    /// The chosen routes.
    pub splits: Vec<Split>,
    /// Routes that send to stable, are not chosen, and so stay as they are.
    pub left_behind: Vec<String>,
}

/// Finds stable, canary and the routes to shift; see [`VersionQuery::select_versions`].
///
/// # Errors
/// Whatever is not unambiguous is an error that lists the choices.
pub fn select_versions(
    vs: &VirtualService,
    stable: Option<&str>,
    canary: Option<&str>,
    routes: &[String],
    subsets: &[(Host, String)],
) -> Result<Selection, VersionsError> {
    let query = VersionQuery {
        stable,
        canary,
        routes,
        subsets,
        add: false,
    };
    query.select_versions(vs)
}

impl VersionQuery<'_> {
    /// Finds stable, canary and the routes to shift.
    ///
    /// The destination that carries the traffic is stable, so after a promotion the next rollout would go
    /// the other way without a name; `start` asks for one then. Where the canary may be added, every route that sends to
    /// stable is one to shift.
    ///
    /// # Errors
    /// Whatever is not unambiguous is an error that lists the choices.
    pub fn select_versions(self, vs: &VirtualService) -> Result<Selection, VersionsError> {
        let candidates = candidates(vs, self)?;
        let (stable, canary) = if self.add {
            pair_or_addition(vs, &candidates, self)?
        } else {
            pair(vs, &candidates, self)?
        };
        self.split(vs, &candidates, (&stable, &canary))
    }

    /// The routes of `vs` that move between two versions which are known from elsewhere.
    ///
    /// # Errors
    /// If there are none, or they cannot be divided.
    pub fn between(
        self,
        vs: &VirtualService,
        pair: (&Destination, &Destination),
    ) -> Result<Selection, VersionsError> {
        self.split(vs, &candidates(vs, self)?, pair)
    }

    fn split(
        self,
        vs: &VirtualService,
        candidates: &[&Route],
        (stable, canary): (&Destination, &Destination),
    ) -> Result<Selection, VersionsError> {
        let neither = || VersionsError::NoRouteHoldsBoth {
            object: vs.full_name(),
            stable: stable.to_string(),
            canary: canary.to_string(),
        };
        let mut splits = Vec::new();
        for route in candidates {
            let at_stable = position(vs, route, stable)?;
            let at_canary = position(vs, route, canary)?;
            let (at_stable, at_canary) = match (at_stable, at_canary) {
                (Some(at_stable), Some(at_canary)) => (at_stable, at_canary),
                (Some(at_stable), None) if self.add => (at_stable, route.targets.len()),
                _ if self.routes.is_empty() => continue,
                _ => return Err(neither()),
            };
            let split = Split::new(vs, route, at_stable, at_canary);
            splits.push(split.map_err(|source| VersionsError::Split {
                object: vs.full_name(),
                source,
            })?);
        }
        if splits.is_empty() {
            return Err(neither());
        }
        let left_behind = left_behind(vs, &splits, stable);
        Ok(Selection {
            stable: stable.clone(),
            canary: canary.clone(),
            splits,
            left_behind,
        })
    }
}

fn left_behind(vs: &VirtualService, splits: &[Split], stable: &Destination) -> Vec<String> {
    let chosen: BTreeSet<_> = splits
        .iter()
        .filter_map(|split| split.find(vs))
        .map(|route| route.at)
        .collect();
    // One at weight 0 gets nothing there.
    let sends_to_stable = |route: &&Route| {
        let is_only = route.targets.len() == 1;
        route.targets.iter().any(|target| {
            target.destination.same_version(stable) && (is_only || target.weight > Some(0))
        })
    };
    let others = vs
        .routes()
        .iter()
        .filter(|route| !chosen.contains(&route.at));
    others
        .filter(sends_to_stable)
        .map(Route::to_string)
        .collect()
}

fn candidates<'vs>(
    vs: &'vs VirtualService,
    query: VersionQuery<'_>,
) -> Result<Vec<&'vs Route>, VersionsError> {
    let object = || vs.full_name();
    let usable = |route: &&Route| !route.targets.is_empty();
    let names = || list(vs.routes().iter().filter(usable).map(Route::word), "none");
    if query.routes.is_empty() {
        let found: Vec<_> = vs.routes().iter().filter(usable).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        return Err(match vs.routes().first() {
            Some(route) if route.delegates => VersionsError::Delegate {
                object: object(),
                route: route.to_string(),
            },
            _ => VersionsError::NoRoutes { object: object() },
        });
    }
    let mut found: Vec<&Route> = Vec::new();
    for asked in query.routes {
        let mut called = vs
            .routes()
            .iter()
            .filter(|route| route.is_called(asked))
            .peekable();
        if called.peek().is_none() {
            return Err(VersionsError::UnknownRoute {
                object: object(),
                asked: asked.clone(),
                choices: names(),
            });
        }
        for route in called {
            if route.delegates {
                return Err(VersionsError::Delegate {
                    object: object(),
                    route: route.to_string(),
                });
            }
            if !found.iter().any(|known| known.at == route.at) {
                found.push(route);
            }
        }
    }
    found.sort_by_key(|route| route.at);
    Ok(found)
}

fn position(
    vs: &VirtualService,
    route: &Route,
    version: &Destination,
) -> Result<Option<usize>, VersionsError> {
    let mut places = route
        .targets
        .iter()
        .enumerate()
        .filter(|(_, target)| target.destination.same_version(version))
        .map(|(index, _)| index);
    let first = places.next();
    match places.next() {
        None => Ok(first),
        Some(_) => Err(VersionsError::several_places(vs, route, version)),
    }
}
