//! The same through commands and the embedded API server.

use kubectl_canary::Signals;
use kubectl_canary::commands::Start;
use kubectl_canary::plan::Options;
use proptest::prelude::*;
use serde_json::Value;

use crate::harness::{Shop, brisk_with, start};
use crate::route_kinds::{http, totals, without_weights};
use crate::seed::cases;

#[derive(Clone, Copy, Debug)]
enum Command {
    Promote,
    Pause,
    AbortAndStart,
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => Just(Command::Promote),
        2 => Just(Command::Pause),
        1 => Just(Command::AbortAndStart),
    ]
}

fn arguments() -> Start {
    let options = Options {
        stable: Some("v1".into()),
        canary: Some("v2".into()),
        ..brisk_with("40,70,90,100")
    };
    Start {
        no_wait: true,
        ..start(options)
    }
}

fn check(shop: &Shop) {
    let before = serde_json::json!({"spec": shop.before});
    let now = serde_json::json!({"spec": shop.spec()});
    assert_eq!(
        without_weights(&now).to_string(),
        without_weights(&before).to_string()
    );
    assert_eq!(totals(&now), totals(&before));
}

/// Whether the embedded istiod takes such a list at all: it wants a total above 0.
fn is_valid(http: &Value) -> bool {
    let rules = http.as_array().into_iter().flatten();
    rules
        .filter_map(|rule| rule.get("route")?.as_array())
        .all(|targets| {
            let weights = targets
                .iter()
                .map(|target| target["weight"].as_i64().unwrap_or(0));
            targets.len() == 1 || weights.sum::<i64>() > 0
        })
}

async fn play(http: Value, commands: Vec<Command>) {
    let shop = Shop::with_routes(http).await;
    let begin = async || {
        shop.start_as("ci@runner", arguments(), Signals::none())
            .await
    };
    if begin().await.is_err() {
        // What cannot be begun is not touched.
        assert_eq!(shop.spec(), shop.before);
        return;
    }
    check(&shop);
    if shop.rollout().is_none() {
        // All steps but the last were passed over, and that one was all.
        return;
    }
    for command in commands {
        match command {
            Command::Promote => drop(shop.promote("bob@desk").await.unwrap()),
            Command::Pause => drop(shop.pause("bob@desk").await.unwrap()),
            Command::AbortAndStart => {
                shop.abort("bob@desk").await.unwrap();
                assert_eq!(shop.spec().to_string(), shop.before.to_string());
                begin().await.unwrap();
            }
        }
        check(&shop);
        if shop.rollout().is_none() {
            return;
        }
        shop.assert_whole();
    }
    shop.abort("bob@desk").await.unwrap();
    assert_eq!(shop.spec().to_string(), shop.before.to_string());
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn commands_on_any_object_move_weights_only_and_abort_restores_them(
        http in http().prop_filter("istiod takes it", is_valid),
        commands in proptest::collection::vec(command(), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(http, commands));
    }
}
