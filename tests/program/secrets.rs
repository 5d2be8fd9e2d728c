//! Whatever secrets are planted where the program meets the texts of others, none of them comes out.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::Shop;

/// A word that no pattern takes for a secret by itself.
const SECRET: &str = "opensesame";
/// The same in base64, as `Basic` and kubeconfigs have it; the second behind `me:`.
const ENCODED: [&str; 2] = ["b3BlbnNlc2FtZQ", "bWU6b3BlbnNlc2FtZQ"];

/// Something in which a secret is planted.
struct Planted {
    what: &'static str,
    user: Value,
    cluster: Value,
    /// Instead of a kubeconfig of these two.
    kubeconfig: Option<String>,
    env: Option<(&'static str, String)>,
    line: String,
}

fn planted(what: &'static str) -> Planted {
    Planted {
        what,
        user: json!({}),
        cluster: json!({}),
        kubeconfig: None,
        env: None,
        line: "status reviews".into(),
    }
}

fn of_user(what: &'static str, user: Value) -> Planted {
    Planted {
        user,
        ..planted(what)
    }
}

fn of_cluster(what: &'static str, cluster: Value) -> Planted {
    Planted {
        cluster,
        ..planted(what)
    }
}

fn of_file(what: &'static str, text: &str) -> Planted {
    Planted {
        kubeconfig: Some(text.replace("SECRET", SECRET)),
        ..planted(what)
    }
}

fn of_line(what: &'static str, line: &str) -> Planted {
    Planted {
        line: line.replace("SECRET", SECRET),
        ..planted(what)
    }
}

/// A plugin that runs this script.
fn exec(what: &'static str, script: &str) -> Planted {
    let script = script.replace("SECRET", SECRET);
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script]});
    of_user(what, json!({"exec": exec}))
}

fn provider(what: &'static str, name: &str, config: Value) -> Planted {
    of_user(
        what,
        json!({"auth-provider": {"name": name, "config": config}}),
    )
}

/// A server that says all that it was sent, in a form that depends on the path before the API's own.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(answer);
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let said = format!(
        "{} {:?} {}",
        parts.uri,
        parts.headers,
        String::from_utf8_lossy(&body)
    );
    let mut path = parts.uri.path().split('/').skip(1);
    let (form, code) = (
        path.next().unwrap_or_default(),
        path.next().unwrap_or_default(),
    );
    let code: u16 = code.parse().unwrap_or(403);
    let text = match form {
        "status" => json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": said, "reason": "Other", "code": code}).to_string(),
        "object" => json!({"apiVersion": said, "kind": [said]}).to_string(),
        "prometheus" => json!({"status": "error", "errorType": said, "error": said}).to_string(),
        _ => said,
    };
    Ok(Response::builder()
        .status(code)
        .body(Full::from(text))
        .unwrap())
}

