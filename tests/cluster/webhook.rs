//! Somebody's webhook between the driver and the object: one that refuses, and one that is slow.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kubectl_canary::rollout::{Cause, EventKind};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::app::App;
use crate::stack::Stack;

/// How long the API server waits for the webhook.
const TIMEOUT_SECONDS: u64 = 4;

/// What the webhook makes of VirtualServices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allow,
    /// No.
    Refuse,
    /// No to more than this weight for the canary.
    RefuseAbove(u64),
    /// Yes, after a while.
    Slow(Duration),
}

/// A ValidatingWebhookConfiguration for the application's namespace, and the server that it names. They end
/// with this value.
struct Webhook {
    stack: Stack,
    name: String,
    answer: Arc<Mutex<Answer>>,
    task: JoinHandle<()>,
}

impl Webhook {
    async fn before(app: &App) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let key = KeyPair::generate().expect("ring makes keys");
        let names = CertificateParams::new(["127.0.0.1".to_owned()]);
        let certificate = names.expect("an address").self_signed(&key);
        let certificate = certificate.expect("a certificate");
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private.into())
            .expect("key and certificate belong together");
        let answer = Arc::new(Mutex::new(Answer::Allow));
        let task = tokio::spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            answer.clone(),
        ));
        let der = STANDARD.encode(certificate.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
        let bundle = STANDARD.encode(pem);
        let webhook = Self {
            stack: app.stack.clone(),
            name: app.namespace.clone(),
            answer,
            task,
        };
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": webhook.name},
            "webhooks": [{
                "name": "approvals.example.com",
                "clientConfig": {"url": format!("https://{address}/"), "caBundle": bundle},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": app.namespace}},
                "rules": [{
                    "operations": ["UPDATE"], "apiGroups": ["networking.istio.io"],
                    "apiVersions": ["*"], "resources": ["virtualservices"],
                }],
                "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": TIMEOUT_SECONDS,
                "admissionReviewVersions": ["v1"],
            }],
        });
        let applied = app.stack.apply(&configuration).await;
        applied.expect("the administrator may");
        webhook.is_asked(app).await;
        webhook
    }

    /// The API server may take a moment until it asks.
    async fn is_asked(&self, app: &App) {
        self.answers(Answer::Refuse);
        for _ in 0..100 {
            if app.patch_weights(json!(100), json!(0)).await.is_err() {
                self.answers(Answer::Allow);
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nobody asks the webhook");
    }

    /// From now on.
    fn answers(&self, answer: Answer) {
        *self.answer.lock().expect("no holder panics") = answer;
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
        let words = format!("delete validatingwebhookconfiguration {}", self.name);
        let deleted = self.stack.kubectl(&words, "");
        if !deleted.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&deleted.stderr));
        }
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, answer: Arc<Mutex<Answer>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, answer) = (tls.clone(), answer.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                let answer = *answer.lock().expect("no holder panics");
                async move { Ok::<_, Infallible>(review(answer, request).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn review(answer: Answer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).expect("the API server sends JSON");
    let request = &review["request"];
    let weight = &request["object"]["spec"]["http"][0]["route"][1]["weight"];
    let allowed = match answer {
        Answer::Allow => true,
        Answer::Refuse => false,
        Answer::RefuseAbove(most) => weight.as_u64().unwrap_or(0) <= most,
        Answer::Slow(lasting) => {
            tokio::time::sleep(lasting).await;
            true
        }
    };
    let response = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {
            "uid": request["uid"], "allowed": allowed,
            "status": {"code": 403, "message": "this needs an approval"},
        },
    });
    Response::new(Full::from(response.to_string()))
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_step_that_a_webhook_refuses_is_rolled_back() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "unapproved").await;
    let before = app.spec().await;
    let webhook = Webhook::before(&app).await;
    let _load = app.load().rate(200.0).start();
    webhook.answers(Answer::RefuseAbove(0));
    let ended = app.rollout("--steps 20,100").run().await;
    assert_eq!(ended.code, Some(1), "nothing has moved: {}", ended.stderr);
    assert!(ended.stderr.contains("this needs an approval"));
    assert_eq!(app.spec().await, before);
    assert_eq!(app.annotation("rollout").await, None);

    webhook.answers(Answer::RefuseAbove(20));
    let ended = app.rollout("--steps 20,100").run().await;
    assert_eq!(ended.code, Some(12), "{}", ended.stderr);
    assert_eq!(ended.steps(), ["20"]);
    assert!(ended.stderr.contains("this needs an approval"));
    let refused = |event: &EventKind| {
        matches!(
            event,
            EventKind::RolledBack {
                cause: Cause::Refused,
                ..
            }
        )
    };
    assert!(ended.told(refused), "{:?}", ended.events);
    app.is_restored_to(&before).await;
    drop(webhook);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_rollback_that_a_webhook_refuses_ends_with_what_is_true_of_the_object() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "unwilling").await;
    let before = app.spec().await;
    let webhook = Webhook::before(&app).await;
    let _load = app.load().rate(200.0).start();
    for (timeout, given_in, code) in [("5s", false, 20), ("2m", true, 10)] {
        let words = format!("--steps 20:60s,100 --rollback-timeout {timeout}");
        let mut driver = app.rollout(&words).launch();
        driver.until_flowing_at("20").await;
        webhook.answers(Answer::Refuse);
        app.behave("v2", json!({"errors": 0.5})).await;
        let manual = |event: &EventKind| {
            matches!(event, EventKind::Retrying { manual: Some(manual), attempt: 3.., .. }
                if manual.contains("kubectl canary abort reviews"))
        };
        driver.until(manual).await;
        if given_in {
            webhook.answers(Answer::Allow);
        }
        let ended = driver.end().await;
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains("kubectl canary abort reviews"));
        if !given_in {
            assert_ne!(
                app.spec().await,
                before,
                "20 says that traffic is where it was"
            );
            webhook.answers(Answer::Allow);
            let aborted = app.canary("abort reviews").run().await;
            assert_eq!(aborted.code, Some(0), "{}", aborted.stderr);
        }
        app.is_restored_to(&before).await;
        app.behave("v2", json!({})).await;
        // What is left of the failures in the metrics is the last canary's.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    drop(webhook);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_slow_webhook_costs_time_and_one_that_is_too_slow_is_waited_for() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "slow-hook").await;
    let before = app.spec().await;
    let webhook = Webhook::before(&app).await;
    let _load = app.load().rate(200.0).start();
    webhook.answers(Answer::Slow(Duration::from_secs(2)));
    let mut driver = app.rollout("--steps 20,50:60s,100").launch();
    driver.until_flowing_at("50").await;

    webhook.answers(Answer::Slow(Duration::from_secs(TIMEOUT_SECONDS + 2)));
    app.behave("v2", json!({"errors": 0.5})).await;
    let retrying = |event: &EventKind| matches!(event, EventKind::Retrying { attempt: 2.., .. });
    driver.until(retrying).await;
    assert_ne!(app.spec().await, before);
    webhook.answers(Answer::Slow(Duration::from_secs(2)));
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    assert_eq!(ended.steps(), ["20", "50"]);
    app.is_restored_to(&before).await;
    drop(webhook);
    app.finish().await;
}
