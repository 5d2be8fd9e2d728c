//! The commands as people type them, through kubectl.

use serde_json::Value;

use crate::app::App;
use crate::stack::Stack;

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn kubectl_finds_the_plugin_and_its_commands_work() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "plugin").await;
    let before = app.spec().await;
    let kubectl = &stack.description.kubectl;
    let canary = |words: &str| app.canary(words).through(kubectl);

    let plan = canary("plan vs/reviews --dry-run=server --steps 5,100")
        .run()
        .await;
    assert_eq!(plan.code, Some(0));
    for line in [
        "the API server accepts the step at 5 %",
        "the API server accepts the step at 100 %",
    ] {
        assert!(plan.stdout.contains(line), "{}", plan.stdout);
    }
    assert_eq!(app.spec().await, before, "a dry run writes nothing");

    let started = canary("start virtualservice/reviews --steps 5,100 --no-wait")
        .run()
        .await;
    assert_eq!(started.code, Some(0));

    let status = canary("status reviews -o json").run().await;
    assert_eq!(status.code, Some(0));
    let status: Value = serde_json::from_str(&status.stdout).expect("status prints JSON");
    println!("{status:#}");
    let percents = ["/traffic/0/percent", "/traffic/1/percent"].map(|at| status.pointer(at));
    assert_eq!(
        percents.map(|found| found.and_then(Value::as_f64)),
        [Some(95.0), Some(5.0)]
    );
    let versions = status["versions"].as_array().expect("a list");
    assert!(
        versions.len() == 2
            && versions.iter().all(|version| {
                version["ready"].as_u64() > Some(0) && version["images"][0].is_string()
            }),
        "{status:#}"
    );
    let table = canary("status reviews").run().await;
    assert!(
        table.stdout.contains("5 %") || table.stdout.contains("5%"),
        "{}",
        table.stdout
    );
    let names = canary("list -o name").run().await;
    assert_eq!(names.code, Some(0));
    assert_eq!(
        names.stdout.trim(),
        "virtualservice.networking.istio.io/reviews"
    );
    let list = canary("list").run().await;
    assert!(list.stdout.contains("reviews"), "{}", list.stdout);

    let aborted = canary("abort reviews").run().await;
    assert_eq!(aborted.code, Some(0));
    app.is_restored_to(&before).await;

    let missing = canary("status ratings").run().await;
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.stderr.contains("reviews"),
        "it names what there is: {}",
        missing.stderr
    );
    app.finish().await;
}
