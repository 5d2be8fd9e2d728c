//! Simulated rollouts: a pair of versions, their traffic and what goes wrong, driven by the machine
//! that decides real rollouts.
//!
//! Everything is seeded. The same seed gives the same rollout on every machine. Nothing here knows a
//! cluster or a clock; an hour passes in less than a millisecond.
//!
//! ```
//! use kubectl_canary::plan::{Options, Plan};
//! use kubectl_canary::simulate::{Scenario, Simulator, RunSummary, simulate_many};
//! use kubectl_canary::verdict::sequential::{History, Sequential};
//!
//! let plan = Plan::resolve(Options::default()).unwrap();
//! let scenario = Scenario { added: 0.05, ..Scenario::default() };
//! let simulator = Simulator { plan: &plan, scenario: &scenario, canary_age: 3600.0 };
//! let summary = RunSummary::of(&simulate_many(50, 1, 2, |seed| {
//!     let analysis = |history: &History| -> Box<dyn kubectl_canary::verdict::Analysis> {
//!         Box::new(Sequential::new(plan.policy(), history))
//!     };
//!     simulator.run(seed, |world| analysis(&History::from_windows(&world.history())), &mut |_| {})
//! }));
//! assert!(summary.rolled_back.share > 0.9);
//! ```

mod run;
mod sampler;
mod scenario;
mod summary;
mod world;

pub(crate) use run::RunEnding;
pub use run::{Reading, SimulatedRun, Simulator};
pub use scenario::{
    Disturbance, DurationModel, Lag, Outage, Overload, PastOutage, Scenario, SimulatedOperation,
    SlowStart, Warmup,
};
pub(crate) use summary::Probability;
pub use summary::{RunSummary, Spread, simulate_many};
pub use world::SimulatedWorld;
