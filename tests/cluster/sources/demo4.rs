//! demo4: behind a gateway of its own, in a namespace of its own, with a DestinationRule by full name.

use std::time::Duration;

use super::RATE;
use super::shares::{assert_share, settled_at};
use super::source::{Caller, Source};
use crate::stack::Stack;

const APP: &str = include_str!("objects/demo4.yaml");
const FROM_90: &str = include_str!("objects/demo4-90-10.yaml");

/// demo4 with these routes, as soon as its gateway has the canary.
pub(super) async fn demo4(stack: &Stack, routes: &str) -> Source {
    let caller = Caller::Gateway("demo4.a.com");
    let source = Source::open(stack, ("test1", "demo4"), caller, &[APP, routes]).await;
    let admin = &stack.description.gateway.admin;
    let cluster = "8080|v2|demo4.test1.svc.cluster.local";
    stack.await_route(admin, cluster).await;
    stack.await_endpoints(admin, cluster, 1).await;
    source.answers().await;
    source
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn demo4_goes_from_90_10_all_the_way_to_0_100() {
    let stack = Stack::open().await;
    let source = demo4(&stack, FROM_90).await;
    let load = source.load().rate(RATE).start();
    let mut driver = source.rollout("--steps 1,10:4s,50:4s,100").launch();
    for (percentage, share, seconds) in [("10", 0.1, 3), ("50", 0.5, 2), ("100", 1.0, 1)] {
        settled_at(&mut driver, percentage).await;
        let answers = source.answered_for(Duration::from_secs(seconds)).await;
        assert_share(percentage, &answers, ["v1", "v2"], share);
    }
    assert_eq!(driver.end().await.code, Some(0));
    assert_eq!(load.stop().await.failed(), 0);
    assert_eq!(source.weights("http", 0).await, [0, 100]);
    source.finish().await;
}
