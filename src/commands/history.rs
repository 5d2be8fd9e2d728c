//! `history` and `report`: what is kept of the runs of an object.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use crate::context::{Context, object_name};
use crate::error::CommandError;
use crate::history::{RunRecord, StateDirectory, copies};
use crate::istio::VirtualService;
use crate::plan::Percent;
use crate::report::{Period, RunList, RunReport};
use crate::rollout::{LastRollout, ObjectName, Segment};

/// What `history` takes.
#[derive(Args, Clone, Debug)]
pub struct HistoryArgs {
    /// The VirtualService.
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// What `report` takes.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// The VirtualService.
    #[arg(value_name = "NAME", required_unless_present = "from_events")]
    pub name: Option<String>,
    /// The run, as `history` names it; if omitted, the last.
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// Read the run from this file that `--events` wrote, without a cluster.
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    pub from_events: Option<PathBuf>,
}

/// Records that were found, and what kept others from being read.
pub(super) struct Found {
    pub records: Vec<RunRecord>,
    problems: Vec<String>,
}

/// The runs of an object, from this machine and from the cluster; and what could not be read.
///
/// RBAC: `get` on `configmaps`; without it, those of this machine. `get` on `virtualservices`, for the end of a
/// run that nobody recorded.
///
/// # Errors
/// If there is none.
pub async fn history(
    context: &Context<'_>,
    args: &HistoryArgs,
    directory: Option<&StateDirectory>,
) -> Result<(RunList, Vec<String>), CommandError> {
    let object = object_in(context, &args.name)?;
    let found = records(context, &object, directory).await;
    if found.records.is_empty() {
        return Err(nothing(&object, &found.problems));
    }
    let list = RunList::of(&object.namespace, &object.name, &found.records);
    Ok((list, found.problems))
}

/// One run of an object; and what could not be read.
///
/// RBAC: as [`history`].
///
/// # Errors
/// If there is no such run.
pub async fn report(
    context: &Context<'_>,
    args: &ReportArgs,
    directory: Option<&StateDirectory>,
) -> Result<(RunReport, Vec<String>), CommandError> {
    let object = object_in(context, args.name.as_deref().unwrap_or_default())?;
    let Found { records, problems } = records(context, &object, directory).await;
    let is_asked = |record: &&RunRecord| {
        let run = args.run.as_deref();
        run.is_none_or(|run| run == record.run())
    };
    let newest = records
        .iter()
        .filter(is_asked)
        .max_by_key(|record| record.began());
    match (newest, &args.run) {
        (Some(record), _) => Ok((RunReport::of(record), problems)),
        (None, Some(run)) if !records.is_empty() => Err(CommandError::Usage(format!(
            "{object} has no record of run {run:?} (try: kubectl canary history {} -n {})",
            object.name, object.namespace
        ))),
        (None, _) => Err(nothing(&object, &problems)),
    }
}

/// One run from a file of events.
///
/// # Errors
/// If the file cannot be read, or is not of one run.
pub fn report_of_events(args: &ReportArgs) -> Result<RunReport, CommandError> {
    let path = args.from_events.clone().unwrap_or_default();
    let text = std::fs::read(&path).map_err(|source| CommandError::Io {
        what: format!("cannot read {}", path.display()),
        source,
    })?;
    RunRecord::read(&String::from_utf8_lossy(&text), args.run.as_deref())
        .map(|record| RunReport::of(&record))
        .map_err(|error| CommandError::Usage(format!("{}: {error}", path.display())))
}

/// A run that is over, as far as it was recorded, in a period.
pub(super) struct RecordedRun {
    /// Its id.
    pub run: String,
    /// Stable and canary, where the record knows them.
    pub versions: Option<(String, String)>,
    /// What the canary got in the period, from when on.
    pub exposures: Vec<Segment>,
    /// The part of the period that lies in the run.
    pub period: Period,
}

