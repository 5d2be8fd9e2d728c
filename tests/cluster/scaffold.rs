//! What `scaffold` prints, applied under load as it is printed, and rolled out.

use serde_json::Value;

use crate::app::App;
use crate::stack::Stack;

/// Requests a second.
const RATE: f64 = 100.0;

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_third_version_is_scaffolded_applied_and_promoted_without_a_failed_request() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "scaffold").await;
    let load = app.load().rate(RATE).start();
    let words = "scaffold reviews --image stack/reviews:v3 --version v3 --deployment reviews-v1";
    let printed = app.canary(words).run().await;
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let kinds: Vec<_> = printed
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("kind: "))
        .collect();
    assert_eq!(kinds, ["DestinationRule", "Deployment", "VirtualService"]);
    // The real API server has filled in its defaults; they are not the user's.
    assert!(
        !printed.stdout.contains("terminationMessagePath"),
        "{}",
        printed.stdout
    );

    // Exactly what stands on stdout, comments included.
    let applied = stack.kubectl("apply -f -", &printed.stdout);
    let said = String::from_utf8_lossy(&applied.stderr).into_owned();
    assert!(applied.status.success(), "{said}\n{}", printed.stdout);
    let cluster = format!("80|v3|{}", app.service());
    let admin = &stack.description.gateway.admin;
    stack.await_endpoints(admin, &cluster, 2).await;

    let again = app.canary(words).run().await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(
        again
            .stdout
            .contains("nothing is missing (try: kubectl canary start reviews"),
        "{}",
        again.stdout
    );
    let ended = app.rollout("--canary v3 --steps 50,100").run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let spec: Value = serde_json::from_str(&app.spec().await).expect("the server writes JSON");
    let targets = spec["http"][0]["route"].as_array().expect("it is a route");
    let weights: Vec<_> = targets
        .iter()
        .map(|target| {
            let subset = target["destination"]["subset"].as_str().unwrap_or_default();
            (subset, target["weight"].as_i64().unwrap_or(0))
        })
        .collect();
    assert_eq!(weights, [("v1", 0), ("v3", 100), ("v2", 0)]);
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report:?}");
    assert!(report.answered("v3") > 100, "{report:?}");
    app.finish().await;
}
