//! The login at Prometheus: flags and configuration as one, read again for every query.
//!
//! Tokens, passwords and certificates are rotated on disk, so nothing of a file is kept. The client is made
//! anew only when what TLS needs has changed.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Client, Url};

use super::access_error::AccessError;
use super::access_flags::{PrometheusFlags, PrometheusLogin};
use super::address::cut_page;
use super::flag_login::{
    FlagLogin, LOGIN, TENANT_HEADERS, header_value, headers, params, take_user, tokens_of_command,
    two_logins,
};
use super::http_client::{ClientSettings, TlsMaterial};
use super::http_config::{
    Authorization, BasicAuth, HttpConfig, OAuth2, ProxyChoice, SigV4, check_header,
};
use super::oauth2::TokenRequest;
use super::port_forward::Forward;
use super::query_signer::QuerySigner;
use super::token_cache::{TokenCache, TokenSource};
use crate::foreign_text::{keep_secret, root_cause};

/// How to log in at Prometheus, and at which address if that was said here.
#[derive(Clone, Default)]
pub struct PrometheusAccess {
    address: Option<String>,
    settings: Arc<Settings>,
    /// A login for one address, wherever that was said.
    bound: Option<(String, Arc<Settings>)>,
    /// What opens the connections, where that is a port-forward.
    forward: Option<Forward>,
}

#[derive(Default)]
struct Settings {
    config: Option<PathBuf>,
    ca: Option<PathBuf>,
    headers: Vec<(HeaderName, HeaderValue)>,
    has_secret_header: bool,
    params: Vec<(&'static str, String)>,
    login: Option<FlagLogin>,
    client: Mutex<Option<(ClientSettings, Client)>>,
    /// The cache of the token endpoint in use.
    tokens: Mutex<Option<EndpointTokens>>,
    signer: Mutex<Option<(SigV4, QuerySigner)>>,
}

impl Settings {
    fn says_something(&self) -> bool {
        self.config.is_some()
            || self.ca.is_some()
            || self.login.is_some()
            || !self.headers.is_empty()
            || !self.params.is_empty()
    }
}

/// Which tokens a cache is for: the request, and the client that sends it.
struct EndpointTokens {
    request: TokenRequest,
    client: ClientSettings,
    cache: Arc<TokenCache>,
}

/// All that a query is sent with.
#[derive(Clone)]
pub(super) struct Prepared {
    pub client: Client,
    pub headers: HeaderMap,
    /// The name of the certificate, where it is not the host's.
    pub server_name: Option<String>,
    pub signer: Option<QuerySigner>,
    /// The setting that logs in, as messages name it.
    pub login: Option<String>,
    token: Option<(Arc<dyn TokenSource>, String)>,
}

/// What a query goes through on its way that was not asked for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentThrough {
    Nothing,
    /// Through a proxy that nothing but the environment names.
    ProxyOfEnvironment,
}

/// What the files say now.
struct Loaded {
    headers: HeaderMap,
    client: ClientSettings,
    tokens: Option<Arc<dyn TokenSource>>,
    signature: Option<SigV4>,
    /// The setting that logs in.
    login: Option<&'static str>,
}

impl PrometheusAccess {
    /// Takes the flags, and out of the address a user and a password. `cluster` gives the cluster's own token.
    ///
    /// # Errors
    /// Names the flag that cannot be followed, or the two that contradict each other.
    pub fn of(
        flags: &PrometheusFlags,
        address: &mut Option<String>,
        cluster: Arc<dyn TokenSource>,
    ) -> Result<Self, AccessError> {
        let named = |path: &Option<PathBuf>| path.clone().filter(|path| path != Path::new(""));
        let (headers, has_secret_header) = headers(&flags.prometheus_header)?;
        let header = headers.iter().any(|(name, _)| name == AUTHORIZATION);
        let command = flags.prometheus_token_command.as_deref();
        let command = command.filter(|command| !command.trim().is_empty());
        let user = take_user(address);
        cut_page(address);
        let logins = [
            user.map(|(user, password)| FlagLogin::Basic { user, password }),
            named(&flags.prometheus_token_file).map(FlagLogin::TokenFile),
            command.map(tokens_of_command).transpose()?,
            flags.prometheus_login.map(|login| match login {
                PrometheusLogin::Cluster => FlagLogin::Cluster(cluster),
                PrometheusLogin::Aws => FlagLogin::Aws,
            }),
            header.then_some(FlagLogin::Header),
        ];
        let mut logins = logins.into_iter().flatten();
        let login = logins.next();
        if let (Some(first), Some(second)) = (&login, logins.next()) {
            return Err(two_logins(first.name(), second.name()));
        }
        let settings = Settings {
            config: named(&flags.prometheus_config),
            ca: named(&flags.prometheus_ca),
            headers,
            has_secret_header,
            params: params(&flags.prometheus_param)?,
            login,
            ..Settings::default()
        };
        Ok(Self {
            address: address.clone(),
            settings: Arc::new(settings),
            bound: None,
            forward: None,
        })
    }

