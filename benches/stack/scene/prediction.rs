//! What the simulation of the same plan at the same rates comes to.

use clap::Parser;
use jiff::SignedDuration;
use kubectl_canary::cli::{Cli, Command};
use kubectl_canary::plan::{HumanDuration, Plan};
use kubectl_canary::simulate::{
    DurationModel, Reading, RunSummary, Scenario, SimulatedRun, SimulatedWorld, Simulator,
    simulate_many,
};
use kubectl_canary::verdict::Analysis;
use kubectl_canary::verdict::sequential::{AnalysisState, History, Sequential};

use super::case::{AGE, Case, RATE};

/// Rollouts simulated.
const RUNS: usize = 2_000;
/// The seeds count up from here.
const SEED: u64 = 20_260_101;
/// The backends answer within a millisecond, more or less; durations are watched, and equal. The hiccups
/// of a machine on which everything runs at once are not simulated.
const DURATIONS: DurationModel = DurationModel {
    median_ms: 1.0,
    spread: 1.0,
    slowdown: 1.0,
    jitter: 0.02,
};

/// What is to be expected of a case.
pub(super) struct Prediction(pub(super) RunSummary);

impl Prediction {
    /// Simulates a case.
    pub(super) fn of(case: &Case) -> Self {
        let plan = plan(case);
        let scenario = Scenario {
            requests_per_second: RATE,
            stable: case.stable,
            added: case.canary - case.stable,
            latency: Some(DURATIONS),
            ..Scenario::default()
        };
        let simulator = Simulator {
            plan: &plan,
            scenario: &scenario,
            canary_age: AGE as f64,
        };
        let judge = |world: &mut SimulatedWorld<'_>| -> Box<dyn Analysis> {
            let past = History::from_windows(&world.recent(case.watched() as f64));
            Box::new(Sequential::new(plan.policy(), &past))
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self(RunSummary::of(&simulate_many(
            RUNS,
            SEED,
            threads,
            |seed| run(&simulator, seed, judge),
        )))
    }
}

/// One rollout, its seconds until the canary lost its traffic or got it all.
fn run(
    simulator: &Simulator<'_>,
    seed: u64,
    judge: impl FnOnce(&mut SimulatedWorld<'_>) -> Box<dyn Analysis>,
) -> SimulatedRun {
    let mut tripped = None;
    let mut watch = |reading: Reading| {
        let confirms = reading
            .evidence
            .is_some_and(|evidence| evidence.state == AnalysisState::Confirming);
        tripped = match (confirms, tripped) {
            (true, since) => since.or(Some(reading.at)),
            // The query that confirms is the last.
            (false, _) => None,
        };
    };
    let run = simulator.run(seed, judge, &mut watch);
    SimulatedRun {
        seconds: tripped.unwrap_or(run.seconds),
        ..run
    }
}

fn plan(case: &Case) -> Plan {
    let line = format!("kubectl-canary simulate {}", case.flags);
    let cli = Cli::try_parse_from(line.split_whitespace()).expect("a case has good flags");
    let Command::Simulate(simulate) = cli.command else {
        unreachable!("{line} is another command");
    };
    let scrape = HumanDuration::from(SignedDuration::from_secs(case.cadence().into()));
    Plan::measured(simulate.options, scrape).expect("a case has a good plan")
}
