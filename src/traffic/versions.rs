//! Which versions a rollout moves between, and on which routes.

use std::collections::BTreeSet;

use super::{Destination, Route, RouteKind, Split, SplitError, VirtualService};

/// What a rollout works on.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The version that carries the traffic.
    pub stable: Destination,
    /// The version that the traffic moves to.
    pub canary: Destination,
    /// The chosen routes.
    pub splits: Vec<Split>,
    /// Routes that send to stable, are not chosen, and so stay as they are.
    pub left_behind: Vec<String>,
}

/// Why the versions or routes could not be told; each names the choices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionsError {
    /// `--route` names no route.
    #[error("virtualservice {object} has no route {asked:?} (try: --route {choices})")]
    UnknownRoute {
        /// `namespace/name`.
        object: String,
        /// What was asked for.
        asked: String,
        /// What there is.
        choices: String,
    },
    /// The object has no route to destinations at all.
    #[error(
        "virtualservice {object} has no route with destinations (try: a rule with a `route` under spec.http)"
    )]
    NoRoutes {
        /// `namespace/name`.
        object: String,
    },
    /// The route is of a kind that is not shifted.
    #[error(
        "{route} of virtualservice {object} is a {kind} route, and only http routes are shifted so far (try: --route with one of {choices})"
    )]
    NotHttp {
        /// `namespace/name`.
        object: String,
        /// The route.
        route: String,
        /// Its kind.
        kind: &'static str,
        /// What there is instead.
        choices: String,
    },
    /// The route hands on to another VirtualService.
    #[error(
        "{route} of virtualservice {object} delegates to another VirtualService (try: kubectl canary on that one)"
    )]
    Delegate {
        /// `namespace/name`.
        object: String,
        /// The route.
        route: String,
    },
    /// `--stable` or `--canary` names no destination.
    #[error(
        "no http route of virtualservice {object} sends to {asked:?} (try: --{flag} {choices})"
    )]
    UnknownVersion {
        /// `namespace/name`.
        object: String,
        /// `stable` or `canary`.
        flag: &'static str,
        /// What was asked for.
        asked: String,
        /// What there is.
        choices: String,
    },
    /// A name fits several destinations.
    #[error(
        "{asked:?} is the name of several destinations of virtualservice {object} (try: --route to narrow it to one of {choices})"
    )]
    SeveralVersions {
        /// `namespace/name`.
        object: String,
        /// What was asked for.
        asked: String,
        /// The destinations.
        choices: String,
    },
    /// Both flags name one version.
    #[error("--stable and --canary are both {0} (try: two different versions)")]
    Same(String),
    /// No route holds two versions.
    #[error(
        "no http route of virtualservice {object} holds two versions to shift between; it sends to {found} only (try: add the canary to the route with weight 0{hint})"
    )]
    OneVersion {
        /// `namespace/name`.
        object: String,
        /// The one version.
        found: String,
        /// What the DestinationRule knows besides.
        hint: String,
    },
    /// No route holds both versions.
    #[error(
        "no chosen route of virtualservice {object} holds both {stable} and {canary} (try: add the missing one to the route with weight 0)"
    )]
    NoRouteHoldsBoth {
        /// `namespace/name`.
        object: String,
        /// The stable version.
        stable: String,
        /// The canary.
        canary: String,
    },
    /// More than one pair is possible.
    #[error(
        "stable and canary of virtualservice {object} cannot be told from its routes: {why} (try: --stable and --canary with two of {choices})"
    )]
    Ambiguous {
        /// `namespace/name`.
        object: String,
        /// What is in the way.
        why: String,
        /// The versions.
        choices: String,
    },
    /// A route sends to one version twice.
    #[error(
        "{route} of virtualservice {object} sends to {version} twice (try: one destination with the sum of the weights)"
    )]
    Twice {
        /// `namespace/name`.
        object: String,
        /// The route.
        route: String,
        /// The version.
        version: String,
    },
    /// The weights cannot be divided.
    #[error("virtualservice {object}: {source}")]
    Split {
        /// `namespace/name`.
        object: String,
        /// What is wrong with the weights.
        source: SplitError,
    },
}

/// What a user asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    pub stable: Option<&'a str>,
    pub canary: Option<&'a str>,
    pub routes: &'a [String],
    /// Subsets that DestinationRules define for the hosts in question, for hints.
    pub subsets: &'a [String],
}

