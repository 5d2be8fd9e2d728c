//! From what was asked to a rollout that could start: everything decided, nothing moved.

use std::mem::discriminant;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::timeout;

use super::guard_probes::probe_guards;
use super::misnamed::misnamed;
use super::pod_sampler::PodSampler;
use super::prometheus_search::search;
use super::version_facts::{VersionFacts, counted_for};
use crate::context::Context;
use crate::discovery::{
    Baseline, ClusterSnapshot, Companions, Lookback, PastTime, SnapshotScope, before, is_under_way,
    object_to_change, recent,
};
use crate::error::CommandError;
use crate::istio::{
    Destination, Route, RouteKind, Selection, Split, VersionQuery, VersionsError, VirtualService,
};
use crate::metrics::{MetricSource, MetricsError, MetricsReading, MetricsWarning, Targets, Unit};
use crate::plan::{
    AddressSource, AnalysisKind, Finding, Forecast, HumanDuration, Options, Percent, Plan,
};
use crate::preflight::owner::controlled;
use crate::preflight::{
    PrometheusSearch, Proposal, Samples, SearchAnswer, TriedAddress, aborted, additions,
    has_other_rules, ignored, inspect, other_rules, reversal, speaks_grpc, unanalyzed, unmatched,
    unreached, unseen_copies,
};
use crate::rollout::{Group, LastRollout, Outcome, PodSummary, Rollout};
use crate::verdict::sequential::BaselineRecord;

/// What is to be rolled out, and how.
#[derive(Clone, Debug)]
pub struct RolloutRequest {
    /// The VirtualService's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Flags and plan file as one.
    pub options: Options,
    /// Where its address of Prometheus is from.
    pub address_source: AddressSource,
}

/// A rollout that could start.
#[derive(Debug)]
pub struct ReadyRollout {
    /// The objects as they are.
    pub group: Group,
    /// The rollout, its first step still to be taken.
    pub rollout: Rollout,
    /// The first step.
    pub first: usize,
    /// Whether the canary has all the traffic already, so that there is nothing to start.
    pub already_promoted: bool,
    /// Routes that keep sending to stable.
    pub left_behind: Vec<String>,
    /// What is known of the two versions, if the metrics distinguish them.
    pub versions: Option<VersionFacts>,
    /// What is to be expected of the plan, if that is known.
    pub forecast: Option<Forecast>,
    /// Where the plan's address of Prometheus is from.
    pub address_source: AddressSource,
    /// What was checked.
    pub findings: Vec<Finding>,
}

