//! What is left of a run: the record beside the object, and what `kubectl describe` tells.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::app::App;
use crate::stack::Stack;

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_run_can_be_told_of_from_the_cluster_alone() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "recorded").await;
    let _load = app.load().rate(200.0).start();
    app.behave("v2", json!({"errors": 0.5})).await;
    let ended = app
        .rollout("--steps 20:30s,100 --run-id build-12")
        .run()
        .await;
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    for unkept in ["the record of", "Kubernetes Events"] {
        assert!(!ended.stderr.contains(unkept), "{}", ended.stderr);
    }

    // Another machine: every process of these tests has a state directory of its own.
    let report = app.canary("report reviews -o json").run().await;
    let report: Value =
        serde_json::from_str(&report.stdout).unwrap_or_else(|error| panic!("{error}: {report:?}"));
    assert_eq!(report["run"], "build-12");
    assert_eq!(report["outcome"]["cause"], "regression");
    let failures = &report["totalCounts"]["canary"]["failures"];
    assert!(failures.as_u64() > Some(0), "{report:#}");
    assert!(
        report["looks"]
            .as_array()
            .is_some_and(|looks| !looks.is_empty())
    );
    let list = app.canary("history reviews").run().await;
    assert!(list.stdout.contains("build-12"), "{list:?}");

    // The API server may take a moment to show them.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let events: Api<Event> = Api::namespaced(stack.client.clone(), &app.namespace);
    let events = events.list(&ListParams::default()).await.unwrap();
    let told: Vec<_> = events
        .items
        .iter()
        .filter(|event| {
            let regarding = event.regarding.as_ref();
            regarding.is_some_and(|object| object.kind.as_deref() == Some("VirtualService"))
        })
        .filter_map(|event| event.reason.as_deref())
        .collect();
    for reason in ["RolloutStarted", "StepStarted", "RolledBack"] {
        assert!(told.contains(&reason), "{reason}: {told:?}");
    }
    app.finish().await;
}
