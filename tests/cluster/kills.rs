//! A process that dies at one of its calls to the API server, whichever it is.

use kube::api::DeleteParams;
use kubectl_canary::rollout::EventKind;
use serde_json::json;

use crate::app::App;
use crate::call_proxy::{CallProxy, Counted, Moment};
use crate::companions::Doors;
use crate::stack::Stack;

/// More calls than any of the commands makes.
const ENOUGH: usize = 60;

/// What a lease is to others once it has run out.
async fn let_leases_run_out(app: &App) {
    let leases = app
        .stack
        .api("coordination.k8s.io/v1", "Lease", &app.namespace);
    let all = (DeleteParams::default(), Default::default());
    leases.delete_collection(&all.0, &all.1).await.unwrap();
}

async fn succeeds(app: &App, words: &str) {
    let ended = app.canary(words).run().await;
    assert_eq!(ended.code, Some(0), "{words}");
}

/// Kills `command` at each of its calls, each time after `set_up`, and says at how many; `check` sees to it
/// that all is well afterwards.
async fn killed_everywhere(
    app: &App,
    command: &str,
    counted: Counted,
    set_up: impl AsyncFn(),
    check: impl AsyncFn(),
) -> usize {
    let mut killed = 0;
    for moment in [Moment::Before, Moment::After] {
        for call in 1.. {
            assert!(call < ENOUGH, "{command} makes calls without end");
            set_up().await;
            let proxy = CallProxy::at(&app.stack, call, counted, moment).await;
            let ended = proxy.kill(app.canary(command)).await;
            println!(
                "{command}, {moment:?} call {call}: {}",
                match &ended {
                    Some(ended) => format!("ended with {:?}", ended.code),
                    None => "killed".to_owned(),
                }
            );
            let_leases_run_out(app).await;
            check().await;
            if let Some(ended) = ended {
                assert_eq!(ended.code, Some(0), "{command}");
                break;
            }
            killed += 1;
        }
    }
    println!("{command} was killed at {killed} points");
    killed
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn whichever_call_promote_or_abort_dies_at_abort_restores_the_exact_bytes() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "killed-at").await;
    let before = app.spec().await;
    let begin = async || {
        let begun = app.rollout("--steps 20,50,100 --no-wait").run().await;
        assert_eq!(begun.code, Some(0));
    };
    let check = async || {
        succeeds(&app, "abort reviews").await;
        app.is_restored_to(&before).await;
    };
    for command in ["promote reviews", "abort reviews"] {
        let killed = killed_everywhere(&app, command, Counted::All, begin, check).await;
        assert!(killed >= 4, "{command}: {killed}");
    }
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn whichever_call_undo_dies_at_undo_restores_the_exact_bytes() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "undone-at").await;
    let before = app.spec().await;
    let promote = async || {
        let begun = app.rollout("--steps 20,100 --no-wait").run().await;
        assert_eq!(begun.code, Some(0));
        succeeds(&app, "promote reviews --full").await;
    };
    let check = async || {
        succeeds(&app, "undo reviews").await;
        app.is_restored_to(&before).await;
    };
    let killed = killed_everywhere(&app, "undo reviews", Counted::All, promote, check).await;
    assert!(killed >= 6, "{killed}");
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn whichever_write_two_objects_die_at_abort_restores_the_exact_bytes_of_both() {
    let stack = Stack::open().await;
    let doors = Doors::open(&stack, "both-at").await;
    let before = doors.specs().await;
    let start = "start reviews --also storefront --steps 50,100 --analysis threshold --no-wait";
    let begin = async || {
        let begun = doors.app.canary(start).run().await;
        assert_eq!(begun.code, Some(0));
    };
    let check = async || {
        succeeds(&doors.app, "abort reviews --ignore-not-found").await;
        assert_eq!(doors.specs().await, before);
        for object in ["reviews", "storefront"] {
            assert_eq!(doors.annotation(object, "rollout").await, None);
        }
    };
    let none = async || {};
    let writes = Counted::RouteWrites;
    let killed = killed_everywhere(&doors.app, start, writes, none, check).await;
    assert!(killed >= 4, "start: {killed}");
    let routes = Counted::Routes;
    let killed = killed_everywhere(&doors.app, "abort reviews", routes, begin, check).await;
    assert!(killed >= 6, "abort: {killed}");
    doors.app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn whichever_write_a_driver_dies_at_with_a_broken_canary_abort_restores_the_exact_bytes() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "broken-at").await;
    let before = app.spec().await;
    app.behave("v2", json!({"errors": 0.5})).await;
    let _load = app.load().rate(200.0).start();
    let mut killed = 0;
    for moment in [Moment::Before, Moment::After, Moment::Late] {
        // From the write after the first step on.
        for call in 2.. {
            let proxy = CallProxy::at(&stack, call, Counted::RouteWrites, moment).await;
            let ended = proxy.kill(app.rollout("--steps 20:60s,100")).await;
            println!("{moment:?} write {call}: {}", ended.is_none());
            let is_over = ended.is_some();
            if let Some(ended) = ended {
                assert_eq!(ended.code, Some(10));
                assert!(ended.told(|event| matches!(event, EventKind::RolledBack { .. })));
            } else {
                killed += 1;
                succeeds(&app, "abort reviews").await;
                if moment == Moment::Late {
                    // What was still on its way arrives after all.
                    proxy.complete().await;
                }
            }
            app.is_restored_to(&before).await;
            let_leases_run_out(&app).await;
            if is_over {
                break;
            }
        }
    }
    println!("the driver was killed at {killed} points");
    assert!(killed >= 3, "{killed}");
    app.finish().await;
}

/// How often two drivers are begun at once.
const RACES: usize = 30;

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn of_two_starts_at_once_one_drives_every_time() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "raced").await;
    let before = app.spec().await;
    for race in 0..RACES {
        let start = || app.rollout("--steps 20,100 --no-wait").run();
        let (one, other) = tokio::join!(start(), start());
        let mut codes = [one.code, other.code];
        codes.sort();
        assert!(
            codes == [Some(0), Some(5)],
            "race {race}: {codes:?}\n{}{}",
            one.stderr,
            other.stderr
        );
        succeeds(&app, "abort reviews").await;
        app.is_restored_to(&before).await;
        let_leases_run_out(&app).await;
    }
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_driver_that_is_stopped_and_goes_on_after_a_takeover_writes_nothing() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "stopped").await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    let mut first = app.rollout("--steps 20:2m,100").launch();
    first.until_flowing_at("20").await;
    first.signal("STOP");
    let mut second = app.canary("resume reviews").launch();
    second
        .until(|event| matches!(event, EventKind::StepStarted { .. }))
        .await;
    let held = app.annotation("rollout").await;
    first.signal("CONT");
    let ended = first.end().await;
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert_eq!(app.annotation("rollout").await, held);
    second.signal("TERM");
    assert_eq!(second.end().await.code, Some(11));
    app.is_restored_to(&before).await;
    app.finish().await;
}
