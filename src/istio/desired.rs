//! What the chosen routes of an object shall be: their weights, and what a rollout adds to them for a time.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::canary_rules::{CanaryRules, HeaderMatch};
use super::destination::{Destination, Host};
use super::difference::RouteDifference;
use super::route::{Route, RouteId, RouteKind, RouteRef};
use super::split::{Split, Weights, in_force, route_alike};
use super::sticky_cookie::CookieEdit;
use super::virtual_service::VirtualService;
use crate::plan::{Exposure, Percent};

/// What every chosen route shall be, on an object as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredRoutes {
    /// The chosen routes, in the order of the rollout's splits.
    pub routes: Vec<DesiredRoute>,
    /// The rules that send to the canary alone; `None` where the rollout has none at any step.
    pub rules: Option<CanaryRules>,
    /// Whether the rollout mirrors at any step.
    pub mirrors: bool,
}

/// What one chosen route shall be.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredRoute {
    /// Where it stands.
    pub at: RouteRef,
    /// The position of stable.
    pub stable: usize,
    /// The position of the canary, be it there or not.
    pub canary: usize,
    /// A weight for each destination, an added canary's last.
    pub weights: Weights,
    /// What becomes of a canary that the rollout adds.
    pub addition: Addition,
    /// What becomes of a mirror that the rollout sets.
    pub mirror: MirrorEdit,
    /// What becomes of a cookie that the rollout lets the canary set.
    pub cookie: CookieEdit,
}

/// A destination that the rollout adds to a route.
#[derive(Clone, Debug, PartialEq)]
pub enum Addition {
    /// The route had its canary before.
    Nothing,
    /// The canary stands at the end of the route.
    There(Value),
    /// It does not, or no longer.
    Gone,
}

/// A mirror that the rollout sets.
#[derive(Clone, Debug, PartialEq)]
pub enum MirrorEdit {
    /// The rollout never mirrors here.
    Keep,
    /// This destination gets copies of so many requests.
    Set(Value, Percent),
    /// This destination gets none, or no longer.
    Remove(Value),
}

/// What a shape is drawn from.
pub(crate) struct RouteTarget<'a> {
    pub canary: &'a Destination,
    /// The weights of a route.
    pub weights: &'a dyn Fn(&Split) -> Weights,
    /// Whether a canary that the rollout adds stands in its routes.
    pub added: bool,
    /// Routes of HTTP mirror where this says so.
    pub exposure: Exposure,
    /// Whether the rollout mirrors at any step: a mirror that is not due is removed then.
    pub mirrors: bool,
    /// The canary's destinations in routes of HTTP get this.
    pub cookie: CookieEdit,
    pub rules: Option<RuleTarget<'a>>,
}

/// The rules that send to the canary alone, as an outline has them.
pub(crate) struct RuleTarget<'a> {
    pub run: &'a str,
    /// Whose requests they take; nobody's where there are to be none.
    pub wanted: Vec<HeaderMatch>,
    /// Whether they mirror as their routes do.
    pub copies: bool,
}

/// Chosen routes that were removed or rewritten by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{missing} of the {chosen} chosen routes were deleted or send elsewhere now")]
pub struct MissingRoutes {
    missing: usize,
    chosen: usize,
}

impl From<MissingRoutes> for RouteDifference {
    fn from(missing: MissingRoutes) -> Self {
        Self::RoutesMissing {
            missing: missing.missing,
            chosen: missing.chosen,
        }
    }
}

impl DesiredRoutes {
    /// Draws the shape for the chosen routes of `vs`.
    ///
    /// # Errors
    /// The routes that are no longer there.
    pub(crate) fn of(
        vs: &VirtualService,
        splits: &[Split],
        target: &RouteTarget<'_>,
    ) -> Result<Self, MissingRoutes> {
        let desired = Self::of_rest(vs, splits, target);
        match splits.len() - desired.routes.len() {
            0 => Ok(desired),
            missing => Err(MissingRoutes {
                missing,
                chosen: splits.len(),
            }),
        }
    }

    /// Draws the shape for those of the chosen routes that `vs` still has.
    pub(crate) fn of_rest(vs: &VirtualService, splits: &[Split], target: &RouteTarget<'_>) -> Self {
        let index = Index::of(vs);
        let pairs = splits
            .iter()
            .filter_map(|split| Some((split, index.find(split, target.canary)?)));
        Self::of_pairs(vs, pairs, target)
    }

