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
