//! A Prometheus behind a Service that the API server's proxy does not lead to: asked by port-forward to its pod.

use kubectl_canary::sandbox::{Denial, PrometheusFault, Setup};
use serde_json::json;

use crate::door::{Authority, Door, Knock, Refused};
use crate::doors::{plan, write};
use crate::harness::Shop;

const TOKEN: &str = "open-sesame-4712";
const ADDRESS: &str = "mon/prom:80";

/// The Service `mon/prom`, whose port 80 is the port `web` of its pods.
fn service(stage: &mut Setup<'_>, labels: &serde_json::Value) {
    stage.apply(json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mon"},
    }));
    stage.apply(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "mon", "name": "prom", "labels": labels},
        "spec": {
            "type": "ClusterIP", "selector": {"app": "prom"},
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}],
        },
    }));
}

/// A pod of the Service; what listens at its port is the door.
fn pod(stage: &mut Setup<'_>, name: &str, door: &Door, ready: &str) {
    stage.apply(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "mon", "name": name, "labels": {"app": "prom"}},
        "spec": {"nodeName": "sandbox", "containers": [{
            "name": "prometheus", "image": "prom",
            "ports": [{"name": "web", "containerPort": 9090}],
        }]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }));
    stage.listen_in_pod("mon", name, 9090, door.address());
}

fn wants_token(knock: &Knock) -> Result<(), Refused> {
    let challenge = vec![("www-authenticate", "Bearer".to_owned())];
    let refused = Refused(401, challenge, "Unauthorized".into());
    knock.wants("authorization", &format!("Bearer {TOKEN}"), refused)
}

