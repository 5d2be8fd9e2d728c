//! Why a query to Prometheus has no usable answer.

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;

use super::access_error::AccessError;
use super::gateway::Gateway;
use crate::foreign_text::foreign_text;
use crate::plan::HumanDuration;

/// Why there is no answer.
///
/// `at` is the address as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsError {
    /// No connection: refused, no such host, TLS failed, no route.
    Unreachable {
        /// The server that was asked.
        at: String,
        /// The last cause, as the network or the system reports it.
        cause: String,
    },
    /// No answer in the time allowed.
    TimedOut {
        /// The server that was asked.
        at: String,
        /// The time allowed.
        after: Duration,
    },
    /// Credentials are missing or wrong (401).
    Unauthorized {
        /// The server that was asked.
        at: String,
        /// Who requires them.
        by: RefusedBy,
        /// What it said.
        message: String,
    },
    /// The credentials are known but do not suffice (403).
    Forbidden {
        /// The server that was asked.
        at: String,
        /// Who does not allow it.
        by: RefusedBy,
        /// What it said.
        message: String,
    },
    /// The credentials that were sent do not open (401 or 403).
    LoginRefused {
        /// The server that was asked.
        at: String,
        /// The setting that they are of.
        login: String,
        /// What opens there, where its form is known.
        by: RefusedBy,
        /// What it said.
        message: String,
    },
    /// There is no such Service, or nothing at this path.
    NotFound {
        /// The server that was asked.
        at: String,
        /// What was said.
        message: String,
    },
    /// Prometheus does not accept the query.
    BadQuery {
        /// The server that was asked.
        at: String,
        /// Prometheus' own words.
        message: String,
    },
    /// Prometheus tried and gave up: too many samples, a storage error, its own timeout.
    QueryFailed {
        /// The server that was asked.
        at: String,
        /// Prometheus' own name for the problem.
        kind: String,
        /// Prometheus' own words.
        message: String,
    },
    /// It is down or overloaded, or has no endpoints (429, 502, 503, 504).
    Unavailable {
        /// The server that was asked.
        at: String,
        /// What was said.
        message: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Something answers that does not speak Prometheus' API.
    NotPrometheus {
        /// The server that was asked.
        at: String,
        /// What came instead, shortened.
        saw: String,
    },
    /// It sends the query to another host, which was not configured.
    Redirected {
        /// The server that was asked.
        at: String,
        /// Scheme and host of the other place.
        to: String,
    },
    /// More came than one answer may hold in memory.
    TooLarge {
        /// The server that was asked.
        at: String,
        /// The limit in MiB.
        limit: u64,
    },
    /// Native histograms, which have no buckets to count.
    NativeHistogram {
        /// The server that was asked.
        at: String,
    },
    /// The login cannot be used: a file that cannot be read, or no token.
    NoAccess {
        /// The server that was to be asked.
        at: String,
        /// What is missing.
        error: AccessError,
    },
    /// No pod of a version shows its counters.
    PodsUnread {
        /// The version, or the pods of both.
        of: String,
        /// What the API server or the pod says.
        why: String,
        /// Whether the right to ask is missing.
        forbidden: bool,
    },
    /// The client could not be built from what was given.
    Client {
        /// The server that was to be asked.
        at: String,
        /// What is wrong.
        cause: String,
    },
}

impl std::error::Error for MetricsError {}

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (try: {})", self.what(), self.fix())
    }
}

