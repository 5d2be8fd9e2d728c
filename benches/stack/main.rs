//! Figures from the real stack, of the program as it is released.
//!
//! ```text
//! scripts/bench cluster
//! scripts/bench cluster scene healthy-quick --runs 3
//! ```
//!
//! Nothing is asserted: a figure depends on the machine, and what counts is how it
//! compares with the others of the same run and with the run before.

mod calls;
mod figures;
mod restore;
mod scene;
mod startup;

#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../../tests/cluster/app.rs"]
mod app;
#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../../tests/cluster/load.rs"]
mod load;
#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../../tests/cluster/program.rs"]
mod program;
#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../../tests/cluster/stack.rs"]
mod stack;

use std::process::ExitCode;

use figures::Figures;
use stack::Stack;

/// What can be measured.
const TOPICS: [&str; 4] = ["startup", "calls", "restore", "scene"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Whatever cargo passes on is its business; a word of ours chooses a topic, or a case of one.
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let runs = match words.iter().position(|word| word == "--runs") {
        Some(at) => {
            let flag: Vec<String> = words.drain(at..words.len().min(at + 2)).collect();
            let Some(Ok(runs)) = flag.get(1).map(|runs| runs.parse()) else {
                eprintln!("--runs wants a number of runs for each case of the scene");
                return ExitCode::from(2);
            };
            Some(runs)
        }
        None => None,
    };
    words.retain(|word| !word.starts_with('-'));
    let is_case = |word: &str| scene::names().any(|name| name == word);
    let unknown = words
        .iter()
        .find(|word| !TOPICS.contains(&word.as_str()) && !is_case(word));
    if let Some(word) = unknown {
        let cases: Vec<_> = scene::names().collect();
        eprintln!(
            "there is no topic {word} (try: {}, and of a scene: {})",
            TOPICS.join(", "),
            cases.join(", ")
        );
        return ExitCode::from(2);
    }
    let is_named = |name: &str| words.iter().any(|word| word == name);
    let has_cases = words.iter().any(|word| is_case(word));
    let is_chosen =
        |topic: &str| words.is_empty() || is_named(topic) || topic == "scene" && has_cases;
    let stack = Stack::open().await;
    let mut figures = Figures::default();
    if is_chosen("startup") {
        startup::measure(&stack, &mut figures);
    }
    if is_chosen("calls") {
        calls::measure(&stack, &mut figures).await;
    }
    if is_chosen("restore") {
        restore::measure(&stack, &mut figures).await;
    }
    if is_chosen("scene") {
        let is_wanted = |case: &str| !has_cases || is_named(case);
        scene::measure(&stack, &mut figures, is_wanted, runs).await;
    }
    print!("{}", figures.table());
    match figures.save() {
        Ok(path) => println!("\nalso in {}", path.display()),
        Err(error) => eprintln!("the figures could not be saved: {error}"),
    }
    ExitCode::SUCCESS
}
