//! The traffic of the world: requests that follow the weights, and the counters of the proxies.
//!
//! Pure code without a clock: [`Traffic::advance`] is told how far time has come and which routes
//! the data plane had until then, so a simulator can step it as fast as it likes.

mod behaviour;
mod chance;
mod demand;
mod model;
mod routing;
mod stream;

pub use behaviour::{BOUNDS, Behaviour, Episode, Failure, Latency};
pub use chance::Chance;
pub use demand::Demand;
pub use model::Traffic;
pub use routing::{Backend, Pod, Route, Routing, Service, Workload};
pub use stream::{Counters, Outcome, Reporter, Source, Stream, target_labels};
