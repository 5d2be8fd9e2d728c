//! Whatever happens, the promises hold: the whole engine on the embedded cluster, in virtual time, through
//! whatever a seed stands for.
//!
//! `scripts/soak` plays any number of seeds, or one with its log.

mod dice;
mod history;
mod network;
mod play;
mod process;
mod promises;
mod routes;
mod scenario;
mod stage;

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use play::{Played, play};

/// How many seeds are played where nobody says.
const SEEDS: u64 = 2000;

/// Beyond those, seeds that broke a promise once.
const FOUND: [u64; 20] = [
    15_939, 17_518, 17_801, 19_011, 20_689, 21_616, 22_208, 24_277, 28_145, 29_033, 32_763, 34_028,
    38_736, 40_184, 203_547, 203_876, 213_595, 219_786, 229_321, 242_911,
];

/// A number from the environment.
fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} is no number")),
    )
}

/// Plays a seed; a panic is a violation like any other.
fn played(seed: u64, verbose: bool) -> Played {
    let played = catch_unwind(AssertUnwindSafe(|| play(seed, verbose)));
    played.unwrap_or_else(|_| Played {
        log: String::new(),
        violations: vec!["a panic".to_owned()],
    })
}

/// Plays `count` seeds from `first` on all cores, and returns those that broke a promise.
fn broken(first: u64, count: u64) -> Vec<(u64, Vec<String>)> {
    let next = AtomicU64::new(first);
    let found = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let violations = played(seed, false).violations;
                    if !violations.is_empty() {
                        println!("seed {seed}: {}", violations.join("; "));
                        found.lock().unwrap().push((seed, violations));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    found.sort();
    found
}

#[test]
fn whatever_happens_the_promises_hold() {
    if let Some(seed) = given("SOAK_SEED") {
        let Played { log, violations } = played(seed, true);
        println!("{log}");
        assert!(
            violations.is_empty(),
            "seed {seed}: {}",
            violations.join("\n")
        );
        return;
    }
    let (first, count) = (
        given("SOAK_FIRST").unwrap_or(0),
        given("SOAK_SEEDS").unwrap_or(SEEDS),
    );
    let broken = broken(first, count);
    let seeds: Vec<_> = broken.iter().map(|(seed, _)| seed).collect();
    assert!(
        seeds.is_empty(),
        "{} of {count} seeds: {seeds:?}; one with its log: scripts/soak --seed {}",
        seeds.len(),
        seeds[0]
    );
}

#[test]
fn seeds_that_broke_a_promise_once_keep_it_now() {
    for seed in FOUND {
        let violations = played(seed, false).violations;
        assert!(
            violations.is_empty(),
            "seed {seed}: {}",
            violations.join("\n")
        );
    }
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    for seed in 0..20 {
        let (once, again) = (played(seed, true), played(seed, true));
        assert_eq!(once.log, again.log, "seed {seed}");
    }
}

/// Where every start is refused, every promise holds.
#[test]
fn seeds_come_to_every_end() {
    let logs: String = (0..60).map(|seed| played(seed, true).log).collect();
    for end in [
        "Promoted",
        "RolledBack(Regression)",
        "RolledBack(Request)",
        "StepSet",
        "Held",
        "dead:",
    ] {
        let times = logs.matches(end).count();
        assert!(times > 0, "no process of 60 seeds came to {end}");
    }
    let writes = logs
        .lines()
        .filter(|line| line.contains(" write: "))
        .count();
    assert!(writes > 120, "{writes} writes in 60 seeds");
}
