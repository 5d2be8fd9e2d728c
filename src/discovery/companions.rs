//! The objects that are to move along: found, divided and checked before anything moves.

use futures::future::join_all;

use super::snapshot::ClusterSnapshot;
use crate::cluster::Cluster;
use crate::context::{Context, name_with_namespace};
use crate::discovery::is_under_way;
use crate::error::CommandError;
use crate::istio::{Selection, VersionQuery, VirtualService};
use crate::plan::{Finding, Options, Percent, Plan};
use crate::preflight::{Facts, additions, inspect_companion};
use crate::rollout::{Companion, Rollout, route_of};

/// What is to move along with a lead, in the order in which it was named.
#[derive(Debug, Default)]
pub struct Companions {
    members: Vec<(VirtualService, Selection)>,
    around: Vec<ClusterSnapshot>,
}

/// An object that `--also` names, and what is around it.
pub type NamedObject = Result<(VirtualService, ClusterSnapshot), CommandError>;

impl Companions {
    /// Reads every object that `options` name, and what is around each.
    ///
    /// RBAC: `get` on `virtualservices`, and as a lead's.
    pub async fn read(
        context: &Context<'_>,
        lead: &VirtualService,
        options: &Options,
    ) -> Vec<NamedObject> {
        let also = options.also.iter();
        join_all(also.map(|asked| read_one(&context.cluster, asked, lead))).await
    }

    /// Chooses the routes of every object that `options` name which hold the lead's two versions.
    ///
    /// # Errors
    /// If one could not be read, is named twice, has a rollout or lacks such routes.
    pub fn gather(
        read: Vec<NamedObject>,
        lead: &VirtualService,
        options: &Options,
        plan: &Plan,
        selection: &Selection,
    ) -> Result<Self, CommandError> {
        let mut companions = Self::default();
        for (asked, read) in options.also.iter().zip(read) {
            let (vs, around) = read?;
            let known = companions.objects().chain([lead]);
            if known.into_iter().any(|known| known.uid() == vs.uid()) {
                return Err(CommandError::Usage(format!(
                    "--also {asked}: virtualservice {} is listed twice (try: each object once)",
                    vs.full_name()
                )));
            }
            if let Some(rollout) = Rollout::read(&vs)? {
                return Err(is_under_way(&vs, &rollout));
            }
            let query = VersionQuery {
                add: options.add_destination,
                ..VersionQuery::default()
            };
            let selection = query.between(&vs, (&selection.stable, &selection.canary))?;
            let fitted = selection.fitted(&vs, plan, options.fine_weights);
            let selection = fitted.map_err(|source| CommandError::Split {
                object: vs.full_name(),
                source: Box::new(source),
            })?;
            companions.members.push((vs, selection));
            companions.around.push(around);
        }
        Ok(companions)
    }

    /// The objects, in order.
    pub fn objects(&self) -> impl Iterator<Item = &VirtualService> {
        self.members.iter().map(|(vs, _)| vs)
    }

    /// The objects, in order.
    pub fn into_objects(self) -> Vec<VirtualService> {
        self.members.into_iter().map(|(vs, _)| vs).collect()
    }

    /// The objects as the lead remembers them.
    pub fn companions(&self) -> Vec<Companion> {
        let members = self.members.iter();
        members
            .map(|(vs, selection)| Companion::of(vs, &selection.splits))
            .collect()
    }

    /// Routes that keep sending to stable.
    pub fn left_behind(&self) -> impl Iterator<Item = String> {
        self.members.iter().flat_map(|(vs, selection)| {
            let left = selection.left_behind.iter();
            left.map(|route| route_of(route, vs))
        })
    }

    /// Whether the first step moves something on every route.
    ///
    /// # Errors
    /// The first route that is too coarse for it.
    pub fn check_step(&self, step: Percent) -> Result<(), CommandError> {
        for (vs, selection) in &self.members {
            for split in &selection.splits {
                let Some(route) = split.find(vs) else {
                    continue;
                };
                let fits = split.check_step(route, step);
                fits.map_err(|source| CommandError::Split {
                    object: vs.full_name(),
                    source: Box::new(source),
                })?;
            }
        }
        Ok(())
    }

    /// What would go wrong with any of them, as far as it was not `known` of the lead already.
    pub fn inspect(
        &self,
        lead: (&VirtualService, &Rollout),
        facts: &Facts,
        known: &[Finding],
    ) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        let companions = lead.1.companions.iter();
        let members = self.members.iter().zip(&self.around);
        for (((vs, selection), around), companion) in members.zip(companions) {
            let own = around.clone().accompany(facts, vs, selection);
            let mut found = inspect_companion(&own);
            let added = additions(vs, &lead.1.of_companion(lead.0, companion));
            found.extend(
                added
                    .into_iter()
                    .filter(|one| !known.contains(one))
                    .map(|one| Finding {
                        what: format!("virtualservice {}: {}", vs.full_name(), one.what),
                        ..one
                    }),
            );
            found.retain(|one| !known.contains(one) && !findings.contains(one));
            findings.extend(found);
            findings.push(Finding::ok(format!(
                "virtualservice {} is shifted together with {}",
                vs.full_name(),
                lead.0.full_name()
            )));
        }
        findings
    }
}

async fn read_one(cluster: &Cluster, asked: &str, lead: &VirtualService) -> NamedObject {
    let (namespace, name) = name_with_namespace(asked, lead.namespace())?;
    let vs = cluster.virtual_service(&namespace, &name).await;
    let vs = vs.map_err(CommandError::unreadable)?;
    let around = ClusterSnapshot::look_around(cluster, &vs).await;
    Ok((vs, around))
}
