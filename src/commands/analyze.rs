//! `analyze`: one verdict, now or over a time that has passed; nothing is moved.
//!
//! The windows of that time are fed to the machine that decides rollouts, so a rollout that is
//! replayed comes to the evidence of the process that lived through it.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::history::RecordedRun;
use super::rollout_args::RolloutArgs;
use crate::context::Context;
use crate::discovery::{PastTime, RolloutRequest, VersionFacts, before, past_of, search_from};
use crate::driver::{analysis_of, collector};
use crate::error::CommandError;
use crate::history::StateDirectory;
use crate::istio::{Split, VirtualService, select_versions};
use crate::metrics::{MetricsError, MetricsWarning};
use crate::plan::{AddressSource, Exposure, HumanDuration, Options, Percent, Plan, Step, Steps};
use crate::preflight::PrometheusSearch;
use crate::report::{AnalysisView, Period};
use crate::rollout::{
    EventKind, Machine, Reason, Rollout, Segment, StopAt, Unusable, VersionCounts,
};
use crate::verdict::Verdict;
use crate::verdict::sequential::Evidence;

/// The longest that Prometheus may take for a day of samples.
const DEADLINE: Duration = Duration::from_secs(30);

/// What `analyze` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Analyze {
    /// What to judge, and how; while a rollout is under way, its own plan says how.
    #[command(flatten)]
    pub rollout: RolloutArgs,
    /// Analyze the period since this long ago.
    #[arg(
        long,
        value_name = "DURATION",
        conflicts_with = "from",
        help_heading = "Period"
    )]
    pub since: Option<HumanDuration>,
    /// Start of the period to analyze, such as 2026-01-01T12:00:00Z.
    #[arg(long, value_name = "TIME", help_heading = "Period")]
    pub from: Option<Timestamp>,
    /// End of the period to analyze [default: now].
    #[arg(long, value_name = "TIME", help_heading = "Period")]
    pub to: Option<Timestamp>,
    /// Analyze this run, which history lists, at the weights that it set [default of --from and --to: its own
    /// time].
    #[arg(long, value_name = "RUN", help_heading = "Period")]
    pub run: Option<String>,
}

/// Judges the canary: the rollout under way from its beginning; a recorded run at the weights that it set; or a
/// period at the present weights.
///
/// A run is looked for in the records of `directory` and of the cluster where it is asked for, and where one
/// version has all the traffic now: then nothing but a run can have had two to compare.
///
/// RBAC: `get` on `virtualservices`; `list` on `destinationrules` and `pods`; `get` on `services`;
/// `get` on `services/proxy` in Prometheus' namespace unless it has a URL, and `list` on `services` where it is
/// looked for; `get` on `configmaps` for records.
///
/// # Errors
/// If it cannot be told what to judge. Metrics that do not answer are a verdict, no error.
pub async fn analyze(
    context: &Context<'_>,
    args: &Analyze,
    directory: Option<&StateDirectory>,
) -> Result<AnalysisView, CommandError> {
    let RolloutRequest {
        name,
        namespace,
        options,
        address_source,
    } = args.rollout.resolve(context)?;
    let options = Judging {
        is_looked_for: address_source == AddressSource::Default,
        options,
    };
    let vs = context.cluster.virtual_service(&namespace, &name).await?;
    let to = args.to.unwrap_or_else(|| context.clock.now());
    let from = args.from.or(args.since.map(|since| to - since.signed()));
    if from.is_some_and(|from| from >= to) {
        return Err(CommandError::Usage(
            "the analysis period ends before it begins (try: --from before --to)".into(),
        ));
    }
    let rollout = Rollout::read(&vs)?.filter(|rollout| match &args.run {
        Some(run) => *run == rollout.run,
        None => to > rollout.began,
    });
    if rollout.is_some() {
        check_flags(&args.rollout.options)?;
    }
    let case = match (rollout, from) {
        (Some(rollout), None) => {
            let past = PastTime::of(&rollout);
            Case::under_way(context, rollout, past, to).await?
        }
        (Some(rollout), Some(from)) => {
            let rollout = clipped(rollout, from);
            Case::under_way(context, rollout, PastTime::before(from), to).await?
        }
        (None, from)
            if args.run.is_some() || from.is_some_and(|_| is_one_sided(&vs, &options.options)) =>
        {
            let run = RecordedRun::find(context, &vs, directory, args.run.as_deref(), (from, to));
            match (run.await?, from) {
                (Some(run), _) => Case::recorded(context, &vs, options, run).await?,
                (None, from) => {
                    Case::at_rest(context, &vs, options, from.unwrap_or(to), to).await?
                }
            }
        }
        (None, Some(from)) => Case::at_rest(context, &vs, options, from, to).await?,
        (None, None) => {
            return Err(CommandError::Usage(format!(
                "no rollout is in progress on virtualservice {}, so there is no start time to analyze from (try: --since 1h, or --run with one that kubectl canary history lists)",
                vs.full_name()
            )));
        }
    };
    Ok(case.judge(context, &vs).await)
}