impl MetricsError {
    /// What was attempted and what came back, without what may help.
    pub fn what(&self) -> String {
        match self {
            Self::Unreachable { at, cause } => format!("cannot reach {at}: {cause}"),
            Self::TimedOut { at, after } => {
                let after = SignedDuration::try_from(*after).unwrap_or(SignedDuration::MAX);
                format!("{at} did not answer within {}", HumanDuration::from(after))
            }
            Self::Unauthorized { at, by, message } => {
                let who = by.subject(at);
                format!("{who} requires credentials{}", colon(message))
            }
            Self::Forbidden {
                at,
                by: by @ RefusedBy::PortForward,
                message,
            } => {
                let who = by.subject(at);
                format!("{who} does not allow a port-forward{}", colon(message))
            }
            Self::Forbidden { at, by, message } => {
                let who = by.subject(at);
                format!("{who} does not allow the query{}", colon(message))
            }
            Self::LoginRefused {
                at, login, message, ..
            } => format!("{at} refuses the login of {login}{}", colon(message)),
            Self::NotFound { at, message } => format!("{at} was not found{}", colon(message)),
            Self::BadQuery { at, message } => format!("{at} rejects the query: {message}"),
            Self::QueryFailed { at, kind, message } => {
                format!("{at} could not evaluate the query ({kind}): {message}")
            }
            Self::Unavailable {
                at,
                message,
                retry_after,
            } => {
                let wait = retry_after.and_then(|wait| SignedDuration::try_from(wait).ok());
                let wait =
                    wait.map(|wait| format!(" (Retry-After: {})", HumanDuration::from(wait)));
                let wait = wait.unwrap_or_default();
                format!("{at} is unavailable{}{wait}", colon(message))
            }
            Self::NotPrometheus { at, saw } => {
                format!("{at} does not answer like Prometheus: {saw}")
            }
            Self::Redirected { at, to } => {
                format!("{at} redirects to {to}, which is not followed")
            }
            Self::TooLarge { at, limit } => format!("{at} answers with more than {limit} MiB"),
            Self::NativeHistogram { at } => {
                format!("{at} answers with native histograms, which cannot be counted")
            }
            Self::NoAccess { at, error } => format!("cannot log in at {at}: {}", error.what),
            Self::PodsUnread { of, why, .. } => {
                format!("no pod of {of} shows its proxy's counters: {why}")
            }
            Self::Client { at, cause } => format!("cannot create a client for {at}: {cause}"),
        }
    }

    /// What may help.
    pub fn fix(&self) -> &str {
        match self {
            Self::Unreachable { at, .. } | Self::Unavailable { at, .. } if is_by_proxy(at) => {
                BY_PROXY
            }
            Self::Unreachable { cause, .. } => unreachable_fix(cause),
            Self::NotFound { at, .. } if at.contains("://") => {
                "--prometheus with the path before /api/v1, such as https://HOST/prometheus, or /select/0/prometheus of VictoriaMetrics' cluster"
            }
            Self::NotFound { .. } => "--prometheus URL or NAMESPACE/SERVICE:PORT",
            Self::Unavailable { message, .. } if is_rate_limit(message) => RATE_LIMIT,
            Self::TimedOut { .. } => {
                "a longer --query-timeout, or the same command again in a moment"
            }
            Self::Unavailable { .. } => "the same command again in a moment",
            Self::Unauthorized { by, .. } => by.login_fix(),
            Self::Forbidden { by, .. } => by.permission_fix(),
            Self::LoginRefused { by, login, .. } => by.other_login_fix(login),
            Self::NoAccess { error, .. } => &error.fix,
            Self::BadQuery { .. } => "--prometheus with Prometheus itself, not a proxy before it",
            Self::QueryFailed { .. } => {
                "the same command again in a moment, or a higher query limit in Prometheus"
            }
            Self::NotPrometheus { saw, .. } if saw.contains("HTTP 407") => {
                "user and password in the URL of the proxy, or NO_PROXY with the host of Prometheus if it is reached without one"
            }
            Self::NotPrometheus { at, .. } if is_by_proxy(at) => BY_PROXY,
            Self::NotPrometheus { saw, .. } if saw.contains("HTTPS server") => {
                "--prometheus with https:// (of a Service: NAMESPACE/https:SERVICE:PORT)"
            }
            Self::NotPrometheus { .. } => "--prometheus with the right port and path prefix",
            Self::Redirected { .. } => "--prometheus with the final address",
            Self::TooLarge { .. } => {
                "a Telemetry resource that removes labels from istio_requests_total"
            }
            Self::NativeHistogram { .. } => {
                "always_scrape_classic_histograms in Prometheus' scrape configuration"
            }
            Self::PodsUnread {
                forbidden: true, ..
            } => "a Role in the pods' namespace with get on pods/proxy",
            Self::PodsUnread { .. } => {
                "pods with Istio's sidecar, whose port 15090 the API server can reach"
            }
            Self::Client { .. } => "--prometheus with another URL",
        }
    }

