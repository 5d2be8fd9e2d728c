//! Every door that a Prometheus stands behind: closed without its setting, with the fix in the message, and
//! open with it.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::door::{Authority, Door, Knock, Refused};
use crate::harness::{Ran, Shop};

const TOKEN: &str = "open-sesame-4711";

/// `plan reviews` against this address with more flags. What it finds stands on stdout, beside the plan.
pub async fn plan(shop: &Shop, address: &str, more: &[&str]) -> Ran {
    let mut flags = shop.brief();
    *flags.last_mut().unwrap() = address.to_owned();
    flags.extend(more.iter().map(|&flag| flag.to_owned()));
    let mut ran = shop.run("plan reviews", &flags).await;
    ran.stderr = format!("{}{}", ran.stdout, ran.stderr);
    ran
}

/// Fails unless the door is closed without flags, the fix is named, and the door opens with them.
async fn opens(shop: &Shop, door: &str, fix: &str, flags: &[&str]) {
    let closed = plan(shop, door, &[]).await;
    assert_eq!(closed.code, 4, "{}", closed.stderr);
    assert!(
        closed.stderr.contains(fix),
        "{fix} is not in: {}",
        closed.stderr
    );
    let open = plan(shop, door, flags).await;
    assert_eq!(open.code, 0, "{}", open.stderr);
}

