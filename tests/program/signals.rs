//! Signals to the real process: every command reads them.

use std::time::{Duration, Instant};

use kubectl_canary::sandbox::{ApiFault, Rule};

use crate::harness::Shop;

const SIGNALS: [(&str, i32); 3] = [("HUP", 129), ("INT", 130), ("TERM", 143)];

/// Lets every call for a VirtualService hang.
fn hang(shop: &Shop) {
    let hang = Rule::new(ApiFault::Hang { applied: false });
    shop.world.faults().api(hang.of("virtualservices"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_reads_ends_with_a_signal_at_once() {
    let shop = Shop::open().await;
    hang(&shop);
    let commands = [
        "status reviews",
        "status reviews --watch",
        "status",
        "list",
        "list --watch",
        "plan reviews",
        "analyze reviews --since 1m",
        "pause reviews",
        "promote reviews",
    ];
    for (index, line) in commands.into_iter().enumerate() {
        let (signal, code) = SIGNALS[index % SIGNALS.len()];
        let running = shop.spawn(line, &[]).await;
        let asked = Instant::now();
        let ran = running.signal(signal).await;
        assert_eq!(ran.code, code, "{line}: {}", ran.stderr);
        assert!(asked.elapsed() < Duration::from_secs(2), "{line}");
        assert!(
            ran.stderr.contains("interrupted by"),
            "{line}: {}",
            ran.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_terminal_rolls_back_and_nohup_does_not_mind_it() {
    for (nohup, code, canary) in [(false, 11, 0), (true, 0, 100)] {
        let shop = Shop::open().await;
        let mut flags = shop.brief();
        flags.extend(["--steps", "20:4s,100"].map(str::to_owned));
        let running = match nohup {
            false => shop.spawn("start reviews", &flags).await,
            true => shop.spawn_ignoring_hangup("start reviews", &flags).await,
        };
        shop.until_canary_has(20).await;
        let ran = running.signal("HUP").await;
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert_eq!(shop.canary(), canary);
        assert_eq!(ran.stderr.contains("SIGHUP: rolling back"), !nohup);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_that_hangs_ends_with_a_signal_and_is_not_called_done() {
    let shop = Shop::open().await;
    hang(&shop);
    let running = shop.spawn("abort reviews", &[]).await;
    let ran = running.signal("TERM").await;
    assert_eq!(ran.code, 20, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("kubectl canary abort reviews -n shop"),
        "{}",
        ran.stderr
    );
}
