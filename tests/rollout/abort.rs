//! `abort`, the last line of defence: it finds out what there is to restore, or says that it could not.

use std::time::Duration;

use jiff::SignedDuration;
use json_patch::Patch;
use kubectl_canary::cli::Exit;
use kubectl_canary::commands::{Abort, Aborted, Start};
use kubectl_canary::rollout::{Cause, EventKind, Outcome};
use kubectl_canary::sandbox::{ApiFault, Rule};
use kubectl_canary::{CommandError, Signal, Signals};
use serde_json::{Value, json};

use crate::harness::{Shop, brisk_with, signals, start};

/// Leaves a rollout at 10 % without a driver.
async fn orphan(shop: &Shop) {
    tokio::select! {
        ended = shop.start(brisk_with("10:10m,100")) => panic!("{ended:?}"),
        () = shop.until_weight(10) => {}
    }
}

fn answer(code: u16) -> ApiFault {
    ApiFault::Answer {
        code,
        retry_after: None,
        applied: false,
    }
}

/// Lets every read of a VirtualService fail in this way, so often.
fn fail_reads(shop: &Shop, fault: ApiFault, times: u32) {
    let rule = Rule::new(fault).on("get").of("virtualservices");
    shop.world.faults().api(rule.times(times));
}

fn retries(shop: &Shop) -> usize {
    let told = shop.told().into_iter();
    told.filter(|event| matches!(event, EventKind::Retrying { .. }))
        .count()
}

