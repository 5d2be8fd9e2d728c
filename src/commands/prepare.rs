//! From what was asked to a rollout that could start: everything decided, nothing moved.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::additions::{additions, unseen_copies};
use super::company::Company;
use super::environment::object_name;
use super::handover::object_to_change;
use super::judge::weighs_durations;
use super::past::{Before, Depth, before, recent};
use super::state::is_under_way;
use super::{CommandError, Environment};
use crate::cluster::Subset;
use crate::metrics::{Counted, MetricSource, MetricsError, Targets};
use crate::plan::{
    Finding, Forecast, HumanDuration, Options, Percent, Plan, PlanFile, Rung, shell_word,
};
use crate::preflight::{Proposal, Question, Samples, Surroundings, inspect};
use crate::record::Rollout;
use crate::traffic::{Choice, Split, VersionsError, VirtualService, Wanted};

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
    /// The namespace given by flag, which wins over the plan file's.
    #[arg(skip)]
    pub namespace: Option<String>,
}

/// A rollout that could start.
#[derive(Debug)]
pub struct Prepared {
    /// The object as it is.
    pub vs: VirtualService,
    /// The objects that move with it, in order.
    pub companions: Vec<VirtualService>,
    /// The rollout, its first step still to be taken.
    pub rollout: Rollout,
    /// The first step.
    pub first: usize,
    /// Steps that the canary's share is above already.
    pub skipped: Vec<Rung>,
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
    /// What is to be expected of the plan, if that is known.
    pub forecast: Option<Forecast>,
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
    /// The words after a command's name and the object's that say the same again.
    pub(super) fn words(&self) -> String {
        let file = self
            .filename
            .as_ref()
            .map(|path| path.display().to_string());
        let file = file.map(|file| format!("-f {}", shell_word(&file)));
        let words: Vec<_> = file.into_iter().chain([self.options.flags()]).collect();
        words.join(" ").trim_end().to_owned()
    }

    /// The object's name, its namespace and the options, flags before the file.
    pub(super) fn resolve(
        &self,
        environment: &Environment<'_>,
    ) -> Result<(String, String, Options), CommandError> {
        let mut options = self.options.clone();
        let (mut name, mut namespace) = (self.name.clone(), environment.namespace.clone());
        if let Some(path) = &self.filename {
            let plan = plan_file(path)?;
            options = options.or(plan.spec);
            name = name.or(plan.metadata.name);
            if let Some(given) = self.namespace.clone().or(plan.metadata.namespace) {
                namespace = given;
            }
        }
        let name = name.ok_or_else(|| {
            CommandError::Usage("which VirtualService? (try: kubectl canary start NAME, or metadata.name in the plan file)".into())
        })?;
        Ok((object_name(&name)?.to_owned(), namespace, options))
    }
}

/// Reads a plan file; `-` is standard input.
///
/// # Errors
/// If it cannot be read, or is no plan of this version.
pub(super) fn plan_file(path: &Path) -> Result<PlanFile, CommandError> {
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
    PlanFile::parse(&text).map_err(|source| CommandError::PlanFile { file, source })
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
        .map_err(CommandError::unreadable)?;
    let mut handed_over = Vec::new();
    let (vs, routes) = object_to_change(environment, vs, routes, &mut handed_over).await?;
    if let Some(rollout) = Rollout::read(&vs)? {
        return Err(is_under_way(&vs, &rollout));
    }
    let surroundings = Surroundings::look(&environment.cluster, &vs).await;
    let subsets = surroundings.subsets();
    let defined = subsets.iter();
    let defined: Vec<_> = defined
        .map(|subset| (subset.host.clone(), subset.name.clone()))
        .collect();
    let wanted = Wanted {
        stable: stable.as_deref(),
        canary: canary.as_deref(),
        routes: &routes,
        subsets: &defined,
        add: options.add_destination,
    };
    let choice = match wanted.choose(&vs) {
        Ok(choice) => choice,
        Err(error @ VersionsError::OneVersion { .. }) => {
            let proposal = surroundings.propose(&environment.cluster, &vs, &routes);
            return Err(nothing_to_shift(&vs, error, proposal.await));
        }
        Err(error) => return Err(error.into()),
    };
    let fitted = choice.fitted(&vs, &plan, options.fine_weights);
    let choice = fitted.map_err(|source| CommandError::Split {
        object: vs.full_name(),
        source: Box::new(source),
    })?;
    let company = Company::gather(environment, &vs, &options, &plan, &choice).await?;
    let mut left_behind = choice.left_behind.clone();
    left_behind.extend(company.left_behind());
    let (mut rollout, first, skipped) =
        first_step(environment, &vs, plan, choice.clone(), &company)?;
    let question = Question {
        vs: &vs,
        choice: &choice,
        ignore_owner: options.ignore_owner.unwrap_or(false),
        now: environment.clock.now(),
    };
    let mut facts = surroundings.gather(&environment.cluster, question).await;
    let targets = facts.targets().ok();
    let targets = targets.map(|targets| targets.counting(rollout.counted()));
    let before = match &targets {
        Some(targets) => {
            let (before, samples) =
                look_back(environment, metrics.as_ref(), targets, &rollout).await;
            facts.samples = Some(samples);
            before
        }
        None => None,
    };
    facts.now = environment.clock.now();
    let mut findings = handed_over;
    findings.extend(inspect(&facts));
    findings.extend(additions(&vs, &rollout));
    let samples = facts
        .samples
        .as_ref()
        .and_then(|samples| samples.as_ref().ok());
    findings.extend(samples.and_then(|samples| unseen_copies(&rollout.plan, samples)));
    let of_company = company.inspect(environment, (&vs, &rollout), &facts, &findings);
    findings.extend(of_company.await);
    let workloads = facts.canary_workloads();
    let (youngest, canary_pods) = (workloads.youngest, workloads.pods);
    // How often Prometheus scrapes decides how often to look and how long a step takes at least.
    if let Some(scrape) = before.as_ref().and_then(|before| before.scrape) {
        rollout.plan = Plan::measured(options, scrape)?;
    }
    rollout.past = before.as_ref().map(|before| before.depth);
    let forecast = forecast(&rollout, first, before.as_ref());
    findings.extend(
        forecast
            .as_ref()
            .and_then(|forecast| forecast.finding(&rollout.plan)),
    );
    rollout.holder = environment.holder();
    Ok(Prepared {
        vs,
        companions: company.into_objects(),
        rollout,
        first,
        skipped,
        left_behind,
        subsets,
        canary_pods,
        targets,
        youngest,
        before,
        forecast,
        findings,
    })
}

