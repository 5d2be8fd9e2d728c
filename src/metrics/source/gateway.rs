//! The well-known services and proxies that stand in front of a Prometheus, by the way they say no.
//!
//! Each says it in its own form, and few of them name what is missing in a word of this program.

use http::StatusCode;
use reqwest::Url;

use super::http_reply::HttpReply;

/// How much of a reply is looked at, in bytes: a login page says what it is at its beginning.
const LOOKED_AT: usize = 16 << 10;

/// Who turned a query away, as far as its form shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// Grafana Cloud: an instance and a token.
    GrafanaCloud,
    /// Google Managed Prometheus: an access token.
    GoogleCloud,
    /// Google Managed Prometheus: the caller has no role.
    GoogleCloudRole,
    /// Amazon Managed Prometheus: a signature.
    Amazon,
    /// Azure Monitor: a token of Entra.
    AzureMonitor,
    /// OpenShift's oauth-proxy or kube-rbac-proxy without a token.
    OpenShift,
    /// kube-rbac-proxy: the caller has no role.
    KubeRbacProxy,
    /// A gate for tenants that misses their namespace.
    TenantParameter,
    /// Mimir, Cortex and others with several tenants.
    TenantHeader,
    /// Cloudflare Access.
    Cloudflare,
    /// An AuthorizationPolicy of Istio.
    IstioPolicy,
    /// A login page of whatever kind.
    LoginPage,
    /// HTTP's own password.
    Password,
    /// A bearer token of whatever kind.
    Token,
}

impl Gateway {
    /// Who wrote this reply, if its form shows it.
    pub(super) fn of(reply: &HttpReply) -> Option<Self> {
        let body = &reply.body[..reply.body.len().min(LOOKED_AT)];
        let body = String::from_utf8_lossy(body).to_lowercase();
        let says = |words: &str| body.contains(words);
        if reply.status.is_redirection() {
            return of_redirect(reply.location.as_deref()?);
        }
        let is_page = body.trim_start().starts_with('<');
        if is_page && says("cloudflareaccess.com") {
            return Some(Self::Cloudflare);
        }
        if is_page && says("log in with openshift") {
            return Some(Self::OpenShift);
        }
        if is_page
            && ["sign in", "log in", "login", "signin"]
                .iter()
                .any(|word| says(word))
        {
            return Some(Self::LoginPage);
        }
        let is_tenancy = says("namespace") && says("must be provided");
        if is_tenancy || says("the request or configuration is malformed") {
            return Some(Self::TenantParameter);
        }
        let challenge = reply
            .challenge
            .as_deref()
            .unwrap_or_default()
            .to_lowercase();
        let is_401 = reply.status == StatusCode::UNAUTHORIZED;
        let is_403 = reply.status == StatusCode::FORBIDDEN;
        if !is_401 && !is_403 {
            return None;
        }
        Some(if says("no org id") {
            Self::TenantHeader
        } else if says("authentication error:") || says("invalid authentication credentials\"") {
            Self::GrafanaCloud
        } else if says("\"unauthenticated\"") {
            Self::GoogleCloud
        } else if says("\"permission_denied\"") {
            Self::GoogleCloudRole
        } else if says("missing authentication token")
            || says("security token included in the request")
            || says("signature we calculated")
            || says("arn:aws")
        {
            Self::Amazon
        } else if challenge.contains("login.microsoftonline.com") {
            Self::AzureMonitor
        } else if says("rbac: access denied") {
            Self::IstioPolicy
        } else if is_403 && says("forbidden (user=") {
            Self::KubeRbacProxy
        } else if challenge.starts_with("basic") {
            Self::Password
        } else if challenge.starts_with("bearer") {
            Self::Token
        } else {
            return None;
        })
    }

    /// Whether a login is missing, which the API server would not pass on.
    pub(super) fn wants_login(self) -> bool {
        !matches!(
            self,
            Self::TenantParameter | Self::TenantHeader | Self::Cloudflare | Self::IstioPolicy
        )
    }

    /// Whether it knows the caller, who may not do this.
    pub(super) fn is_forbidden(self) -> bool {
        matches!(
            self,
            Self::GoogleCloudRole | Self::KubeRbacProxy | Self::IstioPolicy
        )
    }

    /// What lets the query pass.
    pub(super) fn fix(self) -> &'static str {
        match self {
            Self::GrafanaCloud => {
                "--prometheus-config FILE with basic_auth, the instance's number as username and a token with metrics:read as password"
            }
            Self::GoogleCloud => "--prometheus-token-command 'gcloud auth print-access-token'",
            Self::GoogleCloudRole => "the role roles/monitoring.viewer for this account",
            Self::Amazon => "--prometheus-login aws",
            Self::AzureMonitor => {
                "--prometheus-token-command 'az account get-access-token --resource https://prometheus.monitor.azure.com --query accessToken -o tsv'"
            }
            Self::OpenShift => "--prometheus-login cluster",
            Self::KubeRbacProxy => {
                "the ClusterRole cluster-monitoring-view for this account, or --prometheus-param namespace=NAMESPACE at the port for tenants"
            }
            Self::TenantParameter => "--prometheus-param namespace=NAMESPACE",
            Self::TenantHeader => "--prometheus-header 'X-Scope-OrgID: TENANT'",
            Self::Cloudflare => {
                "--prometheus-header for both CF-Access-Client-Id and CF-Access-Client-Secret of a service token"
            }
            Self::IstioPolicy => {
                "an AuthorizationPolicy that lets this caller reach Prometheus, or --prometheus NAMESPACE/SERVICE:PORT"
            }
            Self::LoginPage => {
                "--prometheus-token-file or --prometheus-header with what the login accepts from programs"
            }
            Self::Password => "--prometheus-config FILE with basic_auth",
            Self::Token => "--prometheus-token-file FILE or --prometheus-token-command COMMAND",
        }
    }
}