pub fn write(shop: &Shop, name: &str, text: &str) -> String {
    let path = shop.folder().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn unauthorized(challenge: &str) -> Refused {
    Refused(
        401,
        vec![("www-authenticate", challenge.to_owned())],
        "Unauthorized".into(),
    )
}

fn wants_token(knock: &Knock) -> Result<(), Refused> {
    let expected = format!("Bearer {TOKEN}");
    knock.wants("authorization", &expected, unauthorized("Bearer"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_opens_from_a_file_and_from_the_url() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, |knock| {
        // `me:p@ss word`
        knock.wants(
            "authorization",
            "Basic bWU6cEBzcyB3b3Jk",
            unauthorized("Basic realm=\"prom\""),
        )
    })
    .await;
    let url = door.url("127.0.0.1");
    write(&shop, "password", "p@ss word\n");
    let config = write(
        &shop,
        "http.yaml",
        "basic_auth: {username: me, password_file: password}",
    );
    let fix = "--prometheus-config FILE with basic_auth";
    opens(&shop, &url, fix, &["--prometheus-config", &config]).await;

    let with_user = url.replace("http://", "http://me:p%40ss%20word@");
    let ran = plan(&shop, &with_user, &["-o", "json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // The plan, which would be stored, has the address without them.
    let shown: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(shown["plan"]["prometheus"], format!("{url}/"));
    assert!(!ran.stdout.contains("ss%20word") && !ran.stdout.contains("p@ss"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_from_a_file_a_command_a_header_and_the_environment() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, wants_token).await;
    let url = door.url("127.0.0.1");
    let file = write(&shop, "token", &format!("{TOKEN}\n"));
    let fix = "--prometheus-token-file FILE or --prometheus-token-command COMMAND";
    opens(&shop, &url, fix, &["--prometheus-token-file", &file]).await;
    let config = write(&shop, "http.yaml", "bearer_token_file: token");
    let command = format!("cat {file}");
    let header = format!("Authorization: Bearer {TOKEN}");
    for flags in [
        ["--prometheus-config", &config],
        ["--prometheus-token-command", &command],
        ["--prometheus-header", &header],
    ] {
        let ran = plan(&shop, &url, &flags).await;
        assert_eq!(ran.code, 0, "{flags:?}: {}", ran.stderr);
    }
    let mut program = shop.program("plan reviews", &shop.brief()[..6]);
    program
        .args(["--interval", "500ms"])
        .env("KUBECTL_CANARY_PROMETHEUS_URL", &url)
        .env("KUBECTL_CANARY_PROMETHEUS_TOKEN_FILE", &file);
    let ran = Shop::ran(program).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_a_command_is_kept_until_it_is_refused() {
    let shop = Shop::open().await;
    let accepted = Arc::new(Mutex::new("token-1".to_owned()));
    let current = Arc::clone(&accepted);
    let door = Door::open(&shop, move |knock| {
        let expected = format!("Bearer {}", current.lock().unwrap());
        knock.wants("authorization", &expected, unauthorized("Bearer"))
    })
    .await;
    let folder = shop.folder().display();
    let script = write(
        &shop,
        "login",
        &format!("echo run >> {folder}/runs; echo token-$(wc -l < {folder}/runs | tr -d ' ')"),
    );
    let mut flags = shop.brief();
    *flags.last_mut().unwrap() = door.url("127.0.0.1");
    flags[3] = "5s".into();
    let command = format!("sh {script}");
    flags.extend(["--prometheus-token-command".into(), command]);
    let driving = shop.run("start reviews --steps 20,60,100", &flags);
    let replacing = async {
        shop.until_canary_has(20).await;
        // Not at once: a server that refuses every token makes nobody run the command for each query.
        tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        *accepted.lock().unwrap() = "token-2".into();
    };
    let (ran, ()) = tokio::join!(driving, replacing);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let runs = std::fs::read_to_string(shop.folder().join("runs")).unwrap();
    assert_eq!(runs.lines().count(), 2, "{runs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clusters_own_token_opens_and_is_asked_for_anew() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, |knock| {
        let page = "<html><body>Log in with OpenShift</body></html>";
        let refused = Refused(403, Vec::new(), page.into());
        knock.wants("authorization", &format!("Bearer {TOKEN}"), refused)
    })
    .await;
    shop.log_in_as(&json!({"token": TOKEN}));
    let (url, flags) = (door.url("127.0.0.1"), ["--prometheus-login", "cluster"]);
    opens(&shop, &url, "--prometheus-login cluster", &flags).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubeconfig_without_a_token_has_none_to_give() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, wants_token).await;
    let ran = plan(
        &shop,
        &door.url("127.0.0.1"),
        &["--prometheus-login", "cluster"],
    )
    .await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("the kubeconfig's user has no bearer token")
            && ran.stderr.contains("(try: --prometheus-token-file"),
        "{}",
        ran.stderr
    );
    assert!(door.knocks().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_credentials_are_exchanged_for_a_token() {
    let shop = Shop::open().await;
    // The endpoint takes the secret in the form only, as many do.
    let endpoint = Door::open(&shop, |knock| {
        let secret = "client_id=canary&client_secret=s3cret-of-canary";
        let is_right = knock.body.contains("grant_type=client_credentials")
            && knock.body.contains("scope=metrics.read")
            && knock.body.contains("audience=prom")
            && knock.body.contains(secret);
        let refusal = r#"{"error":"invalid_client","error_description":"who is s3cret-of-canary"}"#;
        let token =
            format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":3600}}"#);
        Err(match is_right {
            true => Refused(200, Vec::new(), token),
            false => Refused(401, Vec::new(), refusal.into()),
        })
    })
    .await;
    let door = Door::open(&shop, wants_token).await;
    write(&shop, "secret", "s3cret-of-canary");
    let config = |scope: &str| {
        let url = endpoint.url("127.0.0.1");
        format!(
            "oauth2:\n  client_id: canary\n  client_secret_file: secret\n  token_url: {url}/token\n  \
             scopes: [{scope}]\n  endpoint_params: {{audience: prom}}\n"
        )
    };
    let file = write(&shop, "http.yaml", &config("metrics.read"));
    let url = door.url("127.0.0.1");
    opens(
        &shop,
        &url,
        "--prometheus-token-file",
        &["--prometheus-config", &file],
    )
    .await;
    // Once in the header, once in the form, and no more for all queries.
    assert_eq!(endpoint.knocks().len(), 2);
    assert!(door.knocks().len() > 2);

    write(&shop, "http.yaml", &config("other"));
    let ran = plan(&shop, &url, &["--prometheus-config", &file]).await;
    assert_eq!(ran.code, 4);
    assert!(
        ran.stderr.contains("HTTP 401 Unauthorized invalid_client"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("s3cret-of"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_an_own_authority_is_trusted_when_it_is_named() {
    let shop = Shop::open().await;
    let authority = Authority::new();
    authority.root.write(&shop, "ca");
    let ca = shop.folder().join("ca.pem").display().to_string();
    let door = Door::over_tls(&shop, authority.server("127.0.0.1", &[]), |_| Ok(())).await;
    let url = door.url("127.0.0.1");
    opens(
        &shop,
        &url,
        "--prometheus-ca FILE",
        &["--prometheus-ca", &ca],
    )
    .await;
    let config = write(
        &shop,
        "insecure.yaml",
        "tls_config: {insecure_skip_verify: true}",
    );
    let ran = plan(&shop, &url, &["--prometheus-config", &config]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let config = write(&shop, "ca.yaml", "tls_config: {ca_file: ca.pem}");
    let ran = plan(
        &shop,
        &url,
        &["--prometheus-config", &config, "--prometheus-ca", &ca],
    )
    .await;
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("cannot stand together"),
        "{}",
        ran.stderr
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_name_is_asked_for_by_that_name() {
    let shop = Shop::open().await;
    let authority = Authority::new();
    authority.root.write(&shop, "ca");
    let ca = shop.folder().join("ca.pem").display().to_string();
    let door = Door::over_tls(&shop, authority.server("prom.example.com", &[]), |_| Ok(())).await;
    let url = door.url("127.0.0.1");
    let closed = plan(&shop, &url, &["--prometheus-ca", &ca]).await;
    assert_eq!(closed.code, 4);
    assert!(
        closed.stderr.contains("server_name under tls_config"),
        "{}",
        closed.stderr
    );
    let config = write(
        &shop,
        "http.yaml",
        "tls_config: {ca_file: ca.pem, server_name: prom.example.com}",
    );
    let open = plan(&shop, &url, &["--prometheus-config", &config]).await;
    assert_eq!(open.code, 0, "{}", open.stderr);
    let knock = door.knocks().pop().unwrap();
    assert!(
        knock.header("host").unwrap().starts_with("127.0.0.1:"),
        "{:?}",
        knock.headers
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_and_a_client_certificate_may_be_replaced_while_a_rollout_runs() {
    let shop = Shop::open().await;
    let (authority, other) = (Authority::new(), Authority::new());
    authority.root.write(&shop, "ca");
    let (first, second) = (authority.sign("canary"), other.sign("canary"));
    first.write(&shop, "client");
    let token = write(&shop, "token", "token-one");
    let accepted = Arc::new(Mutex::new("token-one".to_owned()));
    let current = Arc::clone(&accepted);
    let tls = authority.server("127.0.0.1", &[&authority, &other]);
    let door = Door::over_tls(&shop, tls, move |knock| {
        let expected = format!("Bearer {}", current.lock().unwrap());
        knock.wants("authorization", &expected, unauthorized("Bearer"))
    })
    .await;
    let url = door.url("127.0.0.1");
    let only_ca = shop.folder().join("ca.pem").display().to_string();
    let closed = plan(&shop, &url, &["--prometheus-ca", &only_ca]).await;
    assert!(
        closed
            .stderr
            .contains("cert_file and key_file under tls_config"),
        "{}",
        closed.stderr
    );

    let config = write(
        &shop,
        "http.yaml",
        "authorization: {credentials_file: token}\n\
         tls_config: {ca_file: ca.pem, cert_file: client.pem, key_file: client-key.pem}",
    );
    let mut flags = shop.brief();
    *flags.last_mut().unwrap() = url;
    flags[3] = "2s".into();
    flags.extend(["--prometheus-config".into(), config]);
    let driving = shop.run("start reviews --steps 20,60,100", &flags);
    let replacing = async {
        shop.until_canary_has(20).await;
        std::fs::write(&token, "token-two").unwrap();
        *accepted.lock().unwrap() = "token-two".into();
        second.write(&shop, "client");
    };
    let (ran, ()) = tokio::join!(driving, replacing);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let knocks = door.knocks();
    let of = |certificate: &crate::door::Certificate| {
        let is_its = |knock: &&Knock| knock.certificate.as_deref() == Some(&*certificate.der);
        knocks.iter().filter(is_its).count()
    };
    assert!(
        of(&first) > 1 && of(&second) > 1,
        "{} {}",
        of(&first),
        of(&second)
    );
    let connected = knocks.len();
    assert!(connected > 5, "{connected}");
    assert_eq!(
        knocks.last().unwrap().header("authorization"),
        Some("Bearer token-two")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_and_prefixes_are_sent_with_every_query() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, |knock| {
        let refused = Refused(401, Vec::new(), "no org id\n".into());
        knock.wants("x-scope-orgid", "shop", refused)?;
        match knock.path.as_str() {
            "/mimir/prometheus/api/v1/query" => Ok(()),
            _ => Err(Refused(404, Vec::new(), "404 page not found".into())),
        }
    })
    .await;
    let url = format!("{}/mimir/prometheus", door.url("127.0.0.1"));
    let header = "--prometheus-header";
    let fix = "--prometheus-header 'X-Scope-OrgID: TENANT'";
    opens(&shop, &url, fix, &[header, "X-Scope-OrgID: shop"]).await;
    let config = write(
        &shop,
        "http.yaml",
        "http_headers: {X-Scope-OrgID: {values: [shop]}}",
    );
    let ran = plan(&shop, &url, &["--prometheus-config", &config]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);

    let door = Door::open(&shop, |knock| {
        let text = "Bad Request. The request or configuration is malformed.";
        // In the URL, whatever the method.
        match knock.query.contains("namespace=shop") {
            true => Ok(()),
            false => Err(Refused(400, Vec::new(), text.into())),
        }
    })
    .await;
    let fix = "--prometheus-param namespace=NAMESPACE";
    let flags = ["--prometheus-param", "namespace=shop"];
    opens(&shop, &door.url("127.0.0.1"), fix, &flags).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_vendors_refusal_names_the_flag_that_helps_and_shows_no_page() {
    let shop = Shop::open().await;
    for (status, header, body, expected) in [
        (
            401,
            None,
            r#"{"status":"error","error":"authentication error: no credentials provided"}"#,
            "the instance's number as username",
        ),
        (
            401,
            None,
            r#"{"error":{"code":401,"message":"Request is missing required authentication credential.","status":"UNAUTHENTICATED"}}"#,
            "'gcloud auth print-access-token'",
        ),
        (
            403,
            None,
            r#"{"error":{"code":403,"message":"denied","status":"PERMISSION_DENIED"}}"#,
            "roles/monitoring.viewer",
        ),
        (
            403,
            None,
            r#"{"message":"Missing Authentication Token"}"#,
            "--prometheus-login aws",
        ),
        (
            302,
            Some((
                "location",
                "https://oauth-openshift.apps.example.com/oauth/authorize?state=hidden",
            )),
            "",
            "--prometheus-login cluster",
        ),
        (
            403,
            None,
            "Forbidden (user=system:anonymous, verb=get)",
            "cluster-monitoring-view",
        ),
        (
            302,
            Some((
                "location",
                "https://team.cloudflareaccess.com/cdn-cgi/access/login?kid=hidden",
            )),
            "",
            "CF-Access-Client-Id",
        ),
        (
            200,
            None,
            "<!DOCTYPE html><title>Sign in with Dex</title>",
            "(try: --prometheus-token-file or --prometheus-header",
        ),
        (401, None, "no org id", "'X-Scope-OrgID: TENANT'"),
        (
            429,
            None,
            "rate limit exceeded",
            "unavailable: too many requests: rate limit exceeded",
        ),
        (
            503,
            None,
            "no healthy upstream",
            "unavailable: no healthy upstream",
        ),
    ] {
        let door = Door::open(&shop, move |_| {
            let header = header.map(|(name, value): (&'static str, &str)| (name, value.to_owned()));
            Err(Refused(status, header.into_iter().collect(), body.into()))
        })
        .await;
        let ran = plan(&shop, &door.url("127.0.0.1"), &[]).await;
        assert_eq!(ran.code, 4, "{body}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{body}: {}", ran.stderr);
        for hidden in ["hidden", "<title>", "DOCTYPE"] {
            assert!(!ran.stderr.contains(hidden), "{}", ran.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_followed_is_refused_before_anything_is_asked() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, |_| Ok(())).await;
    let url = door.url("127.0.0.1");
    let file = write(&shop, "token", TOKEN);
    let with_user = url.replace("http://", &format!("http://me:{TOKEN}@"));
    let config = write(
        &shop,
        "http.yaml",
        "basic_auth: {username: me, password_file: token}",
    );
    let by_proxy = write(&shop, "proxy.yaml", "proxy_url: http://127.0.0.1:3128");
    let (token_file, token_command) = ("--prometheus-token-file", "--prometheus-token-command");
    let service = "istio-system/prometheus:9090";
    let cases: [(&str, &[&str], &str); 8] = [
        (
            &url,
            &[token_file, &file, token_command, "cat x"],
            "both log in at Prometheus (try: only one of them",
        ),
        (
            &with_user,
            &[token_file, &file],
            "the user in --prometheus and --prometheus-token-file both log in",
        ),
        (
            &url,
            &[token_file, &file, "--prometheus-config", &config],
            "--prometheus-token-file and basic_auth in --prometheus-config both log in",
        ),
        (
            &url,
            &[token_file, "/none/token"],
            "--prometheus-token-file /none/token: no such file or directory",
        ),
        (
            &url,
            &["--prometheus-header", TOKEN],
            "--prometheus-header without a colon (try: ",
        ),
        (
            &url,
            &["--prometheus-header", "Host: x"],
            "the header host cannot be set",
        ),
        (
            &url,
            &["--prometheus-param", "query=x"],
            "is a parameter of every query already",
        ),
        (
            service,
            &["--prometheus-config", &by_proxy],
            "proxy_url has no effect on a Prometheus that is reached through the API server",
        ),
    ];
    for (address, flags, expected) in cases {
        let ran = plan(&shop, address, flags).await;
        assert_eq!(ran.code, 2, "{flags:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{flags:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains(TOKEN), "{}", ran.stderr);
    }
    assert!(door.knocks().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_sent_to_a_service_that_only_looks_like_prometheus() {
    let shop = Shop::open().await;
    shop.world.set(|stage| {
        stage.delete("services", "istio-system", "prometheus");
        stage.apply(serde_json::json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "shop", "name": "prometheus"},
            "spec": {"ports": [{"name": "web", "port": 9090, "protocol": "TCP"}]},
        }));
        stage.prometheus_behind("shop", "prometheus", "", &[]);
    });
    for (header, takes_it) in [("X-Api-Key: SECRET", false), ("X-Scope-OrgID: shop", true)] {
        let mut flags = shop.brief();
        // Without its last two, the address.
        flags.truncate(flags.len() - 2);
        flags.extend(["--prometheus-header".to_owned(), header.to_owned()]);
        let ran = shop.run("plan reviews", &flags).await;
        let found = ran
            .stdout
            .contains("shop/prometheus:9090 (found in the cluster)");
        assert_eq!(found, takes_it, "{} {}", ran.stdout, ran.stderr);
        let calls = shop.world.calls();
        let is_asked = |call: &&kubectl_canary::sandbox::Call| {
            call.path
                .contains("namespaces/shop/services/http:prometheus:9090/proxy")
        };
        assert_eq!(calls.iter().any(|call| is_asked(&call)), takes_it);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_header_passes_the_api_server() {
    let shop = Shop::open().await;
    let flags = [
        "--prometheus-header",
        "X-Scope-OrgID: shop",
        "--prometheus-param",
        "namespace=shop",
    ];
    let ran = plan(&shop, "istio-system/prometheus:9090", &flags).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let calls = shop.world.calls();
    let mut queries = calls.iter().filter(|call| call.path.contains("/proxy/"));
    assert!(
        queries.all(|call| call.query.starts_with("namespace=shop&query=")),
        "{calls:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_that_began_elsewhere_is_resumed_with_the_address_of_here() {
    let shop = Shop::open().await;
    let gone = Door::open(&shop, wants_token).await;
    let file = write(&shop, "token", TOKEN);
    let mut flags = shop.brief();
    *flags.last_mut().unwrap() = gone.url("127.0.0.1");
    flags.extend([
        "--prometheus-token-file".into(),
        file.clone(),
        "--no-wait".into(),
    ]);
    let ran = shop.run("start reviews", &flags).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let annotations = shop.reviews()["metadata"]["annotations"].to_string();
    assert!(!annotations.contains(TOKEN) && !annotations.contains("token-file"));

    // Whoever may write the object would get the token.
    let token = ["--prometheus-token-file".to_owned(), file.clone()];
    for line in ["resume reviews", "promote reviews --wait"] {
        let ran = shop.run(line, &token).await;
        assert_eq!(ran.code, 2, "{line}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("(try: --prometheus URL beside it)"),
            "{}",
            ran.stderr
        );
    }
    let knocks = gone.knocks().len();
    let here = Door::open(&shop, wants_token).await;
    let mut flags = token.to_vec();
    flags.extend(["--prometheus".into(), here.url("127.0.0.1")]);
    let ran = shop.run("analyze reviews", &flags).await;
    assert_ne!(ran.code, 2, "{}", ran.stderr);
    let ran = shop.run("resume reviews", &flags).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(here.knocks().len() > 5);
    assert_eq!(gone.knocks().len(), knocks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_logs_in_with_a_secret_and_with_nothing_of_this_machine() {
    let shop = Shop::open().await;
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "kubectl-canary", "namespace": "shop"},
    });
    shop.world.set(|stage| stage.apply(account));
    let door = Door::open(&shop, wants_token).await;
    let file = write(&shop, "token", TOKEN);
    let mut flags = shop.brief();
    *flags.last_mut().unwrap() = door.url("127.0.0.1");
    let more = [
        "--prometheus-token-file",
        &file,
        "--prometheus-param",
        "namespace=shop",
    ];
    flags.extend(more.map(str::to_owned));
    let line = "start reviews --detach --image canary:1 --begin-within 1s";
    let ran = shop.run(line, &flags).await;
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("(try: --prometheus-secret NAME, of kubectl create secret generic NAME --from-file=config.yaml=FILE)"),
        "{}",
        ran.stderr
    );

    flags.extend([
        "--prometheus-secret".to_owned(),
        "prometheus-login".to_owned(),
    ]);
    let ran = shop.run(line, &flags).await;
    // There is no kubelet here that would run it.
    assert!(
        ran.stderr.contains("did not start the rollout"),
        "{}",
        ran.stderr
    );
    let mut job = None;
    shop.world.set(|stage| {
        let name = stage.names("jobs", "shop").first().cloned().unwrap();
        job = stage.object("jobs", "shop", &name);
    });
    let job = job.unwrap();
    let text = job.to_string();
    assert!(!text.contains(TOKEN) && !text.contains(&file), "{text}");
    let args = job["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert!(
        args.contains(r#""--prometheus-config","/etc/kubectl-canary-prometheus/config.yaml","--prometheus-param","namespace=shop""#),
        "{args}"
    );
    assert!(
        text.contains(r#""secretName":"prometheus-login""#),
        "{text}"
    );
}
