//! `simulate`: a plan simulated many times against a simulated canary, without a cluster.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::rollout_args::plan_file;
use crate::driver::analysis;
use crate::error::CommandError;
use crate::metrics::take_user;
use crate::plan::{Forecast, HumanDuration, Options, Percent, Plan};
use crate::report::Simulation;
use crate::simulate::{
    Disturbance, DurationModel, Lag, Outage, PastOutage, RunEnding, RunSummary, Scenario,
    SimulatedRun, SimulatedWorld, Simulator, SlowStart, Warmup, simulate_many,
};
use crate::verdict::Analysis;
use crate::verdict::sequential::{History, Subject, Traffic};

/// What the weights of a route usually sum to.
const WEIGHTS: i64 = 100;

/// What `simulate` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Simulate {
    /// A plan file; flags override it. `-` reads from standard input.
    #[arg(short, long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
    /// The plan.
    #[command(flatten)]
    pub options: Options,
    /// The simulated canary.
    #[command(flatten)]
    pub simulated: SimulatedVersions,
    /// Number of rollouts to simulate.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = runs, help_heading = "Simulation")]
    pub runs: u32,
    /// Random seed; the same seed gives the same results on every machine.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        help_heading = "Simulation"
    )]
    pub seed: u64,
    /// Write an HTML report with charts to this file.
    #[arg(long, value_name = "FILE", help_heading = "Simulation")]
    pub html: Option<PathBuf>,
}

/// The simulated pair of versions, and the faults around them.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Simulated canary")]
pub struct SimulatedVersions {
    /// Requests per second to both versions together [default: 100].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub requests_per_second: Option<f64>,
    /// Error rate of stable [default: 0.1 %].
    #[arg(long, value_name = "PERCENT")]
    pub stable_errors: Option<Percent>,
    /// Error rate of the canary [default: the same as stable].
    #[arg(long, value_name = "PERCENT")]
    pub canary_errors: Option<Percent>,
    /// When the canary starts to fail; until then it is as good as stable [default: 0s].
    #[arg(long, value_name = "DURATION", requires = "canary_errors")]
    pub regression_after: Option<HumanDuration>,
    /// How many times slower the canary is [default: durations are not simulated].
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    pub slowdown: Option<f64>,
    /// Extra error rate of both versions during an outage.
    #[arg(long, value_name = "PERCENT")]
    pub outage_rate: Option<Percent>,
    /// When the outage begins [default: 2m].
    #[arg(long, value_name = "DURATION", requires = "outage_rate")]
    pub outage_at: Option<HumanDuration>,
    /// How long the outage lasts [default: 1m].
    #[arg(long, value_name = "DURATION", requires = "outage_rate")]
    pub outage_for: Option<HumanDuration>,
    /// Version whose counters arrive one scrape late [default: none].
    #[arg(long, value_name = "VERSION")]
    pub late_counters: Option<LateCounters>,
    /// Standard deviation of the error rate between the canary's pods.
    #[arg(long, value_name = "PERCENT")]
    pub pod_difference: Option<Percent>,
    /// Extra error rate of the canary during its cold start.
    #[arg(long, value_name = "PERCENT")]
    pub cold_errors: Option<Percent>,
    /// How long the cold start lasts under traffic [default: 30s].
    #[arg(long, value_name = "DURATION", requires = "cold_errors")]
    pub cold_for: Option<HumanDuration>,
    /// Age of the canary's pods when the rollout starts [default: 0s].
    #[arg(long, value_name = "DURATION")]
    pub canary_age: Option<HumanDuration>,
    /// Error rate of the whole service by requests that reach no upstream, whose version is not known.
    #[arg(long, value_name = "PERCENT")]
    pub unreached_errors: Option<Percent>,
    /// How long successful requests take; failures come at once [default: no time].
    #[arg(long, value_name = "DURATION")]
    pub response_time: Option<HumanDuration>,
    /// Requests that other rules send to stable, as a multiple of those that follow the weights.
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    pub alongside: Option<f64>,
    /// Extra error rate of stable alone from the rollout's beginning on: the canary is a hotfix.
    #[arg(long, value_name = "PERCENT")]
    pub broken_stable: Option<Percent>,
    /// Extra error rate of stable in an outage before the rollout.
    #[arg(long, value_name = "PERCENT")]
    pub past_outage_rate: Option<Percent>,
    /// How long that outage lasted [default: 30s].
    #[arg(long, value_name = "DURATION", requires = "past_outage_rate")]
    pub past_outage_for: Option<HumanDuration>,
    /// How many times slower the canary is at its first request; needs --slowdown.
    #[arg(long, value_name = "FACTOR", value_parser = positive, requires = "slowdown")]
    pub slow_start: Option<f64>,
    /// How long that takes to fade [default: 2m].
    #[arg(long, value_name = "DURATION", requires = "slow_start")]
    pub slow_start_for: Option<HumanDuration>,
    /// Mean size of failure clusters [default: failures are independent].
    #[arg(long, value_name = "N", value_parser = clustered)]
    pub clusters: Option<f64>,
    /// Variation of error rates between scrapes: the correlation of two requests in a scrape, such
    /// as 0.001.
    #[arg(long, value_name = "SHARE", value_parser = correlation)]
    pub noise: Option<f64>,
    /// Common drift of both error rates: the standard deviation of their logarithm, such as 0.5.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub drift: Option<f64>,
    /// Scrape interval of Prometheus [default: 15s].
    #[arg(long, value_name = "DURATION")]
    pub scrape_interval: Option<HumanDuration>,
}

