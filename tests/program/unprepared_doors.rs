//! Doors that nobody prepared for this program: pasted addresses, proxies on the way, servers with habits.
//!
//! Each message names the setting that settles it, and what needs no setting just works.

use std::sync::Arc;

use crate::door::{Authority, Door, Refused};
use crate::doors::{plan, write};
use crate::harness::{Ran, Shop};

/// `plan reviews` at the end of this environment.
async fn plan_with(shop: &Shop, address: &str, environment: &[(&str, &str)]) -> Ran {
    let mut flags = shop.brief();
    *flags.last_mut().unwrap() = address.to_owned();
    let mut program = shop.program("plan reviews", &flags);
    program.envs(environment.iter().copied());
    let mut ran = Shop::ran(program).await;
    ran.stderr = format!("{}{}", ran.stdout, ran.stderr);
    ran
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_pasted_from_the_browser_opens() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, |knock| match knock.path.as_str() {
        "/api/v1/query" | "/select/0/prometheus/api/v1/query" => Ok(()),
        _ => Err(Refused(404, Vec::new(), "404 page not found".into())),
    })
    .await;
    let url = door.url("127.0.0.1");
    for path in [
        "/",
        "/graph",
        "/graph?g0.expr=up&g0.tab=1",
        "/query?g0.expr=up",
        "/api/v1",
        "/api/v1/query?query=up",
        "/api/v1/query_range?query=up&step=1",
        "/classic/graph",
        "/select/0/vmui/#/?g0.expr=up",
        "/select/0/prometheus/api/v1/query",
    ] {
        let ran = plan(&shop, &format!("{url}{path}"), &[]).await;
        assert_eq!(ran.code, 0, "{path}: {}", ran.stderr);
    }
    let ran = plan(&shop, "istio-system/prometheus:9090/api/v1", &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_lacks_something_is_told_what() {
    let shop = Shop::open().await;
    for (address, expected) in [
        ("prom.example.com", "a URL begins with http:// or https://"),
        (
            "prom.example.com:9090",
            "a URL begins with http:// or https://",
        ),
        ("localhost:9090/", "a URL begins with http:// or https://"),
        (
            "prom.example.com/prometheus",
            "a URL begins with http:// or https://",
        ),
        ("[::1]:9090", "a URL begins with http:// or https://"),
        (
            "https:/prom.example.com",
            "a URL begins with http:// or https://",
        ),
        (
            "https://prom.example.com/?tenant=shop",
            "--prometheus-param NAME=VALUE",
        ),
    ] {
        let ran = plan(&shop, address, &[]).await;
        assert_eq!(ran.code, 2, "{address}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{address}: {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_servers_habit_is_told_with_what_settles_it() {
    let shop = Shop::open().await;
    for (status, body, expected) in [
        (
            400,
            "remoteAddr: \"10.0.0.1:53542\"; requestURI: /api/v1/query; unsupported path requested: \"/api/v1/query\"",
            "the path before /api/v1",
        ),
        (404, "404 page not found", "the path before /api/v1"),
        (404, r#"{"message":"Not found"}"#, "the path before /api/v1"),
        (
            200,
            "<!doctype html><title>Prometheus Time Series</title>",
            "path prefix",
        ),
        (
            400,
            "<html><center>The plain HTTP request was sent to HTTPS port</center></html>",
            "--prometheus with https://",
        ),
        (429, "rate limit exceeded", "a longer --interval"),
        (
            429,
            r#"{"status":"error","errorType":"too_many_requests","error":"too many outstanding requests"}"#,
            "a longer --interval",
        ),
        (
            401,
            r#"{"message":"invalid api key"}"#,
            "--prometheus-header",
        ),
        (407, "", "user and password in the URL of the proxy"),
    ] {
        let door = Door::open(&shop, move |_| {
            Err(Refused(status, Vec::new(), body.into()))
        })
        .await;
        let ran = plan(&shop, &door.url("127.0.0.1"), &[]).await;
        assert_eq!(ran.code, 4, "{body}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{body}: {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_over_or_an_authority_itself_is_told_as_such() {
    let shop = Shop::open().await;
    let authority = Authority::new();
    authority.root.write(&shop, "ca");
    let ca = shop.folder().join("ca.pem").display().to_string();
    let door = Door::over_tls(&shop, authority.server_until("127.0.0.1", 2020), |_| Ok(())).await;
    let ran = plan(&shop, &door.url("127.0.0.1"), &["--prometheus-ca", &ca]).await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    for words in [
        "expired",
        "a new certificate for the server",
        "insecure_skip_verify",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    // As `openssl req -x509` makes them.
    let door = Door::over_tls(&shop, authority.as_server(), |_| Ok(())).await;
    let ran = plan(&shop, &door.url("127.0.0.1"), &["--prometheus-ca", &ca]).await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    for words in ["no authority itself", "insecure_skip_verify"] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_of_the_environment_is_named_and_does_not_get_loopback() {
    let shop = Shop::open().await;
    let knocked = Door::open(&shop, |_| {
        Err(Refused(503, Vec::new(), "no such host".into()))
    })
    .await;
    let proxy = knocked.url("127.0.0.1");
    let direct = Door::open(&shop, |_| Ok(())).await;
    let environment = [("HTTP_PROXY", proxy.as_str()), ("http_proxy", &proxy)];
    // As kubectl has it.
    for host in ["127.0.0.1", "localhost"] {
        let ran = plan_with(&shop, &direct.url(host), &environment).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert!(knocked.knocks().is_empty());
    let ran = plan_with(&shop, "http://prom.example.com:9090", &environment).await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(!knocked.knocks().is_empty());
    let through = "http://prom.example.com:9090 through the proxy of the environment";
    assert!(ran.stderr.contains(through), "{}", ran.stderr);
    assert!(ran.stderr.contains("NO_PROXY"), "{}", ran.stderr);
    // Nothing listens there.
    let closed = [
        ("HTTPS_PROXY", "http://127.0.0.1:1"),
        ("NO_PROXY", "127.0.0.1"),
    ];
    let ran = plan_with(&shop, "https://prom.example.com", &closed).await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("through the proxy of the environment"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("NO_PROXY"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_is_asked_through_the_proxy_that_kubectl_would_take() {
    let shop = Shop::open().await;
    let proxy = Door::open(&shop, |_| Err(Refused(503, Vec::new(), "away".into()))).await;
    let url = proxy.url("127.0.0.1");
    let environment = [("HTTPS_PROXY", url.as_str()), ("HTTP_PROXY", &url)];
    let run = async |server: &str, without: &str| {
        let more = ["--server".to_owned(), server.to_owned()];
        let mut program = shop.program("status reviews", &more);
        program.envs(environment).env("NO_PROXY", without);
        Shop::ran(program).await
    };
    // kind, minikube and a tunnel are on the loopback.
    let ran = run(&shop.server(), "").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = run(
        "http://api.example.invalid:6443",
        "other.com,.example.invalid",
    )
    .await;
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    assert!(proxy.knocks().is_empty());
    let ran = run("http://api.example.invalid:6443", "other.com").await;
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    let methods: Vec<_> = proxy
        .knocks()
        .into_iter()
        .map(|knock| knock.method)
        .collect();
    assert_eq!(methods.first().map(String::as_str), Some("CONNECT"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_query_goes_the_way_that_is_open() {
    let shop = Shop::open().await;
    // Long through its scope, which no series is in.
    let scope = format!("nowhere={}", "x".repeat(2100));
    let flags = ["--query-scope", scope.as_str()];
    let long = |knock: &crate::door::Knock| knock.query.len() + knock.body.len() > 2000;
    let no_post = Door::open(&shop, move |knock| match knock.method.as_str() {
        "GET" => Ok(()),
        _ => Err(Refused(
            405,
            vec![("allow", "GET".into())],
            "Method Not Allowed".into(),
        )),
    })
    .await;
    let ran = plan(&shop, &no_post.url("127.0.0.1"), &flags).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        no_post
            .knocks()
            .iter()
            .any(|knock| long(knock) && knock.method == "GET")
    );

    let short_lines = Door::open(&shop, move |knock| {
        // A gate for tenants looks at the URL whatever the method.
        if !knock.query.contains("tenant=shop") {
            return Err(Refused(400, Vec::new(), "whose".into()));
        }
        match knock.query.len() {
            ..2000 => Ok(()),
            _ => Err(Refused(
                414,
                Vec::new(),
                "<html>414 Request-URI Too Large</html>".into(),
            )),
        }
    })
    .await;
    let mut flags = flags.to_vec();
    flags.extend(["--prometheus-param", "tenant=shop"]);
    let ran = plan(&shop, &short_lines.url("127.0.0.1"), &flags).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        short_lines
            .knocks()
            .iter()
            .any(|knock| long(knock) && knock.method == "POST")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_to_tls_is_told_and_the_login_stays_at_home() {
    let shop = Shop::open().await;
    let authority = Authority::new();
    authority.root.write(&shop, "ca");
    let secure =
        Arc::new(Door::over_tls(&shop, authority.server("127.0.0.1", &[]), |_| Ok(())).await);
    let to = secure.url("127.0.0.1");
    let location = format!("{to}/api/v1/query");
    let door = Door::open(&shop, move |_| {
        Err(Refused(
            301,
            vec![("location", location.clone())],
            String::new(),
        ))
    })
    .await;
    let token = write(&shop, "token", "open-sesame");
    let ran = plan(
        &shop,
        &door.url("127.0.0.1"),
        &["--prometheus-token-file", &token],
    )
    .await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr.contains(&format!("redirects to {to}")),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("--prometheus with the final address"),
        "{}",
        ran.stderr
    );
    assert!(secure.knocks().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_under_other_names_are_told_with_what_gives_them_back() {
    let shop = Shop::open().await;
    for (labels, expected) in [
        (
            r#""__name__":"mesh_istio_requests","reporter":"source""#,
            "has mesh_istio_requests in place of istio_requests_total",
        ),
        (
            r#""__name__":"istio_requests_total""#,
            "has the label reporter",
        ),
    ] {
        let door = Door::open(&shop, move |knock| {
            let found = match knock.query.contains("__name__") {
                true => format!(r#"{{"metric":{{{labels}}},"value":[1,"8"]}}"#),
                false => String::new(),
            };
            let body = format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{found}]}}}}"#
            );
            Err(Refused(200, Vec::new(), body))
        })
        .await;
        let ran = plan(&shop, &door.url("127.0.0.1"), &[]).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_query_keeps_its_form_where_it_is_redirected_within_the_host() {
    let shop = Shop::open().await;
    let scope = format!("nowhere={}", "x".repeat(2100));
    for status in [301, 302, 307, 308] {
        let door = Door::open(&shop, move |knock| match knock.path.as_str() {
            "/api/v1/query" => {
                let query = match knock.query.as_str() {
                    "" => String::new(),
                    query => format!("?{query}"),
                };
                let to = format!("/moved/api/v1/query{query}");
                Err(Refused(status, vec![("location", to)], String::new()))
            }
            _ => Ok(()),
        })
        .await;
        let flags = ["--query-scope", scope.as_str()];
        let ran = plan(&shop, &door.url("127.0.0.1"), &flags).await;
        assert_eq!(ran.code, 0, "{status}: {}", ran.stderr);
        let mut knocks = door.knocks().into_iter();
        let arrived = knocks.any(|knock| {
            knock.method == "POST" && knock.path.starts_with("/moved") && !knock.body.is_empty()
        });
        assert!(arrived, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_from_http_to_https_of_the_host_is_followed_without_a_login_alone() {
    let shop = Shop::open().await;
    let authority = Authority::new();
    authority.root.write(&shop, "ca");
    let ca = shop.folder().join("ca.pem").display().to_string();
    let tls = Door::over_tls(&shop, authority.server("127.0.0.1", &[]), |_| Ok(())).await;
    let secure = tls.url("127.0.0.1");
    let elsewhere = Door::open(&shop, |_| Ok(())).await;
    let (there, away) = (secure.clone(), elsewhere.url("localhost"));
    let plain = Door::open(&shop, move |knock| {
        let base = if knock.path.starts_with("/away") {
            &away
        } else {
            &there
        };
        let to = format!("{base}/api/v1/query?{}", knock.query);
        Err(Refused(301, vec![("location", to)], String::new()))
    })
    .await;
    let url = plain.url("127.0.0.1");
    let trusts = ["--prometheus-ca", ca.as_str()];
    let scope = format!("nowhere={}", "x".repeat(2100));
    for more in [&[][..], &["--query-scope", scope.as_str()]] {
        let ran = plan(&shop, &url, &[&trusts[..], more].concat()).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let token = write(&shop, "token", "open-sesame-4713");
    let with_login = ["--prometheus-token-file", token.as_str()];
    let before = tls.knocks().len();
    let ran = plan(&shop, &url, &[trusts, with_login].concat()).await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr.contains(&format!("redirects to {secure}")),
        "{}",
        ran.stderr
    );
    assert_eq!(tls.knocks().len(), before);
    // Another host is nowhere to go, with a login or without.
    let ran = plan(&shop, &format!("{url}/away"), &[]).await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(elsewhere.knocks().is_empty());
}
