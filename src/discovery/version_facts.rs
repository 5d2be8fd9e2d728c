//! What a driver has to know of the two versions.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::snapshot::subsets_meant;
use crate::context::Context;
use crate::error::CommandError;
use crate::istio::{Relevance, Subset};
use crate::metrics::{MetricsReading, Targets};
use crate::preflight::version_selector;
use crate::rollout::{PodSummary, Rollout};
use crate::verdict::sequential::History;

/// What is known of stable and canary, beside the rollout itself.
#[derive(Clone, Debug)]
pub struct VersionFacts {
    /// What the DestinationRules say, to find the canary's pods.
    pub subsets: Vec<Subset>,
    /// Whom to count in the metrics.
    pub targets: Targets,
    /// What runs of stable.
    pub stable_pods: PodSummary,
    /// What runs of the canary.
    pub canary_pods: PodSummary,
    /// When the youngest pod of the canary started.
    pub canary_since: Option<Timestamp>,
    /// What stable did before the rollout.
    pub history: History,
    /// How the metrics are read.
    pub reading: MetricsReading,
}

impl VersionFacts {
    /// Reads the versions of a rollout; their history is unknown as yet.
    ///
    /// # Errors
    /// If rules or pods cannot be read, or the metrics do not distinguish the versions.
    pub async fn read(context: &Context<'_>, rollout: &Rollout) -> Result<Self, CommandError> {
        let subsets = subsets(context, rollout).await?;
        let cluster = &context.cluster;
        let stable = cluster.workloads(&rollout.stable, &subsets).await?;
        let canary = cluster.workloads(&rollout.canary, &subsets).await?;
        let (stable_pods, canary_pods) = (PodSummary::from(&stable), PodSummary::from(&canary));
        let canary_since = canary.youngest;
        let targets = Targets::new(
            version_selector(&rollout.stable, stable),
            version_selector(&rollout.canary, canary),
        );
        let targets = targets.map_err(|error| CommandError::Conflict(error.to_string()))?;
        Ok(Self {
            subsets,
            targets: counted_for(rollout, targets),
            stable_pods,
            canary_pods,
            canary_since,
            history: History::unknown(),
            reading: MetricsReading::default(),
        })
    }
}

/// The versions as a rollout counts them: in its unit, of the series that are its own.
pub(super) fn counted_for(rollout: &Rollout, targets: Targets) -> Targets {
    targets
        .counting(rollout.counted())
        .within(&rollout.plan.query_scope)
        .speaking_grpc(rollout.speaks_grpc)
        .by_operation(rollout.plan.operation_label.clone())
        .failing_by(rollout.plan.failures.clone().unwrap_or_default())
        .beside(rollout.beside_weights())
}

/// The subsets that the versions of a rollout under way can be.
///
/// # Errors
/// If they cannot be listed.
async fn subsets(context: &Context<'_>, rollout: &Rollout) -> Result<Vec<Subset>, CommandError> {
    let mut namespaces = BTreeSet::from([context.namespace.clone()]);
    for version in [&rollout.stable, &rollout.canary] {
        if version.subset.is_some()
            && let Some((_, namespace)) = version.host.service()
        {
            namespaces.insert(namespace.to_owned());
        }
    }
    let hosts = [&rollout.stable, &rollout.canary].map(|version| version.host.clone());
    let relevance = Relevance::default().with_destinations(hosts);
    let around = context
        .cluster
        .visible_destination_rules(&namespaces, &relevance);
    // Without it the root namespace is taken for Istio's default, as `start` takes it.
    let (mut around, mesh) = futures::join!(around, context.cluster.mesh_config());
    let mesh = mesh.unwrap_or_default();
    match around.failed.pop() {
        Some((_, error)) => Err(error.into()),
        None => Ok(subsets_meant(
            &around.found,
            mesh.root(),
            &context.namespace,
            [&rollout.stable.host, &rollout.canary.host],
        )),
    }
}