/// The past of the stable version, and what a preflight has to know of it.
///
/// The past ends where the rollout began, not when this is asked: a run that is resumed, and whoever
/// replays this one, look at the same.
async fn look_back(
    environment: &Environment<'_>,
    metrics: &dyn MetricSource,
    targets: &Targets,
    rollout: &Rollout,
) -> (Option<Before>, Result<Samples, MetricsError>) {
    let now = environment.clock.now();
    let durations = weighs_durations(&rollout.plan);
    let (before, recent) = futures::join!(
        before(metrics, targets, rollout.began, durations, Depth::AsNeeded),
        recent(metrics, targets, now)
    );
    let recent = recent.ok();
    let samples = before.as_ref().map(|before| Samples {
        counted: targets.counted(),
        source: metrics.name(),
        series: before.series,
        // An answer that came once is enough; what is not known of its age is not held against it.
        newest: recent.and_then(|recent| recent.newest),
        callees_report: recent.is_none_or(|recent| recent.callees_report),
        scrape: before.scrape.map(HumanDuration::signed),
    });
    let samples = samples.map_err(Clone::clone);
    (before.ok(), samples)
}

fn forecast(rollout: &Rollout, first: usize, before: Option<&Before>) -> Option<Forecast> {
    let shared = rollout.all_routes().map(Split::shared).min()?;
    let mut plan = rollout.plan.clone();
    // Nobody measures how long a connection takes to answer.
    plan.judgement.ignore_latency |= rollout.counted() == Counted::Connections;
    Forecast::of(&plan, before?.traffic?, first, shared)
}

fn first_step(
    environment: &Environment<'_>,
    vs: &VirtualService,
    plan: Plan,
    choice: Choice,
    company: &Company,
) -> Result<(Rollout, usize, Vec<Rung>), CommandError> {
    let rollout = Rollout::new(
        environment.run.clone(),
        environment.holder(),
        plan,
        (choice.stable, choice.canary, choice.splits),
        environment.clock.now(),
    )
    .with_companions(company.companions());
    let share = rollout.original_share();
    let steps = rollout.plan.steps.as_slice();
    // A step that equals the share is judged before the next one is taken.
    let first = steps
        .iter()
        .position(|step| step.weight >= share)
        .unwrap_or(steps.len() - 1);
    let skipped: Vec<_> = steps[..first].iter().copied().map(Rung::from).collect();
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
    company.check_step(steps[first].weight)?;
    Ok((rollout, first, skipped))
}

/// The error, and with it what to apply, where that can be told.
fn nothing_to_shift(
    vs: &VirtualService,
    error: VersionsError,
    proposal: Option<Proposal>,
) -> CommandError {
    match proposal {
        None => error.into(),
        Some(proposal) => CommandError::NothingToShift {
            name: vs.name().to_owned(),
            namespace: vs.namespace().to_owned(),
            source: Box::new(error),
            proposal: Box::new(proposal),
        },
    }
}