impl RecordedRun {
    /// The run that is asked for, or that the period has most of; its end is that of the run at the latest.
    ///
    /// # Errors
    /// If a run was asked for that is not on record, or lies outside the period.
    pub async fn find(
        context: &Context<'_>,
        vs: &VirtualService,
        directory: Option<&StateDirectory>,
        run: Option<&str>,
        (from, to): (Option<Timestamp>, Timestamp),
    ) -> Result<Option<Self>, CommandError> {
        let object = ObjectName::of(vs);
        let found = records(context, &object, directory).await;
        let parts = found.records.iter().filter_map(|record| {
            let is_asked = run.is_none_or(|run| run == record.run());
            is_asked.then(|| Self::of(record, from, to)).flatten()
        });
        let most = parts.max_by_key(|part| part.period.to.duration_since(part.period.from));
        match (most, run) {
            (None, Some(run)) => Err(CommandError::Usage(format!(
                "{object} has no record of weights of run {run:?} in that time (try: kubectl canary history {} -n {})",
                object.name, object.namespace
            ))),
            (most, _) => Ok(most),
        }
    }

    fn of(record: &RunRecord, from: Option<Timestamp>, to: Timestamp) -> Option<Self> {
        let mut exposures = record.exposures();
        let began = exposures.first()?.since;
        let from = from.map_or(began, |from| from.max(began));
        let to = record.end().map_or(to, |(ended, _)| ended.min(to));
        exposures.retain(|segment| segment.since < to);
        // Alone it has nothing to be compared with.
        let mut to = to;
        while let Some(last) = exposures.pop_if(|last| last.exposure.share() == Percent::HUNDRED) {
            to = last.since;
        }
        if from >= to {
            return None;
        }
        if let Some(first) = exposures.iter().rposition(|segment| segment.since <= from) {
            exposures.drain(..first);
            exposures[0].since = from;
        }
        let versions = record.versions();
        Some(Self {
            run: record.run().to_owned(),
            versions: versions.map(|(stable, canary)| (stable.to_owned(), canary.to_owned())),
            exposures,
            period: Period { from, to },
        })
    }
}

fn object_in(context: &Context<'_>, name: &str) -> Result<ObjectName, CommandError> {
    Ok(ObjectName {
        namespace: context.namespace.clone(),
        name: object_name(name)?.to_owned(),
    })
}

/// What this machine and the cluster have, each run once.
pub(super) async fn records(
    context: &Context<'_>,
    object: &ObjectName,
    directory: Option<&StateDirectory>,
) -> Found {
    let mut found = Found {
        records: Vec::new(),
        problems: Vec::new(),
    };
    let here = directory.map(|directory| directory.records(object));
    match here.transpose() {
        Ok(here) => found.take(here.into_iter().flatten()),
        Err(error) => found
            .problems
            .push(format!("this machine's records: {error}")),
    }
    match copies(&context.cluster, object).await {
        Ok(copies) => found.take(copies),
        Err(error) => found.problems.push(error.to_string()),
    }
    // A process that ended a run may have left no record of it; the object has one of the last.
    let vs = context
        .cluster
        .virtual_service(&object.namespace, &object.name);
    if !found.records.is_empty()
        && let Ok(vs) = vs.await
        && let Ok(Some(last)) = LastRollout::read(&vs)
    {
        for record in &mut found.records {
            record.add_end(&last);
        }
    }
    found
}

impl Found {
    fn take(&mut self, records: impl IntoIterator<Item = Result<RunRecord, String>>) {
        for record in records {
            let record = match record {
                Ok(record) => record,
                Err(problem) => {
                    self.problems.push(problem);
                    continue;
                }
            };
            let mut known = self.records.iter_mut();
            match known.find(|known| known.run() == record.run()) {
                Some(known) => known.merge(record),
                None => self.records.push(record),
            }
        }
    }
}

fn nothing(object: &ObjectName, problems: &[String]) -> CommandError {
    let mut why = format!("no run of {object} is recorded here or in the cluster");
    for problem in problems {
        why += "; ";
        why += problem;
    }
    CommandError::Usage(format!(
        "{why} (try: kubectl canary status {} -n {})",
        object.name, object.namespace
    ))
}
