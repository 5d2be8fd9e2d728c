//! Results on stdout, the rest on stderr, and an exit code for each end.

use serde_json::{Value, json};

use crate::harness::Shop;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_prints_its_lines_on_stderr_and_its_result_on_stdout() {
    let shop = Shop::open().await;
    let ran = shop.run("start reviews -o json", &shop.brief()).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(summary["outcome"]["kind"], "promoted");
    assert_eq!(summary["exitCode"], 0);
    assert_eq!(summary["exposure"]["percent"], 100);
    for word in [
        "plan ", "step 1/4", "step 4/4", "traffic", "healthy", "promoted",
    ] {
        assert!(
            ran.stderr.contains(word),
            "{word} is missing in\n{}",
            ran.stderr
        );
    }
    let weights: Vec<_> = shop.reviews()["spec"]["http"][0]["route"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| target["weight"].clone())
        .collect();
    assert_eq!(weights, [0, 100]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regression_ends_with_exit_code_10_and_the_spec_as_it_was() {
    let shop = Shop::open().await;
    let before = shop.reviews()["spec"].clone();
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails(0.5);
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events.jsonl");
    let mut flags = shop.brief();
    flags.extend(["--events".into(), events.display().to_string()]);
    let ran = shop.run("start reviews", &flags).await;
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    assert_eq!(
        ran.stdout,
        "virtualservice.networking.istio.io/reviews rolled back: the canary was worse than stable\n"
    );
    assert_eq!(shop.reviews()["spec"], before);
    let journal = std::fs::read_to_string(events).unwrap();
    let kinds: Vec<String> = journal
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["event"]["kind"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(kinds.first().map(String::as_str), Some("planned"));
    assert_eq!(kinds.last().map(String::as_str), Some("finished"));
    assert!(kinds.contains(&"rolled-back".to_owned()), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_drives_the_steps_itself() {
    let shop = Shop::open().await;
    let ran = shop
        .run("start reviews --no-wait --steps 20,100", &shop.brief())
        .await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (
            0,
            "virtualservice.networking.istio.io/reviews holding at 20 %\n"
        ),
        "{}",
        ran.stderr
    );

    let ran = shop.run("start reviews", &shop.brief()).await;
    assert_eq!(ran.code, 5);
    assert!(
        ran.stderr
            .starts_with("error: a rollout is in progress on virtualservice shop/reviews, at 20 %"),
        "{}",
        ran.stderr
    );

    let ran = shop.run("status reviews -o json", &[]).await;
    let status: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&status["phase"], &status["exposure"]["percent"]),
        (&"progressing".into(), &20.into())
    );
    let ran = shop.run("list", &[]).await;
    assert!(
        ran.stdout.starts_with("NAME      STEP   WEIGHT   PHASE"),
        "{}",
        ran.stdout
    );
    let ran = shop.run("list -o name", &[]).await;
    assert_eq!(ran.stdout, "virtualservice.networking.istio.io/reviews\n");

    let ran = shop.run("promote reviews", &[]).await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "virtualservice.networking.istio.io/reviews promoted\n"),
        "{}",
        ran.stderr
    );
    let ran = shop.run("abort reviews", &[]).await;
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stderr,
        "error: no rollout is in progress on virtualservice shop/reviews (try: kubectl canary start reviews -n shop)\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_one_line_and_moves_nothing() {
    let shop = Shop::open().await;
    let before = shop.reviews();
    for (line, code, expected) in [
        (
            "start revews",
            1,
            "error: cannot get virtualservice shop/revews: not found (try: one of reviews)",
        ),
        ("start reviews --steps 10,5,100", 2, "step 10 before it"),
        (
            "start reviews --canary v9",
            1,
            "error: no route of virtualservice shop/reviews sends to \"v9\" (try: --canary v1, v2, or --add-destination to add it)",
        ),
        (
            "start reviews --context nowhere",
            1,
            "error: context \"nowhere\" is not in the kubeconfig",
        ),
        (
            "start reviews --prometheus http://127.0.0.1:1",
            4,
            "cannot reach",
        ),
        (
            "start svc/reviews",
            2,
            "error: \"svc\" is not a VirtualService (try: vs/reviews)",
        ),
        (
            "start reviews --events /nowhere/events.jsonl",
            2,
            "error: --events: ",
        ),
        ("promote", 2, "required"),
    ] {
        let ran = shop.run(line, &[]).await;
        assert_eq!(ran.code, code, "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{line}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{line}");
    }
    assert_eq!(shop.reviews(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_file_says_the_same_as_flags() {
    let shop = Shop::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("canary.yaml");
    let brief = shop.brief();
    let prometheus = brief.last().unwrap();
    let text = format!(
        "apiVersion: kubectl-canary.dev/v1\nkind: Rollout\nmetadata: {{name: reviews, namespace: shop}}\nspec: {{steps: [2, 40, 100], preset: quick, prometheus: {prometheus}}}\n"
    );
    std::fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    let ran = shop
        .run("plan -o json -f", std::slice::from_ref(&path))
        .await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(plan["plan"]["steps"], "2,40,100");
    let ran = shop.run("plan --steps 5,100 -o json -f", &[path]).await;
    let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(plan["plan"]["steps"], "5,100", "flags win");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_says_on_stderr_what_is_wrong_with_a_state_that_cannot_be_read() {
    let shop = Shop::open().await;
    let torn = |vs: &mut Value| {
        vs["metadata"]["annotations"] = json!({"kubectl-canary.dev/rollout": "torn"});
    };
    shop.world
        .edit("virtualservices", "shop", "reviews", "meddler", torn);
    let ran = shop.run("list", &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("damaged"), "{}", ran.stdout);
    let expected = "warning: the rollout state on virtualservice shop/reviews is damaged";
    assert!(ran.stderr.contains(expected), "{}", ran.stderr);
}
