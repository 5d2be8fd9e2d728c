//! Two VirtualServices of two gateway hosts, which lead to the same two versions and move together.

use std::time::{Duration, Instant};

use kubectl_canary::rollout::EventKind;
use serde_json::{Value, json};

use crate::app::App;
use crate::load::{Load, Report};
use crate::stack::Stack;

/// How long the gateway may take to know the second host.
const SERVED_WITHIN: Duration = Duration::from_secs(20);

/// The application with a second door.
pub(crate) struct Doors {
    pub(crate) app: App,
}

impl Doors {
    pub(crate) async fn open(stack: &Stack, name: &str) -> Self {
        let doors = Self {
            app: App::start(stack, name).await,
        };
        let host = doors.app.service();
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "storefront", "namespace": doors.app.namespace},
            "spec": {
                "hosts": [doors.host()],
                "gateways": [stack.description.gateway.name],
                "http": [
                    {"match": [{"uri": {"prefix": "/maintenance"}}], "directResponse": {"status": 503}},
                    {"name": "storefront", "route": [
                        {"destination": {"host": host, "port": {"number": 80}, "subset": "v2"}},
                        {"destination": {"host": host, "port": {"number": 80}, "subset": "v1"}, "weight": 50},
                    ]},
                ],
            },
        });
        stack.apply(&object).await.expect("it is a VirtualService");
        let started = Instant::now();
        while doors.load().requests(1).run().await.answered("v1") == 0 {
            assert!(started.elapsed() < SERVED_WITHIN, "the second door is shut");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        doors
    }

    fn host(&self) -> String {
        format!("storefront-{}", self.app.host())
    }

    /// Load on the second door.
    fn load(&self) -> Load {
        Load::new(&self.app.stack.description.gateway.http, &self.host())
    }

    /// The specs of both as the API server sends them, byte for byte.
    pub(crate) async fn specs(&self) -> [String; 2] {
        let [lead, other] = [
            self.app.route("reviews").await,
            self.app.route("storefront").await,
        ];
        [lead.spec.get().to_owned(), other.spec.get().to_owned()]
    }

    pub(crate) async fn annotation(&self, object: &str, name: &str) -> Option<String> {
        let mut annotations = self.app.route(object).await.metadata.annotations;
        annotations.remove(&format!("kubectl-canary.dev/{name}"))
    }

    /// So many requests at both doors at once.
    async fn ask(&self, requests: u64) -> [Report; 2] {
        let first = self.app.load().rate(200.0).requests(requests);
        let second = self.load().rate(200.0).requests(requests);
        let (first, second) = tokio::join!(first.run(), second.run());
        [first, second]
    }
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn two_hosts_send_the_same_share_to_the_canary_at_every_step() {
    let stack = Stack::open().await;
    let doors = Doors::open(&stack, "together").await;
    let _first = doors.app.load().rate(100.0).start();
    let _second = doors.load().rate(100.0).start();
    let words = "--steps 20:8s,100 --also storefront";
    let mut driver = doors.app.rollout(words).launch();
    driver.until_flowing_at("20").await;
    let state = doors.annotation("storefront", "rollout").await.unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    let lead = format!("{}/reviews", doors.app.namespace);
    assert_eq!(state["lead"], lead.as_str());

    doors.app.take_counts().await;
    let asked = doors.ask(800).await;
    let counts = doors.app.counts().await;
    for (door, report) in ["reviews", "storefront"].iter().zip(&asked) {
        let (v1, v2) = (report.answered("v1"), report.answered("v2"));
        println!("{door}: {v1} on v1, {v2} on v2");
        assert_eq!(v1 + v2, 800, "{report:?}");
        // 160 are expected; five standard deviations to each side.
        assert!((104..=216).contains(&v2), "{door}: {v2} of 800");
    }
    let counted = |version: &str| counts.versions.get(version).map_or(0, |count| count.ok);
    let (v1, v2) = (counted("v1"), counted("v2"));
    println!("backends: {v1} on v1, {v2} on v2");
    let share = v2 as f64 / (v1 + v2) as f64;
    assert!((0.14..0.26).contains(&share), "{share}");

    let ended = driver.end().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.steps(), ["20", "100"]);
    let moved = |event: &EventKind| {
        matches!(event, EventKind::StepStarted { routes, .. }
            if routes[1].route == format!("http[storefront] of {}/storefront", doors.app.namespace))
    };
    assert!(ended.told(moved), "{:?}", ended.events);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for report in doors.ask(200).await {
        assert_eq!(report.answered("v2"), 200, "{report:?}");
    }
    for object in ["reviews", "storefront"] {
        assert_eq!(doors.annotation(object, "rollout").await, None);
        let last = doors.annotation(object, "last").await.unwrap();
        assert!(last.contains("promoted"), "{last}");
    }
    doors.app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_canary_with_20_percent_errors_is_taken_back_from_both_hosts_to_the_last_byte() {
    let stack = Stack::open().await;
    let doors = Doors::open(&stack, "apart").await;
    doors.app.behave("v2", json!({"errors": 0.2})).await;
    let before = doors.specs().await;
    let first = doors.app.load().rate(100.0).start();
    let second = doors.load().rate(100.0).start();
    let ended = doors
        .app
        .rollout("--steps 10,50,100 --also storefront")
        .run()
        .await;
    let failed = first.stop().await.failed() + second.stop().await.failed();
    assert_eq!(ended.code, Some(10));
    assert_eq!(ended.steps(), ["10"]);
    assert!(failed > 0);
    assert_eq!(doors.specs().await, before);
    for object in ["reviews", "storefront"] {
        assert_eq!(doors.annotation(object, "rollout").await, None);
        let last = doors.annotation(object, "last").await.unwrap();
        assert!(last.contains("rolled-back"), "{last}");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for report in doors.ask(200).await {
        assert_eq!(report.answered("v1"), 200, "{report:?}");
    }
    doors.app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn after_a_power_cut_abort_on_either_object_takes_both_back() {
    let stack = Stack::open().await;
    let doors = Doors::open(&stack, "cut").await;
    let before = doors.specs().await;
    let _first = doors.app.load().rate(100.0).start();
    let _second = doors.load().rate(100.0).start();
    let words = "--steps 50:60s,100 --also storefront";
    let mut driver = doors.app.rollout(words).launch();
    driver.until_flowing_at("50").await;
    driver.kill().await;
    let ended = doors.app.canary("abort storefront").run().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(doors.specs().await, before);
    for object in ["reviews", "storefront"] {
        assert_eq!(doors.annotation(object, "rollout").await, None);
    }
    doors.app.finish().await;
}
