//! What becomes of the weight that the canary had before the rollout once it is found worse.

use std::time::Duration;

use kubectl_canary::commands::{self, Status, StatusAnswer};
use kubectl_canary::plan::{AfterRegression, Options};
use kubectl_canary::rollout::{Cause, EventKind, Outcome, Reason};
use kubectl_canary::sandbox::{ApiFault, Rule, Setup};
use kubectl_canary::{Signal, Signals};
use serde_json::{Value, json};

use crate::harness::{Shop, brisk, brisk_with, signals};

fn split(stable: i64, canary: i64) -> Value {
    json!([
        {"destination": {"host": "reviews", "subset": "v1"}, "weight": stable},
        {"destination": {"host": "reviews", "subset": "v2"}, "weight": canary},
    ])
}

/// A tenth of the requests is the canary's already, and another object divides a tenth of its own.
fn from_a_tenth(stage: &mut Setup<'_>) {
    stage.edit("virtualservices", "shop", "reviews", "setup", |vs| {
        vs["spec"]["http"] = json!([
            {"name": "primary", "route": split(90, 10)},
            {"name": "rest", "match": [{"uri": {"prefix": "/rest"}}], "route": split(100, 0)},
        ]);
    });
    stage.apply(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": "shop", "name": "storefront"},
        "spec": {"hosts": ["storefront.example.com"], "gateways": ["shop"], "http": [{"route": split(80, 20)}]},
    }));
}

async fn shop(fails: f64) -> Shop {
    Shop::open_with(|stage| {
        from_a_tenth(stage);
        stage.traffic().version("shop", "reviews-v2").fails(fails);
    })
    .await
}

fn options(after: Option<AfterRegression>) -> Options {
    Options {
        after_regression: after,
        also: vec!["storefront".into()],
        ..brisk_with("30,100")
    }
}

fn weights(shop: &Shop) -> Vec<Value> {
    let of = |name: &str, rule: usize| {
        let vs = shop.world.object("virtualservices", "shop", name).unwrap();
        let route = &vs["spec"]["http"][rule]["route"];
        json!([route[0]["weight"], route[1]["weight"]])
    };
    vec![of("reviews", 0), of("reviews", 1), of("storefront", 0)]
}

fn said_next(shop: &Shop) -> Option<String> {
    let told = shop.told().into_iter();
    told.filter_map(|event| match event {
        EventKind::Finished { next, .. } => Some(next),
        _ => None,
    })
    .next_back()
    .unwrap()
}

async fn status(shop: &Shop, name: &str) -> Value {
    let args = Status {
        name: Some(name.into()),
        ..Status::default()
    };
    let answer = shop
        .act("eve@desk", Signals::none(), async |context| {
            commands::status(context, &args, None).await
        })
        .await
        .unwrap();
    match answer {
        StatusAnswer::One(row) => serde_json::to_value(row).unwrap(),
        StatusAnswer::Many(_) => unreachable!("one was asked for"),
    }
}