    /// Draws the shape for routes of `vs`, each taken for the chosen one beside it.
    pub(crate) fn of_pairs<'a>(
        vs: &VirtualService,
        pairs: impl Iterator<Item = (&'a Split, &'a Route)>,
        target: &RouteTarget<'_>,
    ) -> Self {
        let mut routes = Vec::new();
        let mut rules = Vec::new();
        for (split, route) in pairs {
            let rule = vs.rule(route.at);
            let canary = canary_of(vs, rule, split, target.canary);
            let is_http = route.at.kind == RouteKind::Http;
            if let Some(RuleTarget {
                run,
                wanted,
                copies,
            }) = &target.rules
                && is_http
                && !wanted.is_empty()
            {
                let canary = target.cookie.without(&canary);
                let rule = CanaryRules::rule(rule, run, wanted, &canary, *copies);
                rules.push((route.at.index, rule));
            }
            let destination = canary.get("destination").cloned().unwrap_or_default();
            routes.push(DesiredRoute {
                at: route.at,
                stable: split.stable,
                canary: split.canary,
                weights: (target.weights)(split),
                addition: match (split.adds(), target.added) {
                    (false, _) => Addition::Nothing,
                    (true, true) => Addition::There(destination.clone()),
                    (true, false) => Addition::Gone,
                },
                mirror: match target.exposure.mirrored() {
                    Some(share) if is_http => MirrorEdit::Set(destination, share),
                    None if is_http && target.mirrors => MirrorEdit::Remove(destination),
                    Some(_) | None => MirrorEdit::Keep,
                },
                cookie: match is_http {
                    true => target.cookie.clone(),
                    false => CookieEdit::Keep,
                },
            });
        }
        rules.sort_by_key(|(index, _)| *index);
        let rules = target
            .rules
            .as_ref()
            .map(|target| CanaryRules::new(target.run, rules));
        Self {
            routes,
            rules,
            mirrors: target.mirrors,
        }
    }

    /// What of `vs` is not as it shall be, as far as requests notice.
    pub fn difference(&self, vs: &VirtualService) -> Option<RouteDifference> {
        let routes = by_place(vs);
        let of_routes = self.routes.iter().find_map(|form| {
            let route = routes.get(&form.at)?;
            form.difference(route, vs.rule(form.at))
        });
        of_routes.or_else(|| self.rules.as_ref()?.difference(vs))
    }

    /// The routes of `vs` that are neither drawn here nor rules that this run added, and send to another
    /// version than `stable`; where a mirror is drawn, also those that mirror to one.
    pub(crate) fn unaccounted<'vs>(
        &self,
        vs: &'vs VirtualService,
        (stable, canary): (&Destination, &Destination),
    ) -> Vec<&'vs Route> {
        let drawn: HashSet<_> = self.routes.iter().map(|route| route.at).collect();
        let rules = self.rules.as_ref().map(|rules| rules.places(vs));
        let rules = rules.unwrap_or_default();
        let is_other = |version: &Destination| {
            [&stable.host, &canary.host].contains(&&version.host) && !version.same_version(stable)
        };
        let sends = |route: &Route| {
            let weights = in_force(&route.weights());
            let mut sent = route.targets.iter().zip(weights);
            sent.any(|(target, weight)| weight > Some(0) && is_other(&target.destination))
        };
        let mirrors = |route: &Route| {
            let mirror = vs.rule(route.at).get("mirror");
            mirror.is_some_and(|to| is_other(&Destination::read(to, vs.namespace())))
        };
        let is_rule = |at: RouteRef| at.kind == RouteKind::Http && rules.contains(&at.index);
        let routes = vs.routes().iter();
        routes
            .filter(|route| !drawn.contains(&route.at) && !is_rule(route.at))
            .filter(|route| sends(route) || self.mirrors && mirrors(route))
            .collect()
    }

    /// Whether `vs` is as it shall be, down to weights that are absent.
    pub fn is_exactly(&self, vs: &VirtualService) -> bool {
        let routes = by_place(vs);
        let exact = |form: &DesiredRoute| {
            routes
                .get(&form.at)
                .is_some_and(|route| form.is_exactly(route, vs.rule(form.at)))
        };
        self.routes.iter().all(exact)
            && self
                .rules
                .as_ref()
                .is_none_or(|rules| rules.difference(vs).is_none())
    }
}