impl ReadyRollout {
    /// A rollout whose canary has all the traffic already. Nothing was checked, since nothing is to move.
    fn already_promoted(
        lead: VirtualService,
        rollout: Rollout,
        address_source: AddressSource,
        mut findings: Vec<Finding>,
    ) -> Self {
        findings.push(Finding::ok(format!(
            "{} of virtualservice {} already has all the traffic",
            rollout.canary,
            lead.full_name()
        )));
        Self {
            group: Group::of_lead(lead),
            first: rollout.plan.step_count() - 1,
            already_promoted: true,
            left_behind: Vec::new(),
            versions: None,
            forecast: None,
            address_source,
            findings,
            rollout,
        }
    }

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

/// Reads the object, decides plan, versions and first step, and checks what would go wrong.
///
/// # Errors
/// Whatever keeps the rollout from being described at all; what would go wrong later is a finding.
pub async fn prepare(
    context: &Context<'_>,
    request: RolloutRequest,
) -> Result<ReadyRollout, CommandError> {
    let RolloutRequest {
        name,
        namespace,
        mut options,
        mut address_source,
    } = request;
    let (stable, canary, routes) = (
        options.stable.clone(),
        options.canary.clone(),
        options.route.clone(),
    );
    let plan = Plan::resolve(options.clone())?;
    // An address that cannot be read is better known before anything is asked of the cluster.
    let mut metrics = context.metrics(&plan.prometheus)?;
    let vs = context
        .cluster
        .virtual_service(&namespace, &name)
        .await
        .map_err(CommandError::unreadable)?;
    let mut handed_over = Vec::new();
    let (vs, routes) = object_to_change(context, vs, routes, &mut handed_over).await?;
    if let Some(rollout) = Rollout::read(&vs)? {
        return Err(is_under_way(&vs, &rollout));
    }
    // A run that never began may be begun.
    let last = LastRollout::of_run(&vs, &context.run);
    if let Some(last) = last.filter(|last| last.outcome != Outcome::Interrupted) {
        return Err(CommandError::Preflight(vec![Finding::refuse(
            format!(
                "run {} of virtualservice {} has already ended: {}",
                last.run,
                vs.full_name(),
                last.outcome
            ),
            "a run has its id for itself",
            "another --run-id",
        )]));
    }
    let named: Vec<_> = [&stable, &canary]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let (snapshot, also) = futures::join!(
        ClusterSnapshot::look_ahead(&context.cluster, &vs, &named),
        Companions::read(context, &vs, &options)
    );
    let domain = snapshot.domain(&vs);
    let vs = vs.in_domain(&domain);
    let subsets = snapshot.subsets();
    let defined = subsets.iter();
    let defined: Vec<_> = defined
        .map(|subset| (subset.host.clone(), subset.name.clone()))
        .collect();
    let query = VersionQuery {
        stable: stable.as_deref(),
        canary: canary.as_deref(),
        routes: &routes,
        subsets: &defined,
        add: options.add_destination,
    };
    if let Some(version) = only_version(&vs, query) {
        let selection = (version.clone(), version, Vec::new());
        let rollout = new_rollout(context, plan, selection);
        return Ok(ReadyRollout::already_promoted(
            vs,
            rollout,
            address_source,
            handed_over,
        ));
    }
    let selection = match select(&vs, query) {
        Ok(selection) => selection,
        Err(error @ VersionsError::OneVersion { .. }) => {
            let ignored = options.ignore_owner.unwrap_or(false);
            if let Some(owner) = controlled(&vs, &[RouteKind::Http]).filter(|_| !ignored) {
                return Err(CommandError::Preflight(vec![owner]));
            }
            let proposal = snapshot.propose(&context.cluster, &vs, &routes);
            return Err(nothing_to_shift(&vs, error, proposal.await));
        }
        Err(error) => return Err(error.into()),
    };
    let fitted = selection.fitted(&vs, &plan, options.fine_weights);
    let selection = fitted.map_err(|source| CommandError::Split {
        object: vs.full_name(),
        source: Box::new(source),
    })?;
    let companions = Companions::gather(also, &vs, &options, &plan, &selection)?;
    let mut left_behind = selection.left_behind.clone();
    left_behind.extend(companions.left_behind());
    let chosen = selection.clone();
    let rollout = new_rollout(context, plan, (chosen.stable, chosen.canary, chosen.splits));
    let mut rollout = rollout.with_companions(companions.companions());
    if rollout.original_share() == Percent::HUNDRED {
        return Ok(ReadyRollout::already_promoted(
            vs,
            rollout,
            address_source,
            handed_over,
        ));
    }
    let first = first_step(&vs, &rollout, &companions)?;
    let question = SnapshotScope {
        vs: &vs,
        selection: &selection,
        ignore_owner: options.ignore_owner.unwrap_or(false),
        now: context.clock.now(),
    };
    let mut facts = snapshot.gather(&context.cluster, question).await;
    rollout.at_rest_since = vs.last_written();
    rollout.speaks_grpc = speaks_grpc(&facts);
    rollout.other_rules = has_other_rules(&facts, &rollout) || !left_behind.is_empty();
    let targets = facts.targets().ok();
    let targets = targets.map(|targets| counted_for(&rollout, targets));
    let mut findings = handed_over;
    let mut before = None;
    if let Some(targets) = &targets {
        let left = context.cluster.time_left().unwrap_or(Duration::MAX);
        let asked = async {
            let (past, samples) = look_back(context, metrics.as_ref(), targets, &rollout).await;
            let search = match address_source {
                AddressSource::Default => {
                    let answer = match &samples {
                        Ok(samples) if samples.series > 0 || samples.flaw.is_some() => {
                            SearchAnswer::HasSeries
                        }
                        Ok(_) => SearchAnswer::NoSeries,
                        Err(error) => SearchAnswer::Failed(error.clone()),
                    };
                    let default = (rollout.plan.prometheus.as_str(), answer);
                    search(context, targets, default, context.clock.now()).await
                }
                _ => None,
            };
            (past, samples, search)
        };
        match timeout(left, asked).await {
            Ok((past, samples, search)) => {
                (before, facts.samples) = (past, Some(samples));
                facts.search = search;
            }
            Err(_) => findings.push(unasked(metrics.as_ref())),
        }
        let found = facts.search.as_ref().and_then(PrometheusSearch::only);
        if let Some(TriedAddress { address, .. }) = found {
            metrics = context.metrics(address)?;
            address_source = AddressSource::Discovery;
            rollout.plan.prometheus.clone_from(address);
            options.prometheus = Some(address.clone());
            let (past, samples) = look_back(context, metrics.as_ref(), targets, &rollout).await;
            (before, facts.samples) = (past, Some(samples));
        }
    }
    if let (Some(Ok(samples)), Some(targets)) = (&facts.samples, &targets)
        && samples.series == 0
        && samples.flaw.is_none()
    {
        let now = context.clock.now();
        findings.extend(misnamed(metrics.as_ref(), targets, now).await);
    }
    let samples_pods = rollout.plan.samples_pods() && targets.is_some();
    if samples_pods {
        let sampler = PodSampler::new(&context.cluster, &rollout, &subsets, Vec::new());
        facts.sampled_pods = Some(sampler.survey(context.clock.now()).await);
    }
    facts.now = context.clock.now();
    findings.extend(inspect(&facts));
    if stable.is_none() && canary.is_none() {
        let versions = (&rollout.stable, &rollout.canary);
        let objects = companions.objects().chain([&vs]);
        findings.extend(objects.filter_map(|vs| reversal(vs, versions)));
    }
    findings.extend(additions(&vs, &rollout));
    findings.extend(other_rules(&facts, &rollout));
    findings.extend(unreached(&vs, &rollout));
    findings.extend(ignored(&facts, &rollout));
    findings.extend(unmatched(&vs, &rollout));
    findings.extend(aborted(&vs, &rollout));
    let samples = facts
        .samples
        .as_ref()
        .and_then(|samples| samples.as_ref().ok());
    findings.extend(samples.and_then(|samples| unseen_copies(&rollout.plan, samples)));
    findings.extend(unanalyzed(&rollout.plan, first, options.unanalyzed));
    let of_company = companions.inspect((&vs, &rollout), &facts, &findings);
    findings.extend(of_company);
    let workloads = facts.canary_workloads();
    let canary_since = workloads.youngest;
    // The scrape interval decides how often to analyze and how long a step takes at least.
    if let Some(scrape) = before.as_ref().and_then(|before| before.scrape) {
        rollout.plan = Plan::measured(options, scrape)?;
    }
    if let Some(targets) = &targets {
        let usual = rollout.plan.query_timeout.unsigned();
        let within = context.cluster.time_left().unwrap_or(usual).min(usual);
        let watched = (&rollout.plan, targets);
        let now = context.clock.now();
        findings.extend(probe_guards(metrics.as_ref(), watched, now, within).await);
    }
    rollout.lookback = before.as_ref().map(|before| before.depth);
    let record = LastRollout::baseline_for(&vs, &rollout);
    rollout.baseline = match &mut before {
        Some(before) => before.complete(record.as_ref(), &rollout),
        None => record,
    };
    findings.extend(recalled(&rollout, before.as_ref()));
    // Pods of unknown age count as new ones.
    let age = canary_since.map_or(SignedDuration::ZERO, |since| {
        rollout.began.duration_since(since)
    });
    let forecast = forecast(&rollout, first, before.as_ref(), age);
    findings.extend(
        forecast
            .as_ref()
            .and_then(|forecast| forecast.finding(&rollout.plan)),
    );
    let power = forecast.as_ref().map(|forecast| &forecast.power);
    rollout.power = power.and_then(|power| power.first().cloned());
    context.actor.known().await;
    rollout.holder = context.holder();
    let versions = targets.map(|targets| VersionFacts {
        subsets,
        targets,
        stable_pods: PodSummary::from(&facts.stable.workloads()),
        canary_pods: PodSummary::from(&workloads),
        canary_since,
        // Pods show raw samples, however Prometheus' were read.
        reading: before
            .as_ref()
            .filter(|_| !samples_pods)
            .map_or_else(MetricsReading::default, |before| before.reading.clone()),
        history: before.map_or_else(
            || BaselineRecord::alone(rollout.baseline.as_ref()),
            |before| before.history,
        ),
    });
    Ok(ReadyRollout {
        group: Group {
            lead: vs,
            companions: companions.into_objects(),
        },
        rollout,
        first,
        already_promoted: false,
        left_behind,
        versions,
        forecast,
        address_source,
        findings,
    })
}

/// The past of the stable version, and what a preflight has to know of it.
///
/// The baseline ends where the rollout began, not when this is asked, so that `resume` and `analyze`
/// see the same one.
async fn look_back(
    context: &Context<'_>,
    metrics: &dyn MetricSource,
    targets: &Targets,
    rollout: &Rollout,
) -> (Option<Baseline>, Result<Samples, MetricsError>) {
    let now = context.clock.now();
    let (before, recent) = futures::join!(
        before(
            metrics,
            targets,
            PastTime {
                depth: Lookback::AsNeeded,
                ..PastTime::of(rollout)
            },
            &rollout.plan
        ),
        recent(metrics, targets, now)
    );
    let recent = recent.ok();
    let samples = before.as_ref().map(|before| Samples {
        counted: targets.counted(),
        source: metrics.name(),
        series: before.series,
        added_up: before.reading.added_up().map(|(_, series)| series),
        depth: before.depth.signed(),
        // An answer that came once is enough; what is not known of its age is not held against it.
        newest: recent.as_ref().and_then(|recent| recent.newest),
        callees_report: recent.as_ref().is_none_or(|recent| recent.callees_report),
        flaw: recent.as_ref().and_then(|recent| recent.flaw.clone()),
        canary_share: before.history.canary_share(),
        warnings: all_kinds(
            recent.map(|recent| recent.warnings).unwrap_or_default(),
            &before.warnings,
        ),
        scrape: before.scrape.map(HumanDuration::signed),
    });
    let samples = samples.map_err(Clone::clone);
    (before.ok(), samples)
}

/// That an earlier rollout has to say what the metrics do not.
fn recalled(rollout: &Rollout, before: Option<&Baseline>) -> Option<Finding> {
    let judged = rollout.plan.judgement.analysis == AnalysisKind::Sequential;
    let record = rollout.recalled().filter(|_| judged)?;
    let date = record.at.strftime("%Y-%m-%d");
    let covers = before.map_or(SignedDuration::ZERO, |before| before.covers);
    Some(Finding::ok(format!(
        "dispersion from the rollout of {date}: the metrics tell less ({} of {})",
        HumanDuration::from(covers).rounded(),
        rollout.stable
    )))
}

/// What is missing where there was no time for the metrics.
fn unasked(metrics: &dyn MetricSource) -> Finding {
    Finding::warn(
        format!(
            "there was not enough time to read the metrics in {}",
            metrics.name()
        ),
        "how long the steps take and what would be noticed is not known; start waits longer",
        "the same command again in a moment, or --prometheus URL, past the API server",
    )
}

/// These warnings, and of `more` those of another kind: two reads of the same metrics differ in numbers.
fn all_kinds(mut warnings: Vec<MetricsWarning>, more: &[MetricsWarning]) -> Vec<MetricsWarning> {
    let known: Vec<_> = warnings.iter().map(discriminant).collect();
    let more = more
        .iter()
        .filter(|more| !known.contains(&discriminant(more)));
    warnings.extend(more.cloned());
    warnings
}

fn forecast(
    rollout: &Rollout,
    first: usize,
    before: Option<&Baseline>,
    age: SignedDuration,
) -> Option<Forecast> {
    let shared = rollout.all_routes().map(Split::shared).min()?;
    let mut plan = rollout.plan.clone();
    // There is no histogram of how long connections take.
    plan.judgement.ignore_latency |= rollout.counted() == Unit::Connections;
    let before = before?;
    let forecast = Forecast::of(&plan, before.traffic?, first, shared)?;
    Some(forecast.with_power(&plan, &before.history, age))
}

/// The versions as they were asked for.
///
/// A route may have more versions than two, and without a name the one that has most beside the canary is
/// stable. Once the canary is promoted that is another one than before, which is not to lose its share
/// because the same command came once more. So a canary that the last rollout promoted is compared with
/// the stable version of that first.
fn select(vs: &VirtualService, query: VersionQuery<'_>) -> Result<Selection, VersionsError> {
    let last = LastRollout::read(vs).ok().flatten();
    let before = last.as_ref().and_then(|last| last.before.as_ref());
    let again = before.filter(|before| {
        let is_named = query
            .canary
            .is_some_and(|name| before.canary.is_called(name));
        is_named && query.stable.is_none()
    });
    let promoted =
        again.and_then(|before| query.between(vs, (&before.stable, &before.canary)).ok());
    let is_promoted = |selection: &Selection| {
        let mut splits = selection.splits.iter();
        splits.all(|split| split.original_share() == Percent::HUNDRED)
    };
    match promoted.filter(is_promoted) {
        Some(selection) => Ok(selection),
        None => query.select_versions(vs),
    }
}

/// The canary that was named, if every chosen route sends to it and to nothing else.
fn only_version(vs: &VirtualService, query: VersionQuery<'_>) -> Option<Destination> {
    let name = query.canary?;
    let is_chosen = |route: &&Route| {
        let mut asked = query.routes.iter();
        query.routes.is_empty() || asked.any(|asked| route.is_called(asked))
    };
    let routes = vs.routes().iter().filter(is_chosen);
    let mut versions = routes.flat_map(|route| &route.targets);
    let first = versions.next()?.destination.clone();
    let is_only =
        first.is_called(name) && versions.all(|target| target.destination.same_version(&first));
    is_only.then_some(first)
}

fn new_rollout(
    context: &Context<'_>,
    plan: Plan,
    selection: (Destination, Destination, Vec<Split>),
) -> Rollout {
    let (run, now) = (context.run.clone(), context.clock.now());
    Rollout::new(run, context.holder(), plan, selection, now)
}

/// The first step, which moves something on every route.
fn first_step(
    vs: &VirtualService,
    rollout: &Rollout,
    companions: &Companions,
) -> Result<usize, CommandError> {
    let share = rollout.original_share();
    let steps = rollout.plan.steps.as_slice();
    // A step that equals the share is judged before the next one is taken.
    let first = steps
        .iter()
        .position(|step| step.exposure.share() >= share)
        .unwrap_or(steps.len() - 1);
    for split in &rollout.routes {
        if let Some(route) = split.find(vs) {
            split
                .check_step(route, steps[first].exposure.share())
                .map_err(|source| CommandError::Split {
                    object: vs.full_name(),
                    source: Box::new(source),
                })?;
        }
    }
    companions.check_step(steps[first].exposure.share())?;
    Ok(first)
}

/// The error, and with it what to apply, where that is known.
fn nothing_to_shift(
    vs: &VirtualService,
    error: VersionsError,
    proposal: Option<Proposal>,
) -> CommandError {
    match (error, proposal) {
        (
            VersionsError::OneVersion {
                found,
                unreached,
                hint,
                ..
            },
            Some(proposal),
        ) => CommandError::NothingToShift {
            name: vs.name().to_owned(),
            namespace: vs.namespace().to_owned(),
            found: format!("{found} only{unreached}"),
            hint,
            proposal: Box::new(proposal),
        },
        (error, _) => error.into(),
    }
}