/// The version whose counters are a scrape behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LateCounters {
    /// The stable version's.
    Stable,
    /// The canary's.
    Canary,
}

fn runs(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(runs @ 1..=1_000_000) => Ok(runs),
        _ => Err(format!("{text:?} is not a number from 1 to 1,000,000")),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, "a number above 0", |number| {
        number > 0.0 && number <= 1e9
    })
}

fn clustered(text: &str) -> Result<f64, String> {
    number(text, "a number above 1", |number| {
        number > 1.0 && number <= 1e6
    })
}

fn correlation(text: &str) -> Result<f64, String> {
    number(text, "between 0 and 1", |number| {
        number > 0.0 && number < 1.0
    })
}

fn number(text: &str, wanted: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if fits(number) => Ok(number),
        _ => Err(format!("{text:?} is not {wanted}")),
    }
}

impl SimulatedVersions {
    fn scenario(&self, durations: bool) -> Scenario {
        let usual = Scenario::default();
        let seconds = |duration: HumanDuration| duration.signed().as_secs_f64();
        let stable = self.stable_errors.map_or(usual.stable, Percent::share);
        let canary = self.canary_errors.map_or(stable, Percent::share);
        // A better canary is a part of stable's rate, a worse one adds to it: so that it follows
        // stable's through drift and outages.
        let ratio = if canary < stable {
            canary / stable
        } else {
            1.0
        };
        let outage_at = seconds(self.outage_at.unwrap_or(HumanDuration::minutes(2)));
        Scenario {
            requests_per_second: self
                .requests_per_second
                .unwrap_or(usual.requests_per_second),
            stable,
            ratio,
            added: (canary - stable).max(0.0),
            onset: self.regression_after.map_or(0.0, seconds),
            // A plan that ignores durations must not see any.
            latency: self
                .slowdown
                .filter(|_| durations)
                .map(|slowdown| DurationModel {
                    median_ms: 40.0,
                    spread: 0.8,
                    slowdown,
                    jitter: 0.02,
                }),
            disturbance: Disturbance {
                outage: self.outage_rate.map(|rate| Outage {
                    start: (outage_at, outage_at),
                    lasts: seconds(self.outage_for.unwrap_or(HumanDuration::minutes(1))),
                    rate: rate.share(),
                }),
                lag: self.late_counters.map(|late| match late {
                    LateCounters::Stable => Lag::Stable,
                    LateCounters::Canary => Lag::Canary,
                }),
                noise: self.noise,
                clusters: self.clusters,
                drift: self.drift,
                pods: self.pod_difference.map(Percent::share),
                warmup: self.cold_errors.map(|added| Warmup {
                    lasts: seconds(self.cold_for.unwrap_or(HumanDuration::seconds(30))),
                    added: added.share(),
                }),
                overload: None,
                unreached: self.unreached_errors.map(Percent::share),
                realised: None,
                alongside: self.alongside,
                broken_stable: self.broken_stable.map(Percent::share),
                past_outage: self.past_outage_rate.map(|rate| PastOutage {
                    lasted: seconds(self.past_outage_for.unwrap_or(HumanDuration::seconds(30))),
                    rate: rate.share(),
                }),
                slow_start: self.slow_start.map(|factor| SlowStart {
                    factor,
                    lasts: seconds(self.slow_start_for.unwrap_or(HumanDuration::minutes(2))),
                }),
                response_time: self.response_time.map(seconds),
            },
            ..usual
        }
    }
}

