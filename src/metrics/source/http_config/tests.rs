use super::*;

fn parse(text: &str) -> Result<HttpConfig, AccessError> {
    HttpConfig::parse(text, Path::new("/etc/prom"))
}

#[test]
fn every_key_of_the_schema_is_read_and_paths_start_at_the_file() {
    let config = parse(
        "
authorization: {type: Bearer, credentials_file: token}
tls_config:
  ca_file: ca.pem
  cert_file: /elsewhere/cert.pem
  key_file: key.pem
  server_name: prom.example.com
  insecure_skip_verify: false
  min_version: TLS13
  max_version: TLS13
follow_redirects: false
enable_http2: true
proxy_from_environment: true
http_headers:
  X-Scope-OrgID: {values: [shop]}
  X-Key: {secrets: [hunter2hunter2], files: [key]}
",
    )
    .unwrap();
    let authorization = config.authorization.as_ref().unwrap();
    assert_eq!(
        authorization.credentials_file.as_deref(),
        Some(Path::new("/etc/prom/token"))
    );
    let tls = &config.tls_config;
    assert_eq!(tls.ca_file.as_deref(), Some(Path::new("/etc/prom/ca.pem")));
    assert_eq!(
        tls.cert_file.as_deref(),
        Some(Path::new("/elsewhere/cert.pem"))
    );
    assert_eq!(tls.min_version, Some(TlsVersion::Tls13));
    assert_eq!(config.follow_redirects, Some(false));
    assert_eq!(config.proxy(), ProxyChoice::Environment);
    assert_eq!(
        config.http_headers["X-Key"].files,
        [Path::new("/etc/prom/key")]
    );
    // The secret is known from now on.
    assert_eq!(foreign_text("said hunter2hunter2"), "said ***");

    let config = parse(
        "
oauth2:
  client_id: canary
  client_secret_file: secret
  token_url: https://login.example.com/token
  scopes: [metrics.read]
  endpoint_params: {audience: prom}
  tls_config: {ca_file: ca.pem}
  proxy_url: http://proxy:3128
  no_proxy: 10.0.0.0/8
",
    )
    .unwrap();
    let oauth2 = config.oauth2.as_ref().unwrap();
    assert_eq!(
        oauth2.client_secret_file.as_deref(),
        Some(Path::new("/etc/prom/secret"))
    );
    assert_eq!(
        oauth2.tls_config.ca_file.as_deref(),
        Some(Path::new("/etc/prom/ca.pem"))
    );
    assert!(matches!(oauth2.proxy(), ProxyChoice::Url { .. }));
    for empty in ["", "# later\n", "---\n", "{}"] {
        assert_eq!(parse(empty).unwrap().login(), None, "{empty:?}");
    }
}

#[test]
fn every_configuration_of_the_docs_is_one() {
    let docs = include_str!("../../../../docs/metrics.md");
    let snippets = docs.split("```yaml\n").skip(1);
    let snippets = snippets.filter_map(|rest| rest.split("```").next());
    // What has a version is a file of ours.
    let configs = snippets.filter(|text| !text.contains("apiVersion:"));
    let read: Vec<_> = configs.map(parse).collect();
    assert!(read.len() > 3);
    for config in read {
        config.unwrap();
    }
}

#[test]
fn the_old_spelling_of_a_bearer_token_is_the_new_one() {
    let config = parse("bearer_token_file: token").unwrap();
    assert_eq!(config.login(), Some("authorization"));
    let file = config.authorization.unwrap().credentials_file.unwrap();
    assert_eq!(file, Path::new("/etc/prom/token"));
}

#[test]
fn what_contradicts_itself_is_refused_by_the_key_and_without_the_value() {
    for (text, expected) in [
        (
            "basic_auth: {username: a, password: hunter2}\nauthorization: {credentials: hunter2}",
            "basic_auth and authorization cannot stand together (try: only one of",
        ),
        (
            "bearer_token: hunter2\nauthorization: {credentials: hunter2}",
            "bearer_token and authorization",
        ),
        (
            "oauth2: {client_id: a, token_url: 'https://a'}\nbearer_token: hunter2",
            "authorization and oauth2",
        ),
        (
            "basic_auth: {username: a, password: hunter2, password_file: b}",
            "basic_auth.password and basic_auth.password_file",
        ),
        (
            "authorization: {credentials: hunter2, credentials_file: b}",
            "authorization.credentials and authorization.credentials_file",
        ),
        (
            "authorization: {type: Basic, credentials: hunter2}",
            "(try: basic_auth with username and password)",
        ),
        (
            "authorization: {type: Bearer}",
            "authorization has no credentials",
        ),
        ("oauth2: {client_id: a}", "oauth2 has no token_url"),
        (
            "oauth2: {client_id: a, token_url: hunter2}",
            "oauth2.token_url is not an http",
        ),
        (
            "tls_config: {cert_file: a}",
            "tls_config has a cert and no key (try: tls_config.key_file)",
        ),
        (
            "tls_config: {ca: hunter2, ca_file: a}",
            "tls_config.ca and tls_config.ca_file",
        ),
        ("tls_config: {max_version: TLS11}", "never spoken"),
        (
            "tls_config: {min_version: hunter2}",
            "not among the allowed ones",
        ),
        (
            "tls_config: {server_name: 127.0.0.1}",
            "server_name is an address",
        ),
        (
            "proxy_url: http://a:1\nproxy_from_environment: true",
            "proxy_url and proxy_from_environment",
        ),
        ("proxy_url: me:hunter2@proxy", "proxy_url is not an http"),
        ("no_proxy: a", "no_proxy has no effect without proxy_url"),
        (
            "http_headers: {Authorization: {values: [hunter2]}}",
            "the header authorization cannot be set (try: the section authorization)",
        ),
        (
            "http_headers: {'a b': {values: [hunter2]}}",
            "a header's name holds",
        ),
        (
            "basicAuth: {username: a}",
            "unknown key basicAuth at line 1 column 1 (try: basic_auth)",
        ),
        (
            "basic_auth: {user: a, password: hunter2}",
            "unknown key user",
        ),
        (
            "basic_auth: {username: a, password_ref: hunter2}",
            "with _file, since there is no secret manager",
        ),
        (
            "basic_auth: hunter2",
            "not the YAML of an HTTP client configuration at line 1",
        ),
        ("hunter2", "not the YAML of an HTTP client configuration"),
        ("basic_auth: {password: [hunter2", "not the YAML"),
        ("bearer_token: a\nbearer_token: hunter2", "twice at line 2"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{text}: {error}");
        assert_eq!(error.matches("(try: ").count(), 1, "{error}");
    }
}

#[test]
fn half_a_key_and_a_second_login_are_refused_beside_a_signature() {
    let full = "sigv4: {region: eu-central-1, access_key: AKID, secret_key: hunter2hunter2}";
    assert_eq!(parse(full).unwrap().login(), Some("sigv4"));
    for (text, expected) in [
        (
            "sigv4: {access_key: AKID}",
            "sigv4 has only one of access_key and secret_key",
        ),
        (
            "sigv4: {}\nbasic_auth: {username: me}",
            "basic_auth and sigv4 cannot stand together",
        ),
    ] {
        let refused = parse(text).unwrap_err();
        assert_eq!(refused.what, expected);
    }
}
