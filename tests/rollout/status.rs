//! One look at a rollout that somebody else drives, or nobody any more.

use std::time::Duration;

use kubectl_canary::commands::{self, List, Status, StatusAnswer};
use kubectl_canary::metrics::MetricsWarning;
use kubectl_canary::report::{Layout, StatusRow, View};
use kubectl_canary::rollout::EventKind;
use kubectl_canary::sandbox::{Denial, PrometheusFault, Rule};
use kubectl_canary::{CommandError, Signals};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::harness::{Shop, brisk_with, with_flags};

async fn status(shop: &Shop) -> StatusRow {
    let args = Status {
        name: Some("reviews".into()),
        ..Status::default()
    };
    let answer = shop
        .act("bob@desk", Signals::none(), async |context| {
            commands::status(context, &args).await
        })
        .await;
    match answer.unwrap() {
        StatusAnswer::One(row) => *row,
        StatusAnswer::Many(_) => panic!("one was asked for"),
    }
}

/// What a line says.
fn line(row: &StatusRow, title: &str) -> Option<String> {
    let mut out = Vec::new();
    row.show(&mut out, Layout::default()).unwrap();
    let text = String::from_utf8(out).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(title));
    line.map(|line| line.trim().to_owned())
}

fn driver(row: &StatusRow) -> Option<String> {
    line(row, "Driver:")
}

/// The verbs of the commands that come next.
fn next(row: &StatusRow) -> Vec<&str> {
    let commands = row.next.iter();
    let verbs = commands.filter_map(|command| command.split_whitespace().nth(2));
    verbs.collect()
}