/// Runs the plan as often as asked; `tick` is called after each rollout.
///
/// # Errors
/// If the plan is invalid, or the page cannot be written.
pub fn simulate(args: &Simulate, tick: &(dyn Fn() + Sync)) -> Result<Simulation, CommandError> {
    let mut options = args.options.clone();
    let _ = take_user(&mut options.prometheus);
    if let Some(path) = &args.filename {
        options = options.or(plan_file(path)?.spec);
    }
    let scrape = args.simulated.scrape_interval;
    let scrape = scrape.unwrap_or(HumanDuration::seconds(15));
    if scrape.unsigned().as_millis() < 100 {
        return Err(CommandError::Usage(format!(
            "--scrape-interval {scrape} is too short (try: 1s or more)"
        )));
    }
    let plan = Plan::measured(options, scrape)?;
    // A path that cannot be written is better known before the work than after it.
    let page = match &args.html {
        Some(path) => Some(File::create(path).map_err(|source| CommandError::Io {
            what: format!("cannot write {}", path.display()),
            source,
        })?),
        None => None,
    };
    let scenario = args.simulated.scenario(plan.weighs_durations());
    let age = args.simulated.canary_age.unwrap_or_default().signed();
    let simulator = Simulator {
        plan: &plan,
        scenario: &scenario,
        canary_age: age.as_secs_f64(),
    };
    let analysis_of = |world: &mut SimulatedWorld<'_>| -> Box<dyn Analysis> {
        analysis(&plan, &History::from_windows(&world.history()))
    };
    let history = History::from_windows(
        &SimulatedWorld::new(&scenario, scrape.signed().as_secs_f64(), args.seed).history(),
    );
    let traffic = Traffic {
        per_second: scenario.requests_per_second,
        failure_rate: scenario.stable,
    };
    let forecast = Forecast::of(&plan, traffic, 0, WEIGHTS);
    let forecast = forecast.map(|forecast| forecast.with_power(&plan, &history, age));
    let worse = scenario.added > 0.0 && scenario.onset <= 0.0;
    let detected = forecast.as_ref().filter(|_| worse).and_then(|forecast| {
        forecast.detects(&plan, &history, age, (Subject::Failures, scenario.added))
    });
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runs = simulate_many(args.runs as usize, args.seed, threads, |seed| {
        let run = simulator.run(seed, analysis_of, &mut |_| {});
        tick();
        run
    });
    let median = median_run(&runs);
    let median_run_seed = args.seed.wrapping_add(median as u64);
    let mut readings = Vec::new();
    simulator.run(median_run_seed, analysis_of, &mut |reading| {
        readings.push(reading)
    });
    let simulation = Simulation {
        seed: args.seed,
        version: Simulation::VERSION,
        summary: RunSummary::of(&runs),
        forecast,
        detected,
        scenario,
        plan,
        median_run: runs[median],
        median_run_seed,
        readings,
        runs,
    };
    if let (Some(mut file), Some(path)) = (page, &args.html) {
        file.write_all(simulation.page().as_bytes())
            .map_err(|source| CommandError::Io {
                what: format!("cannot write {}", path.display()),
                source,
            })?;
    }
    Ok(simulation)
}

/// The rollout in the middle of those that ended as most did.
fn median_run(runs: &[SimulatedRun]) -> usize {
    let of = |ending: RunEnding| {
        let mut these: Vec<_> = (0..runs.len())
            .filter(|&i| runs[i].ending == ending)
            .collect();
        these.sort_by(|&a, &b| runs[a].seconds.total_cmp(&runs[b].seconds));
        these
    };
    let most = [
        RunEnding::Promoted,
        RunEnding::RolledBack,
        RunEnding::Inconclusive,
    ]
    .map(of)
    .into_iter()
    .max_by_key(Vec::len)
    .unwrap_or_default();
    most.get(most.len() / 2).copied().unwrap_or_default()
}
