//! One cell of the grid: a scenario, driven by our rule or a peer's.

use jiff::SignedDuration;
use kubectl_canary::simulate::{Route, Scenario, Table, outcomes, run};
use kubectl_canary::verdict::sequential::{History, Policy, Preset, Sequential};

use crate::peers::{Kayenta, Threshold, Wald};

/// Every cell starts from this seed; rollout `i` of a cell has seed `SEED + i`.
pub const SEED: u64 = 20_260_101;
/// Threads; they do not change the numbers.
pub const THREADS: usize = 2;

/// Whose rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Ours,
    Flagger,
    FlaggerTuned,
    Argo,
    ArgoTuned,
    Kayenta,
    Wald,
}

/// The careful policy for a scrape interval in seconds, without the warm-up that no peer has.
pub fn careful(scrape: f64) -> Policy {
    Policy {
        warmup: SignedDuration::ZERO,
        ..Preset::Careful.policy(SignedDuration::from_secs_f64(scrape))
    }
}

/// `runs` rollouts of a scenario under a rule.
pub fn table(rule: Rule, scenario: &Scenario, route: &Route, runs: usize) -> Table {
    if rule == Rule::Ours {
        return ours(scenario, route, &careful(route.scrape), runs);
    }
    let minute = (60.0 / route.scrape) as usize;
    let bad = scenario.ratio * scenario.stable + scenario.added;
    let drive = |seed| match rule {
        Rule::Flagger => run(scenario, route, seed, |_| Threshold::flagger(minute)),
        Rule::FlaggerTuned => run(scenario, route, seed, |_| Threshold::flagger_tuned()),
        Rule::Argo => run(scenario, route, seed, |_| Threshold::argo(minute)),
        Rule::ArgoTuned => run(scenario, route, seed, |_| Threshold::argo_tuned(minute)),
        Rule::Kayenta => run(scenario, route, seed, |_| Kayenta::new(minute)),
        Rule::Ours | Rule::Wald => {
            let steps = (route.dwell / route.scrape) as usize;
            run(scenario, route, seed, |_| {
                Wald::new(scenario.stable, bad, 0.01, steps)
            })
        }
    };
    Table::of(&outcomes(runs, SEED, THREADS, drive))
}

/// `runs` rollouts under a policy of ours.
pub fn ours(scenario: &Scenario, route: &Route, policy: &Policy, runs: usize) -> Table {
    let drive = |seed| {
        run(scenario, route, seed, |world| {
            Sequential::new(policy.clone(), &History::from_windows(&world.history()))
        })
    };
    Table::of(&outcomes(runs, SEED, THREADS, drive))
}

/// The same without a history of stable.
pub fn without_history(scenario: &Scenario, route: &Route, runs: usize) -> Table {
    let drive = |seed| {
        run(scenario, route, seed, |_| {
            Sequential::new(careful(route.scrape), &History::unknown())
        })
    };
    Table::of(&outcomes(runs, SEED, THREADS, drive))
}

/// Requests per second, for a reader.
pub fn per_second(value: f64) -> String {
    if value < 1.0 {
        "1/6".to_owned()
    } else {
        whole(value)
    }
}

/// A share in percent, with as many digits as matter.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let digits = if percent == 0.0 || percent >= 10.0 {
        0
    } else if percent >= 1.0 {
        1
    } else {
        2
    };
    format!("{percent:.digits$}")
}

/// A number of requests, with as many digits as matter.
pub fn amount(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}")
    } else {
        whole(value)
    }
}

fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|chunk| std::str::from_utf8(chunk).expect("digits are ASCII"))
        .collect();
    groups.join(" ")
}
