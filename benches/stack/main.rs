//! Figures from the real stack, of the program as it is released.
//!
//! ```text
//! scripts/bench cluster
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

use figures::Figures;
use stack::Stack;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // Whatever cargo passes on is its business; a word of ours chooses one topic.
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_chosen = |topic: &str| chosen.is_empty() || chosen.iter().any(|word| word == topic);
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
        scene::measure(&stack, &mut figures).await;
    }
    print!("{}", figures.table());
    match figures.save() {
        Ok(path) => println!("\nalso in {}", path.display()),
        Err(error) => eprintln!("the figures could not be saved: {error}"),
    }
}
