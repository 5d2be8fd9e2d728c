//! From kubectl's own flags to a client.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::{HeaderValue, header::USER_AGENT};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::plan::HumanDuration;
use crate::root_cause::root_cause;

/// kubectl's flags for reaching a cluster; names and meaning are kubectl's.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster access")]
pub struct Connection {
    /// Path to the kubeconfig file to use.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig context to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig cluster to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The kubeconfig user to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// The namespace scope for this request.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Username to impersonate for the operation.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Group to impersonate for the operation; may be repeated.
    #[arg(long, global = true, value_name = "GROUP")]
    pub as_group: Vec<String>,
    /// UID to impersonate for the operation.
    #[arg(long, global = true, value_name = "UID")]
    pub as_uid: Option<String>,
    /// Time to wait for a single server request; 0 means 5 minutes.
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s")]
    pub request_timeout: HumanDuration,
    /// The address and port of the Kubernetes API server.
    #[arg(short, long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Server name to use for server certificate validation.
    #[arg(long, global = true, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// If true, the server's certificate will not be checked for validity.
    #[arg(long, global = true)]
    pub insecure_skip_tls_verify: bool,
    /// Path to a cert file for the certificate authority.
    #[arg(long, global = true, value_name = "FILE")]
    pub certificate_authority: Option<PathBuf>,
    /// Path to a client certificate file for TLS.
    #[arg(long, global = true, value_name = "FILE")]
    pub client_certificate: Option<String>,
    /// Path to a client key file for TLS.
    #[arg(long, global = true, value_name = "FILE")]
    pub client_key: Option<String>,
    /// Bearer token for authentication to the API server.
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<String>,
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The context does not exist.
    #[error("context {asked:?} is not in the kubeconfig (try: --context with one of {choices})")]
    UnknownContext {
        /// What was asked for.
        asked: String,
        /// What there is.
        choices: String,
    },
    /// A flag's value cannot be used.
    #[error("invalid --{flag} {value:?}: {why} (try: another --{flag})")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// The kubeconfig cannot be used.
    #[error("cannot use the kubeconfig: {0} (try: --kubeconfig FILE, or kubectl config view)")]
    Kubeconfig(String),
    /// The client cannot be built.
    #[error(
        "cannot create a client for the API server: {0} (try: kubectl version with the same flags)"
    )]
    Client(String),
}

impl Connection {
    /// The deadline of a single call. kubectl's 0 means "no limit"; nothing here waits for ever.
    pub fn deadline(&self) -> Duration {
        match self.request_timeout {
            HumanDuration::ZERO => Duration::from_secs(300),
            given => given.unsigned(),
        }
    }

    /// The API server and the context that the flags and the kubeconfig lead to, for error messages.
    pub async fn server_name(&self) -> String {
        let server = match (&self.server, self.config().await) {
            (Some(server), _) => server.clone(),
            (None, Ok(config)) => config.cluster_url.to_string(),
            (None, Err(_)) => "the API server".into(),
        };
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let current = || kubeconfig.ok()?.current_context;
        match self.context.clone().or_else(current) {
            Some(context) => format!("{} (context {context})", server.trim_end_matches('/')),
            None => server.trim_end_matches('/').to_owned(),
        }
    }

    async fn config(&self) -> Result<Config, ConnectionError> {
        let refused = |error: &KubeconfigError| {
            ConnectionError::Kubeconfig(match error {
                KubeconfigError::ReadConfig(cause, path) => {
                    format!("cannot read {}: {}", path.display(), root_cause(cause))
                }
                other => other.to_string(),
            })
        };
        let options = KubeConfigOptions {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let kubeconfig = match kubeconfig {
            Ok(kubeconfig) => kubeconfig,
            // Without any kubeconfig, inside a pod, the pod's own account serves; and with --server
            // alone there may be nothing to read.
            Err(error) if self.kubeconfig.is_none() && self.context.is_none() => {
                if let Some(server) = &self.server {
                    return Ok(Config::new(self.parse_server(server)?));
                }
                return Config::incluster().map_err(|_| refused(&error));
            }
            Err(error) => return Err(refused(&error)),
        };
        if let Some(asked) = &self.context {
            let names: Vec<_> = kubeconfig
                .contexts
                .iter()
                .map(|context| context.name.as_str())
                .collect();
            if !names.contains(&asked.as_str()) {
                return Err(ConnectionError::UnknownContext {
                    asked: asked.clone(),
                    choices: names.join(", "),
                });
            }
        }
        Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| refused(&error))
    }

    fn parse_server(&self, server: &str) -> Result<http::Uri, ConnectionError> {
        server
            .parse()
            .map_err(|error: http::uri::InvalidUri| ConnectionError::Flag {
                flag: "server",
                value: server.to_owned(),
                why: error.to_string(),
            })
    }
}

/// Makes a client that never retries by itself and says who it is.
///
/// # Errors
/// Names the flag or file that cannot be used.
pub async fn connect(
    connection: &Connection,
    run: &str,
) -> Result<(Client, String), ConnectionError> {
    let mut config = connection.config().await?;
    if let Some(server) = &connection.server {
        config.cluster_url = connection.parse_server(server)?;
    }
    if let Some(path) = &connection.certificate_authority {
        if !path.is_file() {
            return Err(ConnectionError::Flag {
                flag: "certificate-authority",
                value: path.display().to_string(),
                why: "file not found".into(),
            });
        }
        config.root_cert_file = Some(path.clone());
    }
    config.tls_server_name = connection
        .tls_server_name
        .clone()
        .or(config.tls_server_name);
    config.accept_invalid_certs |= connection.insecure_skip_tls_verify;
    let auth = &mut config.auth_info;
    auth.impersonate = connection.as_user.clone().or(auth.impersonate.take());
    auth.impersonate_uid = connection.as_uid.clone().or(auth.impersonate_uid.take());
    if !connection.as_group.is_empty() {
        auth.impersonate_groups = Some(connection.as_group.clone());
    }
    if let Some(token) = &connection.token {
        auth.token = Some(token.clone().into());
        auth.token_file = None;
    }
    if let Some(certificate) = &connection.client_certificate {
        auth.client_certificate = Some(certificate.clone());
        auth.client_certificate_data = None;
    }
    if let Some(key) = &connection.client_key {
        auth.client_key = Some(key.clone());
        auth.client_key_data = None;
    }
    // Retries are decided in one place, with a deadline and in sight of the user.
    config.default_retry = false;
    config.connect_timeout = Some(connection.deadline());
    config.headers.push((USER_AGENT, user_agent(run)));
    let namespace = connection
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    config.default_namespace.clone_from(&namespace);
    let client =
        Client::try_from(config).map_err(|error| ConnectionError::Client(error.to_string()))?;
    Ok((client, namespace))
}

/// As client-go builds it, with the run's id, which finds the run in an audit log.
fn user_agent(run: &str) -> HeaderValue {
    let text = format!(
        "kubectl-canary/v{} ({}/{}) run/{run}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("kubectl-canary"))
}
