//! Why it cannot be told what a rollout needs.

use crate::istio::{Destination, Host};

/// What stands in the way, and what to say instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScaffoldError {
    /// No route that was meant has a destination.
    #[error(
        "no {0}of the object sends to a version (try: kubectl get virtualservice NAME -o yaml)"
    )]
    NoRoute(String),
    /// Traffic is on its way between versions.
    #[error(
        "{route} sends to {versions} at once (try: kubectl canary promote or abort before the next rollout)"
    )]
    Split {
        /// Which.
        route: String,
        /// Between which.
        versions: String,
    },
    /// Stable is not one version.
    #[error("the routes send to {versions} (try: {routes})")]
    SeveralVersions {
        /// Which.
        versions: String,
        /// What to say.
        routes: String,
    },
    /// Requests already go nowhere.
    #[error(
        "no DestinationRule defines the subset that stands in the route, {0} (try: kubectl canary plan)"
    )]
    UndefinedSubset(Destination),
    /// A Service without pods of its own.
    #[error(
        "service {0} selects no pods, so nothing can be copied for it (try: kubectl canary plan)"
    )]
    NoSelector(Host),
    /// Nothing to copy.
    #[error("no Deployment with replicas has pods that carry {0} (try: --deployment NAME)")]
    NoDeployment(String),
    /// The one that was named is not there.
    #[error("there is no Deployment {0} (try: kubectl get deployments)")]
    NoSuchDeployment(String),
    /// Several could be copied.
    #[error("{labels} is carried by the pods of {names} (try: --deployment {first})")]
    SeveralDeployments {
        /// What the pods carry.
        labels: String,
        /// What there is.
        names: String,
        /// One of them.
        first: String,
    },
    /// The image could be of several.
    #[error("deployment {deployment} has the containers {names} (try: --container {first})")]
    SeveralContainers {
        /// Which Deployment.
        deployment: String,
        /// What there is.
        names: String,
        /// One of them.
        first: String,
    },
    /// The one that was named is not there.
    #[error(
        "deployment {deployment} has no container {name}, it has {names} (try: --container {first})"
    )]
    NoSuchContainer {
        /// Which Deployment.
        deployment: String,
        /// Its name.
        name: String,
        /// What there is.
        names: String,
        /// One of them.
        first: String,
    },
    /// The Service keeps other versions out.
    #[error(
        "the Service selects {label}, so it would never send to another version (try: take {key} out of its selector)"
    )]
    OneVersionOnly {
        /// What it selects.
        label: String,
        /// The label alone.
        key: String,
    },
    /// Neither a number nor a tag to go by.
    #[error("it cannot be told what comes after version {0} (try: --version NAME)")]
    NoNextVersion(String),
    /// The canary has to differ.
    #[error("version {0} is stable's (try: another --version)")]
    SameVersion(String),
    /// The subset means other pods.
    #[error("a subset {0} is defined already, with other labels (try: another --version)")]
    NameTaken(String),
    /// Istio takes only DNS labels.
    #[error("{version} is no name for a subset{} (try: --version v2)", if *is_chosen { "" } else { ", and comes from the image" })]
    NoName {
        /// Its version.
        version: String,
        /// Whether somebody chose it.
        is_chosen: bool,
    },
    /// Another image has that name.
    #[error(
        "deployment {name} is version {version} already, with image {image} (try: kubectl set image deployment/{name} {container}={wanted}, or another --version)"
    )]
    Exists {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// What it runs.
        image: String,
        /// In which container.
        container: String,
        /// What it is to run.
        wanted: String,
    },
    /// Kubernetes would refuse it.
    #[error(
        "{0:?} is no label value, which has letters, digits, '-', '_' and '.' (try: --version v2)"
    )]
    NoLabel(String),
}
