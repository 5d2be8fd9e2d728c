//! What an earlier rollout on the same object knew of the service, where the metrics tell less.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::Signals;
use kubectl_canary::commands::{self, PlanArgs, Status, StatusAnswer};
use kubectl_canary::plan::{AnalysisKind, Options};
use kubectl_canary::report::{Layout, View};
use kubectl_canary::rollout::{EventKind, LAST, LastRollout, Outcome};
use serde_json::{Value, json};

use crate::harness::{Shop, begin, brisk_with, start};

/// Both versions fail as often, and durations are not judged.
fn options() -> Options {
    Options {
        analysis: Some(AnalysisKind::Sequential),
        warmup: Some("0s".parse().unwrap()),
        ignore_latency: true,
        min_requests: None,
        ..brisk_with("20,100")
    }
}

/// The shop after forty minutes and a rollout that was aborted.
async fn rolled_out_before() -> Shop {
    let shop = Shop::open_with(|stage| {
        for version in ["reviews-v1", "reviews-v2"] {
            stage.traffic().version("shop", version).fails(0.005);
        }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2400)).await;
    shop.start_as("alice@desk", begin(options()), Signals::none())
        .await
        .unwrap();
    shop.abort("alice@desk").await.unwrap();
    shop.events.lock().unwrap().clear();
    shop
}

/// Prometheus begins anew.
async fn forget_metrics(shop: &Shop) {
    shop.world.scrapes().keep(SignedDuration::ZERO);
    tokio::time::sleep(Duration::from_secs(2)).await;
    shop.world.scrapes().keep(SignedDuration::from_hours(2));
}

/// The record of the last rollout, as another makes it.
fn set_last(shop: &Shop, change: impl FnOnce(&mut Value)) {
    let mut last = serde_json::from_str(&shop.annotation("last").unwrap()).unwrap();
    change(&mut last);
    shop.edit(|vs| vs["metadata"]["annotations"][LAST] = last.to_string().into());
}

fn last(shop: &Shop) -> LastRollout {
    serde_json::from_str(&shop.annotation("last").unwrap()).unwrap()
}

/// How long the first step takes.
async fn first_step(shop: &Shop) -> SignedDuration {
    let finish = shop.start(options()).await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    let begins = |share| {
        shop.when(|event| match event {
            EventKind::StepStarted { exposure, .. } => exposure.share().to_string() == share,
            _ => false,
        })
    };
    begins("100").duration_since(begins("20"))
}

/// What `plan` says of the dispersion.
async fn planned(shop: &Shop) -> Option<String> {
    let args = PlanArgs {
        rollout: start(options()).rollout,
        ..PlanArgs::default()
    };
    let planned = shop.act("bob@desk", Signals::none(), async |context| {
        commands::plan(context, &args).await
    });
    let findings = planned.await.unwrap().findings.into_iter();
    let mut said = findings.map(|finding| finding.what);
    said.find(|what| what.starts_with("dispersion"))
}

/// What `status` says of it.
async fn status(shop: &Shop) -> Option<String> {
    let args = Status {
        name: Some("reviews".into()),
        ..Status::default()
    };
    let asked = shop.act("bob@desk", Signals::none(), async |context| {
        commands::status(context, &args, None).await
    });
    let StatusAnswer::One(row) = asked.await.unwrap() else {
        panic!("one was asked for");
    };
    let mut out = Vec::new();
    row.show(&mut out, Layout::default()).unwrap();
    let text = String::from_utf8(out).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    lines.find(|line| line.starts_with("Baseline:"))
}

#[tokio::test(start_paused = true)]
async fn a_first_minute_is_as_fast_with_the_record_as_with_a_history() {
    let with_history = first_step(&rolled_out_before().await).await;
    let shop = rolled_out_before().await;
    forget_metrics(&shop).await;
    let with_record = first_step(&shop).await;
    let shop = rolled_out_before().await;
    set_last(&shop, |last| last["baseline"] = Value::Null);
    forget_metrics(&shop).await;
    let without_both = first_step(&shop).await;
    println!(
        "{with_history} with a history, {with_record} with the record, {without_both} without"
    );
    assert!(with_record <= with_history + SignedDuration::from_secs(5));
    assert!(without_both >= with_record * 2);
}

#[tokio::test(start_paused = true)]
async fn plan_and_status_say_whose_dispersion_it_is_and_a_driver_that_takes_over_knows_it() {
    let shop = rolled_out_before().await;
    let record = last(&shop).baseline.unwrap();
    assert_eq!(record.host, "reviews.shop.svc.cluster.local");
    assert_eq!(planned(&shop).await, None);
    forget_metrics(&shop).await;
    let said = planned(&shop).await.unwrap();
    let date = "dispersion from the rollout of 2026-01-01";
    assert!(said.starts_with(date), "{said}");
    shop.start_as("alice@desk", begin(options()), Signals::none())
        .await
        .unwrap();
    assert_eq!(status(&shop).await, Some(format!("Baseline: {date}")));
    assert_eq!(shop.rollout().unwrap().baseline, Some(record.clone()));
    let finish = shop.resume("carol@desk").await.unwrap();
    assert_eq!(finish.outcome, Outcome::Promoted, "{:#?}", shop.told());
    // It stays what it was, with its date, until the metrics tell more.
    assert_eq!(last(&shop).baseline, Some(record));
    assert_eq!(status(&shop).await, None);
}

#[tokio::test(start_paused = true)]
async fn metrics_that_tell_more_renew_the_record() {
    let shop = rolled_out_before().await;
    let before = last(&shop).baseline.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    first_step(&shop).await;
    let after = last(&shop).baseline.unwrap();
    assert!(after.at > before.at, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_used_is_as_none() {
    type Change = fn(&mut Value);
    let spoilt: [Change; 6] = [
        |last| *last = json!("nothing"),
        |last| last["baseline"]["clusters"] = "many".into(),
        |last| last["baseline"]["clusters"] = 0.into(),
        |last| last["baseline"]["at"] = "2025-11-30T12:00:00Z".into(),
        |last| last["baseline"]["host"] = "ratings.shop.svc.cluster.local".into(),
        |last| drop(last.as_object_mut().unwrap().remove("baseline")),
    ];
    let shop = rolled_out_before().await;
    forget_metrics(&shop).await;
    let whole = shop.annotation("last").unwrap();
    for (i, spoil) in spoilt.into_iter().enumerate() {
        shop.edit(|vs| vs["metadata"]["annotations"][LAST] = whole.clone().into());
        assert!(planned(&shop).await.is_some(), "{i}");
        set_last(&shop, spoil);
        assert_eq!(planned(&shop).await, None, "{i}");
    }
}
