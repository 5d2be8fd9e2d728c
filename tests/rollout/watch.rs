//! Looking on while somebody else drives.

use std::time::Duration;

use kubectl_canary::commands::{self, Glance};
use kubectl_canary::plan::Options;
use kubectl_canary::report::StatusRow;
use kubectl_canary::rollout::{Cause, Outcome};
use kubectl_canary::sandbox::{ApiFault, Rule};
use kubectl_canary::{CommandError, Signal, Signals};

use crate::harness::{Shop, brisk_with, signals, start};

/// A state in a few words: `1 progressing`.
fn words(row: &StatusRow) -> String {
    let weight = row
        .exposure
        .map_or("-".to_owned(), |exposure| exposure.share().to_string());
    format!("{weight} {}", row.phase.word())
}

/// Follows `reviews` to its end.
async fn follow(shop: &Shop, signals: Signals) -> (Result<Outcome, CommandError>, Vec<String>) {
    follow_run(shop, None, signals).await
}

/// Follows a run of `reviews` to its end.
async fn follow_run(
    shop: &Shop,
    run: Option<&str>,
    signals: Signals,
) -> (Result<Outcome, CommandError>, Vec<String>) {
    let mut seen = Vec::new();
    let ended = shop
        .act("bob@desk", signals, async |context| {
            commands::follow(context, "reviews", run, None, &mut |row| {
                seen.push(words(row));
                Ok(())
            })
            .await
        })
        .await;
    (ended, seen)
}

#[tokio::test(start_paused = true)]
async fn whoever_follows_a_rollout_sees_each_step_and_its_end() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10,50,100"));
    let other = async {
        shop.until_weight(10).await;
        follow(&shop, Signals::none()).await
    };
    let (finish, (ended, seen)) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(ended.unwrap(), Outcome::Promoted);
    // The last step and the end are one patch.
    assert_eq!(seen, ["10 progressing", "50 progressing", "- idle"]);
    let calls = shop.world.calls();
    let of_bob = calls.iter().filter(|call| call.user == "bob@desk");
    let verbs: Vec<_> = of_bob.map(|call| call.verb.as_str()).collect();
    assert_eq!(verbs[..2], ["get", "watch"]);
    assert!(
        verbs[2..].iter().all(|verb| *verb == "get") && verbs.len() <= 6,
        "it does not ask again and again: {verbs:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_view_in_place_hears_from_the_driver_as_often_as_that_tells_something() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10:30s,100"));
    let other = async {
        shop.until_weight(10).await;
        let mut evidence = 0;
        let ended = shop
            .act("bob@desk", Signals::none(), async |context| {
                let tick = Some(Duration::from_secs(1));
                commands::follow(context, "reviews", None, tick, &mut |row| {
                    let driver = row.driver.as_ref();
                    assert!(driver.is_none_or(|driver| driver.alive));
                    evidence += usize::from(driver.is_some_and(|driver| driver.report.is_some()));
                    Ok(())
                })
                .await
            })
            .await;
        (ended.unwrap(), evidence)
    };
    let (finish, (ended, evidence)) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(ended, Outcome::Promoted);
    assert!(evidence > 20, "{evidence} views had evidence");
    let calls = shop.world.calls();
    let of_leases = |call: &&kubectl_canary::sandbox::Call| {
        call.user == "bob@desk" && call.path.contains("/leases/")
    };
    let asked = calls.iter().filter(of_leases).count();
    assert!((6..=8).contains(&asked), "{asked} in half a minute");
}