impl DesiredRoute {
    fn difference(&self, route: &Route, rule: &Value) -> Option<RouteDifference> {
        let found = route.weights();
        // Of hundreds of routes hardly any differs, so none is named before it does.
        let name = || route.to_string();
        if !route_alike(&found, &self.weights) {
            return Some(RouteDifference::Weights {
                route: name(),
                found,
                expected: self.weights.clone(),
            });
        }
        if !self.cookie.is_made(self.canary_in(rule)) {
            return Some(RouteDifference::StickyCookie { route: name() });
        }
        match &self.mirror {
            MirrorEdit::Remove(_) if is_mirrored(rule) => {
                Some(RouteDifference::Mirrored { route: name() })
            }
            MirrorEdit::Set(destination, share) if !is_mirrored_to(rule, destination, *share) => {
                Some(RouteDifference::NotMirrored {
                    route: name(),
                    percent: *share,
                })
            }
            MirrorEdit::Keep | MirrorEdit::Remove(_) | MirrorEdit::Set(..) => None,
        }
    }

    fn is_exactly(&self, route: &Route, rule: &Value) -> bool {
        let mirror = match &self.mirror {
            MirrorEdit::Keep => true,
            // A mirror that the rollout did not set stays.
            MirrorEdit::Remove(destination) => rule.get("mirror") != Some(destination),
            MirrorEdit::Set(destination, share) => is_mirrored_to(rule, destination, *share),
        };
        route.weights() == self.weights && mirror && self.cookie.is_made(self.canary_in(rule))
    }

    /// The canary's entry in a rule, if it is there.
    pub(super) fn canary_in<'v>(&self, rule: &'v Value) -> Option<&'v Value> {
        rule.get("route")?.get(self.canary)
    }
}

/// Whether a rule mirrors requests in any of the ways there are.
pub(crate) fn is_mirrored(rule: &Value) -> bool {
    ["mirror", "mirrors"]
        .iter()
        .any(|key| rule.get(key).is_some_and(|value| !value.is_null()))
}

fn is_mirrored_to(rule: &Value, destination: &Value, share: Percent) -> bool {
    let found = rule
        .pointer("/mirrorPercentage/value")
        .and_then(Value::as_f64);
    rule.get("mirror") == Some(destination)
        && found.is_some_and(|found| (found - share.share() * 100.0).abs() < 1e-6)
}

/// The share of requests to mirror, as Istio writes it.
pub(super) fn mirror_percentage(share: Percent) -> Value {
    json!({"value": share})
}

/// The canary's entry in a rule, without a weight: the one that is there, or the one to add, which is the
/// stable destination's with the canary in its place.
fn canary_of(vs: &VirtualService, rule: &Value, split: &Split, canary: &Destination) -> Value {
    let entry = |position: usize| rule.get("route").and_then(|route| route.get(position));
    if let Some(there) = entry(split.canary) {
        let mut there = there.clone();
        if let Some(entry) = there.as_object_mut() {
            entry.remove("weight");
        }
        return there;
    }
    let stable = entry(split.stable).and_then(|entry| entry.get("destination"));
    let mut destination = stable.cloned().unwrap_or_else(|| json!({}));
    if let Some(fields) = destination.as_object_mut() {
        match &canary.subset {
            Some(subset) => fields.insert("subset".into(), subset.clone().into()),
            None => fields.remove("subset"),
        };
        let host = fields.get("host").and_then(Value::as_str);
        let shared = host.is_some_and(|host| Host::resolve(host, vs.namespace()) == canary.host);
        if !shared {
            fields.insert("host".into(), canary.host.as_str().into());
        }
    }
    json!({"destination": destination})
}

fn by_place(vs: &VirtualService) -> HashMap<RouteRef, &Route> {
    vs.routes().iter().map(|route| (route.at, route)).collect()
}

/// The routes of an object by what they are, so that hundreds of them are found in one go.
struct Index<'vs>(HashMap<RouteId, Vec<&'vs Route>>);

impl<'vs> Index<'vs> {
    fn of(vs: &'vs VirtualService) -> Self {
        let mut routes: HashMap<RouteId, Vec<&Route>> = HashMap::new();
        for route in vs.routes() {
            routes.entry(route.id).or_default().push(route);
            if route.base_id != route.id {
                routes.entry(route.base_id).or_default().push(route);
            }
        }
        Self(routes)
    }

    fn find(&self, split: &Split, canary: &Destination) -> Option<&'vs Route> {
        let alike = self.0.get(&split.id)?.iter();
        let route = alike.filter(|route| split.is_of(route)).nth(split.nth)?;
        let grown = route.targets.len() > split.original.len();
        // Another client may have replaced our destination.
        let is_ours = !grown
            || route
                .targets
                .last()
                .is_some_and(|target| target.destination.same_version(canary));
        is_ours.then_some(route)
    }
}
