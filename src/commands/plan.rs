//! `plan`: what every step would change, and what would go wrong.

use std::time::Duration;

use clap::Args;

use super::rollout_args::RolloutArgs;
use crate::cluster::{Cluster, DryRun};
use crate::context::Context;
use crate::discovery::{ReadyRollout, prepare};
use crate::error::CommandError;
use crate::istio::{Selection, VirtualService};
use crate::plan::Finding;
use crate::report::PlanView;
use crate::rollout::{Intent, ObjectName, Phase};

/// What `plan` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct PlanArgs {
    /// What to roll out, and how.
    #[command(flatten)]
    pub rollout: RolloutArgs,
    /// Must be "none", "client", or "server". If server, submit every step without persisting it.
    #[arg(long, value_name = "STRATEGY", default_value = "none", default_missing_value = "client", num_args = 0..=1, require_equals = true)]
    pub dry_run: DryRun,
}

/// How long all that is read may take together, so that a plan is there in ten seconds whatever the
/// cluster is like. What has no answer by then is a finding; `start` waits for each.
const READS: Duration = Duration::from_secs(9);

/// Describes the rollout that `start` would begin with the same arguments.
///
/// RBAC: as `start`, less `leases`; with a server dry run also `patch` on `virtualservices`.
///
/// # Errors
/// If the rollout cannot even be described.
pub async fn plan(context: &mut Context<'_>, args: &PlanArgs) -> Result<PlanView, CommandError> {
    let request = args.rollout.resolve(context)?;
    let asked = ObjectName {
        namespace: request.namespace.clone(),
        name: request.name.clone(),
    };
    let patient = context.cluster.clone();
    context.cluster = patient.clone().within(READS);
    let prepared = prepare(context, request).await;
    context.cluster = patient;
    let mut prepared = prepared?;
    if args.dry_run == DryRun::Server {
        ask_server(context, &mut prepared).await;
    }
    let ReadyRollout {
        group,
        rollout,
        left_behind,
        forecast,
        address_source,
        findings,
        ..
    } = prepared;
    let selection = Selection {
        stable: rollout.stable.clone(),
        canary: rollout.canary.clone(),
        splits: rollout.routes.clone(),
        left_behind,
    };
    let view = PlanView::of(&group.lead, &selection, &rollout.plan, findings);
    let companions: Vec<_> = group.members(&rollout).collect();
    Ok(view
        .with_companions(&selection, &companions)
        .with_forecast(forecast)
        .with_address_source(address_source)
        .with_arguments(&asked, args.rollout.words()))
}

/// Sends every step's patch without storing it.
async fn ask_server(context: &Context<'_>, prepared: &mut ReadyRollout) {
    let now = context.clock.now();
    let cluster = context.cluster.clone().with_dry_run(DryRun::Server);
    for step in prepared.first..prepared.rollout.plan.step_count() {
        let exposure = prepared.rollout.plan.exposure(step);
        let intent = Intent::State(Box::new(prepared.rollout.at_step(
            step,
            Phase::Progressing,
            now,
        )));
        let lead = &prepared.group.lead;
        let mut findings = vec![ask(&cluster, lead, &intent, &exposure.to_string()).await];
        for (companion, vs) in prepared.group.members(&prepared.rollout) {
            let intent = intent.of_companion(lead, companion);
            let step = format!("{exposure} of {}", vs.full_name());
            findings.push(ask(&cluster, vs, &intent, &step).await);
        }
        prepared.findings.extend(findings);
    }
}

async fn ask(cluster: &Cluster, vs: &VirtualService, intent: &Intent, step: &str) -> Finding {
    match intent.patch(vs) {
        Err(error) => Finding::refuse(error.to_string(), "the step would be rejected", ""),
        Ok(patch) => match cluster.patch(vs, patch).await {
            Ok(_) => Finding::ok(format!("the API server accepts the step at {step}")),
            Err(error) => Finding::refuse(
                error.to_string(),
                format!("the step at {step} would be rejected"),
                "",
            ),
        },
    }
}