    /// Whether the API server does not let the caller use its proxy.
    pub(super) fn is_forbidden_by_api_server(&self) -> bool {
        matches!(
            self,
            Self::Forbidden {
                by: RefusedBy::ApiServer,
                ..
            }
        )
    }

    /// This refusal of the proxy, after the other way was tried as well; what is not there is not there.
    pub(super) fn or_by(self, other: Self) -> Self {
        let why = match other {
            Self::NotFound { .. } => return other,
            Self::Unreachable { cause, .. } => cause,
            Self::Forbidden { message, .. } => message,
            other => other.what(),
        };
        match self {
            Self::Forbidden { at, by, message } => Self::Forbidden {
                at,
                by,
                message: format!("{message}; nor by port-forward: {why}"),
            },
            refusal => refusal,
        }
    }

    /// How long it wants to be left alone, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The kind of error in one word, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timed-out",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::LoginRefused { .. } => "login-refused",
            Self::NotFound { .. } => "not-found",
            Self::BadQuery { .. } => "bad-query",
            Self::QueryFailed { .. } => "query-failed",
            Self::Unavailable { .. } => "unavailable",
            Self::NotPrometheus { .. } => "not-prometheus",
            Self::Redirected { .. } => "redirected",
            Self::TooLarge { .. } => "too-large",
            Self::NativeHistogram { .. } => "native-histogram",
            Self::NoAccess { .. } => "no-access",
            Self::PodsUnread { .. } => "pods-unread",
            Self::Client { .. } => "client",
        }
    }
}

/// Who turned a query away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBy {
    /// The API server, which did not pass the query on.
    ApiServer,
    /// The API server, which did not open a port-forward.
    PortForward,
    /// Prometheus, or a proxy in front of it, asked at its URL.
    Prometheus,
    /// The same, asked through the API server.
    PrometheusBehindApiServer,
    /// One whose form is known.
    Gateway(Gateway),
}

impl RefusedBy {
    /// The subject of a sentence about a query to `at`.
    fn subject(self, at: &str) -> String {
        match self {
            Self::ApiServer | Self::PortForward => format!("the API server in front of {at}"),
            Self::Prometheus | Self::PrometheusBehindApiServer | Self::Gateway(_) => at.to_owned(),
        }
    }

    /// Whether other credentials would open.
    pub(super) fn is_about_login(self) -> bool {
        match self {
            Self::ApiServer | Self::PortForward => false,
            Self::Prometheus | Self::PrometheusBehindApiServer => true,
            Self::Gateway(gateway) => gateway.wants_login() && !gateway.is_forbidden(),
        }
    }

    /// What lets in who is not known.
    fn login_fix(self) -> &'static str {
        match self {
            Self::ApiServer | Self::PortForward => "kubectl auth whoami",
            Self::Prometheus => {
                "--prometheus-token-file FILE, --prometheus-header 'NAME: VALUE' for a key, or --prometheus-config FILE for a password or a certificate"
            }
            Self::PrometheusBehindApiServer => {
                "--prometheus-token-file FILE, or --prometheus-config FILE for a password: with either it is asked by port-forward"
            }
            Self::Gateway(gateway) => gateway.fix(),
        }
    }

    /// What lets in whose login of this setting was refused.
    fn other_login_fix(self, login: &str) -> &'static str {
        match self {
            // It wants another kind of login.
            Self::Gateway(gateway) if !gateway.fix().contains(login) => gateway.fix(),
            _ => "credentials that are in force and may query there",
        }
    }

    /// What lets in who is known and may not.
    fn permission_fix(self) -> &'static str {
        match self {
            Self::ApiServer => {
                "a Role in Prometheus' namespace with get on services/proxy, or --prometheus URL"
            }
            Self::PortForward => {
                "a Role in Prometheus' namespace with get on services, list on pods, and get and create on pods/portforward, or --prometheus URL"
            }
            Self::Prometheus | Self::PrometheusBehindApiServer | Self::Gateway(_) => {
                self.login_fix()
            }
        }
    }
}

/// How a server is named that is asked through a proxy.
pub(super) fn by_proxy(at: &str) -> String {
    format!("{at} through the proxy of the environment")
}

fn is_by_proxy(at: &str) -> bool {
    at.ends_with(" through the proxy of the environment")
}

