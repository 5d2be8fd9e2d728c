//! demo4 with a cookie: people of some company meet both versions, everybody else the first.

use serde_json::Value;

use super::demo4::demo4;
use super::shares::{answered_next, assert_share, settled_at};
use super::source::Source;
use crate::load::Running;
use crate::stack::Stack;

const COOKIE: &str = include_str!("objects/demo4-cookie.yaml");
const VERSIONS: [&str; 2] = ["v1", "v2"];

/// Those that the cookie tells, and the others, side by side.
struct Visitors {
    company: Running,
    others: Running,
}

impl Visitors {
    fn of(source: &Source) -> Self {
        let load = || source.load().rate(150.0);
        let cookie = "theme=dark;email=ada@some-company-name.com;lang=en";
        Self {
            company: load().header("cookie", cookie).start(),
            others: load().header("cookie", "email=bob@elsewhere.com").start(),
        }
    }
}

/// Drives one rollout to its end and counts both kinds of visitors at each of its two steps.
async fn shifted(words: &str, steps: [(&str, [f64; 2]); 2]) -> (Source, Value) {
    let stack = Stack::open().await;
    let source = demo4(&stack, COOKIE).await;
    let before = source.spec().await;
    let visitors = Visitors::of(&source);
    let (first, last) = (steps[0].0, steps[1].0);
    let words = format!("--steps {first}:4s,{last}:4s {words}");
    let mut driver = source.rollout(&words).launch();
    for (percentage, shares) in steps {
        settled_at(&mut driver, percentage).await;
        let answers = answered_next([&visitors.company, &visitors.others]).await;
        for (who, (answers, share)) in answers.iter().zip(shares).enumerate() {
            let who = ["the company", "others"][who];
            assert_share(&format!("{percentage} %, {who}"), answers, VERSIONS, share);
        }
    }
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.steps(), [first, last]);
    for sent in [visitors.company, visitors.others] {
        assert_eq!(sent.stop().await.failed(), 0);
    }
    (source, before)
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn only_the_rule_with_the_cookie_is_shifted() {
    let words = "--route http[0] --stable v1 --canary v2";
    let (source, before) = shifted(words, [("80", [0.8, 0.0]), ("100", [1.0, 0.0])]).await;
    assert_eq!(source.weights("http", 0).await, [0, 100]);
    assert_eq!(source.spec().await["http"][1], before["http"][1]);
    source.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn only_the_default_rule_is_shifted_which_lacks_the_canary() {
    let words = "--route http[1] --add-destination";
    let (source, before) = shifted(words, [("20", [0.5, 0.2]), ("100", [0.5, 1.0])]).await;
    assert_eq!(source.spec().await["http"][0], before["http"][0]);
    assert_eq!(source.weights("http", 1).await, [0, 100]);
    source.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn both_rules_are_shifted_together() {
    let words = "--stable v1 --canary v2 --add-destination";
    // On its way up a rollout never takes traffic away from the canary: the rule with the cookie
    // has more than 20 % and keeps it.
    let (source, before) = shifted(words, [("20", [0.5, 0.2]), ("100", [1.0, 1.0])]).await;
    for rule in [0, 1] {
        assert_eq!(source.weights("http", rule).await, [0, 100]);
    }
    let spec = source.spec().await;
    assert_eq!(spec["http"][0]["match"], before["http"][0]["match"]);
    source.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn an_aborted_rollout_of_both_rules_leaves_the_default_without_a_weight() {
    let stack = Stack::open().await;
    let source = demo4(&stack, COOKIE).await;
    let before = source.spec().await;
    let words = "--stable v1 --canary v2 --add-destination --steps 20,100 --no-wait";
    let _load = source.load().rate(100.0).start();
    assert_eq!(source.rollout(words).run().await.code, Some(0));
    assert_eq!(source.weights("http", 1).await, [80, 20]);
    assert_eq!(source.canary("abort", "").run().await.code, Some(0));
    source.is_as_it_was(&before).await;
    assert_eq!(before["http"][1]["route"][0].get("weight"), None);
    source.finish().await;
}