/// Finds stable, canary and the routes to shift.
///
/// The destination that carries the traffic is stable, so after a promotion the next rollout goes
/// the other way without being told.
///
/// # Errors
/// Whatever is not unambiguous is an error that lists the choices.
pub fn choose(
    vs: &VirtualService,
    stable: Option<&str>,
    canary: Option<&str>,
    routes: &[String],
    subsets: &[String],
) -> Result<Choice, VersionsError> {
    let wanted = Wanted {
        stable,
        canary,
        routes,
        subsets,
    };
    let candidates = candidates(vs, wanted)?;
    let (stable, canary) = pair(vs, &candidates, wanted)?;
    let mut splits = Vec::new();
    for route in &candidates {
        let positions = (position(vs, route, &stable)?, position(vs, route, &canary)?);
        let (Some(at_stable), Some(at_canary)) = positions else {
            if wanted.routes.is_empty() {
                continue;
            }
            return Err(VersionsError::NoRouteHoldsBoth {
                object: vs.full_name(),
                stable: stable.to_string(),
                canary: canary.to_string(),
            });
        };
        let split =
            Split::new(vs, route, at_stable, at_canary).map_err(|source| VersionsError::Split {
                object: vs.full_name(),
                source,
            })?;
        splits.push(split);
    }
    if splits.is_empty() {
        return Err(VersionsError::NoRouteHoldsBoth {
            object: vs.full_name(),
            stable: stable.to_string(),
            canary: canary.to_string(),
        });
    }
    let left_behind = left_behind(vs, &splits, &stable);
    Ok(Choice {
        stable,
        canary,
        splits,
        left_behind,
    })
}

fn left_behind(vs: &VirtualService, splits: &[Split], stable: &Destination) -> Vec<String> {
    let chosen: BTreeSet<_> = splits
        .iter()
        .filter_map(|split| split.find(vs))
        .map(|route| route.at)
        .collect();
    let sends_to_stable = |route: &&Route| {
        route
            .targets
            .iter()
            .any(|target| target.destination.same_version(stable))
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

fn list<T: ToString>(items: impl IntoIterator<Item = T>, none: &str) -> String {
    let unique: BTreeSet<String> = items.into_iter().map(|item| item.to_string()).collect();
    match unique.len() {
        0 => none.to_owned(),
        _ => unique.into_iter().collect::<Vec<_>>().join(", "),
    }
}

fn candidates<'vs>(
    vs: &'vs VirtualService,
    wanted: Wanted<'_>,
) -> Result<Vec<&'vs Route>, VersionsError> {
    let object = || vs.full_name();
    let usable = |route: &&Route| route.at.kind == RouteKind::Http && !route.targets.is_empty();
    let names = || {
        list(
            vs.routes()
                .iter()
                .filter(usable)
                .map(|route| route.name.clone().unwrap_or_else(|| route.at.to_string())),
            "none",
        )
    };
    if wanted.routes.is_empty() {
        let found: Vec<_> = vs.routes().iter().filter(usable).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        return Err(match vs.routes().first() {
            Some(route) if route.delegates => VersionsError::Delegate {
                object: object(),
                route: route.to_string(),
            },
            Some(route) if route.at.kind != RouteKind::Http => not_http(vs, route, names()),
            _ => VersionsError::NoRoutes { object: object() },
        });
    }
    let mut found: Vec<&Route> = Vec::new();
    for asked in wanted.routes {
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
            if route.at.kind != RouteKind::Http {
                return Err(not_http(vs, route, names()));
            }
            if !found.iter().any(|known| known.at == route.at) {
                found.push(route);
            }
        }
    }
    found.sort_by_key(|route| route.at);
    Ok(found)
}

fn not_http(vs: &VirtualService, route: &Route, choices: String) -> VersionsError {
    VersionsError::NotHttp {
        object: vs.full_name(),
        route: route.to_string(),
        kind: route.at.kind.key(),
        choices,
    }
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
        Some(_) => Err(VersionsError::Twice {
            object: vs.full_name(),
            route: route.to_string(),
            version: version.to_string(),
        }),
    }
}

fn versions<'a>(routes: &[&'a Route]) -> Vec<&'a Destination> {
    let mut found: Vec<&Destination> = Vec::new();
    for target in routes.iter().flat_map(|route| &route.targets) {
        if !found
            .iter()
            .any(|known| known.same_version(&target.destination))
        {
            found.push(&target.destination);
        }
    }
    found
}

fn named(
    vs: &VirtualService,
    routes: &[&Route],
    flag: &'static str,
    asked: &str,
) -> Result<Destination, VersionsError> {
    let all = versions(routes);
    let called: Vec<_> = all
        .iter()
        .filter(|version| version.is_called(asked))
        .collect();
    match called.as_slice() {
        [one] => Ok((**one).clone()),
        [] => Err(VersionsError::UnknownVersion {
            object: vs.full_name(),
            flag,
            asked: asked.to_owned(),
            choices: list(all, "nothing, it has no destination"),
        }),
        several => Err(VersionsError::SeveralVersions {
            object: vs.full_name(),
            asked: asked.to_owned(),
            choices: list(
                several
                    .iter()
                    .map(|version| format!("{} of {}", version, version.host)),
                "none",
            ),
        }),
    }
}

