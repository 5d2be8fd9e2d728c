//! One look at a rollout that somebody else drives, or nobody any more.

use std::time::Duration;

use kubectl_canary::commands::{self, List, Status, StatusAnswer};
use kubectl_canary::metrics::MetricsWarning;
use kubectl_canary::report::{Layout, StatusRow, View};
use kubectl_canary::rollout::EventKind;
use kubectl_canary::sandbox::{ApiFault, Denial, PrometheusFault, Rule};
use kubectl_canary::{CommandError, Signals};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Shop, brisk_with, with_flags};

async fn status(shop: &Shop) -> StatusRow {
    let args = Status {
        name: Some("reviews".into()),
        ..Status::default()
    };
    let answer = shop
        .act("bob@desk", Signals::none(), async |context| {
            commands::status(context, &args, None).await
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

/// The table lines of a description that begin like this.
fn table(row: &StatusRow, title: &str) -> Vec<String> {
    let mut out = Vec::new();
    row.show(&mut out, Layout::default()).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines = text.lines().skip_while(|line| !line.starts_with(title));
    let cells = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines = lines.take_while(|line| !line.is_empty()).map(cells);
    lines.collect()
}

#[tokio::test(start_paused = true)]
async fn status_shows_where_the_traffic_is_and_what_runs_there_at_rest_and_during_a_rollout() {
    let shop = Shop::open().await;
    let row = status(&shop).await;
    assert_eq!(
        table(&row, "Hosts:"),
        [
            "Hosts: reviews, shop.example.com (via mesh, shop/shop)",
            "ROUTE MATCH HOST SUBSET WEIGHT",
            "http[primary] all reviews v1 100 %",
            "http[primary] all reviews v2 0 %",
        ]
    );
    let versions = [
        "HOST SUBSET READY IMAGE WORKLOAD",
        "reviews v1 3/3 registry.example/reviews:v1 reviews-v1",
        "reviews v2 2/2 registry.example/reviews:v2 reviews-v2",
    ];
    assert_eq!(table(&row, "HOST"), versions);
    assert!(row.unread.is_empty() && row.last_run.is_none());
    let look = async {
        shop.until_weight(10).await;
        let row = status(&shop).await;
        let routes = &table(&row, "Hosts:")[2..];
        assert_eq!(
            routes,
            [
                "http[primary] all reviews v1 90 %",
                "http[primary] all reviews v2 10 %",
            ]
        );
        assert_eq!(table(&row, "HOST"), versions);
        assert!(table(&row, "ROUTE").len() > 1, "what was set and before");
    };
    let (finish, ()) = tokio::join!(shop.start(brisk_with("10,100")), look);
    finish.unwrap();
    // A list is about rollouts.
    let listed = list(&shop, false).await.unwrap();
    assert!(listed[0].traffic.is_empty() && listed[0].versions.is_empty());
    assert!(listed[0].last.is_some() && listed[0].last_run.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_runs_there_is_left_out_with_its_reason_where_it_may_not_be_read_or_takes_long() {
    let shop = Shop::open().await;
    for (verb, resource) in [
        ("get", "services"),
        ("list", "pods"),
        ("list", "destinationrules"),
    ] {
        shop.world
            .set(|stage| stage.deny(Denial::of(verb, resource)));
        let row = status(&shop).await;
        assert_eq!(row.traffic.len(), 2, "{resource}");
        assert!(
            row.versions.iter().all(|version| version.pods.is_none()),
            "{resource}"
        );
        let [why] = row.unread.as_slice() else {
            panic!("{resource}: {:?}", row.unread);
        };
        assert!(
            why.contains(verb) && why.contains(resource.trim_end_matches('s')),
            "{why}"
        );
        let said = table(&row, "not read:");
        assert!(said[0].contains(resource.trim_end_matches('s')), "{said:?}");
        shop.world.set(|stage| stage.allow_all());
    }
    let slow = Rule::new(ApiFault::Hang { applied: false });
    shop.world.faults().api(slow.on("list").of("pods"));
    let began = Instant::now();
    let row = status(&shop).await;
    assert!(began.elapsed() <= Duration::from_millis(1_500));
    assert_eq!((row.traffic.len(), row.unread.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_subset_that_no_rule_defines_has_no_pods_of_others() {
    let shop = Shop::open_with(|stage| {
        stage.edit("destinationrules", "shop", "reviews", "setup", |rule| {
            rule["spec"]["subsets"][1]["name"] = json!("v3");
        });
    })
    .await;
    let row = status(&shop).await;
    let pods = row.versions.iter().map(|version| version.pods);
    assert_eq!(pods.collect::<Vec<_>>(), [Some(3), None]);
    assert!(
        row.unread[0].contains("defines subset v2 of reviews"),
        "{:?}",
        row.unread
    );
}
