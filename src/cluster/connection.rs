//! From kubectl's own flags to a client.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::FutureExt;
use http::{HeaderValue, header::USER_AGENT};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use serde_json::Value;
use tokio::time::timeout;

use super::call::spoken;
use super::environment_proxy::proxy_for;
use super::exec_plugin;
use super::kubeconfig::{self, client_problem, problem};
use super::session::{Login, session};
use crate::foreign_text::{foreign_text, keep_secret, root_cause};
use crate::metrics::TokenSource;
use crate::plan::HumanDuration;

/// How long reading kubeconfig, certificates and tokens may take.
const FILES_DEADLINE: Duration = Duration::from_secs(10);
/// How long before credentials expire others are asked for.
const BEFORE_EXPIRY: SignedDuration = SignedDuration::from_secs(60);
/// How long the token of a file is used before the file is read again, as client-go does it.
const TOKEN_FILE_LASTS: SignedDuration = SignedDuration::from_secs(60);

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
    /// The kubeconfig has no such context, cluster or user.
    #[error("{flag} {asked:?} is not in the kubeconfig (try: --{flag} with one of {choices})")]
    UnknownName {
        /// The flag that names it.
        flag: &'static str,
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
    /// There are no credentials, or none that can be read.
    #[error(
        "cannot get credentials for the API server: {0} (try: kubectl version with the same flags)"
    )]
    Credentials(String),
    /// The client cannot be built.
    #[error(
        "cannot create a client for the API server: {0} (try: kubectl version with the same flags)"
    )]
    Client(String),
}

impl ConnectionError {
    /// The reason alone.
    fn why(self) -> String {
        match self {
            Self::Kubeconfig(why) | Self::Credentials(why) | Self::Client(why) => why,
            other => other.to_string(),
        }
    }
}

impl Connection {
    /// The deadline of a single call. kubectl's 0 means "no limit"; nothing here waits for ever.
    pub fn deadline(&self) -> Duration {
        match self.request_timeout {
            HumanDuration::ZERO => Duration::from_secs(300),
            given => given.unsigned(),
        }
    }

