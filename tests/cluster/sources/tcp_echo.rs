//! tcp-echo: connections at a port of the gateway, for every host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kubectl_canary::rollout::EventKind;
use tokio::task::JoinHandle;

use super::shares::{assert_share, settled_at};
use super::source::{Caller, Source};
use crate::load::connections;
use crate::stack::Stack;

const OBJECTS: &str = include_str!("objects/tcp-echo.yaml");
const NAMESPACE: &str = "istio-io-tcp-traffic-shifting";
const ADDRESS: &str = "127.0.0.1:31400";
const VERSIONS: [&str; 2] = ["v1", "v2"];

/// Longer than any test here; connections end with it at the latest.
const LONGEST: Duration = Duration::from_secs(60);

/// Opens one connection after the other until it is dropped.
struct Dialling {
    stopped: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Dialling {
    fn start() -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = stopped.clone();
        let task = tokio::spawn(async move {
            let (began, mut unanswered) = (tokio::time::Instant::now(), 0);
            while !flag.load(Ordering::Relaxed) && began.elapsed() < LONGEST {
                let opened = connections(ADDRESS, 1).await;
                unanswered += opened.get(&None).copied().unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            unanswered
        });
        Self { stopped, task }
    }

    /// How many connections said nothing or broke.
    async fn stop(mut self) -> u64 {
        self.stopped.store(true, Ordering::Relaxed);
        (&mut self.task).await.expect("dialling does not panic")
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn tcp_echo(stack: &Stack) -> Source {
    let caller = Caller::Gateway("*");
    let source = Source::open(stack, (NAMESPACE, "tcp-echo"), caller, &[OBJECTS]).await;
    let admin = &stack.description.gateway.admin;
    let cluster = |version: &str| format!("9000|{version}|tcp-echo.{NAMESPACE}.svc.cluster.local");
    stack.await_route(admin, &cluster("v1")).await;
    // Connections are not tried again: those to a version without known pods would break.
    for version in VERSIONS {
        stack.await_endpoints(admin, &cluster(version), 1).await;
    }
    let mut tries = 0;
    while connections(ADDRESS, 1).await.contains_key(&None) {
        tries += 1;
        assert!(tries < 100, "nobody answers at {ADDRESS}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    source
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn connections_go_from_v1_over_80_20_to_v2_and_are_what_is_judged() {
    let stack = Stack::open().await;
    let source = tcp_echo(&stack).await;
    let dialling = Dialling::start();
    let words = "--add-destination --steps 20:6s,100:4s";
    let mut driver = source.rollout(words).launch();
    settled_at(&mut driver, "20").await;
    let answers = source.answered_for(Duration::from_secs(4)).await;
    assert_share("80/20", &answers, VERSIONS, 0.2);
    assert_eq!(source.weights("tcp", 0).await, [80, 20]);
    settled_at(&mut driver, "100").await;
    let answers = source.answered_for(Duration::from_secs(2)).await;
    assert_share("0/100", &answers, VERSIONS, 1.0);
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        dialling.stop().await,
        0,
        "shifting weights breaks no connection"
    );
    assert_eq!(source.weights("tcp", 0).await, [0, 100]);
    let judged = |event: &EventKind| matches!(event, EventKind::Finished { total_counts: Some(total), .. } if total.canary.requests > 100);
    assert!(ended.told(judged), "{:?}", ended.events);
    source.finish().await;
}