/// Behind this door, in the pod `prom-0`, is the Service's Prometheus.
async fn stand(shop: &Shop, door: &Door) {
    shop.world.set(|stage| {
        service(stage, &json!({}));
        pod(stage, "prom-0", door, "True");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_the_api_server_would_drop_arrives_by_port_forward() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, wants_token).await;
    stand(&shop, &door).await;
    let token = write(&shop, "token", TOKEN);
    let ran = plan(&shop, ADDRESS, &["--prometheus-token-file", &token]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("mon/prom:80 by port-forward has "),
        "{}",
        ran.stderr
    );
    let knock = door.knocks().pop().unwrap();
    assert_eq!(knock.header("host"), Some("prom.mon.svc"));
    // Nothing went through the proxy, where a login would be lost.
    let calls = shop.world.calls();
    assert!(!calls.iter().any(|call| call.path.contains("/proxy/")));
    // A wrong one is told like that of any other address.
    let wrong = write(&shop, "wrong", "sesame-9999");
    let ran = plan(&shop, ADDRESS, &["--prometheus-token-file", &wrong]).await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let expected = "mon/prom:80 by port-forward refuses the login of --prometheus-token-file";
    assert!(ran.stderr.contains(expected), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_checked_for_the_name_inside_the_cluster() {
    let shop = Shop::open().await;
    let authority = Authority::new();
    authority.root.write(&shop, "ca");
    let tls = authority.server("prom.mon.svc", &[]);
    let door = Door::over_tls(&shop, tls, |_| Ok(())).await;
    stand(&shop, &door).await;
    let ca = shop.folder().join("ca.pem").display().to_string();
    let ran = plan(&shop, "mon/https:prom:80", &["--prometheus-ca", &ca]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);

    let other = Authority::new();
    other.root.write(&shop, "other");
    let ca = shop.folder().join("other.pem").display().to_string();
    let ran = plan(&shop, "mon/https:prom:80", &["--prometheus-ca", &ca]).await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let why = "cannot reach mon/https:prom:80 by port-forward: invalid peer certificate";
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_proxy_is_forbidden_a_rollout_goes_by_port_forward_from_pod_to_pod() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, |_| Ok(())).await;
    let second = Door::open(&shop, |_| Ok(())).await;
    stand(&shop, &door).await;
    shop.world.deny(Denial::of("get", "services/proxy"));
    let mut flags = shop.brief();
    *flags.last_mut().unwrap() = ADDRESS.to_owned();
    let driving = shop.run("start reviews --steps 20,60,100", &flags);
    let replacing = async {
        shop.until_canary_has(20).await;
        shop.world.set(|stage| {
            pod(stage, "prom-1", &second, "True");
            stage.delete("pods", "mon", "prom-0");
        });
    };
    let (ran, ()) = tokio::join!(driving, replacing);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!door.knocks().is_empty() && !second.knocks().is_empty());
    // It is known once that the proxy is forbidden, not found out with each query.
    let calls = shop.world.calls();
    let refused = calls.iter().filter(|call| call.path.contains("/proxy/"));
    let refused = refused.count();
    let asked = door.knocks().len() + second.knocks().len();
    assert!(refused * 2 < asked, "{refused} of {asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_from_both_ways_is_said_with_its_fix() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, wants_token).await;
    stand(&shop, &door).await;
    shop.world.deny(Denial::of("get", "services/proxy"));
    shop.world.deny(Denial::of("create", "pods/portforward"));
    let ran = plan(&shop, ADDRESS, &[]).await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    for expected in [
        "the API server in front of mon/prom:80 does not allow the query: ",
        "; nor by port-forward: cannot port-forward to port 9090 of pod mon/prom-0: ",
        "(try: a Role in Prometheus' namespace with get on services/proxy, or --prometheus URL)",
    ] {
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    }
    let token = write(&shop, "token", TOKEN);
    let ran = plan(&shop, ADDRESS, &["--prometheus-token-file", &token]).await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    for expected in [
        "the API server in front of mon/prom:80 does not allow a port-forward: ",
        "get and create on pods/portforward, or --prometheus URL)",
        "resources: [\"pods/portforward\"]",
    ] {
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    }
    assert!(door.knocks().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_a_pod_that_answers_says_which() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, wants_token).await;
    let token = write(&shop, "token", TOKEN);
    let says = async |expected: &str| {
        let ran = plan(&shop, ADDRESS, &["--prometheus-token-file", &token]).await;
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    };
    says("service mon/prom does not exist").await;
    shop.world.set(|stage| service(stage, &json!({})));
    says("no pod of service mon/prom is ready").await;
    shop.world.set(|stage| pod(stage, "prom-0", &door, "False"));
    says("no pod of service mon/prom is ready").await;
    // Nothing listens at the port of this one.
    shop.world.set(|stage| {
        pod(stage, "prom-0", &door, "True");
        stage.apply(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "mon", "name": "prom-0", "labels": {"app": "prom"}},
            "spec": {"nodeName": "sandbox", "containers": [{
                "name": "prometheus", "image": "prom",
                "ports": [{"name": "web", "containerPort": 9099}],
            }]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }));
    });
    says("cannot reach mon/prom:80 by port-forward: error forwarding port 9099").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_found_by_port_forward_where_the_proxy_is_forbidden() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, |_| Ok(())).await;
    let behind = ("istio-system", "prometheus");
    shop.world.set(|stage| {
        service(stage, &json!({"app.kubernetes.io/name": "prometheus"}));
        pod(stage, "prom-0", &door, "True");
        stage.prometheus_behind(behind.0, behind.1, "", &[PrometheusFault::Empty]);
        stage.deny(Denial::of("get", "services/proxy"));
    });
    let flags = &shop.brief()[..8];
    let ran = shop.run("plan reviews", flags).await;
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let expected = "metrics are read from mon/prom:80, found by label";
    assert!(ran.stdout.contains(expected), "{}", ran.stdout);
}

/// Whoever may write the object chooses the address that stands on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_does_not_go_to_a_service_that_stands_on_the_object_only() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, |_| Ok(())).await;
    stand(&shop, &door).await;
    shop.world
        .set(|stage| stage.prometheus_behind("mon", "prom", "", &[]));
    let mut flags = shop.brief();
    flags[3] = "30s".into();
    *flags.last_mut().unwrap() = ADDRESS.to_owned();
    flags.extend(["--on-signal", "hold"].map(str::to_owned));
    let running = shop.spawn("start reviews --steps 20,100", &flags).await;
    shop.until_canary_has(20).await;
    running.signal("TERM").await;
    let token = write(&shop, "token", TOKEN);
    let login = ["--prometheus-token-file".to_owned(), token];
    let ran = shop.run("resume reviews", &login).await;
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let expected = "--prometheus-token-file is not sent to an address that stands on the object only (try: --prometheus URL beside it)";
    assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    assert!(door.knocks().is_empty());
}
