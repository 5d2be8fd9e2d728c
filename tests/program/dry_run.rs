//! `--dry-run` says what would happen and does not do it.

use crate::harness::Shop;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_changes_nothing() {
    let shop = Shop::open().await;
    let untouched = shop.reviews();
    for strategy in ["client", "server"] {
        let ran = shop
            .run(
                &format!("start reviews --dry-run={strategy}"),
                &shop.brief(),
            )
            .await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains("http[primary]"), "{}", ran.stdout);
    }
    assert_eq!(shop.reviews(), untouched);

    let ran = shop
        .run("start reviews --no-wait --steps 20,50,100", &shop.brief())
        .await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let at_20 = shop.reviews();
    for (line, expected) in [
        (
            "promote reviews --dry-run",
            "virtualservice.networking.istio.io/reviews promoted to 50 % (dry run)\n",
        ),
        (
            "promote reviews --full --dry-run=server",
            "virtualservice.networking.istio.io/reviews promoted (server dry run)\n",
        ),
        (
            "pause reviews --dry-run=client",
            "virtualservice.networking.istio.io/reviews paused at 20 % (dry run)\n",
        ),
        (
            "abort reviews --dry-run=server",
            "virtualservice.networking.istio.io/reviews rolled back: on request (server dry run)\n",
        ),
        (
            "abort reviews --dry-run=client",
            "virtualservice.networking.istio.io/reviews rolled back: on request (dry run)\n",
        ),
    ] {
        let ran = shop.run(line, &[]).await;
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, expected),
            "{line}: {}",
            ran.stderr
        );
        assert_eq!(shop.reviews(), at_20, "{line}");
    }
    let ran = shop.run("abort reviews", &[]).await;
    assert_eq!(ran.code, 0);
    assert_eq!(shop.reviews()["spec"], untouched["spec"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_promoted_is_said_to_be_done_already_and_is_undone() {
    let shop = Shop::open().await;
    let before = shop.reviews()["spec"].clone();
    let start = "start reviews --canary v2 --no-wait --steps 50,100";
    for line in [start, "promote reviews --full"] {
        let words = if line == start {
            shop.brief()
        } else {
            Vec::new()
        };
        let ran = shop.run(line, &words).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let promoted = shop.reviews();
    let refused = shop
        .run("start reviews --steps 50,100", &shop.brief())
        .await;
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("(try: --canary v1 "),
        "{}",
        refused.stderr
    );
    let again = shop.run(start, &shop.brief()).await;
    let expected =
        "virtualservice.networking.istio.io/reviews already promoted, all traffic is on v2\n";
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, expected),
        "{}",
        again.stderr
    );
    let again = shop.run(&format!("{start} -o json"), &shop.brief()).await;
    let again: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(again["outcome"]["kind"], "already-promoted");
    for (line, expected) in [
        (
            "undo reviews --dry-run=server",
            "rolled back: promotion undone (server dry run)",
        ),
        (
            "undo reviews --dry-run",
            "rolled back: promotion undone (dry run)",
        ),
    ] {
        let ran = shop.run(line, &[]).await;
        let expected = format!("virtualservice.networking.istio.io/reviews {expected}\n");
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, expected.as_str()),
            "{}",
            ran.stderr
        );
        assert_eq!(shop.reviews(), promoted, "{line}");
    }
    for expected in [
        "rolled back: promotion undone",
        "nothing to undo, the promotion is undone already",
    ] {
        let ran = shop.run("undo reviews", &[]).await;
        let expected = format!("virtualservice.networking.istio.io/reviews {expected}\n");
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, expected.as_str()),
            "{}",
            ran.stderr
        );
        assert_eq!(shop.reviews()["spec"], before);
    }
    let watched = shop.run("status reviews --watch", &[]).await;
    assert_eq!(watched.code, 1, "{}", watched.stdout);
    assert!(
        watched.stderr.contains("the last one ended"),
        "{}",
        watched.stderr
    );
}
