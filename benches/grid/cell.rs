//! One cell of the grid: a plan and a scenario, with our analysis or a peer's rule.

use kubectl_canary::driver::analysis;
use kubectl_canary::number::grouped;
use kubectl_canary::plan::{HumanDuration, Options, Plan};
use kubectl_canary::simulate::{RunSummary, Scenario, SimulatedWorld, Simulator, simulate_many};
use kubectl_canary::verdict::Analysis;
use kubectl_canary::verdict::sequential::{History, Policy, Sequential};

use crate::peers::{Kayenta, Threshold, Wald};

/// Every cell starts from this seed; rollout `i` of a cell has seed `SEED + i`.
pub const SEED: u64 = 20_260_101;
/// Threads; they do not change the numbers.
pub const THREADS: usize = 2;
/// Wald's test never promotes: it stays at the last step before 100 % as long as this.
const WALD_TIMEOUT: HumanDuration = HumanDuration::minutes(6 * 60);

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

/// The plan of these options for scrapes `seconds` apart; without the warm-up that no peer has, unless
/// the options ask for one.
pub fn plan(options: Options, seconds: u32) -> Plan {
    let options = Options {
        warmup: options.warmup.or(Some(HumanDuration::ZERO)),
        ..options
    };
    Plan::measured(options, HumanDuration::seconds(seconds)).expect("the grid has good plans")
}

/// The plan of most cells: every option at its default, scrapes 15 s apart, no warm-up.
pub fn usual_plan() -> Plan {
    plan(Options::default(), 15)
}

/// `runs` rollouts of a scenario under a rule.
pub fn summary(rule: Rule, scenario: &Scenario, plan: &Plan, runs: usize) -> RunSummary {
    let scrape = plan.judgement.scrape.signed().as_secs_f64();
    let minute = (60.0 / scrape) as usize;
    match rule {
        Rule::Ours => simulated(scenario, plan, runs, |world| {
            analysis(plan, &History::from_windows(&world.history()))
        }),
        Rule::Flagger => theirs(scenario, plan, runs, || Threshold::flagger(minute)),
        Rule::FlaggerTuned => theirs(scenario, plan, runs, Threshold::flagger_tuned),
        Rule::Argo => theirs(scenario, plan, runs, || Threshold::argo(minute)),
        Rule::ArgoTuned => theirs(scenario, plan, runs, || Threshold::argo_tuned(minute)),
        Rule::Kayenta => theirs(scenario, plan, runs, || Kayenta::new(minute)),
        Rule::Wald => {
            let bad = scenario.ratio * scenario.stable + scenario.added;
            let windows_a_step = (plan.dwell.signed().as_secs_f64() / scrape) as usize;
            let patient = Plan {
                step_timeout: WALD_TIMEOUT,
                ..plan.clone()
            };
            theirs(scenario, &patient, runs, || {
                Wald::new(scenario.stable, bad, 0.01, windows_a_step)
            })
        }
    }
}

/// `runs` rollouts under a policy that the plan's options cannot say.
pub fn with_policy(scenario: &Scenario, plan: &Plan, policy: &Policy, runs: usize) -> RunSummary {
    simulated(scenario, plan, runs, |world| {
        let history = History::from_windows(&world.history());
        Box::new(Sequential::new(policy.clone(), &history))
    })
}

/// `runs` rollouts of a scenario of whose time before nothing is known.
pub fn without_history(scenario: &Scenario, plan: &Plan, runs: usize) -> RunSummary {
    simulated(scenario, plan, runs, |_| {
        analysis(plan, &History::unknown())
    })
}

/// `runs` rollouts of a scenario whose canary has waited so many seconds for its first request.
pub fn after_waiting(seconds: f64, scenario: &Scenario, plan: &Plan, runs: usize) -> RunSummary {
    with_pods_of(seconds, scenario, plan, runs, |world| {
        analysis(plan, &History::from_windows(&world.history()))
    })
}

fn theirs<A: Analysis + 'static>(
    scenario: &Scenario,
    plan: &Plan,
    runs: usize,
    rule: impl Fn() -> A + Sync,
) -> RunSummary {
    simulated(scenario, plan, runs, |_| Box::new(rule()))
}

fn simulated(
    scenario: &Scenario,
    plan: &Plan,
    runs: usize,
    analysis: impl Fn(&mut SimulatedWorld<'_>) -> Box<dyn Analysis> + Sync,
) -> RunSummary {
    with_pods_of(0.0, scenario, plan, runs, analysis)
}

/// `runs` rollouts to pods that are so many seconds old.
fn with_pods_of(
    canary_age: f64,
    scenario: &Scenario,
    plan: &Plan,
    runs: usize,
    analysis: impl Fn(&mut SimulatedWorld<'_>) -> Box<dyn Analysis> + Sync,
) -> RunSummary {
    let simulator = Simulator {
        plan,
        scenario,
        canary_age,
    };
    RunSummary::of(&simulate_many(runs, SEED, THREADS, |seed| {
        simulator.run(seed, &analysis, &mut |_| {})
    }))
}

/// Requests per second, for a reader.
pub fn per_second(value: f64) -> String {
    if value < 1.0 {
        "1/6".to_owned()
    } else {
        grouped(value as u64)
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
        grouped(value.round() as u64)
    }
}