fn pair(
    vs: &VirtualService,
    routes: &[&Route],
    wanted: Wanted<'_>,
) -> Result<(Destination, Destination), VersionsError> {
    let stable = wanted
        .stable
        .map(|name| named(vs, routes, "stable", name))
        .transpose()?;
    let canary = wanted
        .canary
        .map(|name| named(vs, routes, "canary", name))
        .transpose()?;
    if let (Some(stable), Some(canary)) = (&stable, &canary) {
        if stable.same_version(canary) {
            return Err(VersionsError::Same(stable.to_string()));
        }
        return Ok((stable.clone(), canary.clone()));
    }
    let all = versions(routes);
    let ambiguous = |why: String| VersionsError::Ambiguous {
        object: vs.full_name(),
        why,
        choices: list(&all, "none"),
    };
    let mut agreed: Option<(Destination, Destination)> = None;
    for route in routes {
        let holds = |version: &Option<Destination>| {
            version.as_ref().is_none_or(|version| {
                route
                    .targets
                    .iter()
                    .any(|target| target.destination.same_version(version))
            })
        };
        if route.targets.len() < 2 || !holds(&stable) || !holds(&canary) {
            continue;
        }
        let found = pair_of(route, stable.as_ref(), canary.as_ref()).map_err(&ambiguous)?;
        match &agreed {
            Some(known) if !(known.0.same_version(&found.0) && known.1.same_version(&found.1)) => {
                return Err(ambiguous(
                    "its routes do not agree which version is stable".into(),
                ));
            }
            _ => agreed = Some(found),
        }
    }
    agreed.ok_or_else(|| {
        let others = wanted
            .subsets
            .iter()
            .filter(|subset| !all.iter().any(|version| version.is_called(subset)));
        let others = list(others, "");
        VersionsError::OneVersion {
            object: vs.full_name(),
            found: list(&all, "nothing"),
            hint: if others.is_empty() {
                String::new()
            } else {
                format!("; its DestinationRule also has {others}")
            },
        }
    })
}