/// A rollout is judged by its own plan; flags that say otherwise would be ignored.
///
/// The address of Prometheus is where it can be reached from here, and no matter of the plan.
fn check_flags(flags: &Options) -> Result<(), CommandError> {
    let flags = Options {
        prometheus: None,
        ..flags.clone()
    };
    if flags == Options::default() {
        return Ok(());
    }
    Err(CommandError::Usage(format!(
        "{} has no effect on a rollout in progress, which is judged by its own plan (try: without it)",
        flags.flags()
    )))
}

/// Whether one of the two versions has all the traffic now, so that there is nothing to compare.
fn is_one_sided(vs: &VirtualService, options: &Options) -> bool {
    let (stable, canary) = (options.stable.as_deref(), options.canary.as_deref());
    let selected = select_versions(vs, stable, canary, &options.route, &[]);
    selected.map_or(true, |selection| {
        let mut shares = selection.splits.iter().map(Split::original_share);
        shares.all(|share| share == Percent::ZERO || share == Percent::HUNDRED)
    })
}

/// The rollout as if it had begun at `from`, at the weight that it had then.
fn clipped(mut rollout: Rollout, from: Timestamp) -> Rollout {
    let before = rollout
        .history
        .iter()
        .rposition(|segment| segment.since <= from);
    if let Some(before) = before {
        rollout.history.drain(..before);
        rollout.history[0].since = from;
    }
    rollout
}

/// How versions at rest are judged.
struct Judging {
    options: Options,
    /// Whether nobody said where Prometheus is.
    is_looked_for: bool,
}

/// What is to be judged.
struct Case {
    rollout: Rollout,
    versions: VersionFacts,
    /// Why stable's history could not be read, if so.
    no_history: Option<MetricsError>,
    under_way: bool,
    /// The run, if it is one's.
    run: Option<String>,
    /// Where the metrics are, if that was found.
    prometheus: Option<String>,
    /// What the canary gets, or got last.
    exposure: Exposure,
    period: Period,
}

/// What came of it.
struct Judged {
    verdict: Verdict,
    reasons: Vec<Reason>,
    warnings: Vec<MetricsWarning>,
    step_counts: Option<VersionCounts>,
    total_counts: Option<VersionCounts>,
    evidence: Option<Evidence>,
}

impl Case {
    /// A rollout from its present first stage on, with what is known of its past.
    async fn under_way(
        context: &Context<'_>,
        rollout: Rollout,
        past: PastTime,
        to: Timestamp,
    ) -> Result<Self, CommandError> {
        let first = rollout.history.first();
        let from = first.map_or(past.until, |segment| segment.since);
        let mut versions = VersionFacts::read(context, &rollout).await?;
        let before = past_of(context, &rollout, &versions.targets, past).await?;
        (versions.history, versions.reading) = before;
        Ok(Self {
            run: Some(rollout.run.clone()),
            prometheus: None,
            exposure: rollout.exposure(),
            rollout,
            versions,
            no_history: None,
            under_way: true,
            period: Period { from, to },
        })
    }

