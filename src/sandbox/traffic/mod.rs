//! The traffic of the world: requests that follow the weights, and the counters of the proxies.
//!
//! Pure code without a clock: [`TrafficModel::advance`] gets the time to advance to and the routes that
//! the data plane had until then, so a simulator can step it as fast as it likes.

mod behaviour;
mod demand;
mod model;
mod routing;
mod sampling;
mod stream;

pub use behaviour::{BOUNDS, Behaviour, Episode, FailureMode, ResponseTime};
pub use demand::Demand;
pub use model::TrafficModel;
pub use routing::{Backend, MeshRoute, Pod, Routing, Service, Workload};
pub use sampling::Sampling;
pub use stream::{Caller, ReportingProxy, RequestOutcome, Stream, StreamCounters, target_labels};