    /// The same with the login of `other`, which is sent to its address and to no other one.
    #[must_use]
    pub fn with_bound(mut self, other: Self) -> Self {
        self.bound = other.address.map(|address| (address, other.settings));
        self
    }

    /// What is sent to an address: what was given here, else what is bound to that address.
    #[must_use]
    pub fn at(&self, address: &str) -> Self {
        let mut access = self.clone();
        if let Some((bound, settings)) = access.bound.take()
            && !self.settings.says_something()
            && bound == address
        {
            access.settings = settings;
        }
        access
    }

    /// The same over connections by port-forward, on which no proxy is.
    ///
    /// # Errors
    /// The setting that would have no effect, or the file that cannot be used.
    pub(super) fn through(mut self, forward: Forward) -> Result<Self, AccessError> {
        if let ProxyChoice::Url { .. } = self.load(None)?.client.proxy {
            return Err(AccessError {
                what:
                    "proxy_url has no effect on a Prometheus that is reached through the API server"
                        .into(),
                fix: "--prometheus URL".into(),
            });
        }
        self.forward = Some(forward);
        Ok(self)
    }

    /// What opens the connections, where that is a port-forward.
    pub(super) fn forward(&self) -> Option<&Forward> {
        self.forward.as_ref()
    }

    /// The address that was given here, which wins over one that is stored.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Takes the address from a plan file, unless one was given.
    pub fn set_address(&mut self, address: Option<String>) {
        self.address = self.address.take().or(address);
    }

