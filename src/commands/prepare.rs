//! From what was asked to a rollout that could start: everything decided, nothing moved.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::environment::object_name;
use super::judge::{Before, before, weighs_durations};
use super::state::is_under_way;
use super::{CommandError, Environment};
use crate::cluster::{CallError, Class, Permission, Subset, Workloads};
use crate::metrics::{Arm, MetricSource, ServiceKey, Targets};
use crate::plan::{Finding, Options, Percent, Plan, PlanFile};
use crate::record::Rollout;
use crate::traffic::{Choice, Delegate, Destination, Split, VirtualService, Wanted, delegate_of};

/// What `start` and `plan` take.
#[derive(Args, Clone, Debug, Default)]
pub struct RolloutArgs {
    /// The VirtualService: `reviews`, `vs/reviews` or `virtualservice/reviews`.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// A plan file; flags win over it. `-` reads from standard input.
    #[arg(short, long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
    /// Everything else.
    #[command(flatten)]
    pub options: Options,
}

/// A rollout that could start.
#[derive(Debug)]
pub struct Prepared {
    /// The object as it is.
    pub vs: VirtualService,
    /// The rollout, its first step still to be taken.
    pub rollout: Rollout,
    /// The first step.
    pub first: usize,
    /// Steps that the canary's share is above already.
    pub skipped: Vec<Percent>,
    /// Routes that keep sending to stable.
    pub left_behind: Vec<String>,
    /// What DestinationRules say.
    pub subsets: Vec<Subset>,
    /// How many pods the canary has.
    pub canary_pods: usize,
    /// Whom to count in the metrics, if the versions can be told apart there.
    pub targets: Option<Targets>,
    /// When the youngest pod of the canary started.
    pub youngest: Option<Timestamp>,
    /// What the stable version did so far, if the metrics tell.
    pub before: Option<Before>,
    /// What was checked.
    pub findings: Vec<Finding>,
}

impl Prepared {
    /// Fails if any finding refuses.
    ///
    /// # Errors
    /// [`CommandError::Preflight`] with every finding.
    pub fn check(&self) -> Result<(), CommandError> {
        if Finding::refuses(&self.findings) {
            return Err(CommandError::Preflight(self.findings.clone()));
        }
        Ok(())
    }
}

impl RolloutArgs {
    /// The object's name, its namespace and the options, flags before the file.
    fn resolve(
        &self,
        environment: &Environment<'_>,
    ) -> Result<(String, String, Options), CommandError> {
        let mut options = self.options.clone();
        let (mut name, mut namespace) = (self.name.clone(), environment.namespace.clone());
        if let Some(path) = &self.filename {
            let file = path.display().to_string();
            let read = if file == "-" {
                std::io::read_to_string(std::io::stdin())
            } else {
                std::fs::read_to_string(path)
            };
            let text = read.map_err(|source| CommandError::Io {
                what: format!("cannot read plan file {file}"),
                source,
            })?;
            let plan =
                PlanFile::parse(&text).map_err(|source| CommandError::PlanFile { file, source })?;
            options = options.or(plan.spec);
            name = name.or(plan.metadata.name);
            if let Some(given) = plan.metadata.namespace {
                namespace = given;
            }
        }
        let name = name.ok_or_else(|| {
            CommandError::Usage("which VirtualService? (try: kubectl canary start NAME, or metadata.name in the plan file)".into())
        })?;
        Ok((object_name(&name)?.to_owned(), namespace, options))
    }
}

