//! `scaffold`: the objects that a rollout of an image needs and that are missing.

use clap::Args;
use serde_json::Value;

use crate::cluster::{CallError, ErrorKind};
use crate::context::{Context, object_name};
use crate::discovery::object_to_change;
use crate::error::CommandError;
use crate::istio::{Host, VirtualService};
use crate::preflight::{self, Ground, Proposal, WantedCanary, stable_of};
use crate::rollout::Rollout;

/// What `scaffold` takes.
#[derive(Args, Clone, Debug)]
pub struct Scaffold {
    /// The VirtualService, or the Service where there is none yet.
    pub name: String,
    /// The canary's image.
    #[arg(long)]
    pub image: String,
    /// The canary's version, as in its labels [default: the one after stable's].
    #[arg(long, value_name = "NAME")]
    pub version: Option<String>,
    /// The container whose image it is, where there are several.
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// The Deployment to copy, where several could be meant.
    #[arg(long, value_name = "NAME")]
    pub deployment: Option<String>,
    /// The routes concerned [default: all that send to stable].
    #[arg(long = "route", value_name = "ROUTE", value_delimiter = ',')]
    pub routes: Vec<String>,
}

/// The objects that are missing, in the shapes of those that are there. Nothing is applied.
///
/// RBAC: `get` on `virtualservices` and `services`, `list` on `destinationrules`, `deployments` and
/// `horizontalpodautoscalers`.
///
/// # Errors
/// If something cannot be read, or it cannot be told what to copy or what it would be called.
pub async fn scaffold(context: &Context<'_>, args: &Scaffold) -> Result<Proposal, CommandError> {
    let name = object_name(&args.name)?;
    let wanted = WantedCanary {
        image: args.image.clone(),
        version: args.version.clone(),
        container: args.container.clone(),
        deployment: args.deployment.clone(),
        routes: args.routes.clone(),
    };
    let (vs, wanted) = routes_of(context, name, wanted).await?;
    let refused = |source| CommandError::Scaffold {
        object: vs.as_ref().map_or_else(
            || format!("service {}/{name}", context.namespace),
            |vs| format!("virtualservice {}", vs.full_name()),
        ),
        source: Box::new(source),
    };
    let host = match &vs {
        Some(vs) => stable_of(vs, &wanted.routes).map_err(refused)?.host,
        None => Host::resolve(name, &context.namespace),
    };
    let Some((service, namespace)) = host.service() else {
        return Err(CommandError::Usage(format!(
            "{host} is no Service of this cluster, so it has no Deployment to copy"
        )));
    };
    let cluster = &context.cluster;
    let found = cluster.service(namespace, service).await?;
    let Some(found) = found else {
        return Err(CommandError::Usage(format!(
            "there is neither a virtualservice nor a service {namespace}/{service} (try: kubectl get services,virtualservices -n {namespace})"
        )));
    };
    let own = vs.as_ref().map_or(namespace, |vs| vs.namespace());
    let concerns = |json: &str| json.contains(service);
    let (rules, beside, deployments, autoscalers) = futures::try_join!(
        cluster.destination_rules(Some(namespace), concerns),
        async {
            match own == namespace {
                true => Ok(Vec::new()),
                false => cluster.destination_rules(Some(own), concerns).await,
            }
        },
        cluster.deployments(namespace),
        async { Ok(unless_hidden(cluster.autoscalers(namespace).await)?.unwrap_or_default()) },
    )?;
    let rules: Vec<Value> = rules.into_iter().chain(beside).collect();
    let ground = Ground {
        vs: vs.as_ref(),
        service: &found,
        host: host.clone(),
        rules: &rules,
        deployments: &deployments,
        autoscalers: &autoscalers,
    };
    preflight::scaffold(&ground, &wanted).map_err(refused)
}

/// The VirtualService whose routes are meant, if there is one: a root's delegate for a root.
async fn routes_of(
    context: &Context<'_>,
    name: &str,
    mut wanted: WantedCanary,
) -> Result<(Option<VirtualService>, WantedCanary), CommandError> {
    let vs = match context
        .cluster
        .virtual_service(&context.namespace, name)
        .await
    {
        Ok(vs) => vs,
        Err(error) if error.kind == ErrorKind::Missing => return Ok((None, wanted)),
        Err(error) => return Err(CommandError::unreadable(error)),
    };
    let (vs, routes) = object_to_change(context, vs, wanted.routes, &mut Vec::new()).await?;
    wanted.routes = routes;
    if let Some(rollout) = Rollout::read(&vs)? {
        return Err(crate::discovery::is_under_way(&vs, &rollout));
    }
    Ok((Some(vs), wanted))
}

/// What may be read without being needed.
fn unless_hidden<T>(read: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind == ErrorKind::Forbidden => Ok(None),
        Err(error) => Err(error),
    }
}