const BY_PROXY: &str = "NO_PROXY with its host, if it is reached without a proxy";

/// What a server is called unavailable for that has been asked too often.
pub(super) const TOO_MANY: &str = "too many requests";

fn is_rate_limit(message: &str) -> bool {
    message.starts_with(TOO_MANY)
}

/// What helps against a limit of requests.
const RATE_LIMIT: &str = "a longer --interval, or a higher limit of requests there";

/// What helps against a connection that does not come about; TLS says in its own words what it misses.
fn unreachable_fix(cause: &str) -> &'static str {
    let says = |words: &str| cause.contains(words);
    if says("CaUsedAsEndEntity") {
        "a certificate for the server that is no authority itself (openssl req -addext basicConstraints=CA:FALSE), or --prometheus-config FILE with insecure_skip_verify under tls_config"
    } else if says("expired") || says("not valid yet") {
        "a new certificate for the server, the right time on this machine, or --prometheus-config FILE with insecure_skip_verify under tls_config"
    } else if says("UnknownIssuer") {
        "--prometheus-ca FILE with the authority of its certificate"
    } else if says("CertificateRequired") || says("HandshakeFailure") {
        "--prometheus-config FILE with cert_file and key_file under tls_config"
    } else if says("NotValidForName") || says("not valid for name") {
        "--prometheus-config FILE with server_name under tls_config, or the host of the certificate"
    } else if says("invalid peer certificate") || says("BadCertificate") {
        "--prometheus-config FILE with the certificates that are in force under tls_config"
    } else if says("corrupt message") {
        "--prometheus with http:// in place of https://"
    } else {
        "--prometheus URL or NAMESPACE/SERVICE:PORT"
    }
}

/// The beginning of a server's text on one line, for a message; empty for a web page.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 160;
    if text.trim_start().starts_with('<') {
        return String::new();
    }
    let mut line = foreign_text(text);
    if line.chars().count() > LONGEST {
        line = line.chars().take(LONGEST).collect();
        line.push('…');
    }
    line
}

/// A server's text, or what it stands for when none of it is shown.
pub(super) fn or_web_page(excerpt: String) -> String {
    if excerpt.is_empty() {
        "a web page or nothing".to_owned()
    } else {
        excerpt
    }
}

fn colon(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_failed_where_and_what_may_help_once() {
        let at = || "mon/prom:9090".to_owned();
        let message = || "no".to_owned();
        for (error, expected) in [
            (
                MetricsError::TimedOut {
                    at: at(),
                    after: Duration::from_millis(2500),
                },
                "mon/prom:9090 did not answer within 2.5s (try: a longer --query-timeout, or the same command again in a moment)",
            ),
            (
                MetricsError::Unauthorized {
                    at: at(),
                    by: RefusedBy::ApiServer,
                    message: String::new(),
                },
                "the API server in front of mon/prom:9090 requires credentials (try: kubectl auth whoami)",
            ),
            (
                MetricsError::Unauthorized {
                    at: "https://prom.example.com".into(),
                    by: RefusedBy::Prometheus,
                    message: message(),
                },
                "https://prom.example.com requires credentials: no (try: --prometheus-token-file FILE, --prometheus-header 'NAME: VALUE' for a key, or --prometheus-config FILE for a password or a certificate)",
            ),
            (
                MetricsError::Forbidden {
                    at: at(),
                    by: RefusedBy::PrometheusBehindApiServer,
                    message: message(),
                },
                "mon/prom:9090 does not allow the query: no (try: --prometheus-token-file FILE, or --prometheus-config FILE for a password: with either it is asked by port-forward)",
            ),
            (
                MetricsError::Forbidden {
                    at: at(),
                    by: RefusedBy::ApiServer,
                    message: message(),
                },
                "the API server in front of mon/prom:9090 does not allow the query: no (try: a Role in Prometheus' namespace with get on services/proxy, or --prometheus URL)",
            ),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_servers_text_becomes_one_short_line_and_a_web_page_none() {
        assert_eq!(excerpt("no\u{1b}[0m\n  way"), "no[0m way");
        assert_eq!(excerpt(&"x".repeat(500)).chars().count(), 161);
        assert_eq!(excerpt("\n<html>\n  <b>Sign in</b>"), "");
    }
}