    /// The setting with which a secret is sent, if there is one.
    pub fn secret_setting(&self) -> Option<&'static str> {
        let settings = &self.settings;
        let login = settings.login.as_ref().map(FlagLogin::name);
        let config = settings.config.is_some().then_some("--prometheus-config");
        let header = settings.has_secret_header.then_some("--prometheus-header");
        login.or(config).or(header)
    }

    /// The flags with which a Job does the same, that reads the rest from a Secret at `config`.
    ///
    /// # Errors
    /// The setting that cannot leave this machine without a Secret.
    pub fn job_arguments(&self, config: Option<&str>) -> Result<Vec<String>, AccessError> {
        let settings = &self.settings;
        let mut arguments = Vec::new();
        let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        if let Some(config) = config {
            add("--prometheus-config", config.to_owned());
        }
        for (name, value) in &settings.params {
            add("--prometheus-param", format!("{name}={value}"));
        }
        for (name, value) in &settings.headers {
            if TENANT_HEADERS.contains(&name.as_str()) {
                let value = value.to_str().unwrap_or_default();
                add("--prometheus-header", format!("{name}: {value}"));
            }
        }
        let of_pod = settings.login.as_ref().and_then(FlagLogin::of_pod);
        if let Some(login) = of_pod {
            add(LOGIN, login.to_owned());
        }
        let ca = settings.ca.is_some().then_some("--prometheus-ca");
        let login = settings.login.as_ref().map(FlagLogin::name);
        let kept = login.filter(|_| of_pod.is_none());
        let file = settings.config.is_some().then_some("--prometheus-config");
        let header = settings.has_secret_header.then_some("--prometheus-header");
        match kept.or(file).or(header).or(ca) {
            Some(setting) if config.is_none() => Err(AccessError {
                what: format!("{setting} is of this machine, and a Job cannot read it there"),
                fix: "--prometheus-secret NAME, of kubectl create secret generic NAME --from-file=config.yaml=FILE".into(),
            }),
            _ => Ok(arguments),
        }
    }

    /// Parameters of each query.
    pub(super) fn params(&self) -> &[(&'static str, String)] {
        &self.settings.params
    }

    /// Whether all can be read and used for a server at `url` as it is now.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub(super) fn check(&self, url: &Url) -> Result<SentThrough, AccessError> {
        let loaded = self.load(Some(url))?;
        self.signer(loaded.signature, url)?;
        let uses_environment = loaded.client.proxy == ProxyChoice::Environment;
        self.client(loaded.client)?;
        Ok(match uses_environment && environment_has_proxy_for(url) {
            true => SentThrough::ProxyOfEnvironment,
            false => SentThrough::Nothing,
        })
    }

    /// All that a query to `url` is sent with now.
    ///
    /// # Errors
    /// The file that cannot be used, or why there is no token.
    pub(super) async fn prepare(&self, url: &Url) -> Result<Prepared, AccessError> {
        let (access, url) = (self.clone(), url.clone());
        let loading = tokio::task::spawn_blocking(move || {
            let Loaded {
                headers,
                client,
                tokens,
                signature,
                login,
            } = access.load(Some(&url))?;
            let prepared = Prepared {
                server_name: client.tls.server_name.clone(),
                client: access.client(client)?,
                headers,
                signer: access.signer(signature, &url)?,
                login: login.map(|login| match access.settings.login {
                    Some(_) => login.to_owned(),
                    None => format!("{login} in --prometheus-config"),
                }),
                token: None,
            };
            Ok((prepared, tokens))
        });
        let loaded = loading.await.unwrap_or_else(|_| Err(cut_short()));
        let (prepared, tokens) = loaded?;
        match tokens {
            None => Ok(prepared),
            Some(tokens) => {
                let token = tokens.token(None).await?;
                prepared.with_token(tokens, token)
            }
        }
    }

    /// The headers for a server behind the API server, which passes no login on.
    ///
    /// # Errors
    /// The setting that would have no effect, or the file that cannot be used.
    pub(super) async fn proxied_headers(&self) -> Result<HeaderMap, AccessError> {
        if self.settings.config.is_none() {
            return self.check_proxied();
        }
        let access = self.clone();
        let loading = tokio::task::spawn_blocking(move || access.check_proxied());
        loading.await.unwrap_or_else(|_| Err(cut_short()))
    }

    /// As [`Self::proxied_headers`], at once.
    ///
    /// # Errors
    /// As there.
    pub(super) fn check_proxied(&self) -> Result<HeaderMap, AccessError> {
        let loaded = self.load(None)?;
        match self.without_effect(&loaded) {
            None => Ok(loaded.headers),
            Some(setting) => Err(AccessError {
                what: format!("{setting} has no effect through the API server's proxy"),
                fix: "the same command again, which then takes a port-forward".into(),
            }),
        }
    }

    /// Whether something of it has no effect through the API server's proxy, so that a Service is asked by
    /// port-forward.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub fn takes_port_forward(&self) -> Result<bool, AccessError> {
        let loaded = self.load(None)?;
        Ok(self.without_effect(&loaded).is_some())
    }

    /// The setting that has no effect through the API server's proxy.
    fn without_effect(&self, loaded: &Loaded) -> Option<&'static str> {
        loaded.login.or(match &loaded.client {
            ClientSettings { tls, .. } if *tls != TlsMaterial::default() => {
                Some(match self.settings.ca.is_some() {
                    true => "--prometheus-ca",
                    false => "tls_config",
                })
            }
            ClientSettings {
                proxy: ProxyChoice::Url { .. },
                ..
            } => Some("proxy_url"),
            _ => None,
        })
    }

    /// Reads all files. Blocks.
    fn load(&self, url: Option<&Url>) -> Result<Loaded, AccessError> {
        let settings = &self.settings;
        let mut config = match &settings.config {
            Some(path) => HttpConfig::read(path)?,
            None => HttpConfig::default(),
        };
        if let (Some(section), Some(flag)) = (config.login(), &settings.login) {
            let section = format!("{section} in --prometheus-config");
            return Err(two_logins(flag.name(), &section));
        }
        if let Some(ca) = &settings.ca {
            let tls = &mut config.tls_config;
            if tls.ca.is_some() || tls.ca_file.is_some() {
                return Err(AccessError {
                    what: "--prometheus-ca and tls_config.ca_file in --prometheus-config cannot stand together".into(),
                    fix: "only one of them".into(),
                });
            }
            tls.ca_file = Some(ca.clone());
        }
        let mut headers = HeaderMap::new();
        for (name, values) in &config.http_headers {
            let file = values
                .files
                .last()
                .map(|file| line_of("http_headers", file));
            let inline = values.secrets.last().or(values.values.last()).cloned();
            if let Some(value) = file.transpose()?.or(inline) {
                headers.insert(check_header(name)?, header_value(name, &value)?);
            }
        }
        for (name, value) in &settings.headers {
            headers.insert(name.clone(), value.clone());
        }
        let login = settings.login.as_ref().map(FlagLogin::name);
        let login = login.or(config.login());
        let (mut tokens, mut signature) = (None, None);
        let authorization = match (&settings.login, &config) {
            (Some(FlagLogin::Basic { user, password }), _) => Some(basic(user, password)?),
            (Some(FlagLogin::TokenFile(file)), _) => {
                let token = line_of("--prometheus-token-file", file)?;
                Some(authorization("Bearer", &token)?)
            }
            (Some(FlagLogin::Tokens(_, source) | FlagLogin::Cluster(source)), _) => {
                tokens = Some(Arc::clone(source));
                None
            }
            (Some(FlagLogin::Header), _) => None,
            (Some(FlagLogin::Aws), _) => {
                signature = Some(SigV4::default());
                None
            }
            (None, config) => {
                if let Some(oauth2) = &config.oauth2 {
                    tokens = Some(self.endpoint_tokens(oauth2)?);
                }
                signature = config.sigv4.clone();
                match (&config.basic_auth, &config.authorization) {
                    (Some(login), _) => Some(login.value()?),
                    (None, Some(login)) => Some(login.value()?),
                    (None, None) => None,
                }
            }
        };
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        let tls = TlsMaterial::read(&config.tls_config)?;
        let host = url.filter(|_| tls.server_name.is_some() && self.forward.is_none());
        let host = host.and_then(Url::host_str).map(|host| {
            // An IPv6 address stands in brackets.
            host.trim_matches(['[', ']']).to_owned()
        });
        let client = ClientSettings {
            tls,
            proxy: match url {
                Some(_) if self.forward.is_some() => ProxyChoice::Direct,
                // No proxy reaches this machine's own loopback; kubectl asks none for it either.
                Some(url) if is_loopback(url) => config.proxy().but_not_of_environment(),
                _ => config.proxy(),
            },
            follow_redirects: config.follow_redirects.unwrap_or(true),
            has_login: !headers.is_empty() || tokens.is_some() || signature.is_some(),
            host,
            forward: self.forward.clone(),
        };
        Ok(Loaded {
            headers,
            client,
            tokens,
            signature,
            login,
        })
    }

    /// What signs queries to `url`: the last one, unless the settings have changed.
    fn signer(
        &self,
        settings: Option<SigV4>,
        url: &Url,
    ) -> Result<Option<QuerySigner>, AccessError> {
        let Some(settings) = settings else {
            return Ok(None);
        };
        let last = self.settings.signer.lock();
        let mut last = last.unwrap_or_else(PoisonError::into_inner);
        if let Some((known, signer)) = &*last
            && *known == settings
        {
            return Ok(Some(signer.clone()));
        }
        let signer = QuerySigner::new(&settings, url)?;
        *last = Some((settings, signer.clone()));
        Ok(Some(signer))
    }

    /// The client for these settings: the last one, unless they have changed.
    fn client(&self, settings: ClientSettings) -> Result<Client, AccessError> {
        let mut last = self
            .settings
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = &*last
            && *known == settings
        {
            return Ok(client.clone());
        }
        let client = settings.client()?;
        *last = Some((settings, client.clone()));
        Ok(client)
    }

    /// The tokens of a token endpoint, kept as long as it and the secret stay the same.
    fn endpoint_tokens(&self, oauth2: &OAuth2) -> Result<Arc<dyn TokenSource>, AccessError> {
        let secret = value_of(
            "oauth2.client_secret",
            oauth2.client_secret.as_ref(),
            oauth2.client_secret_file.as_deref(),
        )?;
        let request = TokenRequest {
            url: oauth2.token_url.clone(),
            id: oauth2.client_id.clone(),
            secret,
            scopes: oauth2.scopes.clone(),
            params: oauth2.endpoint_params.clone().into_iter().collect(),
        };
        let client = ClientSettings {
            tls: TlsMaterial::read(&oauth2.tls_config)?,
            proxy: oauth2.proxy(),
            follow_redirects: false,
            has_login: true,
            host: None,
            forward: None,
        };
        let mut last = self
            .settings
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*last
            && known.request == request
            && known.client == client
        {
            return Ok(Arc::clone(&known.cache) as _);
        }
        let (sent, sender) = (request.clone(), client.client()?);
        let fetch = Box::new(move || sent.clone().fetch(sender.clone()).boxed());
        let cache = Arc::new(TokenCache::new(fetch));
        *last = Some(EndpointTokens {
            request,
            client,
            cache: Arc::clone(&cache),
        });
        Ok(cache)
    }
}