    /// What the kubeconfig calls its contexts, clusters or users, by the flag that names one; nothing where
    /// it cannot be read.
    pub fn names_in_kubeconfig(&self, flag: &str) -> Vec<String> {
        let Ok(kubeconfig) = kubeconfig::read(self.kubeconfig.as_deref()) else {
            return Vec::new();
        };
        match flag {
            "context" => kubeconfig.contexts.into_iter().map(|it| it.name).collect(),
            "cluster" => kubeconfig.clusters.into_iter().map(|it| it.name).collect(),
            "user" => kubeconfig
                .auth_infos
                .into_iter()
                .map(|it| it.name)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The API server and the context that the flags and the kubeconfig lead to, for error messages.
    pub async fn server_name(&self) -> String {
        let flags = self.clone();
        let Ok((config, context)) = off_thread(move || flags.configure()).await else {
            return "the API server".into();
        };
        name_of_server(&config, context.as_deref())
    }

    /// The context that the flags and the kubeconfig lead to; none in a pod.
    ///
    /// # Errors
    /// If the kubeconfig cannot be used.
    pub async fn context_name(&self) -> Result<Option<String>, ConnectionError> {
        let flags = self.clone();
        let (_, context) = off_thread(move || flags.given()).await?;
        Ok(context)
    }

    /// What the kubeconfig, or the pod, gives for these flags; and the context it is from.
    fn given(&self) -> Result<(Config, Option<String>), ConnectionError> {
        let kubeconfig = match kubeconfig::read(self.kubeconfig.as_deref()) {
            Ok(kubeconfig) => kubeconfig,
            // Without any kubeconfig, inside a pod, the pod's own account serves; and with --server
            // alone there may be nothing to read.
            Err(why) if !self.needs_kubeconfig() => {
                if let Some(server) = &self.server {
                    return Ok((Config::new(self.parse_server(server)?), None));
                }
                let config = Config::incluster().map_err(|_| ConnectionError::Kubeconfig(why))?;
                return Ok((config, None));
            }
            Err(why) => return Err(ConnectionError::Kubeconfig(why)),
        };
        self.check_names(&kubeconfig)?;
        let options = KubeConfigOptions {
            context: self.context.clone().or(kubeconfig.current_context.clone()),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let proxy = proxy_url(&kubeconfig, &options).map(|url| url.parse::<http::Uri>());
        // It is async for show: nothing in it waits.
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).now_or_never();
        let config = config
            .ok_or(KubeconfigError::FindPath)
            .and_then(|config| config);
        let mut config = config.map_err(|error| ConnectionError::Kubeconfig(problem(&error)))?;
        let proxy = proxy.transpose();
        config.proxy_url = proxy.map_err(|_| {
            ConnectionError::Kubeconfig("proxy-url of the cluster is no URL".to_owned())
        })?;
        Ok((config, options.context))
    }

    /// Refuses names that the kubeconfig does not have, as kubectl does.
    fn check_names(&self, kubeconfig: &Kubeconfig) -> Result<(), ConnectionError> {
        let contexts = kubeconfig.contexts.iter().map(|named| named.name.as_str());
        let clusters = kubeconfig.clusters.iter().map(|named| named.name.as_str());
        let users = kubeconfig
            .auth_infos
            .iter()
            .map(|named| named.name.as_str());
        let flags: [(&'static str, &Option<String>, Vec<&str>); 3] = [
            ("context", &self.context, contexts.collect()),
            ("cluster", &self.cluster, clusters.collect()),
            ("user", &self.user, users.collect()),
        ];
        for (flag, asked, names) in flags {
            if let Some(asked) = asked.as_deref().filter(|asked| !names.contains(asked)) {
                return Err(ConnectionError::UnknownName {
                    flag,
                    asked: asked.to_owned(),
                    choices: names.join(", "),
                });
            }
        }
        Ok(())
    }

    /// Whether a flag names something that only a kubeconfig can have.
    fn needs_kubeconfig(&self) -> bool {
        self.kubeconfig.is_some()
            || [&self.context, &self.cluster, &self.user]
                .iter()
                .any(|name| name.is_some())
    }

    /// What [`Self::given`] gives, with what the other flags say of it.
    fn configure(&self) -> Result<(Config, Option<String>), ConnectionError> {
        let (mut config, context) = self.given()?;
        if let Some(server) = &self.server {
            config.cluster_url = self.parse_server(server)?;
        }
        // The client takes it for granted that it can be reached.
        if config.cluster_url.scheme().is_none() || config.cluster_url.authority().is_none() {
            let why = "the server is no URL".to_owned();
            return Err(ConnectionError::Kubeconfig(why));
        }
        if config.proxy_url.is_none() {
            let proxy = proxy_for(&config.cluster_url, |name| std::env::var(name).ok());
            config.proxy_url = proxy.map_err(ConnectionError::Client)?;
        }
        if let Some(path) = &self.certificate_authority {
            if !path.is_file() {
                return Err(ConnectionError::Flag {
                    flag: "certificate-authority",
                    value: path.display().to_string(),
                    why: "file not found".into(),
                });
            }
            config.root_cert_file = Some(path.clone());
        }
        config.tls_server_name = self.tls_server_name.clone().or(config.tls_server_name);
        config.accept_invalid_certs |= self.insecure_skip_tls_verify;
        let auth = &mut config.auth_info;
        auth.impersonate = self.as_user.clone().or(auth.impersonate.take());
        auth.impersonate_uid = self.as_uid.clone().or(auth.impersonate_uid.take());
        if !self.as_group.is_empty() {
            auth.impersonate_groups = Some(self.as_group.clone());
        }
        if let Some(token) = &self.token {
            auth.token = Some(token.clone().into());
        }
        if let Some(certificate) = &self.client_certificate {
            auth.client_certificate = Some(certificate.clone());
            auth.client_certificate_data = None;
        }
        if let Some(key) = &self.client_key {
            auth.client_key = Some(key.clone());
            auth.client_key_data = None;
        }
        if let Some(namespace) = &self.namespace {
            config.default_namespace.clone_from(namespace);
        }
        // Retries are decided in one place, with a deadline and in sight of the user.
        config.default_retry = false;
        config.connect_timeout = Some(self.deadline());
        Ok((config, context))
    }

    fn parse_server(&self, server: &str) -> Result<http::Uri, ConnectionError> {
        server
            .parse()
            .map_err(|error: http::uri::InvalidUri| ConnectionError::Flag {
                flag: "server",
                value: foreign_text(server),
                why: root_cause(&error),
            })
    }
}

/// The proxy of the cluster that the kubeconfig leads to, where it names one.
fn proxy_url(kubeconfig: &Kubeconfig, options: &KubeConfigOptions) -> Option<String> {
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|named| Some(&named.name) == options.context.as_ref());
    let of_context = context.and_then(|named| named.context.as_ref());
    let name = options
        .cluster
        .as_ref()
        .or(of_context.map(|context| &context.cluster))?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == *name);
    let url = cluster?.cluster.as_ref()?.proxy_url.clone();
    url.filter(|url| !url.is_empty())
}

/// A client, and what came with it.
pub struct Connected {
    /// The client.
    pub client: Client,
    /// The namespace in force.
    pub namespace: String,
    /// The bearer token that it logs in with.
    pub token: Arc<dyn TokenSource>,
    /// The kubeconfig's context; `None` in a pod.
    pub context: Option<String>,
    /// Its name, as [`Connection::server_name`] has it.
    pub server: String,
}

fn name_of_server(config: &Config, context: Option<&str>) -> String {
    let server = foreign_text(&config.cluster_url.to_string());
    let server = server.trim_end_matches('/');
    match context {
        Some(context) => format!("{server} (context {context})"),
        None => server.to_owned(),
    }
}

/// Makes a client that never retries by itself, says who it is, and asks for its credentials again when the
/// server does not take them.
///
/// # Errors
/// Names the flag, file or plugin that cannot be used.
pub async fn connect(connection: &Connection, run: &str) -> Result<Connected, ConnectionError> {
    connect_attended(connection, run, std::io::stdin().is_terminal()).await
}

/// The same where no plugin may ask a person.
///
/// # Errors
/// As [`connect`].
pub async fn connect_unattended(
    connection: &Connection,
    run: &str,
) -> Result<Connected, ConnectionError> {
    connect_attended(connection, run, false).await
}

async fn connect_attended(
    connection: &Connection,
    run: &str,
    attended: bool,
) -> Result<Connected, ConnectionError> {
    let flags = connection.clone();
    let (mut config, context) = off_thread(move || flags.configure()).await?;
    config.headers.push((USER_AGENT, user_agent(run)));
    let namespace = config.default_namespace.clone();
    let server = name_of_server(&config, context.as_deref());
    // A person may answer a plugin now, but not in the middle of a rollout.
    let login = login(config.clone(), attended).await?;
    let pinned = Connection {
        // Whatever context is selected meanwhile, the rollout stays on its cluster.
        context: context.clone(),
        ..connection.clone()
    };
    let log_in = move || {
        let (pinned, config) = (pinned.clone(), config.clone());
        async move {
            login_again(pinned, config)
                .await
                .map_err(|error| error.why())
        }
        .boxed()
    };
    let patience = connection.deadline() / 2;
    let (client, token) = session(login, patience, Arc::new(log_in));
    Ok(Connected {
        client,
        namespace,
        token: Arc::new(token),
        context,
        server,
    })
}

/// The credentials as they are now, for the cluster of `config`.
async fn login_again(pinned: Connection, mut config: Config) -> Result<Login, ConnectionError> {
    let (now, _) = off_thread(move || pinned.configure()).await?;
    if now.cluster_url != config.cluster_url {
        let why = "the kubeconfig names another server by now";
        return Err(ConnectionError::Kubeconfig(why.into()));
    }
    config.auth_info = now.auth_info;
    login(config, false).await
}

/// Fetches the credentials of `config` and makes a client that has them.
async fn login(mut config: Config, attended: bool) -> Result<Login, ConnectionError> {
    let auth = &config.auth_info;
    let is_given = auth.token.is_some()
        || auth.token_file.is_some()
        || auth.auth_provider.is_some()
        || (auth.username.is_some() && auth.password.is_some());
    let exec = config.auth_info.exec.take().filter(|_| !is_given);
    let mut lasts = None;
    if let Some(exec) = exec {
        let found = exec_plugin::run(&exec, attended).await;
        let found = found.map_err(ConnectionError::Credentials)?;
        let expire = found.expire();
        lasts = expire.map(|at| at.duration_since(Timestamp::now()) - BEFORE_EXPIRY);
        let auth = &mut config.auth_info;
        auth.token = found.token.map(Into::into);
        if let (Some(certificate), Some(key)) =
            (found.client_certificate_data, found.client_key_data)
        {
            auth.client_certificate_data = Some(base64(certificate));
            auth.client_key_data = Some(base64(key).into());
        }
    }
    if config.auth_info.token.is_none() && config.auth_info.token_file.is_some() {
        lasts = Some(TOKEN_FILE_LASTS);
    }
    let lasts = lasts.map(|lasts| Duration::try_from(lasts).unwrap_or_default());
    off_thread(move || {
        let auth = &mut config.auth_info;
        if auth.token.is_some() {
            auth.token_file = None;
        } else if let Some(file) = auth.token_file.take() {
            let token = std::fs::read_to_string(&file).map_err(|error| {
                let why = format!("cannot read token file {file}: {}", root_cause(&error));
                ConnectionError::Credentials(why)
            })?;
            auth.token = Some(token.trim().to_owned().into());
        }
        let credentials = serde_json::to_value(&config.auth_info).unwrap_or_default();
        keep_secrets(&credentials, &config);
        let token = credentials["token"].as_str().unwrap_or_default();
        if HeaderValue::from_str(token).is_err() {
            // kube takes it for granted.
            let why = "the token holds a character that no header may hold";
            return Err(ConnectionError::Credentials(why.into()));
        }
        let client = Client::try_from(config)
            .map_err(|error| ConnectionError::Client(client_problem(&error)))?;
        Ok(Login {
            client,
            credentials,
            lasts,
        })
    })
    .await
}

/// What the filter of foreign texts shall know.
fn keep_secrets(credentials: &Value, config: &Config) {
    let named = ["token", "password", "client-key-data"].map(|field| &credentials[field]);
    let provided = credentials.pointer("/auth-provider/config");
    let provided = provided.and_then(Value::as_object).into_iter().flatten();
    let provided = provided.filter(|(name, _)| {
        ["token", "secret", "password", "refresh"]
            .iter()
            .any(|word| name.contains(word))
    });
    let extra = credentials["as-user-extra"]
        .as_object()
        .into_iter()
        .flatten();
    let extra = extra.flat_map(|(_, values)| values.as_array().into_iter().flatten());
    let values = named.into_iter().chain(provided.map(|(_, value)| value));
    let values = values.chain(extra);
    values.filter_map(Value::as_str).for_each(keep_secret);
    let urls = [Some(&config.cluster_url), config.proxy_url.as_ref()];
    for authority in urls.into_iter().flatten().filter_map(|url| url.authority()) {
        if let Some((user, _)) = authority.as_str().rsplit_once('@') {
            keep_secret(user.split_once(':').map_or(user, |(_, password)| password));
        }
    }
}

/// Reads files on a thread that may hang: a home folder can be on a server that is away.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ConnectionError> + Send + 'static,
) -> Result<T, ConnectionError> {
    let why = match timeout(FILES_DEADLINE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => return done,
        Ok(Err(_)) => "its reader failed".to_owned(),
        Err(_) => format!("not read within {}", spoken(FILES_DEADLINE)),
    };
    Err(ConnectionError::Kubeconfig(why))
}

