//! The login at Prometheus that a command line asks for.

use std::sync::Arc;

use super::arguments::Command;
use crate::error::CommandError;
use crate::metrics::{PrometheusAccess, PrometheusFlags, TokenSource};

/// Takes the login out of the command's flags, and user and password out of its address, so that neither is
/// in a plan. `cluster` gives the cluster's own token.
///
/// # Errors
/// Names the flag that cannot be followed.
pub(super) fn prometheus_access(
    command: &mut Command,
    cluster: Arc<dyn TokenSource>,
) -> Result<PrometheusAccess, CommandError> {
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
        .map_err(|error| CommandError::Usage(error.to_string()))
}

/// Whether the address is the one of the environment; a flag that says the same is no other.
fn is_of_environment(address: &Option<String>) -> bool {
    let set = std::env::var("KUBECTL_CANARY_PROMETHEUS_URL").ok();
    address.is_some() && *address == set
}
