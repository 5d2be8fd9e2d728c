//! The objects that are to move along: found, divided and checked before anything moves.

use super::additions::additions;
use super::environment::name_with_namespace;
use super::state::is_under_way;
use super::{CommandError, Environment};
use crate::plan::{Finding, Options, Percent, Plan};
use crate::preflight::{Facts, Surroundings, inspect_companion};
use crate::record::{Companion, Rollout, route_of};
use crate::traffic::{Choice, VirtualService, Wanted};

/// What is to move along with a lead, in the order in which it was named.
#[derive(Debug, Default)]
pub(super) struct Company {
    members: Vec<(VirtualService, Choice)>,
}

impl Company {
    /// Reads every object that `options` name, and chooses the routes that hold the lead's two versions.
    ///
    /// # Errors
    /// If one cannot be read, is named twice, has a rollout or lacks such routes.
    pub(super) async fn gather(
        environment: &Environment<'_>,
        lead: &VirtualService,
        options: &Options,
        plan: &Plan,
        choice: &Choice,
    ) -> Result<Self, CommandError> {
        let mut company = Self::default();
        for asked in &options.also {
            let (namespace, name) = name_with_namespace(asked, lead.namespace())?;
            let found = environment.cluster.virtual_service(&namespace, &name);
            let vs = found.await.map_err(CommandError::unreadable)?;
            let known = company.objects().chain([lead]);
            if known.into_iter().any(|known| known.uid() == vs.uid()) {
                return Err(CommandError::Usage(format!(
                    "--also {asked}: virtualservice {} moves already (try: each object once)",
                    vs.full_name()
                )));
            }
            if let Some(rollout) = Rollout::read(&vs)? {
                return Err(is_under_way(&vs, &rollout));
            }
            let wanted = Wanted {
                add: options.add_destination,
                ..Wanted::default()
            };
            let choice = wanted.between(&vs, (&choice.stable, &choice.canary))?;
            let fitted = choice.fitted(&vs, plan, options.fine_weights);
            let choice = fitted.map_err(|source| CommandError::Split {
                object: vs.full_name(),
                source: Box::new(source),
            })?;
            company.members.push((vs, choice));
        }
        Ok(company)
    }

    fn objects(&self) -> impl Iterator<Item = &VirtualService> {
        self.members.iter().map(|(vs, _)| vs)
    }

    /// The objects, in order.
    pub(super) fn into_objects(self) -> Vec<VirtualService> {
        self.members.into_iter().map(|(vs, _)| vs).collect()
    }

    /// The objects as the lead remembers them.
    pub(super) fn companions(&self) -> Vec<Companion> {
        let members = self.members.iter();
        members
            .map(|(vs, choice)| Companion::of(vs, &choice.splits))
            .collect()
    }

    /// Routes that keep sending to stable.
    pub(super) fn left_behind(&self) -> impl Iterator<Item = String> {
        self.members.iter().flat_map(|(vs, choice)| {
            let left = choice.left_behind.iter();
            left.map(|route| route_of(route, vs))
        })
    }

    /// Whether the first step moves something on every route.
    ///
    /// # Errors
    /// The first route that is too coarse for it.
    pub(super) fn check_step(&self, step: Percent) -> Result<(), CommandError> {
        for (vs, choice) in &self.members {
            for split in &choice.splits {
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
    pub(super) async fn inspect(
        &self,
        environment: &Environment<'_>,
        lead: (&VirtualService, &Rollout),
        facts: &Facts,
        known: &[Finding],
    ) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        let companions = lead.1.also.iter();
        for ((vs, choice), companion) in self.members.iter().zip(companions) {
            let cluster = &environment.cluster;
            let around = Surroundings::look(cluster, vs).await;
            let own = around.accompany(cluster, facts, vs, choice).await;
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
                "virtualservice {} moves with {}",
                vs.full_name(),
                lead.0.full_name()
            )));
        }
        findings
    }
}