/// Does what the error says to type: its JSON Patch.
fn follow_advice(shop: &Shop, error: &CommandError) {
    let text = error.to_string();
    let patch = text
        .split_once("--type=json -p '")
        .and_then(|(_, rest)| rest.split_once('\''))
        .unwrap_or_else(|| panic!("no patch to type: {text}"));
    let patch: Patch = serde_json::from_str(patch.0).unwrap();
    shop.edit(|vs| json_patch::patch(vs, &patch).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_first_read_that_fails_is_tried_again_aloud() {
    for fault in [
        answer(503),
        answer(500),
        answer(429),
        answer(401),
        answer(403),
        ApiFault::Reset { applied: false },
        ApiFault::Hang { applied: false },
    ] {
        let shop = Shop::open().await;
        orphan(&shop).await;
        fail_reads(&shop, fault.clone(), 3);
        let finish = shop.abort("bob@desk").await;
        let finish = finish.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        let outcome = finish.unwrap().outcome;
        assert_eq!(outcome, Outcome::RolledBack(Cause::Request));
        shop.assert_restored();
        assert_eq!(retries(&shop), 3, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_it_cannot_find_out_it_does_not_call_traffic_untouched() {
    for fault in [answer(503), answer(403), ApiFault::Reset { applied: false }] {
        let shop = Shop::open().await;
        orphan(&shop).await;
        fail_reads(&shop, fault.clone(), u32::MAX);
        let asked = shop.world.clock().now();
        let error = shop.abort("bob@desk").await.unwrap_err();
        let took = shop.world.clock().now().duration_since(asked);
        assert!(
            took > SignedDuration::from_secs(50) && took < SignedDuration::from_secs(71),
            "{took:?}"
        );
        assert_eq!(Exit::from(&error).code(), 20, "{fault:?}: {error}");
        let text = error.to_string();
        for part in [
            "it is not known whether a rollout is in progress",
            "kubectl canary abort reviews -n shop",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_not_there_is_said_at_once() {
    let shop = Shop::open().await;
    shop.world
        .set(|stage| stage.delete("virtualservices", "shop", "reviews"));
    let error = shop.abort("bob@desk").await.unwrap_err();
    assert_eq!(Exit::from(&error).code(), 1, "{error}");
    assert_eq!(retries(&shop), 0);
}

/// The state of a rollout at 10 %, damaged.
async fn damaged(damage: impl FnOnce(String) -> String) -> (Shop, CommandError) {
    let shop = Shop::open().await;
    orphan(&shop).await;
    let state = damage(shop.annotation("rollout").unwrap());
    shop.edit(|vs| vs["metadata"]["annotations"]["kubectl-canary.dev/rollout"] = state.into());
    let error = shop.abort("bob@desk").await.unwrap_err();
    assert_eq!(Exit::from(&error).code(), 20, "{error}");
    assert_eq!(shop.weights(), [90, 10], "nothing is changed by guessing");
    (shop, error)
}

fn without(key: &'static str) -> impl FnOnce(String) -> String {
    move |text| {
        let mut state: Value = serde_json::from_str(&text).unwrap();
        state.as_object_mut().unwrap().remove(key).unwrap();
        state.to_string()
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_state_names_the_original_weights_that_can_be_read_and_how_to_set_them() {
    let cut = |text: String| text[..text.len() - 40].to_owned();
    let damages: Vec<Box<dyn FnOnce(String) -> String>> = vec![
        Box::new(cut),
        Box::new(|text| text.replace("\"step\":1", "\"step\":99")),
        Box::new(without("version")),
        Box::new(without("plan")),
        Box::new(without("run")),
        Box::new(|text| text.replace("\"phase\":\"progressing\"", "\"phase\":7")),
    ];
    for damage in damages {
        let (shop, error) = damaged(damage).await;
        let text = error.to_string();
        let expected = "before the rollout http[primary] had weights 100/0";
        assert!(text.contains(expected), "{text}");
        follow_advice(&shop, &error);
        shop.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_of_which_nothing_is_left_needs_a_person_who_knows_the_weights() {
    for damage in ["", "nonsense", "{}", "[1]"] {
        let (_, error) = damaged(|_| damage.to_owned()).await;
        let text = error.to_string();
        assert!(
            text.contains("its original weights cannot be read"),
            "{text}"
        );
        assert!(
            text.contains("kubectl edit virtualservice reviews -n shop"),
            "{text}"
        );
    }
}

/// Two chosen routes, `mobile` and `primary`.
async fn two_routes() -> Shop {
    let route = |name: &str| {
        json!({"name": name, "route": [
            {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100},
            {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
        ]})
    };
    let mut first = route("mobile");
    first["match"] = json!([{"headers": {"x-app": {"exact": "mobile"}}}]);
    Shop::with_routes(json!([first, route("primary")])).await
}

/// Fails unless the rollout is over and another may start.
async fn assert_over(shop: &Shop) {
    assert_eq!(shop.annotation("rollout"), None);
    assert!(shop.abort("bob@desk").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_chosen_route_that_was_removed_has_nothing_left_to_restore() {
    let shop = two_routes().await;
    orphan(&shop).await;
    shop.edit(|vs| {
        vs["spec"]["http"].as_array_mut().unwrap().remove(1);
    });
    let finish = shop.abort("bob@desk").await.unwrap().unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Request));
    assert_eq!(shop.spec()["http"], json!([shop.before["http"][0]]));
    let warnings = shop.warnings();
    let expected = "1 of the 2 chosen routes were deleted or send elsewhere now; no other route sends to another version than v1, so nothing is left to restore there";
    assert!(
        warnings.iter().any(|text| text.ends_with(expected)),
        "{warnings:?}"
    );
    assert_over(&shop).await;
}

#[tokio::test(start_paused = true)]
async fn where_all_chosen_routes_or_their_canary_were_removed_the_rollout_is_over() {
    let v1 = json!({"destination": {"host": "reviews", "subset": "v1"}});
    for rest in [
        json!([{"name": "primary", "route": [v1]}]),
        json!([{"name": "another", "route": [v1]}]),
        json!([{"name": "moved", "redirect": {"uri": "/elsewhere"}}]),
    ] {
        let shop = Shop::open().await;
        orphan(&shop).await;
        shop.edit(|vs| vs["spec"]["http"] = rest.clone());
        let finish = shop.abort("bob@desk").await.unwrap().unwrap();
        assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Request));
        assert_eq!(shop.spec()["http"], rest, "nothing was ours to change");
        assert_over(&shop).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_chosen_route_that_was_renamed_has_a_way_out_that_is_printed() {
    let shop = two_routes().await;
    orphan(&shop).await;
    shop.edit(|vs| vs["spec"]["http"][1]["name"] = "renamed".into());
    let resumed = shop.resume("bob@desk").await.unwrap_err().to_string();
    assert!(
        resumed.ends_with("(try: kubectl canary abort reviews -n shop)"),
        "{resumed}"
    );
    let error = shop.abort("bob@desk").await.unwrap_err();
    assert_eq!(Exit::from(&error).code(), 20);
    let text = error.to_string();
    for part in [
        "http[renamed] has weights 90/10",
        "then kubectl canary abort reviews -n shop",
        "--forget",
    ] {
        assert!(text.contains(part), "{text}");
    }
    follow_advice(&shop, &error);
    let mut expected = shop.before.clone();
    expected["http"][1]["name"] = "renamed".into();
    assert_eq!(shop.spec(), expected);
    shop.abort("bob@desk").await.unwrap().unwrap();
    assert_eq!(shop.spec(), expected);
    assert_over(&shop).await;
}

#[tokio::test(start_paused = true)]
async fn what_may_be_the_chosen_route_is_never_taken_for_it() {
    let to = |subset: &str| json!({"destination": {"host": "reviews", "subset": subset}});
    let weighted = |subset: &str, weight: i64| {
        let mut target = to(subset);
        target["weight"] = weight.into();
        target
    };
    for rest in [
        // Only the canary is left of it.
        json!([{"name": "primary", "route": [to("v2")]}]),
        // The subset has another name now.
        json!([{"name": "primary", "route": [weighted("v1", 90), weighted("v3", 10)]}]),
        // A match was added.
        json!([{"name": "primary", "match": [{"uri": {"prefix": "/a"}}], "route": [weighted("v1", 90), weighted("v2", 10)]}]),
    ] {
        let shop = Shop::open().await;
        orphan(&shop).await;
        shop.edit(|vs| vs["spec"]["http"] = rest.clone());
        let error = shop.abort("bob@desk").await.unwrap_err();
        assert_eq!(Exit::from(&error).code(), 20, "{error}");
        assert_eq!(shop.spec()["http"], rest);
        assert!(shop.annotation("rollout").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_while_a_rollout_is_forgotten_is_looked_at_again() {
    let shop = two_routes().await;
    orphan(&shop).await;
    let primary = shop.spec()["http"][1].clone();
    shop.edit(|vs| {
        vs["spec"]["http"].as_array_mut().unwrap().remove(1);
    });
    // While the patch is on its way somebody puts the route back under another name.
    let slow = Rule::new(ApiFault::Slow(Duration::from_secs(2))).on("patch");
    shop.world.faults().api(slow.times(1));
    let editor = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        shop.edit(|vs| {
            let mut renamed = primary;
            renamed["name"] = "renamed".into();
            vs["spec"]["http"].as_array_mut().unwrap().push(renamed);
        });
    };
    let (aborted, ()) = tokio::join!(shop.abort("bob@desk"), editor);
    let error = aborted.unwrap_err();
    assert_eq!(Exit::from(&error).code(), 20, "{error}");
    assert!(shop.annotation("rollout").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_person_may_leave_a_changed_route_as_it_is() {
    let shop = two_routes().await;
    orphan(&shop).await;
    shop.edit(|vs| vs["spec"]["http"][1]["name"] = "renamed".into());
    let forget = Abort {
        forget: true,
        ..Abort::of("reviews")
    };
    let aborted = shop.abort_with("bob@desk", forget, Signals::none()).await;
    assert!(aborted.unwrap().finish().is_some());
    let spec = shop.spec();
    assert_eq!(spec["http"][0], shop.before["http"][0]);
    assert_eq!(spec["http"][1]["route"][1]["weight"], 10);
    let warnings = shop.warnings();
    let expected = "left unchanged: http[renamed] has weights 90/10";
    assert!(
        warnings.iter().any(|text| text.ends_with(expected)),
        "{warnings:?}"
    );
    assert_over(&shop).await;
}

/// The rollout `reviews` of this run.
fn of_run(run: &str) -> Start {
    Start {
        run_id: Some(run.to_owned()),
        ..start(brisk_with("10:10m,100"))
    }
}

async fn orphan_run(shop: &Shop, run: &str) {
    tokio::select! {
        ended = shop.start_as("alice@desk", of_run(run), Signals::none()) => panic!("{ended:?}"),
        () = shop.until_weight(10) => {}
    }
}

async fn abort_run(
    shop: &Shop,
    run: &str,
    ignore_not_found: bool,
) -> Result<Aborted, CommandError> {
    let args = Abort {
        run: Some(run.to_owned()),
        ignore_not_found,
        ..Abort::of("reviews")
    };
    shop.abort_with("bob@desk", args, Signals::none()).await
}

fn said(aborted: Result<Aborted, CommandError>) -> String {
    match aborted {
        Ok(Aborted::Nothing(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn abort_of_a_run_touches_no_other() {
    let shop = Shop::open().await;
    for ignore in [false, true] {
        let nothing = abort_run(&shop, "mine", ignore).await;
        match ignore {
            false => assert!(matches!(nothing, Err(CommandError::NoRollout { .. }))),
            true => assert!(said(nothing).ends_with("has no rollout in progress")),
        }
    }
    orphan_run(&shop, "mine").await;
    assert_eq!(shop.rollout().unwrap().run, "mine");
    let refused = abort_run(&shop, "other", false).await.unwrap_err();
    assert_eq!(Exit::from(&refused).code(), 5);
    assert!(
        refused.to_string().starts_with(
            "run other is not in progress on virtualservice shop/reviews, run mine is, held by alice@desk/"
        ),
        "{refused}"
    );
    let left = said(abort_run(&shop, "other", true).await);
    assert!(
        left.ends_with("has no run other in progress; run mine is left alone"),
        "{left}"
    );
    assert_eq!(shop.weights(), [90, 10]);

    let aborted = abort_run(&shop, "mine", false).await.unwrap();
    assert!(aborted.finish().is_some());
    shop.assert_restored();
    let again = said(abort_run(&shop, "mine", false).await);
    assert!(
        again.ends_with("run mine has already ended: rolled back: on request"),
        "{again}"
    );

    // Somebody else's begins: the first one's clean-up leaves it alone.
    orphan_run(&shop, "theirs").await;
    let late = said(abort_run(&shop, "mine", false).await);
    assert!(
        late.ends_with("already ended: rolled back: on request; run theirs is left alone"),
        "{late}"
    );
    assert_eq!(shop.weights(), [90, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_replaces_the_one_to_abort_at_the_last_moment_is_left_alone() {
    let shop = Shop::open().await;
    orphan_run(&shop, "mine").await;
    let slow = Rule::new(ApiFault::Slow(Duration::from_secs(30))).on("patch");
    shop.world.faults().api(slow.times(1));
    let replacement = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        shop.edit(|vs| {
            let annotations = vs["metadata"]["annotations"].as_object_mut().unwrap();
            let state = annotations["kubectl-canary.dev/rollout"].as_str().unwrap();
            let state = state.replace("\"run\":\"mine\"", "\"run\":\"theirs\"");
            annotations["kubectl-canary.dev/rollout"] = state.into();
        });
    };
    let (aborted, ()) = tokio::join!(abort_run(&shop, "mine", false), replacement);
    let refused = aborted.unwrap_err();
    assert_eq!(Exit::from(&refused).code(), 5, "{refused}");
    assert_eq!(shop.weights(), [90, 10]);
    assert_eq!(shop.rollout().unwrap().run, "theirs");
}

#[tokio::test(start_paused = true)]
async fn the_id_of_a_run_that_has_ended_is_not_given_again() {
    let shop = Shop::open().await;
    orphan_run(&shop, "mine").await;
    shop.abort("bob@desk").await.unwrap();
    let again = shop.start_as("alice@desk", of_run("mine"), Signals::none());
    let again = again.await.unwrap_err();
    assert_eq!(Exit::from(&again).code(), 4, "{again}");
    assert_eq!(
        again.to_string(),
        "run mine of virtualservice shop/reviews has already ended: rolled back: on request (try: another --run-id)"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_to_abort_is_an_error_unless_it_is_to_be_ignored() {
    let shop = Shop::open().await;
    let ignore = || Abort {
        ignore_not_found: true,
        ..Abort::of("reviews")
    };
    let error = shop.abort("bob@desk").await.unwrap_err();
    assert_eq!(Exit::from(&error).code(), 1);
    let nothing = shop.abort_with("bob@desk", ignore(), Signals::none());
    assert!(said(nothing.await).ends_with("has no rollout in progress"));
    shop.world
        .set(|stage| stage.delete("virtualservices", "shop", "reviews"));
    let nothing = shop.abort_with("bob@desk", ignore(), Signals::none());
    assert!(said(nothing.await).ends_with("not found"));
    // What cannot be read is not nothing.
    fail_reads(&shop, answer(503), u32::MAX);
    let error = shop.abort_with("bob@desk", ignore(), Signals::none());
    assert_eq!(Exit::from(&error.await.unwrap_err()).code(), 20);
}

/// Aborts while this goes wrong; signals come after these many milliseconds. How it ended, and how long
/// after the last signal.
async fn interrupted(fault: Rule<ApiFault>, after: &[u64]) -> (Shop, CommandError, SignedDuration) {
    let shop = Shop::open().await;
    orphan(&shop).await;
    shop.world.faults().api(fault);
    let (tell, heard) = signals();
    let abort = shop.abort_with("bob@desk", Abort::of("reviews"), heard);
    let sender = async {
        for millis in after {
            tokio::time::sleep(Duration::from_millis(*millis)).await;
            tell.send(Signal::HangUp).unwrap();
        }
        shop.world.clock().now()
    };
    let (aborted, last) = tokio::join!(abort, sender);
    let took = shop.world.clock().now().duration_since(last);
    (shop, aborted.unwrap_err(), took)
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_an_abort_that_is_not_done_and_never_calls_traffic_untouched() {
    let hang = || Rule::new(ApiFault::Hang { applied: false });
    for (fault, after, most) in [
        // While it reads, at once; while it retries as well.
        (hang().on("get").of("virtualservices"), &[3000][..], 100),
        (
            Rule::new(answer(503)).on("get").of("virtualservices"),
            &[3000],
            100,
        ),
        // While it writes, after a moment; at once with a second signal.
        (hang().on("patch"), &[3000], 2100),
        (hang().on("patch"), &[3000, 500], 100),
    ] {
        let (shop, error, took) = interrupted(fault, after).await;
        assert!(
            took <= SignedDuration::from_millis(most),
            "{took:?} {after:?}"
        );
        assert_eq!(Exit::from(&error).code(), 20, "{error}");
        let text = error.to_string();
        for part in [
            "interrupted by SIGHUP",
            "not known",
            "kubectl canary abort reviews -n shop",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(shop.weights(), [90, 10]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_while_the_weights_are_written_lets_the_write_finish() {
    let shop = Shop::open().await;
    orphan(&shop).await;
    let slow = Rule::new(ApiFault::Slow(Duration::from_secs(2))).on("patch");
    shop.world.faults().api(slow);
    let (tell, heard) = signals();
    let abort = shop.abort_with("bob@desk", Abort::of("reviews"), heard);
    let (aborted, ()) = tokio::join!(abort, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        tell.send(Signal::Terminate).unwrap();
    });
    assert!(aborted.unwrap().finish().is_some());
    shop.assert_restored();
}
