//! Imagined rollouts: a pair of versions, their traffic and what goes wrong, driven through the same
//! seat of the verdict that an engine drives.
//!
//! Everything is seeded. The same seed gives the same rollout on every machine. Nothing here knows a
//! cluster or a clock; an hour passes in less than a millisecond.
//!
//! ```
//! use jiff::SignedDuration;
//! use kubectl_canary::simulate::{Route, Scenario, Table, outcomes, run};
//! use kubectl_canary::verdict::sequential::{History, Preset, Sequential};
//!
//! let scenario = Scenario { added: 0.05, ..Scenario::default() };
//! let route = Route::default();
//! let policy = Preset::Careful.policy(SignedDuration::from_secs(15));
//! let table = Table::of(&outcomes(50, 1, 2, |seed| {
//!     run(&scenario, &route, seed, |world| {
//!         Sequential::new(policy.clone(), &History::from_windows(&world.history()))
//!     })
//! }));
//! assert!(table.rolled_back.share > 0.9);
//! ```

mod rollout;
mod run;
mod sampler;
mod scenario;
mod table;
mod world;

pub use rollout::{Ending, Outcome, Route, run};
pub use run::{Moment, Rehearsal};
pub use sampler::Sampler;
pub use scenario::{Disturbance, Lag, Latency, Outage, Overload, Scenario, Warmup};
pub use table::{Chance, Spread, Table, outcomes};
pub use world::{Truth, World};