/// Reads the object, decides plan, versions and first step, and checks what would go wrong.
///
/// # Errors
/// Whatever keeps the rollout from being described at all; what would go wrong later is a finding.
pub async fn prepare(
    environment: &Environment<'_>,
    args: &RolloutArgs,
) -> Result<Prepared, CommandError> {
    let (name, namespace, options) = args.resolve(environment)?;
    let (stable, canary, routes) = (
        options.stable.clone(),
        options.canary.clone(),
        options.route.clone(),
    );
    let plan = Plan::resolve(options.clone())?;
    // An address that cannot be read is better known before anything is asked of the cluster.
    let metrics = environment.metrics(&plan.prometheus)?;
    let vs = environment
        .cluster
        .virtual_service(&namespace, &name)
        .await
        .map_err(unreadable)?;
    let mut findings = Vec::new();
    let (vs, routes) = object_to_change(environment, vs, routes, &mut findings).await?;
    if let Some(rollout) = Rollout::read(&vs)? {
        return Err(is_under_way(&vs, &rollout));
    }
    let subsets = subsets_of(environment, &vs, &mut findings).await;
    let names: Vec<_> = subsets.iter().map(|subset| subset.name.clone()).collect();
    let wanted = Wanted {
        stable: stable.as_deref(),
        canary: canary.as_deref(),
        routes: &routes,
        subsets: &names,
        add: options.add_destination,
    };
    let choice = wanted.choose(&vs)?;
    let fitted = choice.fitted(&vs, &plan, options.fine_weights);
    let choice = fitted.map_err(|source| CommandError::Split {
        object: vs.full_name(),
        source: Box::new(source),
    })?;
    let left_behind = choice.left_behind.clone();
    let (mut rollout, first, skipped) = first_step(environment, &vs, plan, choice)?;
    let found = preflight(
        environment,
        &vs,
        &rollout,
        &subsets,
        metrics.as_ref(),
        &mut findings,
    )
    .await;
    let (targets, before, youngest, canary_pods) = match found {
        Some(known) => (
            Some(known.targets),
            known.before,
            known.youngest,
            known.canary_pods,
        ),
        None => (None, None, None, 0),
    };
    // How often Prometheus scrapes decides how often to look and how long a step takes at least.
    if let Some(scrape) = before.as_ref().and_then(|before| before.scrape) {
        rollout.plan = Plan::measured(options, scrape)?;
    }
    if !left_behind.is_empty() {
        findings.push(Finding::warn(
            format!(
                "{} keep sending to {}",
                left_behind.join(", "),
                rollout.stable
            ),
            "their requests do not reach the canary",
            "--route names the routes to shift",
        ));
    }
    findings.extend(additions(&vs, &rollout));
    rollout.holder = environment.holder();
    Ok(Prepared {
        vs,
        rollout,
        first,
        skipped,
        left_behind,
        subsets,
        canary_pods,
        targets,
        youngest,
        before,
        findings,
    })
}

/// The object itself, or the delegate that its chosen routes lead to; and the routes to shift there.
async fn object_to_change(
    environment: &Environment<'_>,
    vs: VirtualService,
    routes: Vec<String>,
    findings: &mut Vec<Finding>,
) -> Result<(VirtualService, Vec<String>), CommandError> {
    let Some(handover) = delegate_of(&vs, &routes)? else {
        return Ok((vs, routes));
    };
    let Delegate { namespace, name } = &handover.delegate;
    let delegate = environment
        .cluster
        .virtual_service(namespace, name)
        .await
        .map_err(unreadable)?;
    findings.push(Finding::ok(format!(
        "{} of virtualservice {} delegates to {}, which is the object that changes",
        handover.through.join(", "),
        vs.full_name(),
        delegate.full_name()
    )));
    Ok((delegate, handover.routes))
}