/// As kubeconfigs hold certificates and keys.
fn base64(pem: String) -> String {
    let encoded = serde_json::to_value(ByteString(pem.into_bytes()));
    let encoded = encoded
        .ok()
        .and_then(|text| text.as_str().map(str::to_owned));
    encoded.unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kubeconfig_does_not_have_are_refused() {
        let kubeconfig = Kubeconfig::from_yaml(
            "{contexts: [{name: dev, context: {cluster: east, user: ada}}], clusters: [{name: east, cluster: {server: \"https://east\"}}], users: [{name: ada, user: {}}]}",
        )
        .unwrap();
        let named = |context: &str, cluster: &str, user: &str| Connection {
            context: Some(context.into()),
            cluster: Some(cluster.into()),
            user: Some(user.into()),
            ..Connection::default()
        };
        assert!(named("dev", "east", "ada").check_names(&kubeconfig).is_ok());
        for (asked, expected) in [
            (
                named("nope", "east", "ada"),
                "context \"nope\" is not in the kubeconfig (try: --context with one of dev)",
            ),
            (
                named("dev", "nope", "ada"),
                "cluster \"nope\" is not in the kubeconfig (try: --cluster with one of east)",
            ),
            (
                named("dev", "east", "nope"),
                "user \"nope\" is not in the kubeconfig (try: --user with one of ada)",
            ),
        ] {
            let error = asked.check_names(&kubeconfig).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
