//! Who did it: the caller as the cluster knows it, and the job of a pipeline.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::commands::{self, Abort};
use kubectl_canary::rollout::{LAST, Outcome};
use kubectl_canary::sandbox::{ApiFault, Denial, Rule};
use kubectl_canary::{Actor, Context, Signals};
use serde_json::Value;

use crate::harness::{Shop, brisk_with, start};

const DEPLOYER: &str = "system:serviceaccount:ci:deployer";
const JOB: &str = "https://gitlab.example/shop/-/jobs/4711";

/// The process of a pipeline that knows nothing of itself but its job.
fn in_pipeline(context: &mut Context<'_>) {
    let env = |key: &str| (key == "CI_JOB_URL").then(|| JOB.to_owned());
    context.actor = Actor::calling(&context.cluster, "unknown", "runner-7", env);
}

/// Starts a rollout from the pipeline and lets it die at 10 %; who holds it.
async fn started(shop: &Shop) -> String {
    let args = start(brisk_with("10:10m,100"));
    let driver = shop.act(DEPLOYER, Signals::none(), async |context| {
        in_pipeline(context);
        commands::start(context, &args).await
    });
    tokio::select! {
        ended = driver => panic!("{ended:?}"),
        () = shop.until_weight(10) => {}
    }
    shop.rollout().unwrap().holder
}

/// `abort` from the pipeline; by whom, and how long it took.
async fn aborted(shop: &Shop) -> (String, SignedDuration) {
    // What is asked at the same time is known once the object is read.
    let slow = Rule::new(ApiFault::Slow(Duration::from_millis(100)));
    shop.world
        .faults()
        .api(slow.on("get").of("virtualservices").times(1));
    let asked = shop.world.clock().now();
    let aborted = shop.act(DEPLOYER, Signals::none(), async |context| {
        in_pipeline(context);
        context.actor.ask();
        commands::abort(context, &Abort::of("reviews")).await
    });
    let finish = aborted.await.unwrap().finish().unwrap();
    assert!(matches!(finish.outcome, Outcome::RolledBack(_)));
    let took = shop.world.clock().now().duration_since(asked);
    let last: Value =
        serde_json::from_str(&shop.annotation(LAST.rsplit('/').next().unwrap()).unwrap()).unwrap();
    (last["changedBy"].as_str().unwrap().to_owned(), took)
}

#[tokio::test(start_paused = true)]
async fn the_cluster_knows_who_started_and_who_aborted() {
    let shop = Shop::open().await;
    let holder = started(&shop).await;
    let process = std::process::id();
    assert_eq!(holder, format!("{DEPLOYER}@runner-7/{process} ({JOB})"));
    let (by, _) = aborted(&shop).await;
    assert_eq!(by, format!("{DEPLOYER}@runner-7 ({JOB})"));
}

#[tokio::test(start_paused = true)]
async fn where_the_cluster_does_not_say_this_machine_does_and_nothing_waits_long() {
    for fault in [None, Some(ApiFault::Hang { applied: false })] {
        let shop = Shop::open().await;
        match fault {
            None => shop.world.deny(Denial::of("create", "selfsubjectreviews")),
            Some(fault) => {
                let rule = Rule::new(fault).of("selfsubjectreviews");
                shop.world.faults().api(rule);
            }
        }
        let began = shop.world.clock().now();
        let holder = started(&shop).await;
        assert!(holder.starts_with("unknown@runner-7/"), "{holder}");
        let took = shop.world.clock().now().duration_since(began);
        assert!(took < SignedDuration::from_secs(5), "{took:?}");
        let (by, took) = aborted(&shop).await;
        assert!(by.starts_with("unknown@runner-7 ("), "{by}");
        assert!(took < SignedDuration::from_millis(500), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_comes_late_does_not_change_the_driver_under_way() {
    let shop = Shop::open().await;
    let slow = Rule::new(ApiFault::Slow(Duration::from_secs(4))).of("selfsubjectreviews");
    shop.world.faults().api(slow);
    let args = start(brisk_with("10,100"));
    let driven = shop.act(DEPLOYER, Signals::none(), async |context| {
        in_pipeline(context);
        context.actor.ask();
        commands::start(context, &args).await
    });
    let (_, finish) = driven.await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    assert!(
        finish.rollout.holder.starts_with("unknown@"),
        "{}",
        finish.rollout.holder
    );
}