#[tokio::test(start_paused = true)]
async fn whoever_follows_a_rollout_learns_why_it_went_back() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10:5m,100"));
    let abort = async {
        shop.until_weight(10).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        shop.abort("carol@desk").await.unwrap();
    };
    let other = async {
        shop.until_weight(10).await;
        follow(&shop, Signals::none()).await
    };
    let (_, (), (ended, seen)) = tokio::join!(driver, abort, other);
    assert_eq!(ended.unwrap(), Outcome::RolledBack(Cause::Request));
    assert_eq!(seen, ["10 progressing", "- idle"]);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_under_way_the_end_of_an_earlier_one_is_no_answer() {
    let shop = Shop::open().await;
    let (ended, seen) = follow(&shop, Signals::none()).await;
    let text = ended.unwrap_err().to_string();
    assert_eq!(seen, ["- idle"]);
    assert_eq!(
        text,
        "no rollout is in progress on virtualservice shop/reviews (try: kubectl canary start reviews -n shop, or --run RUN to wait for one)"
    );

    let run = shop.start(brisk_with("10,100")).await.unwrap().rollout.run;
    tokio::time::sleep(Duration::from_secs(4 * 3600)).await;
    let (ended, _) = follow(&shop, Signals::none()).await;
    let text = ended.unwrap_err().to_string();
    assert!(
        text.contains("; the last one ended 4h ago: promoted (try: "),
        "{text}"
    );
    // The run that was meant has ended, and that is asked for.
    let (ended, _) = follow_run(&shop, Some(&run), Signals::none()).await;
    assert_eq!(ended.unwrap(), Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_waited_for_and_no_other_one_is_taken_for_it() {
    let shop = Shop::open().await;
    let first = shop.start(brisk_with("10,100")).await.unwrap();
    let looking = async {
        let looked = follow_run(&shop, Some("carols"), Signals::none());
        tokio::time::timeout(Duration::from_secs(3600), looked).await
    };
    let driving = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        shop.world
            .traffic()
            .version("shop", "reviews-v1")
            .fails(0.5);
        let options = Options {
            canary: Some("v1".into()),
            ..brisk_with("10,100")
        };
        let args = start(options);
        let driven = shop.act("carol@desk", Signals::none(), async |context| {
            context.run = "carols".into();
            commands::start(context, &args).await
        });
        driven.await.unwrap().1
    };
    let (looked, driven) = tokio::join!(looking, driving);
    assert_ne!(driven.rollout.run, first.rollout.run);
    let (ended, seen) = looked.unwrap();
    assert_eq!(ended.unwrap(), driven.outcome);
    assert!(matches!(driven.outcome, Outcome::RolledBack(_)));
    assert_eq!(seen[..2], ["- idle", "10 progressing"]);
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_the_looking_on_and_nothing_else() {
    let shop = Shop::open().await;
    let driver = shop.start(brisk_with("10:1m,100"));
    let (tell, queue) = signals();
    let other = async {
        shop.until_weight(10).await;
        let signal = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            tell.send(Signal::Interrupt).unwrap();
        };
        let ((ended, _), ()) = tokio::join!(follow(&shop, queue), signal);
        ended
    };
    let (finish, ended) = tokio::join!(driver, other);
    assert!(matches!(
        ended,
        Err(CommandError::Interrupted(Signal::Interrupt))
    ));
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
}

#[tokio::test(start_paused = true)]
async fn whoever_follows_a_namespace_sees_changes_of_all_and_only_those_that_matter() {
    let shop = Shop::open().await;
    let (tell, queue) = signals();
    let mut seen = Vec::new();
    let looking = shop.act("bob@desk", queue, async |context| {
        commands::follow_all(context, false, false, &mut |glance| {
            seen.push(match glance {
                Glance::All(list) => format!("{} at first", list.items.len()),
                Glance::One(row, list) => {
                    format!("{} {} of {}", row.name, words(row), list.items.len())
                }
            });
            Ok(())
        })
        .await
    });
    let driving = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let broken = async {
            shop.until_weight(10).await;
            // What a watch misses is told after it.
            let gone = Rule::new(ApiFault::Gone).on("watch").times(3);
            shop.world.faults().api(gone);
            shop.world.set(|stage| {
                stage.end_watches();
                stage.compact();
            });
        };
        let (finish, ()) = tokio::join!(shop.start(brisk_with("10,100")), broken);
        finish.unwrap();
        // Nothing that a list tells of.
        shop.edit(|vs| vs["metadata"]["labels"] = serde_json::json!({"team": "a"}));
        tokio::time::sleep(Duration::from_secs(5)).await;
        tell.send(Signal::Interrupt).unwrap();
    };
    let (ended, ()) = tokio::join!(looking, driving);
    assert!(matches!(ended, Err(CommandError::Interrupted(_))));
    assert_eq!(
        seen,
        [
            "0 at first",
            "reviews 10 progressing of 1",
            "reviews - idle of 1",
        ]
    );
}