#[tokio::test(start_paused = true)]
async fn status_tells_whether_the_driver_lives() {
    let shop = Shop::open().await;
    let at_work = async {
        shop.until_weight(10).await;
        sleep(Duration::from_secs(7)).await;
        let row = status(&shop).await;
        assert_eq!(driver(&row).as_deref(), Some("running, seen 2s ago"));
        assert_eq!(next(&row), ["promote", "pause", "abort"]);
        let evidence = line(&row, "Evidence:").unwrap();
        assert!(evidence.starts_with("v2 0 of "), "{evidence}");
        assert!(
            evidence.contains("; healthy so far: v2's error rate is 0 %, the limit is "),
            "{evidence}"
        );
        assert!(evidence.ends_with("s ago"), "{evidence}");
        let driver = row.driver.unwrap();
        assert!(driver.holder.unwrap().starts_with("alice@"));
        assert_eq!(driver.report.map(|report| report.run), row.run);
    };
    // It dies without a word when that has been seen.
    tokio::select! {
        ended = shop.start(brisk_with("10:5m,100")) => panic!("{ended:?}"),
        () = at_work => {}
    }
    sleep(Duration::from_secs(200)).await;
    let row = status(&shop).await;
    let words = driver(&row).unwrap();
    assert!(words.starts_with("ORPHANED: no driver for 3m2"), "{words}");
    assert!(
        words.ends_with(", no analysis, no automatic rollback"),
        "{words}"
    );
    assert_eq!(next(&row), ["resume", "abort"]);

    // Whoever may not look at leases is told the rest.
    shop.world.deny(Denial::of("get", "leases"));
    let row = status(&shop).await;
    assert_eq!((driver(&row), row.driver.is_none()), (None, true));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_waits_for_somebody_needs_no_driver() {
    let shop = Shop::open().await;
    let waits = timeout(
        Duration::from_secs(120),
        shop.start(brisk_with("10:pause,100")),
    );
    assert!(waits.await.is_err(), "waiting for promote");
    sleep(Duration::from_secs(60)).await;
    let row = status(&shop).await;
    assert_eq!(row.phase.word(), "waiting");
    let words = driver(&row).unwrap();
    assert!(
        words.starts_with("no driver for ") && !words.contains(':'),
        "{words}"
    );
    assert_eq!(next(&row), ["promote", "abort"]);
}

/// What limits the metrics reaches whoever looks: `plan`, the lines (once), the events and `status`.
#[tokio::test(start_paused = true)]
async fn what_limits_the_metrics_is_said_wherever_somebody_looks() {
    let shop = Shop::open().await;
    let missing = PrometheusFault::Missing {
        label: "reporter".into(),
        value: "source".into(),
    };
    shop.world.faults().prometheus(Rule::new(missing));
    let said = "only the versions' own proxies report: requests that never reach them are not seen";
    let look = async {
        shop.until_weight(10).await;
        sleep(Duration::from_secs(7)).await;
        let row = status(&shop).await;
        assert_eq!(line(&row, "Metrics:").as_deref(), Some(said));
        let look = serde_json::to_value(&row).unwrap()["driver"]["report"].clone();
        assert_eq!(look["warnings"], json!([{"kind": "only-destination"}]));
    };
    let (finish, ()) = tokio::join!(shop.start(brisk_with("10:20s,100")), look);
    assert_eq!(finish.unwrap().warnings, [MetricsWarning::OnlyDestination]);
    assert!(
        shop.warnings().iter().any(|text| text.starts_with(said)),
        "{:?}",
        shop.warnings()
    );
    let looks = shop.told().into_iter().filter_map(|event| match event {
        EventKind::Analyzed { warnings, .. } => Some(warnings),
        _ => None,
    });
    let looks: Vec<_> = looks.collect();
    assert!(looks.len() > 2);
    let expected = [MetricsWarning::OnlyDestination];
    assert!(looks.iter().all(|warnings| *warnings == expected));
}

/// What was forecast at the start can be read while it runs, from the object alone.
#[tokio::test(start_paused = true)]
async fn status_tells_what_the_analysis_would_detect() {
    let shop = Shop::open().await;
    let flags = "--preset quick --dwell 20s --warmup 0s --interval 1s --steps 10,100";
    let look = async {
        shop.until_weight(10).await;
        let row = status(&shop).await;
        let said = line(&row, "Detects:").unwrap();
        assert!(
            said.starts_with("+") && said.contains(" pp failures in ") && said.contains("; from +"),
            "{said}"
        );
        assert_eq!(row.power, shop.rollout().unwrap().power);
    };
    let (finish, ()) = tokio::join!(shop.start(with_flags(flags.split(' '))), look);
    finish.unwrap();
    assert_eq!(line(&status(&shop).await, "Detects:"), None);
}

/// The rows of `list`.
async fn list(shop: &Shop, orphaned: bool) -> Result<Vec<StatusRow>, CommandError> {
    let args = List {
        all_namespaces: true,
        orphaned,
        ..List::default()
    };
    let listed = shop.act("bob@desk", Signals::none(), async |context| {
        commands::list(context, &args).await
    });
    Ok(listed.await?.items)
}

#[tokio::test(start_paused = true)]
async fn list_shows_which_drivers_are_running_and_finds_the_orphaned_ones() {
    let shop = Shop::open().await;
    let at_work = async {
        shop.until_weight(10).await;
        sleep(Duration::from_secs(7)).await;
        let rows = list(&shop, false).await.unwrap();
        assert!(rows[0].driver.as_ref().unwrap().alive);
        assert_eq!(list(&shop, true).await.unwrap().len(), 0);
    };
    tokio::select! {
        ended = shop.start(brisk_with("10:5m,100")) => panic!("{ended:?}"),
        () = at_work => {}
    }
    sleep(Duration::from_secs(200)).await;
    let rows = list(&shop, true).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].is_orphaned());

    // Whoever may not look at leases is not told that there is none.
    shop.world.deny(Denial::of("get", "leases"));
    let rows = list(&shop, false).await.unwrap();
    assert_eq!((rows.len(), rows[0].driver.is_none()), (1, true));
    let error = list(&shop, true).await.unwrap_err().to_string();
    assert!(error.contains("leases"), "{error}");
    shop.abort("bob@desk").await.unwrap();
    assert_eq!(list(&shop, true).await.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_promote_is_not_orphaned() {
    let shop = Shop::open().await;
    let waits = timeout(
        Duration::from_secs(120),
        shop.start(brisk_with("10:pause,100")),
    );
    assert!(waits.await.is_err(), "waiting for promote");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(list(&shop, true).await.unwrap().len(), 0);
}