impl Prepared {
    fn with_token(
        mut self,
        tokens: Arc<dyn TokenSource>,
        token: String,
    ) -> Result<Self, AccessError> {
        let value = authorization("Bearer", &token)?;
        self.headers.insert(AUTHORIZATION, value);
        self.token = Some((tokens, token));
        Ok(self)
    }

    /// The same with another token, where there is one: for a query that was refused with this.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn renewed(self) -> Result<Option<Self>, AccessError> {
        let Some((tokens, rejected)) = self.token.clone() else {
            return Ok(None);
        };
        let token = tokens.token(Some(&rejected)).await?;
        if token == rejected {
            return Ok(None);
        }
        self.with_token(tokens, token).map(Some)
    }
}

impl BasicAuth {
    fn value(&self) -> Result<HeaderValue, AccessError> {
        let (user, user_file) = (self.username.as_ref(), self.username_file.as_deref());
        let user = value_of("basic_auth.username", user, user_file)?;
        let (password, password_file) = (self.password.as_ref(), self.password_file.as_deref());
        basic(
            &user,
            &value_of("basic_auth.password", password, password_file)?,
        )
    }
}

impl Authorization {
    fn value(&self) -> Result<HeaderValue, AccessError> {
        let scheme = self.scheme.as_deref().unwrap_or("Bearer").trim();
        let (inline, file) = (self.credentials.as_ref(), self.credentials_file.as_deref());
        let credentials = value_of("authorization.credentials", inline, file)?;
        authorization(scheme, &credentials)
    }
}

