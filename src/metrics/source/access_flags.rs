//! The flags by which a command logs in at Prometheus.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How to log in at Prometheus. None of it is stored on the object.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Prometheus access")]
pub struct PrometheusFlags {
    /// Login, certificates, proxy and headers in Prometheus' own schema, as promtool takes them with
    /// --http.config.file; the files in it are read again for each query.
    #[arg(
        long,
        value_name = "FILE",
        env = "KUBECTL_CANARY_PROMETHEUS_CONFIG",
        hide_env_values = true
    )]
    pub prometheus_config: Option<PathBuf>,
    /// Header of each query, such as `X-Scope-OrgID: shop`; may be repeated.
    #[arg(
        long,
        value_name = "NAME: VALUE",
        env = "KUBECTL_CANARY_PROMETHEUS_HEADER",
        hide_env_values = true,
        value_delimiter = '\n'
    )]
    pub prometheus_header: Vec<String>,
    /// Parameter of each query, such as `namespace=shop`; may be repeated.
    #[arg(
        long,
        value_name = "NAME=VALUE",
        env = "KUBECTL_CANARY_PROMETHEUS_PARAM",
        hide_env_values = true,
        value_delimiter = '\n'
    )]
    pub prometheus_param: Vec<String>,
    /// File with a bearer token, read again for each query.
    #[arg(
        long,
        value_name = "FILE",
        env = "KUBECTL_CANARY_PROMETHEUS_TOKEN_FILE",
        hide_env_values = true
    )]
    pub prometheus_token_file: Option<PathBuf>,
    /// Command that prints a bearer token or an ExecCredential, such as `oc whoami -t`; run again when the
    /// token ends or is refused. There is no shell.
    #[arg(
        long,
        value_name = "COMMAND",
        env = "KUBECTL_CANARY_PROMETHEUS_TOKEN_COMMAND",
        hide_env_values = true
    )]
    pub prometheus_token_command: Option<String>,
    /// Whose login to use: the token of the kubeconfig's user or of the pod, as OpenShift's Thanos wants it, or
    /// AWS' credentials, which sign the queries.
    #[arg(
        long,
        value_name = "WHOSE",
        env = "KUBECTL_CANARY_PROMETHEUS_LOGIN",
        hide_env_values = true
    )]
    pub prometheus_login: Option<PrometheusLogin>,
    /// Certificate authority of Prometheus, in PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "KUBECTL_CANARY_PROMETHEUS_CA",
        hide_env_values = true
    )]
    pub prometheus_ca: Option<PathBuf>,
}

/// Whose login Prometheus gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrometheusLogin {
    /// The cluster's: the bearer token that the API server gets, too.
    Cluster,
    /// A signature with the credentials that AWS' tools would use, for Amazon Managed Service for Prometheus.
    Aws,
}

impl fmt::Debug for PrometheusFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A header's value and a command's arguments may be secrets.
        f.write_str("PrometheusFlags")
    }
}
