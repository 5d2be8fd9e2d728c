//! What others are told while a rollout runs: Kubernetes Events on the object, and a URL.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kubectl_canary::sandbox::{ApiFault, Denial, Rule};
use serde_json::Value;

use crate::harness::Shop;

/// Answers `count` posts with this status line, and hands out their bodies.
fn receiver(count: usize, status: &'static str) -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hooks/s3cr3t", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(count) {
            let mut reader = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let line = line.to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let mut stream = reader.into_inner();
            write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            .unwrap();
            if tell.send(serde_json::from_slice(&body).unwrap()).is_err() {
                break;
            }
        }
    });
    (url, told)
}

/// The reasons of the Events on the object, in the order in which they were written.
async fn reasons(shop: &Shop) -> Vec<String> {
    let client = shop.world.client_as("reader", "shop");
    let list = http::Request::get("/apis/events.k8s.io/v1/namespaces/shop/events");
    let list: Value = client
        .request(list.body(Vec::new()).unwrap())
        .await
        .unwrap();
    let mut events = list["items"].as_array().unwrap().clone();
    let text = |event: &Value, at: &str| {
        event
            .pointer(at)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    events.sort_by_key(|event| text(event, "/eventTime"));
    let uid = text(&shop.reviews(), "/metadata/uid");
    for event in &events {
        assert_eq!(text(event, "/regarding/uid"), uid, "{event:#}");
        assert_eq!(text(event, "/regarding/kind"), "VirtualService");
    }
    events.iter().map(|event| text(event, "/reason")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regression_is_told_on_the_object_and_to_a_url() {
    let shop = Shop::open().await;
    shop.break_canary();
    let (url, told) = receiver(100, "200 OK");
    let mut flags = shop.brief();
    flags.extend(["--notify".into(), url]);
    let ran = shop.run("start reviews --steps 50,100", &flags).await;
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    assert!(
        !ran.stderr.contains("warning: no more") && !ran.stderr.contains("--notify"),
        "{}",
        ran.stderr
    );
    let reasons = reasons(&shop).await;
    assert_eq!(
        reasons.first().map(String::as_str),
        Some("RolloutStarted"),
        "{reasons:?}"
    );
    assert_eq!(
        reasons.last().map(String::as_str),
        Some("RolledBack"),
        "{reasons:?}"
    );
    let posted: Vec<Value> = told.try_iter().collect();
    assert_eq!(posted.len(), reasons.len());
    let last = posted.last().unwrap();
    assert_eq!(
        (&last["reason"], &last["warning"]),
        (&"RolledBack".into(), &true.into())
    );
    assert_eq!(last["event"]["event"]["kind"], "rolled-back");
    let text = last["text"].as_str().unwrap();
    assert!(
        text.starts_with(":warning: shop/reviews: rolled back "),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_cannot_be_told_delays_nothing_and_is_said_once() {
    let shop = Shop::open().await;
    shop.break_canary();
    shop.world.deny(Denial::of("create", "events"));
    let (url, _told) = receiver(100, "503 Service Unavailable");
    let mut flags = shop.brief();
    flags.extend(["--notify".into(), url]);
    let ran = shop.run("start reviews --steps 50,100", &flags).await;
    assert_eq!((ran.code, shop.canary()), (10, 0), "{}", ran.stderr);
    for said in [
        "warning: no more Kubernetes Events are written: ",
        "warning: --notify: the URL answered 503",
    ] {
        assert_eq!(ran.stderr.matches(said).count(), 1, "{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("s3cr3t"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_that_take_for_ever_keep_nobody_waiting() {
    let shop = Shop::open().await;
    shop.break_canary();
    let hang = Rule::new(ApiFault::Hang { applied: false });
    shop.world.faults().api(hang.on("create").of("events"));
    // Takes connections, and answers none.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut flags = shop.brief();
    flags.extend(["--notify".into(), url]);
    let began = Instant::now();
    let child = shop.run("start reviews --steps 50,100", &flags);
    let (ran, restored) = tokio::join!(child, async {
        shop.until_canary_has(50).await;
        shop.until_canary_has(0).await;
        began.elapsed()
    });
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    // The test's own limit is far above what is promised: machines are shared.
    assert!(
        restored < Duration::from_secs(30) && began.elapsed() < restored + Duration::from_secs(15)
    );
    assert!(
        ran.stderr
            .contains("others were not told of all that happened"),
        "{}",
        ran.stderr
    );
}
