//! Which versions a rollout moves between, and on which routes.

use std::collections::BTreeSet;

use super::pairing::{list, pair, pair_or_addition};
use super::{Destination, Route, Split, SplitError, VirtualService};

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
        "virtualservice {object} has no route with destinations (try: a rule with a `route` under spec.http, spec.tls or spec.tcp)"
    )]
    NoRoutes {
        /// `namespace/name`.
        object: String,
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
        "no route of virtualservice {object} sends to {asked:?} (try: --{flag} {choices}{hint})"
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
        /// What else could be done about it.
        hint: &'static str,
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
        "no route of virtualservice {object} holds two versions to shift between; it sends to {found} only (try: --add-destination with --canary {hint})"
    )]
    OneVersion {
        /// `namespace/name`.
        object: String,
        /// The one version.
        found: String,
        /// What could be the canary.
        hint: String,
    },
    /// No route holds both versions.
    #[error(
        "no chosen route of virtualservice {object} holds both {stable} and {canary} (try: --add-destination to add {canary} beside {stable})"
    )]
    NoRouteHoldsBoth {
        /// `namespace/name`.
        object: String,
        /// The stable version.
        stable: String,
        /// The canary.
        canary: String,
    },
    /// A canary shall be added, and nobody says which.
    #[error(
        "no route of virtualservice {object} holds another version than {stable}, and it cannot be told which to add (try: --canary {choices})"
    )]
    WhichCanary {
        /// `namespace/name`.
        object: String,
        /// The stable version.
        stable: String,
        /// What could be the canary.
        choices: String,
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
pub struct Wanted<'a> {
    /// `--stable`.
    pub stable: Option<&'a str>,
    /// `--canary`.
    pub canary: Option<&'a str>,
    /// `--route`, as often as it was given.
    pub routes: &'a [String],
    /// Subsets that DestinationRules define for the hosts in question.
    pub subsets: &'a [String],
    /// Whether the canary may be added where it is missing.
    pub add: bool,
}

/// Finds stable, canary and the routes to shift; see [`Wanted::choose`].
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
        add: false,
    };
    wanted.choose(vs)
}

