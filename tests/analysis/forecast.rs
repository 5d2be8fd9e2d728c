//! What `plan` and `start` expect of a rollout, from what the metrics tell of the stable version.

use std::time::Duration;

use kubectl_canary::Signals;
use kubectl_canary::commands::{self, PlanArgs, RolloutArgs};
use kubectl_canary::plan::{Level, Options};
use kubectl_canary::report::PlanView;
use kubectl_canary::rollout::{EventKind, Outcome};
use kubectl_canary::sandbox::fixtures;

use crate::harness::Shop;

async fn plan(shop: &Shop) -> PlanView {
    let args = PlanArgs {
        rollout: RolloutArgs {
            name: Some("reviews".into()),
            options: Options::default(),
            ..RolloutArgs::default()
        },
        ..PlanArgs::default()
    };
    shop.act("alice@desk", Signals::none(), async |context| {
        commands::plan(context, &args).await.unwrap()
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_rollout_takes_about_as_long_as_was_forecast() {
    let shop = Shop::open().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let forecast = plan(&shop).await.forecast.unwrap();
    assert!(
        (forecast.requests_per_second - 200.0).abs() < 20.0,
        "{forecast:#?}"
    );
    assert_eq!(forecast.presets.len(), 3);
    // Failures, refusals and the bounds of the histogram.
    assert!(forecast.power.len() > 2, "{forecast:#?}");
    let example = forecast.power[0].example.unwrap();
    assert!(example.after < forecast.total.unwrap(), "{forecast:#?}");
    let expected = forecast.total.unwrap();
    let began = shop.after(0);
    let finish = shop.start(Options::default()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted);
    let took = finish.at.duration_since(began).as_secs_f64();
    let ratio = expected.signed().as_secs_f64() / took;
    assert!((0.75..1.33).contains(&ratio), "{expected} for {took} s");
    let told = shop.told().into_iter().find_map(|event| match event {
        EventKind::Planned {
            expected,
            requests_per_second,
            ..
        } => expected.zip(requests_per_second),
        _ => None,
    });
    assert_eq!(told.unwrap().0, expected);
}

#[tokio::test(start_paused = true)]
async fn too_little_traffic_for_a_verdict_is_said_before_the_start() {
    let shop = Shop::open_with(|stage| {
        stage.traffic().demand(fixtures::REVIEWS).per_second(0.2);
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1800)).await;
    let view = plan(&shop).await;
    assert!(!view.refused, "{:#?}", view.findings);
    let warned = view
        .findings
        .iter()
        .find(|finding| finding.what.contains("too little for a verdict"));
    let warned = warned.unwrap_or_else(|| panic!("{:#?} {:#?}", view.findings, view.forecast));
    assert_eq!(warned.level, Level::Warn);
    assert!(warned.fix.as_ref().unwrap().contains("--preset quicker"));
    let forecast = view.forecast.unwrap();
    assert!(!forecast.remedies.is_empty(), "{forecast:#?}");
    assert!(forecast.power[0].smallest.unwrap() > 0.01, "{forecast:#?}");
}