fn plantings(echo: SocketAddr) -> Vec<Planted> {
    let at = |place: &str| json!({"server": format!("http://{echo}/{place}")});
    let echoed = |what, user: Value, place: &str| Planted {
        cluster: at(place),
        ..of_user(what, user)
    };
    let prometheus =
        |what, address: &str| of_line(what, &format!("plan reviews --prometheus {address}"));
    let basic = json!({"username": "me", "password": SECRET});
    let token = json!({"token": SECRET});
    let encoded = |text: &str| json!(text);
    vec![
        // What is echoed by a server.
        echoed("token, echoed as a status", token.clone(), "status/403"),
        echoed("token, echoed with 401", token.clone(), "status/401"),
        echoed("token, echoed with 422", token.clone(), "status/422"),
        echoed("token, echoed with 500", token.clone(), "status/500"),
        echoed("token, echoed as text", token.clone(), "text/403"),
        echoed("token, echoed as an object", token.clone(), "object/200"),
        echoed(
            "token, echoed as text of a success",
            token.clone(),
            "text/200",
        ),
        echoed("password, echoed", basic.clone(), "status/403"),
        echoed("password, echoed as text", basic, "text/500"),
        echoed(
            "as-user-extra, echoed",
            json!({"as": "me", "as-user-extra": {"token": [SECRET]}}),
            "status/403",
        ),
        exec(
            "token of a plugin, no server",
            "echo '{\"status\":{\"token\":\"SECRET\"}}'",
        ),
        Planted {
            cluster: at("status/403"),
            ..exec(
                "token of a plugin, echoed",
                "echo '{\"status\":{\"token\":\"SECRET\"}}'",
            )
        },
        Planted {
            cluster: at("status/403"),
            ..of_line("--token, echoed", "status reviews --token SECRET")
        },
        of_cluster(
            "server's query",
            json!({"server": format!("http://127.0.0.1:1/?token={SECRET}")}),
        ),
        of_cluster(
            "server's path",
            json!({"server": format!("http://127.0.0.1:1/{SECRET}")}),
        ),
        of_cluster(
            "server's user",
            json!({"server": format!("http://me:{SECRET}@127.0.0.1:1")}),
        ),
        // Plugins.
        exec("plugin's stdout", "echo SECRET; exit 1"),
        exec("plugin's stderr", "echo SECRET >&2; exit 1"),
        exec("plugin's arguments", "exit 3 # SECRET"),
        exec("plugin's stdout, no credential", "echo '[SECRET'"),
        exec(
            "plugin's stdout, of another type",
            "echo '{\"status\":{\"token\":[\"SECRET\"]}}'",
        ),
        exec("plugin that is killed", "echo SECRET; kill -9 $$"),
        of_user(
            "plugin's environment",
            json!({"exec": {"command": "sh", "args": ["-c", "echo $TOKEN >&2; exit 1"], "env": [{"name": "TOKEN", "value": SECRET}]}}),
        ),
        of_user(
            "arguments of a plugin that is not there",
            json!({"exec": {"command": "/none/plugin", "args": ["--password", SECRET]}}),
        ),
        of_user(
            "arguments of a plugin that needs a terminal",
            json!({"exec": {"command": "sh", "args": [SECRET], "interactiveMode": "Always"}}),
        ),
        provider(
            "auth-provider's command",
            "gcp",
            json!({"cmd-path": "sh", "cmd-args": format!("-c {SECRET}")}),
        ),
        provider(
            "auth-provider's output",
            "gcp",
            json!({"cmd-path": "echo", "cmd-args": SECRET, "token-key": "{.token}"}),
        ),
        provider(
            "auth-provider's expiry",
            "gcp",
            json!({"access-token": SECRET, "expiry": SECRET}),
        ),
        provider(
            "auth-provider of another kind",
            "azure",
            json!({"client-secret": SECRET}),
        ),
        // Certificates and keys.
        of_user(
            "client-key-data",
            json!({"client-key-data": encoded(SECRET), "client-certificate-data": encoded(SECRET)}),
        ),
        of_user(
            "client-key-data without a certificate",
            json!({"client-key-data": encoded("b3BlbnNlc2FtZQ==")}),
        ),
        of_cluster(
            "certificate-authority-data",
            json!({"server": "https://127.0.0.1:1", "certificate-authority-data": encoded(SECRET)}),
        ),
        // Headers that cannot be sent.
        of_user(
            "token with a line break",
            json!({"token": format!("{SECRET}\nx")}),
        ),
        of_user(
            "impersonated user with a line break",
            json!({"as": format!("{SECRET}\nx")}),
        ),
        // Proxies.
        of_cluster(
            "proxy-url",
            json!({"proxy-url": format!("http://me:{SECRET}@127.0.0.1:1")}),
        ),
        of_cluster(
            "proxy-url over TLS",
            json!({"proxy-url": format!("https://me:{SECRET}@127.0.0.1:1")}),
        ),
        of_cluster(
            "proxy-url of SOCKS",
            json!({"proxy-url": format!("socks5://me:{SECRET}@127.0.0.1:1")}),
        ),
        of_cluster(
            "proxy-url of an unknown kind",
            json!({"proxy-url": format!("gopher://me:{SECRET}@127.0.0.1:1")}),
        ),
        of_cluster(
            "proxy-url that is none",
            json!({"proxy-url": format!("http://me:{SECRET}@ 127.0.0.1:1")}),
        ),
        of_cluster(
            "proxy-url without a scheme",
            json!({"proxy-url": format!("me:{SECRET}@127.0.0.1")}),
        ),
        Planted {
            env: Some(("HTTPS_PROXY", format!("http://me:{SECRET}@127.0.0.1:1"))),
            ..planted("HTTPS_PROXY")
        },
        // Kubeconfigs that cannot be read.
        of_file(
            "kubeconfig, torn",
            "users:\n- name: a\n  user: {token: SECRET",
        ),
        of_file(
            "kubeconfig, of other types",
            "users:\n- name: a\n  user: {token: [SECRET]}",
        ),
        of_file("kubeconfig, of one word", "SECRET"),
        of_file(
            "kubeconfig, badly indented",
            "users:\n- name: a\n   token: SECRET\n  x: [",
        ),
        of_file("kubeconfig, a list", "- token: SECRET"),
        of_file("kubeconfig, users are a word", "users: SECRET"),
        of_file("kubeconfig, twice the same key", "users: []\nusers: SECRET"),
        of_file(
            "kubeconfig without a context",
            "users:\n- {name: a, user: {token: SECRET}}",
        ),
        // Flags.
        of_line(
            "--server",
            "status reviews --server http://me:SECRET@127.0.0.1:1",
        ),
        of_line(
            "--server that is none",
            "status reviews --server http://me:SECRET@[x",
        ),
        of_line(
            "--server's query",
            "status reviews --server http://127.0.0.1:1/?token=SECRET",
        ),
        of_line(
            "--request-timeout",
            "status reviews --request-timeout token=SECRET",
        ),
        of_line("another argument", "status reviews https://me:SECRET@prom"),
        prometheus("--prometheus' user", "http://me:SECRET@127.0.0.1:1"),
        prometheus("--prometheus' user alone", "http://SECRET@127.0.0.1:1"),
        prometheus("--prometheus' user without a scheme", "me:SECRET@127.0.0.1"),
        prometheus(
            "--prometheus' user without a scheme, with a path",
            "me:SECRET@prom/x:9090",
        ),
        prometheus("--prometheus' user as a Service", "mon/me:SECRET@prom:9090"),
        prometheus("--prometheus' query", "http://127.0.0.1:1/?token=SECRET"),
        prometheus("--prometheus' fragment", "http://127.0.0.1:1/#SECRET"),
        prometheus(
            "--prometheus' user of another scheme",
            "ftp://me:SECRET@127.0.0.1:1",
        ),
        of_line(
            "--prometheus' user, unanalyzed",
            "start reviews --unanalyzed --steps 100 --prometheus me:SECRET@prom/x:9090",
        ),
    ]
}