/// The pair of one route: the heavier destination is stable.
fn pair_of(
    route: &Route,
    stable: Option<&Destination>,
    canary: Option<&Destination>,
) -> Result<(Destination, Destination), String> {
    let mut by_weight: Vec<_> = route.targets.iter().collect();
    by_weight.sort_by_key(|target| std::cmp::Reverse(target.weight.unwrap_or(0)));
    let others = |known: &Destination| {
        let rest = by_weight
            .iter()
            .filter(|target| !target.destination.same_version(known));
        rest.map(|target| (target.destination.clone(), target.weight.unwrap_or(0)))
            .collect::<Vec<_>>()
    };
    match (stable, canary) {
        (Some(stable), _) => match others(stable).as_slice() {
            [(canary, _)] => Ok((stable.clone(), canary.clone())),
            _ => Err(format!("{route} sends to more than two versions")),
        },
        (None, Some(canary)) => match others(canary).as_slice() {
            [(stable, _)] => Ok((stable.clone(), canary.clone())),
            [(heavy, most), (_, next), ..] if most > next => Ok((heavy.clone(), canary.clone())),
            _ => Err(format!(
                "no single other version of {route} carries the most traffic"
            )),
        },
        (None, None) => match by_weight.as_slice() {
            [heavy, light] if heavy.weight.unwrap_or(0) > light.weight.unwrap_or(0) => {
                Ok((heavy.destination.clone(), light.destination.clone()))
            }
            [_, _] => Err(format!("{route} gives both versions the same weight")),
            _ => Err(format!("{route} sends to more than two versions")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn vs(http: Value) -> VirtualService {
        VirtualService::new(json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1"},
            "spec": {"hosts": ["reviews"], "http": http},
        }))
        .unwrap()
    }

    fn rule(name: &str, targets: &[(&str, i64)]) -> Value {
        let targets: Vec<_> = targets
            .iter()
            .map(|(subset, weight)| json!({"destination": {"host": "reviews", "subset": subset}, "weight": weight}))
            .collect();
        json!({"name": name, "route": targets})
    }

    fn chosen(
        http: Value,
        stable: Option<&str>,
        canary: Option<&str>,
        routes: &[&str],
    ) -> Result<String, String> {
        let routes: Vec<_> = routes.iter().map(ToString::to_string).collect();
        choose(
            &vs(http),
            stable,
            canary,
            &routes,
            &["v1".into(), "v2".into(), "v3".into()],
        )
        .map(|choice| {
            format!(
                "{} -> {} on {}, left {}",
                choice.stable,
                choice.canary,
                choice.splits.len(),
                choice.left_behind.len()
            )
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn the_version_that_carries_the_traffic_is_stable() {
        assert_eq!(
            chosen(
                json!([rule("a", &[("v1", 100), ("v2", 0)])]),
                None,
                None,
                &[]
            )
            .unwrap(),
            "v1 -> v2 on 1, left 0"
        );
        assert_eq!(
            chosen(
                json!([rule("a", &[("v1", 0), ("v2", 100)])]),
                None,
                None,
                &[]
            )
            .unwrap(),
            "v2 -> v1 on 1, left 0"
        );
    }

    #[test]
    fn every_route_that_holds_both_is_shifted_and_the_rest_is_said() {
        let http = json!([
            rule("a", &[("v1", 100), ("v2", 0)]),
            rule("b", &[("v1", 100)]),
            rule("c", &[("v2", 10), ("v1", 90)]),
            {"name": "gone", "redirect": {"uri": "/"}},
        ]);
        assert_eq!(
            chosen(http.clone(), None, None, &[]).unwrap(),
            "v1 -> v2 on 2, left 1"
        );
        assert_eq!(
            chosen(http, None, None, &["c"]).unwrap(),
            "v1 -> v2 on 1, left 2"
        );
    }

    #[test]
    fn names_narrow_a_route_of_three() {
        let http = || json!([rule("a", &[("v1", 80), ("v2", 0), ("v3", 20)])]);
        assert_eq!(
            chosen(http(), Some("v1"), Some("v2"), &[]).unwrap(),
            "v1 -> v2 on 1, left 0"
        );
        assert_eq!(
            chosen(http(), None, Some("v2"), &[]).unwrap(),
            "v1 -> v2 on 1, left 0"
        );
    }

    #[test]
    fn what_cannot_be_told_lists_the_choices() {
        let two = |left, right| json!([rule("a", &[("v1", left), ("v2", right)])]);
        let three = || json!([rule("a", &[("v1", 80), ("v2", 0), ("v3", 20)])]);
        for (http, stable, canary, routes, expected) in [
            (
                two(50, 50),
                None,
                None,
                vec![],
                "stable and canary of virtualservice shop/reviews cannot be told from its routes: http[a] gives both versions the same weight (try: --stable and --canary with two of v1, v2)",
            ),
            (
                three(),
                None,
                None,
                vec![],
                "stable and canary of virtualservice shop/reviews cannot be told from its routes: http[a] sends to more than two versions (try: --stable and --canary with two of v1, v2, v3)",
            ),
            (
                two(100, 0),
                None,
                Some("v9"),
                vec![],
                "no http route of virtualservice shop/reviews sends to \"v9\" (try: --canary v1, v2)",
            ),
            (
                two(100, 0),
                Some("v1"),
                Some("v1"),
                vec![],
                "--stable and --canary are both v1 (try: two different versions)",
            ),
            (
                two(100, 0),
                None,
                None,
                vec!["b"],
                "virtualservice shop/reviews has no route \"b\" (try: --route a)",
            ),
            (
                json!([rule("a", &[("v1", 100)])]),
                None,
                None,
                vec![],
                "no http route of virtualservice shop/reviews holds two versions to shift between; it sends to v1 only (try: add the canary to the route with weight 0; its DestinationRule also has v2, v3)",
            ),
            (
                json!([]),
                None,
                None,
                vec![],
                "virtualservice shop/reviews has no route with destinations (try: a rule with a `route` under spec.http)",
            ),
            (
                two(0, 0),
                Some("v1"),
                Some("v2"),
                vec![],
                "virtualservice shop/reviews: http[a] gives v1 and v2 no weight, so there is nothing to shift (try: weight 100 for v1 and 0 for v2)",
            ),
            (
                json!([rule("a", &[("v1", 100), ("v2", 0), ("v2", 0)])]),
                Some("v1"),
                Some("v2"),
                vec![],
                "http[a] of virtualservice shop/reviews sends to v2 twice (try: one destination with the sum of the weights)",
            ),
            (
                json!([{"name": "d", "delegate": {"name": "other"}}]),
                None,
                None,
                vec![],
                "http[d] of virtualservice shop/reviews delegates to another VirtualService (try: kubectl canary on that one)",
            ),
        ] {
            assert_eq!(chosen(http, stable, canary, &routes).unwrap_err(), expected);
        }
    }

    #[test]
    fn tcp_routes_are_refused_clearly() {
        let vs = VirtualService::new(json!({
            "metadata": {"name": "echo", "namespace": "shop", "uid": "1"},
            "spec": {"tcp": [{"route": [{"destination": {"host": "echo", "subset": "v1"}, "weight": 100}, {"destination": {"host": "echo", "subset": "v2"}, "weight": 0}]}]},
        }))
        .unwrap();
        let error = choose(&vs, None, None, &[], &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "tcp[0] of virtualservice shop/echo is a tcp route, and only http routes are shifted so far (try: --route with one of none)"
        );
    }
}
