//! The canary's place in DestinationRule and VirtualService.

use serde_json::{Value, json};

use super::{Ground, MissingSubset, ScaffoldError, SubsetNames};
use crate::istio::{Destination, Host, Route, Target, VirtualService};
use crate::preflight::proposal::{ISTIO, object, object_like, with_subsets};
use crate::preflight::rules::{name_of, rules_of};
use crate::rollout::ObjectName;

/// Routes that all send to one version.
pub(super) struct StableRoutes<'f> {
    vs: &'f VirtualService,
    routes: Vec<&'f Route>,
    pub stable: Destination,
}

impl<'f> StableRoutes<'f> {
    /// The routes that were named, or all that have destinations.
    pub fn of(vs: &'f VirtualService, named: &[String]) -> Result<Self, ScaffoldError> {
        let is_meant = |route: &&Route| {
            !route.targets.is_empty()
                && (named.is_empty() || named.iter().any(|name| route.is_called(name)))
        };
        let routes: Vec<_> = vs.routes().iter().filter(is_meant).collect();
        let mut carrying: Vec<(&Route, &Destination)> = Vec::new();
        for route in &routes {
            let in_force: Vec<_> = route
                .targets
                .iter()
                .filter(|target| target.weight.unwrap_or(0) > 0 || route.targets.len() == 1)
                .map(|target| &target.destination)
                .collect();
            match in_force.as_slice() {
                [] => {}
                [one] => carrying.push((route, one)),
                several => {
                    let versions: Vec<_> = several.iter().map(ToString::to_string).collect();
                    return Err(ScaffoldError::Split {
                        route: route.to_string(),
                        versions: versions.join(" and "),
                    });
                }
            }
        }
        let Some((_, stable)) = carrying.first() else {
            let named = named.join(", ");
            let named = if named.is_empty() {
                "route ".to_owned()
            } else {
                format!("route {named} ")
            };
            return Err(ScaffoldError::NoRoute(named));
        };
        let mut others = Vec::new();
        for (route, destination) in &carrying {
            if !others
                .iter()
                .any(|(_, other): &(_, &Destination)| other.same_version(destination))
            {
                others.push((*route, *destination));
            }
        }
        if others.len() > 1 {
            let versions: Vec<_> = others
                .iter()
                .map(|(_, version)| version.to_string())
                .collect();
            let routes: Vec<_> = others
                .iter()
                .map(|(route, _)| format!("--route {}", route.word()))
                .collect();
            return Err(ScaffoldError::SeveralVersions {
                versions: versions.join(" and "),
                routes: routes.join(" or "),
            });
        }
        Ok(Self {
            vs,
            stable: (*stable).clone(),
            routes: carrying.iter().map(|(route, _)| *route).collect(),
        })
    }

    /// The object with the canary in each of the routes at weight 0, unless all have it.
    pub fn with_canary(&self, names: &SubsetNames) -> Option<Value> {
        let mut spec = self.vs.spec().clone();
        for route in &self.routes {
            let targets = &mut spec[route.at.kind.key()][route.at.index]["route"];
            let in_force = |target: &Target| target.destination.same_version(&self.stable);
            let Some(at) = route.targets.iter().position(in_force) else {
                continue;
            };
            let subset = |name: &str| Some(name.to_owned());
            let has_canary = route.targets.iter().any(|target| {
                target.destination.host == self.stable.host
                    && target.destination.subset == subset(&names.canary)
            });
            targets[at]["destination"]["subset"] = json!(names.stable);
            if has_canary {
                continue;
            }
            let mut canary = targets[at].clone();
            canary["destination"]["subset"] = json!(names.canary);
            canary["weight"] = json!(0);
            targets[at]["weight"] = json!(100.max(route.targets[at].weight.unwrap_or(0)));
            if let Some(targets) = targets.as_array_mut() {
                targets.insert(at + 1, canary);
            }
        }
        (spec != *self.vs.spec()).then(|| object_like("VirtualService", self.vs.raw(), &spec))
    }
}

/// The DestinationRule with the subsets that are missing, each with the policies of the one it is like.
pub(super) fn rule(ground: &Ground<'_>, host: &Host, missing: &[MissingSubset<'_>]) -> Value {
    let existing = rules_of(ground.rules, host).next();
    let like = missing.iter().find_map(|subset| subset.like);
    // Several rules may speak of a host: a new subset stands beside the one it is like.
    let beside = like.and_then(|like| {
        let mut rules = rules_of(ground.rules, host);
        rules.find(|rule| {
            let (namespace, name) = name_of(rule);
            format!("{namespace}/{name}") == like.rule
        })
    });
    let existing = beside.or(existing);
    let defined = existing.and_then(|rule| rule.pointer("/spec/subsets"));
    let defined = defined.and_then(Value::as_array);
    let new = missing.iter().map(|subset| {
        let is_like = |written: &&Value| {
            let like = subset.like.map(|like| like.name.as_str());
            like.is_some() && written["name"].as_str() == like
        };
        let like = defined.into_iter().flatten().find(is_like);
        let mut new = like.cloned().unwrap_or_else(|| json!({}));
        new["name"] = json!(subset.name);
        new["labels"] = json!(subset.labels);
        new
    });
    with_subsets(existing, host, new.collect())
}

/// A VirtualService for the mesh, where there is none.
pub(super) fn route_to(ground: &Ground<'_>, names: &SubsetNames) -> Value {
    let ObjectName { namespace, name } = name(ground);
    let to = |subset: &str, weight: i64| json!({"destination": {"host": name, "subset": subset}, "weight": weight});
    let spec = json!({
        "hosts": [name],
        "http": [{"route": [to(&names.stable, 100), to(&names.canary, 0)]}],
    });
    object(ISTIO, "VirtualService", &namespace, &name, &spec)
}

/// What the VirtualService is called, or will be.
pub(super) fn name(ground: &Ground<'_>) -> ObjectName {
    let of_service = ground
        .host
        .service()
        .unwrap_or((ground.host.as_str(), "default"));
    let (namespace, name) = ground.vs.map_or((of_service.1, of_service.0), |vs| {
        (vs.namespace(), vs.name())
    });
    ObjectName {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}