/// What a rollout adds to the routes besides weights, and takes away again.
fn additions(vs: &VirtualService, rollout: &Rollout) -> Vec<Finding> {
    let named = |splits: &mut dyn Iterator<Item = &Split>| {
        let routes = splits.filter_map(|split| split.find(vs));
        routes
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let routes = rollout.routes.iter();
    let added = named(&mut routes.clone().filter(|split| split.adds()));
    let scaled = named(&mut routes.filter(|split| split.scale > 1));
    let canary = &rollout.canary;
    let mut findings = Vec::new();
    if !added.is_empty() {
        findings.push(Finding::ok(format!(
            "{canary} is added to {added} with the first step; a rollback takes it out again"
        )));
    }
    if !scaled.is_empty() {
        findings.push(Finding::ok(format!(
            "the weights of {scaled} are multiplied while the rollout runs, so that they express every step"
        )));
    }
    if let Some(testers) = &rollout.plan.testers {
        findings.push(Finding::ok(format!(
            "requests with {testers} go to {canary} by a rule of its own until the rollout ends; testers are not judged before the first percent"
        )));
    }
    let steps = 0..rollout.plan.len();
    for share in steps.filter_map(|step| rollout.plan.mirrored(step)) {
        findings.push(Finding::ok(format!(
            "{share} % of the requests are mirrored to {canary} before the first percent; answers that reach nobody are not judged"
        )));
    }
    findings
}

fn first_step(
    environment: &Environment<'_>,
    vs: &VirtualService,
    plan: Plan,
    choice: Choice,
) -> Result<(Rollout, usize, Vec<Percent>), CommandError> {
    let rollout = Rollout::new(
        environment.run.clone(),
        environment.holder(),
        plan,
        (choice.stable, choice.canary, choice.splits),
        environment.clock.now(),
    );
    let share = rollout.original_share();
    let steps = rollout.plan.steps.as_slice();
    // A step that equals the share is judged before the next one is taken.
    let first = steps
        .iter()
        .position(|step| step.weight >= share)
        .unwrap_or(steps.len() - 1);
    let skipped: Vec<_> = steps[..first].iter().map(|step| step.weight).collect();
    if share == Percent::HUNDRED {
        return Err(CommandError::Conflict(format!(
            "{} of virtualservice {} has all the traffic already (try: --canary with the other version)",
            rollout.canary,
            vs.full_name()
        )));
    }
    for split in &rollout.routes {
        if let Some(route) = split.find(vs) {
            split
                .check_step(route, steps[first].weight)
                .map_err(|source| CommandError::Split {
                    object: vs.full_name(),
                    source: Box::new(source),
                })?;
        }
    }
    Ok((rollout, first, skipped))
}

/// The subsets that DestinationRules define for the hosts of `vs`; not being allowed to read them is
/// a finding, no failure.
async fn subsets_of(
    environment: &Environment<'_>,
    vs: &VirtualService,
    findings: &mut Vec<Finding>,
) -> Vec<Subset> {
    let targets = vs.routes().iter().flat_map(|route| &route.targets);
    let mut namespaces: Vec<_> = targets
        .filter(|target| target.destination.subset.is_some())
        .filter_map(|target| {
            target
                .destination
                .host
                .service()
                .map(|(_, namespace)| namespace.to_owned())
        })
        .collect();
    if !namespaces.is_empty() {
        namespaces.push(vs.namespace().to_owned());
    }
    namespaces.sort();
    namespaces.dedup();
    let mut subsets = Vec::new();
    for namespace in namespaces {
        match environment.cluster.subsets(&namespace).await {
            Ok(found) => subsets.extend(found),
            Err(error) => findings.push(unchecked(&error)),
        }
    }
    subsets
}

/// Not being allowed to read the object is a preflight's refusal like not being allowed to patch it.
fn unreadable(error: CallError) -> CommandError {
    match error.class {
        Class::Forbidden => {
            CommandError::Preflight(vec![Finding::refuse(error.to_string(), "", "")])
        }
        _ => error.into(),
    }
}

fn unchecked(error: &CallError) -> Finding {
    Finding::warn(
        error.to_string(),
        "what depends on it is not checked",
        "a role with the rules that the README lists",
    )
}

/// What a preflight learns on its way.
struct Known {
    targets: Targets,
    before: Option<Before>,
    youngest: Option<Timestamp>,
    canary_pods: usize,
}

async fn preflight(
    environment: &Environment<'_>,
    vs: &VirtualService,
    rollout: &Rollout,
    subsets: &[Subset],
    metrics: &dyn MetricSource,
    findings: &mut Vec<Finding>,
) -> Option<Known> {
    for permission in [Permission::PATCH_ROUTES, Permission::WATCH_ROUTES] {
        let what = format!(
            "{} virtualservices in namespace {}",
            permission.verb,
            vs.namespace()
        );
        match environment.cluster.may(permission, vs.namespace()).await {
            Ok(true) => findings.push(Finding::ok(format!("may {what}"))),
            Ok(false) => findings.push(Finding::refuse(
                format!("not allowed to {what}"),
                "no weight could be moved",
                "a Role with get, list, watch and patch on virtualservices",
            )),
            Err(error) => findings.push(unchecked(&error)),
        }
    }
    let (mut arms, mut youngest, mut canary_pods) = (Vec::new(), None, 0);
    for (role, version) in [("stable", &rollout.stable), ("canary", &rollout.canary)] {
        let workloads = check_version(environment, vs, role, version, subsets, findings).await;
        // The canary comes last.
        (youngest, canary_pods) = (workloads.youngest, workloads.pods);
        arms.push(arm(version, workloads));
    }
    let canary = arms.pop().unwrap_or_default();
    let stable = arms.pop().unwrap_or_default();
    let targets = match Targets::new(stable, canary) {
        Ok(targets) => targets.counting(rollout.counted()),
        Err(error) => {
            findings.push(Finding::refuse(
                error.to_string(),
                "no verdict could be reached",
                "",
            ));
            return None;
        }
    };
    let (before, finding) = check_metrics(rollout, &targets, metrics).await;
    findings.push(finding);
    Some(Known {
        targets,
        before,
        youngest,
        canary_pods,
    })
}

async fn check_version(
    environment: &Environment<'_>,
    vs: &VirtualService,
    role: &str,
    version: &Destination,
    subsets: &[Subset],
    findings: &mut Vec<Finding>,
) -> Workloads {
    if let Some(name) = &version.subset {
        let of_host: Vec<_> = subsets
            .iter()
            .filter(|subset| subset.host == version.host)
            .collect();
        if !of_host.iter().any(|subset| subset.name == *name) {
            let known: Vec<_> = of_host.iter().map(|subset| subset.name.as_str()).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            findings.push(Finding::refuse(
                format!(
                    "no DestinationRule defines subset {name} of {} (it defines {known})",
                    version.host
                ),
                "its requests would go nowhere",
                format!(
                    "a DestinationRule in namespace {} with that subset and its labels",
                    vs.namespace()
                ),
            ));
            return Workloads::default();
        }
    }
    match environment.cluster.workloads(version, subsets).await {
        Ok(workloads) => {
            let (ready, pods) = (workloads.ready, workloads.pods);
            if version.host.service().is_none() {
                findings.push(Finding::warn(
                    format!("{} is no Service of this cluster", version.host),
                    "its pods cannot be looked at",
                    "",
                ));
            } else if workloads.is_down() {
                findings.push(Finding::refuse(
                    format!(
                        "{role} {version} of {} has no ready pod ({pods} in all)",
                        version.host
                    ),
                    "its requests would fail",
                    "labels of the subset that select pods, and pods that become ready",
                ));
            } else {
                findings.push(Finding::ok(format!(
                    "{role} {version} has {ready} of {pods} pods ready"
                )));
            }
            workloads
        }
        Err(error) => {
            findings.push(unchecked(&error));
            Workloads::default()
        }
    }
}

/// What a version is called in the metrics.
pub(super) fn arm(version: &Destination, workloads: Workloads) -> Arm {
    let mut arm = Arm {
        workloads: workloads.names,
        versions: workloads.versions,
        ..Arm::default()
    };
    match version.host.service() {
        Some((name, namespace)) => {
            arm.services.insert(ServiceKey {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
            });
        }
        None => {
            arm.hosts.insert(version.host.as_str().to_owned());
        }
    }
    arm
}

async fn check_metrics(
    rollout: &Rollout,
    targets: &Targets,
    metrics: &dyn MetricSource,
) -> (Option<Before>, Finding) {
    let durations = weighs_durations(&rollout.plan);
    match before(metrics, targets, rollout.began, durations).await {
        Ok(before) if before.series == 0 => {
            let finding = Finding::warn(
                format!(
                    "{} has no {} of either version in the last half hour",
                    metrics.name(),
                    targets.counted().metric()
                ),
                "without requests there will be no verdict",
                "send traffic, or check that the proxies are scraped",
            );
            (Some(before), finding)
        }
        Ok(before) => {
            let finding = Finding::ok(format!(
                "{} has {} series of the two versions",
                metrics.name(),
                before.series
            ));
            (Some(before), finding)
        }
        Err(error) => {
            let finding = Finding::refuse(
                error.to_string(),
                "without metrics there is no verdict",
                "--prometheus URL or NAMESPACE/SERVICE:PORT",
            );
            (None, finding)
        }
    }
}
