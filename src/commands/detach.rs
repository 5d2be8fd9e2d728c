//! `start --detach`: a Job in the cluster drives, and goes on wherever it is moved to.

use std::time::Duration;

use jiff::Timestamp;

use super::resume::replace;
use super::rollout_args::RolloutArgs;
use super::start::{Start, already_promoted, start};
use super::status::marked_object;
use crate::cluster::job_manifest::CONFIG;
use crate::cluster::{JobPlan, JobStanding, ObjectEvent, Watch};
use crate::context::Context;
use crate::discovery::{ReadyRollout, RolloutRequest, prepare};
use crate::driver::{Finish, announce_start};
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::plan::{AddressSource, Finding, HumanDuration, OnSignal, PlanFile};
use crate::rollout::{EventKind, LastRollout, Outcome, Reason, Rollout};

/// How often the Job is looked at while its rollout has not begun.
const LOOK: Duration = Duration::from_secs(2);

/// How long after the last moment at which it may begin the object is still believed to tell of it.
const GRACE: Duration = Duration::from_secs(10);

/// Where the release that this program is of has pushed its image.
const IMAGE_REPOSITORY: Option<&str> = option_env!("KUBECTL_CANARY_IMAGE_REPOSITORY");

/// The image of the Job: the one that was named, or the one of the same version as this program.
fn image(named: Option<&str>, repository: Option<&str>) -> Result<String, CommandError> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return Ok(named.to_owned());
    }
    match repository.filter(|repository| !repository.is_empty()) {
        Some(repository) => Ok(format!("{repository}:{}", env!("CARGO_PKG_VERSION"))),
        None => Err(CommandError::Usage(
            "this build of kubectl-canary knows no image for the Job of --detach (try: --image IMAGE, with kubectl-canary on its PATH)".into(),
        )),
    }
}

/// What a pod of a Job did.
#[derive(Debug)]
pub enum Carried {
    /// Nothing: its rollout has ended, only the pod that ended it did not come to say so.
    Ended(Outcome),
    /// It drove.
    Driven(Box<(VirtualService, Finish)>),
}

/// A Job that drives, and the rollout as it has begun.
#[derive(Debug)]
pub struct Detached {
    /// The object.
    pub vs: VirtualService,
    /// The rollout.
    pub finish: Finish,
    /// The Job's name; `None` where the canary had all the traffic already.
    pub job: Option<String>,
}

/// Checks everything as `start` does, creates the Job and waits until the rollout has begun.
///
/// RBAC: as `start`, but no `patch`; `get` on `serviceaccounts`, `get` and `create` on `jobs`.
///
/// # Errors
/// Whatever keeps it from beginning; traffic is untouched then, and stays so.
pub async fn detach(context: &mut Context<'_>, args: &Start) -> Result<Detached, CommandError> {
    args.name_run(context);
    let image = image(args.detach.image.as_deref(), IMAGE_REPOSITORY)?;
    let RolloutRequest {
        name,
        namespace,
        mut options,
        ..
    } = args.rollout.resolve(context)?;
    // A pod that is moved to another node has its successor, who goes on from the object.
    options.on_signal = options.on_signal.or(Some(OnSignal::Hold));
    let rollout = RolloutArgs {
        name: Some(name.clone()),
        options: options.clone(),
        ..RolloutArgs::default()
    };
    let account = args.detach.service_account.as_deref();
    let account = account.unwrap_or("kubectl-canary");
    let secret = args.detach.prometheus_secret.as_deref();
    let address = options.prometheus.as_deref().unwrap_or_default();
    let access = context.prometheus.at(address);
    let access = access.job_arguments(secret.map(|_| CONFIG));
    let access = access.map_err(|error| CommandError::Usage(error.to_string()))?;
    context.namespace.clone_from(&namespace);
    let prepared = context.unless_interrupted(async |context| {
        let prepared = prepare(context, rollout.resolve(context)?).await?;
        prepared.check()?;
        let cluster = &context.cluster;
        if prepared.already_promoted {
            return Ok(prepared);
        }
        if !cluster.has_service_account(&namespace, account).await? {
            return Err(CommandError::Preflight(vec![Finding::refuse(
                format!("serviceaccount {namespace}/{account} not found"),
                "the Job would never get a pod",
                format!(
                    "kubectl canary rbac -n {namespace} --subject serviceaccount:{account} | kubectl apply -f -"
                ),
            )]));
        }
        Ok(prepared)
    })
    .await?;
    if prepared.already_promoted {
        let (vs, finish) = already_promoted(context, prepared);
        return Ok(Detached {
            vs,
            finish,
            job: None,
        });
    }
    announce_start(context, &prepared);
    // The Job has other rights, and would look for itself.
    if prepared.address_source == AddressSource::Discovery {
        options.prometheus = Some(prepared.rollout.plan.prometheus.clone());
    }
    let within = args.detach.begin_within;
    let within = within.unwrap_or(HumanDuration::minutes(2));
    let begin_by = context.clock.now() + within.signed();
    let job = JobPlan {
        namespace: &namespace,
        name: &name,
        run: &prepared.rollout.run,
        image: &image,
        service_account: account,
        plan: &PlanFile::of(&name, &namespace, options),
        access: &access,
        secret,
        begin_by,
    };
    let (job, object) = (job.job_name(), job.object());
    let object = object.map_err(std::io::Error::other)?;
    context.cluster.create_job(&namespace, &object).await?;
    let patience = within.unsigned() + GRACE;
    let begun = tokio::time::timeout(patience, begun(context, &prepared, &namespace, &job));
    let vs = begun.await.unwrap_or_else(|_| {
        Err(CommandError::Conflict(format!(
            "job {namespace}/{job} did not start the rollout of virtualservice {} within {within} and will not start it any more (try: kubectl describe job {job} -n {namespace})",
            prepared.group.lead.full_name()
        )))
    })?;
    let now = context.clock.now();
    let (rollout, outcome) = match (
        Rollout::read(&vs)?,
        LastRollout::of_run(&vs, &prepared.rollout.run),
    ) {
        (Some(rollout), _) => (rollout, Outcome::StepSet),
        (None, Some(ending)) => (prepared.rollout, ending.outcome),
        (None, None) => (prepared.rollout, Outcome::StepSet),
    };
    let mut finish = Finish::without_driving(rollout, outcome, now);
    finish.reasons = vec![Reason::DrivenByJob {
        job: format!("{namespace}/{job}"),
    }];
    Ok(Detached {
        vs,
        finish,
        job: Some(job),
    })
}