impl Wanted<'_> {
    /// Finds stable, canary and the routes to shift.
    ///
    /// The destination that carries the traffic is stable, so after a promotion the next rollout goes
    /// the other way without being told. Where the canary may be added, every route that sends to
    /// stable is one to shift.
    ///
    /// # Errors
    /// Whatever is not unambiguous is an error that lists the choices.
    pub fn choose(self, vs: &VirtualService) -> Result<Choice, VersionsError> {
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
    ) -> Result<Choice, VersionsError> {
        self.split(vs, &candidates(vs, self)?, pair)
    }

    fn split(
        self,
        vs: &VirtualService,
        candidates: &[&Route],
        (stable, canary): (&Destination, &Destination),
    ) -> Result<Choice, VersionsError> {
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
        Ok(Choice {
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

fn candidates<'vs>(
    vs: &'vs VirtualService,
    wanted: Wanted<'_>,
) -> Result<Vec<&'vs Route>, VersionsError> {
    let object = || vs.full_name();
    let usable = |route: &&Route| !route.targets.is_empty();
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
        Some(_) => Err(VersionsError::Twice {
            object: vs.full_name(),
            route: route.to_string(),
            version: version.to_string(),
        }),
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
                "no route of virtualservice shop/reviews sends to \"v9\" (try: --canary v1, v2, or --add-destination to add it)",
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
                "no route of virtualservice shop/reviews holds two versions to shift between; it sends to v1 only (try: --add-destination with --canary v2, v3)",
            ),
            (
                json!([]),
                None,
                None,
                vec![],
                "virtualservice shop/reviews has no route with destinations (try: a rule with a `route` under spec.http, spec.tls or spec.tcp)",
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

    fn added(
        http: Value,
        stable: Option<&str>,
        canary: Option<&str>,
        subsets: &[&str],
    ) -> Result<String, String> {
        let subsets: Vec<_> = subsets.iter().map(ToString::to_string).collect();
        let wanted = Wanted {
            stable,
            canary,
            subsets: &subsets,
            add: true,
            ..Wanted::default()
        };
        let choice = wanted
            .choose(&vs(http))
            .map_err(|error| error.to_string())?;
        let added = choice.splits.iter().filter(|split| split.adds()).count();
        Ok(format!(
            "{} -> {} at {}, added to {added} of {}",
            choice.stable,
            choice.canary,
            choice.canary.host,
            choice.splits.len()
        ))
    }

    #[test]
    fn a_missing_canary_is_added_beside_stable() {
        let reviews = "reviews.shop.svc.cluster.local";
        let both = ["v1", "v2"];
        let lone = || json!([rule("a", &[("v1", 0)])]);
        let mixed = || {
            json!([
                rule("a", &[("v1", 50), ("v2", 50)]),
                rule("b", &[("v1", 100)]),
                rule("c", &[("v3", 1)])
            ])
        };
        for (http, stable, canary, subsets, expected) in [
            (
                lone(),
                None,
                None,
                &both[..],
                format!("v1 -> v2 at {reviews}, added to 1 of 1"),
            ),
            (
                lone(),
                None,
                Some("v9"),
                &both,
                format!("v1 -> v9 at {reviews}, added to 1 of 1"),
            ),
            (
                lone(),
                None,
                Some("reviews-v2.shop.svc.cluster.local"),
                &both,
                "v1 -> reviews-v2 at reviews-v2.shop.svc.cluster.local, added to 1 of 1".into(),
            ),
            (
                mixed(),
                Some("v1"),
                Some("v2"),
                &both,
                format!("v1 -> v2 at {reviews}, added to 1 of 2"),
            ),
            (
                json!([{"route": [{"destination": {"host": "reviews-v1"}}]}]),
                None,
                Some("reviews-v2"),
                &[],
                "reviews-v1 -> reviews-v2 at reviews-v2.shop.svc.cluster.local, added to 1 of 1"
                    .into(),
            ),
        ] {
            assert_eq!(added(http, stable, canary, subsets).unwrap(), expected);
        }
    }

    #[test]
    fn what_to_add_is_never_guessed() {
        let lone = || json!([rule("a", &[("v1", 100)])]);
        for (http, stable, canary, subsets, expected) in [
            (
                lone(),
                None,
                None,
                vec!["v1", "v2", "v3"],
                "no route of virtualservice shop/reviews holds another version than v1, and it cannot be told which to add (try: --canary v2, v3)",
            ),
            (
                lone(),
                None,
                None,
                vec![],
                "no route of virtualservice shop/reviews holds another version than v1, and it cannot be told which to add (try: --canary NAME)",
            ),
            (
                lone(),
                Some("v1"),
                Some("v1"),
                vec![],
                "--stable and --canary are both v1 (try: two different versions)",
            ),
            (
                json!([rule("a", &[("v1", 100)]), rule("b", &[("v3", 100)])]),
                None,
                Some("v2"),
                vec![],
                "stable and canary of virtualservice shop/reviews cannot be told from its routes: its routes do not agree which version is stable (try: --stable and --canary with two of v1, v3)",
            ),
        ] {
            assert_eq!(added(http, stable, canary, &subsets).unwrap_err(), expected);
        }
    }

    #[test]
    fn tcp_and_tls_routes_are_chosen_alike() {
        let weighted = |first: i64, second: i64| {
            json!([
                {"destination": {"host": "echo", "subset": "v1", "port": {"number": 9000}}, "weight": first},
                {"destination": {"host": "echo.shop.svc.cluster.local", "subset": "v2", "port": {"number": 9000}}, "weight": second},
            ])
        };
        let vs = VirtualService::new(json!({
            "metadata": {"name": "echo", "namespace": "shop", "uid": "1"},
            "spec": {
                "tcp": [{"match": [{"port": 31400}], "route": weighted(100, 0)}],
                "tls": [{"match": [{"port": 443, "sniHosts": ["echo.com"]}], "route": weighted(80, 0)}],
            },
        }))
        .unwrap();
        let chosen = |routes: &[String]| {
            let choice = choose(&vs, None, None, routes, &[]).unwrap();
            let splits = choice.splits.iter();
            splits
                .map(|split| split.find(&vs).unwrap().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(chosen(&[]), ["tls[0]", "tcp[0]"]);
        assert_eq!(chosen(&["tcp[0]".into()]), ["tcp[0]"]);
    }
}