/// The login at Prometheus, each with a server that repeats all that it is sent, or a setting that is wrong.
fn of_prometheus(shop: &Shop, echo: SocketAddr) -> Vec<Planted> {
    let folder = shop.folder().display().to_string();
    let file = |name: &str, text: &str| {
        let path = shop.folder().join(name);
        std::fs::write(&path, text.replace("SECRET", SECRET)).unwrap();
        path.display().to_string()
    };
    let token = file("token", "SECRET\n");
    let mut planted = Vec::new();
    for place in ["prometheus/400", "text/401", "text/200"] {
        let mut plant = |what, flags: &str| {
            let line = format!("plan reviews --prometheus http://{echo}/{place} {flags}");
            planted.push(of_line(what, &line));
        };
        plant(
            "token file, echoed",
            &format!("--prometheus-token-file {token}"),
        );
        plant("header, echoed", "--prometheus-header X-Key:SECRET");
        plant(
            "token command, echoed",
            &format!("--prometheus-token-command=cat\t{token}"),
        );
        let password = file(
            "password.yaml",
            "basic_auth: {username: me, password: SECRET}",
        );
        plant(
            "password, echoed",
            &format!("--prometheus-config {password}"),
        );
        let header = file("header.yaml", "http_headers: {X-Key: {secrets: [SECRET]}}");
        plant(
            "secret header, echoed",
            &format!("--prometheus-config {header}"),
        );
        let header = file(
            "header-file.yaml",
            "http_headers: {X-Key: {files: [token]}}",
        );
        plant(
            "header of a file, echoed",
            &format!("--prometheus-config {header}"),
        );
        let oauth2 = format!(
            "oauth2: {{client_id: me, client_secret: SECRET, token_url: 'http://{echo}/{place}'}}"
        );
        let oauth2 = file(&format!("oauth2-{}.yaml", place.replace('/', "-")), &oauth2);
        plant(
            "client secret, echoed",
            &format!("--prometheus-config {oauth2}"),
        );
        let line = format!("plan reviews --prometheus http://me:SECRET@{echo}/{place}");
        planted.push(of_line("user in the URL, echoed", &line));
    }
    for (name, text) in [
        ("torn", "basic_auth: {password: SECRET"),
        ("word", "SECRET"),
        ("other", "authorization: SECRET"),
        (
            "scheme",
            "authorization: {type: basic, credentials: SECRET}",
        ),
        ("proxy", "proxy_url: 'gopher://me:SECRET@proxy'"),
        ("away", "proxy_url: 'http://me:SECRET@127.0.0.1:1'"),
        ("key", "tls_config: {cert: SECRET, key: SECRET}"),
        (
            "url",
            "oauth2: {client_id: me, token_url: 'https://me:SECRET@[x'}",
        ),
    ] {
        let config = file(&format!("{name}.yaml"), text);
        let line = format!("plan reviews --prometheus http://{echo} --prometheus-config {config}");
        planted.push(of_line("configuration that cannot be used", &line));
    }
    for flags in [
        "--prometheus-header SECRET".to_owned(),
        "--prometheus-token-command /none/SECRET/login".to_owned(),
        format!("--prometheus-token-command=cat\t{folder}/none-{SECRET}"),
        "--prometheus-param SECRET".to_owned(),
        "--prometheus-login SECRET-token:SECRET@x".to_owned(),
    ] {
        let line = format!("plan reviews --prometheus http://{echo} {flags}");
        planted.push(of_line("flag that cannot be followed", &line));
    }
    planted
}