/// Does what a `kubectl patch … -p 'JSON'` does.
fn carry_out(shop: &Shop, commands: &str) {
    for command in commands.split(" && ") {
        let (head, patch) = command.split_once(" --type=json -p ").unwrap();
        let name = head.split(' ').nth(3).unwrap();
        let patch: json_patch::Patch = serde_json::from_str(patch.trim_matches('\'')).unwrap();
        shop.world
            .edit("virtualservices", "shop", name, "kubectl-patch", |vs| {
                json_patch::patch(vs, &patch).unwrap();
            });
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_canary_gets_again_is_said_with_the_command_that_ends_it() {
    let shop = shop(0.5).await;
    let before = weights(&shop);
    let finish = shop.start(options(None)).await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    assert_eq!(weights(&shop), before);
    let keeps = |reason: &Reason| matches!(reason, Reason::KeepsShare { share } if share.to_string() == "20");
    assert!(finish.reasons.iter().any(keeps), "{:?}", finish.reasons);
    let row = status(&shop, "reviews").await;
    assert_eq!(row["exposure"], json!({"kind": "share", "percent": 10}));
    assert!(
        row["next"][0]
            .as_str()
            .unwrap()
            .starts_with("kubectl patch virtualservice reviews -n shop "),
        "{row}"
    );
    carry_out(&shop, &said_next(&shop).unwrap());
    assert_eq!(
        weights(&shop),
        [json!([100, 0]), json!([100, 0]), json!([100, 0])]
    );
    let row = status(&shop, "reviews").await;
    assert_eq!(row["exposure"], Value::Null, "nothing is left to say");
    assert!(
        row["next"][0]
            .as_str()
            .unwrap()
            .starts_with("kubectl canary plan"),
        "{row}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_takes_the_rest_from_a_canary_that_regressed_on_every_object() {
    let shop = shop(0.5).await;
    let finish = shop
        .start(options(Some(AfterRegression::Zero)))
        .await
        .unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
    assert_eq!(
        weights(&shop),
        [json!([100, 0]), json!([100, 0]), json!([100, 0])]
    );
    assert_eq!(finish.exposure.to_string(), "0 %");
    assert_eq!(said_next(&shop), None);
    assert!(
        !finish
            .reasons
            .iter()
            .any(|reason| matches!(reason, Reason::KeepsShare { .. }))
    );
    assert_eq!(shop.annotation("rollout"), None);
    // Once more there is nothing to do, and nothing changes.
    shop.abort("bob@desk").await.unwrap();
    assert_eq!(
        weights(&shop),
        [json!([100, 0]), json!([100, 0]), json!([100, 0])]
    );
}

/// The promise: whatever else ends a rollout restores what was there.
#[tokio::test(start_paused = true)]
async fn every_other_rollback_restores_the_exact_original_whatever_the_policy() {
    let zero = || options(Some(AfterRegression::Zero));
    let is_back = |shop: &Shop, before: &[Value], outcome, cause| {
        assert_eq!(outcome, Outcome::RolledBack(cause));
        assert_eq!(weights(shop), before);
    };
    // On request.
    let shop_ = shop(0.0).await;
    let before = weights(&shop_);
    let driver = shop_.start(zero());
    let abort = async {
        shop_.until(|shop| shop.weights()[1] == 30).await;
        shop_.abort("bob@desk").await.unwrap().unwrap()
    };
    let (_, aborted) = tokio::join!(driver, abort);
    is_back(&shop_, &before, aborted.outcome, Cause::Request);
    // On a signal.
    let shop_ = shop(0.0).await;
    let (tell, queue) = signals();
    let driver = shop_.start_with(zero(), queue);
    let signal = async {
        shop_.until(|shop| shop.weights()[1] == 30).await;
        tell.send(Signal::Interrupt).unwrap();
    };
    let (finish, ()) = tokio::join!(driver, signal);
    is_back(&shop_, &before, finish.unwrap().outcome, Cause::Signal);
    // Without a ready pod.
    let shop_ = shop(0.0).await;
    let driver = shop_.start(zero());
    let down = async {
        shop_.until(|shop| shop.weights()[1] == 30).await;
        shop_.world.set(|stage| {
            stage.pods("shop", "app=reviews,version=v2").delete();
        });
    };
    let (finish, ()) = tokio::join!(driver, down);
    is_back(&shop_, &before, finish.unwrap().outcome, Cause::CanaryDown);
    // For want of a verdict.
    let shop_ = shop(0.0).await;
    let options = Options {
        min_requests: Some(1_000_000),
        step_timeout: Some("1m".parse().unwrap()),
        ..zero()
    };
    let finish = shop_.start(options).await.unwrap();
    is_back(&shop_, &before, finish.outcome, Cause::Inconclusive);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_had_nothing_is_not_spoken_of() {
    let shop = Shop::open().await;
    let now = shop.after(0);
    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails_from(now, 0.5);
    for after in [None, Some(AfterRegression::Zero)] {
        let options = Options {
            after_regression: after,
            ..brisk()
        };
        let finish = shop.start(options).await.unwrap();
        assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Regression));
        shop.assert_restored();
        assert_eq!(said_next(&shop), None);
        assert_eq!(status(&shop, "reviews").await["exposure"], Value::Null);
    }
}

/// Everything that was rolled back of a regression when its driver died: the companion, and not the lead.
async fn half_rolled_back() -> (Shop, Vec<Value>) {
    let shop = shop(0.5).await;
    let before = weights(&shop);
    let away = ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    };
    let driver = shop.start(options(Some(AfterRegression::Zero)));
    let death = async {
        shop.until(|shop| shop.weights()[1] == 30).await;
        // From its first step on the lead takes nothing more.
        let lead = Rule::new(away)
            .on("patch")
            .containing("/virtualservices/reviews");
        shop.world.faults().api(lead);
        shop.until(|shop| weights(shop)[2] == json!([100, 0])).await;
    };
    tokio::select! {
        ended = driver => panic!("it ended: {ended:?}"),
        () = death => {}
    }
    shop.world.faults().clear();
    assert_eq!(weights(&shop)[0], json!([70, 30]));
    (shop, before)
}

#[tokio::test(start_paused = true)]
async fn an_abort_after_a_driver_died_between_two_objects_restores_the_originals_of_both() {
    let (shop, before) = half_rolled_back().await;
    let aborted = shop.abort("bob@desk").await.unwrap().unwrap();
    assert_eq!(aborted.outcome, Outcome::RolledBack(Cause::Request));
    assert_eq!(weights(&shop), before);
}

/// An edit of a companion that is at its end is another client's, and stays.
#[tokio::test(start_paused = true)]
async fn an_abort_leaves_what_others_have_made_of_a_companion_at_its_end() {
    let (shop, before) = half_rolled_back().await;
    shop.world.edit(
        "virtualservices",
        "shop",
        "storefront",
        "kubectl-edit",
        |vs| {
            vs["spec"]["http"][0]["route"] = split(60, 40);
        },
    );
    shop.abort("bob@desk").await.unwrap().unwrap();
    assert_eq!(weights(&shop)[..2], before[..2]);
    assert_eq!(weights(&shop)[2], json!([60, 40]));
    let left = "virtualservice shop/storefront was rolled back before and changed by others since: its weights are left as they are";
    let is_told = |event: &EventKind| matches!(event, EventKind::Warning { text } if text == left);
    assert!(shop.told().iter().any(is_told), "{:#?}", shop.told());
}

/// The end that the lead has is that of all of them.
#[tokio::test(start_paused = true)]
async fn of_an_abort_and_a_regression_at_the_same_time_one_is_that_of_every_object() {
    for delay in (0..60).map(|step| Duration::from_millis(step * 5)) {
        let shop = shop(0.5).await;
        let before = weights(&shop);
        let slow = ApiFault::Slow(Duration::from_millis(40));
        let driver = shop.start(options(Some(AfterRegression::Zero)));
        let abort = async {
            let rolling = |event: &EventKind| matches!(event, EventKind::RollingBack { .. });
            shop.world.faults().api(Rule::new(slow).on("patch"));
            shop.until(|shop| shop.told().iter().any(rolling)).await;
            tokio::time::sleep(delay).await;
            shop.abort("bob@desk").await.unwrap()
        };
        let (finish, _) = tokio::join!(driver, abort);
        let zero = [json!([100, 0]), json!([100, 0]), json!([100, 0])];
        let now = weights(&shop);
        assert!(now == before || now == zero, "{delay:?}: {now:?}");
        let last = shop.annotation("last").unwrap();
        assert_eq!(now == zero, last.contains("regression"), "{last}");
        let finish = finish.unwrap();
        assert_eq!(
            (finish.outcome, finish.exposure.to_string()),
            match now == zero {
                true => (Outcome::RolledBack(Cause::Regression), "0 %".into()),
                false => (Outcome::RolledBack(Cause::Request), "10 %".into()),
            },
            "{delay:?}"
        );
    }
}
