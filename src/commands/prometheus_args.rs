//! Where Prometheus is from here, for a rollout that began elsewhere.

use clap::Args;

use crate::metrics::PrometheusFlags;

/// Where Prometheus is, and how to log in there.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Prometheus access")]
pub struct PrometheusArgs {
    /// Prometheus as it is reached from here: a URL, or NAMESPACE/SERVICE:PORT [default: the address with which
    /// the rollout was started].
    #[arg(
        long,
        value_name = "URL",
        env = "KUBECTL_CANARY_PROMETHEUS_URL",
        hide_env_values = true
    )]
    pub prometheus: Option<String>,
    /// How to log in there.
    #[command(flatten)]
    pub access: PrometheusFlags,
}
