//! What a rollout of another image needs and is not there yet: the canary's Deployment, its subset, and its
//! place in the routes, in the shapes of what stable has.

mod deployment;
mod error;
mod next_version;
mod stable_routes;

pub use error::ScaffoldError;

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

use super::proposal::{Proposal, name_part, until_known};
use super::rules::rules_of;
use crate::istio::{Destination, Host, Subset, VirtualService};
use crate::plan::shell_word;
use deployment::StableDeployment;
use next_version::next_version;
use stable_routes::StableRoutes;

/// Labels as objects carry them.
type Labels = BTreeMap<String, String>;

/// The label by which Istio tells versions apart unless somebody chose another.
const VERSION: &str = "version";

/// What is there.
pub(crate) struct Ground<'f> {
    /// The routes, if there are any yet.
    pub vs: Option<&'f VirtualService>,
    /// The Service behind them.
    pub service: &'f Service,
    /// Its host.
    pub host: Host,
    /// The DestinationRules of the namespaces concerned.
    pub rules: &'f [Value],
    /// The Deployments of the Service's namespace.
    pub deployments: &'f [Value],
    /// Who scales them.
    pub autoscalers: &'f [HorizontalPodAutoscaler],
}

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct WantedCanary {
    /// The canary's image.
    pub image: String,
    /// The canary's version, where it was chosen.
    pub version: Option<String>,
    /// The container whose image it is, where there are several.
    pub container: Option<String>,
    /// The Deployment to copy, where several could be meant.
    pub deployment: Option<String>,
    /// The routes concerned; none means all that send to stable.
    pub routes: Vec<String>,
}

/// How the two versions are told apart.
struct VersionLabels {
    /// The label.
    key: String,
    /// Its value on stable's pods.
    stable: String,
    /// Its value on the canary's.
    canary: String,
    /// Whether stable's pods carry it.
    is_labelled: bool,
}

/// The one Service that a VirtualService's routes send everything to.
///
/// # Errors
/// If there is none, or several, or traffic is split between versions.
pub(crate) fn stable_of(
    vs: &VirtualService,
    routes: &[String],
) -> Result<Destination, ScaffoldError> {
    Ok(StableRoutes::of(vs, routes)?.stable)
}

/// The objects that are missing, and how to apply them.
///
/// # Errors
/// If it cannot be told what to copy, or what it would be called.
pub(crate) fn scaffold(
    ground: &Ground<'_>,
    wanted: &WantedCanary,
) -> Result<Proposal, ScaffoldError> {
    let routing = ground.vs.map(|vs| StableRoutes::of(vs, &wanted.routes));
    let routing = routing.transpose()?;
    let stable = match &routing {
        Some(routing) => routing.stable.clone(),
        None => Destination {
            host: ground.host.clone(),
            subset: None,
            port: None,
        },
    };
    let subsets: Vec<_> = rules_of(ground.rules, &stable.host)
        .flat_map(Subset::of_rule)
        .collect();
    let named = match &stable.subset {
        None => None,
        Some(name) => {
            let found = subsets.iter().find(|subset| subset.name == *name);
            Some(found.ok_or_else(|| ScaffoldError::UndefinedSubset(stable.clone()))?)
        }
    };
    let selector = ground.service.spec.as_ref();
    let selector = selector.and_then(|spec| spec.selector.clone());
    let selector = selector.filter(|labels| !labels.is_empty());
    let selector = selector.ok_or_else(|| ScaffoldError::NoSelector(stable.host.clone()))?;
    let mut carried = selector.clone();
    carried.extend(
        named
            .map(|subset| subset.labels.clone())
            .unwrap_or_default(),
    );
    let workload = StableDeployment::running(ground.deployments, &carried, wanted)?;

    let versions = told_apart(&workload, named, &selector, wanted)?;
    let canary_labels = with(&carried, &versions.key, &versions.canary);
    let names = SubsetNames::choose(&subsets, named, &versions, wanted)?;
    let missing = names.missing(&subsets, named, &versions);
    let mut notes = Vec::new();
    let mut objects = Vec::new();
    if !versions.is_labelled {
        notes.push(labelling(&workload, &versions));
    }
    if !missing.is_empty() {
        objects.push(stable_routes::rule(ground, &stable.host, &missing));
    }
    let name = stable_routes::name(ground);
    let is_defined = !missing.iter().any(|subset| subset.name == names.stable);
    match (named, &routing) {
        // Nothing but stable is reached through these routes, whatever else the Service selects.
        (Some(_), Some(routing)) => {
            match workload.like(ground.deployments, &canary_labels, &versions, wanted)? {
                Some(copy) => {
                    let scaled = workload.autoscalers(ground.autoscalers, copy.name());
                    objects.push(copy.object);
                    objects.extend(scaled);
                }
                None => notes.push(format!(
                    "the Deployment of {} is there already",
                    versions.canary
                )),
            }
            objects.extend(routing.with_canary(&names));
        }
        (_, routing) if is_defined && versions.is_labelled => {
            objects.push(match routing {
                Some(routing) => routing.with_canary(&names).unwrap_or_default(),
                None => stable_routes::route_to(ground, &names),
            });
            notes.push("without a subset in the route any pod of the Service gets requests, the canary's at once: first the route, then the Deployment, which the same command prints".to_owned());
        }
        _ => notes.extend([
            "without a subset in the route any pod of the Service gets requests, the canary's at once: first the subsets; then wait until every proxy has them:".to_owned(),
            until_known(&stable.host, &names.stable),
            "then the route and after it the Deployment, which the same command prints".to_owned(),
        ]),
    }
    let (namespace, vs) = (shell_word(&name.namespace), shell_word(&name.name));
    let canary = shell_word(&names.canary);
    let next = format!("kubectl canary start {vs} -n {namespace} --canary {canary}");
    notes.push(match objects.is_empty() {
        true => format!("nothing is missing (try: {next})"),
        false => format!("at the end, once the canary's pods are ready: {next}"),
    });
    Ok(Proposal::of_objects(notes, objects))
}