/// Waits until the object tells of the run.
async fn begun(
    context: &mut Context<'_>,
    prepared: &ReadyRollout,
    namespace: &str,
    job: &str,
) -> Result<VirtualService, CommandError> {
    let (vs, run) = (&prepared.group.lead, &prepared.rollout.run);
    let cluster = context.cluster.clone();
    let mut watch = Watch::from(&cluster, vs);
    let mut said = None;
    loop {
        let seen = tokio::select! {
            biased;
            _ = context.signals.next() => {
                return Err(CommandError::Conflict(format!(
                    "interrupted, but job {namespace}/{job} will still start the rollout (try: kubectl delete job {job} -n {namespace}, then {})",
                    Rollout::abort_command(vs)
                )));
            }
            seen = watch.next() => Some(seen),
            () = tokio::time::sleep(LOOK) => None,
        };
        match seen {
            Some(ObjectEvent::Changed(now)) if tells_of(&now, run) => return Ok(*now),
            Some(ObjectEvent::Changed(_)) => continue,
            Some(ObjectEvent::Deleted) => {
                return Err(CommandError::Conflict(format!(
                    "virtualservice {} was deleted before its rollout began",
                    vs.full_name()
                )));
            }
            None => {}
        }
        let why = match cluster.job_standing(namespace, job).await {
            Ok(JobStanding::Failed { why }) => why,
            Ok(JobStanding::Complete) => "the job has completed".to_owned(),
            Ok(JobStanding::Gone) => "it was deleted".to_owned(),
            Ok(JobStanding::UnderWay { waiting }) => {
                if let Some(why) = waiting.filter(|why| said.as_ref() != Some(why)) {
                    let text = format!("job {namespace}/{job} is not running yet: {why}");
                    said = Some(why);
                    context.emit(vs, run, EventKind::Warning { text });
                }
                continue;
            }
            // The object counts, not what is known of the Job.
            Err(_) => continue,
        };
        // It may have begun and ended between two looks.
        let now = cluster.virtual_service(vs.namespace(), vs.name()).await?;
        if tells_of(&now, run) {
            return Ok(now);
        }
        return Err(CommandError::Conflict(format!(
            "job {namespace}/{job} ended before it started the rollout of virtualservice {}: {why} (try: kubectl logs job/{job} -n {namespace})",
            vs.full_name()
        )));
    }
}

fn tells_of(vs: &VirtualService, run: &str) -> bool {
    let under_way = Rollout::read(vs).ok().flatten();
    under_way.is_some_and(|rollout| rollout.run == run) || LastRollout::of_run(vs, run).is_some()
}

/// What a pod of a Job does: begins the run that it is to drive, or goes on with it in the place of a
/// pod that died, or finds that it has ended.
///
/// RBAC: as `start`.
///
/// # Errors
/// If it is too late to begin; else as `start`.
pub async fn carry_on(
    context: &mut Context<'_>,
    args: &Start,
    begin_by: Timestamp,
) -> Result<Carried, CommandError> {
    let RolloutRequest {
        name,
        namespace,
        options,
        ..
    } = args.rollout.resolve(context)?;
    context.prometheus.set_address(options.prometheus);
    args.name_run(context);
    let run = context.run.clone();
    let vs = marked_object(context, &namespace, &name).await?;
    // A pod that was stopped before its first step has ended nothing.
    let ended = LastRollout::of_run(&vs, &run).filter(|last| last.outcome != Outcome::Interrupted);
    if let Some(ending) = ended {
        return Ok(Carried::Ended(ending.outcome));
    }
    let driven = if Rollout::read(&vs)?.is_some_and(|rollout| rollout.run == run) {
        context.namespace = namespace;
        replace(context, &name).await?
    } else {
        let now = context.clock.now();
        if begin_by < now {
            return Err(CommandError::Preflight(vec![Finding::refuse(
                format!(
                    "the rollout of virtualservice {} had to start by {begin_by}",
                    vs.full_name()
                ),
                "the command that created the Job has stopped waiting",
                format!(
                    "kubectl canary start {name} -n {namespace} --detach with a longer --begin-within"
                ),
            )]));
        }
        start(context, args).await?
    };
    Ok(Carried::Driven(Box::new(driven)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_the_one_named_or_the_one_of_this_version() {
        let of_version = concat!("images/canary:", env!("CARGO_PKG_VERSION"));
        let repository = Some("images/canary");
        assert_eq!(image(Some("mine:1"), repository).unwrap(), "mine:1");
        assert_eq!(image(None, repository).unwrap(), of_version);
        assert_eq!(image(Some(""), repository).unwrap(), of_version);
        for absent in [None, Some("")] {
            let error = image(None, absent).unwrap_err().to_string();
            assert!(error.contains("try: --image IMAGE"), "{error}");
        }
    }
}
