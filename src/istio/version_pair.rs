//! Which two versions a rollout moves between, as far as the routes show it.

use std::collections::BTreeSet;

use super::destination::{Destination, Host};
use super::route::Route;
use super::versions_error::VersionsError;
use super::virtual_service::VirtualService;
use crate::plan::shell_word;

/// What a user asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct VersionQuery<'a> {
    /// `--stable`.
    pub stable: Option<&'a str>,
    /// `--canary`.
    pub canary: Option<&'a str>,
    /// `--route`, as often as it was given.
    pub routes: &'a [String],
    /// Subsets that DestinationRules define, of whatever host.
    pub subsets: &'a [(Host, String)],
    /// Whether the canary may be added where it is missing.
    pub add: bool,
}

/// The items once each, in order, or a word for none.
pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>, none: &str) -> String {
    let unique: BTreeSet<String> = items.into_iter().map(|item| item.to_string()).collect();
    match unique.len() {
        0 => none.to_owned(),
        _ => unique.into_iter().collect::<Vec<_>>().join(", "),
    }
}

/// Versions as words of a shell, to be typed after `--stable` or `--canary`.
fn words<'a>(versions: impl IntoIterator<Item = &'a Destination>) -> impl Iterator<Item = String> {
    let versions = versions.into_iter();
    versions.map(|version| shell_word(&version.to_string()))
}

/// The versions that routes send to, in their order.
pub(crate) fn versions<'a>(routes: impl IntoIterator<Item = &'a Route>) -> Vec<&'a Destination> {
    let mut found: Vec<&Destination> = Vec::new();
    for target in routes.into_iter().flat_map(|route| &route.targets) {
        if !found
            .iter()
            .any(|known| known.same_version(&target.destination))
        {
            found.push(&target.destination);
        }
    }
    found
}

/// The names of the subsets of these hosts. Several DestinationRules may define one and the same.
fn subsets_of<'a>(hosts: &[&Host], query: VersionQuery<'a>) -> BTreeSet<&'a str> {
    let defined = query.subsets.iter();
    defined
        .filter(|(host, _)| hosts.contains(&host))
        .map(|(_, name)| name.as_str())
        .collect()
}

fn named(
    vs: &VirtualService,
    routes: &[&Route],
    flag: &'static str,
    asked: &str,
) -> Result<Destination, VersionsError> {
    let all = versions(routes.iter().copied());
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
            choices: list(words(all), "nothing, it has no destination"),
            hint: match flag {
                "canary" => ", or --add-destination to add it",
                _ => "",
            },
        }),
        // Hosts of one name in several namespaces have a full name each.
        several if several.iter().all(|version| version.subset.is_none()) => {
            Err(VersionsError::SeveralVersions {
                object: vs.full_name(),
                asked: asked.to_owned(),
                fix: format!(
                    "--{flag} with one of {}",
                    list(several.iter().map(|version| &version.host), "none")
                ),
            })
        }
        several => Err(VersionsError::SeveralVersions {
            object: vs.full_name(),
            asked: asked.to_owned(),
            fix: format!(
                "--route to narrow it to one of {}",
                list(
                    several
                        .iter()
                        .map(|version| format!("{} of {}", version, version.host)),
                    "none",
                )
            ),
        }),
    }
}

/// The pair that the routes hold.
pub(super) fn pair(
    vs: &VirtualService,
    routes: &[&Route],
    query: VersionQuery<'_>,
) -> Result<(Destination, Destination), VersionsError> {
    let stable = query
        .stable
        .map(|name| named(vs, routes, "stable", name))
        .transpose()?;
    let canary = query
        .canary
        .map(|name| named(vs, routes, "canary", name))
        .transpose()?;
    if let (Some(stable), Some(canary)) = (&stable, &canary) {
        if stable.same_version(canary) {
            return Err(VersionsError::Same(stable.to_string()));
        }
        return Ok((stable.clone(), canary.clone()));
    }
    let all = versions(routes.iter().copied());
    let ambiguous = |why: String| VersionsError::Ambiguous {
        object: vs.full_name(),
        why,
        choices: list(words(all.iter().copied()), "none"),
    };
    let mut agreed: Option<(Destination, Destination)> = None;
    for route in routes {
        // One that divides a version in itself can be meant by nobody.
        if let [first, rest @ ..] = route.targets.as_slice()
            && !rest.is_empty()
            && rest
                .iter()
                .all(|target| target.destination.same_version(&first.destination))
        {
            return Err(VersionsError::several_places(vs, route, &first.destination));
        }
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
        // Named or not, one that is there twice cannot be given a weight.
        for (index, target) in route.targets.iter().enumerate() {
            let mut before = route.targets[..index].iter();
            if before.any(|before| before.destination.same_version(&target.destination)) {
                return Err(VersionsError::several_places(
                    vs,
                    route,
                    &target.destination,
                ));
            }
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
        let hosts: Vec<_> = all.iter().map(|version| &version.host).collect();
        let mut others = subsets_of(&hosts, query);
        others.retain(|subset| !all.iter().any(|version| version.is_called(subset)));
        let others = others.into_iter().map(shell_word);
        let unreached: Vec<_> = routes
            .iter()
            .filter_map(|route| Some((*route, vs.shadow_of(route.at)?)))
            .collect();
        let reached = routes.iter().copied();
        let reached = reached.filter(|route| vs.shadow_of(route.at).is_none());
        let reached: Vec<_> = reached.collect();
        let found = versions(reached.iter().copied());
        // What nobody is sent to yet may be what is to become the canary.
        let unknown = all
            .iter()
            .filter(|version| !found.iter().any(|known| known.same_version(version)));
        let others = others.chain(words(unknown.copied()));
        VersionsError::OneVersion {
            object: vs.full_name(),
            found: list(&found, "nothing"),
            unreached: match unreached.first() {
                Some((route, shadow)) => format!(
                    ", as {route} never gets a request: {shadow} before it takes all of them"
                ),
                None => String::new(),
            },
            hint: list(others, "NAME"),
        }
    })
}