/// The subsets' names.
struct SubsetNames {
    stable: String,
    canary: String,
}

/// A subset that is yet to be defined.
struct MissingSubset<'f> {
    name: String,
    labels: Labels,
    /// Whose policies it takes over.
    like: Option<&'f Subset>,
}

impl SubsetNames {
    /// Those that are defined with these labels; else stable keeps its own, and a new one is named after its
    /// version.
    fn choose(
        subsets: &[Subset],
        named: Option<&Subset>,
        versions: &VersionLabels,
        wanted: &WantedCanary,
    ) -> Result<Self, ScaffoldError> {
        let choose = |version: &str| {
            let mut defined = subsets.iter();
            let is_it = |subset: &&Subset| {
                subset.labels.get(&versions.key).map(String::as_str) == Some(version)
            };
            if let Some(subset) = defined.find(is_it) {
                return Ok(subset.name.clone());
            }
            let name = name_part(version);
            if subsets.iter().any(|subset| subset.name == name) {
                return Err(ScaffoldError::NameTaken(name));
            }
            let fits =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            match name.len() <= 63
                && !name.is_empty()
                && name.bytes().all(fits)
                && !name.starts_with('-')
                && !name.ends_with('-')
            {
                true => Ok(name),
                false => Err(ScaffoldError::NoName {
                    version: version.to_owned(),
                    is_chosen: wanted.version.is_some(),
                }),
            }
        };
        Ok(Self {
            stable: match named {
                Some(subset) => subset.name.clone(),
                None => choose(&versions.stable)?,
            },
            canary: choose(&versions.canary)?,
        })
    }

    fn missing<'f>(
        &self,
        subsets: &'f [Subset],
        named: Option<&'f Subset>,
        versions: &VersionLabels,
    ) -> Vec<MissingSubset<'f>> {
        let defined = |name: &str| subsets.iter().any(|subset| subset.name == name);
        let both = [
            (&self.stable, &versions.stable),
            (&self.canary, &versions.canary),
        ];
        both.into_iter()
            .filter(|(name, _)| !defined(name))
            .map(|(name, version)| {
                let labels = named
                    .map(|subset| subset.labels.clone())
                    .unwrap_or_default();
                MissingSubset {
                    name: name.clone(),
                    labels: with(&labels, &versions.key, version),
                    like: named,
                }
            })
            .collect()
    }
}

/// Which label tells the versions apart, and its values.
fn told_apart(
    workload: &StableDeployment<'_>,
    named: Option<&Subset>,
    selector: &Labels,
    wanted: &WantedCanary,
) -> Result<VersionLabels, ScaffoldError> {
    let labels = workload.labels();
    // What the Service asks for all its pods have.
    let of_subset = named.map(|subset| {
        let keys = subset.labels.keys();
        keys.filter(|key| !selector.contains_key(*key))
            .collect::<Vec<_>>()
    });
    let key = match of_subset.as_deref() {
        Some([key]) => Some((*key).clone()),
        Some(keys) => keys
            .iter()
            .find(|key| **key == VERSION)
            .map(|key| (*key).clone()),
        None => labels.contains_key(VERSION).then(|| VERSION.to_owned()),
    };
    let key = key.unwrap_or_else(|| VERSION.to_owned());
    if let Some(value) = selector.get(&key) {
        return Err(ScaffoldError::OneVersionOnly {
            label: format!("{key}={value}"),
            key,
        });
    }
    let carried = labels.get(&key);
    let stable = carried.cloned().unwrap_or_else(|| "v1".to_owned());
    let canary = match &wanted.version {
        Some(version) => version.clone(),
        None => next_version(&stable, workload.image(), &wanted.image)
            .ok_or_else(|| ScaffoldError::NoNextVersion(stable.clone()))?,
    };
    let is_value = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if canary.is_empty() || canary.len() > 63 || !canary.bytes().all(is_value) {
        return Err(ScaffoldError::NoLabel(canary));
    }
    if canary == stable {
        return Err(ScaffoldError::SameVersion(stable));
    }
    Ok(VersionLabels {
        is_labelled: carried.is_some(),
        key,
        stable,
        canary,
    })
}

/// How stable's pods get the label by which they are told from the canary's.
fn labelling(workload: &StableDeployment<'_>, versions: &VersionLabels) -> String {
    let labels = serde_json::json!({"spec": {"template": {"metadata": {"labels": {&versions.key: versions.stable}}}}});
    format!(
        "no label tells stable's pods from others; this one does, and replaces them one after the other: kubectl patch deployment {} -n {} -p {}",
        shell_word(workload.name()),
        shell_word(workload.namespace()),
        shell_word(&labels.to_string())
    )
}

fn with(labels: &Labels, key: &str, value: &str) -> Labels {
    let mut labels = labels.clone();
    labels.insert(key.to_owned(), value.to_owned());
    labels
}

#[cfg(test)]
mod tests;