    /// Two versions at weights that no rollout moves, judged as the last step before 100 % would be.
    async fn at_rest(
        context: &Context<'_>,
        vs: &VirtualService,
        options: Judging,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Self, CommandError> {
        let mut case = Self::between(context, vs, options, Period { from, to }).await?;
        let weight = case.rollout.original_share();
        if weight > Percent::ZERO && weight < Percent::HUNDRED {
            let segment = Segment {
                exposure: Exposure::Share(weight),
                since: from,
            };
            case.compare(vec![segment]);
        }
        Ok(case)
    }

    /// A run that is over, at the weights that it set.
    async fn recorded(
        context: &Context<'_>,
        vs: &VirtualService,
        mut judging: Judging,
        run: RecordedRun,
    ) -> Result<Self, CommandError> {
        let RecordedRun {
            run,
            versions,
            exposures,
            period,
        } = run;
        let (stable, canary) = versions.unzip();
        let options = &mut judging.options;
        options.stable = options.stable.take().or(stable);
        options.canary = options.canary.take().or(canary);
        let to = period.to;
        let mut case = Self::between(context, vs, judging, period).await?;
        case.run = Some(run);
        // Pods that came later were not what got the requests.
        let since = &mut case.versions.canary_since;
        *since = since.filter(|since| *since < to);
        // A rollback may be within the period or just after it, and at nothing there is nothing to judge.
        let judged = exposures.iter().rev();
        let mut judged = judged.filter(|it| it.exposure.share() > Percent::ZERO);
        if let Some(last) = judged.next().or(exposures.last()) {
            case.exposure = last.exposure;
            case.compare(exposures);
        }
        Ok(case)
    }

    /// Compares at these weights, one after the other, as a step below 100 % would.
    fn compare(&mut self, exposures: Vec<Segment>) {
        let between = |segment: &&Segment| {
            let share = segment.exposure.share();
            share > Percent::ZERO && share < Percent::HUNDRED
        };
        let Some(highest) = exposures
            .iter()
            .filter(between)
            .map(|it| it.exposure.share())
            .max()
        else {
            return;
        };
        let step = |weight| Step {
            exposure: Exposure::Share(weight),
            hold: None,
            pause: false,
        };
        self.rollout.plan.steps = Steps::new(vec![step(highest), step(Percent::HUNDRED)])
            .expect("a weight between 0 and 100 % rises to 100 %");
        self.rollout.history = exposures;
    }

    /// The two versions in a period, at no weights as yet.
    async fn between(
        context: &Context<'_>,
        vs: &VirtualService,
        judging: Judging,
        period: Period,
    ) -> Result<Self, CommandError> {
        let Judging {
            mut options,
            is_looked_for,
        } = judging;
        let from = period.from;
        let (stable, canary) = (options.stable.as_deref(), options.canary.as_deref());
        let selection = select_versions(vs, stable, canary, &options.route, &[])?;
        let plan = Plan::resolve(options.clone())?;
        let whom = (selection.stable, selection.canary, selection.splits);
        let mut rollout = Rollout::new(String::new(), String::new(), plan, whom, from);
        let mut versions = VersionFacts::read(context, &rollout).await?;
        let mut prometheus = None;
        if is_looked_for {
            let default = &rollout.plan.prometheus;
            let search = search_from(context, &versions.targets, default, period.to).await;
            if let Some(several) = search.as_ref().and_then(PrometheusSearch::ambiguous) {
                return Err(CommandError::Usage(several.to_string()));
            }
            if let Some(found) = search.as_ref().and_then(PrometheusSearch::only) {
                prometheus = Some(found.address.clone());
                options.prometheus.clone_from(&prometheus);
                rollout.plan.prometheus.clone_from(&found.address);
            }
        }
        let metrics = context.metrics(&rollout.plan.prometheus)?;
        let past = before(
            metrics.as_ref(),
            &versions.targets,
            PastTime::before(from),
            &rollout.plan,
        )
        .await;
        if let Ok(Some(scrape)) = past.as_ref().map(|past| past.scrape) {
            rollout.plan = Plan::measured(options, scrape)?;
        }
        let no_history = match past {
            Ok(past) => {
                versions.history = past.history;
                versions.reading = past.reading;
                None
            }
            Err(error) => Some(error),
        };
        Ok(Self {
            run: None,
            prometheus,
            exposure: Exposure::Share(rollout.original_share()),
            rollout,
            versions,
            no_history,
            under_way: false,
            period,
        })
    }

    async fn judge(self, context: &Context<'_>, vs: &VirtualService) -> AnalysisView {
        let judged = if self.rollout.history.is_empty() {
            Judged::without(Verdict::NotEnoughData, Some(Reason::NothingToCompare))
        } else {
            self.replay(context).await.unwrap_or_else(|error| {
                let why = Reason::MetricsUnusable(error);
                Judged::without(Verdict::MetricsUnavailable, Some(why))
            })
        };
        let rollout = &self.rollout;
        AnalysisView {
            version: AnalysisView::VERSION,
            namespace: vs.namespace().to_owned(),
            name: vs.name().to_owned(),
            stable: rollout.stable.to_string(),
            canary: rollout.canary.to_string(),
            run: self.run.clone(),
            prometheus: self.prometheus.clone(),
            exposure: self.exposure,
            period: self.period,
            verdict: judged.verdict,
            step_counts: judged.step_counts,
            total_counts: judged.total_counts,
            evidence: judged.evidence,
            reasons: judged.reasons,
            warnings: judged.warnings,
        }
    }

    /// Feeds the whole period to the machine at once.
    async fn replay(&self, context: &Context<'_>) -> Result<Judged, Unusable> {
        if let Some(error) = &self.no_history {
            return Err(error.clone().into());
        }
        let (history, to) = (&self.versions.history, self.period.to);
        let metrics = match self.under_way {
            true => context.metrics_of(&self.rollout),
            false => context.metrics(&self.rollout.plan.prometheus),
        };
        let metrics = metrics.map_err(|error| Unusable::NoAnswer {
            error: "client".into(),
            message: error.to_string(),
        })?;
        let mut collector = collector(&self.rollout, &self.versions);
        let answers = collector.ask(metrics.as_ref(), to, DEADLINE).await;
        let answers = answers?;
        let mut machine = Machine::new(
            self.rollout.clone(),
            analysis_of(&self.rollout, history),
            StopAt::END,
        )
        .with_canary_since(self.versions.canary_since);
        let mut observation = collector.take(&answers, |at| machine.share_at(at));
        observation.mirrored = collector.take_mirrored(&answers, |at| machine.exposure_at(at));
        let mut judged = Judged::without(Verdict::NotEnoughData, None);
        let mut hear = |event| judged.hear(event);
        // What the machine would do about it is for its driver.
        let _ = machine.look(&observation, to, &mut hear);
        judged.step_counts = machine.total_counts().map(|_| machine.step_counts());
        judged.total_counts = machine.total_counts();
        Ok(judged)
    }
}

impl Judged {
    fn without(verdict: Verdict, why: Option<Reason>) -> Self {
        Self {
            verdict,
            reasons: why.into_iter().collect(),
            step_counts: None,
            total_counts: None,
            evidence: None,
            warnings: Vec::new(),
        }
    }

    fn hear(&mut self, event: EventKind) {
        // What else there is to hear is about driving.
        if let EventKind::Analyzed {
            verdict,
            reasons,
            evidence,
            warnings,
            ..
        } = event
        {
            self.warnings = warnings;
            self.verdict = verdict;
            self.reasons = reasons;
            self.evidence = evidence.map(|evidence| *evidence);
        } else if let EventKind::Regressed { reasons, .. } = event {
            self.verdict = Verdict::Regressed;
            self.reasons = reasons;
        } else if let EventKind::MetricsUnavailable { why, .. } = event {
            self.verdict = Verdict::MetricsUnavailable;
            self.reasons = vec![Reason::MetricsUnusable(why)];
        }
    }
}