/// What stands in the configuration, or in the file that it names; nothing where neither is given.
fn value_of(
    key: &str,
    inline: Option<&String>,
    file: Option<&Path>,
) -> Result<String, AccessError> {
    match (inline, file) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(file)) => line_of(&format!("{key}_file"), file),
        (None, None) => Ok(String::new()),
    }
}

/// The line that a file holds. It is a secret from now on.
fn line_of(setting: &str, file: &Path) -> Result<String, AccessError> {
    let unusable = |why: String| AccessError {
        what: format!("{setting} {}: {why}", file.display()),
        fix: "a file that holds it on one line".into(),
    };
    let text = std::fs::read_to_string(file).map_err(|error| unusable(root_cause(&error)))?;
    let line = text.trim();
    if line.is_empty() {
        return Err(unusable("it is empty".into()));
    }
    keep_secret(line);
    Ok(line.to_owned())
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, AccessError> {
    keep_secret(password);
    authorization("Basic", &STANDARD.encode(format!("{user}:{password}")))
}

fn authorization(scheme: &str, credentials: &str) -> Result<HeaderValue, AccessError> {
    keep_secret(credentials);
    header_value("Authorization", &format!("{scheme} {credentials}"))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    // An IPv6 address stands in brackets.
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// Whether the variables of the environment name a proxy that a query to `url` goes through.
fn environment_has_proxy_for(url: &Url) -> bool {
    let target = url.as_str().parse::<http::Uri>();
    target.is_ok_and(|target| Matcher::from_env().intercept(&target).is_some())
}

fn cut_short() -> AccessError {
    AccessError {
        what: "reading the files of the login was cut short".into(),
        fix: "the same command again".into(),
    }
}

impl fmt::Debug for PrometheusAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrometheusAccess")
    }
}