/// Where a login begins, by the address that a reply sends to.
fn of_redirect(location: &str) -> Option<Gateway> {
    let location = location.to_lowercase();
    let url = Url::parse(&location).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    let path = url.as_ref().map_or(location.as_str(), Url::path);
    if host.ends_with("cloudflareaccess.com") || path.starts_with("/cdn-cgi/access/") {
        return Some(Gateway::Cloudflare);
    }
    if host.starts_with("oauth-openshift.") {
        return Some(Gateway::OpenShift);
    }
    let is_login = |text: &str| {
        [
            "login", "signin", "sign_in", "sign-in", "oauth", "sso", "auth", "saml", "openid",
        ]
        .iter()
        .any(|word| text.contains(word))
    };
    // `/graph` and the like are a redirect of Prometheus itself.
    let first = host.split('.').next().unwrap_or_default();
    let is_account = first.starts_with("account");
    (is_account || is_login(first) || is_login(path)).then_some(Gateway::LoginPage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, challenge: &str, location: &str, body: &str) -> HttpReply {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        HttpReply {
            login: None,
            status: StatusCode::from_u16(status).unwrap(),
            location: some(location),
            challenge: some(challenge),
            retry_after: None,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_reply_is_known_by_its_form() {
        use Gateway as G;
        let cases = [
            (
                reply(
                    401,
                    "",
                    "",
                    r#"{"status":"error","error":"authentication error: no credentials provided"}"#,
                ),
                Some(G::GrafanaCloud),
            ),
            (
                reply(
                    401,
                    "",
                    "",
                    r#"{"error":{"code":401,"message":"Request is missing required authentication credential.","status":"UNAUTHENTICATED"}}"#,
                ),
                Some(G::GoogleCloud),
            ),
            (
                reply(
                    403,
                    "",
                    "",
                    r#"{"error":{"code":403,"message":"Permission monitoring.timeSeries.list denied","status":"PERMISSION_DENIED"}}"#,
                ),
                Some(G::GoogleCloudRole),
            ),
            (
                reply(403, "", "", r#"{"message":"Missing Authentication Token"}"#),
                Some(G::Amazon),
            ),
            (
                reply(
                    403,
                    "",
                    "",
                    r#"{"Message":"User: arn:aws:iam::1:user/a is not authorized to perform: aps:QueryMetrics"}"#,
                ),
                Some(G::Amazon),
            ),
            (
                reply(
                    401,
                    r#"Bearer authorization="https://login.microsoftonline.com/common""#,
                    "",
                    "{}",
                ),
                Some(G::AzureMonitor),
            ),
            (
                reply(
                    302,
                    "",
                    "https://oauth-openshift.apps.example.com/oauth/authorize?state=x",
                    "",
                ),
                Some(G::OpenShift),
            ),
            (
                reply(
                    403,
                    "",
                    "",
                    "<html><body><button>Log in with OpenShift</button></body></html>",
                ),
                Some(G::OpenShift),
            ),
            (
                reply(
                    403,
                    "",
                    "",
                    "Forbidden (user=system:serviceaccount:a:b, verb=get, resource=prometheuses, subresource=api)",
                ),
                Some(G::KubeRbacProxy),
            ),
            (
                reply(
                    400,
                    "",
                    "",
                    "Bad Request. The request or configuration is malformed.",
                ),
                Some(G::TenantParameter),
            ),
            (
                reply(
                    400,
                    "",
                    "",
                    r#"{"error":"The \"namespace\" query parameter must be provided.","errorType":"prom-label-proxy","status":"error"}"#,
                ),
                Some(G::TenantParameter),
            ),
            (reply(401, "", "", "no org id"), Some(G::TenantHeader)),
            (
                reply(
                    302,
                    "",
                    "https://team.cloudflareaccess.com/cdn-cgi/access/login/x?kid=1",
                    "",
                ),
                Some(G::Cloudflare),
            ),
            (
                reply(403, "", "", "RBAC: access denied"),
                Some(G::IstioPolicy),
            ),
            (
                reply(
                    200,
                    "",
                    "",
                    "<!DOCTYPE html><title>Sign in with Dex</title>",
                ),
                Some(G::LoginPage),
            ),
            (
                reply(
                    302,
                    "",
                    "https://accounts.google.com/o/oauth2/v2/auth?client_id=1",
                    "",
                ),
                Some(G::LoginPage),
            ),
            (
                reply(302, "", "/oauth2/start?rd=%2F", ""),
                Some(G::LoginPage),
            ),
            (
                reply(401, "Basic realm=\"prom\"", "", "Unauthorized"),
                Some(G::Password),
            ),
            (reply(401, "Bearer realm=\"prom\"", "", ""), Some(G::Token)),
            // What is none of them.
            (reply(302, "", "https://prom.example.com/graph", ""), None),
            (reply(302, "", "/query", ""), None),
            (reply(401, "", "", "who are you"), None),
            (reply(503, "", "", "no healthy upstream"), None),
            (reply(404, "", "", "<html>404 not found</html>"), None),
            (
                reply(
                    400,
                    "",
                    "",
                    r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
                ),
                None,
            ),
        ];
        for (reply, expected) in cases {
            assert_eq!(Gateway::of(&reply), expected, "{reply:?}");
        }
    }
}
