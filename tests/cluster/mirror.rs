//! Copies of requests, as a real Envoy makes them.
//!
//! The proxy that copies a request does not report the copy, and no pod of this stack has a proxy of its
//! own: what becomes of a copy stands in nobody's metrics, and only the backends can count it.

use kubectl_canary::plan::{Exposure, Percent};
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Reason};
use serde_json::json;

use crate::app::App;
use crate::stack::Stack;

/// Series of the canary that ever counted a request, whoever reports them.
async fn series_of_canary(app: &App) -> Vec<String> {
    let namespace = &app.namespace;
    let query = format!(
        "istio_requests_total{{destination_service_namespace=\"{namespace}\",destination_version=\"v2\"}} > 0"
    );
    let samples = app.stack.query(&query).await;
    samples.iter().map(|sample| format!("{sample:?}")).collect()
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn copies_reach_the_canary_and_no_user_and_unseen_they_are_no_good_news() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "shadow").await;
    app.behave("v2", json!({"errors": 1.0})).await;
    let before = app.spec().await;
    app.take_counts().await;
    let load = app.load().rate(200.0).start();
    let words = format!(
        "--steps mirror:20%:5s,50,100 --on-inconclusive rollback --prometheus {}",
        stack.description.prometheus.url
    );
    let ended = app.rollout(&words).run().await;
    let sent = load.stop().await;
    assert_eq!(ended.code, Some(12), "no verdict, no promotion");
    assert_eq!(ended.steps(), ["0"]);
    let unseen = |event: &EventKind| match event {
        EventKind::NoVerdict { reasons, .. } => matches!(
            &reasons[..],
            [
                Reason::NoVerdict { .. },
                Reason::MirrorUnseen {
                    canary_seen: false,
                    ..
                }
            ]
        ),
        _ => false,
    };
    assert!(ended.told(unseen), "{}", ended.stderr);
    assert!(ended.stderr.contains(" mirror 20 % "), "{}", ended.stderr);
    assert_eq!((sent.failed(), sent.answered("v2")), (0, 0), "{sent:?}");
    let counts = app.counts().await;
    let copies = counts.versions["v2"].failed;
    let requests = counts.versions["v1"].ok;
    println!(
        "{copies} copies of {requests} requests, of which a part was sent while nothing was mirrored"
    );
    assert!(copies > 100, "{counts:?}");
    assert!((copies as f64) < 0.3 * requests as f64, "{counts:?}");
    // Two scrapes later everything that is ever told of them has been told.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let series = series_of_canary(&app).await;
    assert_eq!(series, Vec::<String>::new(), "nobody reported a copy");
    app.is_restored_to(&before).await;
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_rollout_that_may_go_on_without_a_verdict_leaves_no_mirror() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "onward").await;
    let load = app.load().rate(200.0).start();
    let words = format!(
        "--steps mirror:20%:5s,50,100 --on-inconclusive promote --prometheus {}",
        stack.description.prometheus.url
    );
    let ended = app.rollout(&words).run().await;
    let sent = load.stop().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.steps(), ["0", "50", "100"]);
    let mirrored = Exposure::Mirror(Percent::whole(20));
    assert!(ended.told(
        |event| matches!(event, EventKind::StepStarted { exposure, .. } if *exposure == mirrored)
    ));
    let promoted = Outcome::Promoted;
    assert!(ended.told(
        |event| matches!(event, EventKind::Finished { outcome, .. } if *outcome == promoted)
    ));
    assert_eq!(sent.failed(), 0, "{sent:?}");
    let spec = app.spec().await;
    assert!(!spec.contains("mirror"), "{spec}");
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn pods_that_go_down_are_noticed_in_the_shadow() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "gone").await;
    let before = app.spec().await;
    let load = app.load().rate(200.0).start();
    let words = format!(
        "--steps mirror:20%:60s,50,100 --prometheus {}",
        stack.description.prometheus.url
    );
    let mut driver = app.rollout(&words).launch();
    driver
        .until(|event| matches!(event, EventKind::StepStarted { .. }))
        .await;
    let annotation = json!({"kubectl-canary.stack/ready-after": "never"});
    let change = json!({"spec": {"template": {"metadata": {"annotations": annotation}}}});
    stack
        .api("apps/v1", "Deployment", &app.namespace)
        .patch(
            "reviews-v2",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(change),
        )
        .await
        .unwrap();
    let ended = driver.end().await;
    let sent = load.stop().await;
    assert_eq!(ended.code, Some(10));
    assert!(ended.told(|event| matches!(
        event,
        EventKind::RolledBack {
            cause: Cause::CanaryDown,
            ..
        }
    )));
    assert_eq!((sent.failed(), sent.answered("v2")), (0, 0), "{sent:?}");
    app.is_restored_to(&before).await;
    app.finish().await;
}
