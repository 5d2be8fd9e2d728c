//! What cannot be used is called what it is.

use crate::harness::Shop;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_the_kubeconfig_does_not_have_are_refused() {
    let shop = Shop::open().await;
    for flag in ["user", "cluster", "context"] {
        let ran = shop
            .run(&format!("status reviews --{flag} nope"), &[])
            .await;
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        let expected =
            format!("error: {flag} \"nope\" is not in the kubeconfig (try: --{flag} with one of ");
        assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
    }
    // An abort that could not do its work does not call traffic untouched.
    let ran = shop.run("abort reviews --user nope", &[]).await;
    assert_eq!(ran.code, 20, "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_file_that_is_none_is_called_what_it_is() {
    let shop = Shop::open().await;
    let folder = tempfile::tempdir().unwrap();
    let plan = "{apiVersion: kubectl-canary.dev/v1, kind: Rollout}";
    for (name, text, expected) in [
        ("missing.yaml", None, "no such file or directory (try: "),
        ("empty.yaml", Some(String::new()), "it is empty (try: "),
        (
            "two.yaml",
            Some(format!("{plan}\n---\n{plan}\n")),
            "it holds more than one document (try: ",
        ),
        (
            "argo.yaml",
            Some("apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec: {replicas: 5}\n".into()),
            "it is a Rollout of Argo, not a plan of kubectl canary (try: ",
        ),
        (
            "flagger.yaml",
            Some("apiVersion: flagger.app/v1beta1\nkind: Canary\nspec: {analysis: {}}\n".into()),
            "it is a Canary of Flagger, not a plan of kubectl canary (try: ",
        ),
    ] {
        let path = folder.path().join(name);
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let file = path.to_str().unwrap();
        for command in ["start", "plan"] {
            let ran = shop.run(&format!("{command} reviews -f {file}"), &[]).await;
            assert_eq!(ran.code, 2, "{}", ran.stderr);
            let expected = format!("error: plan file {file}: {expected}");
            assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_nobody_drives_is_found_by_a_script() {
    let shop = Shop::open().await;
    let ran = shop.run("list -A --orphaned", &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut flags = shop.brief();
    flags.extend(["--steps", "20,50,100", "--run-id", "pipeline-4711"].map(str::to_owned));
    let ran = shop.run("start reviews --no-wait", &flags).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = shop.run("list -A --orphaned", &[]).await;
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stdout.contains("dead"), "{}", ran.stdout);
    let cleanup = "abort reviews --run pipeline-4711 --ignore-not-found";
    for expected in [
        "rolled back: on request",
        "run pipeline-4711 has already ended: rolled back: on request",
    ] {
        let ran = shop.run(cleanup, &[]).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.trim_end().ends_with(expected), "{}", ran.stdout);
    }
    let ran = shop.run("start reviews --run-id Not_A_Label", &[]).await;
    assert_eq!(ran.code, 2, "{}", ran.stderr);
}
