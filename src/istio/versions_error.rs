//! Why the two versions of a rollout could not be determined.

use std::collections::BTreeSet;

use super::destination::Destination;
use super::route::Route;
use super::split::SplitError;
use super::virtual_service::VirtualService;

/// Why the versions or routes could not be determined; each names the choices.
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
        "{route} of virtualservice {object} delegates to another VirtualService (try: the same command on that one)"
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
    #[error("{asked:?} matches several destinations of virtualservice {object} (try: {fix})")]
    SeveralVersions {
        /// `namespace/name`.
        object: String,
        /// What was asked for.
        asked: String,
        /// What to ask for instead.
        fix: String,
    },
    /// Both flags name one version.
    #[error("--stable and --canary are both {0} (try: two different versions)")]
    Same(String),
    /// No route holds two versions.
    #[error(
        "no route of virtualservice {object} holds two versions to shift between; it sends to {found} only{unreached} (try: --add-destination with --canary {hint})"
    )]
    OneVersion {
        /// `namespace/name`.
        object: String,
        /// The one version.
        found: String,
        /// Rules that never get a request, in a clause of its own.
        unreached: String,
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
    /// A canary shall be added, and it is not said which.
    #[error(
        "no route of virtualservice {object} holds another version than {stable}, so the canary is unknown (try: --canary {choices})"
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
        "stable and canary of virtualservice {object} cannot be determined from its routes: {why} (try: --stable and --canary with two of {choices})"
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
    /// A route divides one version among its ports.
    #[error(
        "{route} of virtualservice {object} sends to {version} at ports {ports}, but versions are not told apart by port: neither pods nor metrics belong to one (try: a subset or a Service for each version)"
    )]
    Ports {
        /// `namespace/name`.
        object: String,
        /// The route.
        route: String,
        /// The version.
        version: String,
        /// The ports.
        ports: String,
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

impl VersionsError {
    /// What is to be said of a route that sends to one version at several places.
    pub(super) fn several_places(
        vs: &VirtualService,
        route: &Route,
        version: &Destination,
    ) -> Self {
        let (object, route_name) = (vs.full_name(), route.to_string());
        let same = route.targets.iter().map(|target| &target.destination);
        let same = same.filter(|destination| destination.same_version(version));
        let ports: BTreeSet<_> = same.map(|destination| destination.port).collect();
        if ports.len() < 2 {
            return Self::Twice {
                object,
                route: route_name,
                version: version.to_string(),
            };
        }
        let ports = ports.into_iter().map(|port| match port {
            Some(port) => port.to_string(),
            None => "none".to_owned(),
        });
        Self::Ports {
            object,
            route: route_name,
            version: version.to_string(),
            ports: ports.collect::<Vec<_>>().join(" and "),
        }
    }
}
