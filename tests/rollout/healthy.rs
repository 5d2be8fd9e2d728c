//! What happens to a canary that is well, and to one that is not.

use kubectl_canary::record::{Cause, EventKind, Outcome};

use crate::stage::{Shop, brisk};

#[tokio::test(start_paused = true)]
async fn a_healthy_canary_reaches_100_percent() {
    let shop = Shop::open().await;
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    assert_eq!(shop.weights(), [0, 100]);
    assert_eq!(shop.annotation("rollout"), None);
    assert!(shop.annotation("last").unwrap().contains("promoted"));
    let weights: Vec<_> = shop
        .told()
        .into_iter()
        .filter_map(|event| match event {
            EventKind::StepStarted { weight, .. } => Some(weight.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(weights, ["1", "10", "50", "100"]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_canary_is_rolled_back_to_the_exact_spec() {
    let shop = Shop::open().await;
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails(0.2);
    let finish = shop.start(brisk()).await.unwrap();
    assert_eq!(
        finish.outcome,
        Outcome::RolledBack(Cause::Regression),
        "{:#?}",
        shop.told()
    );
    assert_eq!(shop.spec(), shop.before);
    assert_eq!(shop.annotation("rollout"), None);
    assert!(finish.total.canary.failures > 0);
}
