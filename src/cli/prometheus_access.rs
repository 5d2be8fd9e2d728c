//! The login at Prometheus that a command line asks for.

use std::sync::Arc;

use super::arguments::Command;
use super::user_config::UserConfig;
use crate::error::CommandError;
use crate::metrics::{AccessError, PrometheusAccess, PrometheusFlags, TokenSource};
use crate::plan::Options;

/// Takes the login out of the command's flags, and user and password out of its address, so that neither is
/// in a plan; and hands the command what the user's own file says of the context. `cluster` gives the
/// cluster's own token.
///
/// # Errors
/// Names the flag, or the file, that cannot be followed.
pub(super) fn prometheus_access(
    command: &mut Command,
    cluster: &Arc<dyn TokenSource>,
    context: Option<&str>,
) -> Result<PrometheusAccess, CommandError> {
    if !asks_prometheus(command) {
        return Ok(PrometheusAccess::default());
    }
    let refused = |error: AccessError| CommandError::Usage(error.to_string());
    let bound = match UserConfig::read(|key| std::env::var_os(key))? {
        None => PrometheusAccess::default(),
        Some(config) => {
            let mut defaults = config.of_context(context).unwrap_or_default();
            let flags = config.flags(&defaults.login);
            let address = &mut defaults.spec.prometheus;
            let login = PrometheusAccess::of(&flags, address, Arc::clone(cluster));
            set_defaults(command, defaults.spec);
            login.map_err(refused)?
        }
    };
    Ok(given_access(command, Arc::clone(cluster))
        .map_err(refused)?
        .with_bound(bound))
}

fn asks_prometheus(command: &Command) -> bool {
    matches!(
        command,
        Command::Start(_)
            | Command::Plan(_)
            | Command::Analyze(_)
            | Command::Resume(_)
            | Command::Promote(_)
            | Command::Rbac(_)
    )
}

/// A rollout under way has its options on the object.
fn set_defaults(command: &mut Command, defaults: Options) {
    match command {
        Command::Start(start) => start.args.rollout.defaults = defaults,
        Command::Plan(plan) => plan.rollout.defaults = defaults,
        Command::Analyze(analyze) => analyze.rollout.defaults = defaults,
        Command::Rbac(rbac) => rbac.default_address = defaults.prometheus,
        _ => {}
    }
}

/// What the flags and their variables say.
fn given_access(
    command: &mut Command,
    cluster: Arc<dyn TokenSource>,
) -> Result<PrometheusAccess, AccessError> {
    let (flags, address): (&PrometheusFlags, _) = match command {
        Command::Start(start) => {
            let rollout = &mut start.args.rollout;
            rollout.address_of_environment = is_of_environment(&rollout.options.prometheus);
            (&rollout.access, &mut rollout.options.prometheus)
        }
        Command::Plan(plan) => {
            let rollout = &mut plan.rollout;
            rollout.address_of_environment = is_of_environment(&rollout.options.prometheus);
            (&rollout.access, &mut rollout.options.prometheus)
        }
        Command::Analyze(analyze) => {
            let rollout = &mut analyze.rollout;
            (&rollout.access, &mut rollout.options.prometheus)
        }
        Command::Rbac(rbac) => (&rbac.access, &mut rbac.prometheus),
        Command::Resume(resume) => {
            let prometheus = &mut resume.prometheus;
            (&prometheus.access, &mut prometheus.prometheus)
        }
        Command::Promote(promote) => {
            let prometheus = &mut promote.args.prometheus;
            (&prometheus.access, &mut prometheus.prometheus)
        }
        _ => return Ok(PrometheusAccess::default()),
    };
    PrometheusAccess::of(flags, address, cluster)
}

/// Whether the address is the one of the environment; a flag that says the same is no other.
fn is_of_environment(address: &Option<String>) -> bool {
    let set = std::env::var("KUBECTL_CANARY_PROMETHEUS_URL").ok();
    address.is_some() && *address == set
}