/// The pair that the routes hold, or stable and a canary that none of them holds yet.
pub(super) fn pair_or_addition(
    vs: &VirtualService,
    routes: &[&Route],
    query: VersionQuery<'_>,
) -> Result<(Destination, Destination), VersionsError> {
    let held = versions(routes.iter().copied());
    let is_held = |name: &str| held.iter().any(|version| version.is_called(name));
    if query.canary.is_none_or(is_held)
        && let Ok(pair) = pair(vs, routes, query)
    {
        return Ok(pair);
    }
    let stable = match query.stable {
        Some(name) => named(vs, routes, "stable", name)?,
        None => carrier(vs, routes, query.canary)?,
    };
    let canary = match query.canary {
        Some(name) => match held.iter().find(|version| version.is_called(name)) {
            Some(known) => (*known).clone(),
            None => newcomer(vs, &stable, name, query),
        },
        None => {
            let mut unknown = subsets_of(&[&stable.host], query);
            unknown.retain(|name| !is_held(name));
            match unknown.first() {
                Some(name) if unknown.len() == 1 => newcomer(vs, &stable, name, query),
                _ => {
                    return Err(VersionsError::WhichCanary {
                        object: vs.full_name(),
                        stable: stable.to_string(),
                        choices: list(unknown.into_iter().map(shell_word), "NAME"),
                    });
                }
            }
        }
    };
    if stable.same_version(&canary) {
        return Err(VersionsError::Same(stable.to_string()));
    }
    Ok((stable, canary))
}

/// The version that carries the most traffic on every route, leaving the canary aside.
fn carrier(
    vs: &VirtualService,
    routes: &[&Route],
    canary: Option<&str>,
) -> Result<Destination, VersionsError> {
    let others = |route: &&Route| -> Vec<(i64, Destination)> {
        let targets = route.targets.iter();
        let mut others: Vec<_> = targets
            .filter(|target| canary.is_none_or(|name| !target.destination.is_called(name)))
            .map(|target| (target.weight.unwrap_or(0), target.destination.clone()))
            .collect();
        others.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        others
    };
    let ambiguous = |why: String| VersionsError::Ambiguous {
        object: vs.full_name(),
        why,
        choices: list(words(versions(routes.iter().copied())), "none"),
    };
    let mut agreed: Option<Destination> = None;
    for route in routes {
        let heaviest = match others(route).as_slice() {
            [] => continue,
            [(first, _), (second, _), ..] if first == second => {
                return Err(ambiguous(format!(
                    "{route} gives two versions the same weight"
                )));
            }
            [(_, heaviest), ..] => heaviest.clone(),
        };
        match &agreed {
            Some(known) if !known.same_version(&heaviest) => {
                return Err(ambiguous(
                    "its routes do not agree which version is stable".into(),
                ));
            }
            _ => agreed = Some(heaviest),
        }
    }
    agreed.ok_or_else(|| ambiguous("they send to the canary only".into()))
}

/// A version that no route holds yet: a subset of stable's host, or a host of its own.
fn newcomer(
    vs: &VirtualService,
    stable: &Destination,
    name: &str,
    query: VersionQuery<'_>,
) -> Destination {
    let is_subset = subsets_of(&[&stable.host], query).contains(name)
        || stable.subset.is_some() && !name.contains('.');
    if is_subset {
        Destination {
            host: stable.host.clone(),
            subset: Some(name.to_owned()),
            port: stable.port,
        }
    } else {
        Destination {
            host: vs.resolve(name),
            subset: None,
            port: stable.port,
        }
    }
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