fn assert_kept(what: &str, where_: &str, text: &str) {
    for secret in [SECRET].iter().chain(&ENCODED) {
        assert!(
            !text.contains(secret),
            "{what} came out in {where_}: {text}"
        );
    }
}

/// The kubeconfig of a planting.
fn kubeconfig(shop: &Shop, planted: &Planted) -> String {
    if let Some(text) = &planted.kubeconfig {
        return text.clone();
    }
    let mut cluster = json!({"server": shop.server()});
    let given = planted.cluster.as_object().into_iter().flatten();
    for (name, value) in given {
        cluster[name] = value.clone();
    }
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": cluster}],
        "users": [{"name": "a", "user": planted.user}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "shop"}}],
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_planted_secret_comes_out() {
    let shop = Shop::open().await;
    let echo = echo().await;
    let mut plantings = plantings(echo);
    plantings.extend(of_prometheus(&shop, echo));
    assert!(plantings.len() > 80);
    let file = shop.folder().join("planted");
    let events = shop.folder().join("events.jsonl");
    for planted in plantings {
        std::fs::write(&file, kubeconfig(&shop, &planted)).unwrap();
        // What is in a kubeconfig is in the way of every command.
        let lines = match planted.line.as_str() {
            "status reviews" => vec!["status reviews", "plan reviews"],
            line => vec![line],
        };
        for line in lines {
            let mut command = shop.program(line, &[]);
            command
                .env("KUBECONFIG", &file)
                .arg("-v")
                .arg("--events")
                .arg(&events);
            command.args(
                ["--request-timeout", "1s"]
                    .iter()
                    .filter(|_| !line.contains("--request-timeout")),
            );
            if let Some((name, value)) = &planted.env {
                command.env(name, value);
            }
            let ran = Shop::ran(command).await;
            assert_kept(planted.what, "stdout", &ran.stdout);
            assert_kept(planted.what, "stderr", &ran.stderr);
            assert_ne!(
                ran.stdout + &ran.stderr,
                "",
                "{} says nothing",
                planted.what
            );
        }
    }
    assert_kept(
        "something",
        "events",
        &std::fs::read_to_string(&events).unwrap_or_default(),
    );
    assert_kept("something", "the object", &shop.reviews().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_repeats_what_it_is_sent_tells_nothing() {
    let shop = Shop::open().await;
    let echo = echo().await;
    let events = shop.folder().join("events.jsonl");
    for place in [
        "prometheus/400",
        "prometheus/422",
        "prometheus/503",
        "text/401",
        "text/403",
        "text/200",
        "text/500",
    ] {
        for line in ["plan reviews", "start reviews"] {
            let flags = format!(
                "-v --prometheus http://{echo}/{place}/{SECRET} --events {}",
                events.display()
            );
            let flags: Vec<_> = flags.split(' ').map(str::to_owned).collect();
            let ran = shop.run(line, &flags).await;
            assert_kept(place, "stderr", &ran.stderr);
            assert_eq!(ran.code, 4, "{place}: {}", ran.stderr);
        }
    }
    assert_kept(
        "something",
        "events",
        &std::fs::read_to_string(&events).unwrap_or_default(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_is_shown_without_a_secret() {
    let shop = Shop::open().await;
    let config = shop.folder().join("prometheus.yaml");
    let text = format!(
        "basic_auth: {{username: me, password: {SECRET}}}\nhttp_headers: {{X-Key: {{secrets: [{SECRET}]}}}}"
    );
    std::fs::write(&config, text).unwrap();
    let of_config = format!("--prometheus-config {}", config.display());
    let script = format!("echo '{{\"status\":{{\"token\":\"{SECRET}\"}}}}'");
    let plugin = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
        "interactiveMode": "Never",
    }});
    for (user, line, flags) in [
        (
            plugin,
            "plan reviews",
            format!("--prometheus-header X-Key:{SECRET}"),
        ),
        (json!({"token": SECRET}), "start reviews", of_config),
    ] {
        shop.log_in_as(&user);
        let mut more = shop.brief();
        more.push("-v".into());
        more.extend(flags.split(' ').map(str::to_owned));
        let ran = shop.run(line, &more).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        for asked in ["request: GET /apis/", "query: ok in "] {
            assert!(ran.stderr.contains(asked), "{line}: {}", ran.stderr);
        }
        let is_start = line.starts_with("start");
        assert_eq!(ran.stderr.contains("request: PATCH /apis/"), is_start);
        assert_kept(line, "stdout", &ran.stdout);
        assert_kept(line, "stderr", &ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_on_the_object_is_not_shown() {
    let shop = Shop::open().await;
    for (name, text) in [
        (
            "kubectl-canary.dev/rollout",
            format!("{{\"version\":1,\"run\":[\"{SECRET}\"]}}"),
        ),
        (
            "kubectl-canary.dev/rollout",
            format!("{{\"version\":1,\"{SECRET}\":1}}"),
        ),
        ("kubectl-canary.dev/rollout", SECRET.to_owned()),
        (
            "kubectl-canary.dev/last",
            format!("{{\"version\":1,\"outcome\":\"{SECRET}\"}}"),
        ),
        ("kubectl-canary.dev/last", SECRET.to_owned()),
        (
            "kubectl.kubernetes.io/last-applied-configuration",
            format!("{{\"a\":\"{SECRET}\"}}"),
        ),
        ("vault.example/token", SECRET.to_owned()),
    ] {
        let annotate = |vs: &mut Value| vs["metadata"]["annotations"] = json!({name: text});
        shop.world
            .edit("virtualservices", "shop", "reviews", "meddler", annotate);
        for line in [
            "status reviews",
            "status reviews -o json",
            "list --all",
            "plan reviews",
            "abort reviews",
            "promote reviews",
            "pause reviews",
            "resume reviews",
        ] {
            let ran = shop.run(line, &[]).await;
            assert_kept(name, line, &format!("{}{}", ran.stdout, ran.stderr));
        }
    }
}
